# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a project is due again, and what is remembered of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.metrics import Facts, Metrics
from ansible_collections.watcher.config.plugins.module_utils._core.outlet import Outlet
from ansible_collections.watcher.config.plugins.module_utils._core.work import LONGEST_PAUSE, STALE_PAUSE, Work
from ansible_collections.watcher.config.tests.unit.agent_world import AgentWorld
from ansible_collections.watcher.config.tests.unit.site import tree
from ansible_collections.watcher.config.tests.unit.world import TREE

TWO = {"a": b"1", "b": b"1"}


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """Return a world that has listed its empty store."""
    world = AgentWorld(tmp_path)
    world.store.put("/elsewhere")
    world.list()
    return world


@pytest.fixture
def works(world: AgentWorld) -> Callable[..., Work]:
    """Return a maker of works; their outlets hand on nothing, for nobody starts them."""

    def make(*, dry_run: bool = False, listed: bool = True) -> Work:
        event = threading.Event()
        if listed:
            event.set()
        outlet = Outlet(world.store, TREE, world.state, "web01", "1")
        return Work(
            world.lanes, outlet, Metrics(Facts, host="web01", version="1"), world.mirror, event, dry_run=dry_run
        )

    return make


def publish(world: AgentWorld, files: dict[str, bytes], name: str = "a.com", **policy: Any) -> None:
    """Publish, and let the mirror follow."""
    world.put(files, name, **policy)
    world.follow()


def near(pause: float | None, seconds: float) -> bool:
    """Return whether a pause is that long, but for chance."""
    return pause is not None and 0.8 * seconds <= pause <= 1.2 * seconds


def test_a_success_is_not_due_again(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Its outcome is remembered, without the files."""
    work = works()
    publish(world, TWO)
    assert work.run("a.com") is None
    (outcome,) = work.outcomes()
    assert (outcome.state, outcome.changes, work.lags()) == ("deployed", (), {"a.com": 0})
    assert (work.run("a.com"), work.run("nothing.com")) == (None, None)


def test_growing_pauses(world: AgentWorld, works: Callable[..., Work]) -> None:
    """They double, up to a bound, however often it failed."""
    work = works()
    publish(world, TWO, beforeCmd="false")
    for seconds in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, LONGEST_PAUSE, LONGEST_PAUSE):
        assert near(work.run("a.com"), seconds)
    work._tries["a.com"] = 5000
    assert near(work.run("a.com"), LONGEST_PAUSE)
    assert work.lags()["a.com"] > 0


def test_a_change_begins_anew(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Of the project, not of others."""
    work = works()
    publish(world, TWO, beforeCmd="false")
    for seconds in (2.0, 4.0, 8.0):
        publish(world, {"x": b"%d" % seconds}, "b.com")
        assert near(work.run("a.com"), seconds)
    world.set("a", b"2")
    world.follow()
    assert near(work.run("a.com"), 2.0)
    assert near(work.run("a.com"), 4.0)


def test_a_success_begins_anew(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Trouble after it has short pauses first."""
    work = works()
    trouble = world.folder / "trouble"
    trouble.touch()
    publish(world, TWO, beforeCmd=f"test ! -e {trouble}")
    assert near(work.run("a.com"), 2.0)
    assert near(work.run("a.com"), 4.0)
    trouble.unlink()
    assert work.run("a.com") is None
    trouble.touch()
    world.drift("a")
    world.mirror.compare()
    assert near(work.run("a.com"), 2.0)


def test_a_deletion_that_failed_lags(world: AgentWorld, works: Callable[..., Work]) -> None:
    """The disk is not what the tree says, though all that is in the tree is on the disk."""
    work = works()
    publish(world, TWO, beforeCmd=f"test ! -e {world.folder}/trouble")
    work.run("a.com")
    (world.folder / "trouble").touch()
    world.unset("b")
    world.follow()
    assert near(work.run("a.com"), 2.0)
    assert work.lags() == {"a.com": 1}


def test_a_playbook_was_faster(world: AgentWorld, works: Callable[..., Work]) -> None:
    """The news are looked for soon, and that is no failure."""
    work = works()
    publish(world, TWO)
    work.run("a.com")
    world.set("a", b"2")
    world.follow()
    world.set("a", b"3")
    world.run()
    for _unused in range(3):
        assert work.run("a.com") == STALE_PAUSE
    world.follow()
    assert work.run("a.com") is None


def test_the_store_is_away_in_between(world: AgentWorld, works: Callable[..., Work]) -> None:
    """What it was asked for is asked again; who waits for an answer gets one."""
    work = works()
    publish(world, TWO)
    work.run("a.com")
    shutil.rmtree(world.folder / "state" / "a.com" / "objects")
    world.drift("a")
    world.mirror.compare()
    world.store.fail(UnavailableError("nothing is listening"), 3)
    assert near(work.run("a.com"), 2.0)
    assert near(work.run("a.com"), 4.0)
    assert [outcome.state for outcome in work.outcomes()] == ["deployed"]
    work.retrying = False
    assert work.run("a.com") is None
    assert [(outcome.state, outcome.msg) for outcome in work.outcomes()] == [("failed", "nothing is listening")]
    assert work.run("a.com") is None
    assert world.on_disk() == TWO


def test_what_is_gone_is_forgotten(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Names come and go over the years; who waits for an answer gets this one, too."""
    for retrying in (True, False):
        work = works()
        work.retrying = retrying
        publish(world, TWO)
        work.run("a.com")
        world.withdraw()
        world.follow()
        assert work.run("a.com") is None
        assert [outcome.state for outcome in work.outcomes()] == ([] if retrying else ["removed"])


def test_before_the_tree_was_read(world: AgentWorld, works: Callable[..., Work]) -> None:
    """What drifted is repaired from what the host remembers."""
    publish(world, TWO)
    world.lane()
    world.drift("a")
    world.start()
    work = works(listed=False)
    world.store.fail(UnavailableError("nothing is listening"), 100)
    assert work.run("a.com") is None
    assert world.on_disk() == TWO


def test_a_dry_run(world: AgentWorld, works: Callable[..., Work]) -> None:
    """It touches nothing, tells nobody, and does not come back."""
    publish(world, TWO)
    publish(world, TWO, "b.com", owner="nobody-of-that-name")
    before, calls = tree(world.folder), world.store.calls.copy()
    work = works(dry_run=True)
    assert (work.run("a.com"), work.run("b.com")) == (None, None)
    assert [(outcome.state, outcome.ran) for outcome in work.outcomes()] == [("deployed", True), ("failed", False)]
    assert len(work.outcomes()[0].changes) == 2
    assert (tree(world.folder), world.store.calls) == (before, calls)
