# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that report a failure are tried again, and hosts that have reported already may be left out."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.changes import OWED
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position
from ansible_collections.watcher.config.tests.unit.feed import Feed, change


def fail(feed: Feed, host: str, written: int, *, project: str = "p", wanted: int = 10) -> None:
    """Let a host report a failure, which the store has at the revision ``written``."""
    feed.events.status(host, project, wanted, feed.now, failed=True, written=written)


def test_a_failure_is_tried_again_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    """Each try comes after twice the time, is another event, and says when the next one comes."""
    feed = Feed(hold=60)
    feed.add(change())
    event = feed.take(1)
    assert event is not None
    feed.events.handed("p", feed.now)
    uuids = {event["meta"]["uuid"]}
    for number, pause in enumerate((60, 120, 240)):
        feed.now += 5  # the run takes a while
        fail(feed, "h1", 11 + number)
        assert feed.events.wait(feed.now) == pause
        assert feed.take(pause - 0.1) is None
        event = feed.take(0.1)
        assert event is not None and event["watcher"]["hosts"] == ["h1"]
        uuids.add(event["meta"]["uuid"])
        feed.events.handed("p", feed.now)
    assert len(uuids) == 4
    assert [record.message for record in caplog.records] == [
        f"p: failed on h1; again in {pause} s" for pause in (60, 120, 240)
    ]
    feed.events.status("h1", "p", 10, feed.now)
    assert feed.hand(100_000) == [] and feed.saved == 10


def test_the_pauses_grow_to_an_hour() -> None:
    """And no longer, however often it fails."""
    feed = Feed(hold=60)
    feed.add(change())
    feed.hand(1)
    for number in range(9):
        fail(feed, "h1", 11 + number)
        assert len(feed.hand(3600)) == 1
    fail(feed, "h1", 100)
    assert feed.events.wait(feed.now) == 3600


def test_only_who_failed_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The others are done with, and silent hosts come back together with them."""
    feed = Feed(hold=60)
    feed.add(*(change(host=f"h{number}") for number in range(4)))
    feed.hand(1)
    fail(feed, "h0", 11)
    feed.events.status("h1", "p", 10, feed.now)
    fail(feed, "h2", 12)
    feed.events.status("h2", "p", 10, feed.now)  # somebody tried again by hand
    feed.events.status("h0", "p", 0, feed.now)  # and somebody removed a status
    (event,) = feed.hand(60)
    assert event["hosts"] == ["h0", "h3"]
    assert [record.message for record in caplog.records] == [
        "p: no outcome in 60 s from h3; again in 0 s",
        "p: failed on h0; again in 0 s",
    ]


def test_a_failure_holds_nothing_up() -> None:
    """A change of the project comes at once and takes the host along; the pauses begin anew."""
    feed = Feed(hold=60)
    feed.add(change(), change(host="h2"))
    feed.hand(1)
    feed.events.status("h2", "p", 10, feed.now)
    for number in range(4):
        fail(feed, "h1", 11 + number)
        assert len(feed.hand(60 * 2**number)) == 1
    fail(feed, "h1", 16)
    assert feed.saved == 10
    feed.add(change(host="h2", revision=20))
    assert feed.saved == 10
    (event,) = feed.hand(0.2)
    assert event["hosts"] == ["h1", "h2"]
    feed.events.status("h2", "p", 20, feed.now)
    fail(feed, "h1", 21)
    assert feed.saved == 20
    assert feed.events.wait(feed.now) == 120


def test_a_change_while_it_failed_comes_at_once() -> None:
    """What was collected meanwhile does not wait for the pause, which begins anew."""
    feed = Feed(hold=60)
    feed.add(change())
    feed.hand(1)
    for number in range(3):
        fail(feed, "h1", 11 + number)
        assert len(feed.hand(60 * 2**number)) == 1
    feed.add(change(revision=20))
    assert feed.hand(1) == []
    fail(feed, "h1", 21)
    (event,) = feed.hand(0)
    assert (event["hosts"], event["revision"]) == (["h1"], 20)
    fail(feed, "h1", 22, wanted=20)
    assert feed.events.wait(feed.now) == 120


def test_a_failure_is_counted_once() -> None:
    """One that is read again, or that was reported before the event was made, says nothing of the new try."""
    feed = Feed(hold=60, position=Position(7, 50))
    fail(feed, "h1", 40)
    feed.events.add([change()], feed.now)  # what a restart hands on again
    assert len(feed.hand(1)) == 1
    feed.now += 10
    feed.events.forget_statuses()
    fail(feed, "h1", 40)
    fail(feed, "h1", 49)
    assert feed.events.wait(feed.now) == 50
    fail(feed, "h1", 51)
    assert len(feed.hand(60)) == 1
    feed.now += 10
    feed.events.forget_statuses()
    fail(feed, "h1", 51)
    assert feed.events.wait(feed.now) == 50
    fail(feed, "h1", 52)
    assert feed.events.wait(feed.now) == 120


def test_an_older_failure_is_none_of_this_event() -> None:
    """It is about what the host was told before."""
    feed = Feed(hold=60)
    feed.add(change(revision=20))
    feed.hand(1)
    fail(feed, "h1", 21, wanted=19)
    assert feed.events.wait(feed.now) == 60
    feed.events.status("h1", "p", 20, feed.now)
    assert feed.events.wait(feed.now) is None


def test_who_failed_is_saved_as_owed() -> None:
    """A restart hands it on again, and the position does not wait for it."""
    feed = Feed(hold=60, position=Position(7, 5))
    feed.add(change(), change(host="h2"))
    feed.hand(1)
    feed.events.status("h2", "p", 10, feed.now)
    assert feed.saved == 5
    fail(feed, "h1", 11)
    assert feed.events.unsaved
    assert feed.events.saved() == (Position(7, 10, b"k", 1), {("p", "h1"): (OWED[0], 10), ("p", "h2"): (1, 10)})


def test_with_hold_off_nothing_is_tried_again() -> None:
    """An event is done with when it was taken, whatever is reported before or after."""
    feed = Feed(hold=0)
    feed.add(change())
    assert feed.take(1) is not None
    fail(feed, "h1", 11)
    feed.events.handed("p", feed.now)
    fail(feed, "h1", 12)
    assert feed.events.wait(feed.now) is None


def test_what_failed_keeps_its_place_when_it_is_tried_again() -> None:
    """Hosts that report are at work, so not all that failed together is tried at the same time."""
    feed = Feed(hold=60, parallel=1)
    feed.add(change("p"), change("q"))
    assert [event["project"] for event in feed.hand(1)] == ["p"]
    fail(feed, "h1", 11)
    assert [event["project"] for event in feed.hand(0)] == ["q"]
    fail(feed, "h1", 12, project="q")
    assert [event["project"] for event in feed.hand(60)] == ["p"]
    fail(feed, "h1", 13)
    assert [event["project"] for event in feed.hand(0)] == ["q"]


@pytest.mark.parametrize("skips", [False, True])
def test_who_has_reported_may_be_left_out(skips: bool) -> None:
    """What others have deployed already is in no event, and the position moves on."""
    feed = Feed(hold=60, skip_reported=skips)
    feed.events.status("h1", "p", 10, feed.now)
    feed.events.status("h2", "p", 10, feed.now)
    feed.add(change(host="h1"), change(host="h2", revision=11), change("q", host="h2", revision=11))
    seen = [(event["project"], event["hosts"]) for event in feed.hand(1)]
    assert seen == [("p", ["h2"] if skips else ["h1", "h2"]), ("q", ["h2"])]
    for project in ("p", "q"):
        feed.events.status("h2", project, 11, feed.now)
    feed.events.saved()
    feed.add(change(host="h2", revision=11), change("r", revision=11))
    assert [event["project"] for event in feed.hand(1)] == (["r"] if skips else ["p", "r"])


def test_an_event_without_hosts_is_none() -> None:
    """There is nothing to wait for then, and something to save."""
    feed = Feed(hold=60, skip_reported=True)
    feed.events.status("h1", "p", 10, feed.now)
    feed.add(change())
    feed.events.saved()
    assert feed.hand(1) == []
    assert (feed.events.unsaved, feed.events.wait(feed.now), feed.saved) == (True, None, 10)


def test_a_failure_that_others_had_is_owed(caplog: pytest.LogCaptureFixture) -> None:
    """It waits for its pause, then it is handed on; beside a host that has not reported it comes at once."""
    feed = Feed(hold=60, skip_reported=True)
    fail(feed, "h1", 9, wanted=10)
    feed.events.status("h2", "p", 10, feed.now)
    feed.add(change(), change(host="h2"))
    assert feed.hand(1) == []
    saved: Any = feed.events.saved()
    assert saved[1] == {("p", "h1"): (OWED[0], 10), ("p", "h2"): (1, 10)}
    assert [record.message for record in caplog.records] == ["p: failed on h1; again in 60 s"]
    (event,) = feed.hand(60)
    assert event["hosts"] == ["h1"]
    fail(feed, "h1", 11)
    assert feed.events.wait(feed.now) == 120
    feed.add(change(host="h3"))
    (event,) = feed.hand(1)
    assert event["hosts"] == ["h1", "h3"]
    fail(feed, "h1", 21, wanted=20, project="q")
    feed.add(change("q", revision=20), change("q", host="h2", revision=20))
    (event,) = feed.hand(1)
    assert event["hosts"] == ["h1", "h2"]


def test_a_failure_that_others_had_holds_no_position_back() -> None:
    """It is known as owed from then on, which is to be saved."""
    feed = Feed(hold=60, skip_reported=True, position=Position(7, 5))
    fail(feed, "h1", 11)
    feed.add(change())
    assert feed.saved == 5
    assert feed.hand(1) == []
    assert (feed.events.unsaved, feed.saved) == (True, 10)


def test_a_failure_that_was_mended_is_none() -> None:
    """The host has deployed the change, so it is left out."""
    feed = Feed(hold=60, skip_reported=True)
    fail(feed, "h1", 11)
    feed.events.status("h1", "p", 10, feed.now)
    feed.add(change())
    assert feed.hand(1) == []
    assert feed.events.wait(feed.now) is None


def test_a_long_hold_is_the_pause() -> None:
    """What was silent for longer than the longest pause comes again at once."""
    feed = Feed(hold=7200)
    feed.add(change())
    feed.hand(1)
    assert len(feed.hand(7200)) == 1
    assert feed.events.wait(feed.now) == 7200


def test_more_hosts_than_one_run_may_have_and_none_reports() -> None:
    """Those that were not handed on yet come before those that are tried again."""
    feed = Feed(hold=60)
    hosts = [f"{n:05}.{'x' * 94}" for n in range(1200)]
    feed.add(*(change(host=host) for host in hosts))
    seen: set[str] = set()
    for after in (1, 60):
        (event,) = feed.hand(after)
        seen.update(event["hosts"])
        assert feed.saved == 0
    assert seen == set(hosts)
    feed.hand(60)
    assert feed.saved == 10
