# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source's main() on real etcd, with a queue of length 1 as ansible-rulebook has."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.extensions.eda.plugins.event_source.tree import main
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

BOUND = 15.0  # seconds that anything may take at most


class Tree:
    """A tree on a real etcd, written behind the source's back."""

    def __init__(self, server: EtcdServer) -> None:
        """Connect."""
        self.server = server
        self.store: Store = connect(Connection((server.endpoint,)))

    def put(self, *keys: str) -> int:
        """Set keys such as ``web01/a.com/config.d/x`` in one transaction and return the revision."""
        return self.store.commit(Write(puts=tuple((f"/watcher/{key}", b"1") for key in keys)))

    def delete(self, *keys: str) -> int:
        """Delete keys in one transaction and return the revision."""
        return self.store.commit(Write(deletes=tuple(f"/watcher/{key}" for key in keys)))

    def report(self, event: dict[str, Any]) -> None:
        """Report for all hosts of an event that they have deployed it."""
        project, revision = event["watcher"]["project"], event["watcher"]["revision"]
        status = json.dumps({"state": "deployed", "wantedRevision": revision}).encode()
        for host in event["watcher"]["hosts"]:
            self.store.commit(Write(puts=((f"/watcher.status/{host}/{project}", status),)))


class Running:
    """A source that runs in the loop."""

    def __init__(self, server: EtcdServer, position: Path, **options: Any) -> None:
        """Start it."""
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self.position = position
        args = {"endpoints": [server.endpoint], "position_file": str(position), **options}
        self.task = asyncio.create_task(main(self.queue, args))

    async def event(self) -> dict[str, Any]:
        """Return the next event; raise what ended the source."""
        getter = asyncio.create_task(self.queue.get())
        await asyncio.wait({getter, self.task}, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()
        assert getter.done(), "no event"
        return getter.result()

    async def watching(self, tree: Tree) -> None:
        """Return when the source has seen a change of the project ``ready``, so its watch is open."""
        await asyncio.to_thread(tree.put, "ready/ready/config")
        event = await self.event()
        assert event["watcher"]["project"] == "ready"
        await asyncio.to_thread(tree.report, event)

    async def saved(self, revision: int) -> None:
        """Return when the position file has come to the revision."""
        await eventually(lambda: _saved_revision(self.position) >= revision, "position")

    async def end(self) -> float:
        """Cancel it and return how many seconds it took to end."""
        start = time.monotonic()
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        return time.monotonic() - start


def _saved_revision(path: Path) -> int:
    return int(json.loads(path.read_text())["revision"]) if path.exists() else 0


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def shared() -> Iterator[EtcdServer]:
    """Start one etcd for all tests that do not harm it."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def tree(shared: EtcdServer) -> Iterator[Tree]:
    """Return an empty tree."""
    tree = Tree(shared)
    tree.store.commit(Write(delete_prefixes=("/",)))
    yield tree
    tree.store.close()


@asynccontextmanager
async def source(server: EtcdServer, position: Path, **options: Any) -> AsyncIterator[Running]:
    """Run a source."""
    running = Running(server, position, **options)
    try:
        yield running
    finally:
        if not running.task.done():
            await running.end()


def run(scenario: Callable[[], Any]) -> None:
    """Run a scenario in a loop of its own."""
    asyncio.run(scenario())


def test_one_transaction_is_one_event(tree: Tree, tmp_path: Path) -> None:
    """Three files at once, and what follows at once, are one event; it holds no value."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await running.watching(tree)
            await asyncio.to_thread(tree.put, *(f"web01/a.com/config.d/{name}" for name in "abc"))
            await asyncio.to_thread(tree.put, "web01/a.com/config.d/d")
            event = await running.event()
            files = [file["path"] for file in event["watcher"]["changes"][0]["files"]]
            assert files == ["a", "b", "c", "d"]
            assert event["meta"]["hosts"] == ["web01"]
            assert not event["watcher"]["replayed"]

    run(scenario)


def test_a_hundred_hosts_are_one_event(tree: Tree, tmp_path: Path) -> None:
    """A publish is one transaction per host."""
    hosts = [f"web{n:03}" for n in range(100)]

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await running.watching(tree)
            await asyncio.to_thread(lambda: [tree.put(f"{host}/a.com/config.d/x") for host in hosts])
            assert (await running.event())["watcher"]["hosts"] == hosts

    run(scenario)


def test_what_changes_meanwhile_is_one_more_event(tree: Tree, tmp_path: Path) -> None:
    """Ten changes while an event is worked on are one event, when its outcome is there."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position", batch=0) as running:
            await running.watching(tree)
            await asyncio.to_thread(tree.put, "web01/a.com/config")
            first = await running.event()
            last = await asyncio.to_thread(lambda: [tree.put("web01/a.com/config.d/x") for _ in range(10)][-1])
            await asyncio.to_thread(tree.put, "web01/b.com/config")
            assert (await running.event())["watcher"]["project"] == "b.com"  # other projects do not wait
            await asyncio.to_thread(tree.report, first)
            assert (await running.event())["watcher"]["revision"] == last

    run(scenario)


def test_a_restart_goes_on_where_it_was(tree: Tree, tmp_path: Path) -> None:
    """What changed meanwhile comes, deletions too, and nothing else; the same changes have the same uuid."""

    async def scenario() -> None:
        await asyncio.to_thread(tree.put, "web01/a.com/config", "web01/b.com/config")
        async with source(tree.server, tmp_path / "position") as running:
            replays = [await running.event() for _ in range(2)]
            assert [(each["watcher"]["project"], each["watcher"]["replayed"]) for each in replays] == [
                ("a.com", True), ("b.com", True),
            ]  # fmt: skip
            for each in replays:
                await asyncio.to_thread(tree.report, each)
            await running.saved(replays[0]["watcher"]["revision"])
        revision = await asyncio.to_thread(tree.delete, "web01/b.com/config")
        uuids = []
        for _ in range(2):  # the first is ended before the event is done with
            async with source(tree.server, tmp_path / "position") as running:
                event = await running.event()
                uuids.append(event["meta"]["uuid"])
                assert event["watcher"]["project"] == "b.com"
                assert event["watcher"]["changes"][0]["kind"] == "removed"
                assert event["watcher"]["revision"] == revision
        assert uuids[0] == uuids[1]

    run(scenario)


def test_replay_can_be_demanded(tree: Tree, tmp_path: Path) -> None:
    """With replay, and without a position file, each start hands on all projects."""

    async def scenario() -> None:
        await asyncio.to_thread(tree.put, "web01/a.com/config")
        async with source(tree.server, tmp_path / "position") as running:
            first = await running.event()
            await asyncio.to_thread(tree.report, first)
            await running.saved(first["watcher"]["revision"])
        for options in ({"replay": True}, {"position_file": ""}):
            async with source(tree.server, tmp_path / "position", **options) as running:
                assert (await running.event())["watcher"]["replayed"]

    run(scenario)


def test_etcd_is_killed_and_comes_back(tmp_path: Path) -> None:
    """A change while the source is cut off is not lost; lost history is answered with a replay."""

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        async with source(server, tmp_path / "position") as running:
            await running.watching(tree)
            await asyncio.to_thread(server.restart)
            await asyncio.to_thread(tree.put, "web01/a.com/config")
            event = await running.event()
            assert event["watcher"]["project"] == "a.com"
            assert not event["watcher"]["replayed"]
            await asyncio.to_thread(tree.report, event)

            await asyncio.to_thread(server.restart)  # the source pauses for a second before it tries again
            await asyncio.to_thread(tree.delete, "web01/a.com/config", "ready/ready/config")
            await asyncio.to_thread(lambda: server.compact(tree.put("web01/b.com/config")))
            events = [(await running.event())["watcher"] for _ in range(3)]
            kinds = {each["project"]: each["changes"][0]["kind"] for each in events}
            assert kinds == {"a.com": "removed", "b.com": "changed", "ready": "removed"}
            assert all(each["replayed"] for each in events)
        tree.store.close()

    with EtcdServer() as server:
        run(lambda: scenario(server))


def test_an_absent_etcd_is_waited_for(tmp_path: Path) -> None:
    """Nothing listens at the start; when etcd comes, so do the events."""

    async def scenario(server: EtcdServer) -> None:
        async with source(server, tmp_path / "position") as running:
            done, _pending = await asyncio.wait({running.task}, timeout=0.5)
            assert not done
            server.start()
            await running.watching(Tree(server))

    server = EtcdServer()
    try:
        run(lambda: scenario(server))
    finally:
        server.remove()


def test_a_wrong_password_ends_it(tmp_path: Path) -> None:
    """Somebody has to act, so the rulebook ends with the reason."""

    async def scenario(server: EtcdServer) -> None:
        async with source(server, tmp_path / "position", username="root", password="wrong") as running:
            with pytest.raises(DeniedError, match="root"):
                await running.event()

    with EtcdServer() as server:
        server.enable_auth()
        run(lambda: scenario(server))


@pytest.mark.parametrize("state", ["idle", "putting", "etcd away", "etcd frozen"])
def test_cancel_ends_it_at_once(tmp_path: Path, state: str) -> None:
    """Whatever it waits for, within a second, and its threads with it."""

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        running = Running(server, tmp_path / "position")
        await running.watching(tree)
        if state == "putting":
            await asyncio.to_thread(tree.put, "web01/a.com/config", "web01/b.com/config")
            await eventually(running.queue.full, "queue full")
        elif state == "etcd away":
            server.kill()
        elif state == "etcd frozen":
            server.freeze()
        await asyncio.sleep(0)
        assert await running.end() < 1.0
        await eventually(lambda: not _threads(), f"threads ended: {_threads()}")
        tree.store.close()

    with EtcdServer() as server:
        run(lambda: scenario(server))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("watcher")]


def test_the_loop_is_never_blocked(tmp_path: Path) -> None:
    """While 10,000 keys of 100 projects are replayed, others in the loop get their turn."""
    beats: list[float] = []

    async def heart() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            beats.append(now - last)
            last = now

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        for host in range(100):
            await asyncio.to_thread(tree.put, *(f"web{host:02}/p{n:03}/config.d/x" for n in range(100)))
        await asyncio.to_thread(connect(Connection((server.endpoint,))).get, "/")  # imports gRPC
        beating = asyncio.create_task(heart())
        start = time.monotonic()
        async with source(server, tmp_path / "position", hold=0) as running:
            hosts = sum([len((await running.event())["watcher"]["hosts"]) for _ in range(100)])
        seconds = time.monotonic() - start
        beating.cancel()
        tree.store.close()
        assert hosts == 10_000
        print(f"10,000 keys replayed in {seconds:.2f} s, longest beat {max(beats) * 1000:.0f} ms")
        assert max(beats) < 0.25

    with EtcdServer() as server:
        run(lambda: scenario(server))


def test_an_event_comes_soon(tree: Tree, tmp_path: Path) -> None:
    """Without batching a put is an event within milliseconds."""

    async def scenario() -> None:
        times = []
        async with source(tree.server, tmp_path / "position", batch=0, hold=0) as running:
            await running.watching(tree)
            for _ in range(50):
                start = time.monotonic()
                await asyncio.to_thread(tree.put, "web01/a.com/config")
                await running.event()
                times.append(time.monotonic() - start)
        median = statistics.median(times)
        print(f"put to event: p50 {median * 1000:.1f} ms, p95 {sorted(times)[47] * 1000:.1f} ms")
        assert median < 0.1

    run(scenario)
