# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reflector played through a script in one thread: no real time, no chance, no sleep."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Reflector
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Listing
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

AWAY = UnavailableError("nothing is listening")


class Clock:
    """A clock that only sleeping moves, and that does something at each sleep."""

    def __init__(self) -> None:
        """Start at 100 s."""
        self.now = 100.0
        self.sleeps: list[float] = []
        self.on_sleep: Callable[[], None] | None = None

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.sleeps.append(seconds)
        if self.on_sleep:
            self.on_sleep()


class Consumer:
    """Keeps what a stream says, as a user of the reflector does."""

    def __init__(self, reflector: Reflector) -> None:
        """Read from this reflector."""
        self.reflector = reflector
        self.state: dict[bytes, bytes] = {}
        self.seen: list[Listing | Batch] = []

    def run(self) -> None:
        """Read until the stream ends."""
        for item in self.reflector.stream():
            self.seen.append(item)
            if isinstance(item, Listing):
                self.state = {kv.key: kv.value for kv in item.items}
                continue
            for event in item.events:
                self.state.pop(event.key, None)
                if not event.deleted:
                    self.state[event.key] = event.value

    @property
    def kinds(self) -> str:
        """Return L for each listing and B for each batch."""
        return "".join("L" if isinstance(item, Listing) else "B" for item in self.seen)


class Script:
    """Does one step each time the watch is idle, and closes the reflector after the last."""

    def __init__(self, store: MemoryStore, reflector: Reflector, *steps: Callable[[], object]) -> None:
        """Take the steps."""
        self.steps = list(steps)
        self.reflector = reflector
        store.idle = self.step

    def step(self) -> None:
        """Do the next step."""
        if self.steps:
            self.steps.pop(0)()
        else:
            self.reflector.close()


def reflector(store: MemoryStore, clock: Clock, **more: object) -> Reflector:
    """Return a reflector without real time or chance."""
    return Reflector(store, "/w/", clock=clock, sleep=clock.sleep, jitter=lambda: 0.5, **more)  # type: ignore[arg-type]


def played(store: MemoryStore, source: Reflector, *steps: Callable[[], object]) -> Consumer:
    """Return the consumer after the steps were played."""
    Script(store, source, *steps)
    consumer = Consumer(source)
    consumer.run()
    return consumer


def each(*steps: Callable[[], object]) -> Callable[[], None]:
    """Return one step that does all of these."""

    def run() -> None:
        for step in steps:
            step()

    return run


def content(store: MemoryStore) -> dict[bytes, bytes]:
    """Return what the store holds."""
    store.fail_no_more()
    return {kv.key: kv.value for kv in store.list("/w/").items}
