# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a long list is read from etcd: in pages that are small, and all of one revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import CompactedError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.tests.contract.fixtures import put
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

Open = Callable[..., EtcdStore]


def between_pages(store: EtcdStore, act: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let something happen after each page; return the list that pages are noted in."""
    pages: list[Any] = []
    unary = store._client.unary

    def noted(method: str, *arguments: Any, **options: Any) -> Any:
        response = unary(method, *arguments, **options)
        if method == "KV/Range":
            pages.append(response)
            act(response)
        return response

    monkeypatch.setattr(store._client, "unary", noted)
    return pages


def fill(store: EtcdStore, count: int, size: int = 1) -> None:
    """Put that many keys with values of that size."""
    for number in range(count):
        put(store, (f"/w/{number:04}", b"x" * size))


def test_pages_of_large_values_are_small(opened: Open, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first, a page has about 2 MiB, for each has to come within the timeout."""
    store = opened(server.endpoint)
    fill(store, 30, 1 << 20)
    pages = between_pages(store, lambda page: None, monkeypatch)
    assert len(store.list("/w/").items) == 30
    assert max(page.ByteSize() for page in pages[1:]) < 3 << 20


def test_pages_of_small_values_are_few(opened: Open, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 keys are three pages, and what fits the first is one."""
    store = opened(server.endpoint)
    for first in range(0, 1000, 100):
        put(store, *((f"/w/{number:04}", b"x" * 1000) for number in range(first, first + 100)))
    pages = between_pages(store, lambda page: None, monkeypatch)
    assert len(store.list("/w/").items) == 1000
    assert len(pages) == 3
    assert len(store.list("/w/000").items) == 10
    assert len(pages) == 4


def test_all_pages_are_of_one_revision(opened: Open, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys set, added and deleted between two pages are not in the list, nor missing from it."""
    store, writer = opened(server.endpoint), opened(server.endpoint)
    fill(writer, 60)
    before = writer.get("/w/")[1]
    between_pages(store, lambda page: put(writer, ("/w/0050", b"later"), ("/w/00500", b"")), monkeypatch)
    listing = store.list("/w/")
    assert listing.revision == before
    assert [item.value for item in listing.items] == [b"x"] * 60
    assert max(item.revision for item in listing.items) == before


def test_a_compaction_between_pages(opened: Open, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list cannot be finished; the caller makes a new one."""
    store, writer = opened(server.endpoint), opened(server.endpoint)
    fill(writer, 60)
    between_pages(store, lambda page: server.compact(put(writer, ("/w/0050", b"later"))), monkeypatch)
    with pytest.raises(CompactedError):
        store.list("/w/")


def test_pages_of_two_clusters(opened: Open, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints of different clusters are never mixed into one list."""
    with EtcdServer(server.binary) as other:
        store = opened(server.endpoint, other.endpoint, timeout=1)
        for endpoint in (server.endpoint, other.endpoint):
            fill(opened(endpoint), 60)
        between_pages(store, lambda page: server.kill(), monkeypatch)
        with pytest.raises(CompactedError, match="different clusters"):
            store.list("/w/")
