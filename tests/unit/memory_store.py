# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in memory that behaves like etcd, and fails on command."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    CompactedError,
    ConflictError,
    RewoundError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.store import (
    Batch,
    Event,
    Guard,
    KeyValue,
    Listing,
    Write,
)

MAX_OPERATIONS = 128  # etcd's default --max-txn-ops
MAX_BYTES = 1536 * 1024  # etcd's default --max-request-bytes
ALIVE = Batch((), 0)


class MemoryWatch:
    """An open watch of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, prefix: bytes, history: Iterable[Event]) -> None:
        """Begin with what happened already."""
        self._store = store
        self._prefix = prefix
        self._events: list[Event] = []
        self._closed = False
        self.broken: StoreError | None = None
        self.alive = 0  # empty batches to hand out
        self.add(history)

    def add(self, events: Iterable[Event]) -> None:
        """Take what happened in the store."""
        self._events += [event for event in events if event.key.startswith(self._prefix)]

    def __enter__(self) -> MemoryWatch:
        """Return the watch itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the watch."""
        self.close()

    def close(self) -> None:
        """End the watch at once, from any thread."""
        with self._store.changed:
            self._closed = True
            self._store.watches.discard(self)
            self._store.changed.notify_all()

    def __iter__(self) -> Iterator[Batch]:
        """Yield what there is as one batch, then wait for more."""
        while True:
            batch = self._wait()
            if batch is None:
                return
            yield batch

    def _wait(self) -> Batch | None:
        """Return the next batch, or None after `close`; raise what broke the watch."""
        while True:
            with self._store.changed:
                if self._closed:
                    return None
                if self.broken is not None:
                    raise self.broken
                batch = self._take()
                if batch is None and self._store.idle is None:
                    self._store.changed.wait()
            if batch is not None:
                return batch
            if self._store.idle is not None:
                self._store.idle()

    def _take(self) -> Batch | None:
        """Return all events not handed out yet, or one proof of life, or None."""
        if self._events:
            batch = Batch(tuple(self._events), self._events[-1].revision)
            self._events.clear()
            return batch
        if self.alive:
            self.alive -= 1
            return ALIVE
        return None


class MemoryStore:
    """A `Store` in memory with etcd's revisions, history, compaction and limits.

    With ``idle`` set, a watch that has nothing to hand out calls it instead of waiting: a test
    in one thread then says what happens next. Leases end by ``clock``, and at the next call.
    """

    def __init__(self, cluster_id: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty, at revision 1 as etcd does."""
        self.changed = threading.Condition(threading.RLock())
        self.watches: set[MemoryWatch] = set()
        self.idle: Callable[[], None] | None = None
        self.calls: Counter[str] = Counter()
        self.cluster_id = cluster_id
        self._clock = clock
        self._granted = 0  # leases so far
        self._failures: list[StoreError] = []
        self._empty()

    def _empty(self) -> None:
        self.revision = 1
        self._compacted = 0
        self._base: dict[bytes, KeyValue] = {}
        self._log: list[Event] = []
        self._now: dict[bytes, KeyValue] = {}
        self._leases: dict[int, tuple[int, float]] = {}  # seconds, and the time of the end
        self._leased: dict[tuple[bytes, int], int] = {}  # key and revision of each put under a lease

    # What a store does

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Return the key, or None, and the revision."""
        with self.changed:
            self._called("get")
            return self._now.get(key.encode()), self.revision

    def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        """Return all keys below the prefix; CompactedError for a revision gone, RewoundError for one still to come."""
        with self.changed:
            self._called("list")
            if revision > self.revision:
                raise RewoundError(f"revision {revision} is not there yet: {self.revision} is the newest")
            if revision and revision < self._compacted:
                raise CompactedError(f"revision {revision} is not there any more: {self._compacted} is the oldest")
            state = self._state(revision) if revision else self._now
            found = [state[key] for key in sorted(state) if key.startswith(prefix.encode())]
            items = [KeyValue(kv.key, b"" if keys_only else kv.value, kv.revision, kv.lease) for kv in found]
            return Listing(tuple(items), revision or self.revision, self.cluster_id)

    def commit(self, write: Write) -> int:
        """Carry out the transaction; an empty one, or one that deletes nothing, makes no revision."""
        with self.changed:
            self._called("commit")
            _check(write)
            if not all(self._holds(guard) for guard in write.guards):
                raise ConflictError("the tree has changed meanwhile")
            if write.lease:
                self._check_lease(write.lease)
                self._leased.update({(key.encode(), self.revision + 1): write.lease for key, _value in write.puts})
            return self._record(self._events(write, self.revision + 1))

    def grant(self, seconds: int) -> int:
        """Return a new lease."""
        with self.changed:
            self._called("grant")
            self._granted += 1
            self._leases[self._granted] = (seconds, self._clock() + seconds)
            return self._granted

    def renew(self, lease: int) -> int:
        """Let a lease begin anew and return its seconds; 0 when it is gone."""
        with self.changed:
            self._called("renew")
            seconds, _end = self._leases.get(lease, (0, 0.0))
            if seconds:
                self._leases[lease] = (seconds, self._clock() + seconds)
            return seconds

    def revoke(self, lease: int) -> None:
        """End a lease and delete the keys under it; StoreError when it is gone already."""
        with self.changed:
            self._called("revoke")
            self._check_lease(lease)
            self._end(lease)

    def watch(self, prefix: str, start: int) -> MemoryWatch:
        """Watch from ``start``; CompactedError when that is gone or more than one revision ahead."""
        with self.changed:
            self._called("watch")
            if start and not self._compacted <= start <= self.revision + 1:
                raise CompactedError(f"revision {start} is not there: {self._compacted} to {self.revision} are")
            history = [event for event in self._log if event.revision >= (start or self.revision + 1)]
            watch = MemoryWatch(self, prefix.encode(), history)
            self.watches.add(watch)
            return watch

    def close(self) -> None:
        """Close all watches."""
        with self.changed:
            for watch in list(self.watches):
                watch.close()

    # What a test makes it do

    def put(self, key: str, value: bytes = b"") -> int:
        """Commit one key and return the revision."""
        return self.commit(Write(puts=((key, value),)))

    def delete(self, *keys: str) -> int:
        """Delete keys in one transaction and return the revision."""
        return self.commit(Write(deletes=keys))

    def since(self, prefix: str, revision: int) -> tuple[Event, ...]:
        """Return what has happened below the prefix after the revision."""
        watch = self.watch(prefix, revision + 1)
        self.idle = watch.close
        events = tuple(event for batch in watch for event in batch.events)
        self.idle = None
        return events

    def compact(self, revision: int = 0) -> None:
        """Forget the history before the revision (0: the current one).

        Deletions at that very revision are kept; etcd does so since 3.4.36 and 3.5.18.
        """
        with self.changed:
            revision = revision or self.revision
            self._base = self._state(revision)
            self._log = [event for event in self._log if event.revision >= revision]
            self._compacted = revision

    def cut(self) -> None:
        """Break all open watches with UnavailableError."""
        with self.changed:
            for watch in self.watches:
                watch.broken = UnavailableError("the connection was cut")
            self.watches.clear()
            self.changed.notify_all()

    def fail(self, error: StoreError, times: int = 1) -> None:
        """Let the next calls raise the error."""
        with self.changed:
            self._failures += [error] * times

    def fail_no_more(self) -> None:
        """Answer again."""
        with self.changed:
            self._failures.clear()

    def progress(self) -> None:
        """Let all open watches prove that the store is alive."""
        with self.changed:
            for watch in self.watches:
                watch.alive += 1
            self.changed.notify_all()

    def replace(self, *, same_cluster: bool = False) -> None:
        """Become an emptied store at revision 1, with another cluster id unless told otherwise."""
        with self.changed:
            self.cut()
            self._empty()
            if not same_cluster:
                self.cluster_id += 1

    # How

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        for lease in [lease for lease, (_seconds, end) in self._leases.items() if end <= self._clock()]:
            self._end(lease)
        if self._failures:
            raise self._failures.pop(0)

    def _record(self, events: tuple[Event, ...]) -> int:
        """Let the events be the next revision, if there are any; return the newest revision."""
        if events:
            self.revision += 1
            self._log += events
            self._apply(self._now, events)
            for watch in self.watches:
                watch.add(events)
            self.changed.notify_all()
        return self.revision

    def _check_lease(self, lease: int) -> None:
        if lease not in self._leases:
            raise StoreError(f"lease {lease} has ended")

    def _end(self, lease: int) -> None:
        del self._leases[lease]
        keys = sorted(key for key, item in self._now.items() if item.lease == lease)
        self._record(tuple(Event(key, b"", self.revision + 1, True) for key in keys))

    def _apply(self, state: dict[bytes, KeyValue], events: Iterable[Event]) -> None:
        for event in events:
            if event.deleted:
                state.pop(event.key, None)
            else:
                lease = self._leased.get((event.key, event.revision), 0)
                state[event.key] = KeyValue(event.key, event.value, event.revision, lease)

    def _state(self, revision: int) -> dict[bytes, KeyValue]:
        state = dict(self._base)
        self._apply(state, [event for event in self._log if event.revision <= revision])
        return state

    def _holds(self, guard: Guard) -> bool:
        if guard.exact:
            found = self._now.get(guard.prefix.encode())
            return (found.revision if found else 0) == guard.revision
        below = [kv for kv in self._now.values() if kv.key.startswith(guard.prefix.encode())]
        return all(kv.revision <= guard.revision for kv in below)

    def _events(self, write: Write, revision: int) -> tuple[Event, ...]:
        gone = {key.encode() for key in write.deletes} & set(self._now)
        for prefix in write.delete_prefixes:
            gone |= {key for key in self._now if key.startswith(prefix.encode())}
        puts = [Event(key.encode(), value, revision) for key, value in write.puts]
        return (*(Event(key, b"", revision, True) for key in sorted(gone)), *puts)


def _check(write: Write) -> None:
    """Raise StoreError where etcd would."""
    if write.operations > MAX_OPERATIONS:
        raise StoreError(f"too many operations: {write.operations}, at most {MAX_OPERATIONS}")
    if sum(len(key) + len(value) for key, value in write.puts) > MAX_BYTES:
        raise StoreError("the request is too large")
    keys = [key for key, _value in write.puts]
    deleted = set(write.deletes) & set(keys)
    below = [key for key in keys if key.startswith(write.delete_prefixes)] if write.delete_prefixes else []
    if len(set(keys)) < len(keys) or deleted or below:
        raise StoreError("a transaction names a key twice")
