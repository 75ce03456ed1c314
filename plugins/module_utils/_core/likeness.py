# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are to be like another one: its second name, its copy, its successor.

As in `disk`, names are names in open folders, no link is followed, and all functions raise OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from . import disk, xattrs
from .disk import Owner
from .failpoints import reach

SET_ID = stat.S_ISUID | stat.S_ISGID
_NO_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)  # EXDEV: the file is mounted from elsewhere
_OVER = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def owner(uid: int, gid: int, mode: int) -> Owner:
    """Return what of a file's owner, group and mode a new file of ours can have.

    Only root may give files away. The set-id bits would mean another user there, and are not kept then.
    """
    root = os.geteuid() == 0
    user = uid if root or uid == os.geteuid() else None
    group = gid if root or gid == os.getegid() or gid in os.getgroups() else None
    return Owner(user, group, mode if user is not None and group is not None else mode & ~SET_ID)


def attributes(folder_fd: int, name: str) -> dict[str, bytes]:
    """Return the extended attributes that the successor of a file shall have; none when the file is gone."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(name, disk.READ, dir_fd=folder_fd)
        try:
            return xattrs.read(fd)
        finally:
            os.close(fd)
    return {}


def _linked(folder_fd: int, name: str, second: str) -> bool:
    """Give a file a second name; return whether that can be."""
    try:
        os.link(name, second, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def set_aside(folder_fd: int, name: str, aside: str) -> None:
    """Give a file a second name, so that it can come back as it was; where that cannot be, copy it."""
    if not _linked(folder_fd, name, aside):
        copy(folder_fd, name, folder_fd, aside)


def name_anew(folder_fd: int, name: str, new: str) -> None:
    """Give a complete file another name; FileExistsError when that is taken. The old name may be left."""
    if not _linked(folder_fd, name, new):
        if disk.exists(folder_fd, new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.rename(name, new, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)


def part(from_fd: int, name: str, to_fd: int, aside: str) -> None:
    """Let what `set_aside` made be a copy, if it is another name of the same file, so that this can be written to."""
    status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
    if os.path.samestat(status, os.stat(aside, dir_fd=to_fd, follow_symlinks=False)):
        os.unlink(aside, dir_fd=to_fd)
        copy(from_fd, name, to_fd, aside)


def copy(from_fd: int, name: str, to_fd: int, to_name: str) -> None:
    """Copy a file with owner, mode, extended attributes and times, or a symbolic link as a link.

    The new name must be free.
    """
    status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=from_fd), to_name, dir_fd=to_fd)
        return
    content, status, extended = _all_of(from_fd, name)
    like = owner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    disk.write(to_fd, to_name, content, Owner(like.uid, like.gid, like.mode, extended))
    os.utime(to_name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=to_fd, follow_symlinks=False)


def _all_of(folder_fd: int, name: str) -> tuple[bytes, os.stat_result, dict[str, bytes]]:
    with open(os.open(name, disk.READ, dir_fd=folder_fd), "rb") as stream:
        fd = stream.fileno()
        return stream.read(), os.fstat(fd), xattrs.read(fd)


def overwrite(folder_fd: int, name: str, content: bytes, wanted: Owner) -> None:
    """Write a content into a file that is there, durably. Only where nothing else goes: a reader may see half of it.

    The length comes last: nobody ever finds the file empty, and while the disk is full the old content fits back.
    """
    fd = os.open(name, _OVER, dir_fd=folder_fd)
    try:
        disk.fill(fd, content)
        reach("place.filled")
        os.ftruncate(fd, len(content))
        if not wanted.fits(os.fstat(fd)):  # who may write a file may not always set these
            wanted.give(fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def put_back(from_fd: int, aside: str, to_fd: int, name: str) -> None:
    """Write the content of a file that `set_aside` has copied back into the file itself, unless that is as it was."""
    content, status, _extended = _all_of(from_fd, aside)
    wanted = owner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    present, found, _extended = _all_of(to_fd, name)
    if present == content and wanted.fits(found):
        return
    overwrite(to_fd, name, content, wanted)
    with contextlib.suppress(PermissionError):  # times are no reason to fail
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=to_fd, follow_symlinks=False)
