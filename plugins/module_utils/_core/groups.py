# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of one project: collected, or handed on."""

from __future__ import annotations

from dataclasses import dataclass, field

from .changes import Change
from .reflector import Position


@dataclass
class Group:
    """The changes of one project, by host, and the position from which they can be had again.

    The hosts in ``owed`` were handed on before without an outcome or with a failure, ``tries`` times
    at most; a group of nothing else is not due before ``rest``.
    """

    first: float
    last: float
    turn: int
    before: Position | None
    changes: dict[str, Change] = field(default_factory=dict)
    owed: frozenset[str] = frozenset()
    tries: int = 0
    rest: float = 0.0

    @property
    def fresh(self) -> bool:
        """Return whether a restart has to begin at the position ``before``."""
        return any(not change.beside for host, change in self.changes.items() if host not in self.owed)

    def add(self, change: Change, now: float) -> None:
        """Take one more change."""
        if self.rest:  # what is new need not wait for what is tried again, which may succeed now
            self.first, self.rest, self.tries = now, 0.0, 1
        self.last = now
        earlier = self.changes.get(change.host)
        self.changes[change.host] = earlier.then(change) if earlier else change


@dataclass
class Handed:
    """An event on its way: ``waiting`` are the hosts that have not reported, by the revision due.

    Those in ``failed`` have reported a failure, after the revision ``since`` of the store.
    """

    group: Group
    waiting: dict[str, int]
    since: int
    failed: set[str] = field(default_factory=set)
    until: float | None = None  # None while it waits to be taken
    counts: float = 0.0  # until when it keeps one of the places at work
