# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When new content is on the disk, as a third process sees it: woken by inotify, not by a poll that takes a core."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from pathlib import Path

MOVED_TO = 0x80  # of inotify(7)
HEAD = struct.Struct("iIII")


class Landing:
    """A file that others replace; its folder has to be there."""

    def __init__(self, path: Path) -> None:
        """Begin to listen."""
        self.path = path
        self._name = path.name.encode()
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(path.parent), MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be used", str(path))

    def wait(self, content: bytes, bound: float) -> int:
        """Return the time (monotonic, in nanoseconds) at which the file holds the content; TimeoutError otherwise."""
        deadline = time.monotonic() + bound
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"{self.path} does not hold {content!r} after {bound:g} s")
            buffer = os.read(self._fd, 1 << 16)
            now = time.monotonic_ns()
            if self._name in names(buffer) and self.path.read_bytes() == content:
                return now

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)


def names(buffer: bytes) -> list[bytes]:
    """Return the names in a buffer of inotify events."""
    found, offset = [], 0
    while offset < len(buffer):
        size = HEAD.unpack_from(buffer, offset)[3]
        offset += HEAD.size
        found.append(buffer[offset : offset + size].rstrip(b"\0"))
        offset += size
    return found
