# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflector against a store that cuts, compacts, refuses and is replaced."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import CompactedError, DeniedError, StoreError
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position, Reflector
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.reflector_play import (
    AWAY,
    Clock,
    Consumer,
    content,
    each,
    played,
    reflector,
)


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with one key of ours and one beside it."""
    store = MemoryStore()
    store.put("/w/a", b"1")
    store.put("/other", b"x")
    return store


@pytest.fixture
def clock() -> Clock:
    """Return a fake clock."""
    return Clock()


def test_a_long_lived_watch_earns_a_listing_at_once(store: MemoryStore, clock: Clock) -> None:
    """After proof of life the second compaction is answered without a pause too, a third in a row is not."""
    source = reflector(store, clock, position=Position(99, 1))

    def live() -> None:
        clock.now += 2
        store.progress()

    def lose() -> None:
        store.put("/w/a")
        store.compact()
        for watch in list(store.watches):
            watch.broken = CompactedError("gone")

    assert played(store, source, live, lose, lose).kinds == "LLL"
    assert len(clock.sleeps) == 1


@pytest.mark.parametrize("error", [AWAY, CompactedError("gone"), DeniedError("no"), StoreError("too large")])
def test_never_spins(store: MemoryStore, clock: Clock, error: StoreError) -> None:
    """However the store fails, there is at most one attempt a second on average."""
    source = reflector(store, clock)
    clock.on_sleep = lambda: source.close() if clock.now >= 160 else None
    stream = source.stream()
    next(stream)
    store.fail(error, 1000)
    assert list(stream) == []
    assert sum(store.calls.values()) <= 64


def test_a_watch_that_ends_at_once_does_not_spin(store: MemoryStore, clock: Clock) -> None:
    """A watch that proves alive and breaks, again and again, is a failure like any other."""
    source = reflector(store, clock)
    clock.on_sleep = lambda: source.close() if clock.now >= 160 else None
    played(store, source, *[each(lambda: store.put("/w/a"), store.cut)] * 200)
    assert store.calls["watch"] <= 61


def test_pauses_are_spread(store: MemoryStore, clock: Clock) -> None:
    """Pauses are 1.0 to 1.5 s, and differ."""
    chance = random.Random(1)  # noqa: S311 (repeatable)
    source = Reflector(store, "/w/", clock=clock, sleep=clock.sleep, jitter=chance.random)
    store.fail(AWAY, 100)
    played(store, source)
    assert len(set(clock.sleeps)) == 100
    assert min(clock.sleeps) >= 1.0
    assert max(clock.sleeps) <= 1.5


@pytest.mark.parametrize("error", [DeniedError("wrong password"), StoreError("package missing")])
def test_a_refusal_at_the_start_is_raised(store: MemoryStore, clock: Clock, error: StoreError) -> None:
    """Somebody has to act: the caller hears of it."""
    store.fail(error)
    with pytest.raises(type(error), match=str(error)):
        played(store, reflector(store, clock))


def test_a_refusal_later_is_retried(store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal after a good start is logged once and retried."""
    caplog.set_level(logging.INFO)
    denied = DeniedError("permission denied")
    consumer = played(
        store, reflector(store, clock), each(store.cut, lambda: store.put("/w/b"), lambda: store.fail(denied, 5))
    )
    assert consumer.state == content(store)
    assert [record.message for record in caplog.records] == [
        "/w/: the connection was cut; trying again",
        "/w/: permission denied; trying again",
        "/w/: the store answers again",
    ]


def test_an_absent_store_at_the_start_is_waited_for(store: MemoryStore, clock: Clock) -> None:
    """Nothing listening at the start is not an error."""
    store.fail(AWAY, 3)
    source = reflector(store, clock)
    clock.on_sleep = lambda: failures.append(source.failures)
    failures: list[int] = []
    assert played(store, source).kinds == "L"
    assert failures == [1, 2, 3]
    assert source.failures == 0


def test_proof_of_life_is_noted(store: MemoryStore, clock: Clock) -> None:
    """An empty batch moves last_alive and is not handed on."""
    source = reflector(store, clock)
    assert source.last_alive is None

    def later() -> None:
        clock.now += 7
        store.progress()

    assert played(store, source, later).kinds == "L"
    assert source.last_alive == clock.now


def test_values_are_left_out(store: MemoryStore, clock: Clock) -> None:
    """With keys_only neither listing nor batch holds a value."""
    consumer = played(store, reflector(store, clock, keys_only=True), lambda: store.put("/w/a", b"secret"))
    assert consumer.state == {b"/w/a": b""}
    assert consumer.kinds == "LB"


@pytest.mark.parametrize("seed", range(40))
def test_the_final_state_is_never_lost(seed: int) -> None:
    """Whatever is done to the store, in the end the consumer knows what the store holds."""
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    store, clock = MemoryStore(), Clock()
    source = reflector(store, clock)

    def change() -> None:
        keys = [f"/w/{chance.randrange(20)}" for _unused in range(3)]
        puts = tuple((key, str(chance.random()).encode()) for key in sorted(set(keys[1:])))
        store.commit(Write(puts=puts, deletes=tuple({keys[0]} - {key for key, _unused in puts})))

    def replace() -> None:
        store.replace(same_cluster=chance.random() < 0.5)
        for _unused in range(chance.randrange(60)):  # so that the two histories hardly ever agree by chance
            store.put("/other")

    acts: list[Callable[[], object]] = [
        *[change] * 8,
        store.cut,
        store.progress,
        lambda: store.compact(max(1, store.revision - chance.randint(0, 3))),
        lambda: store.fail(chance.choice([AWAY, CompactedError("gone")]), chance.randint(1, 3)),
        replace,
    ]

    def act() -> None:
        for _unused in range(chance.randint(1, 4)):
            with contextlib.suppress(StoreError):  # a failure that was meant for the reflector
                chance.choice(acts)()

    steps = [act] * 150
    clock.on_sleep = lambda: steps.pop()() if steps and chance.random() < 0.3 else None
    consumer = Consumer(source)

    def idle() -> None:
        if steps:
            steps.pop()()
        else:
            source.close()

    store.idle = idle
    consumer.run()
    assert consumer.state == content(store)
    assert source.revision <= store.revision
