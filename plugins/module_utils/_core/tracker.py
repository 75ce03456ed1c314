# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listings and batches -> what changed, per project and host (pure)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from .changes import OWED, UNKNOWN, Change, Contents, Mark
from .errors import InvalidError
from .keys import Tree, TreeKey, shown
from .policy import Policy
from .prefixes import Below, Owner, Prefixes, Total
from .reflector import Replaced, Resumed
from .store import Batch, Event, Listing

logger = logging.getLogger(__name__)

MAX_SAID = 1000  # keys and hosts whose reason was logged are remembered, so that each is logged once

# Hosts of an event become the limit of a run: a host of such a name would be every host, or the control host.
RESERVED_HOSTS = frozenset({"all", "ungrouped", "localhost", "127.0.0.1"})


class Tracker:
    """Knows which keys are there, and says what a listing or batch changes.

    After each, `unread` policies have to be learned: they say which ``prefixes`` projects watch.
    ``invalid`` counts keys seen that break the contract, ``ignored`` those that are not ours.
    """

    def __init__(
        self,
        tree: Tree,
        projects: Collection[str] = (),
        hosts: Collection[str] = (),
        known: Mapping[Owner, Mark] | None = None,
        totals: Mapping[str, Total] | None = None,
    ) -> None:
        """Look at these projects and hosts only (none: all); ``known`` and ``totals`` is what was there before."""
        self.prefixes = Prefixes(tree, totals)
        self.invalid = 0
        self.ignored = 0
        self._tree = tree
        self._projects = frozenset(projects)
        self._hosts = frozenset(hosts)
        self._known: Mapping[Owner, Mark] | None = {
            owner: mark for owner, mark in (known or {}).items() if self._wants(owner)
        }  # until the first listing
        self._there: dict[Owner, Contents] = {}
        self._touched: set[Owner] = set()  # since policies were looked at last
        self._newest_value = 0  # revision of the newest change below a prefix
        self._said: set[str] = set()

    def take(self, item: Listing | Batch) -> list[Change]:
        """Return the changes, sorted by project and host; a listing changes everything, a Resumed one what is owed."""
        if isinstance(item, Batch):
            return self._batch(item.events)
        known = self._known if self._known is not None else self.marks()
        self._touched |= self._there.keys()
        self._known, self._there = None, {}
        for found in item.items:
            self._apply(found.key, found.revision)
        if isinstance(item, Replaced):
            self._newest_value = 0
        changes = self._replay(item, known)
        if isinstance(item, Resumed):
            return [
                replace(change, revision=known[change.project, change.host][1] or change.revision)
                for change in changes
                if change.beside
            ]
        return changes

    def marks(self) -> dict[Owner, Mark]:
        """Return what is there."""
        return {owner: there.mark for owner, there in self._there.items() if there.mark[0]}

    def _replay(self, item: Listing, known: Mapping[Owner, Mark]) -> list[Change]:
        """Return one change for each project there, and for each that was known and is gone.

        What an unchanged one reported before still holds, so that one keeps its revision; where values
        from elsewhere decide, what was reported may be older than those. A store that was restored is
        older than what hosts have. What is owed stays so: nothing that follows brings it again.
        """
        revision, restored = item.revision, isinstance(item, Replaced)
        marks = self.marks()
        owed = {owner for owner, mark in known.items() if mark[0] == OWED[0]}
        changes = [
            Change(*owner, revision, UNKNOWN, replayed=True, beside=owner in owed)
            for owner in known.keys() - marks.keys()
        ]
        for owner, mark in marks.items():
            due = mark[1] if known.get(owner) == mark and not restored else revision
            if self.prefixes.watches(owner):
                due = max(revision, self._newest_value)
            changes.append(replace(self._there[owner].change(owner, due), replayed=True, beside=owner in owed))
        return sorted(changes, key=lambda change: (change.project, change.host))

    def _batch(self, events: Iterable[Event]) -> list[Change]:
        touched: dict[Owner, int] = {}
        values: dict[Owner, int] = {}
        for event in events:
            owner, is_value = self._apply(event.key, event.revision, event.deleted)
            if owner:
                (values if is_value else touched)[owner] = event.revision
        for owner, revision in values.items():
            if self._there[owner].renders:
                touched[owner] = max(touched.get(owner, 0), revision)
        changes = [self._there[owner].change(owner, touched[owner], owner in values) for owner in sorted(touched)]
        for owner in {*touched, *values}:
            if not (self._there[owner].mark[0] or self._there[owner].variables):
                del self._there[owner]
        return changes

    def values(self, prefix: str, below: Below, item: Listing | Batch) -> list[Change]:
        """Return the changes of the projects that watch a prefix, sorted, when something below it has changed."""
        revision = below.take(item)
        if not revision:
            return []
        self._newest_value = max(self._newest_value, revision)
        found = {owner: self._there[owner] for owner in self.prefixes.owners(prefix) if owner in self._there}
        return [
            Change(*owner, revision, there.mark, values_changed=True, beside=True)
            for owner, there in found.items()
            if there.mark[0]
        ]

    def unread(self) -> list[Owner]:
        """Return the projects whose policies have to be learned."""
        return sorted(owner for owner in self._touched if owner in self._there and self._there[owner].unread)

    def learn(self, owner: Owner, value: bytes | None) -> None:
        """Take a policy, or None for one that is gone; one that is none renders nothing."""
        there = self._there.get(owner)
        if there is None:
            return
        there.render, there.watch = False, ()
        if value is not None:
            with suppress(InvalidError):  # who deploys it says what is wrong
                policy = Policy.parse(value, "policy")
                there.render, there.watch = policy.render, policy.watch

    def follow(self) -> tuple[dict[str, Below], list[str]]:
        """Return the prefixes to follow in addition once all policies are learned, and those to follow no more."""
        touched, self._touched = self._touched, set()
        for owner in touched:
            there = self._there.get(owner)
            self.prefixes.set(owner, there.watch if there and there.render and there.templates else ())
        return self.prefixes.turn()

    def _apply(self, key: bytes, revision: int, deleted: bool = False) -> tuple[Owner | None, bool]:
        """Note one key and return whose it is, None for one that is nobody's, and whether it is a value."""
        parsed = self._parse(key)
        if parsed is None:
            return None, False
        owner = parsed.project, parsed.host
        there = self._there.setdefault(owner, Contents())
        is_value = parsed.path is None and self._tree.is_variable(key)
        if is_value:
            there.vary(key, revision, deleted)
        else:
            there.apply(parsed.path, revision, deleted)
            self._touched.add(owner)
        return owner, is_value

    def _parse(self, key: bytes) -> TreeKey | None:
        """Return what a key means, if it is wanted and keeps the contract."""
        try:
            parsed = self._tree.parse(key) or self._value(key)
        except InvalidError as error:
            self._refuse(shown(key), str(error))
            return None
        if parsed is None:
            self.ignored += 1
        elif self._wants((parsed.project, parsed.host)):
            if not misread_host(parsed.host):
                return parsed
            self._refuse(f"host {parsed.host}", "Ansible would take the name for more than one host; rename it")
        return None

    def _value(self, key: bytes) -> TreeKey | None:
        """Return whose value a key holds, as if it were the policy; None for a key that is not ours."""
        owner = self._tree.owner(key) if self._tree.is_variable(key) else None
        return TreeKey(*owner) if owner else None

    def _wants(self, owner: Owner) -> bool:
        return (not self._projects or owner[0] in self._projects) and (not self._hosts or owner[1] in self._hosts)

    def _refuse(self, what: str, why: str) -> None:
        """Count a key and log once why it is in no event."""
        self.invalid += 1
        if what not in self._said and len(self._said) < MAX_SAID:
            self._said.add(what)
            logger.warning("%s is in no event: %s", what, why)


def misread_host(host: str) -> bool:
    """Return whether a run limited to this host would mean something else: more hosts, or an option."""
    return host in RESERVED_HOSTS or host.startswith("-")
