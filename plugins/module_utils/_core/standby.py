# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several event sources on one tree, of which one hands on events: the one that has the lock of their name.

A thread takes the lock, renews it and writes the position; another watches the lock's key. The loop runs a
`Source` for as long as the lock is held.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from . import VERSION
from .clock import timestamp
from .connection import Connection
from .errors import CompactedError, ConflictError, DeniedError, StoreError, UnavailableError, WatcherError
from .keys import Tree
from .lock import RENEW, Hold, Lock, running
from .reflector import Reflector, Replaced
from .shared_position import SharedPosition
from .source import Source
from .source_options import SourceOptions
from .store import Guard, Listing, Store

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 1.5  # seconds for one server to answer about the lock: the next one has to be asked before it is lost
TRY_AGAIN = 0.3  # seconds until a renewal that failed is tried again
LOOK = 5.0  # seconds between two looks at a lock that another one has, and at a store that refuses
GLANCE = 0.25  # seconds between two looks of the loop at the lock's time
CLOSE_TIMEOUT = 1.0  # seconds that the end waits for the store; without it the lock goes with its lease
JOIN_TIMEOUT = 0.3  # seconds that the end waits for a thread that needs no store
PASSING = (UnavailableError, CompactedError, ConflictError)

Put = Callable[[dict[str, Any]], Awaitable[None]]
Connect = Callable[[Connection], Store]


def source_of(options: SourceOptions, connect: Connect) -> Source | Standby:
    """Return the source of these options, alone or one of several."""
    return Standby(connect, options) if options.standby else Source(connect(options.connection), options)


class _Duty:
    """One time of handing on events; ``task`` is what does it, with as many ``replays`` called for so far."""

    def __init__(self, hold: Hold, place: SharedPosition) -> None:
        self.hold, self.place = hold, place
        self.replays = 0
        self.pause = RENEW  # seconds until this source may have the lock again
        self.begun = False  # whether the position was read and the loop told
        self.task: asyncio.Task[None] | None = None

    async def hand(self, put: Put, event: dict[str, Any]) -> None:
        """Hand on an event; wait for the end that is near when the lock is lost."""
        if not self.hold.held():
            await asyncio.get_running_loop().create_future()
        await put(event)

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Standby:
    """Stands by until it has the lock of its name, hands on events for as long as it has it, and stands by again."""

    def __init__(self, connect: Connect, options: SourceOptions, *, clock: Callable[[], float] = running) -> None:
        """Connect to nothing yet."""
        self._connect, self._options, self._name = connect, options, options.standby
        self._clock = clock
        self._tree = Tree(options.connection.prefix)
        timeout = min(options.connection.timeout, CALL_TIMEOUT)
        self._store = connect(replace(options.connection, timeout=timeout))
        self._key = self._tree.source(self._name, "lock")
        body = {"hostname": socket.gethostname(), "pid": os.getpid(), "started": timestamp(), "version": VERSION}
        self._lock = Lock(self._store, self._key, body, clock)
        # With the position, which changes often: by that a store is recognised that went back.
        self._watch = Reflector(self._store, self._tree.source(self._name), keys_only=True)
        self._replays = int(options.replay)  # that were called for so far
        self._replayed = 0
        self._duty: _Duty | None = None  # of the thread that has the lock
        self._next: _Duty | None = None  # for the loop
        self._answered = self._served = False  # whether the store has let us do all once; whether we were on duty
        self._error: Exception | None = None
        self._said = self._holder = ""  # what is in the log
        self._wake = threading.Event()
        self._closing = threading.Event()

    async def run(self, put: Put) -> None:
        """Hand on events for ever; raise what the store says to the very first attempts."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        threads = [self._start(self._keep, "lock"), self._start(self._look, "standby")]
        try:
            while self._error is None:
                duty, self._next = self._next, None
                if duty is None:
                    await self._changed.wait()
                    self._changed.clear()
                else:
                    await self._serve(duty, put)
            raise self._error
        finally:
            self._close(*threads)

    async def _serve(self, duty: _Duty, put: Put) -> None:
        """Hand on events until the lock is lost; raise what the store says to the very first attempt."""
        if not duty.hold.held():
            return
        options = replace(self._options, replay=duty.replays > self._replayed)
        source = Source(self._connect(options.connection), options, duty.place, skip_reported=True)
        duty.task = task = asyncio.create_task(source.run(lambda event: duty.hand(put, event)))
        try:
            while duty.hold.held() and not task.done() and self._error is None:
                await asyncio.wait({task}, timeout=min(GLANCE, duty.hold.left()))
        finally:
            task.cancel()
            await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._served = True
        elif self._served:
            unknown = None if isinstance(error, WatcherError) else error
            logger.error("%s: %s", self._name, error, exc_info=unknown)
            duty.pause = LOOK
            duty.hold.lose("its changes cannot be read")
            self._wake.set()
        else:
            raise error

    def _start(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(work,), name=f"watcher-{name}", daemon=True)
        thread.start()
        return thread

    def _run(self, work: Callable[[], None]) -> None:
        """Work in a thread; what ends it, ends `run`."""
        try:
            work()
        except Exception as error:
            self._tell(self._fail, self._explained(error))

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error

    def _tell(self, call: Callable[..., object], *args: object) -> None:
        """Let the loop do something."""
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(self._do, call, args)

    def _do(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        call(*args)
        self._changed.set()

    def _look(self) -> None:
        """Watch the lock's key: somebody takes it, or it is free."""
        for item in self._watch.stream():
            if isinstance(item, Replaced):  # hosts may have what this store does not know of
                self._replays += 1
                duty = self._duty
                if duty is not None:
                    duty.hold.lose("the store is another one, or was restored")
            if isinstance(item, Listing) or any(event.key == self._key.encode() for event in item.events):
                self._wake.set()

    def _keep(self) -> None:
        """Take the lock and keep it."""
        try:
            while not self._closing.is_set():
                self._wake.clear()
                self._wake.wait(self._step())
        finally:
            self._leave()

    def _step(self) -> float:
        """Do what is to be done; return the seconds until the next time."""
        pause = RENEW
        try:
            pause = self._stand_by() if self._duty is None else self._on_duty(self._duty)
            self._answered, self._said = True, ""
        except PASSING as error:
            self._said, pause = str(error), TRY_AGAIN
        except StoreError as error:
            if not self._answered:
                raise
            self._complain(str(self._explained(error)))
            pause = LOOK
        duty = self._duty
        if duty is None:
            return max(pause, RENEW)
        if duty.hold.held():
            return min(pause, RENEW)
        self._lost(duty)
        self._closing.wait(duty.pause)  # others first: somebody may have wanted that
        return 0.0

    def _stand_by(self) -> float:
        """Try to take the lock."""
        hold = self._lock.take()
        if hold is None:
            if self._lock.holder not in ("", self._holder):
                logger.warning("standing by: %s is held by %s", self._name, self._lock.holder)
            self._holder = self._lock.holder or self._holder
            return LOOK
        self._holder = ""
        guard = Guard(self._key, hold.revision, exact=True)
        place = SharedPosition(
            self._store,
            self._tree,
            self._name,
            guard,
            projects=self._options.projects,
            hosts=self._options.hosts,
            saved=self._wake.set,
        )
        self._duty = duty = _Duty(hold, place)
        duty.replays = self._replays  # after that: who counts one more now, ends the duty
        return self._on_duty(duty)

    def _on_duty(self, duty: _Duty) -> float:
        """Renew the lock and write the position; read it the first time."""
        if duty.hold.held():
            self._lock.renew(duty.hold)
        if not duty.hold.held():
            return RENEW
        if duty.begun:
            duty.place.write()
            return RENEW
        duty.place.fetch()
        duty.begun = True
        position = duty.place.load()[0]
        where = f"at revision {position.revision}" if position else "with no position, so all projects are replayed"
        logger.warning("took over %s %s", self._name, where)
        self._tell(self._take_up, duty)
        return RENEW

    def _take_up(self, duty: _Duty) -> None:
        self._next = duty

    def _lost(self, duty: _Duty) -> None:
        self._duty = None
        self._tell(duty.end)
        because = f" ({self._said})" if self._said else ""
        logger.warning("lost %s: %s%s; standing by", self._name, duty.hold.why, because)
        if duty.place.moved:
            self._replayed = duty.replays
        self._lock.release(duty.hold)

    def _leave(self) -> None:
        """Write the position, and let another one have the lock at once."""
        duty = self._duty
        if duty is None:
            return
        try:
            if duty.begun and duty.hold.held():
                duty.place.write(last=True)
        except (StoreError, ValueError) as error:  # gRPC raises ValueError for a channel closed meanwhile
            logger.info("%s: the position was not written: %s", self._name, error)
        self._lock.release(duty.hold)

    def _close(self, keeper: threading.Thread, looker: threading.Thread) -> None:
        self._closing.set()
        self._watch.close()
        self._wake.set()
        keeper.join(CLOSE_TIMEOUT)
        self._store.close()
        looker.join(JOIN_TIMEOUT)

    def _explained(self, error: Exception) -> Exception:
        if not isinstance(error, DeniedError):
            return error
        below = self._tree.source(self._name)
        return DeniedError(f"{error}; with standby the etcd user has to read and write below {below}")

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.error("%s: %s; trying again", self._name, text)
