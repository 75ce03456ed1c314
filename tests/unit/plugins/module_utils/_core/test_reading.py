# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of the tree as data."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.reading import Missing, read
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with three projects on two hosts."""
    store = MemoryStore()
    for host, project in (("web01", "a.com"), ("web01", "b.com"), ("web010", "a.com")):
        files = {"a": b"1", "d/\u00fc": "\u00fc".encode()}
        publish(store, TREE, host, project, Wanted({"deployPath": "/srv"}, files))
    return store


PROJECT = {"policy": {"deployPath": "/srv"}, "files": {"a": "1", "d/\u00fc": "\u00fc"}}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("web01/a.com/config.d/a", "1"),
        ("web01/a.com/config.d/d/\u00fc", "\u00fc"),
        ("/watcher/web01/a.com/config.d/a", "1"),
        ("/watcher/web01/a.com/config", '{"deployPath": "/srv"}'),
        ("web01/a.com/config", {"deployPath": "/srv"}),
        ("web010/a.com", {**PROJECT, "revision": 4}),
        ("web010/a.com/", {**PROJECT, "revision": 4}),
        ("web01", {"a.com": {**PROJECT, "revision": 2}, "b.com": {**PROJECT, "revision": 3}}),
        ("web01/", {"a.com": {**PROJECT, "revision": 2}, "b.com": {**PROJECT, "revision": 3}}),
    ],
)
def test_read(store: MemoryStore, place: str, expected: Any) -> None:
    """A file, a policy, a project, a host."""
    assert read(store, TREE, place) == expected


@pytest.mark.parametrize(
    "place",
    [
        "web0",
        "web01/c.com",
        "web01/a.com/config.d/none",
        "web02/a.com/config",
        "/watcher/none",
        "web01/a.com/config.d/d",
    ],
)
def test_missing(store: MemoryStore, place: str) -> None:
    """What is not there is Missing, by its name."""
    with pytest.raises(Missing, match=r"is not in the tree"):
        read(store, TREE, place)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "a b",
        "web01//config",
        "web01//config.d/a",
        "web01/a.com/other",
        "web01/a.com/config.d/",
        "web01/a.com/config.d/../x",
        "web01/a.com/config/",
        "web01/../config",
        "/watcher\ud800",
        "web01\n",
    ],
)
def test_bad_places(store: MemoryStore, place: str) -> None:
    """What cannot be a place is refused, not missing."""
    with pytest.raises(InvalidError) as caught:
        read(store, TREE, place)
    assert not isinstance(caught.value, Missing)


def test_bytes(store: MemoryStore) -> None:
    """Contents that are no text are read as base64."""
    store.put("/watcher/web01/a.com/config.d/raw", b"\xff")
    assert read(store, TREE, "web01/a.com/config.d/raw", base64=True) == "/w=="
    assert read(store, TREE, "web01/a.com", base64=True)["files"]["raw"] == "/w=="
    for place in ("web01/a.com/config.d/raw", "web01/a.com"):
        with pytest.raises(InvalidError, match="encoding='base64'"):
            read(store, TREE, place)


def test_policies_that_are_bad(store: MemoryStore) -> None:
    """A policy that hosts refuse is an error here too; one that is not there is Missing."""
    store.put("/watcher/web02/a.com/config", b"{}")
    store.put("/watcher/web02/b.com/config.d/a", b"")
    with pytest.raises(InvalidError, match="deployPath is missing"):
        read(store, TREE, "web02/a.com/config")
    with pytest.raises(Missing, match="has files, but no policy"):
        read(store, TREE, "web02/b.com/config")
    assert read(store, TREE, "web02/b.com")["policy"] == {}
