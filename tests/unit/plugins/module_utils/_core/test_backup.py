# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, contents and number of backups."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import backup, disk
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError, InvalidError
from ansible_collections.watcher.config.tests.unit.site import Site

WHEN = datetime(2026, 1, 31, 23, 59, 59)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a deploy path."""
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "root" / "file").write_bytes(b"x")
    return tmp_path / "root"


def test_backup_path() -> None:
    """A backup's name is the contract's."""
    assert backup.backup_path("ssl/opts.conf", WHEN, 1834) == "ssl/opts.conf_watcherbackup_2026-01-31_23:59:59_1834"


def test_backup(root: Path, tmp_path: Path) -> None:
    """A backup has the file's bytes, mode and time, below the backup folder at the file's path."""
    place = (str(root), "folder/f")
    (root / "folder" / "f").write_bytes(b"y")
    (root / "folder" / "f").chmod(0o640)
    os.utime(root / "folder" / "f", (1, 2))
    path = backup.make(place, str(tmp_path / "b"), ".t", WHEN, 5)
    assert path == f"{tmp_path}/b/folder/f_watcherbackup_2026-01-31_23:59:59_5"
    status = Path(path).stat()
    assert (Path(path).read_bytes(), status.st_mode & 0o7777, status.st_mtime) == (b"y", 0o640, 2.0)
    assert set(os.listdir(tmp_path / "b" / "folder")) == {Path(path).name}


def test_backups_of_one_second(root: Path, tmp_path: Path) -> None:
    """A backup whose name is taken gets the next second's; none is overwritten."""
    paths = [backup.make((str(root), "file"), str(tmp_path / "b"), ".t", WHEN, 5) for _unused in range(3)]
    assert [path[-21:-2] for path in paths] == ["2026-01-31_23:59:59", "2026-02-01_00:00:00", "2026-02-01_00:00:01"]


def test_without_hard_links(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has none, a backup is given its name when it is complete, too, and none is overwritten."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    complete = disk.write

    def write(folder_fd: int, name: str, *rest: Any) -> None:
        assert name == ".t", "a copy under the name of a backup may be half a copy"
        complete(folder_fd, name, *rest)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(disk, "write", write)
    (root / "file").write_bytes(b"y")
    paths = [Path(backup.make((str(root), "file"), str(tmp_path / "b"), ".t", WHEN, 5)) for _unused in range(2)]
    assert [path.read_bytes() for path in paths] == [b"y", b"y"]
    assert set(os.listdir(tmp_path / "b")) == {path.name for path in paths}
    assert len(set(paths)) == 2


def test_prune(tmp_path: Path) -> None:
    """The oldest backups of each file go, by date and revision; what only looks alike stays."""
    names = [
        "a_watcherbackup_2026-01-31_10:00:00_9",
        "a_watcherbackup_2026-01-31_10:00:00_10",
        "a_watcherbackup_2025-12-31_10:00:00_11",
        "a_watcherbackup_2026-01-31_10:00:00_12",
        "ab_watcherbackup_2020-01-31_10:00:00_1",
        "a_watcherbackup_2020-01-31_10:00:00_1.gz",
        "a_watcherbackup_2020-01-31_1",
        "a",
        "a_watcherbackup_2020-01-31_10:00:00_1_watcherbackup_2020-01-31_10:00:00_1",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    backup.prune(str(tmp_path), ["a"], 0)
    assert set(os.listdir(tmp_path)) == set(names)
    backup.prune(str(tmp_path), ["a", "none/b"], 2)
    assert set(names) - set(os.listdir(tmp_path)) == {names[0], names[2]}


def test_prune_keeps_what_was_just_made(tmp_path: Path) -> None:
    """A clock that was in the future once has dated older backups later: they go first all the same."""
    future = [f"a_watcherbackup_2036-01-31_10:00:0{second}_9" for second in range(3)]
    now = "a_watcherbackup_2026-01-31_10:00:00_12"
    for name in (*future, now):
        (tmp_path / name).write_bytes(b"")
    backup.prune(str(tmp_path), ["a"], 2, [f"{tmp_path}/{now}"])
    assert set(os.listdir(tmp_path)) == {future[2], now}


def test_a_deployment_keeps_its_own_backup(tmp_path: Path) -> None:
    """The backup that an outcome names is there, whatever the clock has said before."""
    site = Site(tmp_path)
    site.deploy({"a": b"1"})
    write(site.backups, "a_watcherbackup_2036-01-31_10:00:00_11", b"0")
    outcome = site.deploy({"a": b"2"}, backupDir=str(site.backups), keepBackups=1)
    assert site.saved() == {"a@12": b"1"}
    assert [change.backup for change in outcome.changes] == [str(path) for path in site.backups.iterdir()]


def test_prune_counts_per_file(root: Path, tmp_path: Path) -> None:
    """Each file keeps its own newest ones, in nested folders and with our mark in its name, too; others are let be."""
    marked = "x_watcherbackup_2026-01-31_10:00:00_1"
    paths = ["deep/er/x", "deep/x", "x", marked, "w"]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
        for revision in (9, 10, 11):
            backup.make((str(root), path), str(tmp_path / "b"), ".t", WHEN, revision)
    backup.prune(str(tmp_path / "b"), ["deep/x", marked, "w"], 2)
    kept = {path: [item.revision for item in backup.found(str(tmp_path / "b"), path)] for path in paths}
    assert kept == {"deep/er/x": [11, 10, 9], "deep/x": [11, 10], "x": [11, 10, 9], marked: [11, 10], "w": [11, 10]}


def test_prune_leaves_alone_what_no_backup_is_called(tmp_path: Path) -> None:
    """A name with a day that no calendar has was never given by us."""
    names = ["x_watcherbackup_2026-13-41_10:00:00_1", "x_watcherbackup_2026-02-30_10:00:00_1"]
    for name in (*names, "x_watcherbackup_2026-01-31_10:00:00_1", "x_watcherbackup_2026-01-31_10:00:00_2"):
        (tmp_path / name).write_bytes(b"")
    backup.prune(str(tmp_path), ["x"], 1)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "x_watcherbackup_2026-01-31_10:00:00_2"])


# Finding and reading them


def write(folder: Path, path: str, content: bytes = b"") -> None:
    """Write a file, and the folders that it lacks."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)


def test_found(tmp_path: Path) -> None:
    """All backups are there, by file and the newest first, with what their names tell."""
    for path in (
        "ngx.conf_watcherbackup_2026-01-31_10:00:00_9",
        "ngx.conf_watcherbackup_2026-01-31_10:00:00_10",
        "ngx.conf_watcherbackup_2026-02-01_10:00:00_3",
        "ssl/opts.conf_watcherbackup_2025-01-31_10:00:00_1",
    ):
        write(tmp_path, path, b"12345")
    first, *rest = backup.found(str(tmp_path))
    name = "ngx.conf_watcherbackup_2026-02-01_10:00:00_3"
    assert first == backup.Backup("ngx.conf", name, "2026-02-01 10:00:00", 3, 5)
    assert [(item.file, item.revision) for item in rest] == [("ngx.conf", 10), ("ngx.conf", 9), ("ssl/opts.conf", 1)]
    assert [item.revision for item in backup.found(str(tmp_path), "ssl/opts.conf")] == [1]
    assert backup.found(str(tmp_path), "opts.conf") == []


def test_found_without_a_folder(tmp_path: Path) -> None:
    """Where nothing was backed up, there is nothing; what is no folder, too."""
    write(tmp_path, "file")
    assert backup.found(str(tmp_path / "none")) == backup.found(str(tmp_path / "file")) == []
    assert backup.found(str(tmp_path), "none/x") == []


def test_hostile_names(tmp_path: Path) -> None:
    """Names that no file of the tree can have are not shown, and no link is followed."""
    when = "_watcherbackup_2026-01-31_10:00:00_1"
    write(tmp_path, f"out/secret{when}")
    root = tmp_path / "b"
    for name in (
        f"a\nb{when}",
        when,
        f"x{when}x",
        "x_watcherbackup_2026-01-31_25:00:00_1",
        f"..{when}",
        f"new\n/x{when}",
    ):
        write(root, name)
    Path(os.fsdecode(os.fsencode(root) + b"/\xff" + when.encode())).write_bytes(b"")
    (root / "link").symlink_to(tmp_path / "out")
    os.mkfifo(root / f"fifo{when}")
    (root / f"folder{when}").mkdir()
    write(root, f"good{when}")
    assert [item.file for item in backup.found(str(root))] == ["good"]
    assert backup.found(str(root), "link/secret") == []


def test_read(tmp_path: Path) -> None:
    """A backup is read as a whole or not at all."""
    write(tmp_path, "x_watcherbackup_2026-01-31_10:00:00_1", b"12345")
    (item,) = backup.found(str(tmp_path))
    assert backup.read(str(tmp_path), item, 5) == b"12345"
    with pytest.raises(InvalidError, match="has 5 bytes, allowed are 4"):
        backup.read(str(tmp_path), item, 4)
    (tmp_path / item.name).unlink()
    with pytest.raises(DeployError, match="cannot be read: No such file"):
        backup.read(str(tmp_path), item)


def test_a_backup_of_a_link(tmp_path: Path) -> None:
    """It is shown and is not followed, neither when it was one nor when it has become one."""
    link = tmp_path / "x_watcherbackup_2026-01-31_10:00:00_1"
    link.symlink_to("/etc/passwd")
    (item,) = backup.found(str(tmp_path))
    assert item.kind == "link"
    with pytest.raises(InvalidError, match="is a symbolic link"):
        backup.read(str(tmp_path), item)
    with pytest.raises(DeployError, match="cannot be read"):
        backup.read(str(tmp_path), replace(item, kind="file"))
