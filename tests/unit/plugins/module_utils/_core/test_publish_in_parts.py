# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing in several transactions, beside others: what hosts make of every revision in between."""

from __future__ import annotations

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
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Found,
    Ledger,
    Owned,
    Place,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence, Plan, Sight, make_plan, places
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE
from ansible_collections.watcher.config.plugins.module_utils._core.publish import publish
from ansible_collections.watcher.config.plugins.module_utils._core.snapshot import projects
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Attributes
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.publications import BASE, POLICY, TREE, neighbours, put, stored


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with a neighbour whose name begins alike."""
    return neighbours()


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


def at_once(old: Ledger, place: Place) -> Found:
    """Return what a disk holds that was deployed by a ledger."""
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


def meddled() -> Meddler:
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
