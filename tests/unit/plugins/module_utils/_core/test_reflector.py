# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reflector streams, from which revision, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.reflector import (
    Position,
    Reflector,
    Replaced,
    Resumed,
)
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Listing
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.reflector_play import AWAY, Clock, content, each, played, reflector


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


@pytest.mark.parametrize("base", [True, False])
def test_a_base_is_what_was_there(store: MemoryStore, clock: Clock, base: bool) -> None:
    """It comes first, once, as of the position; a cut later does not bring it back."""
    first = reflector(store, clock)
    played(store, first)
    store.put("/w/b")
    source = reflector(store, clock, position=first.position, base=base)
    seen = played(store, source, each(store.cut, lambda: store.delete("/w/a"))).seen
    assert [type(item) for item in seen] == [Resumed, Batch, Batch] if base else [Batch, Batch]
    if isinstance(seen[0], Resumed):
        assert [kv.key for kv in seen[0].items] == [b"/w/a"]


def test_a_base_is_not_asked_for_after_a_listing(store: MemoryStore, clock: Clock) -> None:
    """A listing has said all there is."""
    source = reflector(store, clock, position=Position(99, 1), base=True)
    assert [type(item) for item in played(store, source, store.cut).seen] == [Replaced]


def test_resumes_after_a_deletion(store: MemoryStore, clock: Clock) -> None:
    """The store is recognised by a deletion too."""
    steps = [lambda: store.delete("/w/a"), store.cut]
    assert played(store, reflector(store, clock), *steps).kinds == "LB"


def test_a_deletion_is_not_mistaken_for_an_emptied_store(store: MemoryStore, clock: Clock) -> None:
    """A key that is absent from the other store proves nothing."""

    def empty() -> None:
        store.replace(same_cluster=True)
        for _unused in range(9):
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


@pytest.mark.parametrize(
    ("spoil", "listed", "replaced"),
    [
        (lambda store: None, False, False),
        (lambda store: (store.put("/w/c"), store.put("/w/c"), store.compact()), True, False),
        (lambda store: store.replace(), True, True),
        (lambda store: store.replace(same_cluster=True), True, True),
        (lambda store: (store.replace(), [store.put(f"/w/{n}") for n in range(50)]), True, True),
        (lambda store: (store.replace(same_cluster=True), [store.put(f"/w/{n}") for n in range(50)]), True, True),
    ],
    ids=["the same", "compacted", "replaced", "emptied", "replaced and ahead", "emptied and ahead"],
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_store_that_was_replaced(
    store: MemoryStore,
    clock: Clock,
    spoil: Callable[[MemoryStore], object],
    listed: bool,
    replaced: bool,
    restart: bool,
) -> None:
    """Its listing says so, once, also when a listing was asked for anyway."""
    for n in range(10):
        store.put("/w/a", str(n).encode())
    source = reflector(store, clock)
    ask = source.restart if restart else lambda: None
    seen = played(store, source, each(store.cut, ask, lambda: spoil(store)), source.restart).seen
    middle = [Replaced if replaced else Listing] if restart or listed else []
    assert [type(item) for item in seen] == [Listing, *middle, Listing]


def test_a_store_that_catches_up_meanwhile(clock: Clock) -> None:
    """It was behind when it was asked, and is ahead when it is listed: it was replaced nevertheless."""

    class Growing(MemoryStore):
        def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
            try:
                return super().list(prefix, keys_only=keys_only, revision=revision)
            finally:
                for _unused in range(50 if revision else 0):
                    self.put("/other")

    store = Growing()
    for _unused in range(10):
        store.put("/w/a")
    seen = played(store, reflector(store, clock), lambda: store.replace(same_cluster=True)).seen
    assert [type(item) for item in seen] == [Listing, Replaced]


def test_restart(store: MemoryStore, clock: Clock) -> None:
    """All is listed again at once, and the changes go on from there."""
    source = reflector(store, clock)
    consumer = played(store, source, source.restart, lambda: store.put("/w/b"), source.restart)
    assert (consumer.kinds, clock.sleeps, source.failures) == ("LLBL", [], 0)


def test_a_restart_is_done_with(store: MemoryStore, clock: Clock) -> None:
    """After it a cut is resumed from, as always."""
    source = reflector(store, clock)
    consumer = played(store, source, source.restart, each(store.cut, lambda: store.put("/w/c")))
    assert consumer.kinds == "LLB"
    assert consumer.state == content(store)


def test_restart_before_the_stream(store: MemoryStore, clock: Clock) -> None:
    """A position is not resumed from then, and one listing is enough."""
    first = reflector(store, clock)
    played(store, first)
    for position in (first.position, None):
        source = reflector(store, clock, position=position)
        source.restart()
        assert played(store, source).kinds == "L"


def test_a_restart_outlives_an_outage(store: MemoryStore, clock: Clock) -> None:
    """Whoever asked for a listing gets it when the store is back."""
    source = reflector(store, clock)
    consumer = played(store, source, each(lambda: store.fail(AWAY, 3), source.restart))
    assert consumer.kinds == "LL"
    assert len(clock.sleeps) == 3


@pytest.mark.parametrize("call", ["list", "watch"])
def test_a_restart_while_at_it(clock: Clock, call: str) -> None:
    """What is listed or about to be watched just then is listed once more."""

    class Meddled(MemoryStore):
        def _called(self, name: str) -> None:
            super()._called(name)
            if self.calls[name] == 1 and name == call:
                source.restart()

    store = Meddled()
    source = reflector(store, clock)
    assert played(store, source).kinds == "LL"


def test_restart_from_another_thread(store: MemoryStore) -> None:
    """A watch that waits for events ends at once."""
    source = Reflector(store, "/w/", pause=3600.0)
    listed = threading.Semaphore(0)

    def read() -> None:
        for item in source.stream():
            assert isinstance(item, Listing)
            listed.release()

    thread = threading.Thread(target=read)
    thread.start()
    for _unused in range(3):
        assert listed.acquire(timeout=5)
        source.restart()
    source.close()
    thread.join(5)
    assert not thread.is_alive()


def test_the_last_attempt(store: MemoryStore, clock: Clock) -> None:
    """It tells whether somebody still tries while nothing proves alive."""
    source = reflector(store, clock)
    assert source.last_attempt is None
    store.fail(AWAY, 4)
    clock.on_sleep = lambda: attempts.append(source.last_attempt)
    attempts: list[float | None] = []
    played(store, source)
    assert attempts == [100.0, 101.25, 102.5, 103.75]
    assert [source.last_alive, source.last_attempt] == [105.0, 105.0]


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
    return any(condition() or pause.wait(0.005) for _unused in range(1000))
