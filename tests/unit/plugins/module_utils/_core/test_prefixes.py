# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which prefixes are followed, and when something below one has changed."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.prefixes import (
    MAX_PREFIXES,
    UNSEEN,
    Below,
    Prefixes,
    Total,
)
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Replaced, Resumed
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, KeyValue, Listing

A, B = ("a.com", "web01"), ("b.com", "web01")
HIDDEN = (b"/w.status/", b"/w.agents/")


def listing(revision: int, kind: type[Listing] = Listing, **keys: int) -> Listing:
    """Return a listing of keys and their revisions."""
    return kind(tuple(KeyValue(f"/s/{key}".encode(), b"", written) for key, written in keys.items()), revision, 1)


def batch(*events: tuple[int, bytes] | tuple[int, bytes, bool]) -> Batch:
    """Return a batch of (revision, key) or (revision, key, True) for a deletion."""
    made = tuple(Event(event[1], b"", event[0], len(event) == 3) for event in events)
    return Batch(made, made[-1].revision)


@pytest.mark.parametrize(
    ("known", "item", "revision"),
    [
        (None, listing(9, Resumed, a=3), 0),
        (None, listing(9, a=3), 9),
        (None, listing(9), 9),
        ((1, 3), listing(9, a=3), 0),
        ((1, 3), listing(9, a=4), 9),
        ((1, 3), listing(9), 9),
        ((1, 3), listing(9, Replaced, a=3), 9),
        ((0, 0), listing(9), 0),
        (UNSEEN, listing(9), 9),
        (UNSEEN, listing(9, a=3), 9),
    ],
    ids=[
        "begins", "history gone", "history gone and empty", "equal", "set", "deleted", "another store", "still empty",
        "unseen and empty", "unseen",
    ],
)  # fmt: skip
def test_a_listing_is_compared(known: Total | None, item: Listing, revision: int) -> None:
    """What was known before tells whether something has changed since."""
    assert Below(HIDDEN, known).take(item) == revision


def test_a_batch_changes_the_total() -> None:
    """However the keys came to be there, the total is that of a listing of them."""
    below = Below(HIDDEN)
    below.take(listing(9, Resumed, a=3, b=4))
    assert below.take(batch((10, b"/s/a"), (11, b"/s/b", True), (12, b"/s/c"), (13, b"/s/none", True))) == 13
    assert below.total == (2, 22)
    assert below.take(listing(20, a=10, c=12)) == 0
    assert below.take(listing(30, a=10)) == 30


def test_what_deployments_write_is_hidden() -> None:
    """It is neither a change nor in the total."""
    below = Below(HIDDEN)
    below.take(listing(9, Resumed))
    assert below.take(batch((10, b"/w.status/web01/a.com"), (10, b"/w.agents/web01"))) == 0
    assert below.total == (0, 0)
    status = KeyValue(b"/w.status/web01/a.com", b"", 10)
    assert below.take(Listing((status,), 11, 1)) == 0


def test_prefixes_come_and_go() -> None:
    """One is followed while somebody watches it, with or without a slash at its end."""
    prefixes = Prefixes(Tree())
    prefixes.set(A, ["/s", "/s/"])
    prefixes.set(B, ["/s/", "/t"])
    begun, ended = prefixes.turn()
    assert (sorted(begun), ended) == (["/s/", "/t/"], [])
    assert prefixes.owners("/s/") == [A, B]
    assert prefixes.watches(A)
    assert prefixes.turn() == ({}, [])
    prefixes.set(A, [])
    assert not prefixes.watches(A)
    assert prefixes.owners("/s/") == [B]
    assert prefixes.turn() == ({}, [])
    prefixes.set(B, ["/t"])
    assert prefixes.turn() == ({}, ["/s/"])


def test_what_was_below_before_a_restart() -> None:
    """It counts for what is watched at once; what is watched later begins with the policy that says so."""
    prefixes = Prefixes(Tree(), {"/s/": (1, 3), "/t/": (0, 0)})
    prefixes.set(A, ["/s"])
    assert {prefix: below.total for prefix, below in prefixes.turn()[0].items()} == {"/s/": (1, 3)}
    prefixes.set(A, ["/s", "/t"])
    assert {prefix: below.total for prefix, below in prefixes.turn()[0].items()} == {"/t/": None}


def test_too_many(caplog: pytest.LogCaptureFixture) -> None:
    """The first keep their places; the rest is told once and gets its turn later, unseen until then."""
    prefixes = Prefixes(Tree())
    prefixes.set(A, [f"/p{number:02}" for number in range(MAX_PREFIXES)])
    prefixes.set(B, ["/late"])
    begun, _ended = prefixes.turn()
    assert len(begun) == MAX_PREFIXES
    assert "/late/" not in begun
    prefixes.set(B, ["/late", "/later"])
    assert prefixes.turn() == ({}, [])
    assert [record.message.partition(" a change below ")[2].split(",")[0] for record in caplog.records] == [
        "/late/", "/later/",
    ]  # fmt: skip
    assert caplog.records[0].message.startswith("host web01, project b.com: ")
    prefixes.set(A, [f"/p{number:02}" for number in range(1, MAX_PREFIXES)])
    begun, ended = prefixes.turn()
    assert ({prefix: below.total for prefix, below in begun.items()}, ended) == ({"/late/": UNSEEN}, ["/p00/"])
