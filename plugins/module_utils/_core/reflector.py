# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List and watch: a stream that never misses the final state.

Three kinds of failure have three answers. The store is away: pause, go on at the next
revision. The history is gone, or another store answers: list again, at once. The store
refuses: at the very first attempt that is for the caller, later it is retried.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .errors import CompactedError, RewoundError, StoreError, UnavailableError
from .store import Batch, Event, Listing, Store, Watch

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between attempts: soon enough for users, rare enough for a store in trouble
JITTER = 0.5  # of the pause, added at random: a thousand hosts must not come back in step


class Position(NamedTuple):
    """The newest revision handed on, and a key to recognise the store by.

    As of ``revision`` the store wrote ``key`` last at ``written`` (0: deleted it there);
    an empty key means that it held nothing.
    """

    cluster_id: int
    revision: int
    key: bytes = b""
    written: int = 0


class Replaced(Listing):
    """What a store holds that is not the one known before, or went back: nothing was deleted in it."""


class Resumed(Listing):
    """What was there as of the position that a stream resumes from; what came after it follows."""


class Reflector:
    """Keeps one watch below a prefix going for ever.

    Read by any thread: ``position`` (None before the first listing), ``last_alive`` and
    ``last_attempt`` (on the clock given; None before the first proof of life, before the first
    attempt) and ``failures`` (attempts that failed since the last proof of life).
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        *,
        keys_only: bool = False,
        position: Position | None = None,
        base: bool = False,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to stream what is below the prefix, from the revision after ``position`` if that is given.

        With ``base`` it then begins with a Resumed listing. ``keys_only`` leaves the values out.
        ``sleep`` takes seconds and is to return early after `close`.
        """
        self.position = position
        self.last_alive: float | None = None
        self.last_attempt: float | None = None
        self.failures = 0
        self._store = store
        self._prefix = prefix
        self._keys_only = keys_only
        self._base = base
        self._pause = pause
        self._clock = clock
        self._jitter = jitter
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._attempts = 0
        self._restart = self._again = False  # whether all shall be listed again; as of this attempt
        self._replaced = False  # whether the store proved to be another one since the last listing
        self._newest = position.revision if position else 0  # revision that this store had for certain
        self._at_once = True  # whether the next listing may follow without a pause
        self._said = ""

    @property
    def revision(self) -> int:
        """Return the newest revision handed on; 0 before the first."""
        return self.position[1] if self.position else 0

    def close(self) -> None:
        """End the stream at once, from any thread.

        A request that waits for an answer ends when the store is closed too, or at its time limit.
        """
        with self._lock:
            self._closed.set()
            watch = self._watch
        if watch is not None:
            watch.close()

    def restart(self) -> None:
        """List again, at once, from any thread: for those who do not trust what they have."""
        with self._lock:
            self._restart = True
            watch = self._watch
        if watch is not None:
            watch.close()

    def stream(self) -> Iterator[Listing | Batch]:
        """Yield a Listing, which replaces all that is known, then Batches, until `close`.

        A Listing comes again when history is gone or the store is another one. No Batch is empty.
        Raises DeniedError or StoreError of the very first attempt.
        """
        while not self._closed.is_set():
            self._attempts += 1
            self.last_attempt = self._clock()
            try:
                yield from self._attempt()
            except StoreError as error:
                if self._closed.is_set():
                    return
                self._failed(error)
                self._wait(error)

    def _attempt(self) -> Iterator[Listing | Batch]:
        """Yield until the watch breaks; raise what broke it."""
        with self._lock:
            self._again, self._restart = self._again or self._restart, False
        if self.position is not None:
            self._recognise(self.position)
        if self.position is None or self._again:
            yield self._list()
        else:
            yield from self._resumed(self.position)
        known = self.position or Position(0, 0)  # it is there by now
        with self._store.watch(self._prefix, known.revision + 1) as watch:
            if self._hold(watch):
                yield from self._batches(watch, known.cluster_id)
        if not self._closed.is_set() and not self._restart:
            raise UnavailableError("the watch ended without a reason")

    def _list(self) -> Listing:
        """Return all that is there; nothing here holds on to it while the caller watches for years."""
        listing = self._store.list(self._prefix, keys_only=self._keys_only)
        if self._replaced or listing.revision < self._newest:
            listing = Replaced(listing.items, listing.revision, listing.cluster_id)
        self._replaced, self._newest = False, listing.revision
        self.position = _listed(listing)
        self._base = self._again = False
        self._alive()
        return listing

    def _recognise(self, known: Position) -> None:
        """Raise CompactedError when the store is not the one known.

        Neither cluster id nor revision tells: etcd makes the id from its own addresses, so a
        member that was emptied has the same, and its revision may have passed ours meanwhile.
        """
        same = self._at(known, known.revision) == known.written
        if same and known.key and not known.written:
            same = self._at(known, known.revision - 1) > 0
        if not same:
            raise self._other("the store has another history")

    def _other(self, why: str) -> CompactedError:
        self._replaced = True
        return CompactedError(why)

    def _at(self, known: Position, revision: int) -> int:
        """Return when, as of the revision, the known key was last written; 0 if it was not there."""
        try:
            below = known.key.decode() or self._prefix
        except UnicodeDecodeError as error:
            raise CompactedError("the store cannot be recognised by a key that is not UTF-8 text") from error
        try:
            listing = self._store.list(below, keys_only=True, revision=revision)
        except RewoundError:  # by the time of the next listing it may have passed that revision
            self._replaced = True
            raise
        if listing.cluster_id != known.cluster_id:
            raise self._other(f"the store is another cluster, {listing.cluster_id:x}, not {known.cluster_id:x}")
        return max((item.revision for item in listing.items if known.key in (b"", item.key)), default=0)

    def _resumed(self, known: Position) -> Iterator[Resumed]:
        """Yield what was there, once, for those who asked for it."""
        if self._base:
            was = self._store.list(self._prefix, keys_only=self._keys_only, revision=known.revision)
            self._alive()
            yield Resumed(was.items, was.revision, was.cluster_id)
        self._base = False

    def _hold(self, watch: Watch) -> bool:
        """Remember the watch for `close`; return whether it is still wanted."""
        with self._lock:
            self._watch = watch
            return not self._closed.is_set() and not self._restart

    def _batches(self, watch: Watch, cluster_id: int) -> Iterator[Batch]:
        for batch in watch:
            self._alive()
            if self._clock() - (self.last_attempt or 0.0) >= self._pause:
                self._at_once = True
            if batch.events:
                last = batch.events[-1]
                self.position = Position(cluster_id, batch.revision, last.key, 0 if last.deleted else last.revision)
                self._newest = batch.revision
                yield _without_values(batch) if self._keys_only else batch

    def _alive(self) -> None:
        self.last_alive = self._clock()
        self.failures = 0
        if self._said:
            logger.info("%s: the store answers again", self._prefix)
            self._said = ""

    def _failed(self, error: StoreError) -> None:
        """Note the failure and log it when it is a new one; raise it when it is for the caller."""
        passing = isinstance(error, (UnavailableError, CompactedError))
        if not passing and self._attempts == 1 and self.last_alive is None:
            raise error
        self.failures += 1
        if isinstance(error, CompactedError):
            self.position = None
        if str(error) != self._said:
            self._said = str(error)
            logger.log(logging.WARNING if passing else logging.ERROR, "%s: %s; trying again", self._prefix, error)

    def _wait(self, error: StoreError) -> None:
        """Pause, except that a watch that had lived, or a start, may be followed by one listing at once."""
        if isinstance(error, CompactedError) and self._at_once:
            self._at_once = False
            return
        self._sleep(self._pause + self._jitter() * JITTER * self._pause)


def _listed(listing: Listing) -> Position:
    """Return the position after a listing; its newest key is what the store is recognised by."""
    newest = max(listing.items, key=lambda item: item.revision, default=None)
    known = (newest.key, newest.revision) if newest else (b"", 0)
    return Position(listing.cluster_id, listing.revision, *known)


def _without_values(batch: Batch) -> Batch:
    events = tuple(Event(event.key, b"", event.revision, event.deleted) for event in batch.events)
    return Batch(events, batch.revision)
