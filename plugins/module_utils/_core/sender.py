# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread that sends the callbacks of a spool, beside whatever else its process does."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from .spool import Spool

logger = logging.getLogger(__name__)

PAUSE = 2.0  # seconds between two looks into the spool; a look at an empty one costs microseconds
JOIN_TIMEOUT = 0.3  # seconds that the end waits for a receiver that is being asked


class Sender:
    """A context manager: while it is open, callbacks that are due are sent; counts those sent and given up."""

    def __init__(self, spool: Spool, pause: float = PAUSE) -> None:
        """Start nothing yet; ``pause`` is in seconds."""
        self._spool = spool
        self._pause = pause
        self._closing = False
        self._wake = threading.Event()
        self.sent = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="watcher-callbacks", daemon=True)

    def __enter__(self) -> Sender:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; a callback that is just being sent is sent again by the next sender."""
        self._closing = True
        self._wake.set()
        self._thread.join(JOIN_TIMEOUT)

    def wake(self) -> None:
        """Look into the spool now."""
        self._wake.set()

    def _run(self) -> None:
        said = ""
        while True:
            self._wake.wait(self._pause)
            self._wake.clear()
            if self._closing:
                return
            try:
                report = self._spool.send_due()
                self.sent, self.dropped = self.sent + report.sent, self.dropped + report.dropped
                problems = report.problems
            except OSError as error:
                problems = (f"callbacks that wait cannot be read: {error}",)
                if problems[0] == said:  # once is enough for a folder that stays unreadable
                    continue
            for problem in problems:
                said = problem
                logger.warning("%s", problem)
