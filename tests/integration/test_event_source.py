# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source on real etcd: what becomes an event, and when."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from pathlib import Path

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_run import Tree, run, source


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
            last = await asyncio.to_thread(lambda: [tree.put("web01/a.com/config.d/x") for _unused in range(10)][-1])
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
            replays = [await running.event() for _unused in range(2)]
            assert [(each["watcher"]["project"], each["watcher"]["replayed"]) for each in replays] == [
                ("a.com", True), ("b.com", True),
            ]  # fmt: skip
            for each in replays:
                await asyncio.to_thread(tree.report, each)
            await running.saved(replays[0]["watcher"]["revision"])
        revision = await asyncio.to_thread(tree.delete, "web01/b.com/config")
        uuids = []
        for _unused in range(2):  # the first is ended before the event is done with
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


def test_the_loop_is_never_blocked(tmp_path: Path) -> None:
    """While 10,000 keys of 100 projects are replayed, others in the loop get their turn."""
    beats: list[float] = []
    others: list[float] = []  # of a thread, which waits for this machine only
    done = threading.Event()

    async def heart() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            beats.append(now - last)
            last = now

    def neighbour() -> None:
        last = time.monotonic()
        while not done.wait(0.005):
            now = time.monotonic()
            others.append(now - last)
            last = now

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        for host in range(100):
            await asyncio.to_thread(tree.put, *(f"web{host:02}/p{n:03}/config.d/x" for n in range(100)))
        await asyncio.to_thread(connect(Connection((server.endpoint,))).get, "/")  # imports gRPC
        beating = asyncio.create_task(heart())
        thread = threading.Thread(target=neighbour)
        thread.start()
        start = time.monotonic()
        async with source(server, tmp_path / "position", hold=0) as running:
            hosts = sum([len((await running.event())["watcher"]["hosts"]) for _unused in range(100)])
        seconds = time.monotonic() - start
        done.set()
        thread.join()
        beating.cancel()
        tree.store.close()
        assert hosts == 10_000
        print(f"10,000 keys replayed in {seconds:.2f} s, longest beat {max(beats) * 1000:.0f} ms")
        assert max(beats) < 0.25 + max(others)

    with EtcdServer() as server:
        run(lambda: scenario(server))


def test_an_event_comes_soon(tree: Tree, tmp_path: Path) -> None:
    """Without batching a put is an event within milliseconds."""

    async def scenario() -> None:
        times = []
        async with source(tree.server, tmp_path / "position", batch=0, hold=0) as running:
            await running.watching(tree)
            for _unused in range(50):
                start = time.monotonic()
                await asyncio.to_thread(tree.put, "web01/a.com/config")
                await running.event()
                times.append(time.monotonic() - start)
        median = statistics.median(times)
        print(f"put to event: p50 {median * 1000:.1f} ms, p95 {sorted(times)[47] * 1000:.1f} ms")
        assert median < 0.1

    run(scenario)
