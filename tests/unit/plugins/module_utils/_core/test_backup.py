# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, contents and number of backups."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import backup

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
