# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers and their changes as data."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.model import Ledger, Move, Owned, Place
from ansible_collections.watcher.config.plugins.module_utils._core.records import Page, decoded, difference, encoded

EMPTY = Ledger("web01", "a.com")
PLACES = [(root, f"{folder}f{number}") for root in ("/srv", "/old") for folder in ("", "d/") for number in range(5)]


def some(chance: random.Random) -> Ledger:
    """Return any ledger."""
    return Ledger(
        "web01",
        "a.com",
        chance.randrange(3),
        chance.randrange(20),
        chance.randrange(20),
        chance.choice([None, {"deployPath": "/srv"}, {"deployPath": "/\udcff", "mode": "0644"}]),
        {place: Owned(f"sha256:{chance.randrange(3)}", chance.random() < 0.1) for place in chance.sample(PLACES, 7)},
        tuple(chance.sample(PLACES, chance.randrange(3))),
        tuple(sorted(chance.sample(PLACES, chance.randrange(5)))),
        chance.choice([None, [], ["a", "b"]]),
        chance.randrange(3),
        (Move("set", "/srv", "a", "", "n", "o", "sha256:3", 0o644, 1, 2),) * chance.randrange(3),
        chance.random() < 0.5,
        chance.randrange(20),
        chance.randrange(20),
        chance.choice(["", "afterCmd failed: \u00fc\n"]),
        chance.choice(["", "2026-01-31T10:00:00.120Z"]),
        chance.choice([None, {"state": "failed", "changes": []}]),
    )


def test_differences() -> None:
    """A page that took the difference of two ledgers is the second, and equal ledgers differ in nothing."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    before = EMPTY
    page = Page(before)
    for _unused in range(300):
        after = some(chance)
        page.take(json.loads(json.dumps(difference(before, after))))
        assert page.ledger() == after
        assert difference(after, replace(after, files=dict(after.files), folders=tuple(after.folders))) == {}
        assert decoded(json.loads(json.dumps(encoded(after)))) == after
        before = after


def test_parts() -> None:
    """The change of a part is the change of the whole, whatever else there is."""
    files = {("/srv", path): Owned("sha256:1") for path in ("a", "d/x/b", "d/c", "e/f")}
    folders = (("/", ""), ("/srv", ""), ("/srv", "d"), ("/srv", "d/x"), ("/srv", "e"))
    page = Page(replace(EMPTY, files=files, folders=folders, revision=5))
    part = page.part(["d/x/b", "none", "d/x/new"])
    assert part == replace(
        EMPTY,
        files={("/srv", "d/x/b"): Owned("sha256:1")},
        folders=(("/srv", ""), ("/srv", "d"), ("/srv", "d/x")),
        revision=5,
    )
    after = replace(part, files={("/srv", "d/x/new"): Owned("sha256:2")}, folders=part.folders[:2], revision=6)
    page.take(difference(part, after))
    assert page.ledger() == replace(
        EMPTY,
        files={**{place: owned for place, owned in files.items() if place[1] != "d/x/b"}, **after.files},
        folders=tuple(place for place in folders if place[1] != "d/x"),
        revision=6,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"set": {"/old": {"f": {"digest": "sha256:1"}}}},
        {"set": {"/srv": {"b": {"digest": "sha256:1", "held": True}}}},
        {"drop": [["/srv", "a"]]},
    ],
)
def test_no_part(change: dict[str, Any]) -> None:
    """Files below two deploy paths, held files and no files at all have no parts; when they are gone there are."""
    page = Page(replace(EMPTY, files={("/srv", "a"): Owned("sha256:1")}))
    assert page.part(["a"]) is not None
    page.take(change)
    assert page.part(["a"]) is None
    page.take({"set": {"/srv": {"a": {"digest": "sha256:1"}}}, "drop": [["/srv", "b"], ["/old", "f"]]})
    assert page.part(["a"]) is not None


def test_having() -> None:
    """Owned and claimed places are known, with their deploy paths."""
    page = Page(replace(EMPTY, files={("/srv", "a"): Owned("sha256:1")}, claims=(("/new", "b"),)))
    wanted: list[Place] = [("/srv", "a"), ("/srv", "b"), ("/new", "b")]
    assert page.having(wanted) == {("/srv", "a"), ("/new", "b")}
    assert page.roots == {"/srv", "/new"}


@pytest.mark.parametrize(
    "change",
    [{"revision": "12"}, {"problem": 1}, {"set": {"/srv": {"a": {}}}}, {"gone": ["x"]}, {"journal": [["set"]]}],
)
def test_a_change_that_is_none(change: dict[str, Any]) -> None:
    """What is no change of a ledger is an InvalidError, and changes nothing."""
    page = Page(EMPTY)
    with pytest.raises(InvalidError, match="not a ledger of this product"):
        page.take({**change, "drop": [], "attempts": 3})
    assert page.ledger() == EMPTY


def test_a_ledger_of_an_older_version() -> None:
    """One without the newer values has them as they were then."""
    data = encoded(replace(EMPTY, revision=7, settled=6))
    for name in ("observed", "staged", "problem", "since", "untold"):
        del data[name]
    assert decoded(data) == replace(EMPTY, revision=7, settled=6, observed=7, staged=6)


@pytest.mark.parametrize("data", [[], None, {}, "x"])
def test_no_ledger(data: Any) -> None:
    """What is no ledger is an InvalidError."""
    with pytest.raises(InvalidError, match="not a ledger of this product"):
        decoded(data)
