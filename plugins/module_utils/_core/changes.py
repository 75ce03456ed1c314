# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listings and batches -> what changed, per project and host (pure)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .errors import InvalidError
from .keys import Tree, TreeKey, shown
from .reflector import Resumed
from .store import Batch, Event, Listing

logger = logging.getLogger(__name__)

MAX_FILES = 100  # named per change; the receiver reads the tree again, so names are only for rules and people
MAX_SAID = 1000  # keys and hosts whose reason was logged are remembered, so that each is logged once

# Hosts of an event become the limit of a run: a host of such a name would be every host, or the control host.
RESERVED_HOSTS = frozenset({"all", "ungrouped", "localhost", "127.0.0.1"})

Owner = tuple[str, str]  # project, host: sorted, the hosts of a project are together
Mark = tuple[int, int]  # how many keys there are and the newest revision of them: equal means nothing changed
UNKNOWN: Mark = (0, 0)
OWED: Mark = (-1, 0)  # handed on before the position, without an outcome


@dataclass(frozen=True)
class Change:
    """What happened to a project on a host; ``mark`` is what is there now, with 0 keys when it was removed.

    It is done with when the host has reported ``revision`` or a newer one.
    """

    project: str
    host: str
    revision: int
    mark: Mark
    policy_changed: bool = False
    files: Mapping[str, str] = field(default_factory=dict)  # path to "set" or "delete", `MAX_FILES` at most
    files_cut: int = 0
    replayed: bool = False

    def then(self, later: Change) -> Change:
        """Return both changes as one; a replay says all there is, so it stands alone."""
        if later.replayed:
            return later
        files, cut = _cut({**self.files, **later.files})
        return replace(
            later,
            policy_changed=self.policy_changed or later.policy_changed,
            files=files,
            files_cut=self.files_cut + later.files_cut + cut,
            replayed=self.replayed,
        )


class _Project:
    """The keys of a project on a host, and what happened to them since `Tracker` looked last."""

    def __init__(self) -> None:
        self.policy = False
        self.paths: set[str] = set()
        self.newest = 0
        self.policy_changed = False
        self.actions: dict[str, str] = {}

    @property
    def mark(self) -> Mark:
        return len(self.paths) + self.policy, self.newest

    def apply(self, path: str | None, revision: int, deleted: bool) -> None:
        self.newest = max(self.newest, revision)
        if path is None:
            self.policy = not deleted
            self.policy_changed = True
            return
        self.paths.discard(path) if deleted else self.paths.add(path)
        self.actions[path] = "delete" if deleted else "set"

    def change(self, owner: Owner, revision: int) -> Change:
        """Return what happened, and forget it."""
        files, cut = _cut(self.actions)
        change = Change(*owner, revision, self.mark, self.policy_changed, files, cut)
        self.policy_changed, self.actions = False, {}
        return change


class Tracker:
    """Knows which keys are there, and says what a listing or batch changes.

    ``invalid`` counts keys seen that break the contract, ``ignored`` those that are not ours.
    """

    def __init__(
        self,
        tree: Tree,
        projects: Collection[str] = (),
        hosts: Collection[str] = (),
        known: Mapping[Owner, Mark] | None = None,
    ) -> None:
        """Look at these projects and hosts only (none: all); ``known`` is what was there before."""
        self.invalid = 0
        self.ignored = 0
        self._tree = tree
        self._projects = frozenset(projects)
        self._hosts = frozenset(hosts)
        self._known: Mapping[Owner, Mark] | None = {
            owner: mark for owner, mark in (known or {}).items() if self._wants(owner)
        }  # until the first listing
        self._there: dict[Owner, _Project] = {}
        self._said: set[str] = set()

    def take(self, item: Listing | Batch) -> list[Change]:
        """Return the changes, sorted by project and host; a listing changes everything, a Resumed one what is owed."""
        if isinstance(item, Batch):
            return self._batch(item.events)
        known = self._known if self._known is not None else {owner: kept.mark for owner, kept in self._there.items()}
        self._known, self._there = None, {}
        for found in item.items:
            self._apply(found.key, found.revision)
        changes = self._replay(item.revision, known)
        if isinstance(item, Resumed):
            return [change for change in changes if known.get((change.project, change.host)) == OWED]
        return changes

    def _replay(self, revision: int, known: Mapping[Owner, Mark]) -> list[Change]:
        """Return one change for each project there, and for each that was known and is gone.

        What an unchanged one reported before still holds, so that one keeps its revision.
        """
        changes = [Change(*owner, revision, UNKNOWN, replayed=True) for owner in known.keys() - self._there.keys()]
        for owner, there in self._there.items():
            unchanged = known.get(owner) == there.mark
            changes.append(replace(there.change(owner, there.newest if unchanged else revision), replayed=True))
        return sorted(changes, key=lambda change: (change.project, change.host))

    def _batch(self, events: Iterable[Event]) -> list[Change]:
        touched: dict[Owner, int] = {}
        for event in events:
            owner = self._apply(event.key, event.revision, event.deleted)
            if owner:
                touched[owner] = event.revision
        changes = [self._there[owner].change(owner, touched[owner]) for owner in sorted(touched)]
        for owner in touched:
            if self._there[owner].mark[0] == 0:
                del self._there[owner]
        return changes

    def _apply(self, key: bytes, revision: int, deleted: bool = False) -> Owner | None:
        """Note one key and return whose it is; None for one that is nobody's."""
        parsed = self._parse(key)
        if parsed is None:
            return None
        owner = parsed.project, parsed.host
        self._there.setdefault(owner, _Project()).apply(parsed.path, revision, deleted)
        return owner

    def _parse(self, key: bytes) -> TreeKey | None:
        """Return what a key means, if it is wanted and keeps the contract."""
        try:
            parsed = self._tree.parse(key)
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


def _cut(files: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Return the first `MAX_FILES` files and how many there are beyond."""
    return dict(list(files.items())[:MAX_FILES]), max(0, len(files) - MAX_FILES)
