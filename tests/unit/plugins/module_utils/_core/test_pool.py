# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool: nothing is lost, nothing runs twice at a time, nobody waits for somebody who hangs."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import pool as module
from ansible_collections.watcher.config.plugins.module_utils._core.pool import Pool

BOUND = 10.0  # seconds for one condition
LONG = 60.0  # seconds of patience that no test comes to the end of


class Bench:
    """Work that a test holds and lets go by name, and counts."""

    def __init__(self, *, size: int = 4, patience: float = LONG) -> None:
        """Let everybody through at first."""
        self.changed = threading.Condition()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.held: set[str] = set()
        self.pauses: dict[str, list[float | None]] = {}
        self.faults: dict[str, Exception] = {}
        self.busy: set[str] = set()
        self.twice: list[str] = []  # names that were worked on twice at a time
        self.most = 0  # names worked on at a time
        self.pool = Pool(self.work, size=size, patience=patience)

    def work(self, name: str) -> float | None:
        """Do what the test wants of this name."""
        with self.changed:
            self.twice += [name] if name in self.busy else []
            self.busy.add(name)
            self.most = max(self.most, len(self.busy))
            self.begun.append(name)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: name not in self.held, LONG)
            self.busy.discard(name)
            self.ended.append(name)
            self.changed.notify_all()
            if name in self.faults:
                raise self.faults.pop(name)
            pauses = self.pauses.get(name)
            return pauses.pop(0) if pauses else None

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition."""
        with self.changed:
            assert self.changed.wait_for(true, BOUND), f"begun {self.begun}, ended {self.ended}"

    def hold(self, *names: str) -> None:
        """Let work on these names hang from now on."""
        with self.changed:
            self.held.update(names)

    def free(self, *names: str) -> None:
        """Let work on these names, on all by default, go on."""
        with self.changed:
            self.held.difference_update(names or set(self.held))
            self.changed.notify_all()

    def runs(self, name: str) -> int:
        """Return how often work on a name began."""
        return self.begun.count(name)


@pytest.fixture
def benches() -> Iterator[Callable[..., Bench]]:
    """Return a maker of benches, which are cleared away at the end."""
    made: list[Bench] = []

    def make(**options: float) -> Bench:
        made.append(Bench(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        bench.free()
        assert bench.pool.close(BOUND) == []
        assert bench.twice == []


def test_each_name_is_worked_on(benches: Callable[..., Bench]) -> None:
    """Once a wake, and what `drain` waits for is all of it."""
    bench = benches()
    bench.pool.wake("a", "b", "a")
    bench.pool.wake("c")
    assert bench.pool.drain(BOUND)
    assert Counter(bench.begun) == {"a": 1, "b": 1, "c": 1}
    bench.pool.wake("a")
    assert bench.pool.drain(BOUND)
    assert bench.runs("a") == 2


def test_wakes_while_at_work_are_one_more_run(benches: Callable[..., Bench]) -> None:
    """However many they are, and the last one is never lost."""
    bench = benches()
    bench.hold("a")
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 1)
    for _unused in range(10):
        bench.pool.wake("a")
    assert bench.pool.running() == ["a"]
    bench.free()
    assert bench.pool.drain(BOUND)
    assert bench.runs("a") == 2


def test_a_run_sees_what_was_there_when_it_was_woken() -> None:
    """Whatever was put in before a wake is taken by a run that begins after it: nothing is forgotten."""
    lock = threading.Lock()
    todo: dict[str, int] = dict.fromkeys((f"n{number}" for number in range(20)), 0)
    done: Counter[str] = Counter()
    busy: set[str] = set()
    twice: set[str] = set()

    def work(name: str) -> float | None:
        with lock:
            twice.update(busy & {name})
            busy.add(name)
            taken, todo[name] = todo[name], 0
        if random.random() < 0.2:  # noqa: S311
            time.sleep(0.0002)
        with lock:
            done[name] += taken
            busy.discard(name)
        return random.choice((None, None, 0.0, 0.001))  # noqa: S311

    pool = Pool(work, size=3, patience=0.0005)

    def feed(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        for _unused in range(400):
            names = [f"n{chance.randrange(20)}" for _unused in range(chance.randrange(1, 4))]
            with lock:
                for name in names:
                    todo[name] += 1
                    fed[name] += 1
            pool.wake(*names)

    fed: Counter[str] = Counter()
    feeders = [threading.Thread(target=feed, args=(seed,)) for seed in range(5)]
    for feeder in feeders:
        feeder.start()
    for feeder in feeders:
        feeder.join()
    assert pool.drain(BOUND)
    with lock:
        assert (done, twice) == (fed, set())
    pool.close(BOUND)


def test_no_more_at_a_time_than_asked_for(benches: Callable[..., Bench]) -> None:
    """What is more waits, and no thread is started for it."""
    bench = benches(size=3)
    names = [f"n{number}" for number in range(50)]
    bench.hold(*names)
    before = threading.active_count()
    bench.pool.wake(*names)
    bench.until(lambda: len(bench.begun) == 3)
    assert threading.active_count() - before <= 4  # and the keeper
    bench.free(bench.begun[0])
    bench.until(lambda: len(bench.begun) == 4)
    bench.free()
    assert bench.pool.drain(BOUND)
    assert (sorted(bench.ended), bench.most) == (sorted(names), 3)


def test_first_come_first_served(benches: Callable[..., Bench]) -> None:
    """A name that is woken again and again stands behind those that wait already."""
    bench = benches(size=1)
    bench.hold("a")
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 1)
    bench.pool.wake("b", "a", "c")
    bench.free()
    assert bench.pool.drain(BOUND)
    assert bench.begun == ["a", "b", "c", "a"]


@pytest.mark.parametrize("hanging", [1, 5])
def test_who_hangs_holds_nobody_up(
    benches: Callable[..., Bench], hanging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even those who were woken together with several of them, with room for one."""
    monkeypatch.setattr(module, "NO_THREAD_PAUSE", LONG)
    bench = benches(size=1, patience=0.02)
    names = [f"hangs{number}" for number in range(hanging)]
    bench.hold(*names)
    bench.pool.wake(*names, "a", "b")
    bench.until(lambda: bench.ended == ["a", "b"])
    assert bench.pool.running() == names
    bench.pool.wake("a", names[0])
    bench.until(lambda: bench.ended == ["a", "b", "a"])
    bench.free()
    assert bench.pool.drain(BOUND)
    assert bench.runs(names[0]) == 2


def test_who_hangs_in_the_middle(benches: Callable[..., Bench]) -> None:
    """The thread that took the one that hangs took nobody else with it."""
    bench = benches(size=2, patience=0.02)
    bench.hold("x", "y", "z")
    bench.pool.wake("a", "x", "b", "y", "c", "z", "d")
    bench.until(lambda: set(bench.ended) == {"a", "b", "c", "d"})


def test_due_again(benches: Callable[..., Bench]) -> None:
    """After the seconds that the work returned, and no more after None."""
    bench = benches()
    bench.pauses["a"] = [0.0, 0.03, None]
    bench.pauses["b"] = [LONG]
    began = time.monotonic()
    bench.pool.wake("a", "b")
    bench.until(lambda: bench.runs("a") == 3)
    assert time.monotonic() - began >= 0.03
    assert bench.pool.drain(BOUND)  # who is due later is not to be done now
    assert (bench.runs("a"), bench.runs("b")) == (3, 1)


def test_a_wake_comes_before_the_time(benches: Callable[..., Bench]) -> None:
    """Who is due later is worked on at once when woken, and once only."""
    bench = benches()
    bench.pauses["a"] = [LONG, 0.02]
    bench.pool.wake("a")
    assert bench.pool.drain(BOUND)
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 3)
    assert bench.pool.drain(BOUND)
    assert bench.runs("a") == 3


def test_a_shorter_time_comes_first(benches: Callable[..., Bench]) -> None:
    """The keeper, who sleeps until a late time, is told of an earlier one."""
    bench = benches()
    bench.pauses.update({"late": [LONG], "soon": [0.01]})
    bench.pool.wake("late")
    assert bench.pool.drain(BOUND)
    bench.pool.wake("soon")
    bench.until(lambda: bench.runs("soon") == 2)


def test_a_wake_at_work_outdoes_the_pause(benches: Callable[..., Bench]) -> None:
    """The news came while it was at work: the pause that it asked for was about older ones."""
    bench = benches()
    bench.pauses["a"] = [LONG]
    bench.hold("a")
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 1)
    bench.pool.wake("a")
    bench.free()
    bench.until(lambda: bench.runs("a") == 2)


def test_an_error_of_the_work(
    benches: Callable[..., Bench], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, the others go on, and it is tried again."""
    monkeypatch.setattr(module, "DEFECT_PAUSE", 0.01)
    bench = benches(size=1)
    bench.faults["a"] = KeyError("gone")
    with caplog.at_level(logging.ERROR):
        bench.pool.wake("a", "b")
        bench.until(lambda: bench.begun == ["a", "b", "a"])
    assert [record.getMessage() for record in caplog.records] == ["project a: an error of this program"]
    assert caplog.records[0].exc_info is not None


def test_an_error_of_the_work_that_was_woken(benches: Callable[..., Bench]) -> None:
    """It is worked on again at once."""
    bench = benches(size=1)
    bench.hold("a")
    bench.faults["a"] = KeyError("gone")
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 1)
    bench.pool.wake("a")
    bench.free()
    bench.until(lambda: bench.ended == ["a", "a"])


def test_drain_has_a_bound(benches: Callable[..., Bench]) -> None:
    """It says no when the time is over."""
    bench = benches()
    bench.hold("a")
    bench.pool.wake("a")
    assert not bench.pool.drain(0.02)
    bench.free()
    assert bench.pool.drain(BOUND)


def test_drain_waits_for_who_is_woken_at_work(benches: Callable[..., Bench]) -> None:
    """Between two runs of one name there is no moment at which nothing is to be done."""
    bench = benches()
    for round_ in range(50):
        bench.hold("a")
        bench.pool.wake("a")
        bench.until(lambda count=2 * round_ + 1: bench.runs("a") == count)  # type: ignore[misc]
        bench.pool.wake("a")
        bench.free()
        assert bench.pool.drain(BOUND)
        assert bench.runs("a") == 2 * round_ + 2


def test_close(benches: Callable[..., Bench]) -> None:
    """It names who hangs, begins nothing more, and nothing that is due comes."""
    bench = benches(size=1)
    bench.pauses["due"] = [0.05]
    bench.hold("a")
    bench.pool.wake("due", "a", "b")
    bench.until(lambda: bench.runs("a") == 1)
    bench.pool.wake("a")
    assert bench.pool.close(0.1) == ["a"]
    bench.pool.wake("a", "c")
    bench.free()
    assert bench.pool.close(BOUND) == []
    assert bench.pool.drain(BOUND)
    assert bench.begun == ["due", "a"]


def test_close_ends_the_threads() -> None:
    """At once, also of those that wait for work."""
    before = set(threading.enumerate())
    bench = Bench()
    bench.pauses["late"] = [LONG]
    bench.hold("a", "b")
    bench.pool.wake("a", "b", "late")
    bench.until(lambda: len(bench.begun) == 3)
    bench.pool.close(0.0)
    bench.free()
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive()


def test_a_drain_ends_with_the_pool() -> None:
    """Nobody waits for what will not be begun any more."""
    bench = Bench(size=1)
    bench.hold("a")
    bench.pool.wake("a", "b")
    bench.until(lambda: bench.runs("a") == 1)
    drained = threading.Event()
    waiter = threading.Thread(target=lambda: drained.set() if bench.pool.drain(BOUND) else None)
    waiter.start()
    bench.pool.close(0.0)
    bench.free()
    waiter.join(BOUND)
    assert drained.is_set()


def test_a_system_that_had_no_thread_at_all(benches: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was woken in vain is begun by the next call, and who is due later is looked after then."""
    bench = benches()

    def start(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as poor:
        poor.setattr(threading.Thread, "start", start)
        bench.pool.wake("a")
    bench.pool.wake("a")
    assert bench.pool.drain(BOUND)
    assert bench.ended == ["a"]
    bench.hold("b")
    bench.pauses["b"] = [0.0]
    bench.pool.wake("b")
    bench.until(lambda: bench.runs("b") == 1)
    with monkeypatch.context() as poor:
        poor.setattr(threading.Thread, "start", start)
        bench.free()
        assert bench.pool.drain(BOUND)
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("b") == 2)


def test_a_system_without_threads(
    benches: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be begun now is begun when there are threads again."""
    bench = benches(size=2)
    monkeypatch.setattr(module, "NO_THREAD_PAUSE", 0.01)
    bench.pauses["timer"] = [LONG]
    bench.pool.wake("timer")  # now there is a keeper
    assert bench.pool.drain(BOUND)
    bench.hold("a")
    bench.pool.wake("a")
    bench.until(lambda: bench.runs("a") == 1)
    asked = threading.Event()

    def start(_self: threading.Thread) -> None:
        if threading.current_thread() is not threading.main_thread():
            asked.set()  # once more, by the keeper
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as poor, caplog.at_level(logging.ERROR):
        poor.setattr(threading.Thread, "start", start)
        bench.pool.wake("b")
        assert asked.wait(BOUND)
    assert "can't start new thread" in caplog.text
    bench.until(lambda: bench.ended == ["timer", "b"])
    bench.free()
