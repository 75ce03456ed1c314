# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source with all its threads, where values decide: whatever happens, the last state is deployed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import source as source_file
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.prefixes import UNSEEN, Owner
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Reflector
from ansible_collections.watcher.config.plugins.module_utils._core.source import Source
from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue, Listing, Write
from ansible_collections.watcher.config.plugins.module_utils._core.values import folder
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

BOUND = 20.0  # seconds until all that was published has to be deployed
STEPS = 120
PREFIXES = ("/s/one", "/s/two", "/t")
OWNERS = [(project, host) for project in "pq" for host in ("h1", "h2")]
Content = frozenset[tuple[bytes, int]]


class Site:
    """A store, a source that is killed now and then, and hosts that deploy what its events tell."""

    def __init__(self, seed: int, position: Path) -> None:
        """Begin empty."""
        self.chance = random.Random(seed)  # noqa: S311 (repeatable)
        self.store = MemoryStore()
        self.position = position
        self.disk: dict[Owner, Content] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Do things at random, then wait until all is deployed."""
        self.start()
        doings: list[tuple[int, Callable[[], object]]] = [
            (20, self.values), (6, self.publish), (2, self.remove), (2, self.store.cut), (1, self.lose),
        ]  # fmt: skip
        weights, calls = zip(*doings)
        for _unused in range(STEPS):
            self.chance.choices(calls, weights)[0]()
            for _turn in range(self.chance.choice((0, 0, 3, 30))):
                await asyncio.sleep(0.001)
            if self.chance.random() < 0.05:
                await self.crash()
        deadline = time.monotonic() + BOUND
        while wrong := [owner for owner in OWNERS if self.disk.get(owner, frozenset()) != self.wanted(owner)]:
            assert time.monotonic() < deadline, [(owner, self.disk.get(owner), self.wanted(owner)) for owner in wrong]
            await asyncio.sleep(0.01)
        await self.end()

    def start(self) -> None:
        """Start a source, and somebody who takes its events."""
        options = SourceOptions.parse({"position_file": str(self.position), "batch": 0.01}, {})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        running = Source(self.store, options)
        self.tasks = [asyncio.create_task(running.run(queue.put)), asyncio.create_task(self.deploy(queue))]

    async def end(self) -> None:
        """End the source and the deployments."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        for task in self.tasks:
            assert task.cancelled(), task.exception()

    async def crash(self) -> None:
        """Let source and deployments end without a word, and start anew."""
        saved = self.position.read_bytes() if self.position.exists() else None
        await self.end()
        self.position.unlink(missing_ok=True)
        if saved is not None:
            self.position.write_bytes(saved)
        self.start()

    async def deploy(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """Deploy what is there when an event is taken, and report it a little later."""
        while True:
            told = (await queue.get())["watcher"]
            revision, found = (
                self.store.revision,
                {host: self.wanted((told["project"], host)) for host in told["hosts"]},
            )
            for _unused in range(self.chance.randrange(4)):
                await asyncio.sleep(0.001)
            for host, content in found.items():
                self.disk[told["project"], host] = content
                status = json.dumps({"wantedRevision": max(revision, told["revision"])}).encode()
                self.store.commit(Write(puts=((f"/watcher.status/{host}/{told['project']}", status),)))

    def values(self) -> None:
        """Set or delete one or two values, maybe together with a file."""
        keys = {f"{self.chance.choice(PREFIXES)}/{self.chance.choice('ab')}" for _unused in range(2)}
        project, host = self.chance.choice(OWNERS)
        keys |= {f"/watcher/{host}/{project}/{name}" for name in ("vars/x", "config.d/y") if self.chance.random() < 0.2}
        if self.chance.random() < 0.4:
            self.store.commit(Write(deletes=tuple(sorted(keys))))
        else:
            self.store.commit(Write(puts=tuple((key, b"") for key in sorted(keys))))

    def publish(self) -> None:
        """Publish a project with one policy or another."""
        project, host = self.chance.choice(OWNERS)
        watch = self.chance.sample(PREFIXES, self.chance.randrange(3))
        policy = {"deployPath": "/srv", "render": self.chance.random() < 0.8, "watch": watch}
        root = f"/watcher/{host}/{project}/"
        self.store.commit(Write(puts=((f"{root}config", json.dumps(policy).encode()), (f"{root}config.d/x.j2", b""))))

    def remove(self) -> None:
        """Remove a project, its template, or its policy."""
        project, host = self.chance.choice(OWNERS)
        what = self.chance.choice(("", "config.d/x.j2", "config"))
        root = f"/watcher/{host}/{project}/"
        self.store.commit(Write(deletes=(root + what,)) if what else Write(delete_prefixes=(root,)))

    def lose(self) -> None:
        """Change something while the source is cut off, and lose the history."""
        with self.store.changed:
            self.store.cut()
            self.values()
            self.store.compact()

    def wanted(self, owner: Owner) -> Content:
        """Return what decides about the files of a project: its own keys, and the values that its policy shows it."""
        project, host = owner
        root = f"/watcher/{host}/{project}/"
        with self.store.changed:
            now = dict(self.store._now)
        found = now.get(f"{root}config".encode())
        policy = json.loads(found.value) if found else {}
        seen = [f"{root}config"]
        if policy.get("render") and f"{root}config.d/x.j2".encode() in now:
            seen += [f"{root}vars/", *map(folder, policy["watch"])]
        start = tuple(each.encode() for each in seen)
        return frozenset((key, item.revision) for key, item in now.items() if key.startswith(start))


@pytest.mark.parametrize("seed", range(8))
def test_the_last_state_is_deployed(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through cuts, lost history and kills at any point, while policies come and go."""
    monkeypatch.setattr(source_file, "SAVE_PAUSE", 0.0)
    defaults = Reflector.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "pause", 0.01)
    asyncio.run(Site(seed, tmp_path / "position").run())


class Slow(MemoryStore):
    """A store that answers no listing below a prefix until it may, and fails to read policies when told to."""

    def __init__(self, prefix: str = "") -> None:
        """Answer everything but that."""
        super().__init__()
        self.prefix = prefix
        self.asked, self.may = threading.Event(), threading.Event()
        self.away = 0

    def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        """Wait if it is that prefix."""
        if prefix == self.prefix:
            self.asked.set()
            self.may.wait(BOUND)
        return super().list(prefix, keys_only=keys_only, revision=revision)

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Fail as often as that was asked for."""
        if self.away:
            self.away -= 1
            raise UnavailableError("away")
        return super().get(key)


def publish(store: MemoryStore, *watch: str) -> None:
    """Publish p on h1 with a template."""
    value = json.dumps({"deployPath": "/srv", "render": True, "watch": watch}).encode()
    store.commit(Write(puts=(("/watcher/h1/p/config", value), ("/watcher/h1/p/config.d/x.j2", b""))))


async def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def source(store: MemoryStore, position: Path) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """Run a source for which an event is done with when it is taken."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    options = SourceOptions.parse({"position_file": str(position), "hold": 0, "batch": 0}, {})
    task = asyncio.create_task(Source(store, options).run(queue.put))
    yield queue
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled(), task.exception()


async def change(queue: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    """Return the one change of the next event."""
    (found,) = (await asyncio.wait_for(queue.get(), BOUND))["watcher"]["changes"]
    return dict(found)


def reached(position: Path, policy: int) -> bool:
    """Return whether the file says that the policy is done with; from then on, it has the prefix."""
    if not position.exists():
        return False
    file = json.loads(position.read_text())
    done: bool = file["revision"] >= policy
    assert file["watched"] == ({"/s/": list(UNSEEN)} if done else {})
    return done


def test_an_end_before_the_first_look(tmp_path: Path) -> None:
    """A prefix is in the file before the policy that names it is done with, so nothing below it is missed."""

    async def scenario() -> None:
        position = tmp_path / "position"
        store = Slow("/s/")
        async with source(store, position) as queue:
            publish(store, "/s")
            policy = store.revision
            await change(queue)
            await eventually(store.asked.is_set)
            await eventually(lambda: reached(position, policy))
        store.put("/s/a")
        store.may.set()
        async with source(store, position) as queue:
            assert (await change(queue))["values_changed"]

    asyncio.run(scenario())


def test_what_nobody_watches_is_not_watched(tmp_path: Path) -> None:
    """Neither by the store nor in the file."""

    async def scenario() -> None:
        position = tmp_path / "position"
        store = MemoryStore()
        async with source(store, position):
            publish(store, "/s", "/t")
            await eventually(lambda: len(store.watches) == 3)
            publish(store, "/t")
            await eventually(lambda: len(store.watches) == 2)
        assert json.loads(position.read_text())["watched"] == {"/t/": [0, 0]}

    asyncio.run(scenario())


def test_a_policy_that_cannot_be_read_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is told once."""
    monkeypatch.setattr(source_file, "PAUSE", 0.01)

    async def scenario() -> None:
        store = Slow()
        async with source(store, tmp_path / "position") as queue:
            store.away = 2
            publish(store, "/s")
            await change(queue)
            await eventually(lambda: len(store.watches) == 2)
            store.put("/s/a")
            assert (await change(queue))["values_changed"]

    asyncio.run(scenario())
    assert [record.message for record in caplog.records] == ["host h1, project p: away; trying again"]
