# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock in the store: a key under a lease, and a holder who stops by its own clock before another can have it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ConflictError, StoreError
from .keys import shown
from .store import Guard, KeyValue, Store, Write

LEASE = 5  # seconds; etcd's own minimum is 2, and an election takes 1
MARGIN = 1.0  # seconds that a holder stops before its lease may end: clocks differ, and so do the ways to a store
RENEW = 1.0  # seconds between two renewals
MAX_SAID = 200  # characters of what another one says of itself


def running() -> float:
    """Return seconds that go on while this machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Hold:
    """One time of having the lock: from taking it until the end of `held`, which is for good.

    ``revision`` is that of the key, and ``why`` the reason of the end; empty before.
    """

    def __init__(self, revision: int, lease: int, until: float, clock: Callable[[], float] = running) -> None:
        """Hold until a time of the clock, unless it is prolonged."""
        self.revision, self.lease = revision, lease
        self.why = ""
        self._until = until
        self._clock = clock
        self._lock = threading.Lock()

    def held(self) -> bool:
        """Return whether nobody else can have the lock now, from any thread."""
        return self.left() > 0.0

    def left(self) -> float:
        """Return for how many seconds from now on nobody else can have it; 0 once it is lost."""
        with self._lock:
            left = 0.0 if self.why else max(0.0, self._until - self._clock())
            if left <= 0.0 and not self.why:
                self.why = f"it could not be renewed for {LEASE - MARGIN:g} s"
            return left

    def prolong(self, until: float) -> None:
        """Hold longer; one that is lost stays lost."""
        if self.held():
            with self._lock:
                self._until = until

    def lose(self, why: str) -> None:
        """End it; the first reason counts."""
        with self._lock:
            self.why = self.why or why


class Lock:
    """Takes a key that says who holds it; ``holder`` is who does, as far as `take` has seen. For one thread."""

    def __init__(self, store: Store, key: str, body: Mapping[str, Any], clock: Callable[[], float] = running) -> None:
        """Take nothing yet."""
        self.holder = ""
        self._store, self._key, self._clock = store, key, clock
        self._body = json.dumps(body).encode()
        self._lease = 0  # that the key was tried to be taken under

    def take(self) -> Hold | None:
        """Return the lock, or None while another one has it; raise what the store says."""
        sent = self._clock()
        found, _revision = self._store.get(self._key)
        if found is not None:
            return self._adopt(found, sent)
        self._lease = self._store.grant(LEASE)
        write = Write(puts=((self._key, self._body),), guards=(Guard(self._key, 0, exact=True),), lease=self._lease)
        try:
            revision = self._store.commit(write)
        except ConflictError:
            return None
        return self._hold(revision, sent)

    def renew(self, hold: Hold) -> None:
        """Let the lease begin anew; a hold whose lease has ended, or whose key is not ours any more, is lost.

        Raise what the store says; the hold then goes on until its time is over.
        """
        sent = self._clock()
        if not self._store.renew(hold.lease):
            hold.lose("its lease has ended")
            return
        found, _revision = self._store.get(self._key)
        if found is None:
            hold.lose("its key was deleted")
        elif found.revision != hold.revision:
            hold.lose(f"its key was replaced, by {said(found.value)}")
        else:
            hold.prolong(sent + LEASE - MARGIN)

    def release(self, hold: Hold) -> None:
        """Let another one have it now; where the store does not answer, it has it when the lease ends."""
        hold.lose("it was released")
        try:
            self._store.revoke(hold.lease)
        except (StoreError, ValueError):  # gRPC raises ValueError for a channel closed meanwhile
            return

    def _adopt(self, found: KeyValue, sent: float) -> Hold | None:
        """Return the lock if it is ours since a transaction whose answer was lost."""
        if found.lease and found.lease == self._lease and found.value == self._body and self._store.renew(found.lease):
            return self._hold(found.revision, sent)
        self.holder = said(found.value)
        return None

    def _hold(self, revision: int, sent: float) -> Hold:
        self.holder = ""
        return Hold(revision, self._lease, sent + LEASE - MARGIN, self._clock)


def said(value: bytes) -> str:
    """Return whom a lock's value names, whatever it holds."""
    try:
        body = json.loads(value)
        text = f"host {body['hostname']} (pid {body['pid']}, since {body['started']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        text = "somebody who does not say who it is"
    return shown(text)[:MAX_SAID]
