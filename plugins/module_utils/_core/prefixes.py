# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which projects watch which prefixes (contract, section 2, ``watch``), and what is below each of those (pure)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from .keys import Tree, shown
from .reflector import Replaced, Resumed
from .store import Batch, Event, Listing
from .values import folder

logger = logging.getLogger(__name__)

MAX_PREFIXES = 64  # followed at once; each costs three threads and a watch on the store

Owner = tuple[str, str]  # project, host: sorted, the hosts of a project are together
# How many keys there are and the sum of their revisions. A revision is only ever followed by a greater one,
# so in one store equal totals mean equal keys: whatever else came in the place of one would have raised the sum.
Total = tuple[int, int]
UNSEEN: Total = (-1, 0)  # equal to none


class Below:
    """The keys below one prefix; ``total`` is as of what was taken last, None when nothing was known before."""

    def __init__(self, hidden: tuple[bytes, ...], total: Total | None = None) -> None:
        """Begin with what was known before; keys that begin with one of ``hidden`` are passed over."""
        self.total = total
        self._hidden = hidden
        self._revisions: dict[bytes, int] = {}

    def take(self, item: Listing | Batch) -> int:
        """Return the revision at which something has changed, 0 when nothing has.

        A listing is compared with what was known. Where nothing was, only a Resumed one is no change:
        it is of the revision from which on the prefix is watched.
        """
        if isinstance(item, Batch):
            return self._batch(item.events)
        self._revisions = {found.key: found.revision for found in item.items if not found.key.startswith(self._hidden)}
        before, self.total = self.total, (len(self._revisions), sum(self._revisions.values()))
        begins = before is None and isinstance(item, Resumed)
        same = before == self.total and not isinstance(item, Replaced)
        return 0 if begins or same else item.revision

    def _batch(self, events: Iterable[Event]) -> int:
        newest = 0
        _count, total = self.total or UNSEEN
        for event in events:
            if not event.key.startswith(self._hidden):
                newest = max(newest, event.revision)
                total -= self._revisions.pop(event.key, 0)
                if not event.deleted:
                    total += event.revision
                    self._revisions[event.key] = event.revision
        self.total = len(self._revisions), total
        return newest


class Prefixes:
    """The prefixes that projects watch, each with a slash at its end, and what is below the first `MAX_PREFIXES`.

    What deployments and agents write themselves is below none: an event would be the cause of the next.
    """

    def __init__(self, tree: Tree, totals: Mapping[str, Total] | None = None) -> None:
        """Begin with what was below prefixes before a restart."""
        self._hidden = tuple(root.encode() for root in tree.reports)
        self._totals = dict(totals or {})  # until the first turn
        self._of: dict[Owner, tuple[str, ...]] = {}
        self._owners: dict[str, set[Owner]] = {}  # in the order in which the prefixes came
        self._followed: list[str] = []
        self._left_out: set[str] = set()
        self._changed = False

    def set(self, owner: Owner, watch: Iterable[str]) -> None:
        """Let a project watch these prefixes, and no others."""
        wanted = tuple(dict.fromkeys(map(folder, watch)))
        before = self._of.pop(owner, ())
        if wanted:
            self._of[owner] = wanted
        if wanted == before:
            return
        self._changed = True
        for prefix in wanted:
            self._owners.setdefault(prefix, set()).add(owner)
        for prefix in set(before).difference(wanted):
            self._owners[prefix].discard(owner)
            if not self._owners[prefix]:
                del self._owners[prefix]

    def watches(self, owner: Owner) -> bool:
        """Return whether a project watches a prefix."""
        return owner in self._of

    def owners(self, prefix: str) -> list[Owner]:
        """Return the projects that watch a prefix, sorted."""
        return sorted(self._owners.get(prefix, ()))

    def turn(self) -> tuple[dict[str, Below], list[str]]:
        """Return the prefixes to follow from now on in addition, and those to follow no more."""
        if not self._changed:
            return {}, []
        self._changed = False
        names = list(self._owners)
        followed, left_out = names[:MAX_PREFIXES], set(names[MAX_PREFIXES:])
        self._warn(left_out - self._left_out)
        ended = [prefix for prefix in self._followed if prefix not in followed]
        new = [prefix for prefix in followed if prefix not in self._followed]
        begun = {prefix: Below(self._hidden, self._known(prefix)) for prefix in new}
        self._followed, self._totals, self._left_out = followed, {}, left_out
        return begun, ended

    def _known(self, prefix: str) -> Total | None:
        """Return what was below a prefix when it was looked at last; None when nothing can have been missed."""
        return UNSEEN if prefix in self._left_out else self._totals.get(prefix)

    def _warn(self, left_out: Iterable[str]) -> None:
        for prefix in sorted(left_out):
            project, host = min(self._owners[prefix])
            logger.warning(
                "host %s, project %s: a change below %s, which its policy watches, is no event, for %d prefixes are"
                " followed already; let policies share prefixes",
                host,
                project,
                shown(prefix),
                MAX_PREFIXES,
            )
