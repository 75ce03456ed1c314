# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a lane: how much of a project it looks at, where contents and evidence come from."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Replaced
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.agent_world import PREFIX, AgentWorld
from ansible_collections.watcher.config.tests.unit.site import tree
from ansible_collections.watcher.config.tests.unit.world import TREE

AWAY = UnavailableError("nothing is listening")
TWO = {"a": b"1", "b": b"1"}
LACKS = "are missing from a store that was replaced or went back"
MANY = {f"f{number:02}": b"1" for number in range(14)}


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """Return a world with two files deployed."""
    world = AgentWorld(tmp_path)
    assert world.deploy(TWO).state == "deployed"
    return world


def lazy(folder: Path, files: dict[str, bytes], **policy: Any) -> AgentWorld:
    """Return a world with an agent that leaves alone what drifted, after a restart."""
    world = AgentWorld(folder)
    assert world.deploy(files, **policy).state == "deployed"
    world.start(force=False)
    return world


# A part, or the whole


def test_nothing_to_do(world: AgentWorld) -> None:
    """What is settled, or not there, is no work."""
    assert (world.lanes.run("a.com"), world.lanes.run("b.com"), world.lanes.repair("b.com")) == (None, None, None)


def test_a_change_is_a_part(world: AgentWorld) -> None:
    """Files that have not changed are not even looked at; digest and number are those of the whole project."""
    world.drift("b")
    world.set("a", b"2")
    world.set("new/c", b"3")
    world.follow()
    outcome = world.lane()
    assert (outcome.state, outcome.ran, outcome.revision) == ("deployed", True, world.store.revision)
    assert {change.path: change.action for change in outcome.changes} == {"a": "set", "new/c": "create"}
    assert world.on_disk() == {"a": b"2", "b": b"drifted", "new/c": b"3"}
    world.mirror.compare()
    whole = world.lane()
    assert world.on_disk() == {"a": b"2", "b": b"1", "new/c": b"3"}
    assert (outcome.digest, outcome.files) == (whole.digest, whole.files) == (outcome.digest, 3)


def test_a_deletion_is_a_part(world: AgentWorld) -> None:
    """The file goes, and nothing else is looked at."""
    world.drift("b")
    world.unset("a")
    world.follow()
    assert world.lane().files == 1
    assert world.on_disk() == {"b": b"drifted"}


@pytest.mark.parametrize(
    "policy", [{"checkCmd": "true"}, {"afterCmd": "true"}, {"mode": "0600"}], ids=["check", "after", "mode"]
)
def test_another_policy_compares_all(world: AgentWorld, policy: dict[str, str]) -> None:
    """What drifted is found then."""
    world.drift("b")
    assert world.deploy(TWO, **policy).state == "deployed"
    assert world.on_disk() == TWO


def test_what_is_checked_is_compared(tmp_path: Path) -> None:
    """A checkCmd sees the complete project, so a part is not enough."""
    world = AgentWorld(tmp_path)
    world.deploy(TWO, checkCmd="cat %s/a %s/b")
    world.drift("b")
    world.set("a", b"2")
    world.follow()
    assert world.lane().check.out == "21"
    assert world.on_disk() == {"a": b"2", "b": b"1"}


def test_a_failure_is_compared_until_it_is_over(tmp_path: Path) -> None:
    """A part says too little about a project that is in trouble."""
    world = AgentWorld(tmp_path)
    world.deploy(TWO, afterCmd=f"test ! -e {tmp_path}/trouble")
    (tmp_path / "trouble").touch()
    world.set("a", b"2")
    world.follow()
    assert world.lane().state == "rolledBack"
    assert world.lane().state == "rolledBack"
    world.drift("b")
    (tmp_path / "trouble").unlink()
    world.set("c", b"3")
    world.follow()
    assert world.lane().state == "deployed"
    assert world.on_disk() == {"a": b"2", "b": b"1", "c": b"3"}
    assert world.lanes.run("a.com") is None


def test_the_end_of_a_project(world: AgentWorld) -> None:
    """Its files go, its copies too, be it seen as an event or found out after a restart."""
    world.withdraw()
    assert world.follow() == {"a.com"}
    assert world.lane().state == "removed"
    assert (world.files(), world.lanes.run("a.com")) == (set(), None)
    assert not list((world.folder / "state").rglob("objects"))
    world.deploy(TWO)
    world.withdraw()
    world.start()
    assert world.list() == {"a.com"}
    assert world.lane().state == "removed"
    assert world.files() == set()
    assert world.lanes.run("a.com") is None


def test_rules_are_asked(tmp_path: Path) -> None:
    """What this host does not allow fails, for a part as for the whole, and stays unsettled."""
    world = AgentWorld(tmp_path, rules=Rules((str(tmp_path / "elsewhere"),), ()))
    outcome = world.deploy(TWO)
    assert (outcome.state, world.files()) == ("failed", set())
    assert "this host allows" in outcome.msg
    assert world.lane().state == "failed"
    world.rules = Rules()
    world.start()
    world.list()
    assert world.lane().state == "deployed"
    world.rules = Rules((str(tmp_path / "elsewhere"),), ())
    world.start(force=False)
    world.list()
    assert world.lane().state == "failed"
    assert world.on_disk() == TWO


# Contents


def contents(world: AgentWorld) -> set[str]:
    """Return the files whose contents are in memory."""
    task = world.mirror.task("a.com", whole=True)
    assert task is not None
    return {path for path, file in task.project.files.items() if file.content is not None}


def test_contents_leave_the_memory(world: AgentWorld) -> None:
    """Once deployed they are on the disk, and a copy of them beside the ledger."""
    assert contents(world) == set()
    world.set("a", b"2")
    world.follow()
    assert contents(world) == {"a"}
    world.lane()
    assert contents(world) == set()
    world.unset("b")
    world.follow()
    world.lane()
    assert len(list((world.folder / "state" / "a.com" / "objects").iterdir())) == 1


def test_contents_come_from_copies_first(world: AgentWorld) -> None:
    """What drifted is repaired without a question to the store."""
    world.drift("a")
    calls = world.store.calls.copy()
    world.mirror.compare()
    assert world.lane().changes[0].path == "a"
    assert (world.on_disk(), world.store.calls) == (TWO, calls)


def test_contents_come_from_the_store_else(world: AgentWorld) -> None:
    """A copy that is missing, or was spoilt, is no harm while etcd is there."""
    for spoil in (
        lambda: [path.write_bytes(b"x") for path in (world.folder / "state" / "a.com" / "objects").iterdir()],
        lambda: shutil.rmtree(world.folder / "state" / "a.com" / "objects"),
    ):
        world.drift("a")
        spoil()
        calls = world.store.calls["get"]
        world.mirror.compare()
        assert world.lane().state == "deployed"
        assert (world.on_disk(), world.store.calls["get"]) == (TWO, calls + 1)


def test_contents_that_the_store_has_no_more(world: AgentWorld) -> None:
    """Nothing is settled: the event that says what it has instead is on its way."""
    shutil.rmtree(world.folder / "state" / "a.com" / "objects")
    world.drift("a")
    world.drift("b")
    world.set("a", b"2")
    world.mirror.compare()
    assert world.lane().state == "failed"
    assert world.on_disk() == dict.fromkeys(TWO, b"drifted")
    world.follow()
    assert world.lane().state == "deployed"
    assert world.on_disk() == {"a": b"2", "b": b"1"}


def test_contents_while_the_store_is_away(world: AgentWorld) -> None:
    """The question fails, and is asked again the next time."""
    shutil.rmtree(world.folder / "state" / "a.com" / "objects")
    world.drift("a")
    world.mirror.compare()
    world.store.fail(AWAY)
    with pytest.raises(UnavailableError):
        world.lanes.run("a.com")
    assert world.lane().state == "deployed"
    assert world.on_disk() == TWO


# Without force


@pytest.mark.parametrize("policy", [{}, {"checkCmd": "true"}], ids=["plain", "check"])
def test_what_drifted_is_left_alone(tmp_path: Path, policy: dict[str, str]) -> None:
    """After a start the tree is as it was, so nothing is done; it is settled at the tree's revision."""
    world = lazy(tmp_path, TWO, **policy)
    world.drift("a")
    (world.folder / "a.com" / "b").unlink()
    world.set("a", b"1")
    world.list()
    outcome = world.lane()
    assert (outcome.state, outcome.ran, outcome.revision) == ("deployed", False, world.store.revision)
    assert (outcome.files, outcome.digest != "") == (2, True)
    assert world.on_disk() == {"a": b"drifted"}
    assert world.lanes.run("a.com") is None


def test_until_its_key_changes(tmp_path: Path) -> None:
    """Then that file is deployed, and only that one."""
    world = lazy(tmp_path, TWO | {"c": b"1", "d": b"1"})
    for path in ("a", "b", "c"):
        world.drift(path)
    world.set("a", b"2")
    world.unset("c")
    world.list()
    assert {change.path: change.action for change in world.lane().changes} == {"a": "set", "c": "delete"}
    assert world.on_disk() == {"a": b"2", "b": b"drifted", "d": b"1"}
    world.set("b", b"2")
    world.follow()
    world.lane()
    assert world.on_disk() == {"a": b"2", "b": b"2", "d": b"1"}


def test_until_its_key_changes_with_a_check(tmp_path: Path) -> None:
    """A checkCmd sees the complete project, so all of it has to be right."""
    world = lazy(tmp_path, TWO, checkCmd="cat %s/a %s/b")
    world.drift("b")
    world.set("a", b"2")
    world.list()
    assert world.lane().check.out == "21"
    assert world.on_disk() == {"a": b"2", "b": b"1"}


@pytest.mark.parametrize(("path", "value"), [("../x", b""), ("a", bytes(MAX_VALUE + 1))], ids=["key", "value"])
def test_a_bad_key_is_no_reason_to_compare(tmp_path: Path, path: str, value: bytes) -> None:
    """What it says of the bad key is the same."""
    world = lazy(tmp_path, TWO)
    world.drift("b")
    world.store.put(f"/watcher/web01/a.com/config.d/{path}", value)
    world.list()
    outcome = world.lane()
    assert (outcome.state, world.on_disk()) == ("deployed", {"a": b"1", "b": b"drifted"})
    assert path in outcome.msg
    assert world.lanes.run("a.com") is None


@pytest.mark.parametrize("policy", [{"afterCmd": "true"}, {"mode": "0600"}, {}], ids=["command", "mode", "the same"])
def test_another_policy_repairs(tmp_path: Path, policy: dict[str, Any]) -> None:
    """All is compared then; the same written once more is not another."""
    world = lazy(tmp_path, TWO)
    world.drift("b")
    world.put(TWO, **policy)
    world.list()
    assert world.lane().state == "deployed"
    assert world.on_disk()["b"] == (b"1" if policy else b"drifted")


def test_another_store_is_compared(tmp_path: Path) -> None:
    """What it lacks is held, and what it has is made sure of."""
    world = lazy(tmp_path, TWO)
    world.drift("b")
    world.store.replace()
    world.put({"b": b"1"})
    world.list()
    assert LACKS in world.lane().msg
    assert world.on_disk() == {"a": b"1", "b": b"1"}


def test_another_store_with_the_same_files(tmp_path: Path) -> None:
    """It is the one whose deletions count from then on."""
    world = lazy(tmp_path, TWO)
    world.store.replace()
    world.put(TWO)
    world.list()
    assert (world.lane().msg, world.ledger().cluster_id) == ("", world.store.cluster_id)
    world.unset("a")
    world.follow()
    world.lane()
    assert world.on_disk() == {"b": b"1"}


def test_trouble_is_compared(tmp_path: Path) -> None:
    """What failed before the restart is not taken for done."""
    world = AgentWorld(tmp_path)
    world.deploy(TWO)
    (tmp_path / "trouble").touch()
    outcome = world.deploy({"a": b"2", "b": b"1"}, afterCmd=f"test ! -e {tmp_path}/trouble", onFailure="keep")
    assert (outcome.state, world.on_disk()["a"]) == ("failed", b"2")
    (tmp_path / "trouble").unlink()
    world.start(force=False)
    world.list()
    outcome = world.lane()
    assert (outcome.state, outcome.ran, outcome.after.problem) == ("deployed", True, "")


# Evidence


@pytest.fixture
def many(tmp_path: Path) -> AgentWorld:
    """Return a world with so many files that a removal of most needs evidence."""
    world = AgentWorld(tmp_path)
    assert world.deploy(MANY).state == "deployed"
    return world


def test_a_mass_removal_by_the_module(many: AgentWorld) -> None:
    """The event says that the policy was written with it: no history is asked for."""
    watches = many.store.calls["watch"]
    assert many.deploy({"new": b"1"}).state == "deployed"
    assert many.files() == {"new"}
    assert many.store.calls["watch"] == watches + 1  # the world's own


def test_a_mass_removal_before_the_start(many: AgentWorld) -> None:
    """The history says it."""
    many.put({"new": b"1"})
    many.set("later", b"1")
    for force in (True, False):
        many.start(force=force)
        many.list()
        if force:
            outcome = many.lanes.preview("a.com")
            assert outcome is not None
            assert (outcome.state, len(many.files())) == ("deployed", len(MANY))
    assert many.lane().state == "deployed"
    assert many.files() == {"new", "later"}


@pytest.mark.parametrize("started", [False, True])
def test_a_mass_removal_by_nobody(many: AgentWorld, started: bool) -> None:
    """It is held, and said, until the files come again."""
    many.unset(*list(MANY)[:12])
    if started:
        many.start()
        many.list()
    else:
        many.follow()
    for _unused in range(2):
        outcome = many.lane()
        assert (outcome.state, len(many.files())) == ("held", len(MANY))
    many.put(MANY)
    many.follow()
    assert many.lane().state == "deployed"
    assert many.lanes.run("a.com") is None


def test_a_mass_removal_that_history_has_forgotten(many: AgentWorld) -> None:
    """Nothing vouches for it then."""
    many.put({"new": b"1"})
    many.set("later", b"1")
    many.store.compact()
    many.start()
    many.list()
    assert (many.lane().state, len(many.files())) == ("held", len(MANY))


def test_a_mass_removal_while_the_store_is_away(many: AgentWorld) -> None:
    """It failed to find out, which is tried again."""
    many.put({"new": b"1"})
    many.start()
    many.list()
    many.store.fail(AWAY)
    outcome = many.lane()
    assert outcome.state == "failed"
    assert "the tree's history cannot be read: nothing is listening" in outcome.msg
    assert many.lane().state == "deployed"
    assert many.files() == {"new"}


# Somebody else was faster, or the store went back


def test_a_playbook_was_faster(world: AgentWorld) -> None:
    """Its news are not undone: they are on their way here, too."""
    world.set("a", b"2")
    world.follow()
    world.set("a", b"3")
    assert world.states() == {"a.com": "deployed"}
    for _unused in range(2):
        assert world.lane().state == "stale"
        assert world.on_disk()["a"] == b"3"
    world.follow()
    outcome = world.lane()
    assert (outcome.state, outcome.ran, outcome.revision) == ("deployed", False, world.store.revision)
    assert world.lanes.run("a.com") is None


def test_a_playbook_was_faster_and_nothing_changed(world: AgentWorld) -> None:
    """It looked at a newer revision of the store, but the project is the same: no news will come."""
    world.store.put("/watcher/web01/b.com/config.d/x")
    world.run()
    world.drift("a")
    world.mirror.compare()
    outcome = world.lane()
    assert (outcome.state, outcome.revision) == ("deployed", world.ledger().revision)
    assert world.on_disk() == TWO
    assert world.lanes.run("a.com") is None


@pytest.mark.parametrize("same_cluster", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_the_store_went_back(world: AgentWorld, same_cluster: bool, force: bool) -> None:
    """Nothing is removed; what it has is deployed, what it lacks is held."""
    world.set("a", b"2")
    world.follow()
    world.lane()
    world.store.replace(same_cluster=same_cluster)
    world.put({"a": b"4"})
    world.start(force=force)
    world.list()
    assert LACKS in world.lane().msg
    assert world.on_disk() == {"a": b"4", "b": b"1"}
    world.set("b", b"5")
    world.follow()
    assert (world.lane().msg, world.on_disk()) == ("", {"a": b"4", "b": b"5"})


def test_the_store_was_emptied(world: AgentWorld) -> None:
    """A project that is gone from it stays as it is."""
    world.store.replace(same_cluster=True)
    world.start()
    assert world.list() == {"a.com"}
    assert world.lane().state == "held"
    assert world.on_disk() == TWO


@pytest.mark.parametrize("force", [True, False])
def test_a_replaced_store_that_is_ahead(world: AgentWorld, force: bool) -> None:
    """Who watched knows, whatever revision and cluster say; and it is known once and for all."""
    world.store.replace(same_cluster=True)
    world.put({"a": b"4"})
    for _unused in range(20):
        world.store.put("/elsewhere")
    world.start(force=force)
    listing = world.store.list(PREFIX)
    world.mirror.take_listing(Replaced(listing.items, listing.revision, listing.cluster_id), world.state.projects())
    assert LACKS in world.lane().msg
    world.list()
    assert LACKS in world.lane().msg
    assert world.on_disk() == {"a": b"4", "b": b"1"}
    world.unset("a")
    world.list()
    world.lane()
    assert world.on_disk() == {"b": b"1"}


# What is owed


def test_a_callback_is_remembered(tmp_path: Path) -> None:
    """The ledger has it until it was handed over, be it of a part, of the whole, of a failure or of a repair."""
    world = AgentWorld(tmp_path)

    def owed() -> bool:
        found = world.ledger().untold is not None
        world.state.told("a.com")
        assert world.ledger().untold is None
        return found

    world.deploy(TWO, callback="http://receiver/", afterCmd=f"test ! -e {tmp_path}/trouble")
    assert owed()
    world.set("a", b"2")
    world.follow()
    assert (world.lane().state, owed()) == ("deployed", True)
    (tmp_path / "trouble").touch()
    world.set("a", b"3")
    world.follow()
    assert (world.lane().state, owed()) == ("rolledBack", True)
    assert (world.lane().state, owed()) == ("rolledBack", True)
    (tmp_path / "trouble").unlink()
    assert (world.lane().state, owed()) == ("deployed", True)
    world.mirror.compare()
    assert (world.lane().ran, owed()) == (False, False)
    world.drift("a")
    world.lanes.repair("a.com")
    assert owed()


# Without a store


def test_repair(world: AgentWorld) -> None:
    """What drifted comes back from what the host remembers, with the commands that belong to it."""
    world.deploy(TWO, afterCmd=f"echo after >>{world.folder}/log")
    world.drift("a")
    (world.folder / "a.com" / "b").unlink()
    world.start()
    world.store.fail(AWAY, 1000)
    outcome = world.lanes.repair("a.com")
    assert outcome is not None
    assert (outcome.state, outcome.ran, outcome.revision) == ("deployed", True, world.ledger().revision)
    assert (world.on_disk(), (world.folder / "log").read_text()) == (TWO, "after\n")
    outcome = world.lanes.repair("a.com")
    assert outcome is not None
    assert (outcome.state, outcome.ran) == ("deployed", False)
    world.store.fail_no_more()
    world.list()
    assert world.lane().ran is False


def test_repair_without_a_copy(world: AgentWorld, caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and touches nothing: not even what it has a copy of."""
    world.drift("a")
    world.drift("b")
    next((world.folder / "state" / "a.com" / "objects").iterdir()).unlink()
    world.start()
    with caplog.at_level(logging.WARNING):
        assert world.lanes.repair("a.com") is None
    assert caplog.messages == ["host web01, project a.com: a file drifted and no copy of it is left; it waits for etcd"]
    assert world.on_disk() == dict.fromkeys(TWO, b"drifted")


def test_repair_asks_the_rules(world: AgentWorld) -> None:
    """What was allowed when it was deployed may not be any more."""
    world.drift("a")
    world.rules = Rules((), ())
    world.start()
    outcome = world.lanes.repair("a.com")
    assert outcome is not None
    assert (outcome.state, world.on_disk()["a"]) == ("failed", b"drifted")


# What would be done


@pytest.mark.parametrize("force", [True, False])
def test_preview(world: AgentWorld, force: bool) -> None:
    """It says what a run would do, and touches nothing."""
    world.drift("b")
    world.set("a", b"2")
    world.unset("b") if not force else None
    world.start(force=force)
    world.list()
    before = tree(world.folder)
    outcome = world.lanes.preview("a.com")
    assert outcome is not None
    assert (outcome.state, outcome.ran, outcome.files) == ("deployed", True, 2 if force else 1)
    assert {change.path: change.action for change in outcome.changes} == {"a": "set", "b": "set" if force else "delete"}
    assert tree(world.folder) == before
    assert contents(world) == set()
    assert world.lanes.preview("b.com") is None


def test_transactions_are_one_deployment(world: AgentWorld) -> None:
    """All changes of one revision, and those that came while it waited, are one run of the commands."""
    world.deploy(TWO, afterCmd=f"echo $WATCHER_CHANGED >>{world.folder}/log")
    puts = tuple((TREE.file("web01", "a.com", path), b"2") for path in ("a", "b"))
    world.store.commit(Write(puts=puts))
    world.set("c", b"2")
    world.follow()
    world.lane()
    assert (world.folder / "log").read_text() == "a b c\n"


def test_a_repair_keeps_what_is_held(world: AgentWorld) -> None:
    """A file that the store lacks is still held after a repair without the store: the next list must not remove it."""
    world.store.replace()
    world.put({"a": b"1"})
    world.mirror.take_listing(world.store.list(PREFIX), ["a.com"])
    assert LACKS in world.lane().msg
    world.start()
    world.drift("a")
    outcome = world.lanes.repair("a.com")
    assert outcome is not None
    assert (outcome.state, world.on_disk()) == ("deployed", {"a": b"1", "b": b"1"})
    world.list()
    assert LACKS in world.lane().msg
    assert world.on_disk() == {"a": b"1", "b": b"1"}
