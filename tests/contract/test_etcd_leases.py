# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases of real servers: with users, after a restart, with members that are dead or frozen."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.contract.fixtures import BOB, keys
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, cluster, free_ports

Open = Callable[..., EtcdStore]
LONG = 60  # seconds


def walk(store: EtcdStore) -> None:
    """Grant, put, renew, revoke."""
    lease = store.grant(LONG)
    store.commit(Write(puts=(("/w/a", b""),), lease=lease))
    assert store.renew(lease) == LONG
    assert keys(store, "/w/") == ["/w/a"]
    store.revoke(lease)
    assert keys(store, "/w/") == []
    assert store.renew(lease) == 0


def test_a_user(opened: Open, guarded: EtcdServer) -> None:
    """Who may write below a prefix may have leases for it."""
    walk(opened(guarded.endpoint, **BOB))


@pytest.mark.parametrize("first", ["grant", "put", "renew", "revoke"])
def test_a_token_that_etcd_forgot(opened: Open, guarded: EtcdServer, first: str) -> None:
    """Whatever the first call after a restart is, it takes a new token; the lease is still there."""
    store = opened(guarded.endpoint, **BOB)
    lease = store.grant(LONG)
    store.commit(Write(puts=(("/w/b", b""),), lease=lease))
    guarded.restart()
    calls: dict[str, Callable[[], object]] = {
        "grant": lambda: store.grant(LONG),
        "put": lambda: store.commit(Write(puts=(("/w/c", b""),), lease=lease)),
        "renew": lambda: store.renew(lease),
        "revoke": lambda: store.revoke(lease),
    }
    calls[first]()
    assert store.renew(lease) == (0 if first == "revoke" else LONG)
    store.commit(Write(deletes=("/w/b", "/w/c")))
    walk(store)


def test_a_lease_with_keys_of_others(opened: Open, guarded: EtcdServer) -> None:
    """Who may not delete the keys may not revoke it."""
    root = opened(guarded.endpoint, username="root", password="root's password")
    lease = root.grant(LONG)
    root.commit(Write(puts=(("/other", b""),), lease=lease))
    with pytest.raises(DeniedError, match=rf"revoking lease {lease:x} for user 'bob': its roles do not permit that"):
        opened(guarded.endpoint, **BOB).revoke(lease)
    assert keys(root, "/other") == ["/other"]


def test_a_restart(opened: Open, server: EtcdServer) -> None:
    """Leases and their keys outlive it."""
    store = opened(server.endpoint)
    lease = store.grant(LONG)
    store.commit(Write(puts=(("/w/a", b""),), lease=lease))
    server.restart()
    assert store.renew(lease) == LONG
    assert keys(store, "/w/") == ["/w/a"]


def test_a_lease_that_is_gone_has_a_name(opened: Open, server: EtcdServer) -> None:
    """The error says which call, and what to do."""
    store = opened(server.endpoint)
    with pytest.raises(StoreError, match=r"refused revoking lease 1267: that lease has ended: grant another"):
        store.revoke(4711)
    with pytest.raises(StoreError, match=r"refused a transaction .* on /w/a: that lease has ended"):
        store.commit(Write(puts=(("/w/a", b""),), lease=4711))


def test_a_dead_and_a_frozen_endpoint(opened: Open, server: EtcdServer) -> None:
    """Both are passed over; alone, the frozen one is given up after the timeout."""
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    with EtcdServer(server.binary) as frozen:
        alone = opened(frozen.endpoint, timeout=1)
        lease = alone.grant(LONG)
        frozen.freeze()
        walk(opened(dead, frozen.endpoint, server.endpoint, timeout=1))
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=rf"renewing lease {lease:x} failed: .* \(no answer within 1 s\)"):
            alone.renew(lease)
        assert 0.9 < time.monotonic() - began < 3


def test_any_member_renews(opened: Open) -> None:
    """Followers hand it to the leader, and when that dies the next one has the lease still."""
    with cluster() as members:
        stores = [opened(member.endpoint, timeout=10) for member in members]
        lease = stores[0].grant(LONG)
        assert [store.renew(lease) for store in stores] == [LONG] * 3
        store = opened(*(member.endpoint for member in members))
        members[0].kill()

        def renewed() -> bool:
            try:
                return store.renew(lease) == LONG
            except UnavailableError:
                return False

        eventually(renewed, "the others have a leader")
