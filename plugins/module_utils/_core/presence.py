# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A live agent in the tree: its key is under a lease, and gone when the agent is (contract, section 5).

Whatever happens to the store, the lease or the key, the next step of the thread puts it right.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Any

from .clock import timestamp
from .errors import DeniedError, StoreError, UnavailableError, WatcherError
from .keys import Tree, shown
from .store import KeyValue, Store, Write

logger = logging.getLogger(__name__)

LEASE = 60  # seconds; three renewals may fail before others take the host for dead
RENEW = 20.0  # seconds between two renewals
PAUSE = 1.0  # seconds between attempts while the store is away
JITTER = 0.1  # of the time between renewals, more or less: a thousand hosts must not stay in step
LOOK = 0.25  # seconds between two looks whether a store that is away answers others again
PAUSE_JITTER = 0.5  # of the pause, added at random
CLOSE_TIMEOUT = 1.0  # seconds that the end waits for the store; without it the lease ends by itself


class Presence:
    """Keeps the key of this host's agent in the tree, by a thread of its own.

    Read by any thread: ``registered`` (whether the key was there at the last attempt) and
    ``problem`` (a sentence; empty when there is none).
    """

    def __init__(
        self,
        store: Store,
        tree: Tree,
        host: str,
        *,
        version: str,
        revision: Callable[[], int],
        pid: int | None = None,
        started: str = "",
        away: Callable[[], bool] = bool,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Start nothing yet; ``revision`` tells what the agent has seen, whenever it is asked.

        While ``away`` says that the store does not answer, it is not asked. ``sleep`` takes seconds
        and is to return early after `close`.
        """
        self.registered = False
        self.problem = ""
        self._store = store
        self._key = tree.agent(host)
        self._identity = {
            "hostname": host,
            "version": version,
            "pid": pid or os.getpid(),
            "started": started or timestamp(),
        }
        self._revision = revision
        self._closed = threading.Event()
        self._away, self._sleep = away, sleep or self._closed.wait
        self._jitter = jitter
        self._lease = 0
        self._said = ""  # the kind of problem that is in the log
        self._rival = ""
        self._thread = threading.Thread(target=self._run, name="watcher-presence", daemon=True)

    def start(self) -> None:
        """Register as soon as the store answers, and stay registered until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Take the key away, within a second, from any thread; later it goes with its lease."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT)

    def step(self) -> float:
        """Register or renew; return the seconds until the next step. Raises nothing."""
        try:
            self._renew()
        except Exception as error:  # whatever it is: an agent whose presence ends is taken for dead
            if not self._closed.is_set():
                self._failed(error)
            if isinstance(error, DeniedError):  # somebody has to act, and a password costs etcd a lot to check
                return self._until_renewal()
            return PAUSE + self._jitter() * PAUSE_JITTER * PAUSE
        self._succeeded()
        return self._until_renewal()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._sleep(self.step())
            while self._away() and not self._closed.is_set():
                self._sleep(LOOK)
        self._leave()

    def _until_renewal(self) -> float:
        return RENEW * (1.0 + JITTER * (2.0 * self._jitter() - 1.0))

    def _renew(self) -> None:
        if self._lease and not self._store.renew(self._lease):
            logger.warning("%s: the lease has ended, for it could not be renewed in time; taking another", self._key)
            self._lease = 0
        if not self._lease:
            self._lease = self._store.grant(LEASE)
        found, _now = self._store.get(self._key)
        body = {**self._identity, "revision": self._revision()}
        known = _body(found)
        self._look_at(found, known)
        mine = found is not None and found.lease == self._lease
        if not (mine and known == body) and not self._closed.is_set():
            self._store.commit(Write(puts=((self._key, json.dumps(body).encode()),), lease=self._lease))

    def _look_at(self, found: KeyValue | None, known: dict[str, Any]) -> None:
        """Note whose key it is: another's that was there before may be of an agent that was killed.

        One that takes the place of ours is certainly alive.
        """
        ours = found is None or found.lease == self._lease or self._wrote(known)
        who = "" if ours else shown(f"pid {known.get('pid')}, started {known.get('started')}")
        if who and self.registered and not self._rival:
            self._rival = f"another agent ({who}) registers as this host, too: stop one, or give each its own hostname"
            logger.warning("%s: %s", self._key, self._rival)
        elif who and not self._rival:
            logger.info("%s: taking over from another agent (%s)", self._key, who)
        elif self._rival and not who:
            logger.info("%s: no other agent registers as this host any more", self._key)
            self._rival = ""

    def _wrote(self, known: dict[str, Any]) -> bool:
        return all(known.get(name) == self._identity[name] for name in ("pid", "started"))

    def _failed(self, error: Exception) -> None:
        self.registered = False
        self.problem = str(error) or type(error).__name__
        if type(error).__name__ != self._said:
            self._said = type(error).__name__
            level = logging.WARNING if isinstance(error, UnavailableError) else logging.ERROR
            unknown = None if isinstance(error, WatcherError) else error
            logger.log(level, "%s: %s; trying again", self._key, self.problem, exc_info=unknown)

    def _succeeded(self) -> None:
        self.registered = True
        self.problem = self._rival
        if self._said:
            logger.info("%s: registered again", self._key)
            self._said = ""

    def _leave(self) -> None:
        self.registered = False
        if not self._lease:
            return
        try:
            self._store.revoke(self._lease)
        except (StoreError, ValueError) as error:  # gRPC raises ValueError for a channel closed meanwhile
            logger.info("%s: goes with its lease, within %d s: %s", self._key, LEASE, error)


def _body(found: KeyValue | None) -> dict[str, Any]:
    """Return what a key says; nothing when it is not there or says nothing that can be read."""
    try:
        body = json.loads(found.value) if found else None
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
