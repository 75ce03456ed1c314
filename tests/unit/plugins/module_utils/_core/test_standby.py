# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event sources that stand by for each other, with all their threads: one hands on events, and none gets lost."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import reflector, standby
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError, StoreError
from ansible_collections.watcher.config.plugins.module_utils._core.lock import LEASE, MARGIN
from ansible_collections.watcher.config.plugins.module_utils._core.source import Source
from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions
from ansible_collections.watcher.config.plugins.module_utils._core.standby import Standby, source_of
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.unit.memory_client import MemoryClient
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

LOCK = "/watcher.sources/pair/lock"
BOUND = 10.0  # seconds that anything may take at most
BACKUP = ("revision", "_compacted", "_base", "_log", "_now", "_leases", "_leased")  # of a store
QUIET = 0.3  # seconds without an event after which none is taken to come

Scenario = Callable[["World"], Awaitable[None]]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Let all be tried again soon."""
    for module, name, value in (
        (standby, "RENEW", 0.02), (standby, "TRY_AGAIN", 0.02), (standby, "LOOK", 0.2), (standby, "GLANCE", 0.02),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(reflector.Reflector.__init__, "__kwdefaults__", {
        **(reflector.Reflector.__init__.__kwdefaults__ or {}), "pause": 0.02,
    })  # fmt: skip
    caplog.set_level(logging.WARNING)


class Member:
    """One of the sources."""

    def __init__(self, world: World, **options: Any) -> None:
        """Start it."""
        self.clients: list[MemoryClient] = []
        self.away = False
        self._world = world
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        parsed = SourceOptions.parse({"standby": "pair", "batch": 0, **options}, {})
        self.standby = Standby(self._connect, parsed, clock=world.clock)
        self.task = asyncio.create_task(self.standby.run(self.queue.put))

    def _connect(self, _connection: Connection) -> Store:
        client = MemoryClient(self._world.store)
        client.away = self.away
        self.clients.append(client)
        return client

    def cut(self) -> None:
        """Let it reach the store no more."""
        self.away = True
        for client in self.clients:
            client.cut()

    def join(self) -> None:
        """Let it reach the store again."""
        self.away = False
        for client in self.clients:
            client.join()

    async def event(self) -> dict[str, Any]:
        """Return what the next event says; raise what ended the source."""
        getter = asyncio.create_task(self.queue.get())
        await asyncio.wait({getter, self.task}, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()
        assert getter.done(), "no event"
        said: dict[str, Any] = getter.result()["watcher"]
        return said

    async def deployed(self) -> dict[str, Any]:
        """Return what the next event says, which all its hosts deploy."""
        event = await self.event()
        self._world.deploy(event)
        return event

    async def nothing(self) -> None:
        """Fail if an event comes."""
        await asyncio.sleep(QUIET)
        assert self.queue.empty(), self.queue.get_nowait()

    async def end(self) -> float:
        """Stop it cleanly and return the seconds that it took."""
        begin = time.monotonic()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        return time.monotonic() - begin


class World:
    """A store with a tree, and sources of one name."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        """Begin empty."""
        self.now = 1000.0
        self.store = MemoryStore(clock=self.clock)
        self._caplog = caplog

    def clock(self) -> float:
        """Return the time of leases and locks, which goes on with `later` only."""
        return self.now

    def later(self, seconds: float) -> None:
        """Let time pass; leases that end are found out by the next call."""
        self.now += seconds

    def refuse(self, prefix: str, text: str) -> Callable[[], object]:
        """Let nobody list a prefix, until what is returned is called."""
        whole = self.store.list

        def listed(below: str, **options: Any) -> Any:
            if below == prefix:
                raise DeniedError(text)
            return whole(below, **options)

        def allow() -> None:
            self.store.list = whole  # type: ignore[method-assign]

        self.store.list = listed  # type: ignore[assignment,method-assign]
        return allow

    @contextlib.asynccontextmanager
    async def member(self, **options: Any) -> AsyncIterator[Member]:
        """Run a source."""
        member = Member(self, **options)
        try:
            yield member
        finally:
            if not member.task.done():
                await member.end()

    def publish(self, project: str, host: str = "h1") -> int:
        """Change a project and return the revision."""
        return self.store.put(f"/watcher/{host}/{project}/config.d/x")

    def deploy(self, event: dict[str, Any]) -> None:
        """Report that all hosts of an event deployed what is there now."""
        for host in event["hosts"]:
            status = json.dumps({"state": "deployed", "by": "playbook", "wantedRevision": self.store.revision}).encode()
            self.store.put(f"/watcher.status/{host}/{event['project']}", status)

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + BOUND
        while not holds():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self._caplog.text}"
            await asyncio.sleep(0.005)

    async def said(self, text: str, times: int = 1) -> None:
        """Wait until a text is in the log so many times."""
        await self.until(lambda: self._caplog.text.count(text) >= times, f"{text} in the log")

    async def saved(self, revision: int) -> None:
        """Wait until the position has come to a revision."""
        await self.until(lambda: self.position() >= revision, f"position at {revision}")

    def position(self) -> int:
        """Return the revision of the position."""
        found = self.store._now.get(b"/watcher.sources/pair/position")
        return int(json.loads(found.value)["revision"]) if found else 0

    async def seen(self, *members: Member) -> None:
        """Wait until the sources have seen the position that is there now: by that they know the store again."""
        revision = self.store._now[b"/watcher.sources/pair/position"].revision
        await self.until(lambda: all(each.standby._watch.revision >= revision for each in members), "their watches")

    def holder(self) -> int:
        """Return the revision of the lock; 0 when nobody has it."""
        found = self.store._now.get(LOCK.encode())
        return found.revision if found else 0


def run(caplog: pytest.LogCaptureFixture, scenario: Scenario) -> None:
    """Run a scenario in a loop of its own; afterwards no thread is left."""
    asyncio.run(scenario(World(caplog)))  # type: ignore[arg-type]
    deadline = time.monotonic() + BOUND
    while any(thread.name.startswith("watcher-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


def test_one_hands_on_and_the_other_takes_over(caplog: pytest.LogCaptureFixture) -> None:
    """After a clean stop at once, at the position: nothing is replayed, and nothing missing."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair with no position, so all projects are replayed")
            world.publish("p")
            assert (await first.deployed())["project"] == "p"
            async with world.member() as second:
                await world.said("standing by: pair is held by host ")
                world.publish("q")
                assert (await first.deployed())["project"] == "q"
                await second.nothing()
                assert await first.end() < 1.0
                last = world.publish("p")
                event = await second.deployed()
                assert (event["project"], event["revision"], event["replayed"]) == ("p", last, False)
                await second.nothing()
        assert world.holder() == 0
        assert caplog.text.count("took over pair at revision ") == 1
        assert caplog.text.count("standing by") == 1

    run(caplog, scenario)


def test_who_stands_by_is_woken(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the end of the lock, not by the time until the next look at it; also after an outage."""
    monkeypatch.setattr(standby, "LOOK", 100.0)

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            async with world.member():
                await world.said("standing by: pair is held by")
                world.store.cut()
                await first.end()
                await world.said("took over pair", 2)

    run(caplog, scenario)


def test_what_was_handed_on_and_not_reported_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever takes over cannot know whether it was deployed."""

    async def scenario(world: World) -> None:
        async with world.member() as first, world.member() as second:
            world.publish("p")
            await world.until(lambda: not (first.queue.empty() and second.queue.empty()), "an event")
            one, other = (first, second) if second.queue.empty() else (second, first)
            await one.event()
            await one.end()
            assert (await other.deployed())["project"] == "p"
            await other.nothing()

    run(caplog, scenario)


def test_a_deleted_lock(caplog: pytest.LogCaptureFixture) -> None:
    """Who had it stops and stands by; nothing is lost, and nothing comes twice."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            async with world.member() as second:
                await world.said("standing by: pair is held by")
                world.publish("p")
                await first.deployed()
                await world.saved(1)
                world.store.delete(LOCK)
                await world.said("lost pair: its key was ")
                await world.said("took over pair", 2)
                world.publish("q")
                await world.until(lambda: not (first.queue.empty() and second.queue.empty()), "an event")
                one = first if second.queue.empty() else second
                assert (await one.deployed())["project"] == "q"
                await first.nothing()
                await second.nothing()

    run(caplog, scenario)


def test_a_source_that_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """It stops by its own clock before another one takes over, and stands by when it is back."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            async with world.member() as second:
                await world.said("standing by: pair is held by")
                world.publish("p")
                await first.deployed()
                await world.saved(1)
                first.cut()
                world.later(LEASE - MARGIN)
                await world.said("lost pair: it could not be renewed for 4 s")
                world.publish("q")
                await second.nothing()  # the lease is still there
                world.later(MARGIN)
                assert (await second.deployed())["project"] == "q"
                first.join()
                await world.said("standing by: pair is held by", 2)
                world.publish("p")
                assert (await second.deployed())["project"] == "p"
                await first.nothing()

    run(caplog, scenario)


def test_what_waits_for_room_is_not_handed_on_after_the_loss(caplog: pytest.LogCaptureFixture) -> None:
    """The one that takes over hands it on, and what was handed on and is not reported."""

    async def scenario(world: World) -> None:
        async with world.member(parallel=9) as first:
            await world.said("took over pair")
            for project in "pqrs":
                world.publish(project)
            await world.until(first.queue.full, "a full queue")
            first.cut()
            world.later(LEASE - MARGIN)
            await world.said("lost pair: ")
            first.queue.get_nowait()
            await first.nothing()
            world.later(MARGIN)
            async with world.member(parallel=9) as second:
                assert {(await second.deployed())["project"] for _unused in range(4)} == set("pqrs")

    run(caplog, scenario)


def test_a_renewal_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """The time is over without it: what waits for room is not handed on."""

    async def scenario(world: World) -> None:
        begins, hangs = threading.Event(), threading.Event()
        renew = world.store.renew

        def hang(lease: int) -> int:
            begins.set()
            hangs.wait(BOUND)
            return renew(lease)

        async with world.member(parallel=9) as first:
            await world.said("took over pair")
            for project in "pqr":
                world.publish(project)
            await world.until(first.queue.full, "a full queue")
            world.store.renew = hang  # type: ignore[method-assign]
            await world.until(begins.is_set, "a renewal")
            world.later(LEASE - MARGIN)
            await asyncio.sleep(QUIET)
            first.queue.get_nowait()
            await first.nothing()
            assert "lost pair" not in caplog.text
            hangs.set()
            await world.said("lost pair: it could not be renewed for 4 s")

    run(caplog, scenario)


def test_each_event_is_handed_on_within_the_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing has noticed yet that it is over."""
    for name in ("RENEW", "LOOK", "GLANCE"):
        monkeypatch.setattr(standby, name, 1.0)

    async def scenario(world: World) -> None:
        async with world.member(batch=0.1) as first:
            await world.said("took over pair")
            await asyncio.sleep(0.05)
            world.publish("p")
            world.later(LEASE - MARGIN)
            await first.nothing()
            assert "lost pair" not in caplog.text
            assert (await first.event())["project"] == "p"  # it has the lock again

    run(caplog, scenario)


def test_an_outage_longer_than_the_lease(caplog: pytest.LogCaptureFixture) -> None:
    """The store is away for both; when it is back, one goes on where it was."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            async with world.member() as second:
                await world.said("standing by: pair is held by")
                world.publish("p")
                await first.deployed()
                await world.saved(1)
                first.cut()
                second.cut()
                world.later(10 * LEASE)
                await world.said("lost pair: ")
                last = world.publish("q")
                second.join()
                first.join()
                await world.until(lambda: not (first.queue.empty() and second.queue.empty()), "an event")
                one = first if second.queue.empty() else second
                event = await one.deployed()
                assert (event["project"], event["revision"], event["replayed"]) == ("q", last, False)
                await first.nothing()
                await second.nothing()

    run(caplog, scenario)


def test_history_that_was_compacted(caplog: pytest.LogCaptureFixture) -> None:
    """What hosts have reported is not handed on again; what changed, or was removed, meanwhile is."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            for project in "pqr":
                world.publish(project)
                await first.deployed()
            world.store.put("/watcher/h1/p/config.d/y")
            await first.deployed()
            await world.saved(world.store.list("/watcher/").items[1].revision)
        world.store.delete("/watcher/h1/p/config.d/y")
        world.store.delete("/watcher/h1/r/config.d/x")
        world.publish("s")
        world.store.compact()
        async with world.member() as second:
            events = [await second.deployed() for _unused in range(3)]
            kinds = {event["project"]: event["changes"][0]["kind"] for event in events}
            assert kinds == {"p": "changed", "r": "removed", "s": "changed"}
            await second.nothing()
        world.store.compact()
        async with world.member() as third:
            await world.said("took over pair at revision ", 2)
            await third.nothing()

    run(caplog, scenario)


def test_a_file_that_came_and_went(caplog: pytest.LogCaptureFixture) -> None:
    """Marks that are older than what the host has deployed do not tell that it is as it was."""

    async def scenario(world: World) -> None:
        world.publish("p")
        async with world.member() as first:
            await first.deployed()
            await world.until(lambda: b"/watcher.sources/pair/known" in world.store._now, "marks")
            world.store.put("/watcher/h1/p/config.d/y")
            await first.deployed()
            await first.nothing()
            first.cut()  # before the marks are written again
        world.later(LEASE)
        world.store.delete("/watcher/h1/p/config.d/y")
        world.store.compact()
        async with world.member() as second:
            event = await second.deployed()
            assert (event["project"], event["replayed"]) == ("p", True)

    run(caplog, scenario)


def test_a_project_that_came_and_went(caplog: pytest.LogCaptureFixture) -> None:
    """The host has it, though neither the marks, which are older, nor the store know of it."""

    async def scenario(world: World) -> None:
        world.publish("p")
        async with world.member() as first:
            await first.deployed()
            await world.until(lambda: b"/watcher.sources/pair/known" in world.store._now, "marks")
            last = world.publish("q")
            await first.deployed()
            await world.saved(last)
            first.cut()  # before the marks are written again
        world.later(LEASE)
        world.store.delete("/watcher/h1/q/config.d/x")
        world.store.compact()
        async with world.member() as second:
            kinds = {}
            while "q" not in kinds:
                event = await second.deployed()
                kinds[event["project"]] = event["changes"][0]["kind"]
            assert kinds["q"] == "removed"

    run(caplog, scenario)


def test_what_is_there_is_known_from_the_store(caplog: pytest.LogCaptureFixture) -> None:
    """The marks that were saved may be old; who takes over saves those of its position."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            world.publish("p")
            await first.deployed()
            await first.nothing()
        async with world.member() as second:
            await world.said("took over pair at revision ")
            last = world.store.put("/watcher/h1/p/config.d/y")
            await second.deployed()
            await world.saved(last)
            second.cut()  # before the marks are written again
        world.later(LEASE)
        async with world.member() as third:
            await world.said(f"took over pair at revision {last}")
            await third.nothing()
        world.store.compact()
        async with world.member() as fourth:
            await world.said("took over pair", 4)
            await fourth.nothing()

    run(caplog, scenario)


def test_outcomes_are_read_first(caplog: pytest.LogCaptureFixture) -> None:
    """However long that takes: what is reported already is not handed on."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            await world.saved(1)
            world.publish("p")
            event = await first.event()
            first.cut()  # before the position was saved
            world.deploy(event)
        world.later(LEASE)
        whole = world.store.list

        def slow(prefix: str, **options: Any) -> Any:
            if prefix == "/watcher.status/" and not options.get("keys_only"):
                time.sleep(QUIET)  # not inside the store: others go on
            return whole(prefix, **options)

        world.store.list = slow  # type: ignore[method-assign]
        async with world.member() as second:
            await world.said("took over pair", 2)
            await second.nothing()
            await second.nothing()

    run(caplog, scenario)


def test_a_store_that_was_emptied_and_filled(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is reported there, hosts may have what it does not know of: all is handed on."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            for project in "pqrpqrpqr":
                world.publish(project)
                await first.deployed()
            await world.saved(world.store.list("/watcher/").items[-1].revision)
            kept = dict(world.store._now)
            world.store.replace(same_cluster=True)
            puts = tuple((key.decode(), item.value) for key, item in kept.items() if not key.endswith(b"lock"))
            world.store.commit(Write(puts=puts))
            await replayed(first, world)

    run(caplog, scenario)


def test_a_store_that_was_restored(caplog: pytest.LogCaptureFixture) -> None:
    """Also one that has its revisions of before, its statuses and its position, for whoever is on duty then."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            async with world.member() as second:
                await world.said("standing by: pair is held by")
                for project in "pqr":
                    world.publish(project)
                    await first.deployed()
                await world.saved(world.store.list("/watcher/").items[-1].revision)
                backup = {name: copy.copy(getattr(world.store, name)) for name in BACKUP}
                for _unused in range(5):  # more revisions than there are at once after it was restored
                    world.publish("p")
                    await first.deployed()
                await world.saved(max(item.revision for item in world.store.list("/watcher/").items))
                await world.seen(first, second)
                with world.store.changed:
                    world.store.cut()
                    for name, value in backup.items():
                        setattr(world.store, name, value)
                world.later(LEASE)
                await world.said("took over pair", 2)
                await world.until(lambda: not (first.queue.empty() and second.queue.empty()), "an event")
                await replayed(first if second.queue.empty() else second, world)

    run(caplog, scenario)


async def replayed(member: Member, world: World) -> None:
    """Fail unless all projects are handed on once."""
    events = [await member.deployed() for _unused in range(3)]
    assert sorted(event["project"] for event in events) == ["p", "q", "r"]
    assert all(event["replayed"] for event in events)
    await member.nothing()


def test_a_stop_while_it_stands_by(caplog: pytest.LogCaptureFixture) -> None:
    """Or while the store is away: at once, and the other one notices nothing."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            held = world.holder()
            async with world.member() as second:
                await world.said("standing by")
                assert await second.end() < 0.5
            assert world.holder() == held
            first.cut()
            assert await first.end() < 0.5
        world.later(LEASE)
        async with world.member() as third:
            third.cut()
            await asyncio.sleep(0.05)
            assert await third.end() < 0.5

    run(caplog, scenario)


def test_replay_is_once_for_each_start(caplog: pytest.LogCaptureFixture) -> None:
    """The first time on duty hands on all projects, though all is reported; the next time does not."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            world.publish("p")
            await first.deployed()
        async with world.member(replay=True) as second:
            assert (await second.deployed())["replayed"]
            world.publish("q")
            assert not (await second.deployed())["replayed"]
            await world.saved(world.store.list("/watcher/").items[-1].revision)
            world.store.delete(LOCK)
            await world.said("took over pair", 3)
            await second.nothing()

    run(caplog, scenario)


def test_a_refusal_at_the_start_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """The reason names the right that is missing."""

    async def scenario(world: World) -> None:
        world.store.fail(DeniedError("etcd refused"), 100)
        async with world.member() as first:
            with pytest.raises(DeniedError) as caught:
                await first.event()
        right = "with standby the etcd user has to read and write below /watcher.sources/pair/"
        assert str(caught.value) == f"etcd refused; {right}"

    run(caplog, scenario)


def test_a_lock_that_may_be_read_only_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """The right to write is missing."""

    async def scenario(world: World) -> None:
        def refuse(write: Write) -> int:
            raise DeniedError("etcd refused the write")

        world.store.commit = refuse  # type: ignore[method-assign]
        async with world.member() as first:
            with pytest.raises(DeniedError, match="etcd refused the write; with standby"):
                await first.event()

    run(caplog, scenario)


def test_a_refusal_of_the_tree_at_the_start_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """The lock is free for others then."""

    async def scenario(world: World) -> None:
        world.refuse("/watcher/", "etcd refused the tree")
        async with world.member() as first:
            with pytest.raises(DeniedError, match="etcd refused the tree"):
                await first.event()
        assert world.holder() == 0

    run(caplog, scenario)


def test_a_refusal_of_the_tree_later_is_tried_again_seldom(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the lock is taken, which is a revision: so not as often as a lock that somebody has lost."""
    monkeypatch.setattr(standby, "LOOK", 0.5)

    async def scenario(world: World) -> None:
        async with world.member() as first:
            last = world.publish("p")
            await first.deployed()
            await world.saved(last)
            allow = world.refuse("/watcher/", "etcd refused the tree")
            world.store.delete(LOCK)
            await world.said("lost pair: its changes cannot be read")
            await asyncio.sleep(QUIET)
            assert caplog.text.count("took over pair") == 2
            allow()
            world.publish("q")
            assert (await first.deployed())["project"] == "q"

    run(caplog, scenario)


def test_a_refusal_later_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A right that is taken away, and given back, ends nothing."""

    async def scenario(world: World) -> None:
        async with world.member() as first:
            await world.said("took over pair")
            renew = world.store.renew

            def refuse(lease: int) -> int:
                raise DeniedError("etcd refused")

            world.store.renew = refuse  # type: ignore[method-assign]
            await world.said("pair: etcd refused; with standby")
            world.later(LEASE)
            await world.said("lost pair: it could not be renewed")
            world.store.renew = renew  # type: ignore[method-assign]
            world.publish("p")
            assert (await first.deployed())["project"] == "p"
        assert caplog.text.count("etcd refused; with standby") == 1

    run(caplog, scenario)


def test_outcomes_that_may_not_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """Events come all the same."""

    async def scenario(world: World) -> None:
        world.refuse("/watcher.status/", "etcd refused statuses")
        async with world.member() as first:
            world.publish("p")
            assert (await first.event())["project"] == "p"
        assert "outcomes cannot be read" in caplog.text

    run(caplog, scenario)


def test_without_waiting_for_outcomes(caplog: pytest.LogCaptureFixture) -> None:
    """With hold 0 an event that was taken is done with, and a status keeps none back."""

    async def scenario(world: World) -> None:
        async with world.member(hold=0) as first:
            await world.said("took over pair")
            last = world.publish("p")
            world.deploy({"project": "p", "hosts": ["h1"]})
            assert (await first.event())["project"] == "p"
            await world.saved(last)
        async with world.member(hold=0) as second:
            await world.said("took over pair", 2)
            await second.nothing()

    run(caplog, scenario)


def test_a_plain_error_is_not_retried_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is told to wait for what does not pass."""

    async def scenario(world: World) -> None:
        world.store.fail(StoreError("its database is full"), 100)
        async with world.member() as first:
            with pytest.raises(StoreError, match="its database is full"):
                await first.event()

    run(caplog, scenario)


def test_without_the_option_there_is_no_lock() -> None:
    """The source is what it always was."""
    plain = SourceOptions.parse({"position_file": ""}, {})
    assert isinstance(source_of(plain, lambda _connection: MemoryStore()), Source)
    named = SourceOptions.parse({"standby": "pair"}, {})
    assert isinstance(source_of(named, lambda _connection: MemoryStore()), Standby)
