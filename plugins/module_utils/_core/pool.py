# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue of names and threads that work on them: one name is never worked on twice at a time.

A name that is woken while it is worked on is worked on once more. Work that takes longer than
`PATIENCE` no longer counts as busy, so that commands which hang hold nobody up.

While a name is ready, somebody is on the way to it: a thread, if there is room for one more name,
else the keeper, who looks again as soon as there will be. Whoever takes a name calls the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Callable, Optional

logger = logging.getLogger(__name__)

SIZE = 16  # names worked on at a time, beside those that have been worked on for longer than PATIENCE
PATIENCE = 0.5  # seconds
LINGER = 30.0  # seconds that a thread waits for more work; a new one costs 0.1 ms
DEFECT_PAUSE = 60.0  # seconds until work that raised is tried again
NO_THREAD_PAUSE = 1.0  # seconds until a thread is asked for again that the system did not give

Work = Callable[[str], Optional[float]]


class Pool:
    """Works on names; ``work`` returns the seconds after which a name is due again, None for never."""

    def __init__(self, work: Work, *, size: int = SIZE, patience: float = PATIENCE) -> None:
        """Start nothing yet; ``patience`` is in seconds."""
        self._work, self._size, self._patience = work, size, patience
        lock = threading.Lock()
        self._jobs, self._alarm, self._ended = (threading.Condition(lock) for _unused in range(3))
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()  # those in ready
        self._again: set[str] = set()  # woken while worked on
        self._running: dict[str, float] = {}  # since when
        self._due: dict[str, float] = {}
        self._idle = 0  # threads that wait, or are on their way
        self._closed = False
        self._keeper: threading.Thread | None = None

    def wake(self, *names: str) -> None:
        """Have these names worked on, now or as soon as the work on them has ended."""
        with self._jobs:
            for name in names:
                self._put(name)
            if self._due and self._keeper is None:  # the system gave no thread for it
                self._mind()

    def running(self) -> list[str]:
        """Return the names that are being worked on."""
        with self._jobs:
            return sorted(self._running)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is to be done now; return False when the seconds are over before."""
        with self._ended:
            return self._ended.wait_for(lambda: not (self._ready or self._running), timeout)

    def close(self, timeout: float) -> list[str]:
        """Begin nothing more and wait for what is at work; return the names still at it after the seconds."""
        with self._ended:
            self._closed = True
            self._ready.clear()
            self._queued.clear()
            for condition in (self._jobs, self._alarm, self._ended):
                condition.notify_all()
            self._ended.wait_for(lambda: not self._running, timeout)
            return sorted(self._running)

    def _put(self, name: str) -> None:
        self._due.pop(name, None)
        if self._closed:
            return
        if name in self._queued:
            self._staff()  # nobody may be on the way to it: the system may have given no thread
            return
        if name in self._running:
            self._again.add(name)
            return
        self._queued.add(name)
        self._ready.append(name)
        self._staff()

    def _staff(self) -> None:
        """See to it that somebody takes what is ready: a thread that waits, else a new one where there is room."""
        places = min(len(self._ready), self._room())
        if places <= 0:
            self._mind()
        elif self._idle >= places:
            self._jobs.notify()
        elif _started(self._serve, "watcher-lane"):
            self._idle += 1
        else:
            self._mind()

    def _room(self) -> int:
        """Return how many more names may be worked on."""
        recently = time.monotonic() - self._patience
        return self._size - sum(since > recently for since in self._running.values())

    def _serve(self) -> None:
        """Work in a thread until there has been nothing to do for long."""
        with self._jobs:
            self._idle -= 1
            called = True
            while called:
                while self._ready and self._room() > 0:
                    self._run(self._ready.popleft())
                if self._closed:
                    return
                if self._ready:
                    self._mind()
                self._idle += 1
                called = self._jobs.wait(LINGER) or bool(self._ready)
                self._idle -= 1

    def _run(self, name: str) -> None:
        """Work on a name, without the lock meanwhile."""
        self._queued.discard(name)
        self._running[name] = time.monotonic()
        if self._ready:
            self._staff()
        self._jobs.release()
        pause: float | None = DEFECT_PAUSE
        try:
            pause = self._work(name)
        except Exception:  # a defect must not take the thread of all others with it
            logger.exception("project %s: an error of this program", name)
        finally:
            self._jobs.acquire()
            del self._running[name]
            self._ended.notify_all()
        again = name in self._again
        self._again.discard(name)
        if self._closed:
            return
        if again:
            self._queued.add(name)
            self._ready.append(name)  # this thread goes on with it
        elif pause is not None:
            self._due[name] = time.monotonic() + pause
            self._mind()

    def _mind(self) -> None:
        """Have a thread look after what is due later and what waits for room."""
        if self._keeper is None and not self._closed:
            self._keeper = _started(self._keep, "watcher-timer")
        self._alarm.notify()

    def _keep(self) -> None:
        with self._alarm:
            while not self._closed:
                now = time.monotonic()
                for name in [name for name, due in self._due.items() if due <= now]:
                    self._put(name)
                if self._ready and self._room() > 0:
                    self._staff()
                self._alarm.wait(self._pause(now))

    def _pause(self, now: float) -> float | None:
        """Return the seconds until the next look; None when there is nothing to look after."""
        ends = list(self._due.values())
        if self._ready:
            ends += [since + self._patience for since in self._running.values() if since + self._patience > now]
            ends.append(now + NO_THREAD_PAUSE)
        return max(0.0, min(ends) - now) if ends else None


def _started(target: Callable[[], None], name: str) -> threading.Thread | None:
    """Return a thread that runs; None when the system gives no more of them."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        logger.error("%s: %s", name, error)
        return None
    return thread
