# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases, as every store keeps them: their keys are gone when they are."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import ConflictError, StoreError
from ansible_collections.watcher.config.plugins.module_utils._core.store import Guard, KeyValue, Store, Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.contract.fixtures import Subject, events, keys, put

LONG = 60  # seconds; no test lasts that long
SHORT = 1  # seconds; etcd may make it 2


def put_under(store: Store, lease: int, *names: str) -> int:
    """Put keys under a lease and return the revision."""
    return store.commit(Write(puts=tuple((name, b"here") for name in names), lease=lease))


def test_a_key_under_a_lease(store: Store) -> None:
    """The key says which lease it is under, read alone and in a list, then and later."""
    lease = store.grant(LONG)
    revision = put_under(store, lease, "/w/a")
    expected = KeyValue(b"/w/a", b"here", revision, lease)
    assert store.get("/w/a")[0] == expected
    put(store, ("/w/b", b""))
    assert store.list("/w/", revision=revision).items == (expected,)


def test_leases_are_told_apart(store: Store) -> None:
    """None is 0, which stands for no lease."""
    leases = {store.grant(LONG) for _number in range(3)}
    assert len(leases) == 3 and 0 not in leases


def test_revoke_deletes_its_keys(store: Store) -> None:
    """All of them in one revision that a watch sees; those of another lease, or of none, stay."""
    mine, other = store.grant(LONG), store.grant(LONG)
    put_under(store, other, "/w/other")
    put(store, ("/w/free", b""))
    last = put_under(store, mine, "/w/a", "/w/b")
    with store.watch("/w/", last + 1) as watch:
        store.revoke(mine)
        seen = events(watch, 2)
    assert [(event.key, event.deleted) for event in seen] == [(b"/w/a", True), (b"/w/b", True)]
    assert {event.revision for event in seen} == {last + 1}
    assert keys(store, "/w/") == ["/w/free", "/w/other"]


def test_revoke_of_a_lease_that_is_gone(store: Store) -> None:
    """It says so, and that is no reason to try again."""
    lease = store.grant(LONG)
    store.revoke(lease)
    with pytest.raises(StoreError) as caught:
        store.revoke(lease)
    assert caught.type is StoreError


def test_renew_returns_the_seconds(store: Store) -> None:
    """All of them, and 0 for a lease that was revoked or never there."""
    lease = store.grant(LONG)
    assert store.renew(lease) == LONG
    store.revoke(lease)
    assert store.renew(lease) == 0
    assert store.renew(4711) == 0


def test_a_lease_that_is_not_renewed_ends(store: Store) -> None:
    """Its keys go with it, though nobody asks; one granted for longer stays."""
    short, long = store.grant(SHORT), store.grant(LONG)
    put_under(store, short, "/w/short")
    put_under(store, long, "/w/long")
    eventually(lambda: keys(store, "/w/") == ["/w/long"], "the key of the short lease is gone")
    assert store.renew(short) == 0
    assert store.renew(long) == LONG


def test_a_lease_that_is_renewed_lives(store: Store) -> None:
    """While another one, of the same length and granted later, ends."""
    kept = store.grant(2 * SHORT)
    put_under(store, kept, "/w/kept")
    left = store.grant(2 * SHORT)
    put_under(store, left, "/w/left")

    def left_is_gone() -> bool:
        assert store.renew(kept) > 0
        return keys(store, "/w/") == ["/w/kept"]

    eventually(left_is_gone, "only the lease that was not renewed ends")


def test_put_under_a_lease_that_is_gone(store: Store) -> None:
    """Nothing of the transaction is written."""
    lease = store.grant(LONG)
    store.revoke(lease)
    with pytest.raises(StoreError) as caught:
        store.commit(Write(puts=(("/w/a", b""), ("/w/b", b"")), lease=lease))
    assert caught.type is StoreError
    assert keys(store, "/w/") == []


def test_put_without_the_lease(store: Store) -> None:
    """A key that is put again under another lease, or under none, no longer goes with the first."""
    first, second = store.grant(LONG), store.grant(LONG)
    put_under(store, first, "/w/a", "/w/b", "/w/c")
    put_under(store, second, "/w/a")
    put(store, ("/w/b", b""))
    store.revoke(first)
    assert keys(store, "/w/") == ["/w/a", "/w/b"]
    store.revoke(second)
    assert keys(store, "/w/") == ["/w/b"]


def test_guards_count_under_a_lease_too(store: Store) -> None:
    """A transaction that is not carried out leaves the lease without the key."""
    lease = store.grant(LONG)
    put(store, ("/w/a", b"1"))
    with pytest.raises(ConflictError):
        store.commit(Write(puts=(("/w/a", b"2"),), lease=lease, guards=(Guard("/w/a", 0, exact=True),)))
    store.revoke(lease)
    assert keys(store, "/w/") == ["/w/a"]


def test_a_store_that_was_emptied(subject: Subject) -> None:
    """It knows no lease of before."""
    lease = subject.store.grant(LONG)
    put_under(subject.store, lease, "/w/a")
    subject.wipe()
    assert subject.store.renew(lease) == 0
