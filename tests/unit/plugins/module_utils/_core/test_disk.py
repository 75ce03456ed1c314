# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single acts on a disk, hostile ones above all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import disk, likeness
from ansible_collections.watcher.config.plugins.module_utils._core.disk import Owner
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Found
from ansible_collections.watcher.config.tests.unit.site import tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a deploy path with one of everything."""
    root = tmp_path / "root"
    (root / "folder" / "inner").mkdir(parents=True)
    (root / "file").write_bytes(b"x")
    (root / "file").chmod(0o4711)
    (root / "link").symlink_to("file")
    (root / "linked").symlink_to("folder")
    os.mkfifo(root / "fifo")
    return root


@pytest.mark.parametrize(
    ("path", "kind", "reason", "above"),
    [
        ("file", "file", "", ""),
        ("link", "link", "", ""),
        ("none", "absent", "", ""),
        ("none/a/b", "absent", "", ""),
        ("folder/none", "absent", "", ""),
        ("folder", "folder", "is a folder", ""),
        ("linked", "link", "", ""),
        ("fifo", "other", "is a device, pipe or socket", ""),
        ("file/a", "blocked", "root/file is not a folder", "file"),
        ("file/a/b", "blocked", "root/file is not a folder", "file"),
        ("linked/inner", "blocked", "root/linked is not a folder, or a symbolic link", "linked"),
        ("linked/inner/a", "blocked", "root/linked is not", "linked"),
        ("folder/../file", "file", "", ""),
    ],
)
def test_inspect(root: Path, path: str, kind: str, reason: str, above: str) -> None:
    """What is there is seen, and what is above it that is no folder."""
    found = disk.inspect((str(root), path))
    assert (found.kind, found.above) == (kind, above)
    assert (reason in found.reason) == bool(found.reason or not reason)


def test_inspect_a_file(root: Path) -> None:
    """Digest, mode and owner of a file."""
    expected = Found("file", File.of(b"x").digest, 0o4711, os.geteuid(), os.getegid())
    assert disk.inspect((str(root), "file")) == expected


@pytest.mark.parametrize(
    ("root_of", "kind"), [("none", "absent"), ("file", "blocked"), ("dangling", "absent"), ("folder", "absent")]
)
def test_inspect_odd_roots(root: Path, root_of: str, kind: str) -> None:
    """A deploy path that is missing or no folder is seen, too."""
    (root / "dangling").symlink_to("nowhere")
    assert disk.inspect((str(root / root_of), "a")).kind == kind


def test_make_folders(root: Path) -> None:
    """Missing folders are made outermost first, those that are there are left as they are."""
    (root / "folder").chmod(0o700)
    place = (str(root / "new" / "root"), "a/b/file")
    known: set[tuple[str, str]] = set()
    missing = disk.missing_folders(place, known)
    assert missing == [(str(root / "new"), ""), (place[0], ""), (place[0], "a"), (place[0], "a/b")]
    assert disk.missing_folders((place[0], "a/c/file"), known) == [(place[0], "a/c")]
    disk.make_folders(place, Owner(mode=0o750))
    disk.make_folders((str(root), "folder/x/file"), Owner())
    assert tree(root / "new") == {"root": 0o750, "root/a": 0o750, "root/a/b": 0o750}
    assert ((root / "folder").stat().st_mode & 0o777, (root / "folder" / "x").stat().st_mode & 0o777) == (0o700, 0o755)
    assert not disk.make_folder((str(root), "folder"), Owner())
    disk.make_folders((str(root), "linked/y/file"), Owner())  # whoever writes the file fails there
    assert not (root / "folder" / "y").exists()


def test_remove_folder(root: Path) -> None:
    """Empty folders go; full ones, links and files stay."""
    found = {
        path: disk.remove_folder((str(root), path)) for path in ("folder", "folder/inner", "linked", "file", "none")
    }
    assert found == {"folder": False, "folder/inner": True, "linked": False, "file": False, "none": True}
    assert (root / "file").exists()
    assert (root / "linked").is_symlink()
    assert not disk.remove_folder((str(root), ""))


def test_write_never_overwrites(root: Path) -> None:
    """A name that is taken is refused, be it by a link to somewhere else."""
    with disk.folder(str(root), "") as fd:
        for name in ("file", "link", "linked", "fifo", "folder"):
            with pytest.raises(FileExistsError):
                disk.write(fd, name, b"y", Owner())
    assert (root / "file").read_bytes() == b"x"


def test_read_follows_nothing(root: Path) -> None:
    """A link is not read, a pipe does not hang."""
    with pytest.raises(OSError, match="link"):
        disk.read((str(root), "link"))
    assert disk.read((str(root), "file")) == b"x"
    assert disk.read((str(root), "fifo")) == b""


def test_no_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links gets a copy that is the same in all that counts."""

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with disk.folder(str(root), "") as fd:
        likeness.set_aside(fd, "file", "aside")
        likeness.set_aside(fd, "link", "aside link")
    assert (root / "aside").read_bytes() == b"x"
    assert (root / "aside").stat().st_mode == (root / "file").stat().st_mode
    assert (root / "aside").stat().st_mtime_ns == (root / "file").stat().st_mtime_ns
    assert os.readlink(root / "aside link") == "file"
