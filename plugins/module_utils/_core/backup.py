# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of replaced and deleted files: their names, making them, finding them, keeping only the newest."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import disk, likeness
from .errors import DeployError, InvalidError
from .failpoints import reach
from .keys import is_path, shown
from .model import Place

MARK = "_watcherbackup_"
_NAME = re.compile(
    rf"(?P<name>.+){MARK}(?P<when>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}_[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})_(?P<revision>[0-9]+)",
    re.DOTALL,
)
MAX_READ = 64 << 20  # bytes of a backup that is put back: it is in memory meanwhile


@dataclass(frozen=True)
class Backup:
    """A backup of the file ``file``.

    ``name`` is its path below the backup folder, ``time`` when it was made (the host's local time) and ``revision``
    the etcd revision that replaced or removed the file. ``kind``: ``file``, or ``link`` where that was a symbolic link.
    """

    file: str
    name: str
    time: str
    revision: int
    size: int  # bytes
    kind: str = "file"

    @property
    def age(self) -> tuple[str, int, str]:
        """Return what sorts backups of one file, oldest first."""
        return self.time, self.revision, self.name

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


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
            likeness.copy(from_fd, name, to_fd, temporary)
            reach("backup.copied")
            while True:
                path = backup_path(place[1], when, revision)
                try:
                    likeness.name_anew(to_fd, temporary, path.rpartition("/")[2])
                    break
                except FileExistsError:
                    when += timedelta(seconds=1)
            reach("backup.named")
        finally:
            disk.remove(to_fd, temporary)
        os.fsync(to_fd)
    return f"{backup_dir}/{path}"


def drop(backup_dir: str, path: str) -> None:
    """Remove a backup that a deployment made before it was undone."""
    try:
        with disk.parent((backup_dir, path)) as (fd, name):
            disk.remove(fd, name)
    except FileNotFoundError:
        pass


def prune(backup_dir: str, paths: Iterable[str], keep: int, made: Iterable[str] = ()) -> None:
    """Remove all but the newest ``keep`` backups of each file; 0 keeps all. What cannot be removed is left.

    Those just ``made`` (paths) are the newest, be it that a clock that went wrong has dated others later.
    """
    new = {path.rpartition("/")[2] for path in made}
    folders: dict[str, set[str]] = {}
    for path in paths if keep else ():
        above, _unused, name = path.rpartition("/")
        folders.setdefault(above, set()).add(name)
    for above, names in folders.items():
        with contextlib.suppress(OSError), disk.folder(backup_dir, above) as fd:
            _prune(fd, names, keep, new)


def _prune(folder_fd: int, names: set[str], keep: int, new: set[str]) -> None:
    found: dict[str, list[tuple[bool, str, int, str]]] = {}
    for entry in os.listdir(folder_fd):
        parsed = parse(entry)
        if parsed is not None and parsed[0] in names:
            found.setdefault(parsed[0], []).append((entry in new, *parsed[1:], entry))
    for backups in found.values():
        for *_age, entry in sorted(backups)[:-keep]:
            disk.remove(folder_fd, entry)


def parse(name: str) -> tuple[str, str, int] | None:
    """Return the path that a backup's name or path is of, when it was made and its revision; None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        datetime.fromisoformat(match["when"])
    except ValueError:
        return None
    return match["name"], match["when"].replace("_", " "), int(match["revision"])


def found(backup_dir: str, file: str = "") -> list[Backup]:
    """Return the backups below a backup folder, or only those of one file: by file, the newest first.

    No link is followed, and a name that no file of the tree can have is not looked at. DeployError when the
    folder cannot be read; one that is missing has none.
    """
    try:
        backups = list(_walk(backup_dir, file.rpartition("/")[0], deep=not file))
    except OSError as error:
        raise DeployError(f"backup folder {backup_dir} cannot be read: {error.strerror}") from error
    mine = [backup for backup in backups if file in ("", backup.file)]
    mine.sort(key=lambda backup: backup.age, reverse=True)
    return sorted(mine, key=lambda backup: backup.file)


def _walk(root: str, above: str, *, deep: bool) -> Iterator[Backup]:
    waiting = [above]
    while waiting:
        above = waiting.pop()
        try:
            with disk.folder(root, above) as fd:
                for entry in os.listdir(fd):
                    path = f"{above}/{entry}" if above else entry
                    status = os.stat(entry, dir_fd=fd, follow_symlinks=False)
                    backup = _backup(path, status)
                    if backup is not None:
                        yield backup
                    elif deep and stat.S_ISDIR(status.st_mode) and is_path(path):
                        waiting.append(path)
        except OSError as error:
            # What is gone meanwhile, or leads elsewhere, holds no backups.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise


def _backup(path: str, status: os.stat_result) -> Backup | None:
    parsed = parse(path)
    if parsed is None or not is_path(parsed[0]) or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return None
    return Backup(parsed[0], path, *parsed[1:], status.st_size, "file" if stat.S_ISREG(status.st_mode) else "link")


def read(backup_dir: str, backup: Backup, limit: int = MAX_READ) -> bytes:
    """Return the content of a backup.

    InvalidError when it is longer than ``limit`` bytes, or no file; DeployError when it cannot be read.
    """
    where = f"backup {shown(backup.name)!r} below {backup_dir}"
    if backup.kind == "link":
        raise InvalidError(f"{where} is a symbolic link, as what it was made of; make that link by hand")
    try:
        content = disk.read((backup_dir, backup.name), limit + 1)
    except OSError as error:
        raise DeployError(f"{where} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise InvalidError(f"{where} has {backup.size} bytes, allowed are {limit}; copy it by hand")
    return content
