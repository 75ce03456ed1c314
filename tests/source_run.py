# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source's main() in a loop, with a queue of length 1 as ansible-rulebook has."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.extensions.eda.plugins.event_source.tree import main
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
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

    def publish(self, owner: str, **policy: Any) -> int:
        """Publish a template and a policy that renders it, of a project such as ``web01/a.com``."""
        data = json.dumps({"deployPath": "/srv", "render": True, **policy}).encode()
        root = f"/watcher/{owner}/"
        return self.store.commit(Write(puts=((f"{root}config", data), (f"{root}config.d/x.j2", b""))))

    def set(self, *keys: str, lease: int = 0) -> int:
        """Set whole keys in one transaction and return the revision."""
        return self.store.commit(Write(puts=tuple((key, b"1") for key in keys), lease=lease))

    def delete(self, *keys: str) -> int:
        """Delete keys in one transaction and return the revision."""
        return self.store.commit(Write(deletes=tuple(f"/watcher/{key}" for key in keys)))

    def delete_whole(self, *keys: str) -> int:
        """Delete whole keys in one transaction and return the revision."""
        return self.store.commit(Write(deletes=keys))

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

    async def change(self, tree: Tree) -> dict[str, Any]:
        """Return the next event, which has one change, as that change with its project; report it."""
        event = await self.event()
        await asyncio.to_thread(tree.report, event)
        (change,) = event["watcher"]["changes"]
        return {"project": event["watcher"]["project"], "replayed": event["watcher"]["replayed"], **change}

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
