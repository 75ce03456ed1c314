# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listing of keys -> the projects it holds: one place that decides what is good, bad or not ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import InvalidError
from .keys import Tree, shown
from .model import File, Project
from .policy import MAX_VALUE, Policy
from .store import KeyValue, Listing


@dataclass(frozen=True)
class Reading:
    """What one key says: a policy or why it is none, a file, or why it cannot be deployed (``reason``).

    ``path`` is the file's, also of a rejected one where the key itself is good. ``value`` is that of a
    key for templates, which by itself makes no project.
    """

    path: str = ""
    file: File | None = None
    policy: Policy | None = None
    policy_error: str = ""
    reason: str = ""
    value: bytes | None = None

    @property
    def is_policy(self) -> bool:
        """Return whether the key is that of the policy, be it good or bad."""
        return self.file is None and not self.reason and self.value is None


def read_key(tree: Tree, item: KeyValue, owner: tuple[str, str]) -> Reading | None:
    """Return what a key of a project says; None for a key that is not ours."""
    where = f"host {owner[0]}, project {owner[1]}"
    try:
        key = tree.parse(item.key)
    except InvalidError as error:
        return Reading(reason=f"{where}: {error}")
    if key is None:
        return Reading(value=item.value) if tree.is_variable(item.key) else None
    where = f"{where}, key {shown(item.key)}"
    if key.path is None:
        try:
            policy = Policy.parse(item.value, where)
            tree.check_watch(policy.watch, where)
            return Reading(policy=policy)
        except InvalidError as error:
            return Reading(policy_error=str(error))
    if len(item.value) > MAX_VALUE:
        return Reading(key.path, reason=f"{where}: the value has {len(item.value)} bytes, allowed are {MAX_VALUE}")
    return Reading(key.path, File.of(item.value))


class Draft:
    """Collects the keys of one project."""

    def __init__(self, host: str, name: str) -> None:
        """Start with a project that has no key."""
        self.host, self.name = host, name
        self.policy: Policy | None = None
        self.policy_error = ""
        self.files: dict[str, File] = {}
        self.rejected: dict[str, str] = {}
        self.kept: set[str] = set()
        self.variables: dict[bytes, bytes] = {}
        self.ignored = 0
        self.newest = self._newest_variable = 0

    def add(self, key: bytes, reading: Reading | None, revision: int) -> None:
        """Take what one key says, and the revision of its last modification."""
        if reading is None:
            self.ignored += 1
            return
        if reading.value is not None:
            self.variables[key] = reading.value
            self._newest_variable = max(self._newest_variable, revision)
            return
        if reading.reason:
            self.reject(key, reading.path, reading.reason)
            if not reading.path:
                return
        elif reading.file is not None:
            self.files[reading.path] = reading.file
        else:
            self.policy, self.policy_error = reading.policy, reading.policy_error
        self.newest = max(self.newest, revision)

    def reject(self, key: bytes, path: str, why: str) -> None:
        """Note a file that cannot be deployed."""
        self.rejected[shown(key)] = why
        if path:
            self.kept.add(path)

    def _drop_shadowed(self, tree: Tree) -> None:
        """Reject files below a path that is a file itself, be it a rejected one: a disk cannot hold both."""
        blockers = {*self.files, *self.kept}
        for path in sorted(self.files):
            blocker = next((parent for parent in above(path) if parent in blockers), None)
            if blocker is not None:
                del self.files[path]
                key = tree.file(self.host, self.name, path)
                where = f"host {self.host}, project {self.name}, key {shown(key)}"
                self.reject(key.encode(), path, f"{where}: {blocker!r} is a file of the project, too")

    def done(self, tree: Tree, revision: int, cluster_id: int) -> Project:
        """Return the project."""
        self._drop_shadowed(tree)
        if self.policy is not None and self.policy.render:  # to others they are nothing
            self.newest = max(self.newest, self._newest_variable)
        return Project(
            self.host,
            self.name,
            revision,
            cluster_id,
            self.policy,
            self.policy_error,
            self.files,
            dict(sorted(self.rejected.items())),  # one order, in whichever order the keys came
            frozenset(self.kept),
            self.ignored,
            self.newest,
            self.variables,
        )


def projects(tree: Tree, listing: Listing) -> dict[tuple[str, str], Project]:
    """Return the projects of a listing with values, by host and project."""
    drafts: dict[tuple[str, str], Draft] = {}
    for item in listing.items:
        owner = tree.owner(item.key)
        if owner is not None:
            draft = drafts.setdefault(owner, Draft(*owner))
            draft.add(item.key, read_key(tree, item, owner), item.revision)
    done = {owner: draft.done(tree, listing.revision, listing.cluster_id) for owner, draft in drafts.items()}
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


def above(path: str) -> list[str]:
    """Return the folders above a path, outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
