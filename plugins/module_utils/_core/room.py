# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a folder of this host is good for: whether it can be written, and how much fits."""

from __future__ import annotations

import os
import pwd

from .finding import FAIL, OK, WARN, Finding

FULL, NEARLY_FULL = 10 << 20, 100 << 20  # bytes free


def look_at(what: str, path: str, view: str = "") -> Finding:
    """Return what is to be said of a folder that has to be written.

    ``view`` is the root folder of a process whose view counts: a service may see file systems read-only that others
    can write. Once that process has ended, it is the view of this one that counts.
    """
    real = os.path.realpath(path)
    shown = path if real == path else f"{path} (which leads to {real})"
    missing = not os.path.exists(view + real)
    while not os.path.exists(view + real) and real != os.path.dirname(real):
        real = os.path.dirname(real)
    note = f"{shown} is missing and will be made in {real}" if missing else shown
    try:
        found = _judged(what, note, view + real)
    except OSError as error:
        found = Finding(FAIL, what, f"{note} cannot be looked at: {error.strerror}")
    gone = view and not os.path.exists(f"{view}/")  # maybe since a moment ago, and then that was judged
    return look_at(what, path) if gone else found


def _judged(what: str, note: str, path: str) -> Finding:
    if not os.path.isdir(path):
        return Finding(FAIL, what, f"{note}: there is something that is not a folder; move it away")
    space = os.statvfs(path)
    if space.f_flag & os.ST_RDONLY:
        return Finding(FAIL, what, f"{note}: the file system is read-only here; mount it writable, or let the service")
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        return Finding(FAIL, what, f"{note}: user {user(os.geteuid())} may not write there; give it to that user")
    free = space.f_bavail * space.f_frsize
    if free < FULL or (space.f_files and not space.f_favail):
        return Finding(FAIL, what, f"{note}: the file system is full ({_size(free)} and {space.f_favail} inodes free)")
    if free < NEARLY_FULL:
        return Finding(WARN, what, f"{note}: only {_size(free)} are free; make room")
    return Finding(OK, what, f"{note}, {_size(free)} free")


def user(uid: int) -> str:
    """Return the name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.0f} TiB"
