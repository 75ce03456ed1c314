# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The extended attributes that a file's successor and its copies have, too.

The SELinux context, the access control list and what users noted. Not capabilities and checksums: these were
given to a content.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

CONTEXT = "security.selinux"
ACL = "system.posix_acl_access"
_USERS = "user."
# There is none, no more or not for us; or a file system that has no such thing.
_UNREADABLE = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES)
# A file system that has no such thing; or not our business, as on a host whose kernel does not use contexts. A
# context that SELinux refuses is another error: with a wrong one the file's reader would be locked out.
_UNGIVABLE = (errno.ENOTSUP, errno.EPERM)
# Notes of users that fit where the file is, and not where its backup goes: they must not keep a file from its change.
_TOO_MUCH = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE)


def read(fd: int) -> dict[str, bytes]:
    """Return those attributes of an open file."""
    found = {}
    for name in _names(fd):
        try:
            found[name] = os.getxattr(fd, name)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
    return found


def _names(fd: int) -> list[str]:
    try:
        return [name for name in os.listxattr(fd) if name in (CONTEXT, ACL) or name.startswith(_USERS)]
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        return []


def give(fd: int, wanted: Mapping[str, bytes]) -> bool:
    """Give an open file these attributes, where that can be; return whether its access control list is right."""
    there = read(fd)
    if ACL in there and ACL not in wanted:  # what its folder gives to new files
        os.removexattr(fd, ACL)
    right = True
    for name, value in wanted.items():
        if there.get(name) != value:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                spare = name.startswith(_USERS) and error.errno in _TOO_MUCH
                if error.errno not in _UNGIVABLE and not spare:
                    raise
                right = right and name != ACL
    return right
