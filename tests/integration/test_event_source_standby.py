# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two event sources of one name as processes, killed and frozen under a stream of changes."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_process import SourceProcess
from ansible_collections.watcher.config.tests.source_run import Tree

HOSTS = ("web01", "web02", "web03")
PROJECTS = ("a", "b", "c", "d")
PACE = 0.05  # seconds between two changes
BOUND = 20.0  # seconds until what was published has to be handed on; the lease is 5 of them
LOCK = "/watcher.sources/pair/lock"


class Fleet(threading.Thread):
    """Hosts that report each event of the members at once, so that none is open when one is killed."""

    def __init__(self, server: EtcdServer, members: list[SourceProcess]) -> None:
        """Begin."""
        super().__init__(daemon=True)
        self.handed: Counter[tuple[str, str, int]] = Counter()  # project, host, revision
        self.newest: dict[tuple[str, str], int] = {}
        self._members = members
        self._store = connect(Connection((server.endpoint,)))
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Report until `end`."""
        while not self._ended.is_set():
            for member in list(self._members):
                for event in member.events():
                    self._report(event)
            time.sleep(0.005)
        self._store.close()

    def end(self) -> None:
        """Report no more."""
        self._ended.set()
        self.join()

    def _report(self, event: dict[str, Any]) -> None:
        for change in event["changes"]:
            owner = event["project"], change["host"]
            self.handed[(*owner, change["revision"])] += 1
            self.newest[owner] = max(self.newest.get(owner, 0), change["revision"])
            status = {"state": "deployed", "by": "playbook", "wantedRevision": change["revision"]}
            key = f"/watcher.status/{change['host']}/{event['project']}"
            self._store.commit(Write(puts=((key, json.dumps(status).encode()),)))


class Stream(threading.Thread):
    """Changes of all projects on all hosts, one after another."""

    def __init__(self, server: EtcdServer) -> None:
        """Begin."""
        super().__init__(daemon=True)
        self.newest: dict[tuple[str, str], int] = {}
        self._tree = Tree(server)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Change something until `end`."""
        number = 0
        while not self._ended.wait(PACE):
            project, host = PROJECTS[number % len(PROJECTS)], HOSTS[number % len(HOSTS)]
            self.newest[(project, host)] = self._tree.put(f"{host}/{project}/config.d/x")
            number += 1
        self._tree.store.close()

    def end(self) -> None:
        """Change no more."""
        self._ended.set()
        self.join()


def test_under_a_stream_of_changes(etcd: EtcdServer, tree: Tree, tmp_path: Path) -> None:
    """Each last change is handed on, and none twice, whoever is killed, frozen, stopped or robbed of its lock."""
    members: list[SourceProcess] = []

    def start() -> None:
        members.append(SourceProcess(etcd, tmp_path, len(members), standby="pair", batch=0.05, hold=30))

    def holder() -> SourceProcess:
        found, _revision = tree.store.get(LOCK)
        pid = json.loads(found.value)["pid"] if found else 0
        return next((member for member in members if member.process.pid == pid), members[0])

    def held(revision: int) -> bool:
        found, _now = tree.store.get(LOCK)
        return found is not None and found.revision > revision

    def moves(since: int) -> float:
        """Return the seconds until another one has the lock and hands on changes."""
        begin = time.monotonic()
        eventually(lambda: held(since), "the lock is taken", BOUND)
        count = sum(fleet.handed.values())
        eventually(lambda: sum(fleet.handed.values()) > count, "an event", BOUND)
        return time.monotonic() - begin

    start()
    eventually(lambda: "took over pair" in members[0].log(), "it is on duty")
    start()
    fleet, stream = Fleet(etcd, members), Stream(etcd)
    try:
        eventually(lambda: len(fleet.newest) == len(PROJECTS) * len(HOSTS), "all projects")
        for way in ("kill", "freeze", "stop", "delete", "kill"):
            active, revision = holder(), tree.store.get(LOCK)[1]
            if way == "delete":
                tree.store.commit(Write(deletes=(LOCK,)))
            else:
                getattr(active, way)()
            print(f"{way}: taken over in {moves(revision):.1f} s")
            if way == "freeze":
                active.thaw()
            elif way != "delete":
                start()
        stream.end()
        eventually(lambda: fleet.newest == stream.newest, "all last changes", BOUND)
    finally:
        stream.end()
        fleet.end()
        for member in members:
            member.kill()
    assert [change for change, times in fleet.handed.items() if times > 1] == []
    assert not [member.log() for member in members if "Traceback" in member.log()]
