# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of event sources that stand by for each other, on every store, with processes that die and freeze."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.lock import LEASE, Hold, Lock
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.contract.fixtures import BOB, keys, put
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_process import SourceProcess

Open = Callable[..., EtcdStore]
ROOT = "/watcher.sources/pair/"
KEY = ROOT + "lock"
STOP = 3.0  # seconds for a clean stop: it needs one at most, and Python some more
TAKEOVER = LEASE + 3.0  # seconds: etcd ends leases up to a second late, and this machine may be busy


def lock(store: Store, pid: int) -> Lock:
    """Return the lock of a process."""
    return Lock(store, KEY, {"hostname": "control1", "pid": pid, "started": "now"})


def taken(lock: Lock) -> Hold:
    """Return the lock, which is free."""
    hold = lock.take()
    assert hold is not None
    return hold


def test_one_at_a_time(store: Store) -> None:
    """It is released, deleted and revoked, and each time the other one can have it."""
    one, other = lock(store, 1), lock(store, 2)
    first = taken(one)
    assert other.take() is None
    assert other.holder == "host control1 (pid 1, since now)"
    one.renew(first)
    assert first.held()
    one.release(first)
    second = taken(other)
    assert one.take() is None
    store.commit(Write(deletes=(KEY,)))
    third = taken(one)
    other.renew(second)
    assert (second.held(), second.why) == (False, "its key was replaced, by host control1 (pid 1, since now)")
    store.revoke(third.lease)
    one.renew(third)
    assert (third.held(), third.why) == (False, "its lease has ended")
    assert keys(store, ROOT) == []


def test_who_does_not_renew_stops_first(store: Store) -> None:
    """By its own clock the time is over while the key is still there; when that is gone, another one has it."""
    first = taken(lock(store, 1))
    eventually(lambda: not first.held(), "its time is over")
    assert keys(store, ROOT) == [KEY]
    other = lock(store, 2)
    eventually(other.take, "the other one has it")
    assert not first.held()


class Pair:
    """Two processes on one tree, of which the first is on duty."""

    def __init__(self, server: EtcdServer, store: Store, folder: Path, **options: Any) -> None:
        """Start both."""
        self.server, self.store, self.folder = server, store, folder
        self._options = {"standby": "pair", "batch": 0, **options}
        self.members: list[SourceProcess] = []
        for text in ("took over pair with no position", "standing by: pair is held by"):
            self.said(self.start(), text)

    def start(self) -> SourceProcess:
        """Start one more."""
        self.members.append(SourceProcess(self.server, self.folder, len(self.members), **self._options))
        return self.members[-1]

    def said(self, member: SourceProcess, text: str) -> None:
        """Wait until it has logged a text."""
        eventually(lambda: text in member.log(), text)

    def publish(self, project: str) -> int:
        """Change a project and return the revision."""
        return put(self.store, (f"/watcher/web01/{project}/config", b"{}"))

    def handed(self, member: SourceProcess, project: str, bound: float = TAKEOVER) -> float:
        """Wait for an event of a project, which its host then reports, and return the seconds; no other may come."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            found.extend(member.events())
            return bool(found)

        seconds = eventually(came, f"an event of {project}; the log is {member.log()}", bound)
        assert [event["project"] for event in found] == [project]
        _item, now = self.store.get(KEY)
        status = json.dumps({"state": "deployed", "by": "playbook", "wantedRevision": now}).encode()
        put(self.store, (f"/watcher.status/web01/{project}", status))
        return seconds

    def close(self) -> None:
        """Kill all."""
        for member in self.members:
            member.kill()


@pytest.fixture
def pair(server: EtcdServer, opened: Open, tmp_path: Path) -> Any:
    """Return two processes on one tree."""
    pair = Pair(server, opened(server.endpoint), tmp_path)
    yield pair
    pair.close()


def test_a_process_that_is_killed(pair: Pair) -> None:
    """The other one takes over when the lease ends, where the first one was."""
    first, second = pair.members
    pair.publish("a")
    pair.handed(first, "a")
    first.kill()
    pair.publish("b")
    seconds = pair.handed(second, "b")
    print(f"taken over {seconds:.1f} s after a kill")
    assert "took over pair at revision" in second.log()


def test_a_process_that_is_stopped(pair: Pair) -> None:
    """The other one takes over at once."""
    first, second = pair.members
    pair.publish("a")
    pair.handed(first, "a")
    first.stop()
    begin = time.monotonic()
    pair.publish("b")
    pair.handed(second, "b")
    assert time.monotonic() - begin < LEASE / 2
    position, _revision = pair.store.get(ROOT + "position")
    assert position is not None


def test_a_process_that_freezes(pair: Pair) -> None:
    """The other one takes over; when the first goes on it hands on nothing and stands by, until it is needed."""
    first, second = pair.members
    pair.publish("a")
    pair.handed(first, "a")
    first.freeze()
    pair.publish("b")
    pair.handed(second, "b")
    first.thaw()
    pair.said(first, "lost pair: ")
    pair.said(first, "standing by: pair is held by")
    pair.publish("c")
    pair.handed(second, "c")
    assert first.events() == []
    second.stop()
    pair.publish("d")
    pair.handed(first, "d")
    assert [line for line in first.log().splitlines() if "Traceback" in line] == []


def test_a_server_that_freezes(pair: Pair) -> None:
    """For longer than the lease; then one of them goes on where it was, and nothing comes twice."""
    first, second = pair.members
    pair.publish("a")
    pair.handed(first, "a")
    pair.server.freeze()
    pair.said(first, "lost pair: it could not be renewed")
    pair.server.thaw()
    pair.publish("b")
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found.extend(first.events() + second.events())
        return bool(found)

    eventually(came, "an event")
    assert [event["project"] for event in found] == ["b"]
    pair.server.freeze()
    assert max(member.stop() for member in pair.members) < STOP


def test_the_rights_that_it_needs(server: EtcdServer, opened: Open, tmp_path: Path) -> None:
    """Without them the rulebook ends and says which; with them it does its work."""
    server.enable_auth()
    server.add_user("bob", BOB["password"], "/watcher/", "/watcher.status/")
    store = opened(server.endpoint, username="root", password="root's password")
    with SourceProcess(server, tmp_path, 0, standby="pair", **BOB) as refused:
        assert refused.process.wait(20) != 0
        *_above, last = refused.log().strip().splitlines()
        assert "for user 'bob': its roles do not permit that" in last
        assert last.endswith(f"; with standby the etcd user has to read and write below {ROOT}")
    server.etcdctl("role", "grant-permission", "bob", "--prefix=true", "readwrite", "/watcher.sources/")
    pair = Pair(server, store, tmp_path, **BOB)
    try:
        pair.publish("a")
        pair.handed(pair.members[0], "a")
        eventually(lambda: ROOT + "position" in keys(store, ROOT), "the position is written")
    finally:
        pair.close()
