# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is published and how far hosts are, as data and as a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.overview import MAX_MESSAGE, overview
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.snapshot import projects
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


def status(store: MemoryStore, host: str, project: str, **fields: Any) -> None:
    """Write a status."""
    body = {"state": "deployed", "revision": 9, "wantedRevision": 9, "digest": "", "msg": "", **fields}
    store.put(f"/watcher.status/{host}/{project}", json.dumps(body).encode())


def states(store: MemoryStore, **options: Any) -> dict[tuple[str, str], str]:
    """Return the state of each project."""
    entries = overview(store, TREE, **options)["projects"]
    return {(entry["host"], entry["project"]): entry["state"] for entry in entries}


def test_states(store: MemoryStore) -> None:
    """new without a word of the host, pending when the tree moved on, else what the host said."""
    digest = projects(TREE, store.list(TREE.root))[("web01", "a.com")].digest
    status(store, "web01", "a.com", digest=digest)
    status(store, "web010", "a.com", digest=digest, wantedRevision=3)
    status(store, "web02", "gone", digest="x")
    status(store, "web02", "removed", digest="x", state="removed")
    assert states(store) == {
        ("web01", "a.com"): "deployed",
        ("web01", "b.com"): "new",
        ("web010", "a.com"): "pending",
        ("web02", "gone"): "pending",
        ("web02", "removed"): "removed",
    }
    store.delete("/watcher/web01/a.com/config.d/a")
    assert states(store)[("web01", "a.com")] == "pending"


def test_selection(store: MemoryStore) -> None:
    """Hosts and projects are chosen by their whole names."""
    assert set(states(store, hosts=["web01"])) == {("web01", "a.com"), ("web01", "b.com")}
    assert set(states(store, hosts=["web01", "web010"], names=["a.com"])) == {("web01", "a.com"), ("web010", "a.com")}
    assert states(store, hosts=["web"]) == {}
    with pytest.raises(InvalidError):
        overview(store, TREE, hosts=["a/b"])


def test_table(store: MemoryStore) -> None:
    """The table has one line a project and aligned columns, whatever messages hold."""
    status(
        store,
        "web01",
        "a.com",
        msg="a\nb\r\x1b[31m\u2028" + "x" * 500,
        finishedAt="\n",
        state="fai\tled",
        wantedRevision=1,
    )
    status(store, "web01", "b.com", msg=["no text"], finishedAt=None, revision="x")
    result = overview(store, TREE)
    lines = result["table"]
    assert len(lines) == 4
    assert all(len(line.splitlines()) == 1 and line.isprintable() for line in lines)
    assert lines[0].split() == ["HOST", "PROJECT", "STATE", "WANTED", "APPLIED", "WHEN", "MESSAGE"]
    assert all(line.index("a.com") == lines[0].index("PROJECT") for line in (lines[1], lines[3]))
    assert max(map(len, lines)) < MAX_MESSAGE + 100
    json.dumps(result)


def test_bad_keys(store: MemoryStore) -> None:
    """Keys that break the rules are problems of their project, or warnings; hostile statuses are nothing."""
    store.put("/watcher/web01/a.com/config.d/a\nb")
    store.put("/watcher/we b/a.com/config")
    for key in ("/watcher.status/we\nb/x", "/watcher.status/a/b/c", "/watcher.status/a", "/watcher.status/../x"):
        store.put(key, b'{"state": "deployed", "wantedRevision": 1}')
    store.put("/watcher.status/web01/b.com", b'{"state": "deployed", "wantedRevision": "x"}')
    result = overview(store, TREE)
    assert len(result["projects"]) == 3
    assert "control character" in result["projects"][0]["problems"][0]
    assert "we b" in result["warnings"][0]
    assert states(store)[("web01", "b.com")] == "new"
