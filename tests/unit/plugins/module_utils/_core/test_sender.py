# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks that wait are sent while a sender is open."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.sender import Sender
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Report, Spool

BOUND = 5.0  # seconds for one condition


def counted(folder: Path) -> tuple[Spool, threading.Semaphore]:
    """Return a spool in the folder, and what is released for each callback that it sends."""
    arrived = threading.Semaphore(0)

    def send(_url: str, _body: bytes) -> str:
        arrived.release()
        return ""

    return Spool(str(folder), send=send), arrived


def test_what_waits_is_sent(tmp_path: Path) -> None:
    """A callback of before and one of meanwhile arrive, and the spool is empty then."""
    spool, arrived = counted(tmp_path / "spool")
    spool.put("http://receiver/", {"id": 1})
    with Sender(spool, 0.01):
        assert arrived.acquire(timeout=BOUND)
        spool.put("http://receiver/", {"id": 2})
        assert arrived.acquire(timeout=BOUND)
        gone = threading.Event()
        for _number in range(500):
            if not spool.names():
                break
            gone.wait(0.01)
        assert spool.names() == []


def test_wake(tmp_path: Path) -> None:
    """It looks at once, and each time, however long the pause."""
    spool, arrived = counted(tmp_path / "spool")
    with Sender(spool, 3600.0) as sender:
        for number in range(5):
            spool.put("http://receiver/", {"id": number})
            sender.wake()
            assert arrived.acquire(timeout=BOUND)


def test_counts(tmp_path: Path) -> None:
    """What was sent, and what was given up after a day."""
    now, looked = [0.0], threading.Semaphore(0)

    def send(url: str, _body: bytes) -> str:
        return "answer 500" if "bad" in url else ""

    class Watched(Spool):
        def send_due(self, *args: Any) -> Report:
            report = super().send_due(*args)
            looked.release()
            return report

    spool = Watched(str(tmp_path / "spool"), send=send, clock=lambda: now[0])
    for url in ("http://good/", "http://bad/", "http://good/"):
        spool.put(url, {"id": url})
    with Sender(spool, 3600.0) as sender:
        counts = []
        for _unused in range(2):
            sender.wake()
            assert looked.acquire(timeout=BOUND)
            sender.wake()
            assert looked.acquire(timeout=BOUND)  # what the look before has found is counted by now
            counts.append((sender.sent, sender.dropped))
            now[0] += 2 * 86400.0
    assert counts == [(2, 0), (2, 1)]


def test_a_folder_that_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The thread goes on, and does not fill the log."""
    looks = threading.Semaphore(0)

    class Broken(Spool):
        def send_due(self, budget: float = 0.0) -> None:  # type: ignore[override]
            looks.release()
            raise OSError("no such disk")

    with caplog.at_level(logging.WARNING), Sender(Broken(str(tmp_path)), 0.01):
        for _number in range(4):
            assert looks.acquire(timeout=BOUND)
    assert [record.message for record in caplog.records] == ["callbacks that wait cannot be read: no such disk"]
