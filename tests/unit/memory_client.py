# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of a `MemoryStore` of its own: it can be cut off, and closing it leaves others alone."""

from __future__ import annotations

from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue, Listing, Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore, MemoryWatch


class MemoryClient:
    """A `Store` that passes calls on, unless it is ``away``."""

    def __init__(self, store: MemoryStore) -> None:
        """Be there."""
        self._store = store
        self._watches: list[MemoryWatch] = []
        self.away = False

    def cut(self) -> None:
        """Reach the store no more."""
        with self._store.changed:
            self.away = True
            for watch in self._watches:
                watch.broken = UnavailableError("the connection was cut")
            self._store.watches.difference_update(self._watches)
            self._store.changed.notify_all()

    def join(self) -> None:
        """Reach the store again."""
        self.away = False

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Pass it on."""
        return self._reached().get(key)

    def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        """Pass it on."""
        return self._reached().list(prefix, keys_only=keys_only, revision=revision)

    def commit(self, write: Write) -> int:
        """Pass it on."""
        return self._reached().commit(write)

    def grant(self, seconds: int) -> int:
        """Pass it on."""
        return self._reached().grant(seconds)

    def renew(self, lease: int) -> int:
        """Pass it on."""
        return self._reached().renew(lease)

    def revoke(self, lease: int) -> None:
        """Pass it on."""
        self._reached().revoke(lease)

    def watch(self, prefix: str, start: int) -> MemoryWatch:
        """Pass it on, and remember the watch."""
        with self._store.changed:
            watch = self._reached().watch(prefix, start)
            self._watches.append(watch)
            return watch

    def close(self) -> None:
        """Close this client's watches."""
        for watch in self._watches:
            watch.close()

    def _reached(self) -> MemoryStore:
        if self.away:
            raise UnavailableError("nothing listens there")
        return self._store
