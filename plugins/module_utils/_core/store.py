# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store must do: a few calls, defined by those who make them.

Every read is linearizable. Errors are those of `errors`: UnavailableError to try again,
CompactedError to list again, DeniedError and plain StoreError for somebody to act on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class KeyValue:
    """One key as the store holds it; ``value`` is empty where only keys were asked for."""

    key: bytes
    value: bytes
    revision: int  # of its last modification
    lease: int = 0


@dataclass(frozen=True)
class Listing:
    """All keys below a prefix at one revision, sorted by key."""

    items: tuple[KeyValue, ...]
    revision: int
    cluster_id: int


@dataclass(frozen=True)
class Event:
    """A key was set (``deleted`` False) or deleted at ``revision``."""

    key: bytes
    value: bytes
    revision: int
    deleted: bool = False


@dataclass(frozen=True)
class Batch:
    """All events of one or more whole revisions, oldest first; ``revision`` is the newest of them.

    A batch without events only proves that the store is alive: its revision is 0 and must
    not be resumed from (etcd before 3.4.25 and 3.5.8 may report one ahead of the events).
    """

    events: tuple[Event, ...]
    revision: int


@dataclass(frozen=True)
class Guard:
    """A condition of a transaction: no key below ``prefix`` was modified after ``revision``.

    With ``exact`` the one key ``prefix`` must have been modified last at ``revision``
    (0: it must not exist).
    """

    prefix: str
    revision: int
    exact: bool = False


@dataclass(frozen=True)
class Write:
    """One transaction: puts, deletes of keys and deletes of whole prefixes (ending with /).

    With ``lease`` its puts are gone when that lease is.
    """

    puts: tuple[tuple[str, bytes], ...] = ()
    deletes: tuple[str, ...] = ()
    delete_prefixes: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = field(default=())
    lease: int = 0

    @property
    def operations(self) -> int:
        """Return how many operations etcd counts."""
        return len(self.puts) + len(self.deletes) + len(self.delete_prefixes)


class Watch(Protocol):
    """An open watch."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches until `close`; raise UnavailableError, CompactedError or DeniedError when it breaks.

        Ends without an error only after `close`.
        """

    def close(self) -> None:
        """End the watch at once, from any thread."""


class Store(Protocol):
    """A versioned key-value store: etcd, or `MemoryStore` in tests."""

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Return the key, or None, and the store's revision."""

    def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        """Return all keys that start with the prefix, at the revision (0: now), read in pages.

        Raise CompactedError when the revision is gone, RewoundError when it is still to come.
        """

    def commit(self, write: Write) -> int:
        """Carry out the transaction and return its revision; raise ConflictError when a guard does not hold.

        StoreError when its lease is gone. After an UnavailableError it is unknown whether it was carried out.
        """

    def grant(self, seconds: int) -> int:
        """Return a new lease that ends in so many seconds, or a little later, unless it is renewed."""

    def renew(self, lease: int) -> int:
        """Let a lease begin anew and return the seconds it has then; 0 when it is gone."""

    def revoke(self, lease: int) -> None:
        """End a lease and delete the keys under it, in one revision; StoreError when it is gone already."""

    def watch(self, prefix: str, start: int) -> AbstractContextManager[Watch]:
        """Watch all keys that start with the prefix, from revision ``start`` (that one included).

        The watch proves within 15 s that the store is alive, or breaks. CompactedError is raised
        when ``start`` is gone, or when the store's newest revision is below ``start - 1``:
        it is then another store, or one restored.
        """

    def close(self) -> None:
        """Close all connections and watches."""
