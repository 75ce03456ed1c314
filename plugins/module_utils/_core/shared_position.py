# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A position in the store, for event sources that take turns.

There are two keys. ``position`` is small and written often. ``known`` has the marks of all projects, so it is
written seldom; it is needed only where the history after the position is gone.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .changes import UNKNOWN, Mark
from .errors import DeniedError
from .keys import Tree, is_name
from .position import UNREADABLE, Known, Totals, packed, unpacked
from .prefixes import Owner, Total
from .reflector import Position
from .store import Guard, Store, Write
from .tracker import misread_host

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two writes of the position at least; what comes after the last is repeated
RATE = 20_000  # bytes a second of positions at most: etcd keeps each until it is compacted
KNOWN_PAUSE, KNOWN_RATE = 10.0, 500  # the same of what is known
MAX_BYTES = 700_000  # of one value; etcd takes 1.5 MiB for both
LARGE = 10_000  # bytes of a value from which on it is compressed; what is smaller can be read
MAX_UNPACKED = 64 << 20  # bytes of a value
BAD = (*UNREADABLE, zlib.error)

Saved = tuple[Position, dict[Owner, Mark], dict[str, Total]]


class SharedPosition:
    """Keeps a position in the store for as long as a guard holds: that of the lock.

    `save` may be called by any thread and writes nothing; `fetch` and `write` are for the one that has the lock.
    """

    def __init__(
        self,
        store: Store,
        tree: Tree,
        name: str,
        guard: Guard,
        *,
        projects: Collection[str] = (),
        hosts: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        saved: Callable[[], object] = bool,
    ) -> None:
        """Read nothing yet; a position of other ``projects`` or ``hosts`` is not used. `save` calls ``saved``."""
        self._saved = saved
        self._store, self._tree, self._name, self._guard, self._clock = store, tree, name, guard, clock
        self._selection = {"of_projects": sorted(projects), "of_hosts": sorted(hosts)}
        self._loaded: tuple[Position | None, Known, Totals] = (None, {}, {})
        self._new: Saved | None = None
        self._lock = threading.Lock()
        self._position = _Key(tree.source(name, "position"), PAUSE, RATE)
        self._known = _Key(tree.source(name, "known"), KNOWN_PAUSE, KNOWN_RATE)

    def fetch(self) -> None:
        """Read what was saved; raise what the store says."""
        item, _revision = self._store.get(self._position.name)
        try:
            if item is not None:
                position, owed, totals = unpacked(_inflated(item.value), **self._selection)
                self._check(position)
                self._loaded = position, _sound({**self._marks(), **owed}), totals
        except BAD as error:
            logger.warning("%s is not used, all projects are replayed: %s", self._position.name, error)

    def load(self) -> tuple[Position | None, Known, Totals]:
        """Return what was fetched; None and nothing when nothing was there, or nothing of use."""
        return self._loaded

    @property
    def moved(self) -> bool:
        """Return whether all that was to be handed on at the start was, or is known as owed."""
        with self._lock:
            return self._new is not None and self._new[0] != self._loaded[0]

    def save(self, position: Position, known: Mapping[Owner, Mark], totals: Mapping[str, Total]) -> None:
        """Take what the next `write` writes."""
        with self._lock:
            self._new = position, dict(known), dict(totals)
        self._saved()

    def write(self, *, last: bool = False) -> None:
        """Write what was saved, if it is time to, or the ``last`` time.

        Raise ConflictError when the lock is lost, and else what the store says; then the next call tries again.
        """
        with self._lock:
            new = self._new
        now = self._clock()
        due = [key for key in (self._position, self._known) if new is not None and key.is_due(new, now, last)]
        if new is None or not due:
            return
        values = {key.name: self._value(key, new) for key in due}
        changed = tuple((key.name, values[key.name]) for key in due if key.differs(values[key.name]))
        if changed:
            self._store.commit(Write(puts=changed, guards=(self._guard,)))
        for key in due:
            key.written(new, values[key.name], now)

    def _value(self, key: _Key, saved: Saved) -> bytes:
        """Return what a key is to hold: what is not done with, or all."""
        position, known, totals = saved
        if key is self._position:
            known = {owner: mark for owner, mark in known.items() if mark[0] <= 0}
            text = packed(position, known, totals, **self._selection)
        else:
            text = packed(position._replace(revision=0, key=b"", written=0), known, {})
        return text.encode() if len(text) < LARGE else zlib.compress(text.encode())

    def _check(self, position: Position) -> None:
        if position.key and not position.key.startswith(self._tree.root.encode()):
            raise ValueError("its key is not of this tree")

    def _marks(self) -> Known:
        """Return what was known some time ago.

        A host that has reported since may have deployed something else in between, also what was not there then
        and is gone by now: of that one nothing is known.
        """
        item, _revision = self._store.get(self._known.name)
        known: Known = {}
        since = 0
        if item is not None:
            try:
                known, since = unpacked(_inflated(item.value))[1], item.revision
            except BAD as error:
                logger.warning("%s is not used: %s", self._known.name, error)
        try:
            statuses = self._store.list(self._tree.status_root, keys_only=True)
        except DeniedError:  # then nothing is left out because of them, either
            return known
        for status in statuses.items:
            if status.revision > since:
                name = status.key[len(self._tree.status_root) :].decode("utf-8", "replace")
                host, _slash, project = name.partition("/")
                known[project, host] = UNKNOWN
        return known


class _Key:
    """One key and when it may be written again."""

    def __init__(self, name: str, pause: float, rate: int) -> None:
        """Let it be written at once."""
        self.name, self._pause, self._rate = name, pause, rate
        self._at = float("-inf")
        self._saved: Saved | None = None
        self._value = b""

    def is_due(self, saved: Saved, now: float, last: bool) -> bool:
        return saved is not self._saved and (last or now >= self._at)

    def differs(self, value: bytes) -> bool:
        """Return whether a value is to be written; one that etcd would not take is logged."""
        if len(value) > MAX_BYTES:
            logger.error("%s is not written: its %d bytes are too many for etcd", self.name, len(value))
            return False
        return value != self._value

    def written(self, saved: Saved, value: bytes, now: float) -> None:
        self._saved, self._value = saved, value
        self._at = now + max(self._pause, len(value) / self._rate)


def _sound(known: Mapping[Owner, Mark]) -> Known:
    """Return what is known of hosts and projects that there can be: whoever is known and gone is in an event."""
    return {
        (project, host): mark
        for (project, host), mark in known.items()
        if is_name(project) and is_name(host) and not misread_host(host)
    }


def _inflated(value: bytes) -> bytes:
    if value.startswith(b"{"):
        return value
    unpacker: Any = zlib.decompressobj()
    data: bytes = unpacker.decompress(value, MAX_UNPACKED)
    if not unpacker.eof:
        raise ValueError("it is cut off, or too large")
    return data
