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
from collections.abc import Iterator
from dataclasses import dataclass

from .model import Found, Place

FILE_MODE = 0o644  # of a new file when the policy says nothing
FOLDER_MODE = 0o755  # of a folder that we make when the policy says nothing
TEMPORARY = ".watcher-"  # how the names of our temporary files begin
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a fifo must not stop us


@dataclass(frozen=True)
class Owner:
    """User id, group id and mode to give; None leaves what the system gives."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None

    def give(self, fd: int) -> None:
        """Set them on an open file or folder."""
        if self.uid is not None or self.gid is not None:
            os.fchown(fd, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        if self.mode is not None:  # after fchown, which clears the set-id bits
            os.fchmod(fd, self.mode)


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
def parent(place: Place) -> Iterator[tuple[int, str]]:
    """Open the folder that holds a place's file; yields it and the file's name in it."""
    above, _, name = place[1].rpartition("/")
    with folder(place[0], above) as fd:
        yield fd, name


def make_folders(place: Place, owner: Owner) -> list[Place]:
    """Make the missing folders of a place, the deploy path included; return those made, outermost first."""
    root, path = place
    made: list[Place] = []
    if not os.path.isdir(root):
        made += [(folder_path, "") for folder_path in _make_root(root, owner)]
    segments = path.split("/")[:-1]
    for count in range(1, len(segments) + 1):
        inner = "/".join(segments[:count])
        with folder(root, "/".join(segments[: count - 1])) as fd:
            try:
                os.mkdir(segments[count - 1], 0o700, dir_fd=fd)
            except FileExistsError:
                continue
            os.fsync(fd)
        with folder(root, inner) as fd:
            Owner(owner.uid, owner.gid, FOLDER_MODE if owner.mode is None else owner.mode).give(fd)
        made.append((root, inner))
    return made


def _make_root(root: str, owner: Owner) -> list[str]:
    missing = []
    while not os.path.isdir(root):
        missing.append(root)
        root = os.path.dirname(root)
    for path in reversed(missing):
        os.mkdir(path, 0o700)
        with folder(path, "") as fd:
            Owner(owner.uid, owner.gid, FOLDER_MODE if owner.mode is None else owner.mode).give(fd)
    return missing[::-1]


def inspect(place: Place) -> Found:
    """Return what is at a place; ``reason`` says why it cannot hold a file of ours, if so."""
    try:
        with parent(place) as (fd, name):
            return _inspect(fd, name, place)
    except FileNotFoundError:
        return Found()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            above = os.path.dirname("/".join(place))
            return Found("other", reason=f"{above} is not a folder, or a symbolic link, which is not followed")
        raise


def _inspect(parent_fd: int, name: str, place: Place) -> Found:
    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    facts = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Found("link", "", *facts)
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device, pipe or socket"
        return Found("other", "", *facts, reason=f"{'/'.join(place)} is a {kind}; move it out of the way")
    fd = os.open(name, _FILE, dir_fd=parent_fd)
    with open(fd, "rb") as stream:
        digest = hashlib.sha256()
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return Found("file", "sha256:" + digest.hexdigest(), *facts)


def read(place: Place, limit: int = -1) -> bytes:
    """Return the content of a regular file, at most ``limit`` bytes of it; no link is followed."""
    with parent(place) as (fd, name), open(os.open(name, _FILE, dir_fd=fd), "rb") as stream:
        return stream.read(limit)


def temporary() -> str:
    """Return a new name for a temporary file; short, so that it fits wherever the file's own name does."""
    return TEMPORARY + secrets.token_hex(8)


def write(folder_fd: int, name: str, content: bytes, owner: Owner) -> None:
    """Make a new file, with its owner and mode, durable before this returns. The name must be free."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=folder_fd), "wb") as stream:
        stream.write(content)
        stream.flush()
        owner.give(stream.fileno())
        os.fsync(stream.fileno())


def set_aside(folder_fd: int, name: str, aside: str) -> None:
    """Give a file a second name, so that it can come back as it was."""
    try:
        os.link(name, aside, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except OSError as error:  # a file system without hard links
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        copy(folder_fd, name, folder_fd, aside)


def copy(from_fd: int, name: str, to_fd: int, to_name: str) -> None:
    """Copy a file, or a symbolic link as a link, with owner, mode and times; the new name must be free."""
    status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=from_fd), to_name, dir_fd=to_fd)
        return
    with open(os.open(name, _FILE, dir_fd=from_fd), "rb") as source:
        content = source.read()
    write(to_fd, to_name, content, _same_owner(status))
    os.utime(to_name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=to_fd, follow_symlinks=False)


def _same_owner(status: os.stat_result) -> Owner:
    """Return what to give a copy: its owner too, where we may (only root may give files away)."""
    may = os.geteuid() == 0
    return Owner(status.st_uid if may else None, status.st_gid if may else None, stat.S_IMODE(status.st_mode))


def remove(folder_fd: int, name: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)


def remove_folder(place: Place) -> bool:
    """Remove a folder if it is empty; return whether it is gone now."""
    try:
        if not place[1]:
            os.rmdir(place[0])
            return True
        with parent(place) as (fd, name):
            os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY, errno.EACCES, errno.ELOOP):
            return False
        raise
    return True
