# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statuses are written by a thread: the newest of each project, sooner or later, and not again and again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import reporter as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    ConflictError,
    DeniedError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.reporter import Reporter
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
BOUND = 10.0  # seconds for one condition
AWAY = UnavailableError("nothing is listening")
LONG = 60.0  # seconds that no test comes to the end of
FOREVER = 10**6  # failures


def outcome(name: str = "a.com", state: str = "deployed", revision: int = 5, **more: Any) -> Outcome:
    """Return an outcome of host web01 that nothing was done for, unless told otherwise."""
    return Outcome("web01", name, state, revision, more.pop("wanted", revision), more.pop("digest", "d"), 1, **more)


class Slow(MemoryStore):
    """A store whose answer to one question a test holds back."""

    def __init__(self) -> None:
        """Answer at once at first."""
        super().__init__()
        self.revision = 100  # newer than all that is written of
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Answer when the test lets it."""
        self.asked.set()
        assert self.go_on.wait(BOUND)
        return super().get(key)


@pytest.fixture
def store() -> Slow:
    """Return an empty store."""
    return Slow()


@pytest.fixture
def reporters(store: Slow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Reporter]]:
    """Return a maker of reporters, which end with the test; they hardly pause."""
    made: list[Reporter] = []
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "LOOK", 0.01)

    def make(**options: Any) -> Reporter:
        made.append(Reporter(store, TREE, "1.2.3", **options))
        return made[-1]

    yield make
    store.go_on.set()
    for reporter in made:
        reporter.close()
        if reporter._thread.ident is not None:
            reporter._thread.join(BOUND)
            assert not reporter._thread.is_alive()


def status(store: MemoryStore, name: str = "a.com") -> dict[str, Any]:
    """Return the status of a project."""
    store.fail_no_more()
    item, _revision = store.get(TREE.status("web01", name))
    assert item is not None
    found: dict[str, Any] = json.loads(item.value)
    return found


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    never = threading.Event()
    for _unused in range(1000):
        if true():
            return
        never.wait(0.01)
    raise AssertionError("it did not come")


def test_writes(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """The status says what came of it, by whom and with which version."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(ran=True, msg="fine", attempts=2), 5)
    assert reporter.flush(BOUND)
    said = status(store)
    assert (said["state"], said["revision"], said["msg"], said["attempts"]) == ("deployed", 5, "fine", 2)
    assert (said["by"], said["version"]) == ("agent", "1.2.3")


def test_of_each_project_the_newest(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """What was overtaken while it waited is never written."""
    reporter = reporters()
    for revision in (5, 6, 7):
        reporter.take(outcome(revision=revision, ran=True), revision)
        reporter.take(outcome("b.com", "failed", revision, ran=True), revision)
    reporter.start()
    assert reporter.flush(BOUND)
    assert store.calls["commit"] == 2
    assert (status(store)["revision"], status(store, "b.com")["revision"]) == (7, 7)


def test_a_failure_that_began_nothing_is_newer(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """A refusal is no deployment, but it overtakes one that waits."""
    reporter = reporters()
    reporter.take(outcome(ran=True), 5)
    reporter.take(outcome(state="failed", wanted=6, msg="not allowed"), 6)
    reporter.start()
    assert reporter.flush(BOUND)
    assert (status(store)["state"], status(store)["msg"]) == ("failed", "not allowed")


def test_what_was_done_says_more(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """A comparison that finds nothing to do does not overtake the deployment that it confirms."""
    reporter = reporters()
    reporter.take(outcome(ran=True, started="when it was done"), 5)
    reporter.take(outcome(revision=5, started="later"), 5)
    reporter.start()
    assert reporter.flush(BOUND)
    assert status(store)["startedAt"] == "when it was done"


def test_unknown_is_no_status(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """Of a project that neither the tree nor the host knows nothing is written."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(state="unknown"), 0)
    assert reporter.flush(BOUND)
    assert store.calls["commit"] == 0


def test_what_is_known_is_not_asked_for(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """A comparison that repeats what was written costs the store nothing, until it may be another one."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(ran=True), 5)
    assert reporter.flush(BOUND)
    calls = sum(store.calls.values())
    for revision in (5, 8, 9):
        reporter.take(outcome(revision=revision), 5)
    assert reporter.flush(BOUND)
    assert sum(store.calls.values()) == calls
    reporter.take(outcome(ran=True, started="a repair"), 5)
    assert reporter.flush(BOUND)
    assert status(store)["startedAt"] == "a repair"
    store.replace()
    reporter.forget()
    reporter.take(outcome(revision=9), 5)
    assert reporter.flush(BOUND)
    assert status(store)["revision"] == 9


def test_what_the_store_says_already_is_not_written(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """After a restart the store is asked once, and once only."""
    for calls in (1, 0):
        reporter = reporters()
        reporter.start()
        reporter.take(outcome(), 5)
        reporter.take(outcome(revision=6), 5)
        assert reporter.flush(BOUND)
        assert store.calls["commit"] == 1
        store.calls["get"] *= calls
    reporter.take(outcome(revision=7), 5)
    assert reporter.flush(BOUND)
    assert store.calls["get"] <= 2


def test_a_newer_change_is_told(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """Somebody waits for the revision of a change, also where it made no difference to the disk."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(ran=True), 5)
    assert reporter.flush(BOUND)
    reporter.take(outcome(revision=8), 8)
    assert reporter.flush(BOUND)
    assert status(store)["revision"] == 8


def test_news_of_what_waits(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """What equals the last status is news while another one waits to be written: the last word counts."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(ran=True), 5)
    assert reporter.flush(BOUND)
    store.fail(AWAY, FOREVER)
    reporter.take(outcome(state="failed", wanted=6, msg="no room"), 6)
    until(lambda: store.calls["get"] > 3)
    reporter.take(outcome(revision=6), 5)
    store.fail_no_more()
    assert reporter.flush(BOUND)
    assert status(store)["state"] == "deployed"


def test_news_of_what_is_being_written(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """The same while the other one is on its way to the store."""
    reporter = reporters()
    reporter.start()
    reporter.take(outcome(ran=True), 5)
    assert reporter.flush(BOUND)
    store.asked.clear()
    store.go_on.clear()
    reporter.take(outcome(state="failed", wanted=6, msg="no room"), 6)
    assert store.asked.wait(BOUND)
    assert not reporter.flush(0.01)
    reporter.take(outcome(revision=6), 5)
    store.go_on.set()
    assert reporter.flush(BOUND)
    assert status(store)["state"] == "deployed"


def test_news_of_what_could_not_be_written(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """What failed on its way does not come back in front of what came meanwhile."""
    reporter = reporters()
    reporter.start()
    store.fail(AWAY)
    store.go_on.clear()
    reporter.take(outcome(state="failed", wanted=6), 6)
    assert store.asked.wait(BOUND)
    reporter.take(outcome(revision=7, ran=True), 7)
    store.go_on.set()
    assert reporter.flush(BOUND)
    assert (status(store)["state"], store.calls["commit"]) == ("deployed", 1)


@pytest.mark.parametrize("error", [AWAY, ConflictError("others write")])
def test_keeps_trying(
    store: Slow, reporters: Callable[..., Reporter], caplog: pytest.LogCaptureFixture, error: UnavailableError
) -> None:
    """Nothing is lost while the store is away; that is said when it begins and when it ends."""
    reporter = reporters()
    store.fail(error, 5)
    with caplog.at_level(logging.INFO):
        for number in range(20):
            reporter.take(outcome(f"p{number}", ran=True), 5)
        reporter.start()
        assert reporter.flush(BOUND)
    assert store.calls["commit"] == 20
    assert {status(store, f"p{number}")["revision"] for number in range(20)} == {5}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages == [f"statuses cannot be written: {error}", "statuses can be written again"]


def test_a_store_that_is_away_is_not_asked(store: Slow, reporters: Callable[..., Reporter]) -> None:
    """Somebody else finds out when it is back."""
    away = threading.Event()
    away.set()
    looks = threading.Semaphore(0)

    def is_away() -> bool:
        looks.release()
        return away.is_set()

    reporter = reporters(away=is_away)
    store.fail(AWAY, FOREVER)
    reporter.start()
    reporter.take(outcome(ran=True), 5)
    for _unused in range(5):
        assert looks.acquire(timeout=BOUND)
    assert store.calls["get"] == 1
    store.fail_no_more()
    away.clear()
    assert reporter.flush(BOUND)
    assert status(store)["revision"] == 5


class Picky(Slow):
    """A store that refuses some statuses."""

    refused: frozenset[str] = frozenset()

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Refuse, or answer."""
        found = super().get(key)
        if key.rpartition("/")[2] in self.refused:
            raise DeniedError("permission denied")
        return found


def test_what_is_refused_holds_nobody_up(
    reporters: Callable[..., Reporter], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are written at once, however many are refused; that is said once, and tried again."""
    store = Picky()
    store.refused = frozenset(f"bad{number}" for number in range(20))
    monkeypatch.setattr(module, "PAUSE", LONG)
    reporter = Reporter(store, TREE, "1")
    for name in sorted(store.refused):
        reporter.take(outcome(name), 5)
    with caplog.at_level(logging.INFO):
        reporter.start()
        until(lambda: store.calls["get"] >= 1)
        for number in range(20):
            reporter.take(outcome(f"good{number}"), 5)
        until(lambda: store.calls["commit"] == 20)
        assert store.calls["get"] <= 65
        assert not reporter.flush(0.01)
        said = "project bad0: the status cannot be written: permission denied; trying again"
        assert caplog.messages == [said]
        store.refused = frozenset()
        reporter.take(outcome("last"), 5)
        assert reporter.flush(BOUND)
        assert status(store, "bad7")["revision"] == 5
        store.refused = frozenset({"bad0"})
        reporter.take(outcome("bad0", revision=7, ran=True), 7)
        until(lambda: caplog.messages == [said, said])
    reporter.close()


class Broken(Slow):
    """A store with a defect."""

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Fail as no store should."""
        if key.endswith("/bad"):
            raise KeyError("a defect")
        return super().get(key)


def test_a_defect_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, with the project, and the others' statuses are written."""
    store = Broken()
    reporter = Reporter(store, TREE, "1")
    reporter.take(outcome("bad"), 5)
    reporter.take(outcome("good"), 5)
    reporter.start()
    assert reporter.flush(BOUND)
    assert status(store, "good")["revision"] == 5
    assert "project bad: an error of this program" in caplog.text
    reporter.close()


@pytest.mark.parametrize("away", [False, True])
def test_close(store: Slow, reporters: Callable[..., Reporter], away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends also while the store is away; the fixture waits for it."""
    monkeypatch.setattr(module, "PAUSE", 0.01 if away else LONG)
    reporter = reporters(away=lambda: away)
    store.fail(AWAY, FOREVER)
    reporter.start()
    reporter.take(outcome(), 5)
    until(lambda: store.calls["get"] >= 1)
    assert not reporter.flush(0.01)


def test_a_call_that_the_end_cuts_off(
    store: Slow, reporters: Callable[..., Reporter], caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is closed under it is no trouble to tell of."""
    reporter = reporters()
    store.go_on.clear()
    reporter.start()
    reporter.take(outcome(), 5)
    assert store.asked.wait(BOUND)
    reporter.close()
    store.fail(StoreError("The connection to etcd was closed by this program"))
    store.go_on.set()
    reporter._thread.join(BOUND)
    assert caplog.messages == []
