# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers and their changes as JSON data, and a ledger in memory that takes such changes one by one."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from .errors import InvalidError
from .model import Ledger, Move, Owned, Place

_TEXTS = ("host", "project", "trouble", "problem", "since", "due")
_NUMBERS = ("cluster_id", "revision", "settled", "attempts", "observed", "staged")
_PLAIN = (*_TEXTS, *_NUMBERS, "policy", "owed", "done", "untold")
_LATER = {
    "trouble": "",
    "problem": "",
    "since": "",
    "due": "",
    "untold": None,
}  # a ledger of an older version has none of them
_MOVE = attrgetter(*(item.name for item in fields(Move)))


def encoded(ledger: Ledger) -> dict[str, Any]:
    """Return a ledger as JSON data."""
    return {
        **{name: getattr(ledger, name) for name in _PLAIN},
        "files": _tree(sorted(ledger.files.items())),
        "claims": [list(place) for place in ledger.claims],
        "folders": [list(place) for place in ledger.folders],
        "journal": [list(_MOVE(move)) for move in ledger.journal],
    }


def decoded(data: Any) -> Ledger:
    """Return the ledger of decoded JSON; raise InvalidError when it is not one of ours."""
    with _refusing():
        known = {**_LATER, "observed": data["revision"], "staged": data["settled"], **data}
        values = _values({name: known[name] for name in (*_PLAIN, "claims", "journal")})
        return Ledger(files=dict(_owned(known["files"])), folders=_places(known["folders"]), **values)


def difference(before: Ledger, after: Ledger) -> dict[str, Any]:
    """Return what makes one ledger out of another, as JSON data for `Page.take`; empty when they are equal."""
    change = {name: getattr(after, name) for name in _PLAIN if getattr(after, name) != getattr(before, name)}
    if after.claims != before.claims:
        change["claims"] = [list(place) for place in after.claims]
    if after.journal != before.journal:
        change["journal"] = [list(_MOVE(move)) for move in after.journal]
    if after.files is not before.files:
        change["set"] = _tree(
            (place, owned) for place, owned in after.files.items() if before.files.get(place) != owned
        )
        change["drop"] = [list(place) for place in before.files if place not in after.files]
    if after.folders is not before.folders:
        had, has = set(before.folders), set(after.folders)
        change["made"], change["gone"] = (
            [list(place) for place in sorted(places)] for places in (has - had, had - has)
        )
    return {name: value for name, value in change.items() if name in _PLAIN or value or name in ("claims", "journal")}


class Page:
    """A ledger in memory that is changed in place, so that a change costs the same however many files there are."""

    def __init__(self, ledger: Ledger) -> None:
        """Start with a ledger; ``plain`` is all of it but files and folders."""
        self.plain = replace(ledger, files={}, folders=())
        self._files = dict(ledger.files)
        self._folders = set(ledger.folders)
        self._roots = Counter(root for root, _unused in self._files)
        self._held = sum(owned.held for owned in self._files.values())
        self._restored = {place for place, owned in self._files.items() if owned.restored}

    def take(self, change: Mapping[str, Any]) -> None:
        """Become what a change says; raise InvalidError, and change nothing, when it is not one of ours."""
        with _refusing():
            values = _values(change)
            new, drop = list(_owned(change.get("set", {}))), _places(change.get("drop", ()))
            made, gone = _places(change.get("made", ())), _places(change.get("gone", ()))
        for place in drop:
            self._set(place, None)
        for place, owned in new:
            self._set(place, owned)
        self._folders.difference_update(gone)
        self._folders.update(made)
        self.plain = replace(self.plain, **values)

    def _set(self, place: Place, owned: Owned | None) -> None:
        old = self._files.pop(place, None)
        for item, count in ((old, -1), (owned, 1)):
            if item is not None:
                self._roots[place[0]] += count
                self._held += count * item.held
        if owned is not None:
            self._files[place] = owned
        (self._restored.add if owned is not None and owned.restored else self._restored.discard)(place)

    def ledger(self) -> Ledger:
        """Return all of it."""
        return replace(self.plain, files=dict(self._files), folders=tuple(sorted(self._folders)))

    def part(self, paths: Iterable[str]) -> Ledger | None:
        """Return the ledger with only these files, and the folders there and above; and those that are from a backup.

        None when it has no files, files below more than one deploy path, or files that are held.
        """
        roots = [root for root, count in self._roots.items() if count]
        if len(roots) != 1 or self._held:
            return None
        files = {place: self._files[place] for place in self._restored}
        folders: set[Place] = set()
        for path in paths:
            place = (roots[0], path)
            if place in self._files:
                files[place] = self._files[place]
            folders.add(place)  # it may become a file
            while path:
                path = path.rpartition("/")[0]
                folders.add((roots[0], path))
        return replace(self.plain, files=files, folders=tuple(sorted(folders & self._folders)))

    @property
    def roots(self) -> set[str]:
        """Return the deploy paths of all files, those that are only claimed included."""
        return {root for root, count in self._roots.items() if count} | {root for root, _unused in self.plain.claims}

    def having(self, places: Collection[Place]) -> set[Place]:
        """Return those of the places that are owned or claimed."""
        claims = set(self.plain.claims)
        return {place for place in places if place in self._files or place in claims}


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"it is not a ledger of this product ({error!r})") from error


def _values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the data that are no files and folders, as a ledger has them."""
    values = {name: data[name] for name in _PLAIN if name in data}
    for names, kind in ((_TEXTS, str), (_NUMBERS, int)):
        if not all(isinstance(values.get(name, kind()), kind) for name in names):
            raise ValueError(f"{', '.join(names)} are of type {kind.__name__}")
    if "claims" in data:
        values["claims"] = _places(data["claims"])
    if "journal" in data:
        values["journal"] = tuple(Move(*move) for move in data["journal"])
    return values


def _tree(files: Iterable[tuple[Place, Owned]]) -> dict[str, Any]:
    tree: dict[str, dict[str, Any]] = {}
    for (root, path), owned in files:
        more = {name: getattr(owned, name) for name in ("held", "restored") if getattr(owned, name)}
        tree.setdefault(root, {})[path] = {"digest": owned.digest, **more}
    return tree


def _owned(tree: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Place, Owned]]:
    for root, paths in tree.items():
        for path, owned in paths.items():
            yield (root, path), Owned(owned["digest"], bool(owned.get("held")), str(owned.get("restored", "")))


def _places(data: Iterable[Iterable[str]]) -> tuple[Place, ...]:
    return tuple((root, path) for root, path in data)
