# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store keeps, whichever it is: reading and writing."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    CompactedError,
    ConflictError,
    RewoundError,
    StoreError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.store import Guard, KeyValue, Store, Write
from ansible_collections.watcher.config.tests.contract.fixtures import Subject, keys, put


def test_an_empty_store_is_at_revision_one(store: Store) -> None:
    """Nothing was written yet."""
    assert store.get("/watcher/a") == (None, 1)
    listing = store.list("/watcher/")
    assert (listing.items, listing.revision) == ((), 1)
    assert listing.cluster_id != 0


def test_get_returns_what_was_put(store: Store) -> None:
    """The value is bytes of any kind, and the revision that of the last put."""
    value = bytes(range(256))
    first = put(store, ("/watcher/a", value))
    second = put(store, ("/watcher/b", b""))
    assert store.get("/watcher/a") == (KeyValue(b"/watcher/a", value, first), second)
    assert store.get("/watcher/b") == (KeyValue(b"/watcher/b", b"", second), second)
    assert store.get("/watcher/") == (None, second)


def test_list_is_sorted_by_bytes(store: Store) -> None:
    """Keys are not only ASCII, and sorted as etcd sorts them."""
    put(store, ("/w/b", b"1"), ("/w/ä", b"2"), ("/w/a/z", b"3"), ("/w/a-z", b"4"), ("/w/Z", b"5"))
    assert keys(store, "/w/") == ["/w/Z", "/w/a-z", "/w/a/z", "/w/b", "/w/ä"]


def test_list_with_slash_keeps_web01_apart_from_web010(store: Store) -> None:
    """A prefix is only a prefix; the slash makes it a folder."""
    put(store, ("/w/web01/a", b""), ("/w/web010/a", b""), ("/w/web01", b""), ("/w/web02/a", b""))
    assert keys(store, "/w/web01/") == ["/w/web01/a"]
    assert keys(store, "/w/web01") == ["/w/web01", "/w/web01/a", "/w/web010/a"]


def test_list_of_keys_only_has_no_values(store: Store) -> None:
    """All else is there."""
    revision = put(store, ("/w/a", b"value"))
    assert store.list("/w/", keys_only=True).items == (KeyValue(b"/w/a", b"", revision),)


def test_list_at_a_revision_shows_the_past(store: Store) -> None:
    """Later puts and deletes are not in it."""
    put(store, ("/w/a", b"1"), ("/w/b", b"1"))
    past = put(store, ("/w/a", b"2"))
    store.commit(Write(puts=(("/w/c", b"3"),), deletes=("/w/b",)))
    listing = store.list("/w/", revision=past)
    assert [(item.key, item.value) for item in listing.items] == [(b"/w/a", b"2"), (b"/w/b", b"1")]
    assert listing.revision == past
    assert keys(store, "/w/") == ["/w/a", "/w/c"]


def test_list_of_many_pages_is_complete(store: Store) -> None:
    """2,500 keys need several pages, all at one revision."""
    expected = [f"/w/{number:04}" for number in range(2500)]
    for first in range(0, len(expected), 100):
        revision = put(store, *((key, key.encode()) for key in expected[first : first + 100]))
    put(store, ("/x", b""))
    listing = store.list("/w/", revision=revision)
    assert [item.key.decode() for item in listing.items] == expected
    assert all(item.value == item.key for item in listing.items)
    assert listing.revision == revision
    assert [item.key.decode() for item in store.list("/w/", keys_only=True).items] == expected


def test_list_of_large_values(store: Store) -> None:
    """20 values of 1 MiB, between small ones."""
    large = b"x" * (1 << 20)
    for number in range(20):
        put(store, (f"/w/{number:02}/large", large))
        put(store, (f"/w/{number:02}/small", b"y"))
    items = store.list("/w/").items
    assert len(items) == 40
    assert {len(item.value) for item in items} == {1, 1 << 20}


def test_list_at_a_compacted_revision(subject: Subject) -> None:
    """The caller has to list again, now."""
    past = put(subject.store, ("/w/a", b"1"))
    now = put(subject.store, ("/w/a", b"2"))
    subject.compact(now)
    with pytest.raises(CompactedError):
        subject.store.list("/w/", revision=past)
    assert subject.store.list("/w/", revision=now).items[0].value == b"2"


def test_list_at_a_revision_still_to_come(store: Store) -> None:
    """That revision is another store's."""
    with pytest.raises(RewoundError):
        store.list("/w/", revision=99)


def test_a_transaction_is_one_revision(store: Store) -> None:
    """Puts, deletes and deletes of prefixes are one revision together."""
    before = put(store, ("/w/a/1", b""), ("/w/a/2", b""), ("/w/b", b""), ("/w/c", b""))
    write = Write(puts=(("/w/d", b"d"), ("/w/e", b"e")), deletes=("/w/b", "/w/never there"), delete_prefixes=("/w/a/",))
    revision = store.commit(write)
    assert revision == before + 1
    listing = store.list("/w/")
    assert [item.key for item in listing.items] == [b"/w/c", b"/w/d", b"/w/e"]
    assert listing.revision == revision


def test_delete_prefix_stays_below_its_slash(store: Store) -> None:
    """web010 stays when web01 goes."""
    put(store, ("/w/web01/a", b""), ("/w/web010/a", b""), ("/w/web01", b""))
    store.commit(Write(delete_prefixes=("/w/web01/",)))
    assert keys(store, "/w/") == ["/w/web01", "/w/web010/a"]


def test_deleting_nothing_makes_no_revision(store: Store) -> None:
    """The revision returned is the store's."""
    revision = put(store, ("/w/a", b""))
    assert store.commit(Write(deletes=("/w/b",), delete_prefixes=("/w/c/",))) == revision
    assert store.get("/w/a")[1] == revision


@pytest.mark.parametrize("changed", ["/w/p/a", "/w/p/new"])
def test_guard_of_a_prefix(store: Store, changed: str) -> None:
    """It holds until a key below the prefix is changed or added."""
    seen = put(store, ("/w/p/a", b"1"))
    put(store, ("/w/p2", b"not below the prefix"))
    guard = Guard("/w/p/", seen)
    store.commit(Write(puts=(("/w/out", b"1"),), guards=(guard,)))
    put(store, (changed, b"2"))
    with pytest.raises(ConflictError):
        store.commit(Write(puts=(("/w/out", b"2"),), guards=(guard,)))
    found = store.get("/w/out")[0]
    assert found is not None and found.value == b"1"


def test_guard_of_an_empty_prefix(store: Store) -> None:
    """Nothing below it was ever modified."""
    guard = Guard("/w/p/", 0)
    store.commit(Write(puts=(("/w/p/a", b"1"),), guards=(guard,)))
    with pytest.raises(ConflictError):
        store.commit(Write(puts=(("/w/p/a", b"2"),), guards=(guard,)))


def test_exact_guard(store: Store) -> None:
    """It holds at one revision of the key only, not at later ones and not at earlier ones."""
    first = put(store, ("/w/a", b"1"))
    second = store.commit(Write(puts=(("/w/a", b"2"),), guards=(Guard("/w/a", first, exact=True),)))
    for revision in (0, first, second + 1):
        with pytest.raises(ConflictError):
            store.commit(Write(puts=(("/w/a", b"3"),), guards=(Guard("/w/a", revision, exact=True),)))
    assert store.get("/w/a")[0] == KeyValue(b"/w/a", b"2", second)


def test_exact_guard_of_a_key_that_must_not_exist(store: Store) -> None:
    """It holds for a key never there, not for one that is, and again for one deleted."""
    guard = Guard("/w/a", 0, exact=True)
    store.commit(Write(puts=(("/w/a", b"1"),), guards=(guard,)))
    with pytest.raises(ConflictError):
        store.commit(Write(puts=(("/w/a", b"2"),), guards=(guard,)))
    store.commit(Write(deletes=("/w/a",)))
    store.commit(Write(puts=(("/w/a", b"3"),), guards=(guard,)))


def test_all_guards_have_to_hold(store: Store) -> None:
    """One that does not is enough."""
    seen = put(store, ("/w/a", b"1"), ("/w/b", b"1"))
    put(store, ("/w/b", b"2"))
    with pytest.raises(ConflictError):
        store.commit(Write(puts=(("/w/c", b""),), guards=(Guard("/w/a", seen, exact=True), Guard("/w/b", seen))))
    assert store.get("/w/c")[0] is None


@pytest.mark.parametrize(
    "write",
    [
        Write(puts=(("/w/a", b"1"), ("/w/a", b"2"))),
        Write(puts=(("/w/a", b"1"),), deletes=("/w/a",)),
        Write(puts=(("/w/a/b", b"1"),), delete_prefixes=("/w/a/",)),
        Write(puts=tuple((f"/w/{number}", b"") for number in range(129))),
        Write(puts=(("/w/a", b"x" * (1 << 20)), ("/w/b", b"x" * (1 << 20)))),
    ],
    ids=["put twice", "put and deleted", "put below a deleted prefix", "129 operations", "2 MiB"],
)
def test_refused_transactions(store: Store, write: Write) -> None:
    """They are refused for good, and nothing of them is written."""
    with pytest.raises(StoreError) as caught:
        store.commit(write)
    assert caught.type is StoreError
    assert keys(store, "/w/") == []


def test_the_largest_transaction(store: Store) -> None:
    """128 operations, as the default of etcd permits."""
    put(store, *((f"/w/{number}", b"") for number in range(128)))
    assert len(keys(store, "/w/")) == 128
