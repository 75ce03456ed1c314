# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints that are dead, frozen, without a leader, or come back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import etcd_watch
from ansible_collections.watcher.config.plugins.module_utils._core.errors import StoreError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.contract.fixtures import batches, events, put
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, cluster, free_ports

Open = Callable[..., EtcdStore]
ALIVE = Batch((), 0)


@pytest.fixture
def members() -> Iterator[list[EtcdServer]]:
    """Run a cluster of three."""
    with cluster() as servers:
        yield servers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watch lose its patience ten times as soon."""
    for name in ("PROGRESS", "SILENCE", "TICK"):
        monkeypatch.setattr(etcd_watch, name, getattr(etcd_watch, name) / 10)


def works(store: EtcdStore) -> bool:
    """Tell whether the store answers."""
    try:
        store.get("/w/a")
    except UnavailableError:
        return False
    return True


def test_nothing_listening(opened: Open) -> None:
    """Reading, writing and watching say so at once, naming the endpoint."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    store = opened(address)
    began = time.monotonic()
    for call in (lambda: store.get("/w/a"), lambda: put(store, ("/w/a", b"")), lambda: store.watch("/w/", 0)):
        with pytest.raises(UnavailableError, match=rf"/w/.*http://{address} \(nothing listens there\)"):
            call()
    assert time.monotonic() - began < 2


def test_a_name_without_address(opened: Open) -> None:
    """The user sees that it is the name."""
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid:2379 \(its name cannot be resolved\)"):
        opened("no-such-host.invalid").get("/w/a")


def test_dead_endpoints_are_passed_over(opened: Open, server: EtcdServer) -> None:
    """Whatever the first call is, and wherever the living endpoint stands."""
    dead = [f"127.0.0.1:{port}" for port in free_ports(2)]
    for first, last in ((dead, []), (dead[:1], dead[1:])):
        revision = put(opened(*first, server.endpoint, *last), ("/w/a", b"1"))
        found, now = opened(*first, server.endpoint, *last).get("/w/a")
        assert found is not None and found.revision == now == revision
        with opened(*first, server.endpoint, *last).watch("/w/", revision) as watch:
            assert events(watch, 1)[0].revision == revision


def test_all_endpoints_dead(opened: Open) -> None:
    """The error names each of them."""
    dead = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with pytest.raises(UnavailableError, match=rf"{dead[0]} \(.*\), http://{dead[1]} \("):
        opened(*dead).list("/w/")


def test_a_member_dies(opened: Open, members: list[EtcdServer]) -> None:
    """Its watch breaks, the next call goes to another member, and nothing is lost."""
    store = opened(*(member.endpoint for member in members), timeout=10)
    revision = put(store, ("/w/a", b"1"))
    with store.watch("/w/", revision + 1) as watch:
        members[0].kill()
        with pytest.raises(UnavailableError, match=members[0].address):
            list(batches(watch))
    eventually(lambda: works(store), "the others have a leader")
    with store.watch("/w/", revision + 1) as watch:
        revision = put(store, ("/w/a", b"2"))
        assert events(watch, 1)[0].revision == revision


def test_members_without_a_leader(opened: Open, members: list[EtcdServer]) -> None:
    """A member cut off from the others ends its watches, instead of never sending anything again."""
    store = opened(members[0].endpoint, timeout=2)
    with store.watch("/w/", put(store, ("/w/a", b"1")) + 1) as watch:
        members[1].kill()
        members[2].kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            list(batches(watch))
        assert time.monotonic() - began < 15
    with pytest.raises(UnavailableError):
        store.get("/w/a")


def test_a_server_that_comes_back_is_used_at_once(opened: Open, server: EtcdServer) -> None:
    """However long it was away: no pause of gRPC stands in between."""
    store = opened(server.endpoint)
    put(store, ("/w/a", b"1"))
    server.kill()
    for _unused in range(30):
        assert not works(store)
    server.start()
    began = time.monotonic()
    assert works(store)
    assert time.monotonic() - began < 3


def test_an_idle_connection_survives_a_restart(opened: Open, server: EtcdServer) -> None:
    """The first call after it works: nothing was sent on the dead connection."""
    store = opened(server.endpoint)
    for number in range(3):
        put(store, ("/w/a", b"%d" % number))
        server.restart()


def test_a_frozen_server(opened: Open, server: EtcdServer) -> None:
    """A call gives up after its timeout, and goes to the next endpoint if there is one."""
    with EtcdServer(server.binary) as other:
        put(opened(other.endpoint), ("/w/a", b"other"))
        alone, both = opened(server.endpoint, timeout=1), opened(server.endpoint, other.endpoint, timeout=1)
        assert works(alone) and works(both)
        server.freeze()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="no answer within 1 s"):
            alone.get("/w/a")
        assert 0.9 < time.monotonic() - began < 3
        found = both.get("/w/a")[0]
        assert found is not None and found.value == b"other"
        began = time.monotonic()
        assert works(both), "the frozen endpoint is tried last now"
        assert time.monotonic() - began < 0.9, "nobody waited for it"


def test_a_watch_cannot_begin_on_a_frozen_server(opened: Open, server: EtcdServer) -> None:
    """Neither over a new connection nor over one that worked."""
    store = opened(server.endpoint, timeout=1)
    assert works(store)
    server.freeze()
    for _unused in range(2):
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="no answer within 1 s"):
            store.watch("/w/", 0)
        assert time.monotonic() - began < 2
    server.thaw()
    eventually(lambda: works(store), "the thawed server answers")


def test_a_commit_is_never_repeated_elsewhere(opened: Open, members: list[EtcdServer]) -> None:
    """When its outcome is unknown, the caller hears that and nobody else gets it."""
    store = opened(members[0].endpoint, members[1].endpoint, timeout=1)
    put(store, ("/w/a", b"1"))
    members[0].freeze()
    with pytest.raises(UnavailableError, match="may or may not have been carried out"):
        put(store, ("/w/a", b"2"))
    other = opened(members[1].endpoint)
    values: list[bytes] = []

    def has_answered() -> bool:  # the others may have to choose a leader first
        with contextlib.suppress(UnavailableError):
            found = other.get("/w/a")[0]
            values.append(found.value if found else b"")
        return bool(values)

    eventually(has_answered, "the others serve")
    assert values == [b"1"]


def test_a_frozen_server_breaks_a_watch_in_15_seconds(opened: Open, server: EtcdServer) -> None:
    """With the numbers that are shipped: signs of life while it lives, then the error."""
    store = opened(server.endpoint)
    with store.watch("/w/", 0) as watch:
        began = time.monotonic()
        assert next(watch) == ALIVE
        assert 4 < time.monotonic() - began < 9
        server.freeze()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=rf"{server.address} \(it sent nothing for 10 s\)"):
            list(batches(watch))
        assert 5 < time.monotonic() - began < 15


@pytest.mark.usefixtures("quick")
def test_a_watch_in_silence_goes_on(opened: Open, server: EtcdServer) -> None:
    """Signs of life keep it open for several times its patience, and events still come."""
    store = opened(server.endpoint)
    with store.watch("/w/", 0) as watch:
        assert [next(watch) for _unused in range(6)] == [ALIVE] * 6
        put(store, ("/w/a", b"1"))
        assert events(watch, 1)[0].value == b"1"


@pytest.mark.usefixtures("quick")
def test_a_slow_caller_is_not_taken_for_a_silent_server(opened: Open, server: EtcdServer) -> None:
    """Work of twice the patience between two batches breaks nothing."""
    store = opened(server.endpoint)
    with store.watch("/w/", 0) as watch:
        put(store, ("/w/a", b"1"))
        assert events(watch, 1)[0].value == b"1"
        put(store, ("/w/a", b"2"))
        time.sleep(2 * etcd_watch.SILENCE)  # the caller's work
        put(store, ("/w/a", b"3"))
        assert [event.value for event in events(watch, 2)] == [b"2", b"3"]


def test_a_closed_store_says_so(opened: Open, server: EtcdServer) -> None:
    """A call after `close` is a mistake of the program, not of etcd."""
    store = opened(server.endpoint)
    assert works(store)
    store.close()
    with pytest.raises(StoreError, match="closed by this program") as caught:
        store.commit(Write(puts=(("/w/a", b""),)))
    assert caught.type is StoreError


def test_close_during_a_call(opened: Open, server: EtcdServer) -> None:
    """Calls of other threads end at once, and say why."""
    store = opened(server.endpoint)
    assert works(store)
    server.freeze()
    closer = threading.Timer(0.2, store.close)
    closer.start()
    began = time.monotonic()
    with pytest.raises(StoreError, match="closed by this program"):
        store.get("/w/a")
    assert time.monotonic() - began < 2
    closer.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork(opened: Open, server: EtcdServer) -> None:
    """A store may be made before a fork and used after it; the child of a process that used one may make another."""
    unused, used = opened(server.endpoint), opened(server.endpoint)
    assert works(used)
    for store in (unused, opened(server.endpoint)):
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os._exit(0 if works(store) else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert works(used) and works(unused)
