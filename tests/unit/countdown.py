# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that fail, and processes that die, at a chosen system call."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

CALLS = ["rename", "link", "unlink", "mkdir", "rmdir", "replace", "fsync", "fchmod"]
CALLS += ["write", "pwrite", "ftruncate", "fdatasync"]  # of contents, and of the ledger's log


class Countdown:
    """Stands before the system calls that change a disk, and does something at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], None]) -> None:
        """Act at call number ``count``, once; ``made`` are the calls."""
        self.count = count
        self.act = act
        self.made: list[str] = []
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.made.append(name)
            self.count -= 1
            if self.count == 0:
                self.act()
            return call(*arguments, **named)

        return counted


def refuse() -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be synced: a process that dies does not take the system's memory with it."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)
