# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listing of keys -> the projects it holds: one place that decides what is good, bad or not ours."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import InvalidError
from .keys import Tree, TreeKey, shown
from .model import File, Project
from .policy import MAX_VALUE, Policy
from .store import KeyValue, Listing


class _Draft:
    """Collects the keys of one project."""

    def __init__(self, host: str, name: str) -> None:
        self.host, self.name = host, name
        self.policy: Policy | None = None
        self.policy_error = ""
        self.files: dict[str, File] = {}
        self.rejected: dict[str, str] = {}
        self.kept: set[str] = set()
        self.ignored = 0
        self.newest = 0

    def add(self, item: KeyValue, key: TreeKey) -> None:
        """Take one key that keeps the rules for keys."""
        self.newest = max(self.newest, item.revision)
        where = f"host {self.host}, project {self.name}, key {shown(item.key)}"
        if key.path is None:
            try:
                self.policy = Policy.parse(item.value, where)
            except InvalidError as error:
                self.policy_error = str(error)
        elif len(item.value) > MAX_VALUE:
            self.reject(item.key, key.path, f"{where}: the value has {len(item.value)} bytes, allowed are {MAX_VALUE}")
        else:
            self.files[key.path] = File.of(item.value)

    def reject(self, key: bytes, path: str, why: str) -> None:
        """Note a file that cannot be deployed."""
        self.rejected[shown(key)] = why
        if path:
            self.kept.add(path)

    def drop_shadowed(self, tree: Tree) -> None:
        """Reject files below a path that is a file itself, be it a rejected one: a disk cannot hold both."""
        blockers = {*self.files, *self.kept}
        for path in sorted(self.files):
            parts = path.split("/")
            parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
            blocker = next((parent for parent in parents if parent in blockers), None)
            if blocker is not None:
                del self.files[path]
                key = tree.file(self.host, self.name, path)
                where = f"host {self.host}, project {self.name}, key {shown(key)}"
                self.reject(key.encode(), path, f"{where}: {blocker!r} is a file of the project, too")

    def done(self, revision: int, cluster_id: int) -> Project:
        """Return the project."""
        return Project(
            self.host,
            self.name,
            revision,
            cluster_id,
            self.policy,
            self.policy_error,
            self.files,
            self.rejected,
            frozenset(self.kept),
            self.ignored,
            self.newest,
        )


def projects(tree: Tree, listing: Listing) -> dict[tuple[str, str], Project]:
    """Return the projects of a listing with values, by host and project."""
    drafts: dict[tuple[str, str], _Draft] = {}
    for item in listing.items:
        owner = tree.owner(item.key)
        if owner is None:
            continue
        draft = drafts.setdefault(owner, _Draft(*owner))
        try:
            key = tree.parse(item.key)
        except InvalidError as error:
            draft.reject(item.key, "", f"host {owner[0]}, project {owner[1]}: {error}")
            continue
        if key is None:
            draft.ignored += 1
        else:
            draft.add(item, key)
    for draft in drafts.values():
        draft.drop_shadowed(tree)
    done = {owner: draft.done(listing.revision, listing.cluster_id) for owner, draft in drafts.items()}
    return {owner: project for owner, project in done.items() if project.exists}


def strays(tree: Tree, keys: Iterable[bytes]) -> dict[str, str]:
    """Return the keys whose host or project breaks the rules, with the reason."""
    found = {}
    for key in keys:
        if tree.owner(key) is None:
            try:
                tree.parse(key)
            except InvalidError as error:
                found[shown(key)] = str(error)
    return found
