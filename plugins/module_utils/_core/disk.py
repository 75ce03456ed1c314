# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files below a deploy path, reached step by step through folder descriptors.

No step below the deploy path follows a symbolic link, so neither a key of the tree nor a local
user who swaps a folder for a link gets a write out of it. The deploy path itself is resolved
as the operating system does. All functions raise OSError; callers say what they were doing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import xattrs
from .failpoints import reach
from .model import Found, Place

FILE_MODE = 0o644  # of a new file when the policy says nothing
FOLDER_MODE = 0o755  # of a folder that we make when the policy says nothing
TEMPORARY = ".watcher-"  # how the names of our temporary files begin
_CHUNK = 1 << 20  # bytes read at a time
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a fifo must not stop us


@dataclass(frozen=True)
class Owner:
    """User id, group id, mode and extended attributes to give; None leaves what the system gives."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    extended: Mapping[str, bytes] | None = None

    def fits(self, status: os.stat_result) -> bool:
        """Return whether a file has owner, group and mode already."""
        pairs = ((self.uid, status.st_uid), (self.gid, status.st_gid), (self.mode, stat.S_IMODE(status.st_mode)))
        return all(wanted is None or wanted == present for wanted, present in pairs)

    def give(self, fd: int) -> None:
        """Set them on an open file or folder."""
        if self.uid is not None or self.gid is not None:
            os.fchown(fd, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        listed = self.extended is None or xattrs.give(fd, self.extended)
        if self.mode is not None:  # after fchown, which clears the set-id bits
            # The group's bits are the most that an access control list allows anybody: without it, nobody gets them.
            os.fchmod(fd, self.mode if listed else self.mode & ~stat.S_IRWXG)


@contextlib.contextmanager
def folder(root: str, path: str) -> Iterator[int]:
    """Open the folder ``path`` (may be empty) below ``root``; FileNotFoundError where it is missing."""
    fd = os.open(root, _FOLDER)
    try:
        for segment in [part for part in path.split("/") if part]:
            inner = os.open(segment, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def folders(place: Place, base: str) -> Iterator[tuple[int, str, int]]:
    """Open as `parent` does, and the folder ``base`` below the same root, which often is the same folder."""
    with parent(place) as (fd, name):
        if base == place[1].rpartition("/")[0]:
            yield fd, name, fd
        else:
            with folder(place[0], base) as other:
                yield fd, name, other


@contextlib.contextmanager
def parent(place: Place) -> Iterator[tuple[int, str]]:
    """Open the folder that holds a place's file; yields it and the file's name in it."""
    above, _unused, name = place[1].rpartition("/")
    with folder(place[0], above) as fd:
        yield fd, name


def sync(path: str) -> None:
    """Make durable what a folder holds."""
    with folder(path, "") as fd:
        os.fsync(fd)


def sync_folder(place: Place) -> None:
    """Make durable what a folder below a deploy path holds, unless it is gone."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder(*place) as fd:
        os.fsync(fd)


def make_folder(place: Place, owner: Owner) -> bool:
    """Make one folder, durably; return False when it is there already. A path "" is the deploy path itself."""
    with parent(place) if place[1] else _above(place[0]) as (fd, name):
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        except FileExistsError:
            return False
        reach("folder.made")
        try:
            given = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & stat.S_ISGID  # a group that is handed on
            give_folder(place, Owner(owner.uid, owner.gid, FOLDER_MODE | given if owner.mode is None else owner.mode))
            os.fsync(fd)
        except OSError:
            os.rmdir(name, dir_fd=fd)
            raise
    reach("folder.done")
    return True


def give_folder(place: Place, owner: Owner) -> None:
    """Set owner and mode of a folder, durably."""
    with folder(*place) as fd:
        owner.give(fd)
        os.fsync(fd)


@contextlib.contextmanager
def _above(root: str) -> Iterator[tuple[int, str]]:
    with folder(os.path.dirname(root), "") as fd:
        yield fd, os.path.basename(root)


def missing_folders(place: Place, known: set[Place]) -> list[Place]:
    """Return the folders that a place lacks, outermost first; ``known`` are not looked for, and are added to."""
    root, path = place
    above = path.split("/")[:-1]
    wanted = [(root, ""), *((root, "/".join(above[:count])) for count in range(1, len(above) + 1))]
    while not os.path.lexists(wanted[0][0]):
        wanted.insert(0, (os.path.dirname(wanted[0][0]), ""))
    missing = [inner for inner in wanted if inner not in known and inspect(inner).kind == "absent"]
    known.update(wanted)
    return missing


def make_folders(place: Place, owner: Owner) -> None:
    """Make the missing folders of a place, the deploy path included."""
    for missing in missing_folders(place, set()):
        make_folder(missing, owner)


def inspect(place: Place) -> Found:
    """Return what is at a place; ``reason`` says why it cannot hold a file of ours, if so.

    A path "" is the deploy path itself.
    """
    root, path = place
    try:
        if not path:
            return Found("folder" if os.path.isdir(root) else "other" if os.path.lexists(root) else "absent")
        with parent(place) as (fd, name):
            return _inspect(fd, name, place)
    except FileNotFoundError:
        return Found()
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    above = _blocker(place)
    where = f"{root}/{above}" if above else root
    return Found("blocked", reason=f"{where} is not a folder, or a symbolic link, which is not followed", above=above)


def _blocker(place: Place) -> str:
    """Return the outermost part of a place's path that is no folder; empty for the deploy path itself."""
    root, path = place
    above = path.split("/")[:-1]
    for count in range(len(above) + 1):
        try:
            with folder(root, "/".join(above[:count])):
                pass
        except OSError:
            return "/".join(above[:count])
    return ""


def _inspect(parent_fd: int, name: str, place: Place) -> Found:
    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    facts = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Found("link", "", *facts)
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        kind = "folder" if is_folder else "device, pipe or socket"
        reason = f"{'/'.join(place)} is a {kind}; move it out of the way"
        return Found("folder" if is_folder else "other", "", *facts, reason=reason)
    digest = hashlib.sha256()
    with open(os.open(name, READ, dir_fd=parent_fd), "rb", buffering=0) as stream:
        while chunk := stream.read(min(status.st_size + 1, _CHUNK)):
            digest.update(chunk)
    return Found("file", "sha256:" + digest.hexdigest(), *facts)


def read(place: Place, limit: int = -1) -> bytes:
    """Return the content of a regular file, at most ``limit`` bytes of it; no link is followed."""
    with parent(place) as (fd, name):
        file = os.open(name, READ, dir_fd=fd)
    with open(file, "rb") as stream:
        return stream.read(limit)


def temporary() -> str:
    """Return the beginning of new names for temporary files; short, so that they fit wherever a file's name does."""
    return TEMPORARY + secrets.token_hex(6)


def fill(fd: int, content: bytes) -> None:
    """Write all of a content to an open file."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def create(folder_fd: int, name: str, content: bytes, owner: Owner) -> int:
    """Make a new file, with its owner and mode, and return it open: fsync makes it durable. The name must be free."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder_fd)
    reach("file.created")
    try:
        fill(fd, content)
        owner.give(fd)
    except BaseException:
        os.close(fd)
        raise
    reach("file.written")
    return fd


def write(folder_fd: int, name: str, content: bytes, owner: Owner) -> None:
    """Make a new file, with its owner and mode, durable before this returns. The name must be free."""
    fd = create(folder_fd, name, content, owner)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def exists(folder_fd: int, name: str) -> bool:
    """Return whether a folder has something of that name."""
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove(folder_fd: int, name: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)


def remove_folder(place: Place) -> bool:
    """Remove a folder, durably, if it is empty; return whether it is gone now."""
    try:
        with parent(place) if place[1] else _above(place[0]) as (fd, name):
            os.rmdir(name, dir_fd=fd)
            reach("folder.removed")
            os.fsync(fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY, errno.EACCES, errno.ELOOP):
            return False
        raise
    return True
