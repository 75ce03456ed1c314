# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflector against a store that cuts, compacts, fails and is replaced; no test sleeps."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    CompactedError,
    DeniedError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position, Reflector
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Listing, Write
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


def test_lists_then_watches(store: MemoryStore, clock: Clock) -> None:
    """A listing comes first, changes follow, what is beside the prefix does not."""
    source = reflector(store, clock)
    seen = played(store, source, lambda: store.put("/w/b", b"2"), lambda: store.put("/other", b"y")).seen
    assert isinstance(seen[0], Listing)
    assert [kv.key for kv in seen[0].items] == [b"/w/a"]
    assert isinstance(seen[1], Batch)
    assert [(event.key, event.value) for event in seen[1].events] == [(b"/w/b", b"2")]
    assert len(seen) == 2
    assert source.revision == seen[1].revision


def test_resumes_after_a_cut(store: MemoryStore, clock: Clock) -> None:
    """What happened while the watch was cut arrives as a batch, after one pause, without a listing."""
    consumer = played(
        store, reflector(store, clock), each(store.cut, lambda: store.put("/w/b"), lambda: store.delete("/w/a"))
    )
    assert consumer.kinds == "LB"
    assert consumer.state == content(store)
    assert clock.sleeps == [1.25]


def test_resumes_from_a_position(store: MemoryStore, clock: Clock) -> None:
    """With a position the stream starts with the changes after it."""
    first = reflector(store, clock)
    played(store, first)
    store.put("/w/b", b"2")
    assert played(store, reflector(store, clock, position=first.position)).kinds == "B"


def test_resumes_after_a_deletion(store: MemoryStore, clock: Clock) -> None:
    """The store is recognised by a deletion too."""
    steps = [lambda: store.delete("/w/a"), store.cut]
    assert played(store, reflector(store, clock), *steps).kinds == "LB"


def test_a_deletion_is_not_mistaken_for_an_emptied_store(store: MemoryStore, clock: Clock) -> None:
    """A key that is absent from the other store proves nothing."""

    def empty() -> None:
        store.replace(same_cluster=True)
        for _ in range(9):
            store.put("/w/b")

    consumer = played(store, reflector(store, clock), lambda: store.delete("/w/a"), empty)
    assert consumer.kinds == "LBL"
    assert consumer.state == content(store)


def test_a_key_that_is_no_text_is_not_resumed_from(clock: Clock) -> None:
    """Nothing can be asked about such a key, so all is listed."""
    store = MemoryStore()
    store.put("/w/a")
    source = reflector(store, clock, position=Position(store.cluster_id, store.revision, b"/w/\xff", 2))
    assert played(store, source).kinds == "L"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: (store.put("/w/c"), store.put("/w/c"), store.compact()),
        lambda store: store.replace(),
        lambda store: store.replace(same_cluster=True),
        lambda store: (store.replace(), [store.put(f"/w/{n}") for n in range(50)]),
        lambda store: (store.replace(same_cluster=True), [store.put(f"/w/{n}") for n in range(50)]),
        lambda store: (store.replace(same_cluster=True), [store.put("/other") for n in range(50)]),
    ],
    ids=["compacted", "replaced", "emptied", "replaced and ahead", "emptied and ahead", "emptied, ahead elsewhere"],
)
def test_lists_again(store: MemoryStore, clock: Clock, spoil: Callable[[MemoryStore], object]) -> None:
    """History that is gone, or another store's, is answered with a listing."""
    for n in range(10):
        store.put("/w/a", str(n).encode())
    consumer = played(store, reflector(store, clock), each(store.cut, lambda: spoil(store)))
    assert consumer.kinds == "LL"
    assert consumer.state == content(store)
    assert len(clock.sleeps) == 1  # for the cut; the listing follows at once


def test_a_position_of_another_store_is_not_resumed(store: MemoryStore, clock: Clock) -> None:
    """A cluster id that differs means a listing, also when the revision would fit."""
    assert played(store, reflector(store, clock, position=Position(99, store.revision, b"/w/a", 2))).kinds == "L"
    assert clock.sleeps == []


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


@pytest.mark.parametrize("when", ["waiting for events", "pausing"])
def test_close_from_another_thread(store: MemoryStore, when: str) -> None:
    """The stream ends at once, whatever it waits for."""
    source = Reflector(store, "/w/", pause=3600.0)
    listed = threading.Event()

    def read() -> None:
        for _item in source.stream():
            listed.set()

    if when == "pausing":
        store.fail(AWAY, 1)
    thread = threading.Thread(target=read)
    thread.start()
    if when == "pausing":
        assert _until(lambda: source.failures == 1)
    else:
        assert listed.wait(5)
        assert _until(lambda: bool(store.watches))
    source.close()
    thread.join(5)
    assert not thread.is_alive()


def test_close_before_the_stream(store: MemoryStore, clock: Clock) -> None:
    """A reflector that is closed already asks nothing."""
    store.calls.clear()
    source = reflector(store, clock)
    source.close()
    assert list(source.stream()) == []
    assert not store.calls


def _until(condition: Callable[[], bool]) -> bool:
    """Return whether the condition holds within 5 s."""
    pause = threading.Event()
    return any(condition() or pause.wait(0.005) for _ in range(1000))


@pytest.mark.parametrize("seed", range(40))
def test_the_final_state_is_never_lost(seed: int) -> None:
    """Whatever is done to the store, in the end the consumer knows what the store holds."""
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    store, clock = MemoryStore(), Clock()
    source = reflector(store, clock)

    def change() -> None:
        keys = [f"/w/{chance.randrange(20)}" for _ in range(3)]
        puts = tuple((key, str(chance.random()).encode()) for key in sorted(set(keys[1:])))
        store.commit(Write(puts=puts, deletes=tuple({keys[0]} - {key for key, _ in puts})))

    def replace() -> None:
        store.replace(same_cluster=chance.random() < 0.5)
        for _ in range(chance.randrange(60)):  # so that the two histories hardly ever agree by chance
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
        for _ in range(chance.randint(1, 4)):
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
