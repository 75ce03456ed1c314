# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of replaced and deleted files: their names, making them, keeping only the newest."""

from __future__ import annotations

import os
import re
from datetime import datetime

from . import disk
from .model import Place

MARK = "_watcherbackup_"
_NAME = re.compile(re.escape(MARK) + r"(\d{4}-\d{2}-\d{2}_\d{2}:\d{2}:\d{2})_(\d+)")


def backup_path(path: str, when: datetime, revision: int) -> str:
    """Return a backup's path below the backup folder (contract, section 3); times are local."""
    return f"{path}{MARK}{when:%Y-%m-%d_%H:%M:%S}_{revision}"


def make(place: Place, backup_dir: str, path: str, owner: disk.Owner) -> str:
    """Copy the file at a place to ``path`` below the backup folder, durably; return the backup's full path."""
    target = (backup_dir, path)
    disk.make_folders(target, owner)
    with disk.parent(place) as (from_fd, name), disk.parent(target) as (to_fd, to_name):
        temporary = disk.temporary()
        try:
            disk.copy(from_fd, name, to_fd, temporary)
            os.rename(temporary, to_name, src_dir_fd=to_fd, dst_dir_fd=to_fd)
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
