# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of replaced and deleted files: their names, making them, keeping only the newest."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from . import disk
from .model import Place

MARK = "_watcherbackup_"
_NAME = re.compile(
    rf"(?P<name>.+){MARK}(?P<when>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}_[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})_(?P<revision>[0-9]+)",
    re.DOTALL,
)


def backup_path(path: str, when: datetime, revision: int) -> str:
    """Return a backup's path below the backup folder (contract, section 3); times are local."""
    return f"{path}{MARK}{when:%Y-%m-%d_%H:%M:%S}_{revision}"


def make(place: Place, backup_dir: str, temporary: str, when: datetime, revision: int) -> str:
    """Copy the file at a place below the backup folder, durably; return the backup's full path.

    ``temporary`` is the name, in the same folder, of a copy that is not complete. A name that is taken,
    as by another project with the same backup folder, is never overwritten: the backup is called after
    the next second then.
    """
    disk.make_folders((backup_dir, place[1]), disk.Owner())
    with disk.parent(place) as (from_fd, name), disk.parent((backup_dir, place[1])) as (to_fd, _unused):
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


def prune(backup_dir: str, paths: Iterable[str], keep: int) -> None:
    """Remove all but the newest ``keep`` backups of each file; 0 keeps all. What cannot be removed is left."""
    folders: dict[str, set[str]] = {}
    for path in paths if keep else ():
        above, _unused, name = path.rpartition("/")
        folders.setdefault(above, set()).add(name)
    for above, names in folders.items():
        with contextlib.suppress(OSError), disk.folder(backup_dir, above) as fd:
            _prune(fd, names, keep)


def _prune(folder_fd: int, names: set[str], keep: int) -> None:
    found: dict[str, list[tuple[str, int, str]]] = {}
    for entry in os.listdir(folder_fd):
        match = _NAME.fullmatch(entry)
        if match and match["name"] in names:
            found.setdefault(match["name"], []).append((match["when"], int(match["revision"]), entry))
    for backups in found.values():
        for _when, _revision, entry in sorted(backups)[:-keep]:
            disk.remove(folder_fd, entry)
