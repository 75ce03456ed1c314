# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing: what is written, in which transactions, and what hosts make of every revision in between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import publish as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.evidence import removed_with_policy
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Ledger, Owned, Project
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence, Plan, Sight, make_plan, places
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE, Policy
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Publication, Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.snapshot import projects
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Attributes
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
BASE = "/watcher/web01/a.com/"
POLICY = {"deployPath": "/srv"}


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with a neighbour whose name begins alike."""
    store = MemoryStore()
    store.put("/watcher/web010/a.com/config", b"neighbour")
    store.put("/watcher/web01/a.com.au/config", b"neighbour")
    return store


def put(
    store: MemoryStore,
    files: Mapping[str, bytes],
    policy: Mapping[str, Any] | None = POLICY,
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


def at(store: MemoryStore, revision: int) -> Project:
    """Return what a host sees at a revision."""
    found = projects(TREE, store.list(TREE.host("web01"), revision=revision))
    return found.get(("web01", "a.com"), Project("web01", "a.com", revision, store.cluster_id))


def remembered(project: Project) -> Ledger:
    """Return the ledger of a host that has deployed a project."""
    files = {("/srv", path): Owned(file.digest) for path, file in project.files.items()}
    return Ledger("web01", "a.com", 1, project.revision, project.revision, POLICY if files else None, files)


def planned(store: MemoryStore, old: Ledger, revision: int) -> Plan:
    """Return the plan of a host that sees a revision, with the evidence that the store has."""
    project = at(store, revision)
    found = {place: at_once(old, place) for place in places(project, old)}
    sight = Sight(found, {place: "/".join(place) for place in found}, {})
    plan = make_plan(project, old, sight, Attributes(), Evidence())
    if not plan.asks:
        return plan
    vouched = removed_with_policy(store, TREE, "web01", "a.com", old.revision, plan.asks)
    return make_plan(project, old, sight, Attributes(), Evidence(with_policy=vouched))


def at_once(old: Ledger, place: tuple[str, str]) -> Any:
    """Return what a disk holds that was deployed by a ledger."""
    from ansible_collections.watcher.config.plugins.module_utils._core.model import Found

    return Found("file", old.files[place].digest) if place in old.files else Found()


def no_host_deploys_half(store: MemoryStore, begun: int) -> None:
    """Check each revision since: a host that was right before deploys all of it or nothing, and holds nothing."""
    old, new = remembered(at(store, begun)), at(store, store.revision)
    for revision in range(begun + 1, store.revision + 1):
        plan = planned(store, old, revision)
        whole = {path: file.digest for path, file in at(store, revision).files.items()}
        wanted = {path: file.digest for path, file in new.files.items()}
        if revision == store.revision:
            assert plan.ready, plan.msg
        if plan.ready:
            assert whole == wanted
        else:
            assert plan.state == "waiting", plan.msg


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


SIZES = {
    "one transaction": (big(127), 1),
    "one more": (big(128), 2),
    "thousand": (big(1000), 8),
    "heavy": (big(5, size=MAX_VALUE), 5),
    "one heavy with its policy": (big(1, size=MAX_VALUE), 1),
}


@pytest.mark.parametrize(("files", "writes"), list(SIZES.values()), ids=list(SIZES))
def test_sizes(store: MemoryStore, files: dict[str, bytes], writes: int) -> None:
    """What does not fit into one transaction takes several, and no host ever deploys half of it."""
    begun = store.revision
    done = put(store, files)
    assert len(done.writes) == writes
    assert at(store, store.revision).files == {path: File.of(content) for path, content in files.items()}
    no_host_deploys_half(store, begun)
    revision = store.revision
    assert not put(store, files, purge=True).changed
    assert store.revision == revision


def test_many_paths(store: MemoryStore) -> None:
    """A manifest of nearly a mebibyte fits beside files of a mebibyte."""
    files = {f"{'d' * 200}/{number}": b"" for number in range(3400)}
    files["heavy"] = b"x" * MAX_VALUE
    begun = store.revision
    put(store, files)
    assert 900_000 < len(stored(store)["config"]) <= MAX_VALUE
    assert len(at(store, store.revision).files) == len(files)
    assert planned(store, remembered(at(store, begun)), store.revision).ready
    with pytest.raises(InvalidError, match="split the project"):
        put(store, {f"{'e' * 200}/{number}": b"" for number in range(1000)})


CHANGES: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
    "small to big": (big(5), big(300)),
    "big to small": (big(300), big(5)),
    "all other contents": (big(300), big(300, "y")),
    "all other paths": (big(300), {f"new/{number}": b"z" for number in range(300)}),
    "few of many": (big(300), {**big(300), **big(3, "y")}),
    "purge of most": (big(100), big(3)),
    "purge of all": (big(100), {}),
    "heavy": (big(3, size=MAX_VALUE), big(4, "y", size=MAX_VALUE)),
}


@pytest.mark.parametrize(("old", "new"), list(CHANGES.values()), ids=list(CHANGES))
def test_changes(store: MemoryStore, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """From one state to another no revision in between is deployed, and no host holds the last one."""
    put(store, old)
    begun = store.revision
    put(store, new, purge=True)
    assert {path: file.content for path, file in at(store, store.revision).files.items()} == new
    no_host_deploys_half(store, begun)
    assert not put(store, new, purge=True).changed


def test_by_hand_then_big(store: MemoryStore) -> None:
    """A project put there key by key is changed in several transactions as safely."""
    store.put(f"{BASE}config", b'{"deployPath":"/srv"}')
    for path, content in big(200).items():
        store.put(f"{BASE}config.d/{path}", content)
    begun = store.revision
    put(store, big(200, "y"), None)
    no_host_deploys_half(store, begun)


@pytest.mark.parametrize("count", [3, 40, 300])
def test_withdraw(store: MemoryStore, count: int) -> None:
    """Policy and files go in one transaction, whatever their number; no host holds it."""
    store.put(f"{BASE}lock", b"theirs")
    store.put(f"{BASE}config.d/\x01", b"bad")
    put(store, big(count))
    begun = store.revision
    done = publish(store, TREE, "web01", "a.com", None)
    assert (done.changed, store.revision, len(done.edits)) == (True, begun + 1, count + 2)
    assert stored(store) == {"lock": b"theirs"}
    assert planned(store, remembered(at(store, begun)), store.revision).state == "removed"
    assert not publish(store, TREE, "web01", "a.com", None).changed


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


class Meddler(MemoryStore):
    """A store in which something happens before or after each commit of the publisher."""

    def __init__(self) -> None:
        """Nothing happens yet."""
        super().__init__()
        self.before: list[Any] = []
        self.after: list[StoreError] = []

    def commit(self, write: Write) -> int:
        """Commit, with somebody else's change before, or an answer that is lost after."""
        if self.before:
            act = self.before.pop(0)
            act()
        revision = super().commit(write)
        if self.after:
            raise self.after.pop(0)
        return revision


def meddled(**neighbours: bytes) -> Meddler:
    """Return a store that can be meddled with."""
    store = Meddler()
    store.put("/watcher/web010/a.com/config", b"neighbour")
    store.put("/watcher/web01/a.com.au/config", b"neighbour")
    return store


def test_a_change_of_others_in_between() -> None:
    """A conflict is answered with a fresh look: what others wrote stays, and nothing is lost."""
    store = meddled()
    store.before = [lambda: MemoryStore.commit(store, Write(puts=((f"{BASE}config.d/theirs", b"t"),)))]
    assert put(store, {"a": b"1"}).changed
    assert set(stored(store)) == {"config", "config.d/a", "config.d/theirs"}


def test_changes_of_others_in_between_several_transactions() -> None:
    """In the middle of a big publish too; hosts wait until it is whole."""
    store = meddled()
    theirs = Write(puts=((f"{BASE}config.d/theirs", b"t"),))
    store.before = [lambda: None, lambda: None, lambda: MemoryStore.commit(store, theirs)]
    begun = store.revision
    put(store, big(500))
    assert set(at(store, store.revision).files) == {*big(500), "theirs"}
    no_host_deploys_half(store, begun)


def test_others_without_end() -> None:
    """After some tries the conflict is the user's."""
    store = meddled()
    store.before = [lambda: MemoryStore.commit(store, Write(puts=((f"{BASE}config.d/theirs", b"t"),)))] * 99
    with pytest.raises(ConflictError):
        put(store, {"a": b"1"})
    assert store.calls["list"] == module.TRIES


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_an_answer_that_is_lost(count: int, lost: int) -> None:
    """A commit that was carried out although nobody heard so is not repeated, and counts as a change."""
    store = meddled()
    store.after = [UnavailableError("cut")] * lost
    done = put(store, big(count))
    assert done.changed
    assert len(done.edits) == count + 1
    assert done.revision == store.revision
    assert at(store, store.revision).files.keys() == big(count).keys()
    assert not put(store, big(count)).changed


def test_a_store_that_is_away(store: MemoryStore) -> None:
    """What cannot be read or is denied is raised at once."""
    store.fail(UnavailableError("away"))
    with pytest.raises(UnavailableError):
        put(store, {"a": b"1"})
    store.fail(DeniedError("no"))
    with pytest.raises(DeniedError):
        put(store, {"a": b"1"})
    assert Policy.from_data(POLICY, "").deploy_path == "/srv"
