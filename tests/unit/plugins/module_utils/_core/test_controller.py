# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half, with a real host's half behind it in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.controller import (
    LITTLE,
    ROUNDS,
    Controller,
)
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeployError,
    InvalidError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.host import deploy_all
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence
from ansible_collections.watcher.config.tests.unit.world import World

TREE = Tree()
BIG = b"x" * (LITTLE // 2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return an empty world."""
    return World(tmp_path)


def many(count: int) -> dict[str, bytes]:
    """Return many files."""
    return {f"f{number:03}": b"%d" % number for number in range(count)}


def test_little_goes_at_once(world: World) -> None:
    """Small projects take one round; the second run too."""
    world.put({"a": b"1"})
    world.put({"b": b"2"}, "b.com")
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert len(world.sent) == 1
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert len(world.sent) == 1
    assert (world.files(), world.files("b.com")) == ({"a"}, {"b"})


def test_big_contents_are_asked_for(world: World) -> None:
    """Digests go first, then the contents that the host lacks, of the projects that lack any."""
    world.put({"a": BIG, "b": BIG + b"b", "c": BIG + b"c"})
    world.put({"d": b"2"}, "b.com")
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert world.sent_contents() == [set(), {"a", "b", "c", "d"}]
    world.put({"a": BIG, "b": BIG + b"new", "c": BIG + b"c"})
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert world.sent_contents() == [set(), {"b"}]
    assert [parcel.names for parcel in world.sent] == [None, ["a.com"]]
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert len(world.sent) == 1


def test_chosen_projects(world: World) -> None:
    """With names, all others are left alone, gone ones among them."""
    world.put({"a": b"1"})
    world.put({"b": b"1"}, "b.com")
    world.states()
    world.withdraw("b.com")
    world.put({"a": b"2"})
    assert world.states(names=["a.com"]) == {"a.com": "deployed"}
    assert world.files("b.com") == {"b"}
    assert world.states(names=["b.com"]) == {"b.com": "removed"}


@pytest.mark.parametrize("how", ["purge", "withdraw", "purge and big contents", "withdraw big"])
def test_a_mass_removal_by_the_module(world: World, how: str) -> None:
    """It is never held: the host asks, the tree's history answers."""
    count = 300 if how == "withdraw big" else 40
    world.put(many(count))
    world.states()
    if how.startswith("withdraw"):
        world.withdraw()
        assert world.states() == {"a.com": "removed"}
        assert world.files() == set()
    else:
        left = {"a": BIG, "b": BIG, "c": BIG} if "big" in how else {"a": b"1"}
        world.put(left)
        assert world.states() == {"a.com": "deployed"}
        assert world.files() == set(left)
    assert len(world.sent) <= 3


def test_a_mass_removal_by_hand(world: World) -> None:
    """Key by key, without the policy, it is held until somebody confirms."""
    world.put(many(40))
    world.states()
    world.store.delete(*[TREE.file("web01", "a.com", path) for path in many(40)])
    assert world.states() == {"a.com": "held"}
    assert len(world.files()) == 40
    assert len(world.sent) == 2
    assert world.states(confirm=True) == {"a.com": "deployed"}
    assert world.files() == set()


def test_history_that_is_gone(world: World) -> None:
    """Without its history a mass removal is held, even one by the module."""
    world.put(many(40))
    world.states()
    world.withdraw()
    world.store.put("/other")
    world.store.compact()
    assert world.states() == {"a.com": "held"}


def test_history_that_cannot_be_read(world: World) -> None:
    """The files stay, a warning says why, and the other projects' outcomes are not lost."""
    world.put(many(40))
    world.put({"b": b"1"}, "b.com")
    world.states()
    world.withdraw()
    world.before = [lambda: world.store.fail(UnavailableError("away"))]
    course = world.run()
    assert {outcome.project: outcome.state for outcome in course.outcomes} == {"a.com": "held", "b.com": "deployed"}
    assert course.warnings == ["host web01, project a.com: why files are missing cannot be read: away"]


def test_somebody_else_was_faster(world: World) -> None:
    """A host that has a newer revision than it was sent makes the controller read again."""
    world.put({"a": b"1"})

    def faster() -> None:
        world.put({"a": b"2"})
        deploy_all(Controller(world.store, TREE, "web01", world.send)._read()[1], world.state)

    world.before = [faster]
    assert world.states() == {"a.com": "deployed"}
    assert (world.folder / "a.com" / "a").read_bytes() == b"2"
    assert len(world.sent) == 2


def test_faster_with_a_mass_removal(world: World) -> None:
    """Reading again does not cost the removal its evidence."""
    world.put(many(40))
    world.states()

    def faster() -> None:
        world.put({**many(40), "new": b""})
        deploy_all(Controller(world.store, TREE, "web01", world.send)._read()[1], world.state)
        world.put({"new": b""})

    world.before = [faster]
    assert world.states() == {"a.com": "deployed"}
    assert world.files() == {"new"}


@pytest.mark.parametrize("same_cluster", [True, False])
def test_an_emptied_store(world: World, same_cluster: bool) -> None:
    """Nothing is removed, now or when the store's revisions have grown; what is published again counts."""
    world.put({"a": b"1", "b": b"1"})
    world.states()
    world.store.replace(same_cluster=same_cluster)
    assert world.states() == {"a.com": "held"}
    for _unused in range(20):
        world.store.put("/other")
    assert world.states() == {"a.com": "held"}
    world.put({"a": b"2"})
    assert world.states() == {"a.com": "deployed"}
    assert world.files() == {"a", "b"}
    assert world.states() == {"a.com": "deployed"}
    assert world.files() == {"a", "b"}
    world.put({})
    assert world.states() == {"a.com": "deployed"}
    assert world.files() == {"b"}
    assert world.states(confirm=True) == {"a.com": "deployed"}
    assert world.files() == set()


def test_a_store_that_went_back(world: World) -> None:
    """Restored from a backup, it may have fewer files: they are held; contents follow the store."""
    world.put({"a": b"1"})
    world.states()
    world.put({"a": b"2", "new": b"1"})
    world.states()
    world.store.replace(same_cluster=True)
    world.put({"a": b"1"})
    assert world.states() == {"a.com": "deployed"}
    assert world.files() == {"a", "new"}
    assert (world.folder / "a.com" / "a").read_bytes() == b"1"


def test_questions_of_several_rounds(world: World) -> None:
    """What one project was answered is still said while another makes the controller read again."""
    for name in ("a", "b"):
        world.put({**many(3), "left": b""}, name)
        world.put({"left": b""}, name)
    store = world.store
    asking = Outcome("web01", "a", "held", 0, 1, "", 0, asks=["f000"], since=1)
    stale = Outcome("web01", "b", "stale", 0, 1, "", 0)
    more = replace(asking, asks=["f000", "f001"])
    done = [replace(outcome, state="deployed", asks=()) for outcome in (asking, stale)]
    answers = [[asking, stale], [replace(asking, asks=(), needs=["left"]), stale], [more, done[1]], [done[0]]]
    seen: list[Parcel] = []

    def send(parcel: Parcel) -> list[Outcome]:
        seen.append(parcel)
        return answers[len(seen) - 1]

    course = Controller(store, TREE, "web01", send).run()
    assert [outcome.state for outcome in course.outcomes] == ["deployed", "deployed"]
    evidence = [(parcel.evidence.get("a"), parcel.evidence.get("b")) for parcel in seen]
    first, both = frozenset(["f000"]), frozenset(["f000", "f001"])
    reread = Evidence(reread=True)
    assert evidence[:3] == [(None, None), (Evidence(with_policy=first), reread), (Evidence(with_policy=first), reread)]
    assert evidence[3][0] == Evidence(with_policy=both)
    assert seen[3].names == ["a"]


def test_never_for_ever(world: World) -> None:
    """A host that asks again and again ends as a failure."""
    world.put({"a": BIG, "b": BIG, "c": BIG})
    number = iter(range(100))
    world.before = [lambda: world.put({f"a{next(number)}": BIG, "b": BIG + b"%d" % next(number), "c": BIG})] * 50
    rounds = []

    def send(parcel: Parcel) -> list[Outcome]:
        rounds.append(parcel)
        return [Outcome("web01", "a.com", "waiting", 0, 1, "", 0, needs=["a"])]

    course = Controller(world.store, TREE, "web01", send).run()
    assert len(rounds) == ROUNDS
    assert [(outcome.state, outcome.msg) for outcome in course.outcomes] == [
        ("failed", "host web01, project a.com: the tree or the disk kept changing; deploy again")
    ]


@pytest.mark.parametrize("more", [{"host": "web02"}, {"project": "b.com"}])
def test_a_host_that_answers_for_others(world: World, more: dict[str, Any]) -> None:
    """It is an error: a status and a callback of others are not its business."""
    world.put({"a": b"1"})

    def send(parcel: Parcel) -> list[Outcome]:
        return [replace(outcome, **more) for outcome in deploy_all(parcel, world.state)]

    controller = Controller(world.store, TREE, "web01", send, ["a.com"])
    with pytest.raises(InvalidError, match="host web01: it answers for project"):
        controller.run()
    assert controller.course.outcomes == []


def test_a_round_that_fails(world: World) -> None:
    """What other projects came to in the round before is not lost."""
    world.put({"a": BIG, "b": BIG, "c": BIG})
    world.put({}, "b.com")

    def broken() -> None:
        raise DeployError("no space for the parcel")

    world.before = [lambda: None, broken]
    course = world.run()
    assert {outcome.project: (outcome.state, outcome.msg) for outcome in course.outcomes} == {
        "a.com": ("failed", "host web01, project a.com: no space for the parcel"),
        "b.com": ("deployed", ""),
    }
    world.before = [broken]
    with pytest.raises(DeployError):
        world.run()
