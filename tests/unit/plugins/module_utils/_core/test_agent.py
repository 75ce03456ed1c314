# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent in a thread, with a real state folder: whatever happens to the store, the host follows it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import agent as module
from ansible_collections.watcher.config.plugins.module_utils._core import outcomes, reporter, watches, work
from ansible_collections.watcher.config.plugins.module_utils._core.agent import Agent
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    DeployError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Reflector, Replaced
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Beat, Endpoints, Settings
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, Listing
from ansible_collections.watcher.config.plugins.module_utils._core.wishes import Wishes
from ansible_collections.watcher.config.tests.unit.agent_world import AgentWorld
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.receiver import receiving
from ansible_collections.watcher.config.tests.unit.site import tree
from ansible_collections.watcher.config.tests.unit.world import TREE

BOUND = 10.0  # seconds for one condition
TWO = {"a": b"1", "b": b"1"}
AWAY = UnavailableError("nothing is listening")
FOREVER = 10**6  # failures


class Host(AgentWorld):
    """A host whose agent runs in threads, with hardly a pause anywhere."""

    agent: Agent

    def settings(self, **more: Any) -> Settings:
        """Return what an INI file says; by default there is a comparison in an hour only."""
        values: dict[str, Any] = {"force": True, "resync": 3600.0, "rules": Rules(), "heartbeat": None} | more
        folder, connection = str(self.folder / "state"), Connection.from_options(lambda _name: None)
        return Settings(
            "watcher.ini", "web01", state_dir=folder, connection=connection, logs=None, metrics=Endpoints(), **values
        )

    def make(self, *, dry_run: bool = False, **more: Any) -> Agent:
        """Return an agent that has not begun."""
        agent = Agent(self.settings(**more), dry_run=dry_run, store=self.store)
        agent._reflector._pause = 0.01
        return agent

    @contextlib.contextmanager
    def running(self, **more: Any) -> Iterator[Agent]:
        """Let an agent work, until the end."""
        agent, stop, codes = self.make(**more), threading.Event(), []
        thread = threading.Thread(target=lambda: codes.append(agent.run(stop)))
        thread.start()
        try:
            yield agent
        finally:
            stop.set()
            thread.join(BOUND)
            assert codes == [0]

    def until_files(self, files: dict[str, bytes], name: str = "a.com") -> None:
        """Wait until these are deployed, and nothing else."""
        until(lambda: self.now(name) == files)

    def now(self, name: str = "a.com") -> dict[str, bytes]:
        """Return what is deployed, whatever changes meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            return {path: content for path, content in self.on_disk(name).items() if ".watcher-" not in path}
        return {}

    def status(self, name: str = "a.com") -> dict[str, Any]:
        """Return a project's status, empty when there is none."""
        item, _revision = self.store.get(TREE.status("web01", name))
        found: dict[str, Any] = json.loads(item.value) if item else {}
        return found

    def until_status(self, name: str = "a.com", **fields: Any) -> None:
        """Wait until a project's status has these fields."""
        until(lambda: fields.items() <= self.status(name).items())


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    never = threading.Event()
    for _unused in range(1000):
        if true():
            return
        never.wait(BOUND / 1000)
    raise AssertionError("it did not come")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host with a project in the tree, not deployed yet."""
    for where, name, value in (
        (module, "FIRST_TICK", 0.01),
        (module, "TICK", 0.02),
        (module, "PAUSE", 0.02),
        (reporter, "PAUSE", 0.02),
        (reporter, "LOOK", 0.02),
        (outcomes, "FIRST_PAUSE", 0.02),
        (work, "STALE_PAUSE", 0.02),
    ):
        monkeypatch.setattr(where, name, value)
    host = Host(tmp_path)
    host.put(TWO)
    return host


def test_follows_the_tree(host: Host) -> None:
    """What is there, what comes, what changes, what goes, and a whole project."""
    with host.running() as agent:
        host.until_files(TWO)
        host.set("a", b"2")
        host.set("c/d", b"3")
        host.until_files({"a": b"2", "b": b"1", "c/d": b"3"})
        host.unset("a")
        host.put({"x": b"1"}, "b.com")
        host.until_files({"x": b"1"}, "b.com")
        host.until_files({"b": b"1", "c/d": b"3"})
        host.withdraw()
        host.until_files({})
        until(lambda: agent._line().startswith("1 projects at revision") and "0 not up to date" in agent._line())


def test_the_end_ends_all_threads(host: Host) -> None:
    """Nothing is left behind, and the next one may begin."""
    before = set(threading.enumerate())
    for _unused in range(2):
        with host.running(heartbeat=Beat("http://127.0.0.1:9/", 3600.0)):
            host.until_files(TWO)
        for thread in set(threading.enumerate()) - before:
            thread.join(BOUND)
            assert not thread.is_alive(), thread


def test_tells(host: Host) -> None:
    """The status is written by an agent that is seen in the tree as long as it lives; callbacks and heartbeats come."""
    with receiving() as receiver:
        host.put(TWO, callback=receiver.url)
        with host.running(heartbeat=Beat(f"{receiver.url}/beat", 3600.0)):
            until(lambda: len(receiver.posts) == 2)
            host.until_status(state="deployed", by="agent", files=2)
            until(lambda: host.store.get(TREE.agent("web01"))[0] is not None)
        bodies = {path: body for path, _kind, body in receiver.posts}
        assert bodies["/beat"]["hostname"] == "web01"
        assert (bodies["/"]["state"], bodies["/"]["project"]) == ("deployed", "a.com")
        assert host.store.get(TREE.agent("web01"))[0] is None


def test_callbacks_of_a_process_that_was_killed(host: Host) -> None:
    """They are sent by the next one."""
    with receiving() as receiver:
        host.deploy(TWO, callback=receiver.url)
        assert host.ledger().untold is not None
        with host.running():
            assert receiver.arrived.acquire(timeout=BOUND)
        assert [body["state"] for _path, _kind, body in receiver.posts] == ["deployed"]
        assert host.ledger().untold is None


def test_what_failed_is_tried_again(host: Host) -> None:
    """Until it succeeds, without a change in the tree; it was told as failed meanwhile."""
    host.put(TWO, beforeCmd=f"test -e {host.folder}/ready")
    with host.running():
        host.until_status(state="failed")
        until(lambda: host.ledger().attempts >= 3)
        assert host.now() == {}
        (host.folder / "ready").touch()
        host.until_files(TWO)
        host.until_status(state="deployed")


def test_a_wish_is_tried_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it is due, and also what somebody else had failed at meanwhile."""
    monkeypatch.setattr(outcomes, "FIRST_PAUSE", 300.0)
    wishes = Wishes(host.state.path)
    host.put(TWO, beforeCmd=f"test -e {host.folder}/ready")
    with host.running() as agent:
        until(lambda: host.ledger().attempts == 1)
        files = wishes.ask(["a.com", "nothing.com"])
        agent.retry()
        until(lambda: not any(os.path.exists(file) for file in files))
        assert (host.ledger().attempts, host.now()) == (2, {})
        (host.folder / "ready").touch()
        wishes.ask(["a.com"])
        agent.retry()
        host.until_files(TWO)


def test_a_wish_finds_what_it_does_not_know_of(host: Host) -> None:
    """The agent had settled the project; that somebody else broke it since is in the ledger only."""
    host.put(TWO)
    with host.running() as agent:
        host.until_files(TWO)
        until(lambda: host.ledger().settled > 0)
        host.drift("a")
        Wishes(host.state.path).ask(["a.com"])
        agent.retry()
        host.until_files(TWO)


def test_one_that_hangs_holds_up_nobody(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at the end, where it is named."""
    monkeypatch.setattr(module, "GRACE", 0.05)
    go_on = host.folder / "go_on"
    host.put(TWO, "hangs.com", beforeCmd=f"for turn in $(seq 500); do test -e {go_on} && break; sleep 0.02; done")
    with host.running() as agent:
        until(lambda: agent._pool.running() == ["hangs.com"])
        host.until_files(TWO)
        host.set("a", b"2")
        host.until_files({"a": b"2", "b": b"1"})
        until(lambda: agent._pool.running() == ["hangs.com"])
    assert "project hangs.com is still being deployed; the next start finishes or undoes it" in caplog.text
    go_on.touch()
    assert agent._pool.close(BOUND) == []
    host.until_files(TWO, "hangs.com")


# The store


def test_a_cut(host: Host) -> None:
    """What happened meanwhile arrives, what was deleted too."""
    with host.running():
        host.until_files(TWO)
        with host.store.changed:  # all of it before the reader comes back
            host.store.cut()
            host.unset("a")
            host.set("c", b"1")
        host.until_files({"b": b"1", "c": b"1"})


@pytest.mark.parametrize("force", [True, False])
def test_a_history_that_is_gone(host: Host, force: bool) -> None:
    """All is listed again, and nothing is missed."""
    with host.running(force=force):
        host.until_files(TWO)
        with host.store.changed:
            host.store.cut()
            host.unset("a")
            host.set("c", b"1")
            host.withdraw("b.com")
            host.store.put("/elsewhere")
            host.store.compact()
        host.until_files({"b": b"1", "c": b"1"})


@pytest.mark.parametrize("ahead", [0, 200])
@pytest.mark.parametrize("same_cluster", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_another_store_removes_nothing(host: Host, ahead: int, same_cluster: bool, asked: bool) -> None:
    """Be it emptied, new or ahead of the old one, and be all asked to be read again just then."""
    for name in ("b.com", "c.com"):
        host.put(TWO, name)
    with host.running() as agent:
        for name in ("a.com", "b.com", "c.com"):
            host.until_status(name, state="deployed")
        with host.store.changed:
            host.store.replace(same_cluster=same_cluster)
            host.put({"b": b"2"})
            host.put(TWO, "c.com")
            for _unused in range(ahead):
                host.store.put("/elsewhere")
            if asked:
                agent.compare()
        host.until_files({"a": b"1", "b": b"2"})
        host.until_status("b.com", state="held")
        host.until_status("c.com", state="deployed")
        assert host.now("b.com") == TWO
        host.set("a", b"3")
        host.until_files({"a": b"3", "b": b"2"})
        host.unset("a")  # in this store it was there: this is a deletion
        host.until_files({"b": b"2"})
        assert host.now("b.com") == TWO


def test_a_store_that_is_away_at_the_start(host: Host) -> None:
    """What drifted is repaired from what the host remembers; then the tree is followed."""
    host.deploy(TWO)
    host.drift("a")
    host.set("b", b"2")
    host.store.fail(AWAY, FOREVER)
    with host.running() as agent:
        host.until_files(TWO)
        until(lambda: "etcd is away" in agent._line())
        host.store.fail_no_more()
        host.until_files({"a": b"1", "b": b"2"})
        until(lambda: "etcd is away" not in agent._line())
        host.until_status(state="deployed")


def test_a_store_that_is_away_without_force(host: Host) -> None:
    """Nothing is repaired that nobody asked for."""
    host.deploy(TWO)
    host.drift("a")
    host.store.fail(AWAY, FOREVER)
    with host.running(force=False) as agent:
        until(lambda: agent._reflector.failures > 5)
        assert host.now() == {"a": b"drifted", "b": b"1"}
        host.store.fail_no_more()
        until(agent._listed.is_set)
        until(lambda: agent._mirror.task("a.com") is None)
        assert host.now() == {"a": b"drifted", "b": b"1"}


def test_what_went_while_nobody_watched(host: Host) -> None:
    """A start removes what the tree has no more, a whole project as well."""
    with host.running():
        host.until_files(TWO)
    host.put({"b": b"1"})
    with host.running():
        host.until_files({"b": b"1"})
    host.withdraw()
    with host.running():
        host.until_files({})
        host.until_status(state="removed")


# Comparisons


def test_all_is_compared_when_asked_for(host: Host) -> None:
    """What drifted, and files that were removed, come back."""
    with host.running() as agent:
        host.until_files(TWO)
        host.drift("a")
        (host.folder / "a.com" / "b").unlink()
        agent.compare()
        host.until_files(TWO)


@pytest.mark.parametrize("force", [True, False])
def test_all_is_compared_every_few_minutes(host: Host, force: bool) -> None:
    """With ``force`` what drifted comes back; keys are compared in any case."""
    with host.running(resync=0.05, force=force):
        host.until_files(TWO)
        host.drift("a")
        lists = host.store.calls["list"]
        until(lambda: host.store.calls["list"] > lists + 3)
        if force:
            host.until_files(TWO)
        assert host.now()["a"] == (b"1" if force else b"drifted")


class Deaf(MemoryStore):
    """A store whose watches miss what a test wants them to."""

    deaf = False

    def _record(self, events: tuple[Event, ...]) -> int:
        watches = self.watches
        if self.deaf:
            self.watches = set()
        try:
            return super()._record(events)
        finally:
            self.watches = watches


@pytest.mark.parametrize("later", [True, False])
def test_what_the_watch_missed_is_found(host: Host, caplog: pytest.LogCaptureFixture, later: bool) -> None:
    """A put, a change and a deletion, also when nothing that is not missed comes after them."""
    store = host.store = Deaf()
    host.put(TWO)
    with host.running(resync=0.05, force=False):
        host.until_files(TWO)
        with store.changed:  # no comparison comes in between
            store.deaf = True
            host.set("a", b"2")
            host.unset("b")
            host.set("c", b"3")
            store.deaf = False
        if later:
            host.set("d", b"4")
        host.until_files({"a": b"2", "c": b"3"} | ({"d": b"4"} if later else {}))
    assert "the watch missed 3 changes; everything is read again" in caplog.text


def test_a_busy_store_is_no_reason_for_alarm(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Keys that change all the time are not taken for missed."""
    with host.running(resync=0.02) as agent:
        until(agent._listed.is_set)
        lists, numbers = host.store.calls["list"], iter(range(10**6))

        def enough() -> bool:
            for _unused in range(10):
                host.set("a", b"%d" % next(numbers))
            return host.store.calls["list"] > lists + 10

        until(enough)
        host.until_files({"a": b"%d" % (next(numbers) - 1), "b": b"1"})
    assert "missed" not in caplog.text


def test_a_store_that_is_away_is_not_compared_with(host: Host) -> None:
    """The thread that feeds the watchdog does not wait for an answer that will not come."""
    agent = host.make(resync=0.0)
    agent._listed.set()
    before, agent._reflector.failures = host.store.calls["list"], 1
    agent._compare_if_due()
    assert host.store.calls["list"] == before
    agent._reflector.failures = 0
    agent._compare_if_due()
    assert host.store.calls["list"] == before + 1


# What is wrong


def test_bad_keys_are_logged_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Those that belong to no project, seen in a listing or as an event."""
    host.store.put("/watcher/web01/bad name/config")
    with host.running() as agent:
        until(agent._listed.is_set)
        for _unused in range(3):
            host.store.put("/watcher/web01/worse name/config.d/x")
        until(lambda: "worse name" in caplog.text)
        agent.compare()
        host.set("c", b"1")
        host.until_files(TWO | {"c": b"1"})
    ignored = [text for text in caplog.messages if text.startswith("ignored: ")]
    assert [("bad name" in text, "worse name" in text) for text in ignored] == [(True, False), (False, True)]


def test_a_defect_ends_nothing(host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and everything is read again."""
    with host.running() as agent:
        host.until_files(TWO)

        sound = agent._mirror.take_batch

        def take_batch(_batch: Batch) -> set[str]:
            monkeypatch.setattr(agent._mirror, "take_batch", sound)
            raise KeyError("a defect")

        monkeypatch.setattr(agent._mirror, "take_batch", take_batch)
        host.set("a", b"2")
        host.until_files({"a": b"2", "b": b"1"})
    assert "an error of this program; everything is read again" in caplog.text


def test_two_on_one_state_folder(host: Host) -> None:
    """The second one is told by whom it is served, and disturbs nothing."""
    with host.running():
        host.until_files(TWO)
        for act in (lambda: host.make().run(threading.Event()), lambda: host.make().once()):
            with pytest.raises(DeployError, match=r"an agent \(process \d+\) serves state folder .* already"):
                act()
        host.set("a", b"2")
        host.until_files({"a": b"2", "b": b"1"})


# Templates

UPSTREAM = {"up.j2": b"{% for at in getvs('/s/*') %}\nserver {{ at }};\n{% endfor %}\n"}
ONE, BOTH = {"up": b"server one;\n"}, {"up": b"server one;\nserver two;\n"}


@pytest.fixture
def services(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host whose project b.com lists two services that registered themselves."""
    monkeypatch.setattr(watches, "Reflector", partial(Reflector, pause=0.01, jitter=lambda: 0.0))
    host.store.put("/s/a", b"one")
    host.store.put("/s/b", b"two")
    host.put(UPSTREAM, "b.com", render=True, watch=["/s"])
    return host


def test_values_that_come_and_go(services: Host) -> None:
    """The file follows them, the status says which revision it has; nothing is left when the agent ends."""
    before = set(threading.enumerate())
    with services.running() as agent:
        services.until_files(BOTH, "b.com")
        gone = services.store.delete("/s/b")
        services.until_files(ONE, "b.com")
        services.until_status("b.com", state="deployed", revision=gone)
        services.store.put("/s/b", b"two")
        services.until_files(BOTH, "b.com")
        assert services.now() == TWO
        until(lambda: "0 not up to date" in agent._line())
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive(), thread


def test_values_that_cannot_be_read(services: Host) -> None:
    """Who may read the keys of the host and not those is told; once he may, it is deployed without a new try."""
    denied = threading.Event()
    denied.set()
    listed = services.store.list

    def list_(prefix: str, **options: Any) -> Listing:
        if denied.is_set() and prefix == "/s/":
            raise DeniedError("permission denied")
        return listed(prefix, **options)

    services.store.list = list_  # type: ignore[method-assign]
    with services.running():
        services.until_files(TWO)
        services.until_status("b.com", state="failed")
        assert "/s/, which the policy watches, cannot be read" in services.status("b.com")["msg"]
        denied.clear()
        services.until_files(BOTH, "b.com")
        services.until_status("b.com", state="deployed", msg="")


@pytest.mark.parametrize("first", ["/s/", "/watcher/web01/"])
def test_another_store_without_values(services: Host, first: str) -> None:
    """Nothing is rendered from what it lacks before the projects are known to be missing, too: then all is held."""
    listed, go_on = services.store.list, threading.Event()

    def list_(prefix: str, **options: Any) -> Listing:
        if prefix in ("/s/", "/watcher/web01/") and prefix != first and not options.get("keys_only"):
            assert go_on.wait(BOUND)
        return listed(prefix, **options)

    with services.running() as agent:
        services.until_files(BOTH, "b.com")
        services.store.list = list_  # type: ignore[method-assign]
        with services.store.changed:
            services.store.replace()
        source = agent._watches._sources["/s/"]
        if first == "/s/":
            until(lambda: source.state == watches.DOUBTED)
        else:
            until(lambda: agent._mirror.newest() == {})
        go_on.set()
        services.until_status("b.com", state="held")
        assert services.now("b.com") == BOTH
        services.store.put("/s/a", b"one")
        services.put(UPSTREAM, "b.com", render=True, watch=["/s"])
        services.until_files(ONE, "b.com")


def test_another_store_with_less_values(services: Host) -> None:
    """What of them has been lost with the old store is gone once the projects are known anew."""
    with services.running():
        services.until_files(BOTH, "b.com")
        with services.store.changed:
            services.store.replace()
            services.store.put("/s/a", b"one")
            services.put(UPSTREAM, "b.com", render=True, watch=["/s"])
        services.until_files(ONE, "b.com")
        services.store.put("/s/b", b"two")
        services.until_files(BOTH, "b.com")


def test_values_of_another_store(services: Host) -> None:
    """When only their watch has come to it, the projects are read again, too."""
    with services.running() as agent:
        services.until_files(BOTH, "b.com")
        source, listed = agent._watches._sources["/s/"], agent._reflector._attempts
        agent._watches._take(source, Replaced((), services.store.revision, 1))
        until(lambda: agent._reflector._attempts > listed and source.state == watches.KNOWN)
        assert services.now("b.com") == BOTH


@pytest.mark.parametrize("dry_run", [False, True])
def test_once_with_values(services: Host, dry_run: bool) -> None:
    """They are read, and not followed."""
    services.store.calls.clear()
    outcomes = services.make(dry_run=dry_run).once()
    assert [(outcome.project, outcome.state) for outcome in outcomes] == [("a.com", "deployed"), ("b.com", "deployed")]
    assert services.now("b.com") == ({} if dry_run else BOTH)
    assert services.store.calls["watch"] == 0


# Once, and without doing anything


def test_once(host: Host) -> None:
    """Everything is deployed and told when it returns."""
    with receiving() as receiver:
        host.put(TWO, callback=receiver.url)
        host.put(TWO, "b.com", beforeCmd="false")
        outcomes = host.make().once()
        assert [(outcome.project, outcome.state) for outcome in outcomes] == [
            ("a.com", "deployed"),
            ("b.com", "failed"),
        ]
        assert [change.path for change in outcomes[0].changes] == ["a", "b"]
        assert (host.now(), host.now("b.com")) == (TWO, {})
        assert (host.status()["state"], host.status("b.com")["state"]) == ("deployed", "failed")
        assert [body["project"] for _path, _kind, body in receiver.posts] == ["a.com"]
        assert host.store.get(TREE.agent("web01"))[0] is None
    assert [outcome.ran for outcome in host.make().once()] == [False, True]
    assert host.ledger("b.com").attempts == 2
    assert host.ledger("b.com").due == ""  # nobody is there to try it again


def test_once_for_some(host: Host) -> None:
    """The others are left alone."""
    host.put(TWO)
    host.put(TWO, "b.com")
    assert [outcome.project for outcome in host.make().once(["b.com", "c.com"])] == ["b.com"]
    assert (host.now(), host.now("b.com")) == ({}, TWO)


def test_once_without_a_store(host: Host) -> None:
    """It says so, and touches nothing."""
    host.deploy(TWO)
    host.drift("a")
    host.store.fail(AWAY)
    with pytest.raises(UnavailableError):
        host.make().once()
    assert host.now() == {"a": b"drifted", "b": b"1"}


@pytest.mark.parametrize("once", [True, False])
def test_a_dry_run(host: Host, caplog: pytest.LogCaptureFixture, once: bool) -> None:
    """It says what would be done; nothing is touched, nobody told, and an agent at work is no obstacle."""
    host.deploy(TWO)
    host.drift("a")
    host.set("b", b"2")
    host.put({"x": b"1"}, "b.com", beforeCmd="false")
    before, calls = tree(host.folder), host.store.calls.copy()
    caplog.set_level(logging.INFO)
    if once:
        outcomes = host.make(dry_run=True).once()
        assert [(outcome.project, outcome.state, outcome.ran) for outcome in outcomes] == [
            ("a.com", "deployed", True),
            ("b.com", "deployed", True),
        ]
    else:
        with host.running(dry_run=True):
            until(lambda: caplog.text.count("would be deployed") == 2)
            host.set("b", b"3")
            until(lambda: caplog.text.count("would be deployed") == 3)
            calls["commit"] += 1
    assert tree(host.folder) == before
    assert (host.store.calls["commit"], host.store.calls["grant"]) == (calls["commit"], 0)
