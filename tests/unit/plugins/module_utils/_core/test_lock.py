# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock under a lease: one has it at a time, and stops before another one can have it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.lock import LEASE, MARGIN, Hold, Lock, running, said
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

KEY = "/watcher.sources/pair/lock"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at 100."""
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Answerless(MemoryStore):
    """A store whose answer to the first transaction gets lost."""

    def commit(self, write: Write) -> int:
        """Carry it out, and say that it may not have been."""
        super().commit(write)
        raise UnavailableError("no answer")


def body(pid: int) -> dict[str, object]:
    """Return what the process says of itself."""
    return {"hostname": "control1", "pid": pid, "started": "2026-01-31T10:00:00.000Z", "version": "1"}


@pytest.fixture
def clock() -> Clock:
    """Return a clock of the test."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    """Return a store whose leases end by that clock."""
    return MemoryStore(clock=clock)


@pytest.fixture
def locks(store: MemoryStore, clock: Clock) -> tuple[Lock, Lock]:
    """Return the locks of two processes."""
    return Lock(store, KEY, body(1), clock), Lock(store, KEY, body(2), clock)


def taken(lock: Lock) -> Hold:
    """Return the lock, which is free."""
    hold = lock.take()
    assert hold is not None
    return hold


def test_one_has_it(locks: tuple[Lock, Lock], store: MemoryStore) -> None:
    """The other one is told who; the key says it too, under a lease."""
    hold = taken(locks[0])
    assert locks[1].take() is None
    assert locks[1].holder == "host control1 (pid 1, since 2026-01-31T10:00:00.000Z)"
    found, _revision = store.get(KEY)
    assert found is not None
    assert (json.loads(found.value), found.lease, found.revision) == (body(1), hold.lease, hold.revision)


def test_two_at_the_same_time(store: MemoryStore, clock: Clock) -> None:
    """Both saw it free, and the transaction of one of them counts."""
    second = Lock(store, KEY, body(2), clock)

    class Slow(MemoryStore):
        def grant(self, seconds: int) -> int:
            taken(second)
            return store.grant(seconds)

        get = store.get
        commit = store.commit

    assert Lock(Slow(), KEY, body(1), clock).take() is None
    found, _revision = store.get(KEY)
    assert found is not None
    assert json.loads(found.value)["pid"] == 2


def test_it_is_held_while_it_is_renewed(locks: tuple[Lock, Lock], clock: Clock) -> None:
    """Much longer than one lease."""
    hold = taken(locks[0])
    for _unused in range(10):
        clock.now += LEASE - MARGIN - 0.1
        locks[0].renew(hold)
        assert hold.held()
        assert locks[1].take() is None
    assert hold.why == ""


def test_its_time_is_over_before_that_of_the_lease(locks: tuple[Lock, Lock], clock: Clock) -> None:
    """Whoever cannot renew, or was frozen, stops by its own clock; then another one takes it."""
    hold = taken(locks[0])
    clock.now += LEASE - MARGIN
    assert not hold.held()
    assert hold.why == "it could not be renewed for 4 s"
    assert locks[1].take() is None
    clock.now += MARGIN
    assert taken(locks[1]).held()


def test_the_time_counts_from_before_the_call(store: MemoryStore, clock: Clock) -> None:
    """An answer that takes long does not make it longer: the lease may have begun with the question."""

    class Slow(MemoryStore):
        def renew(self, lease: int) -> int:
            clock.now += 2.0
            return super().renew(lease)

    slow = Slow(clock=clock)
    lock = Lock(slow, KEY, body(1), clock)
    hold = taken(lock)
    lock.renew(hold)
    assert hold.left() == LEASE - MARGIN - 2.0


def test_what_is_lost_stays_lost(locks: tuple[Lock, Lock], clock: Clock) -> None:
    """A renewal that comes too late is none, though the lease was still there."""
    hold = taken(locks[0])
    clock.now += LEASE - MARGIN
    assert not hold.held()
    locks[0].renew(hold)
    hold.prolong(clock.now + 100.0)
    assert (hold.held(), hold.left()) == (False, 0.0)


def test_it_is_lost_with_its_key(locks: tuple[Lock, Lock], store: MemoryStore) -> None:
    """Somebody deleted the key, or put another in its place."""
    hold = taken(locks[0])
    store.delete(KEY)
    locks[0].renew(hold)
    assert (hold.held(), hold.why) == (False, "its key was deleted")
    hold = taken(locks[0])
    store.delete(KEY)
    taken(locks[1])
    locks[0].renew(hold)
    assert not hold.held()
    assert hold.why.startswith("its key was replaced, by host control1 (pid 2, ")


def test_it_is_lost_with_its_lease(locks: tuple[Lock, Lock], store: MemoryStore) -> None:
    """Somebody revoked the lease, or the store was emptied."""
    hold = taken(locks[0])
    store.revoke(hold.lease)
    locks[0].renew(hold)
    assert (hold.held(), hold.why) == (False, "its lease has ended")


def test_a_release_lets_others_have_it_at_once(locks: tuple[Lock, Lock], store: MemoryStore) -> None:
    """Also where the store does not answer, the one that had it has it no more."""
    hold = taken(locks[0])
    locks[0].release(hold)
    assert not hold.held()
    second = taken(locks[1])
    store.fail(UnavailableError("away"))
    locks[1].release(second)
    assert not second.held()


def test_an_answer_that_gets_lost(clock: Clock) -> None:
    """It is found out at the next attempt that the lock is ours, and only as long as its lease lives."""
    store = Answerless(clock=clock)
    lock = Lock(store, KEY, body(1), clock)
    with pytest.raises(UnavailableError):
        lock.take()
    clock.now += 2.0
    hold = taken(lock)
    assert hold.left() == LEASE - MARGIN
    lock.renew(hold)
    assert hold.held()
    assert Lock(store, KEY, body(1), clock).take() is None


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_a_holder_that_says_nothing(value: bytes) -> None:
    """Whatever is in the key, it is one line."""
    assert said(value) == "somebody who does not say who it is"


def test_what_a_holder_says_is_one_line() -> None:
    """And not a long one."""
    text = said(json.dumps({"hostname": "a\nb", "pid": "\x1b[2J", "started": "x" * 1000}).encode())
    assert text.isprintable()
    assert len(text) == 200


def test_the_clock_goes_on() -> None:
    """Also while the machine sleeps, which no test waits for."""
    before = running()
    assert running() >= before > 0.0
