# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the event source together: whatever happens, the last state is deployed, and an end is one."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import source
from ansible_collections.watcher.config.plugins.module_utils._core.changes import OWED, Change, Mark
from ansible_collections.watcher.config.plugins.module_utils._core.errors import StoreError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.events import Events
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.prefixes import Owner
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position, Reflector, Resumed
from ansible_collections.watcher.config.plugins.module_utils._core.source import Source
from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.plugins.module_utils._core.tracker import Tracker
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
HOLD = 60.0
CALM = 60  # last steps, in which nothing changes but all else happens
Content = frozenset[tuple[str, int]]


class World:
    """A store, hosts that run playbooks some time after they were told to, and a source that crashes."""

    def __init__(self, seed: int) -> None:
        """Begin empty."""
        self.chance = random.Random(seed)  # noqa: S311 (repeatable)
        self.store = MemoryStore()
        self.store.idle = self.act
        self.now = 0.0
        self.done = False
        self.steps = 200
        self.disk: dict[Owner, Content] = {}
        self.runs: list[dict[str, Any]] = []
        self.saved: tuple[Position, dict[Owner, Mark]] | None = None

    def run(self) -> None:
        """Run sources until one ends because the steps are used up and everything is quiet."""
        while not self.done:
            self.source()

    def source(self) -> None:
        """Run one source until it crashes, or all is done."""
        position, known = self.saved or (None, {})
        self.reflector = Reflector(
            self.store,
            TREE.root,
            keys_only=True,
            position=position,
            base=True,
            sleep=self.sleep,
            clock=lambda: self.now,
        )
        self.events = Events(hold=HOLD, parallel=2, position=position, known=known)
        tracker = Tracker(TREE, known=known)
        for item in self.reflector.stream():
            self.events.add(tracker.take(item), self.now)
            if isinstance(item, Resumed):
                self.events.know(tracker.marks())
            assert self.reflector.position
            self.events.reach(self.reflector.position)
            self.work()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        if self.steps:
            self.act()

    def act(self) -> None:
        """Do something, or end the source when there is nothing left to do."""
        self.now += 0.3 if self.chance.random() < 0.9 else HOLD
        self.work()
        if not self.steps:
            self.store.fail_no_more()
            self.done = self.events.wait(self.now) is None and not self.runs
            if self.done:
                self.reflector.close()
            return
        self.steps -= 1
        doings: list[tuple[int, Callable[[], object]]] = [
            (10 if self.steps > CALM else 0, self.change), (3, self.store.cut), (2, self.crash), (1, self.lose),
            (1, self.fail), (3, self.forget),
        ]  # fmt: skip
        weights, calls = zip(*doings)
        with contextlib.suppress(StoreError):  # a failure that was meant for the reflector
            self.chance.choices(calls, weights)[0]()

    def change(self) -> None:
        """Change something of one or two projects on one or two hosts."""
        names = [self.chance.choice(("config", "config.d/a", "config.d/b")) for _unused in range(2)]
        host, project = self.chance.choice(("h1", "h2")), self.chance.choice(("p", "q", "r"))
        keys = {f"/watcher/{host}/{project}/{name}" for name in names}
        if self.chance.random() < 0.4:
            self.store.commit(Write(delete_prefixes=(f"/watcher/{host}/{project}/",)))
        else:
            self.store.commit(Write(puts=tuple((key, b"") for key in sorted(keys))))

    def crash(self) -> None:
        """End the source without a word, and the runs that its events began."""
        self.runs.clear()
        self.reflector.close()

    def forget(self) -> None:
        """End a run whose hosts report nothing."""
        if self.runs:
            self.runs.pop(0)

    def lose(self) -> None:
        """Change something while the source is cut off, and lose the history."""
        self.store.cut()
        self.change()
        self.store.compact()

    def fail(self) -> None:
        """Let the store be away for a while."""
        self.store.cut()
        self.store.fail(UnavailableError("away"), 3)

    def work(self) -> None:
        """Hand on what is due, end runs, save the position."""
        while (event := self.events.take(self.now)) is not None:
            self.events.handed(event["watcher"]["project"], self.now)
            self.runs.append(event["watcher"])
        while self.runs and (self.chance.random() < 0.2 or not self.steps):
            self.deploy(self.runs.pop(0))
        if self.chance.random() < 0.5:
            self.saved = self.events.saved() or self.saved

    def deploy(self, run: dict[str, Any]) -> None:
        """Deploy what is there now and report it."""
        revision = self.store.revision
        for host in run["hosts"]:
            self.disk[(run["project"], host)] = self.there(host, run["project"])
            self.events.status(host, run["project"], revision, self.now)

    def there(self, host: str, project: str) -> Content:
        """Return what the store holds of a project."""
        prefix = f"/watcher/{host}/{project}/".encode()
        found = [kv for kv in self.store._now.values() if kv.key.startswith(prefix)]
        return frozenset((kv.key.decode(), kv.revision) for kv in found)


@pytest.mark.parametrize("seed", range(60))
def test_the_last_state_is_deployed(seed: int) -> None:
    """Through cuts, lost history and crashes at any point, each host ends with what the tree says."""
    world = World(seed)
    world.run()
    owners = {(project, host) for project in "pqr" for host in ("h1", "h2")}
    wanted = {owner: world.there(owner[1], owner[0]) for owner in owners}
    assert {owner: world.disk.get(owner, frozenset()) for owner in owners} == wanted


class Kept:
    """A place with a position and what is owed, in memory; ``always`` are what was owed in all that was saved."""

    def __init__(self, position: Position, *owed: Owner) -> None:
        """Begin with them."""
        self._loaded = position, dict.fromkeys(owed, OWED)
        self.always = set(owed)
        self.saves = 0

    def load(self) -> tuple[Position, dict[Owner, Mark], dict[str, Any]]:
        """Return what it began with."""
        return (*self._loaded, {})

    def save(self, position: Position, known: Mapping[Owner, Mark], totals: Mapping[str, Any]) -> None:
        """See what is owed."""
        self.saves += 1
        self.always &= {owner for owner, mark in known.items() if mark[0] == OWED[0]}


@pytest.mark.parametrize("replay", [False, True])
def test_what_is_owed_is_saved_as_owed(replay: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first moment on, until it is reported: nothing that follows the position brings it again."""
    owed = [(f"p{number:03}", "h1") for number in range(600)]
    store = MemoryStore()
    for project, host in owed:
        store.put(TREE.policy(host, project))
    last = store.list(TREE.root).items[-1]
    place = Kept(Position(store.cluster_id, last.revision, last.key, last.revision), *owed)
    seen: list[set[Owner]] = []

    class Watched(Events):
        """Says after each step what would be saved."""

        def add(self, changes: Iterable[Change], now: float) -> None:
            """See what is owed afterwards."""
            super().add(changes, now)
            self.look()

        def know(self, known: Mapping[Owner, Mark]) -> None:
            """See what is owed afterwards."""
            super().know(known)
            self.look()

        def look(self) -> None:
            """See what is owed."""
            saved = self.saved()
            assert saved
            seen.append({owner for owner, mark in saved[1].items() if mark[0] == OWED[0]})
            self.unsaved = True

    monkeypatch.setattr(source, "Events", Watched)

    async def scenario() -> None:
        options = SourceOptions.parse({"position_file": "", "replay": replay}, {})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        task = asyncio.create_task(Source(store, options, place).run(queue.put))
        await asyncio.wait_for(queue.get(), 5)
        task.cancel()
        await asyncio.wait({task}, timeout=5)

    asyncio.run(scenario())
    assert place.saves and place.always == set(owed)
    assert len(seen) > 1 and all(each == set(owed) for each in seen)


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_is_never_lost(turns: int) -> None:
    """Not in the turn of the loop in which a change wakes the source up, and not in the turns after it."""

    async def scenario() -> None:
        store = MemoryStore()
        options = SourceOptions.parse({"position_file": "", "hold": 0}, {})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        task = asyncio.create_task(Source(store, options).run(queue.put))
        store.put("/watcher/h1/p/config")
        await queue.get()
        for _unused in range(3):
            await asyncio.sleep(0)
        waiting = asyncio.get_running_loop().call_soon
        waiting(store.put, "/watcher/h1/p/config")
        for _unused in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _pending = await asyncio.wait({task}, timeout=5)
        assert done
        assert task.cancelled()

    asyncio.run(scenario())
