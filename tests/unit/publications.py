# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing a.com for web01 into a store in memory, beside projects whose names begin alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Publication, Wanted, publish
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
BASE = "/watcher/web01/a.com/"
POLICY = {"deployPath": "/srv"}


def neighbours() -> MemoryStore:
    """Return a store with a neighbour whose name begins alike."""
    store = MemoryStore()
    store.put("/watcher/web010/a.com/config", b"neighbour")
    store.put("/watcher/web01/a.com.au/config", b"neighbour")
    return store


def put(
    store: MemoryStore,
    files: Mapping[str, bytes],
    policy: Mapping[str, Any] | None = MappingProxyType(POLICY),
    *,
    purge: bool = False,
    check: bool = False,
) -> Publication:
    """Publish for web01."""
    return publish(store, TREE, "web01", "a.com", Wanted(policy, files, purge), check=check)


def stored(store: MemoryStore) -> dict[str, bytes]:
    """Return the project's keys; the neighbours must be untouched."""
    keys = {item.key.decode("utf-8", "replace"): item.value for item in store.list("/").items}
    assert keys.pop("/watcher/web010/a.com/config") == keys.pop("/watcher/web01/a.com.au/config") == b"neighbour"
    return {key[len(BASE) :]: value for key, value in keys.items()}
