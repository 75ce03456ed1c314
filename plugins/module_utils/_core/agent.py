# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of a host: reflector > mirror > lanes > report, for years.

One thread reads the tree, a pool of threads deploys, and threads of their own tell others. Nothing
that is told, and no project that hangs, holds up a deployment of another.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable

from . import VERSION
from .alone import alone
from .connection import Connection
from .errors import DeployError, StoreError, WatcherError
from .etcd import connect
from .heartbeat import Heartbeat
from .keys import Tree
from .lane import Lanes
from .ledger import State
from .memory import give_back
from .metrics import Facts, Metrics
from .mirror import Mirror
from .model import Outcome
from .notify import Notifier
from .outlet import Outlet
from .pool import Pool
from .presence import Presence
from .reflector import Reflector
from .settings import Settings
from .snapshot import strays
from .store import Batch, Listing, Store
from .wishes import Wishes
from .work import Work

logger = logging.getLogger(__name__)

TICK = 5.0  # seconds between two looks of the main thread
FIRST_TICK = 0.1  # the same until the store has answered or failed once
PROOF = 60.0  # seconds: a reader that neither proved the watch alive nor tried to for longer is stuck
GRACE = 20.0  # seconds that the end waits for deployments at work
MAX_STRAYS = 1000  # bad keys that are logged, each once
PAUSE = 2.0  # seconds between two attempts to read the tree after an error that is not the store's


class Agent:
    """Keeps one host at what the tree says."""

    def __init__(self, settings: Settings, *, dry_run: bool = False, store: Store | None = None) -> None:
        """Open and start nothing yet. With ``dry_run`` it logs what it would do and touches nothing."""
        self.settings, self._dry_run = settings, dry_run
        self._tree = Tree(settings.connection.prefix)
        self._store = store or connect(settings.connection)
        self._state = State(settings.state_dir)
        self._mirror = Mirror(self._tree, settings.host)
        self._reflector = Reflector(self._store, self._tree.host(settings.host))
        self._metrics = Metrics(
            self._facts,
            host=settings.host,
            version=VERSION,
            listen=settings.metrics.listen,
            textfile=settings.metrics.textfile,
        )
        self._heartbeat: Heartbeat | None = None
        self._outlet = Outlet(self._store, self._tree, self._state, settings.host, VERSION, away=self._is_away)
        self._listed = threading.Event()  # whether the tree has been read
        lanes = Lanes(
            self._store, self._tree, settings.host, self._mirror, self._state, settings.rules, force=settings.force
        )
        self._wishes = Wishes(settings.state_dir)
        self._work = Work(lanes, self._outlet, self._metrics, self._mirror, self._listed, self._wishes, dry_run=dry_run)
        self._watches = lanes.watches
        self._pool = Pool(self._work.run)
        self._stopping = threading.Event()
        self._suspects: set[tuple[bytes, int]] = set()
        self._compared = 0.0  # when, on the monotonic clock
        self._big = False  # whether a listing has left much memory behind
        self._said = ""
        self._strays: set[str] = set()  # that were logged

    # For the command line

    def run(self, stop: threading.Event) -> int:
        """Work until ``stop`` is set; raise DeployError when another agent serves this host's state folder."""
        notifier = Notifier()  # first: what is started later must not find systemd's variables
        with contextlib.ExitStack() as services:
            if not self._dry_run:
                services.enter_context(alone(self.settings.state_dir))
                self._start(services)
            self._watches.start(self._touch, self.compare)
            reader = threading.Thread(target=self._read, name="watcher-reader", daemon=True)
            reader.start()
            try:
                self._serve(stop, notifier, reader)
            finally:
                notifier.stopping()
                self._stop()
        return 0

    def once(self, only: Collection[str] | None = None) -> list[Outcome]:
        """Bring the host up to date and return what came of it, by project; raise StoreError when etcd is away.

        With ``only`` nothing but these projects is looked at.
        """
        with contextlib.ExitStack() as services:
            if not self._dry_run:
                services.enter_context(alone(self.settings.state_dir))
                self._outlet.start(sending=False)
                services.callback(self._outlet.close)
            self._work.once()
            self._take(self._store.list(self._tree.host(self.settings.host)), only)
            self._pool.drain()
            if not self._dry_run:
                self._outlet.flush()
        return self._work.outcomes()

    def compare(self) -> None:
        """Read the whole tree again and compare everything with it, from any thread."""
        self._reflector.restart()

    def retry(self) -> None:
        """Try now what `watcher retry` has asked for, from any thread."""
        self._touch(self._wishes.take(), 0)

    def close(self) -> None:
        """Close the connection to the store."""
        self._store.close()

    # The main thread

    def _start(self, services: contextlib.ExitStack) -> None:
        """Start what tells others."""
        settings = self.settings
        self._outlet.start()
        services.callback(self._outlet.close)
        presence = Presence(
            self._store,
            self._tree,
            settings.host,
            version=VERSION,
            revision=lambda: self._mirror.revision,
            away=self._is_away,
        )
        self._metrics.start()
        services.callback(self._metrics.close)
        if settings.heartbeat is not None:
            heartbeat = Heartbeat(settings.heartbeat.url, settings.heartbeat.interval, settings.host, VERSION)
            self._heartbeat = heartbeat
            heartbeat.start()
            services.callback(heartbeat.close)
        presence.start()
        services.callback(presence.close)

    def _serve(self, stop: threading.Event, notifier: Notifier, reader: threading.Thread) -> None:
        ready = False
        while not stop.wait(min(TICK, notifier.period or TICK) if ready else FIRST_TICK):
            if not ready and (self._listed.is_set() or self._reflector.failures):
                ready = True
                self._without_etcd()
                notifier.ready(self._line())
            if not reader.is_alive():
                raise RuntimeError("the thread that reads the tree has ended")
            if self._is_proven():
                notifier.alive()
            if ready:
                notifier.status(self._line())
                self._compare_if_due()
            if self._big and self._pool.drain(0):
                self._big = False
                give_back()

    def _is_away(self) -> bool:
        """Return whether the store does not answer; others than the reader need not try then."""
        return self._reflector.failures > 0 and not self._stopping.is_set()

    def _is_proven(self) -> bool:
        """Return whether the watch has proved alive lately, or was tried: an outage is no reason to start anew."""
        signs = [sign for sign in (self._reflector.last_alive, self._reflector.last_attempt) if sign is not None]
        connection: Connection = self.settings.connection
        return bool(signs) and time.monotonic() - max(signs) < PROOF + len(connection.servers) * connection.timeout

    def _line(self) -> str:
        behind = [name for name, lag in self._work.lags().items() if lag]
        away = "" if self._listed.is_set() and not self._reflector.failures else "; etcd is away"
        what = f"{len(self._mirror.newest())} projects at revision {self._mirror.revision}"
        return f"{what}, {len(behind)} not up to date{away}"

    def _without_etcd(self) -> None:
        """Repair what drifted while nobody watched, from what the host remembers, when the store is away."""
        if self._listed.is_set() or not self.settings.force or self._dry_run:
            return
        with contextlib.suppress(DeployError):  # the state folder; each deployment will say so
            self._pool.wake(*self._state.projects())

    def _compare_if_due(self) -> None:
        """Every few minutes: look whether the watch has missed anything, and, with ``force``, at the disk."""
        now = time.monotonic()
        self._compared = self._compared or now
        pause = self.settings.resync * random.uniform(0.9, 1.1) if not self._suspects else TICK  # noqa: S311
        if now - self._compared < pause or not self._listed.is_set() or self._is_away():
            return  # a store that hangs must not keep this thread from feeding the watchdog
        self._compared = now
        try:
            listing = self._store.list(self._tree.host(self.settings.host), keys_only=True)
        except StoreError:
            return  # the reader says so
        known = self._suspects
        self._suspects = self._mirror.suspects(listing) if listing.revision >= self._mirror.revision else set()
        if known & self._suspects:
            logger.error("the watch missed %d changes; everything is read again", len(known & self._suspects))
            self._suspects = set()
            self._reflector.restart()
        elif self.settings.force and not self._suspects:
            self._pool.wake(*self._mirror.compare())

    def _stop(self) -> None:
        self._stopping.set()
        self._reflector.close()
        self._watches.close()
        for name in self._pool.close(GRACE):
            logger.warning("project %s is still being deployed; the next start finishes or undoes it", name)

    # The reader's thread

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                for item in self._reflector.stream():
                    self._take(item)
                    del item  # a listing of many contents must not wait here for the next event
            except WatcherError as error:  # such as a certificate file that is being replaced
                if str(error) != self._said:
                    logger.error("%s; trying again", error)
                self._said = str(error)
            except Exception:
                logger.exception("an error of this program; everything is read again")
                self._reflector.restart()
            self._stopping.wait(PAUSE)

    def _take(self, item: Listing | Batch, only: Collection[str] | None = None) -> None:
        if isinstance(item, Batch):
            self._pool.wake(*self._mirror.take_batch(item))
            self._warn(event.key for event in item.events if not event.deleted)
            return
        self._outlet.forget()  # before anybody deploys from this listing
        names = self._mirror.take_listing(item, self._remembered())
        self._watches.forget()
        self._outlet.forget()  # and what was told meanwhile, as of the one before
        self._listed.set()
        logger.info("%d projects at revision %d", len(names), item.revision)
        self._pool.wake(*sorted(names if only is None else names.intersection(only)))
        self._big = True
        self._warn(entry.key for entry in item.items)

    def _touch(self, names: Collection[str], revision: int) -> None:
        """Have these projects looked at, because what they watch changed at a revision, from any thread."""
        self._mirror.touch(names, revision)
        self._pool.wake(*names)

    def _warn(self, keys: Iterable[bytes]) -> None:
        """Log the keys that belong to no project by name; those of a project are in its outcome."""
        for key, why in strays(self._tree, keys).items():
            if key not in self._strays and len(self._strays) < MAX_STRAYS:
                self._strays.add(key)
                logger.warning("ignored: %s", why)

    def _remembered(self) -> list[str]:
        """Return the projects of which this host has something."""
        try:
            return [name for name in self._state.projects() if self._state.concerns(self.settings.host, name)]
        except DeployError as error:
            logger.error("%s", error)
            return []

    # What others see

    def _facts(self) -> Facts:
        alive, sender = self._reflector.last_alive, self._outlet.sender
        return Facts(
            seen=self._mirror.revision,
            watch_age=None if alive is None else time.monotonic() - alive,
            lags=self._work.lags(),
            projects=Counter(outcome.state for outcome in self._work.outcomes()),
            spool=len(self._outlet.spool.names()),
            callbacks_sent=sender.sent,
            callbacks_dropped=sender.dropped,
            heartbeat_failures=self._heartbeat.failed if self._heartbeat else 0,
        )
