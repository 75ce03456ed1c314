# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of contents: what comes back is what was put, or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.copies import Copies
from ansible_collections.watcher.config.plugins.module_utils._core.model import sha256


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    """Return the copies of a state folder with two projects."""
    for name in "p", "q":
        (tmp_path / "state" / name).mkdir(parents=True)
    return Copies(str(tmp_path / "state"))


def kept(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_comes_back(copies: Copies) -> None:
    """By project and path, with the digest that is wanted."""
    contents = {"a": b"1", "b/c": b"", "b/" + "x" * 255: bytes(range(256)), "ü ${x}": b"2"}
    for path, content in contents.items():
        copies.put("p", path, content)
    for path, content in contents.items():
        assert copies.get("p", path, sha256(content)) == content
    assert copies.get("p", "a", sha256(b"2")) is None
    assert copies.get("q", "a", sha256(b"1")) is None
    assert copies.get("p", "c", sha256(b"1")) is None


def test_for_nobody_else(copies: Copies, tmp_path: Path) -> None:
    """Contents may be secrets."""
    copies.put("p", "a", b"secret")
    for path in (tmp_path / "state" / "p").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_newer_content_takes_the_place(copies: Copies, tmp_path: Path) -> None:
    """However often a file changes, one copy of it is kept."""
    for number in range(5):
        copies.put("p", "a", b"%d" % number)
    assert copies.get("p", "a", sha256(b"4")) == b"4"
    assert len(kept(tmp_path)) == 1


def test_an_equal_content_is_not_written_again(copies: Copies, tmp_path: Path) -> None:
    """A start with 10,000 files writes none of them."""
    copies.put("p", "a", b"1")
    (file,) = kept(tmp_path)
    os.utime(file, ns=(1, 1))
    copies.put("p", "a", b"1")
    assert file.stat().st_mtime_ns == 1


def test_what_does_not_match_is_missing_and_mended(copies: Copies, tmp_path: Path) -> None:
    """A copy that a crash tore, or that somebody changed, is never taken for the content."""
    copies.put("p", "a", b"good")
    (file,) = kept(tmp_path)
    file.write_bytes(b"go")
    assert copies.get("p", "a", sha256(b"good")) is None
    copies.put("p", "a", b"good")
    assert copies.get("p", "a", sha256(b"good")) == b"good"


def test_drop_and_prune(copies: Copies, tmp_path: Path) -> None:
    """What is gone from the project goes from the copies, other projects' stay."""
    for path in ("a", "b", "c"):
        copies.put("p", path, path.encode())
    copies.put("q", "a", b"a")
    copies.drop("p", "a")
    copies.drop("p", "never")
    assert [copies.get("p", path, sha256(path.encode())) for path in ("a", "b", "c")] == [None, b"b", b"c"]
    copies.prune("p", {"b"})
    assert [copies.get("p", path, sha256(path.encode())) for path in ("a", "b", "c")] == [None, b"b", None]
    (tmp_path / "state" / "p" / "objects" / "else").write_bytes(b"of another version")
    copies.prune("p", ())
    assert not (tmp_path / "state" / "p" / "objects").exists()
    copies.prune("p", ())
    assert copies.get("q", "a", sha256(b"a")) == b"a"


def test_a_disk_that_refuses_costs_only_the_copy(copies: Copies, tmp_path: Path) -> None:
    """Nothing is raised."""
    (tmp_path / "state" / "p" / "objects").write_bytes(b"a file where the folder should be")
    copies.put("p", "a", b"1")
    copies.drop("p", "a")
    copies.prune("p", ())
    copies.put("removed", "a", b"1")
    assert copies.get("p", "a", sha256(b"1")) is None
