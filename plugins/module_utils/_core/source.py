# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source without its door: two threads read the tree and the statuses, a loop hands on events."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby
from typing import Any

from .changes import UNKNOWN, Change, Tracker
from .errors import StoreError
from .events import Events
from .keys import Tree
from .position import PositionFile
from .reflector import Reflector
from .report import parse_status
from .source_options import SourceOptions
from .store import Listing, Store

logger = logging.getLogger(__name__)

PART = 500  # changes handed to the loop at once, about 2 ms of its time
ROOM = 64  # hand-overs that the loop has not come to; then the threads, and so etcd, wait
SAVE_PAUSE = 1.0  # seconds between two saves of the position; after a crash that much is repeated
JOIN_TIMEOUT = 0.3  # seconds that the end waits for each thread

Put = Callable[[dict[str, Any]], Awaitable[None]]


class Source:
    """Reads a tree and hands on its events until it is cancelled."""

    def __init__(self, store: Store, options: SourceOptions) -> None:
        """Load the position; raise InvalidError when its file cannot be kept. ``store`` is closed in the end."""
        self._store = store
        self._tree = Tree(options.connection.prefix)
        self._file = PositionFile(options.position_file)
        position, known = self._file.load()
        if options.replay:
            known = dict.fromkeys(known, UNKNOWN)
        start = None if options.replay else position
        self._changes = Reflector(store, self._tree.root, keys_only=True, position=start, base=True)
        self._outcomes = Reflector(store, self._tree.status_root)
        self._tracker = Tracker(self._tree, options.projects, options.hosts, known)
        self._events = Events(
            batch=options.batch, parallel=options.parallel, hold=options.hold, position=position, known=known
        )
        self._holds = options.hold > 0
        self._reads = threading.Event()  # set once the tree could be read, or never will be
        self._room = threading.Semaphore(ROOM)
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._save_at = 0.0

    async def run(self, put: Put) -> None:
        """Hand on events for ever; raise what the store says to the very first attempt."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        threads = [self._start(self._read_changes)]
        if self._holds:
            threads.append(self._start(self._read_outcomes))
        try:
            while self._error is None:
                await self._step(put)
            raise self._error
        finally:
            self._stop(threads)

    async def _step(self, put: Put) -> None:
        event = self._events.take(time.monotonic())
        if event is None:
            await self._pause()
        else:
            await put(event)
            self._events.handed(event["watcher"]["project"], time.monotonic())
            await asyncio.sleep(0)  # a put into a queue with room does not let others run
        if self._events.unsaved and time.monotonic() >= self._save_at:
            await self._save()

    async def _pause(self) -> None:
        """Wait until there is something to do."""
        now = time.monotonic()
        times = [self._events.wait(now), max(0.0, self._save_at - now) if self._events.unsaved else None]
        self._wake.clear()
        # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that comes with the wake-up.
        timers = [self._loop.call_later(seconds, self._wake.set) for seconds in times if seconds is not None]
        try:
            await self._wake.wait()
        finally:
            for timer in timers:
                timer.cancel()

    async def _save(self) -> None:
        self._save_at = time.monotonic() + SAVE_PAUSE
        saved = self._events.saved()
        if saved:
            await self._loop.run_in_executor(None, self._file.save, *saved)

    def _stop(self, threads: list[threading.Thread]) -> None:
        """End the threads and save the position."""
        self._closing.set()
        self._reads.set()
        self._room.release(len(threads))
        for reflector in (self._changes, self._outcomes):
            reflector.close()
        self._store.close()
        saved = self._events.saved() if self._events.unsaved else None
        if saved:
            self._file.save(*saved)
        for thread in threads:
            thread.join(JOIN_TIMEOUT)

    def _start(self, read: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(read,), name=f"watcher{read.__name__}", daemon=True)
        thread.start()
        return thread

    def _run(self, read: Callable[[], None]) -> None:
        """Read in a thread; whatever ends it ends `run`."""
        try:
            read()
        except Exception as error:
            self._hand(self._fail, error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error

    def _read_changes(self) -> None:
        for item in self._changes.stream():
            self._reads.set()
            position = self._changes.position
            for part in _parts(self._tracker.take(item)):
                self._hand(self._add, part)
            self._hand(self._events.reach, position)

    def _add(self, changes: list[Change]) -> None:
        self._events.add(changes, time.monotonic())

    def _read_outcomes(self) -> None:
        """Read what hosts report; without the right to, each event is held for its time."""
        self._reads.wait()
        try:
            for item in self._outcomes.stream():
                if isinstance(item, Listing):
                    self._hand(self._events.forget_statuses)
                entries = item.items if isinstance(item, Listing) else item.events
                found = [(*self._owner(entry.key), parse_status(entry.value)["wantedRevision"]) for entry in entries]
                for start in range(0, len(found), PART):
                    self._hand(self._report, found[start : start + PART])
        except StoreError as error:
            logger.error("outcomes cannot be read, so each event is held for its time instead: %s", error)
            self._hand(self._events.go_blind)

    def _owner(self, key: bytes) -> tuple[str, str]:
        host, _slash, project = key[len(self._tree.status_root) :].decode("utf-8", "replace").partition("/")
        return host, project

    def _report(self, found: list[tuple[str, str, int]]) -> None:
        for host, project, wanted in found:
            self._events.status(host, project, wanted, time.monotonic())

    def _hand(self, call: Callable[..., object], *args: object) -> None:
        """Let the loop do something, once it has come to what it was handed before."""
        if self._closing.is_set():
            return
        self._room.acquire()
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(self._do, call, args)

    def _do(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        self._room.release()
        call(*args)
        self._wake.set()


def _parts(changes: list[Change]) -> Iterator[list[Change]]:
    """Yield the changes in parts of about `PART`, a project's never apart: its hosts are one event."""
    part: list[Change] = []
    for _project, group in groupby(changes, key=lambda change: change.project):
        part += group
        if len(part) >= PART:
            yield part
            part = []
    if part:
        yield part
