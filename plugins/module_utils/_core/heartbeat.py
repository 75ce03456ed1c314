# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat: who lives, posted to one address at an interval (contract, section 5)."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Callable

from .spool import anonymous, post

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 0.3  # seconds that the end waits for a receiver that is being asked


class Heartbeat:
    """Posts by a thread of its own, at once and then every interval.

    Read by any thread: ``sent`` and ``failed`` (how many) and ``problem`` (a sentence about the
    last one; empty when it was taken).
    """

    def __init__(
        self,
        url: str,
        interval: float,
        host: str,
        version: str,
        *,
        send: Callable[[str, bytes], str] = post,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Start nothing yet; the interval is in seconds.

        ``send`` returns why it failed, empty when it did not; ``sleep`` is to return early after `close`.
        """
        self.sent = 0
        self.failed = 0
        self.problem = ""
        self._url, self._interval = url, interval
        self._host, self._version = host, version
        self._send, self._clock, self._now = send, clock, now
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._thread = threading.Thread(target=self._run, name="watcher-heartbeat", daemon=True)

    def start(self) -> None:
        """Send the first one at once."""
        self._thread.start()

    def close(self) -> None:
        """Send no more; from any thread."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        due = self._clock()
        while not self._closed.is_set():
            self._beat()
            due = self._next(due)
            self._sleep(due - self._clock())

    def _next(self, due: float) -> float:
        """Return when the next one is due: an interval after this one was, without those missed meanwhile."""
        missed = max(0.0, self._clock() - due) // self._interval
        return due + (missed + 1.0) * self._interval

    def _beat(self) -> None:
        body = {"version": self._version, "hostname": self._host, "timestamp": int(self._now())}
        try:
            problem = self._send(self._url, json.dumps(body).encode())
        except Exception as error:  # whatever it is: without heartbeats the host is taken for dead
            problem = str(error) or type(error).__name__
        if self._closed.is_set() and problem:
            return
        if problem:
            self._failed(f"heartbeat to {anonymous(self._url)}: {problem}")
        else:
            self._taken()

    def _failed(self, problem: str) -> None:
        if not self.problem:
            logger.warning("%s; trying again every %g s", problem, self._interval)
        self.failed += 1
        self.problem = problem

    def _taken(self) -> None:
        if self.problem:
            logger.info("heartbeat to %s: taken again", anonymous(self._url))
        self.sent += 1
        self.problem = ""
