# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing: what is written, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    InvalidError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE
from ansible_collections.watcher.config.plugins.module_utils._core.publish import publish
from ansible_collections.watcher.config.plugins.module_utils._core.store import Listing, Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.publications import BASE, POLICY, TREE, neighbours, put, stored


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with a neighbour whose name begins alike."""
    return neighbours()


def big(count: int, letter: str = "x", size: int = 10) -> dict[str, bytes]:
    """Return many files."""
    return {f"d{number % 7}/{number}": letter.encode() * size for number in range(count)}


def test_small(store: MemoryStore) -> None:
    """A small project is one transaction of policy and files; a second run changes nothing."""
    done = put(store, {"a": b"", "b/c": b"\xff"})
    assert (done.changed, done.revision, len(done.writes)) == (True, store.revision, 1)
    assert [edit.key for edit in done.edits] == [f"{BASE}config", f"{BASE}config.d/a", f"{BASE}config.d/b/c"]
    assert stored(store) == {"config": b'{"deployPath": "/srv"}', "config.d/a": b"", "config.d/b/c": b"\xff"}
    revision = store.revision
    again = put(store, {"b/c": b"\xff", "a": b""}, {"deployPath": "/srv"}, purge=True)
    assert (again.changed, again.revision, store.revision) == (False, revision, revision)


def test_only_what_differs_is_written(store: MemoryStore) -> None:
    """One file changes: one key is written."""
    put(store, {"a": b"1", "b": b"2"})
    done = put(store, {"a": b"1", "b": b"3"})
    assert [(edit.key, edit.before, edit.after) for edit in done.edits] == [(f"{BASE}config.d/b", b"2", b"3")]
    assert done.writes[0].operations == 1


def test_without_purge_others_stay(store: MemoryStore) -> None:
    """Files that are not named stay, as do keys that are not ours; with purge the files go."""
    store.put(f"{BASE}lock", b"theirs")
    put(store, {"a": b"1", "b": b"2"})
    put(store, {"c": b"3"}, None)
    assert set(stored(store)) == {"config", "config.d/a", "config.d/b", "config.d/c", "lock"}
    done = put(store, {"c": b"3"}, None, purge=True)
    assert set(stored(store)) == {"config", "config.d/c", "lock"}
    assert (f"{BASE}config", b'{"deployPath": "/srv"}') in done.writes[0].puts  # the removal's witness
    assert [edit.key for edit in done.edits] == [f"{BASE}config.d/a", f"{BASE}config.d/b"]


@pytest.mark.parametrize("value", [b'{"deployPath":"/srv"}', b'{"deployPath": "/srv/", "keepBackups": 10}'])
def test_a_kept_policy_stays_to_the_byte(store: MemoryStore, value: bytes) -> None:
    """A policy that is not given is not rewritten, however it is spelled."""
    store.put(f"{BASE}config", value)
    put(store, {"a": b"1"}, None)
    assert stored(store)["config"] == value
    put(store, big(300), None)
    revision = store.revision
    assert not put(store, big(300), None).changed
    assert {**json.loads(stored(store)["config"]), "files": 0} == {**json.loads(value), "files": 0}
    assert store.revision == revision


def test_no_policy(store: MemoryStore) -> None:
    """Files without any policy are refused, as is a stored policy that hosts refuse."""
    with pytest.raises(InvalidError, match="the tree has no policy for it yet"):
        put(store, {"a": b"1"}, None)
    store.put(f"{BASE}config", b"{}")
    with pytest.raises(InvalidError, match=r"^host web01, project a\.com: policy field deployPath is missing"):
        put(store, {"a": b"1"}, None)
    assert put(store, {"a": b"1"}).changed  # a new one mends it


@pytest.mark.parametrize(
    ("files", "policy", "words"),
    [
        ({"../x": b""}, POLICY, "'../x' cannot be deployed"),
        ({"a": b"x" * (MAX_VALUE + 1)}, POLICY, "has 1048577 bytes"),
        ({"a": b"", "a/b": b""}, POLICY, "'a' is a file and, in 'a/b', a folder"),
        ({"a": b"", "a/b/c": b""}, POLICY, "'a' is a file and, in 'a/b/c', a folder"),
        ({}, {"deployPath": "srv"}, "policy field deployPath"),
        ({}, {"deployPath": "/srv", "files": {}}, "written by the publisher itself"),
        ({}, {"deployPath": "/srv", "files": None}, "files"),
        ({}, {"deployPath": "/srv", "nope": 1}, "unknown policy field"),
        ({"\udcff": b""}, POLICY, "UTF-8"),
    ],
)
def test_refused(store: MemoryStore, files: Mapping[str, bytes], policy: Mapping[str, Any], words: str) -> None:
    """Nothing that hosts would refuse is ever written."""
    revision = store.revision
    with pytest.raises(InvalidError, match=words):
        put(store, files, policy)
    assert store.revision == revision


def test_shadows_of_stored_files(store: MemoryStore) -> None:
    """A file that would hide a stored one is refused, unless that one is purged."""
    put(store, {"a": b"1"})
    with pytest.raises(InvalidError, match="'a' is a file and, in 'a/b', a folder"):
        put(store, {"a/b": b"2"})
    assert put(store, {"a/b": b"2"}, purge=True).changed


def test_check_mode(store: MemoryStore) -> None:
    """With check nothing is written and the result says what would be."""
    revision = store.revision
    done = put(store, {"a": b"1"}, check=True)
    assert (done.changed, len(done.edits), done.revision, store.revision) == (True, 2, revision, revision)


def test_bad_keys(store: MemoryStore) -> None:
    """Files that hosts refuse are left alone until a purge."""
    store.put(f"{BASE}config.d/a\nb", b"bad")
    put(store, {"a": b"1"})
    assert "config.d/a\nb" in stored(store)
    assert put(store, {"a": b"1"}, purge=True).changed
    assert set(stored(store)) == {"config", "config.d/a"}


def test_a_key_that_is_no_text(store: MemoryStore) -> None:
    """A key that is not UTF-8 disturbs neither publishing nor withdrawing."""
    key = f"{BASE}config.d/".encode() + b"\xff"
    store._now[key] = type(next(iter(store._now.values())))(key, b"", store.revision)
    assert put(store, {"a": b"1"}, purge=True).changed
    assert not put(store, {"a": b"1"}, purge=True).changed
    publish(store, TREE, "web01", "a.com", None)
    assert stored(store) == {}


def test_a_withdrawal_in_between_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put into a project that is gone by then: the tree is read again, and there is no policy to keep."""
    store = MemoryStore()
    put(store, {"a": b"1"})
    listed = store.list

    def list_then_withdraw(prefix: str, **options: Any) -> Listing:
        found = listed(prefix, **options)
        if found.items:
            store.commit(Write(deletes=(TREE.policy("web01", "a.com"), TREE.file("web01", "a.com", "a"))))
        return found

    monkeypatch.setattr(store, "list", list_then_withdraw)
    with pytest.raises(InvalidError, match="has no policy for it yet"):
        put(store, {"b": b"2"}, None)
    assert listed(TREE.root).items == ()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.j2": b"one\n{% for %}\n"}, "project a.com, template a.j2, line 2: Expected an expression"),
        ({"a.j2": b"{{ 1 | no_such_filter }}"}, "template a.j2, line 1: No filter named 'no_such_filter'"),
        ({"a.j2": b"\xff"}, "template a.j2: it is not UTF-8 text"),
        ({"a.j2": b"", "a": b""}, "template 'a.j2' would be deployed as 'a', which is a file, too"),
    ],
)
def test_templates_that_no_host_could_render(store: MemoryStore, files: dict[str, bytes], said: str) -> None:
    """A template is refused for its syntax, by file and line, where the policy, given or stored, has them rendered."""
    renders = {**POLICY, "render": True}
    with pytest.raises(InvalidError, match=re.escape(said)):
        put(store, files, renders)
    put(store, {}, renders)
    with pytest.raises(InvalidError, match=re.escape(said)):
        put(store, files, None)
    assert set(stored(store)) == {"config"}
    put(store, files)  # they are files like all others then
    with pytest.raises(InvalidError, match=re.escape(said)):
        put(store, {}, renders)


def test_templates_that_hosts_can_render(store: MemoryStore) -> None:
    """What depends on the values of the tree is not judged, nor what another template has."""
    put(store, {"a.j2": b"{{ getv('/x') }}{% include 'b.j2' %}", "b.j2": b"{{ nothing }}"}, {**POLICY, "render": True})
    assert set(stored(store)) == {"config", "config.d/a.j2", "config.d/b.j2"}


@pytest.mark.parametrize("given", [True, False])
def test_a_watch_on_statuses(store: MemoryStore, given: bool) -> None:
    """What hosts would refuse is not published, whoever wrote the policy."""
    policy = {**POLICY, "watch": ["/watcher.status/"]}
    if not given:
        store.put(TREE.policy("web01", "a.com"), json.dumps(policy).encode())
    with pytest.raises(InvalidError, match=re.escape("policy field watch has /watcher.status/, which")):
        put(store, {"a": b""}, policy if given else None)
    assert "config.d/a" not in stored(store)
