# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat, to a real receiver and with a fake clock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.heartbeat import Heartbeat
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.unit.receiver import Receiver, receiving

BOUND = 5.0  # seconds for one condition
NOW = 1_790_000_000.9  # Unix seconds

soon = partial(eventually, bound=BOUND)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver that is at work."""
    with receiving() as server:
        yield server


@pytest.fixture
def beating() -> Iterator[Callable[..., Heartbeat]]:
    """Return a function that starts a heartbeat, closed after the test."""
    started: list[Heartbeat] = []

    def start(url: str, interval: float = 30.0, **options: Any) -> Heartbeat:
        started.append(Heartbeat(url, interval, "web01", "1.2.3", **options))
        started[-1].start()
        return started[-1]

    yield start
    for heartbeat in started:
        heartbeat.close()


def test_the_first_comes_at_once(receiver: Receiver, beating: Callable[..., Heartbeat]) -> None:
    """With the body of the contract, and whole seconds."""
    heartbeat = beating(receiver.url, now=lambda: NOW)
    soon(lambda: heartbeat.sent == 1, "the first is sent")
    body = {"version": "1.2.3", "hostname": "web01", "timestamp": 1_790_000_000}
    assert receiver.posts == [("", "application/json", body)] or receiver.posts == [("/", "application/json", body)]
    assert (heartbeat.failed, heartbeat.problem) == (0, "")


def test_more_follow(receiver: Receiver, beating: Callable[..., Heartbeat]) -> None:
    """One an interval, by a real clock."""
    began = time.monotonic()
    beating(receiver.url, 0.05)
    for _number in range(5):
        assert receiver.arrived.acquire(timeout=BOUND)
    assert time.monotonic() - began > 0.19


def test_failures_are_counted_and_said_once(
    receiver: Receiver, beating: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    """A streak is one line at its begin and one at its end, without the password; the next streak is another."""
    caplog.set_level(logging.INFO)
    receiver.code = 503
    heartbeat = beating(receiver.url.replace("//", "//me:secret@"), 0.01)
    soon(lambda: heartbeat.failed >= 3, "three fail")
    assert heartbeat.problem == f"heartbeat to {receiver.url}: answer 503"
    receiver.code = 204
    soon(lambda: heartbeat.sent >= 3, "three are sent")
    assert heartbeat.problem == ""
    receiver.code = 500
    failed = heartbeat.failed
    soon(lambda: heartbeat.failed >= failed + 3, "three more fail")
    heartbeat.close()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", f"heartbeat to {receiver.url}: answer 503; trying again every 0.01 s"),
        ("INFO", f"heartbeat to {receiver.url}: taken again"),
        ("WARNING", f"heartbeat to {receiver.url}: answer 500; trying again every 0.01 s"),
    ]


def test_nobody_listens(beating: Callable[..., Heartbeat]) -> None:
    """The thread goes on."""
    heartbeat = beating("http://127.0.0.1:1/beat", 0.01)
    soon(lambda: heartbeat.failed >= 3, "three fail")
    assert "127.0.0.1:1/beat: " in heartbeat.problem and "refused" in heartbeat.problem


def test_a_sender_that_raises(beating: Callable[..., Heartbeat]) -> None:
    """That is a failure as any other."""
    heartbeat = beating("http://receiver/", 0.01, send=lambda url, body: 1 / 0)
    soon(lambda: heartbeat.failed >= 3, "three fail")
    assert heartbeat.problem == "heartbeat to http://receiver/: division by zero"


def play(interval: float, slow: dict[int, float], count: int) -> list[float]:
    """Return when so many heartbeats are sent, where some of them take seconds."""
    now, times = [100.0], []
    heartbeat: Heartbeat

    def send(_url: str, _body: bytes) -> str:
        times.append(now[0])
        now[0] += slow.get(len(times) - 1, 0.0)
        if len(times) == count:
            heartbeat.close()
        return ""

    def sleep(seconds: float) -> None:
        assert 0 <= seconds <= interval
        now[0] += seconds * 1.001  # threads wake late, never early

    heartbeat = Heartbeat("http://receiver/", interval, "web01", "1", send=send, clock=lambda: now[0], sleep=sleep)
    heartbeat._run()
    return times


def test_the_interval_is_kept_on_average() -> None:
    """Neither slow receivers nor late wake-ups add up."""
    times = play(30.0, dict.fromkeys(range(100), 4.0), 100)
    assert times[-1] - times[0] == pytest.approx(99 * 30.0, abs=0.1)


def test_what_was_missed_is_not_made_up_for() -> None:
    """After a receiver that took 100 s the next is sent when it is due, one and not three."""
    times = play(30.0, {1: 100.0}, 5)
    assert [round(at - 100.0) for at in times] == [0, 30, 150, 180, 210]


def test_close_does_not_wait_for_a_receiver(beating: Callable[..., Heartbeat]) -> None:
    """Nor for the interval; what comes of it then is nobody's business."""
    asked, go_on = threading.Event(), threading.Event()

    def send(_url: str, _body: bytes) -> str:
        asked.set()
        assert go_on.wait(BOUND)
        return "too late"

    heartbeat = beating("http://receiver/", send=send)
    assert asked.wait(BOUND)
    began = time.monotonic()
    heartbeat.close()
    assert time.monotonic() - began < 1
    go_on.set()
    heartbeat._thread.join(BOUND)
    assert heartbeat.failed == 0


def test_close_during_the_interval(receiver: Receiver, beating: Callable[..., Heartbeat]) -> None:
    """It ends at once."""
    heartbeat = beating(receiver.url, 3600.0)
    soon(lambda: heartbeat.sent == 1, "the first is sent")
    heartbeat.close()
    assert not heartbeat._thread.is_alive()


def test_close_before_start() -> None:
    """There is nothing to end."""
    Heartbeat("http://receiver/", 30.0, "web01", "1").close()
