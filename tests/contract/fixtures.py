# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stores that the contract is tested on, the servers behind them, and what all its tests use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, Store, Watch, Write
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, etcd_34, etcd_35
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

NO_ETCD_34 = "no etcd 3.4: WATCHER_ETCD_34 names none, and /usr/bin/etcd is none"
BOUND = 20.0  # seconds that a test waits for something at most
BOB = {"username": "bob", "password": "bob's: password"}


class Subject:
    """A store under test, with what a test has to do behind its back."""

    def __init__(
        self, store: Store, compact: Callable[[int], None], cut: Callable[[], object], wipe: Callable[[], object]
    ) -> None:
        """Bundle them: ``cut`` breaks all connections, ``wipe`` puts an empty store in place of this one."""
        self.store = store
        self.compact = compact
        self.cut = cut
        self.wipe = wipe


def binary(version: str) -> Path:
    """Return that version's etcd; skip the test where there is none."""
    path = etcd_34() if version == "3.4" else etcd_35()
    if path is None:
        pytest.skip(NO_ETCD_34)
    return path


@pytest.fixture(scope="session", params=["3.5", "3.4"])
def etcd_binary(request: pytest.FixtureRequest) -> Path:
    """Return each etcd that is served."""
    return binary(request.param)


@pytest.fixture
def server(etcd_binary: Path) -> Iterator[EtcdServer]:
    """Run an empty etcd of its own for the test."""
    with EtcdServer(etcd_binary) as server:
        yield server


def with_users(server: EtcdServer) -> EtcdServer:
    """Turn authentication on, with a user bob who may do all below /w/."""
    server.enable_auth()
    server.add_user("bob", BOB["password"], "/w/")
    return server


@pytest.fixture
def guarded(server: EtcdServer) -> EtcdServer:
    """Run an etcd without TLS and with a user bob."""
    return with_users(server)


@pytest.fixture
def opened() -> Iterator[Callable[..., EtcdStore]]:
    """Return a function that opens a store, closed after the test: ``opened(endpoint, …, timeout=…)``."""
    stores: list[EtcdStore] = []

    def open_store(*endpoints: str, **options: object) -> EtcdStore:
        given = {"endpoints": list(endpoints), **options}
        stores.append(EtcdStore(Connection.from_options(given.get)))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "3.5", "3.4"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Return each store, empty."""
    if request.param == "memory":
        memory = MemoryStore()
        yield Subject(memory, memory.compact, memory.cut, memory.replace)
        return
    with EtcdServer(binary(request.param)) as server:
        store = EtcdStore(Connection((server.endpoint,)))
        yield Subject(store, server.compact, server.kill, server.wipe)
        store.close()


@pytest.fixture
def store(subject: Subject) -> Store:
    """Return each store, empty."""
    return subject.store


def put(store: Store, *pairs: tuple[str, bytes]) -> int:
    """Commit puts and return the revision."""
    return store.commit(Write(puts=pairs))


def keys(store: Store, prefix: str) -> list[str]:
    """Return all keys below the prefix."""
    return [item.key.decode() for item in store.list(prefix).items]


def batches(watch: Watch) -> Iterator[Batch]:
    """Yield the batches that have events; fail when the watch lives on without any."""
    deadline = time.monotonic() + BOUND
    for batch in watch:
        if batch.events:
            yield batch
        else:
            assert time.monotonic() < deadline, f"no event in {BOUND:g} s"


def events(watch: Watch, count: int) -> list[Event]:
    """Return that many events of a watch."""
    found: list[Event] = []
    for batch in batches(watch):
        assert batch.revision == batch.events[-1].revision
        found += batch.events
        if len(found) >= count:
            break
    return found
