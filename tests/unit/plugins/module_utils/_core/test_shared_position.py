# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A position that event sources share: written while the lock is held, read by the next one that has it."""

from __future__ import annotations

import json
import zlib

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import shared_position
from ansible_collections.watcher.config.plugins.module_utils._core.changes import OWED, UNKNOWN
from ansible_collections.watcher.config.plugins.module_utils._core.errors import ConflictError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position
from ansible_collections.watcher.config.plugins.module_utils._core.shared_position import SharedPosition
from ansible_collections.watcher.config.plugins.module_utils._core.store import Guard
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
ROOT = "/watcher.sources/pair/"
POSITION = Position(2**64 - 1, 2**40, b"/watcher/web01/a.com/config.d/\xff", 2**40)
KNOWN = {("a.com", "web01"): (3, 4), ("a.com", "web02"): OWED, ("b.com", "web01"): UNKNOWN, ("c", "web01"): (-1, 7)}
TOTALS = {"/services/": (3, 2**41)}


class Shared:
    """A store with the lock of a name, and the positions of those that had it one after another."""

    def __init__(self) -> None:
        """Take the lock."""
        self.now = 0.0
        self.store = MemoryStore()
        self.take()

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def take(self) -> None:
        """Let somebody else have the lock."""
        self.lock = self.store.put(ROOT + "lock")

    def position(self, projects: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> SharedPosition:
        """Return the position of the one that has the lock now, read."""
        guard = Guard(ROOT + "lock", self.lock, exact=True)
        position = SharedPosition(self.store, TREE, "pair", guard, projects=projects, hosts=hosts, clock=self.clock)
        position.fetch()
        return position

    def keys(self) -> dict[str, int]:
        """Return the revisions of what was written."""
        return {
            item.key.decode()[len(ROOT) :]: item.revision
            for item in self.store.list(ROOT).items
            if not item.key.endswith(b"lock")
        }


@pytest.fixture
def shared() -> Shared:
    """Return a store with the lock of a name."""
    return Shared()


def test_it_comes_back_as_it_was(shared: Shared) -> None:
    """With all that is known, though that is in a key of its own."""
    first = shared.position()
    assert first.load() == (None, {}, {})
    first.save(POSITION, KNOWN, TOTALS)
    first.write()
    assert shared.position().load() == (POSITION, KNOWN, TOTALS)
    assert set(shared.keys()) == {"position", "known"}


def test_only_what_is_not_done_with_is_written_often(shared: Shared) -> None:
    """All marks of all hosts each second would fill the store."""
    position = shared.position()
    position.save(POSITION, KNOWN, TOTALS)
    position.write()
    found, _revision = shared.store.get(ROOT + "position")
    assert found is not None
    assert json.loads(found.value)["projects"] == {"a.com": {"web02": [-1, 0]}, "b.com": {"web01": [0, 0]},
                                                   "c": {"web01": [-1, 7]}}  # fmt: skip


def test_what_is_large_is_compressed(shared: Shared) -> None:
    """Twenty thousand hosts that owe an outcome are less than etcd takes, and come back."""
    known = {(f"project{number % 4}.example.com", f"web{number:05}.example.com"): OWED for number in range(20_000)}
    position = shared.position()
    position.save(POSITION, known, {})
    position.write()
    sizes = [len(item.value) for item in shared.store.list(ROOT).items]
    assert max(sizes) < shared_position.MAX_BYTES / 4
    assert shared.position().load() == (POSITION, known, {})


def test_the_pauses(shared: Shared) -> None:
    """The position once a second, what is known once in ten, and nothing that is there already."""
    position = shared.position()
    writes = []
    for tick in range(60):
        shared.now = tick / 4
        position.save(POSITION._replace(revision=100 + tick), {("a.com", "web01"): (1, tick)}, {})
        before = shared.keys()
        position.write()
        writes += [(key, shared.now) for key, revision in shared.keys().items() if before.get(key) != revision]
    assert [when for key, when in writes if key == "position"] == [float(second) for second in range(15)]
    assert [when for key, when in writes if key == "known"] == [0.0, 10.0]
    revision = shared.store.revision
    shared.now = 100.0
    position.write()
    position.write()
    assert shared.store.revision == revision + 1  # both keys in one transaction, once
    position.save(POSITION._replace(revision=159), {("a.com", "web01"): (1, 59)}, {})
    shared.now = 200.0
    position.write()
    assert shared.store.revision == revision + 1


def test_what_is_large_is_written_seldom(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of hosts that owe an outcome must not fill the store, either."""
    monkeypatch.setattr(shared_position, "RATE", 100)
    position = shared.position()
    owed = {("a.com", f"web{number:04}"): OWED for number in range(500)}
    position.save(POSITION, owed, {})
    position.write()
    first = shared.keys()["position"]
    found, _revision = shared.store.get(ROOT + "position")
    assert found is not None
    position.save(POSITION, {}, {})
    shared.now = len(found.value) / 100 - 0.1
    position.write()
    assert shared.keys()["position"] == first
    shared.now += 0.2
    position.write()
    assert shared.keys()["position"] > first


def test_what_is_too_large_is_told(
    shared: Shared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rest is written."""
    monkeypatch.setattr(shared_position, "MAX_BYTES", 300)
    position = shared.position()
    position.save(POSITION, {("a.com", f"web{number:04}"): (1, number**3) for number in range(500)}, {})
    position.write()
    assert set(shared.keys()) == {"position"}
    assert f"{ROOT}known is not written: its " in caplog.text


def test_the_last_time_waits_for_nothing(shared: Shared) -> None:
    """A clean stop writes what was saved last."""
    position = shared.position()
    for revision in (5, 6):
        position.save(POSITION._replace(revision=revision), {("a.com", "web01"): (1, revision)}, {})
        position.write(last=revision == 6)
    loaded = shared.position().load()
    assert loaded[0] is not None and loaded[0].revision == 6
    assert loaded[1] == {("a.com", "web01"): (1, 6)}


def test_who_had_the_lock_before_writes_nothing(shared: Shared) -> None:
    """Whatever it has saved: what the newer one wrote stays."""
    old = shared.position()
    old.save(POSITION, KNOWN, TOTALS)
    shared.take()
    with pytest.raises(ConflictError):
        old.write(last=True)
    assert shared.keys() == {}
    new = shared.position()
    new.save(POSITION, {}, {})
    new.write()
    shared.store.delete(ROOT + "lock")
    new.save(POSITION._replace(revision=1), {}, {})
    with pytest.raises(ConflictError):
        new.write(last=True)
    assert shared.position().load()[0] == POSITION


def test_a_write_that_fails_is_tried_again(shared: Shared) -> None:
    """The next time, though nothing new was saved."""
    position = shared.position()
    position.save(POSITION, KNOWN, TOTALS)
    shared.store.fail(UnavailableError("away"))
    with pytest.raises(UnavailableError):
        position.write()
    position.write()
    assert shared.position().load() == (POSITION, KNOWN, TOTALS)


def test_a_host_that_has_reported_since_is_not_known(shared: Shared) -> None:
    """Its files may be of another state than the marks, which are older."""
    position = shared.position()
    known = {("a.com", "web01"): (3, 4), ("a.com", "web02"): (3, 4)}
    shared.store.put("/watcher.status/web02/a.com")
    position.save(POSITION, known, {})
    position.write()
    shared.store.put("/watcher.status/web01/a.com")
    shared.store.put("/watcher.status/web03/a.com")
    shared.store.put("/watcher.status/localhost/a.com")
    assert shared.position().load()[1] == {
        ("a.com", "web01"): UNKNOWN,
        ("a.com", "web02"): (3, 4),
        ("a.com", "web03"): UNKNOWN,  # it may have deployed what came and went in between
    }


def test_another_selection_is_another_position(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """What was not looked at is not known."""
    position = shared.position(projects=("b", "a"), hosts=())
    position.save(POSITION, {}, {})
    position.write()
    assert shared.position(projects=("a", "b")).load()[0] == POSITION
    assert caplog.text == ""
    assert shared.position(projects=("a",)).load() == (None, {}, {})
    assert "is not used, all projects are replayed: its of_projects are ['a', 'b'], not ['a']" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        b"", b"{", b"null", b"\xff", b"[" * 100_000,
        {"version": 2}, {"revision": -1}, {"revision": 2**63}, {"revision": 1e999}, {"cluster_id": None},
        {"key": "/etc"}, {"projects": 3}, {"watched": []},
    ],
)  # fmt: skip
def test_a_position_that_is_not_ours(shared: Shared, caplog: pytest.LogCaptureFixture, change: object) -> None:
    """It is said, and leads to a replay."""
    position = shared.position()
    position.save(POSITION, KNOWN, TOTALS)
    position.write()
    found, _revision = shared.store.get(ROOT + "position")
    assert found is not None
    bad = json.dumps({**json.loads(found.value), **change}).encode() if isinstance(change, dict) else change
    assert isinstance(bad, bytes)
    shared.store.put(ROOT + "position", bad)
    assert shared.position().load() == (None, {}, {})
    assert f"{ROOT}position is not used" in caplog.text


@pytest.mark.parametrize(
    "bad", [b"", b"x", zlib.compress(b"{}"), zlib.compress(b" " * 2000), zlib.compress(b"{}")[:-1]]
)
def test_marks_that_are_not_ours(shared: Shared, caplog: pytest.LogCaptureFixture, bad: bytes) -> None:
    """Nothing is known then but what is not done with."""
    position = shared.position()
    position.save(POSITION, KNOWN, TOTALS)
    position.write()
    shared.store.put(ROOT + "known", bad)
    owed = {owner: mark for owner, mark in KNOWN.items() if mark[0] <= 0}
    assert shared.position().load() == (POSITION, owed, TOTALS)
    assert f"{ROOT}known is not used" in caplog.text


def test_what_swells_is_not_unpacked(
    shared: Shared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes must not become all of the memory."""
    position = shared.position()
    position.save(POSITION, KNOWN, TOTALS)
    position.write()
    found, _revision = shared.store.get(ROOT + "position")
    assert found is not None
    monkeypatch.setattr(shared_position, "MAX_UNPACKED", len(found.value) + 100)
    shared.store.put(ROOT + "position", zlib.compress(found.value + b" " * 100))
    assert shared.position().load()[0] == POSITION
    shared.store.put(ROOT + "position", zlib.compress(found.value + b" " * 101))
    assert shared.position().load()[0] is None
    assert "it is cut off, or too large" in caplog.text


def test_no_host_that_cannot_be_is_known(shared: Shared) -> None:
    """Who is known and not there is in an event, whose hosts are the limit of a run."""
    position = shared.position()
    bad = {("a.com", "all"): OWED, ("a.com", "-e"): OWED, ("../x", "web01"): OWED, ("a.com", "a b"): (2, 2)}
    position.save(POSITION, {**bad, ("a.com", "web01"): OWED}, {})
    position.write()
    assert shared.position().load()[1] == {("a.com", "web01"): OWED}


def test_whether_it_has_moved(shared: Shared) -> None:
    """As soon as it is another position than the one that was loaded."""
    position = shared.position()
    moves = [position.moved]
    position.save(POSITION, {}, {})
    moves.append(position.moved)
    position.write()
    position = shared.position()
    position.save(POSITION, {}, {})
    assert [*moves, position.moved] == [False, True, False]
