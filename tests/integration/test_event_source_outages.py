# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source while etcd dies, is absent, refuses or freezes, and its own end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.network import Cable
from ansible_collections.watcher.config.tests.source_run import Running, Tree, eventually, run, source


@asynccontextmanager
async def through(server: EtcdServer, position: Path) -> AsyncIterator[tuple[Running, Cable]]:
    """Run a source whose way to etcd can be cut, for as long as what it is to miss takes."""
    with Cable(server.port) as cable:
        async with source(server, position, endpoints=[cable.endpoint]) as running:
            yield running, cable


def test_etcd_is_killed_and_comes_back(tmp_path: Path) -> None:
    """A change while the source is cut off is not lost; lost history is answered with a replay."""

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        async with through(server, tmp_path / "position") as (running, cable):
            await running.watching(tree)
            await asyncio.to_thread(server.restart)
            await asyncio.to_thread(tree.put, "web01/a.com/config")
            event = await running.event()
            assert event["watcher"]["project"] == "a.com"
            assert not event["watcher"]["replayed"]
            await asyncio.to_thread(tree.report, event)

            await asyncio.to_thread(cable.cut)
            await asyncio.to_thread(tree.delete, "web01/a.com/config", "ready/ready/config")
            await asyncio.to_thread(lambda: server.compact(tree.put("web01/b.com/config")))
            await asyncio.to_thread(cable.join)
            events = [(await running.event())["watcher"] for _unused in range(3)]
            kinds = {each["project"]: each["changes"][0]["kind"] for each in events}
            assert kinds == {"a.com": "removed", "b.com": "changed", "ready": "removed"}
            assert all(each["replayed"] for each in events)
        tree.store.close()

    with EtcdServer() as server:
        run(lambda: scenario(server))


def test_etcd_is_emptied_and_filled_again(tmp_path: Path) -> None:
    """A store with the same cluster id and a newer revision is still another one."""

    async def scenario(server: EtcdServer) -> None:
        tree = Tree(server)
        async with through(server, tmp_path / "position") as (running, cable):
            await running.watching(tree)
            await asyncio.to_thread(cable.cut)
            await asyncio.to_thread(server.wipe, same_cluster=True)
            await asyncio.to_thread(lambda: [tree.put("web01/b.com/config") for _unused in range(20)])
            await asyncio.to_thread(cable.join)
            events = [(await running.event())["watcher"] for _unused in range(2)]
            kinds = {each["project"]: each["changes"][0]["kind"] for each in events}
            assert kinds == {"b.com": "changed", "ready": "removed"}
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
