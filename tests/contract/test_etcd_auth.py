# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, passwords and tokens, with and without TLS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.contract.fixtures import BOB, events, put, with_users
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

Open = Callable[..., EtcdStore]


@pytest.fixture
def guarded_tls(etcd_binary: Path) -> Iterator[EtcdServer]:
    """Run an etcd with TLS and a user bob."""
    with EtcdServer(etcd_binary, tls=True) as server:
        yield with_users(server)


def check(store: EtcdStore) -> None:
    """Read, write and watch."""
    revision = put(store, ("/w/a", b"1"))
    assert len(store.list("/w/").items) == 1
    with store.watch("/w/", revision) as watch:
        assert events(watch, 1)[0].revision == revision


def calls(store: EtcdStore, key: str) -> list[Callable[[], object]]:
    """Return one call of each kind on a key."""
    return [
        lambda: store.get(key),
        lambda: store.list(key),
        lambda: put(store, (key, b"")),
        lambda: store.commit(Write(deletes=(key,))),
        lambda: store.watch(key, 0),
    ]


def test_user_and_password(opened: Open, guarded: EtcdServer) -> None:
    """Without TLS too, which grpcio's own call credentials refuse."""
    check(opened(guarded.endpoint, **BOB))


def test_user_and_password_with_tls(opened: Open, guarded_tls: EtcdServer) -> None:
    """The same over TLS, and with the user given as etcdctl takes it."""
    check(opened(guarded_tls.endpoint, ca_cert=guarded_tls.authority.certificate, **BOB))
    check(opened(guarded_tls.endpoint, ca_cert=guarded_tls.authority.certificate, username=":".join(BOB.values())))


def test_a_user_where_authentication_is_off(opened: Open, server: EtcdServer) -> None:
    """It does no harm, also not when authentication is turned on meanwhile."""
    store = opened(server.endpoint, **BOB)
    check(store)
    with_users(server)
    check(store)


def test_no_user_where_one_is_wanted(opened: Open, guarded: EtcdServer) -> None:
    """The options to set are named."""
    store = opened(guarded.endpoint)
    for call in calls(store, "/w/a"):
        with pytest.raises(DeniedError, match=r"/w/a.*: etcd wants a user: set username and password"):
            call()


@pytest.mark.parametrize("user", [{**BOB, "password": "wrong"}, {**BOB, "username": "alice"}], ids=["password", "name"])
def test_wrong_password(opened: Open, guarded: EtcdServer, user: dict[str, str]) -> None:
    """Endpoint and user are named, the password is not."""
    store = opened(guarded.endpoint, **user)
    for call in calls(store, "/w/a"):
        with pytest.raises(DeniedError) as caught:
            call()
        message = str(caught.value)
        assert "user name or password is wrong" in message
        assert repr(user["username"]) in message and guarded.endpoint in message
        assert user["password"] not in message.replace("password is wrong", "").replace("correct username and", "")


def test_permission_denied(opened: Open, guarded: EtcdServer) -> None:
    """User and key are named; the other key still works."""
    store = opened(guarded.endpoint, **BOB)
    for call in calls(store, "/other/a"):
        with pytest.raises(DeniedError, match=r"/other/a.* for user 'bob': its roles do not permit that"):
            call()
    check(store)


@pytest.mark.parametrize("first_call", range(5))
def test_a_token_that_etcd_forgot(opened: Open, guarded: EtcdServer, first_call: int) -> None:
    """A restart forgets simple tokens as their end does; the next call, whichever, takes a new one."""
    store = opened(guarded.endpoint, **BOB)
    put(store, ("/w/a", b"1"))
    guarded.restart()
    calls(store, "/w/a")[first_call]()
    check(store)


def test_a_token_that_ends_during_a_watch(opened: Open, etcd_binary: Path) -> None:
    """The watch goes on, and so do calls and new watches."""
    with EtcdServer(etcd_binary) as server:
        store = opened(with_users(server).endpoint, **BOB)
        with store.watch("/w/", 0) as watch:
            revision = put(store, ("/w/a", b"1"))
            store._client._token = "gone.1"
            put(store, ("/w/a", b"2"))
            assert [event.value for event in events(watch, 2)] == [b"1", b"2"]
            store._client._token = "gone.2"
            with store.watch("/w/", revision) as second:
                assert [event.value for event in events(second, 2)] == [b"1", b"2"]


def test_a_token_after_roles_changed(opened: Open, guarded: EtcdServer) -> None:
    """A permission granted or taken away counts at once."""
    store = opened(guarded.endpoint, **BOB)
    check(store)
    guarded.etcdctl("role", "grant-permission", "bob", "--prefix=true", "readwrite", "/other/")
    put(store, ("/other/a", b""))
    guarded.etcdctl("role", "revoke-permission", "bob", "--prefix=true", "/other/")
    with pytest.raises(DeniedError):
        put(store, ("/other/a", b""))
    check(store)


def test_a_password_that_changed(opened: Open, guarded: EtcdServer) -> None:
    """Sooner or later the old one is refused, and a person has to act."""
    store = opened(guarded.endpoint, **BOB)
    check(store)
    guarded.etcdctl("user", "passwd", "bob", "--interactive=false", stdin="another\n")
    guarded.restart()
    with pytest.raises(DeniedError, match="password is wrong"):
        put(store, ("/w/a", b""))
    check(opened(guarded.endpoint, username="bob", password="another"))


def test_many_threads_and_one_forgotten_token(opened: Open, guarded: EtcdServer) -> None:
    """All of them go on."""
    store, revisions = opened(guarded.endpoint, **BOB), []
    put(store, ("/w/a", b""))
    guarded.restart()
    threads = [
        threading.Thread(target=lambda number=number: revisions.append(put(store, (f"/w/{number}", b""))))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(revisions)) == 8
