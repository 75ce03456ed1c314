# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source: from the put of a file to its event in the queue.

The peer is a bare gRPC watch in the same process, on a prefix of its own; the two take turns, one
put each, and neither wakes for the other's. The clock starts before the put, in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import runpy
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from ansible_collections.watcher.config.plugins.module_utils._core import wire

from . import SOURCE
from .figures import Figure
from .ground import Ground, say
from .measure import p95

WARM_UP = 20
ROUNDS = 400
BATCHED_ROUNDS = 20
PAUSE = 0.01  # seconds between two puts, twice that at most, so that no timer can run in step with them
BOUND = 20.0  # seconds that an event may take
AT_MOST = 1.5  # times the bare watch

Arrivals = asyncio.Queue[int]  # of times in nanoseconds


class Queue:
    """What ansible-rulebook hands to a source, but it only notes when an event came."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.arrivals: Arrivals = asyncio.Queue()

    async def put(self, event: dict[str, Any]) -> None:
        """Take an event."""
        self.arrivals.put_nowait(time.monotonic_ns())


class Writer:
    """The process that puts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Talk to this process."""
        self._process = process

    async def latency(self, key: str, arrivals: Arrivals) -> float:
        """Put the key and return the seconds until the arrival; raise TimeoutError when none comes."""
        assert self._process.stdin and self._process.stdout  # noqa: S101 - both are pipes
        self._process.stdin.write(f"{key}\n")
        self._process.stdin.flush()
        arrived = await asyncio.wait_for(arrivals.get(), BOUND)
        before = int(self._process.stdout.readline())  # read only now: nothing else wakes this process meanwhile
        await asyncio.sleep(random.uniform(PAUSE, 2 * PAUSE))  # noqa: S311 - no secret
        return (arrived - before) / 1e9


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground, writer(ground) as process:
        return asyncio.run(_measure(ground, process))


async def _measure(ground: Ground, process: Writer) -> list[Figure]:
    file = ground.tree.file("web01", "a.com", "a.conf")
    async with source(ground, batch=0) as events, bare_watch(ground, "/bare/") as responses:
        for _unused in range(WARM_UP):
            await process.latency(file, events)
            await process.latency("/bare/a", responses)
        say(f"source: {ROUNDS} rounds")
        ours, bare = [], []
        for _unused in range(ROUNDS):
            ours.append(await process.latency(file, events))
            bare.append(await process.latency("/bare/a", responses))
    async with source(ground) as events:
        await process.latency(file, events)
        say(f"source: {BATCHED_ROUNDS} rounds with the default batch")
        batched = [await process.latency(file, events) for _unused in range(BATCHED_ROUNDS)]
    what = "event source: put to event in the queue"
    return [
        Figure(f"{what}, batch=0", ours, peer="bare gRPC watch", peer_samples=bare, at_most=AT_MOST),
        Figure(f"{what}, batch=0, p95", [p95(ours)], peer="bare gRPC watch, p95", peer_samples=[p95(bare)]),
        Figure(f"{what}, default batch (0.2 s of quiet)", batched),
    ]


@contextmanager
def writer(ground: Ground) -> Iterator[Writer]:
    """Run the process that puts."""
    with ground.putting() as process:
        yield Writer(process)


@asynccontextmanager
async def source(ground: Ground, **options: Any) -> AsyncIterator[Arrivals]:
    """Run the event source as ansible-rulebook does; it holds no event back for an outcome, for there is none."""
    queue = Queue()
    fixed = {"endpoints": [ground.server.endpoint], "hold": 0, "position_file": str(ground.folder / "position.json")}
    task = asyncio.create_task(runpy.run_path(str(SOURCE))["main"](queue, {**fixed, **options}))
    try:
        yield queue.arrivals
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def bare_watch(ground: Ground, prefix: str) -> AsyncIterator[Arrivals]:
    """Run the least that a Python program can do to watch: a thread that reads a gRPC stream."""
    arrivals: Arrivals = asyncio.Queue()
    created = asyncio.Event()
    loop = asyncio.get_running_loop()
    etcd = wire.load()
    bounds = {"key": prefix.encode(), "range_end": prefix[:-1].encode() + b"0"}  # 0 comes after /
    request = etcd.messages["WatchRequest"](create_request=bounds)
    channel = grpc.insecure_channel(ground.server.address)
    ended = threading.Event()

    def requests() -> Iterator[Any]:
        yield request
        ended.wait()

    def read() -> None:
        with contextlib.suppress(grpc.RpcError):  # the channel is closed in the end
            for response in etcd.methods["Watch/Watch"].on(channel)(requests()):
                now = time.monotonic_ns()
                if response.created:
                    loop.call_soon_threadsafe(created.set)
                else:
                    loop.call_soon_threadsafe(arrivals.put_nowait, now)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        await asyncio.wait_for(created.wait(), BOUND)
        yield arrivals
    finally:
        ended.set()
        channel.close()
        thread.join()
