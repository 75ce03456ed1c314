# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to a project on a host, and what is there of it (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .prefixes import Owner
from .render import is_template

MAX_FILES = 100  # named per change; the receiver reads the tree again, so names are only for rules and people

Mark = tuple[int, int]  # how many keys there are and the newest revision of them: equal means nothing changed
UNKNOWN: Mark = (0, 0)
OWED: Mark = (-1, 0)  # to be handed on whatever follows the position; with the revision due, 0 for the position's


@dataclass(frozen=True)
class Change:
    """What happened to a project on a host; ``mark`` is what is there now, with 0 keys when it was removed.

    It is done with when the host has reported ``revision`` or a newer one. ``values_changed`` says that
    values which its templates see changed, ``beside`` that no position brings all of it again: values
    that are no keys of the project, or what was owed before a restart.
    """

    project: str
    host: str
    revision: int
    mark: Mark
    policy_changed: bool = False
    files: Mapping[str, str] = field(default_factory=dict)  # path to "set" or "delete", `MAX_FILES` at most
    files_cut: int = 0
    replayed: bool = False
    values_changed: bool = False
    beside: bool = False

    def then(self, later: Change) -> Change:
        """Return both changes as one; a replay says all there is, so it stands alone."""
        beside = self.beside or later.beside
        if later.replayed:
            return replace(later, beside=beside)
        files, cut = _cut({**self.files, **later.files})
        return replace(
            later,
            revision=max(self.revision, later.revision),  # changes beside the project come in no order with its own
            policy_changed=self.policy_changed or later.policy_changed,
            files=files,
            files_cut=self.files_cut + later.files_cut + cut,
            replayed=self.replayed,
            values_changed=self.values_changed or later.values_changed,
            beside=beside,
        )


class Contents:
    """The keys of a project on a host, and what happened to them since a change was made of that."""

    def __init__(self) -> None:
        """Begin with none."""
        self.policy = False
        self.paths: set[str] = set()
        self.templates: set[str] = set()
        self.variables: set[bytes] = set()
        self.newest = 0
        self.policy_changed = False
        self.actions: dict[str, str] = {}
        self.render: bool | None = False  # what the policy says; None before it was read
        self.watch: tuple[str, ...] = ()

    @property
    def mark(self) -> Mark:
        """Return the mark; values alone are no project."""
        count = len(self.paths) + self.policy
        return (count + len(self.variables) if count else 0), self.newest

    @property
    def unread(self) -> bool:
        """Return whether the policy has to be read: it says something about values."""
        return self.render is None and bool(self.templates)

    @property
    def renders(self) -> bool:
        """Return whether a change of values may change files."""
        return self.render is not False and bool(self.templates)

    def apply(self, path: str | None, revision: int, deleted: bool) -> None:
        """Take a file, or the policy (None)."""
        self.newest = max(self.newest, revision)
        if path is None:
            self.policy = not deleted
            self.policy_changed = True
            self.render = False if deleted else None
            return
        for paths in (self.paths, self.templates) if is_template(path) else (self.paths,):
            paths.discard(path) if deleted else paths.add(path)
        self.actions[path] = "delete" if deleted else "set"

    def vary(self, key: bytes, revision: int, deleted: bool) -> None:
        """Take a value for templates."""
        self.newest = max(self.newest, revision)
        self.variables.discard(key) if deleted else self.variables.add(key)

    def change(self, owner: Owner, revision: int, values_changed: bool = False) -> Change:
        """Return what happened, and forget it."""
        files, cut = _cut(self.actions)
        change = Change(
            *owner, revision, self.mark, self.policy_changed, files, cut, values_changed=values_changed and self.renders
        )
        self.policy_changed, self.actions = False, {}
        return change


def _cut(files: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Return the first `MAX_FILES` files and how many there are beyond."""
    return dict(list(files.items())[:MAX_FILES]), max(0, len(files) - MAX_FILES)
