# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an event is due, what it says, and how far all are done with."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.changes import OWED, Change
from ansible_collections.watcher.config.plugins.module_utils._core.events import MAX_LIMIT
from ansible_collections.watcher.config.plugins.module_utils._core.payload import escaped
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position
from ansible_collections.watcher.config.tests.unit.feed import Feed, change


def test_the_event_of_the_contract() -> None:
    """Two hosts of one project, in order, with the newest revision."""
    feed = Feed()
    feed.add(change("a.com", "web02", 1835, 3), change("a.com", "web01", 1834, 3, policy_changed=True))
    event = feed.take(0.2)
    assert event is not None
    assert event["watcher"] == {
        "project": "a.com",
        "hosts": ["web01", "web02"],
        "revision": 1835,
        "replayed": False,
        "changes": [
            {
                "host": "web01",
                "revision": 1834,
                "kind": "changed",
                "policy_changed": True,
                "files": [{"path": "f", "action": "set"}],
            },
            {
                "host": "web02",
                "revision": 1835,
                "kind": "changed",
                "policy_changed": False,
                "files": [{"path": "f", "action": "set"}],
            },
        ],
    }
    assert event["meta"]["hosts"] == ["web01", "web02"]


@pytest.mark.parametrize(
    ("options", "arrivals", "due"),
    [
        ({}, [0.0], 0.2),
        ({}, [0.0, 0.1, 0.25], 0.45),
        ({}, [n * 0.1 for n in range(40)], 2.0),
        ({"batch": 0}, [0.0], 0.0),
        ({"batch": 1.5}, [0.0, 1.0], 2.0),
    ],
    ids=["alone", "quiet after the third", "never quiet", "off", "two seconds at most"],
)
def test_changes_close_together_are_one_event(options: dict[str, Any], arrivals: list[float], due: float) -> None:
    """The event is due after the quiet time, or at the latest two seconds after its first change."""
    feed = Feed(**options)
    for number, at in enumerate(arrivals):
        if at > due:
            break
        assert feed.take() is None
        feed.now = 100.0 + at
        feed.add(change(revision=10 + number))
    wait = feed.events.wait(feed.now)
    assert wait is not None
    assert feed.now + wait == pytest.approx(100.0 + due)
    if due:
        assert feed.take(wait - 0.001) is None
        wait = 0.001
    event = feed.take(wait + 1e-6)
    assert event is not None
    assert event["watcher"]["revision"] == 9 + sum(at <= due for at in arrivals)


def test_removed_and_cut() -> None:
    """Both are told where they hold, and only there."""
    feed = Feed()
    feed.add(change(keys=0, host="h1"), change(host="h2", files_cut=3))
    first, second = feed.hand()[0]["changes"]
    assert (first["kind"], second["kind"]) == ("removed", "changed")
    assert "files_cut" not in first
    assert second["files_cut"] == 3


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("ssl/opts.conf", "ssl/opts.conf"),
        ("größe/日本", "größe/日本"),
        ("\U0001f600.conf", "\\U0001f600.conf"),
        ("a\nb\x85\u2028", "a\\x0ab\\x85\\u2028"),
        ("back\\slash", "back\\x5cslash"),
        ("{{ lookup('pipe', 'id') }}", "\\x7b{ lookup('pipe', 'id') }}"),
        ("{%x%}{#y#}{z}", "\\x7b%x%}\\x7b#y#}{z}"),
        ("\ud83d", "\\ud83d"),
        ("*", "\\x2a"),  # this and the next alone are signs of YAML, which AWX does not put into quotes
        ("=", "\\x3d"),
        ("!", "\\x21"),
        ("&", "\\x26"),
        ("<<", "\\x3c<"),
        ("*.conf", "*.conf"),
        ("a=b/<<", "a=b/<<"),
    ],
)
def test_what_cannot_be_carried_is_escaped(path: str, shown: str) -> None:
    """What breaks the rule engine, or what Ansible would take for a template, arrives as text."""
    assert escaped(path) == shown


def test_the_same_changes_have_the_same_uuid() -> None:
    """The uuid depends on cluster, project, hosts and revisions, and on nothing else."""

    def uuid(*changes: Change, at: float = 100.0, cluster: int = 7) -> str:
        feed = Feed(batch=0, position=Position(cluster, 1))
        feed.events.add(changes, at)
        event = feed.take()
        assert event is not None
        return str(event["meta"]["uuid"])

    one = uuid(change(), change(host="h2", revision=11))
    assert one == uuid(change(host="h2", revision=11), change(), at=5.0)
    others = [
        uuid(change()),
        uuid(change(revision=12)),
        uuid(change("q")),
        uuid(change(), cluster=8),
        uuid(change(host="x")),
    ]
    assert len({one, *others}) == 6


def test_one_event_of_a_project_at_a_time() -> None:
    """What changes while an event is being worked on becomes one more, once all hosts have reported."""
    feed = Feed(hold=3600)
    feed.add(change(host="h1"), change(host="h2", revision=11))
    assert len(feed.hand()) == 1
    for revision in range(20, 30):
        feed.add(change(revision=revision))
        assert feed.hand(5) == []
    feed.events.status("h1", "p", 10, feed.now)
    assert feed.hand() == []
    feed.events.status("h2", "p", 10, feed.now)
    assert feed.hand() == []
    feed.events.status("h2", "p", 11, feed.now)
    assert [event["revision"] for event in feed.hand()] == [29]


def test_a_report_may_come_before_the_hand_over() -> None:
    """A host may be quicker than the queue, an agent for one."""
    feed = Feed(hold=3600)
    feed.events.status("h1", "p", 10, feed.now)
    feed.add(change(), change(host="h2"))
    event = feed.take(1)
    assert event is not None
    feed.events.status("h2", "p", 99, feed.now)
    assert feed.saved == 0
    feed.events.handed("p", feed.now)
    assert feed.saved == 10


def test_an_event_is_held_for_so_long(caplog: pytest.LogCaptureFixture) -> None:
    """Hosts that never report hold nothing up for ever."""
    feed = Feed(hold=60)
    feed.add(change(), change(host="h2"))
    feed.hand(1)
    feed.events.status("h2", "p", 10, feed.now)
    feed.add(change(revision=20))
    assert feed.events.wait(feed.now) == 60
    assert feed.hand(59.9) == []
    assert len(feed.hand(0.1)) == 1
    assert [record.message for record in caplog.records] == ["p: no outcome in 60 s from h1; again in 0 s"]


def test_a_host_that_does_not_report_is_tried_again() -> None:
    """It comes back alone, with growing pauses and another uuid, and does not hold the position back."""
    feed = Feed(hold=60, position=Position(7, 5))
    feed.add(change(), change(host="h2"))
    first = feed.take(1)
    assert first is not None and first["watcher"]["hosts"] == ["h1", "h2"]
    feed.events.handed("p", feed.now)
    feed.events.status("h2", "p", 10, feed.now)
    assert feed.saved == 5
    seen, uuids = [], {first["meta"]["uuid"]}
    for pause in (60, 120, 240):
        assert feed.take(pause - 0.1) is None
        assert feed.saved == (5 if pause == 60 else 10)
        event = feed.take(0.2)
        assert event is not None
        seen.append(event["watcher"]["hosts"])
        uuids.add(event["meta"]["uuid"])
        feed.events.handed("p", feed.now)
    assert seen == [["h1"]] * 3 and len(uuids) == 4
    saved = feed.events.saved()
    assert saved is not None and saved[1] == {("p", "h1"): (OWED[0], 10), ("p", "h2"): (1, 10)}


def test_a_newer_change_does_not_wait_for_what_is_tried_again() -> None:
    """It takes the silent host along, at once; a host that reports late is left out."""
    feed = Feed(hold=60)
    feed.add(change(), change(host="h2"))
    feed.hand(1)
    feed.hand(60)
    assert feed.hand(60) == []
    feed.events.status("h2", "p", 10, feed.now)
    feed.add(change(host="h3", revision=20))
    (event,) = feed.hand(0.3)
    assert event["hosts"] == ["h1", "h3"]
    feed.events.status("h1", "p", 10, feed.now)
    feed.events.status("h3", "p", 20, feed.now)
    assert feed.hand(10_000) == [] and feed.saved == 20


def test_outcomes_that_trickle_in_prolong_the_hold() -> None:
    """A run over many hosts takes longer than one: as long as they report, it is at work."""
    feed = Feed(hold=60)
    feed.add(*(change(host=f"h{number}") for number in range(5)))
    feed.hand(1)
    feed.add(change(revision=20))
    for number in range(5):
        assert feed.hand(50) == []
        feed.events.status(f"h{number}", "p", 10, feed.now)
    assert len(feed.hand(0)) == 1


def test_hold_can_be_off() -> None:
    """Then an event is done with when it was taken."""
    feed = Feed(hold=0, parallel=1)
    for revision in range(10, 15):
        feed.add(change(revision=revision), change("q", revision=revision))
        assert len(feed.hand()) == 2
        assert feed.saved == revision


def test_so_many_projects_at_once() -> None:
    """The others wait their turn, in the order in which they changed."""
    feed = Feed(parallel=2, hold=3600)
    for number in range(5):
        feed.events.status("h1", f"p{number}", 1, feed.now)
    feed.add(*(change(f"p{n}") for n in range(5)))
    assert [event["project"] for event in feed.hand()] == ["p0", "p1"]
    feed.events.status("h1", "p1", 10, feed.now)
    assert [event["project"] for event in feed.hand(0)] == ["p2"]
    assert feed.events.wait(feed.now) == 3600


def test_hosts_that_nobody_knows_keep_no_place() -> None:
    """Those without any status keep one for some seconds only, and none when they are tried again."""
    feed = Feed(parallel=1, hold=60)
    feed.add(change("ghost"), change("real"))
    assert [event["project"] for event in feed.hand(1)] == ["ghost"]
    assert feed.events.wait(feed.now) == 15
    assert [event["project"] for event in feed.hand(15)] == ["real"]
    feed.events.status("h1", "real", 10, feed.now)
    feed.events.status("h1", "other", 5, feed.now)
    assert [event["project"] for event in feed.hand(60)] == ["ghost"]
    feed.add(change("other", revision=20))
    assert [event["project"] for event in feed.hand(1)] == ["other"]


def test_more_hosts_than_a_run_can_be_limited_to() -> None:
    """They are several events, one after the other."""
    feed = Feed(hold=0)
    hosts = [f"{n:05}.{'x' * 94}" for n in range(1200)]
    feed.add(*(change(host=host) for host in hosts))
    events = feed.hand()
    assert [host for event in events for host in event["hosts"]] == hosts
    assert len(events) == 2
    assert all(len(",".join(event["hosts"])) <= MAX_LIMIT for event in events)


def test_the_position_passes_nothing_that_is_not_done_with() -> None:
    """Neither what waits, nor what waits to be taken, nor what was taken and not reported."""
    feed = Feed(hold=60)
    feed.add(change("p", revision=10))
    assert feed.saved == 0
    feed.hand()
    feed.add(change("q", revision=20))
    assert feed.saved == 0
    feed.events.status("h1", "p", 10, feed.now)
    assert feed.saved == 10
    assert feed.take(1) is not None
    assert feed.saved == 10
    feed.events.handed("q", feed.now)
    assert feed.saved == 10
    feed.add(change("p", revision=30))
    feed.events.status("h1", "q", 20, feed.now)
    assert feed.saved == 20


def test_what_is_saved_as_known() -> None:
    """All there is, except that what is not done with counts as unknown."""
    feed = Feed(known={("old", "h1"): (2, 5), ("p", "h1"): (1, 4)}, position=Position(7, 5))
    feed.add(change("p", revision=10, keys=0), change("q", revision=10))
    assert feed.events.saved() == (
        Position(7, 5), {("old", "h1"): (2, 5), ("p", "h1"): (0, 0), ("q", "h1"): (0, 0)}
    )  # fmt: skip
    feed.hand()
    feed.events.status("h1", "p", 10, feed.now)
    feed.events.status("h1", "q", 10, feed.now)
    saved = feed.events.saved()
    assert saved is not None
    assert saved[1] == {("old", "h1"): (2, 5), ("q", "h1"): (1, 10)}


def test_the_store_knows_better_than_what_was_saved() -> None:
    """What it says was there stands in the place of that, and what is not done with stays unknown."""
    feed = Feed(known={("old", "h1"): (2, 5), ("q", "h1"): (1, 4)}, position=Position(7, 5))
    feed.events.know({("q", "h1"): (1, 6), ("p", "h1"): (1, 3)})
    feed.add(change("p", revision=10))
    assert feed.events.saved() == (Position(7, 5), {("q", "h1"): (1, 6), ("p", "h1"): (0, 0)})


def test_unsaved() -> None:
    """There is something to save when something was done with, and not when it was saved."""
    feed = Feed()
    seen = [feed.events.unsaved]
    feed.add(change())
    seen.append(feed.events.unsaved)
    feed.events.saved()
    feed.hand()
    seen.append(feed.events.unsaved)
    feed.events.status("h1", "p", 10, feed.now)
    seen.append(feed.events.unsaved)
    assert seen == [False, True, False, True]


def test_statuses_of_another_store_are_forgotten() -> None:
    """A store that was replaced counts from the beginning again."""
    feed = Feed(hold=60)
    feed.events.status("h1", "p", 1000, feed.now)
    feed.events.forget_statuses()
    feed.add(change())
    feed.hand(1)
    assert feed.saved == 0


def test_nothing_to_wait_for() -> None:
    """Without a change there is no time to wake up at."""
    assert Feed().events.wait(100.0) is None


def test_a_change_of_values_is_marked() -> None:
    """And only that."""
    feed = Feed()
    feed.add(change(files={}, values_changed=True), change(host="h2"))
    event = feed.take(0.2)
    assert event is not None
    first, second = event["watcher"]["changes"]
    assert (first["values_changed"], first["files"]) == (True, [])
    assert "values_changed" not in second


def test_a_change_beside_the_project_is_saved_as_owed() -> None:
    """No position brings it again, so it holds none back; its revision is kept."""
    feed = Feed()
    feed.add(change("q", revision=5))
    feed.hand()
    feed.events.status("h1", "q", 5, feed.now)
    feed.events.add([change("p", revision=20, files={}, values_changed=True, beside=True)], feed.now)
    feed.add(change("q", revision=9))
    assert feed.saved == 5
    feed.hand()
    feed.events.status("h1", "q", 9, feed.now)
    saved = feed.events.saved()
    assert saved is not None
    assert (saved[0].revision, saved[1]["p", "h1"]) == (9, (OWED[0], 20))
    feed.events.status("h1", "p", 20, feed.now)
    saved = feed.events.saved()
    assert saved is not None
    assert saved[1]["p", "h1"] == (1, 20)


def test_many_hosts_that_owe_an_outcome_and_change() -> None:
    """A publish to thousands of them keeps the loop busy for a moment, not for seconds."""
    feed = Feed(hold=1)
    hosts = [f"h{number}" for number in range(10_000)]
    feed.add(*(change(host=host) for host in hosts))
    feed.hand(1)
    assert feed.hand(1) != []
    assert feed.take(1) is None
    changes = [change(host=host, revision=20) for host in hosts]
    begin = time.thread_time()
    feed.add(*changes)
    assert time.thread_time() - begin < 2.0
    assert feed.saved == 20  # all are known as owed
