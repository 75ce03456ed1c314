# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tracker makes of listings and batches."""

from __future__ import annotations

import json

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.changes import MAX_FILES, OWED, UNKNOWN, Change
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.prefixes import Below
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Replaced, Resumed
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, KeyValue, Listing
from ansible_collections.watcher.config.plugins.module_utils._core.tracker import Tracker

TREE = Tree()


def listing(revision: int, **keys: int) -> Listing:
    """Return a listing of a.com on web01: file name to revision, ``config`` being the policy."""
    items = [KeyValue(key(name), b"", written) for name, written in keys.items()]
    return Listing(tuple(items), revision, 1)


def key(name: str, host: str = "web01", project: str = "a.com") -> bytes:
    """Return the key of a file, or of the policy for ``config``."""
    return (TREE.policy(host, project) if name == "config" else TREE.file(host, project, name)).encode()


def batch(*events: tuple[int, bytes] | tuple[int, bytes, bool]) -> Batch:
    """Return a batch of (revision, key) or (revision, key, True) for a deletion."""
    made = tuple(Event(event[1], b"", event[0], len(event) == 3) for event in events)
    return Batch(made, made[-1].revision)


@pytest.fixture
def tracker() -> Tracker:
    """Return a tracker that knows a policy and two files."""
    tracker = Tracker(TREE)
    tracker.take(listing(9, config=2, a=3, b=4))
    return tracker


def change(revision: int, mark: tuple[int, int], **more: object) -> Change:
    """Return a change of a.com on web01."""
    return Change("a.com", "web01", revision, mark, **more)  # type: ignore[arg-type]


def test_a_listing_replays() -> None:
    """Each project that is there is one change per host, at the listing's revision."""
    files = {"a": "set", "b": "set"}
    assert Tracker(TREE).take(listing(9, config=2, a=3, b=4)) == [
        change(9, (3, 4), policy_changed=True, files=files, replayed=True)
    ]


def test_nothing_keeps_its_revision_in_a_restored_store(tracker: Tracker) -> None:
    """What hosts reported is of a later time than what the store holds now, so all is due at its revision."""
    items = listing(8, config=2, a=3, b=4).items
    assert [found.revision for found in tracker.take(Replaced(items, 8, 1))] == [8]
    assert [found.revision for found in tracker.take(Listing(items, 9, 1))] == [4]


def test_a_batch_sets_and_deletes(tracker: Tracker) -> None:
    """A batch is one change per project and host, at its newest revision there."""
    events = batch((10, key("a")), (10, key("b"), True), (11, key("c", "web02")))
    assert tracker.take(events) == [
        change(10, (2, 10), files={"a": "set", "b": "delete"}),
        Change("a.com", "web02", 11, (1, 11), files={"c": "set"}),
    ]


def test_a_policy_change_is_told(tracker: Tracker) -> None:
    """The policy is no file."""
    assert tracker.take(batch((10, key("config")))) == [change(10, (3, 10), policy_changed=True)]


def test_removed_when_nothing_remains(tracker: Tracker) -> None:
    """The last key makes the difference, in one batch or in several."""
    first, second = batch((10, key("a"), True), (10, key("config"), True)), batch((11, key("b"), True))
    assert tracker.take(first)[0].mark[0] == 1
    assert tracker.take(second)[0].mark[0] == 0
    assert tracker.take(batch((12, key("a"))))[0].mark == (1, 12)


def test_gone_after_a_gap(tracker: Tracker) -> None:
    """What was known and is not listed any more was removed."""
    assert tracker.take(listing(20)) == [change(20, (0, 0), replayed=True)]
    assert tracker.take(listing(21)) == []


@pytest.mark.parametrize(
    ("listed", "revision"),
    [
        ({"config": 2, "a": 3, "b": 4}, 4),
        ({"config": 2, "a": 3}, 20),
        ({"config": 2, "a": 3, "b": 12}, 20),
        ({"config": 2, "a": 3, "c": 4}, 4),  # another history with the same numbers; the reflector tells them apart
    ],
    ids=["unchanged", "file gone", "file set", "not told apart"],
)
def test_an_unchanged_project_keeps_its_revision(tracker: Tracker, listed: dict[str, int], revision: int) -> None:
    """What a host reported before the gap holds for a project that did not change in it, and for no other."""
    assert [found.revision for found in tracker.take(listing(20, **listed))] == [revision]


def test_what_was_known_before_a_restart() -> None:
    """A position's marks count like a listing seen."""
    known = {("a.com", "web01"): (3, 4), ("b.com", "web01"): (1, 1)}
    found = Tracker(TREE, known=known).take(listing(20, config=2, a=3, b=4))
    assert [(each.project, each.revision, each.mark) for each in found] == [("a.com", 4, (3, 4)), ("b.com", 20, (0, 0))]


def test_a_resumed_listing_is_no_change() -> None:
    """It only tells the tracker what is there."""
    tracker = Tracker(TREE)
    items = listing(9, config=2, a=3)
    assert tracker.take(Resumed(items.items, 9, 1)) == []
    assert tracker.take(batch((10, key("config"), True), (10, key("a"), True)))[0].mark[0] == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"/watcher/web01/a.com/config.d/../x", "it has a segment . or .."),
        (b"/watcher/we b/a.com/config", "host 'we b'"),
        (b"/watcher/all/a.com/config", "rename it"),
        (b"/watcher/localhost/a.com/config", "rename it"),
        (b"/watcher/ungrouped/a.com/config", "rename it"),
        (b"/watcher/-i/a.com/config", "rename it"),
        (b"/watcher/web01/a.com/config.d/\xff", "not UTF-8"),
    ],
)
def test_a_bad_key_is_counted_and_logged_once(
    tracker: Tracker, bad: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No event names it, however often it changes; the good keys beside it are served."""
    assert tracker.take(batch((10, bad))) == []
    assert [found.host for found in tracker.take(batch((11, bad), (11, key("a"))))] == ["web01"]
    assert tracker.invalid == 2
    assert len(caplog.records) == 1
    assert reason in caplog.text


def test_what_is_not_ours_is_counted(tracker: Tracker) -> None:
    """Other keys below a project are nobody's."""
    assert tracker.take(batch((10, b"/watcher/web01/a.com/other"))) == []
    assert tracker.ignored == 1


def test_only_what_is_selected() -> None:
    """Projects and hosts that were not asked for are passed over, also those known from a position."""
    known = {("b.com", "web01"): (1, 1), ("a.com", "web02"): (1, 1)}
    tracker = Tracker(TREE, ["a.com"], ["web01"], known)
    assert [found.project for found in tracker.take(listing(9, a=3))] == ["a.com"]
    assert tracker.take(batch((10, key("a", "web02")), (10, key("a", "web01", "b.com")))) == []


def test_files_are_cut() -> None:
    """A change names so many files and counts the rest."""
    many = batch(*((10, key(f"{n:03}")) for n in range(MAX_FILES + 5)))
    found = Tracker(TREE).take(many)[0]
    assert (len(found.files), found.files_cut, found.mark) == (MAX_FILES, 5, (MAX_FILES + 5, 10))


def rendered(*watch: str, render: bool = True) -> Tracker:
    """Return a tracker that knows a policy, learned, and a template."""
    tracker = Tracker(TREE)
    tracker.take(listing(9, **{"config": 2, "x.j2": 3}))
    learn(tracker, policy(*watch, render=render))
    return tracker


def policy(*watch: str, render: bool = True) -> bytes:
    """Return the value of a policy."""
    return json.dumps({"deployPath": "/srv", "render": render, "watch": watch}).encode()


def learn(tracker: Tracker, *values: bytes | None) -> tuple[set[str], list[str]]:
    """Learn so many policies, in the order of their projects, and return what begins and ends to be followed."""
    unread = tracker.unread()
    assert len(unread) == len(values)
    for owner, value in zip(unread, values):
        tracker.learn(owner, value)
    begun, ended = tracker.follow()
    return set(begun), ended


def value(name: str, host: str = "web01", project: str = "a.com") -> bytes:
    """Return the key of a project's own value."""
    return (TREE.variables(host, project) + name).encode()


def test_own_values_change_what_renders() -> None:
    """Set and deleted; they are told apart from files."""
    tracker = rendered()
    assert tracker.take(batch((10, value("port")))) == [change(10, (3, 10), values_changed=True)]
    assert tracker.take(batch((11, value("port"), True), (11, key("a")))) == [
        change(11, (3, 11), files={"a": "set"}, values_changed=True)
    ]
    assert tracker.ignored == 0


@pytest.mark.parametrize("why", ["no render", "no template", "no policy", "bad policy", "no project"])
def test_own_values_of_others_are_no_change(why: str) -> None:
    """Nothing is rendered from them; what changes beside them keeps its own revision."""
    tracker = rendered(render=why != "no render")
    if why == "no template":
        tracker.take(batch((10, key("a")), (10, key("x.j2"), True)))
    elif why == "no policy":
        tracker.take(batch((10, key("config"), True)))
    elif why == "bad policy":
        tracker.take(batch((10, key("config"))))
        learn(tracker, b"{")
    elif why == "no project":
        tracker = Tracker(TREE)
    assert tracker.take(batch((11, value("port")))) == []
    if why != "no project":
        (found,) = tracker.take(batch((12, key("b")), (13, value("port"))))
        assert (found.revision, found.values_changed) == (12, False)


def test_values_alone_are_no_project() -> None:
    """They are neither listed nor removed; a project that leaves them behind is."""
    tracker = Tracker(TREE)
    alone = KeyValue(value("port"), b"", 5)
    assert tracker.take(Listing((alone,), 9, 1)) == []
    assert tracker.take(batch((10, key("config")), (10, key("x.j2"))))[0].mark == (3, 10)
    removed = batch((11, key("config"), True), (11, key("x.j2"), True))
    assert [found.mark for found in tracker.take(removed)] == [(0, 11)]
    assert tracker.take(Listing((alone,), 20, 1)) == []


def test_values_that_came_first_are_counted() -> None:
    """A project that is as a gap left it keeps its revision."""
    tracker = Tracker(TREE)
    tracker.take(listing(1))
    tracker.take(batch((5, value("port"))))
    tracker.take(batch((6, key("a"))))
    items = KeyValue(key("a"), b"", 6), KeyValue(value("port"), b"", 5)
    assert [found.revision for found in tracker.take(Listing(items, 20, 1))] == [6]


def test_a_value_counts_after_a_gap() -> None:
    """A project whose values changed in it does not keep its revision."""
    tracker = rendered()
    tracker.take(batch((10, value("port"))))
    items = listing(30, **{"config": 2, "x.j2": 3}).items
    kept = KeyValue(value("port"), b"", 10)
    assert [found.revision for found in tracker.take(Listing((*items, kept), 30, 1))] == [10]
    assert [found.revision for found in tracker.take(Listing(items, 40, 1))] == [40]


def test_a_policy_is_read_where_it_matters() -> None:
    """That is where a template is, and whenever one of both is new."""
    tracker = Tracker(TREE)
    tracker.take(listing(9, config=2, a=3))
    assert learn(tracker) == (set(), [])
    tracker.take(batch((10, key("x.j2"))))
    assert learn(tracker, policy("/s")) == ({"/s/"}, [])
    tracker.take(batch((11, key("x.j2")), (11, key("a"))))
    assert learn(tracker) == (set(), [])
    tracker.take(batch((12, key("config"))))
    assert learn(tracker, policy("/t")) == ({"/t/"}, ["/s/"])


@pytest.mark.parametrize("how", ["no render", "bad", "gone", "no template", "policy deleted", "removed"])
def test_a_prefix_is_followed_no_more(how: str) -> None:
    """As soon as nothing is rendered from what is below it."""
    tracker = rendered("/s")
    if how in ("no render", "bad", "gone"):
        tracker.take(batch((10, key("config"))))
        values = {"no render": policy("/s", render=False), "bad": b"{", "gone": None}
        assert learn(tracker, values[how]) == (set(), ["/s/"])
        return
    deleted = {"no template": ["x.j2"], "policy deleted": ["config"], "removed": ["x.j2", "config"]}[how]
    tracker.take(batch(*((10, key(name), True) for name in deleted)))
    assert learn(tracker) == (set(), ["/s/"])


def test_a_gap_ends_no_watch() -> None:
    """Policies are learned anew after it; a project that is gone watches nothing any more."""
    tracker = rendered("/s")
    tracker.take(listing(20, **{"config": 2, "x.j2": 3}))
    assert learn(tracker, policy("/s")) == (set(), [])
    tracker.take(listing(21))
    assert learn(tracker) == (set(), ["/s/"])


def watched() -> tuple[Tracker, Below]:
    """Return a tracker of two hosts that watch a prefix, and what is below it."""
    tracker = Tracker(TREE)
    items = [KeyValue(key(name, host), b"", 3) for host in ("web01", "web02") for name in ("config", "x.j2")]
    tracker.take(Listing(tuple(items), 9, 1))
    for owner in tracker.unread():
        tracker.learn(owner, policy("/s"))
    below = tracker.follow()[0]["/s/"]
    assert tracker.values("/s/", below, Resumed((), 9, 1)) == []
    return tracker, below


def test_a_watched_value_changes_all_who_watch() -> None:
    """At its revision, with what is there of each."""
    tracker, below = watched()
    assert tracker.values("/s/", below, batch((10, b"/s/a"), (11, b"/s/b"))) == [
        Change("a.com", host, 11, (2, 3), values_changed=True, beside=True) for host in ("web01", "web02")
    ]


def test_a_watched_value_is_due_after_a_gap() -> None:
    """Who watches does not keep the revision of its own keys: what it reported may be older than the value."""
    tracker, below = watched()
    tracker.values("/s/", below, batch((30, b"/s/a")))
    items = [KeyValue(key(name, host), b"", 3) for host in ("web01", "web02") for name in ("config", "x.j2")]
    assert [found.revision for found in tracker.take(Listing(tuple(items), 20, 1))] == [30, 30]
    assert [found.revision for found in tracker.take(Listing(tuple(items), 40, 1))] == [40, 40]
    assert [found.revision for found in tracker.take(Replaced(tuple(items), 8, 1))] == [8, 8]


def test_a_project_that_is_gone_watches_nothing() -> None:
    """Also before that was looked at, and when it leaves values behind."""
    tracker, below = watched()
    tracker.take(batch((9, value("port"))))
    tracker.take(batch((10, key("config"), True), (10, key("x.j2"), True)))
    (found,) = tracker.values("/s/", below, batch((11, b"/s/a")))
    assert found.host == "web02"


def test_what_is_owed_after_a_restart() -> None:
    """It comes with the revision that is due, be that before or beyond the position."""
    known = {
        ("a.com", "web01"): (OWED[0], 30),
        ("a.com", "web02"): (OWED[0], 5),
        ("a.com", "web03"): OWED,
        ("b.com", "web01"): UNKNOWN,
    }
    tracker = Tracker(TREE, known=known)
    items = [KeyValue(key("a", host, project), b"", 3) for project, host in known]
    found = tracker.take(Resumed(tuple(items), 9, 1))
    assert [(each.host, each.revision) for each in found] == [("web01", 30), ("web02", 5), ("web03", 9)]


def test_what_is_owed_stays_so() -> None:
    """No position brings it again, be it resumed, replayed or gone; all else comes again."""
    known = {("a.com", "web01"): (OWED[0], 5), ("b.com", "web01"): OWED, ("c.com", "web01"): UNKNOWN}
    items = [KeyValue(key("a", project="a.com"), b"", 3), KeyValue(key("a", project="c.com"), b"", 3)]
    for listing, expected in (
        (Resumed(tuple(items), 9, 1), [("a.com", True), ("b.com", True)]),
        (Listing(tuple(items), 9, 1), [("a.com", True), ("b.com", True), ("c.com", False)]),
    ):
        found = Tracker(TREE, known=known).take(listing)
        assert [(each.project, each.beside) for each in found] == expected
