# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a project is due again, and what is remembered of it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.clock import moment, timestamp
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.metrics import Facts, Metrics
from ansible_collections.watcher.config.plugins.module_utils._core.outcomes import LONGEST_PAUSE
from ansible_collections.watcher.config.plugins.module_utils._core.outlet import Outlet
from ansible_collections.watcher.config.plugins.module_utils._core.report import status_body
from ansible_collections.watcher.config.plugins.module_utils._core.wishes import Wishes
from ansible_collections.watcher.config.plugins.module_utils._core.work import STALE_PAUSE, Work
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
            world.lanes,
            outlet,
            Metrics(Facts, host="web01", version="1"),
            world.mirror,
            event,
            Wishes(world.state.path),
            dry_run=dry_run,
        )

    return make


def publish(world: AgentWorld, files: dict[str, bytes], name: str = "a.com", **policy: Any) -> None:
    """Publish, and let the mirror follow."""
    world.put(files, name, **policy)
    world.follow()


def near(pause: float | None, seconds: float) -> bool:
    """Return whether a pause is that long, but for chance, and a moment that has passed of it."""
    return pause is not None and 0.8 * seconds - 0.5 <= pause <= 1.2 * seconds


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
    assert work.lags()["a.com"] > 0


def test_the_pause_is_what_the_ledger_says(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Whoever asks for the status is told the same as the pool; a clock that was set since makes no endless pause."""
    work = works()
    publish(world, TWO, beforeCmd="false")
    for attempts in (1, 2, 3):
        pause = work.run("a.com")
        assert pause is not None
        ledger = world.ledger()
        assert ledger.attempts == attempts
        assert pause - 10 < moment(ledger.due) - time.time() <= pause
        assert status_body(work.outcomes()[0], "agent", "1")["nextTry"] == ledger.due
    outcome = replace(work.outcomes()[0], due=timestamp(time.time() + 1e6))
    assert work._pause("a.com", outcome) == 1.2 * LONGEST_PAUSE
    assert work._pause("a.com", replace(outcome, due=timestamp(time.time() - 1e6))) == 0.0


def test_what_counts_as_a_retry(world: AgentWorld, works: Callable[..., Work], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt after a failure, the one that succeeds included; not the first one at a newer change."""
    work, counted = works(), []
    monkeypatch.setattr(work._metrics, "retried", lambda: counted.append(1))
    ready = world.folder / "ready"
    publish(world, TWO, beforeCmd=f"test -e {ready}")
    work.run("a.com")
    assert len(counted) == 0
    work.run("a.com")
    assert len(counted) == 1
    ready.touch()
    work.run("a.com")
    assert len(counted) == 2
    publish(world, {"a": b"2"}, beforeCmd="false")
    work.run("a.com")
    publish(world, {"a": b"3"}, beforeCmd="")
    work.run("a.com")
    assert len(counted) == 2


def test_attempts_outlive_a_restart(world: AgentWorld, works: Callable[..., Work]) -> None:
    """A new process tries at once, and then waits for as long as the old one would have."""
    publish(world, TWO, beforeCmd="false")
    work = works()
    for seconds in (2.0, 4.0, 8.0):
        assert near(work.run("a.com"), seconds)
    world.start()
    world.list()
    work = works()
    assert near(work.run("a.com"), 16.0)
    assert near(work.run("a.com"), 32.0)
    assert world.ledger().attempts == 5


def test_a_wish_is_answered_when_its_try_has_ended(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Not by a try that had begun before, and also where nothing is to be done or everything fails."""
    wishes = Wishes(world.state.path)
    work = works()
    work._wishes = wishes
    (world.folder / "state").mkdir()
    publish(world, TWO, beforeCmd="false")
    with wishes.answering("a.com"):  # a try that is at work
        (file,) = wishes.ask(["a.com"])
        assert wishes.take() == {"a.com"}
    assert Path(file).exists()
    assert near(work.run("a.com"), 2.0)
    assert not Path(file).exists()
    (file,) = wishes.ask(["nothing.com"])
    assert wishes.take() == {"nothing.com"}
    assert work.run("nothing.com") is None
    assert not Path(file).exists()


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
    world.unset("a")  # which no key of the project tells any more
    world.follow()
    assert near(work.run("a.com"), 2.0)
    assert world.ledger().attempts == 1


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
    work.once()
    assert work.run("a.com") is None
    assert [(outcome.state, outcome.msg) for outcome in work.outcomes()] == [("failed", "nothing is listening")]
    assert work.run("a.com") is None
    assert world.on_disk() == TWO


def test_what_is_gone_is_forgotten(world: AgentWorld, works: Callable[..., Work]) -> None:
    """Names come and go over the years; who waits for an answer gets this one, too."""
    for retrying in (True, False):
        work = works()
        if not retrying:
            work.once()
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


def test_growing_pauses_where_nothing_can_be_written(
    world: AgentWorld, works: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that cannot be written counts nothing, and a full disk must not be tried every other second for ever."""
    work = works()
    publish(world, TWO)

    def save(*_unused: object, **_unused_too: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(world.state, "save", save)
        for seconds in (2.0, 4.0, 8.0, 16.0):
            assert near(work.run("a.com"), seconds)
        world.set("a", b"2")
        world.follow()
        for seconds in (2.0, 4.0):
            assert near(work.run("a.com"), seconds)
    assert work.run("a.com") is None
    assert world.ledger().attempts == 0
