# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source without its door: threads read the tree, the statuses and watched prefixes, a loop hands on events.

Which prefixes are watched is in the policies. So a policy is read when it or the first template of its
project is new, and a prefix is followed from the revision at which it was learned of. After a restart what
is below it is compared with what was known.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from .changes import OWED, UNKNOWN, Change
from .errors import StoreError
from .events import Events
from .keys import Tree
from .position import Place, PositionFile
from .prefixes import MAX_PREFIXES, UNSEEN, Below, Owner, Total
from .reflector import PAUSE, Position, Reflector, Resumed
from .source_options import SourceOptions
from .statuses import Reported, reported
from .store import Batch, Listing, Store
from .tracker import Tracker

logger = logging.getLogger(__name__)

PART = 500  # changes handed to the loop at once, about 2 ms of its time
ROOM = 64  # hand-overs that the loop has not come to; then the threads, and so etcd, wait
SAVE_PAUSE = 1.0  # seconds between two saves of the position; after a crash that much is repeated
JOIN_TIMEOUT = 0.3  # seconds that the end waits for each thread

Put = Callable[[dict[str, Any]], Awaitable[None]]


class _Follower(NamedTuple):
    """What reads below a watched prefix."""

    reflector: Reflector
    thread: threading.Thread


class Source:
    """Reads a tree and hands on its events until it is cancelled."""

    def __init__(
        self, store: Store, options: SourceOptions, place: Place | None = None, *, skip_reported: bool = False
    ) -> None:
        """Load the position; raise InvalidError when its file cannot be kept. ``store`` is closed in the end.

        ``place`` keeps the position instead of a file. With ``skip_reported`` all outcomes are read first, and
        hosts that have reported a change are in no event.
        """
        self._store = store
        self._tree = Tree(options.connection.prefix)
        self._place = place or PositionFile(options.position_file)
        position, known, self._totals = self._place.load()
        if options.replay:  # what is owed stays so, for nothing else brings it after the next restart
            known = {owner: mark if mark[0] == OWED[0] else UNKNOWN for owner, mark in known.items()}
        start = None if options.replay else position
        self._changes = Reflector(store, self._tree.root, keys_only=True, position=start, base=True)
        self._outcomes = Reflector(store, self._tree.status_root)
        self._tracker = Tracker(self._tree, options.projects, options.hosts, known, self._totals)
        self._lock = threading.Lock()  # of the tracker, and of the order in which its changes are handed to the loop
        self._followers: dict[str, _Follower] = {}
        self._events = Events(
            batch=options.batch,
            parallel=options.parallel,
            hold=options.hold,
            position=position,
            known=known,
            skip_reported=skip_reported,
        )
        self._holds = options.hold > 0
        self._outcomes_first = skip_reported and self._holds
        self._reads = threading.Event()  # set once what is read first could be read, or never will be
        self._room = threading.Semaphore(ROOM)
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._save_at = 0.0

    async def run(self, put: Put) -> None:
        """Hand on events for ever; raise what the store says to the very first attempt."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        threads = [self._start(self._read_changes, "changes")]
        if self._holds:
            threads.append(self._start(self._read_outcomes, "outcomes"))
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
            await self._loop.run_in_executor(None, self._place.save, *saved, dict(self._totals))

    def _stop(self, threads: list[threading.Thread]) -> None:
        """End the threads and save the position."""
        self._closing.set()
        self._reads.set()
        self._room.release(len(threads) + MAX_PREFIXES)
        with self._lock:
            followers = list(self._followers.values())
        for reflector in (self._changes, self._outcomes, *(follower.reflector for follower in followers)):
            reflector.close()
        self._store.close()
        saved = self._events.saved() if self._events.unsaved else None
        if saved:
            self._place.save(*saved, dict(self._totals))
        for thread in [*threads, *(follower.thread for follower in followers)]:
            thread.join(JOIN_TIMEOUT)

    def _start(self, read: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(read,), name=f"watcher-{name}", daemon=True)
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
        if self._outcomes_first:
            self._reads.wait()
        for item in self._changes.stream():
            self._reads.set()
            position = self._changes.position
            with self._lock:
                self._hand_parts(self._tracker.take(item))
                if isinstance(item, Resumed):  # last, for until it is collected what is owed is in what was saved
                    self._hand(self._events.know, self._tracker.marks())
            self._learn()
            self._follow(position)
            self._hand(self._events.reach, position)

    def _hand_parts(self, changes: list[Change]) -> None:
        for part in _parts(changes):
            self._hand(self._add, part)

    def _learn(self) -> None:
        """Read the policies that say which prefixes are watched."""
        for owner in self._tracker.unread():
            value = self._policy(owner)
            with self._lock:
                self._tracker.learn(owner, value)

    def _policy(self, owner: Owner) -> bytes | None:
        """Return the value of a project's policy; wait for a store that is away."""
        project, host = owner
        said = ""
        while not self._closing.is_set():
            try:
                item, _revision = self._store.get(self._tree.policy(host, project))
                return item.value if item else None
            except StoreError as error:
                if str(error) != said:
                    said = str(error)
                    logger.warning("host %s, project %s: %s; trying again", host, project, error)
                self._closing.wait(PAUSE)
        return None

    def _follow(self, position: Position | None) -> None:
        """Begin to follow prefixes that are watched since this position, and end what is watched no more."""
        with self._lock:
            begun, ended = self._tracker.follow()
            if self._closing.is_set() or not (begun or ended):
                return
            for prefix in ended:
                self._followers.pop(prefix).reflector.close()
            for prefix, below in begun.items():
                self._begin(prefix, below, position)
            self._hand(self._note_prefixes, list(self._followers))

    def _begin(self, prefix: str, below: Below, position: Position | None) -> None:
        start = position if below.total is None else None
        reflector = Reflector(self._store, prefix, keys_only=True, position=start, base=True)
        thread = self._start(lambda: self._read_values(prefix, below, reflector), "values")
        self._followers[prefix] = _Follower(reflector, thread)

    def _note_prefixes(self, prefixes: list[str]) -> None:
        """Let a restart take what is below new prefixes as unseen, until something was read."""
        self._totals = {prefix: self._totals.get(prefix, UNSEEN) for prefix in prefixes}

    def _read_values(self, prefix: str, below: Below, reflector: Reflector) -> None:
        """Read what is below a prefix while it is followed."""
        for item in _patient(reflector):
            with self._lock:
                before = below.total
                self._hand_parts(self._tracker.values(prefix, below, item))
                if below.total != before:
                    self._hand(self._note_total, prefix, below.total)

    def _note_total(self, prefix: str, total: Total) -> None:
        """Note what is below a prefix, the changes of which were added."""
        self._totals[prefix] = total
        self._events.unsaved = True

    def _add(self, changes: list[Change]) -> None:
        self._events.add(changes, time.monotonic())

    def _read_outcomes(self) -> None:
        """Read what hosts report; without the right to, each event is held for its time."""
        if not self._outcomes_first:
            self._reads.wait()
        try:
            for item in self._outcomes.stream():
                if isinstance(item, Listing):
                    self._hand(self._events.forget_statuses)
                found = reported(self._tree, item)
                for start in range(0, len(found), PART):
                    self._hand(self._report, found[start : start + PART])
                self._reads.set()
        except StoreError as error:
            logger.error("outcomes cannot be read, so each event is held for its time instead: %s", error)
            self._hand(self._events.go_blind)
            self._reads.set()

    def _report(self, found: list[Reported]) -> None:
        for host, project, wanted, failed, written in found:
            self._events.status(host, project, wanted, time.monotonic(), failed=failed, written=written)

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


def _patient(reflector: Reflector) -> Iterator[Listing | Batch]:
    """Yield what a reflector yields, also when the store refuses at first: the one who wrote the policy is not here."""
    try:
        yield from reflector.stream()
    except StoreError:
        yield from reflector.stream()  # from the second attempt on it tries again by itself


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
