# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tracker makes of listings and batches."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.changes import MAX_FILES, Change, Tracker
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Resumed
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, KeyValue, Listing

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


def test_changes_add_up() -> None:
    """The later action on a file counts, and a cut stays one."""
    first = change(10, (3, 10), policy_changed=True, files={"a": "set", "b": "set"}, files_cut=2)
    second = change(11, (2, 11), files={"b": "delete", "c": "set"})
    assert first.then(second) == change(
        11, (2, 11), policy_changed=True, files={"a": "set", "b": "delete", "c": "set"}, files_cut=2
    )


def test_a_replay_stands_alone() -> None:
    """It says all there is; a change after it makes it no less a replay."""
    replayed = change(20, (1, 20), files={"a": "set"}, replayed=True)
    assert change(10, (1, 10), files={"b": "delete"}).then(replayed) == replayed
    assert replayed.then(change(21, (1, 21), files={"a": "set"})).replayed
