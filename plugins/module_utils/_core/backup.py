# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of replaced and deleted files: their names, making them, keeping only the newest."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta

from . import disk
from .model import Place

MARK = "_watcherbackup_"
_NAME = re.compile(re.escape(MARK) + r"(\d{4}-\d{2}-\d{2}_\d{2}:\d{2}:\d{2})_(\d+)")


def backup_path(path: str, when: datetime, revision: int) -> str:
    """Return a backup's path below the backup folder (contract, section 3); times are local."""
    return f"{path}{MARK}{when:%Y-%m-%d_%H:%M:%S}_{revision}"


def make(place: Place, backup_dir: str, when: datetime, revision: int) -> str:
    """Copy the file at a place below the backup folder, durably; return the backup's full path.

    A name that is taken, as two projects or two seconds' deployments may want it, is never overwritten:
    the backup is called after the next second then.
    """
    disk.make_folders((backup_dir, place[1]), disk.Owner())
    with disk.parent(place) as (from_fd, name), disk.parent((backup_dir, place[1])) as (to_fd, _):
        temporary = disk.temporary()
        try:
            disk.copy(from_fd, name, to_fd, temporary)
            while True:
                path = backup_path(place[1], when, revision)
                try:
                    disk.set_aside(to_fd, temporary, path.rpartition("/")[2])
                    break
                except FileExistsError:
                    when += timedelta(seconds=1)
            os.fsync(to_fd)
        finally:
            disk.remove(to_fd, temporary)
    return f"{backup_dir}/{path}"


def drop(backup_dir: str, path: str) -> None:
    """Remove a backup that a deployment made before it was undone."""
    try:
        with disk.parent((backup_dir, path)) as (fd, name):
            disk.remove(fd, name)
    except FileNotFoundError:
        pass


def prune(backup_dir: str, path: str, keep: int) -> None:
    """Remove all but the newest ``keep`` backups of a file; 0 keeps all."""
    if not keep:
        return
    with disk.parent((backup_dir, path)) as (fd, name):
        found = []
        for entry in os.listdir(fd):
            match = _NAME.fullmatch(entry[len(name) :]) if entry.startswith(name + MARK) else None
            if match:
                found.append((match.group(1), int(match.group(2)), entry))
        for _, _, entry in sorted(found)[:-keep]:
            disk.remove(fd, entry)
