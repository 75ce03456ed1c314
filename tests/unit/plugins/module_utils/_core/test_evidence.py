# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tree's history says about files that are missing."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import evidence as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.evidence import removed_with_policy
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
POLICY = TREE.policy("web01", "a.com")


def file(path: str) -> str:
    """Return the key of a file."""
    return TREE.file("web01", "a.com", path)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Return a store with a policy and files, and do not wait for what does not come."""
    monkeypatch.setattr(module, "WAIT", 0.05)
    store = MemoryStore()
    store.commit(Write(puts=((POLICY, b"1"), *((file(path), b"1") for path in "abcd"))))
    return store


def asked(store: MemoryStore, paths: str, since: int = 2) -> set[str]:
    """Return for which of the paths the history vouches."""
    return set(removed_with_policy(store, TREE, "web01", "a.com", since, list(paths)))


def test_with_the_policy(store: MemoryStore) -> None:
    """A removal in the revision that wrote or removed the policy was meant."""
    store.commit(Write(puts=((POLICY, b"2"),), deletes=(file("a"), file("b"))))
    assert asked(store, "ab") == {"a", "b"}
    store.commit(Write(deletes=(POLICY, file("c"))))
    assert asked(store, "abc") == {"a", "b", "c"}


def test_without_the_policy(store: MemoryStore) -> None:
    """A removal in another revision was not."""
    store.put(POLICY, b"2")
    store.delete(file("a"))
    store.delete(POLICY)
    store.commit(Write(puts=((POLICY, b"3"),), deletes=(file("b"),)))
    assert asked(store, "ab") == {"b"}


def test_only_the_last_removal_counts(store: MemoryStore) -> None:
    """A file that came back and went again went the second time."""
    store.commit(Write(puts=((POLICY, b"2"),), deletes=(file("a"),)))
    store.put(file("a"))
    store.delete(file("a"))
    assert asked(store, "a") == set()


def test_other_projects_do_not_count(store: MemoryStore) -> None:
    """Neither a neighbour's policy nor a key that breaks the rules changes anything."""
    store.commit(Write(puts=(("/watcher/web01/a.com.au/config", b""), (f"{file('x')}\n", b"")), deletes=(file("a"),)))
    assert asked(store, "a") == set()


def test_a_removal_that_was_never_seen(store: MemoryStore) -> None:
    """Where the history does not have the removal, nothing vouches, and we do not wait for ever."""
    store.commit(Write(puts=((POLICY, b"2"),), deletes=(file("a"),)))
    assert asked(store, "ab") == set()
    assert asked(store, "a", since=3) == set()
    assert store.watches == set()


def test_history_that_is_gone(store: MemoryStore) -> None:
    """Compacted or of another store: nothing vouches."""
    store.commit(Write(puts=((POLICY, b"2"),), deletes=(file("a"),)))
    assert asked(store, "a", since=90) == set()
    store.put("/other")
    store.compact()
    assert asked(store, "a") == set()


def test_refusals(store: MemoryStore) -> None:
    """A store that refuses or breaks is the caller's to handle."""
    store.fail(DeniedError("no"))
    with pytest.raises(DeniedError):
        asked(store, "a")
    store.idle = store.cut
    with pytest.raises(UnavailableError):
        asked(store, "a")
