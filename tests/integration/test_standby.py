# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real rulebooks on one tree under a stream of changes, of which the active one is killed again and again.

A playbook of one that was killed lets the host in hand come to its end, beside the playbook of the next one, and
begins with no other. So what counts is what hosts have done: a command of each policy logs project, revision and
content. Playbooks run on one host at a time, so that there are others when the kill comes.
WATCHER_LONG=1 kills ten times, otherwise it is two.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.rulebook_run import Rulebook
from ansible_collections.watcher.config.tests.source_run import Tree

pytestmark = pytest.mark.rulebook

KILLS = 10 if os.environ.get("WATCHER_LONG") else 2
PAIR = "pair"
LOCK = f"/watcher.sources/{PAIR}/lock"
HOSTS, PROJECTS = ["web01", "web02", "web03"], ["a.com", "b.com", "1.10"]
PROBE = "probe"  # the project that is being deployed at each kill, and changed just after it
PACE = 0.5  # seconds between two changes, twice that at most
AT_ONCE = 2.5  # seconds until another one has the lock that was released, half of what its lease takes to end
TAKEOVER = 10.0  # seconds until another one has the lock: a lease of 5 s, etcd's half second, a busy machine

CHOICE = random.Random(1)  # noqa: S311


@dataclass
class Stream:
    """Changes of all projects on all hosts in turn, and what was put last."""

    tree: Tree
    site: Site
    last: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    closing: threading.Event = field(default_factory=threading.Event)

    def publish(self) -> None:
        """Publish the policies, without files."""
        puts = [
            (f"/watcher/{host}/{project}/config", json.dumps(self._policy(host, project)).encode())
            for host in HOSTS
            for project in (*PROJECTS, PROBE)
        ]
        self.tree.store.commit(Write(puts=tuple(puts)))

    def _policy(self, host: str, project: str) -> dict[str, Any]:
        base = self.site.folder / host
        said = f'"$WATCHER_PROJECT $WATCHER_REVISION $(cat {base}/{project}/x)"'
        return {"deployPath": f"{base}/{project}", "afterCmd": f"echo {said} >> {base}/log"}

    def put(self, project: str, *hosts: str) -> str:
        """Change the project's file on hosts, in one transaction; return its content."""
        content = f"content-{next(self.numbers)}"
        puts = tuple((f"/watcher/{host}/{project}/config.d/x", content.encode()) for host in hosts)
        revision = self.tree.store.commit(Write(puts=puts))
        self.last.update({(host, project): (content, revision) for host in hosts})
        return content

    def run(self) -> None:
        """Change something until it is closed."""
        while not self.closing.wait(CHOICE.uniform(PACE, 2 * PACE)):
            self.put(CHOICE.choice(PROJECTS), CHOICE.choice(HOSTS))

    def have(self, project: str, content: str) -> list[str]:
        """Return the hosts that have this of a project."""
        return [host for host in HOSTS if self.on_disk(host, project) == content]

    def on_disk(self, host: str, project: str) -> str:
        """Return what a host has of a project."""
        path = self.site.folder / host / project / "x"
        return path.read_text() if path.exists() else ""

    def is_done(self) -> bool:
        """Return whether all that was put last is on disk and reported."""
        return all(
            self.on_disk(host, project) == content and self._reported(host, project) >= revision
            for (host, project), (content, revision) in self.last.items()
        )

    def _reported(self, host: str, project: str) -> int:
        item, _revision = self.tree.store.get(f"/watcher.status/{host}/{project}")
        status = json.loads(item.value) if item else {}
        return int(status["revision"]) if status.get("state") == "deployed" else 0

    def deployments(self) -> Counter[tuple[str, str]]:
        """Return how often each host has said the same."""
        logs = {host: self.site.folder / host / "log" for host in HOSTS}
        lines = {host: log.read_text().splitlines() if log.exists() else [] for host, log in logs.items()}
        return Counter((host, line) for host in HOSTS for line in lines[host])


@dataclass
class Pair:
    """The rulebooks that were started, and who has the lock."""

    site: Site
    tree: Tree
    folder: Path
    started: list[Rulebook] = field(default_factory=list)

    def start(self) -> Rulebook:
        """Start one more."""
        rulebook = Rulebook(self.site, self.folder / f"rulebook-{len(self.started)}")
        rulebook.environment["ANSIBLE_FORKS"] = "1"
        self.started.append(rulebook)
        rulebook.start(watcher_standby=PAIR)
        return rulebook

    def holder(self) -> int:
        """Return the process that holds the lock; 0 for none."""
        item, _revision = self.tree.store.get(LOCK)
        return int(json.loads(item.value)["pid"]) if item else 0


@pytest.fixture
def site(etcd: EtcdServer, tmp_path: Path) -> Site:
    """Return a controller of the hosts."""
    return Site(tmp_path, etcd.endpoint, HOSTS)


@pytest.fixture
def pair(site: Site, tree: Tree, tmp_path: Path) -> Iterator[Pair]:
    """Return no rulebooks yet; those that are started are killed in the end."""
    pair = Pair(site, tree, tmp_path)
    yield pair
    for rulebook in pair.started:
        rulebook.kill()


@pytest.fixture
def stream(site: Site, tree: Tree) -> Iterator[Stream]:
    """Return a stream that has not begun."""
    stream = Stream(tree, site)
    stream.publish()
    yield stream
    stream.closing.set()


def took(began: float, holds: Callable[[], object], rulebook: Rulebook, what: str) -> float:
    """Return the seconds from a time until something holds; fail with the rulebook's output when it does not."""
    rulebook.until(holds, what)
    return time.monotonic() - began


def has_lock(pair: Pair, rulebook: Rulebook) -> Callable[[], bool]:
    """Return how to see that it has the lock."""
    return lambda: pair.holder() == rulebook.pid


def stands_by(rulebook: Rulebook) -> Callable[[], bool]:
    """Return how to see that it stands by."""
    return lambda: f"standing by: {PAIR} is held by" in rulebook.output


def begin(pair: Pair) -> tuple[Rulebook, Rulebook]:
    """Start two and return the one that has the lock, and the one that stands by."""
    active = pair.start()
    active.until(has_lock(pair, active), "the first one has the lock")
    standby = pair.start()
    standby.until(stands_by(standby), "the second one stands by")
    return active, standby


def kill(pair: Pair, stream: Stream, active: Rulebook, standby: Rulebook, number: int) -> tuple[float, float]:
    """Kill the active one; return the seconds until the lock is taken, and until a change of just then is on disk."""
    before = stream.put(PROBE, *HOSTS)
    active.until(lambda: stream.have(PROBE, before), "the first host has it")
    active.crash()
    killed = time.monotonic()
    missing = set(HOSTS) - set(stream.have(PROBE, before))
    host = HOSTS[number % len(HOSTS)]
    content = stream.put(PROBE, host)
    orphans = [len(active.left())]
    locked = took(killed, has_lock(pair, standby), standby, "the other one takes over")
    orphans.append(len(active.left()))
    deployed = took(killed, lambda: stream.have(PROBE, content), standby, "it deploys")
    rest = missing - {host}
    standby.until(lambda: rest <= set(stream.have(PROBE, before)), "what was under way is deployed, too")
    print(
        f"kill with {len(missing)} hosts to go: lock after {locked:.1f} s, first change on disk after {deployed:.1f} s;"
        f" of the killed one's playbooks {orphans[0]} processes went on, {orphans[1]} still at the takeover"
    )
    return locked, deployed


def test_the_active_one_is_killed(pair: Pair, stream: Stream, record_property: Callable[[str, object], None]) -> None:
    """The other one takes over within seconds; each final revision is deployed, and none twice."""
    active, standby = begin(pair)
    writer = threading.Thread(target=stream.run, daemon=True)
    writer.start()
    active.until(lambda: sum(stream.deployments().values()) > 3, "changes are deployed")

    times = []
    for number in range(KILLS):
        times.append(kill(pair, stream, active, standby, number))
        assert f"took over {PAIR} at revision" in standby.output
        active, standby = standby, pair.start()
        standby.until(stands_by(standby), "a new one stands by")
    locked, deployed = zip(*times, strict=True)
    assert max(locked) < TAKEOVER

    stream.closing.set()
    writer.join()
    active.until(stream.is_done, "all that was put last is deployed")
    for rulebook in pair.started[:-2]:
        rulebook.gone()
    twice = {said: times for said, times in stream.deployments().items() if times > 1}
    assert twice == {}
    contents = Counter((host, line.split()[0], line.split()[2]) for host, line in stream.deployments())
    assert [said for said, times in contents.items() if times > 1] == []
    puts, runs = next(stream.numbers), sum(stream.deployments().values())
    summary = (
        f"{KILLS} takeovers: lock after {min(locked):.1f} to {max(locked):.1f} s, first change on disk after"
        f" {min(deployed):.1f} to {max(deployed):.1f} s; {puts} changes in {runs} deployments, none twice"
    )
    record_property("takeovers", summary)
    print(summary)
    assert active.stop() == 0
    standby.until(has_lock(pair, standby), "after a clean stop, too")
    assert standby.stop() == 0
    assert pair.holder() == 0


def test_a_clean_stop_hands_over_at_once(pair: Pair, stream: Stream) -> None:
    """Nobody waits for the lease; a change that comes just then is deployed once."""
    first, second = begin(pair)
    stream.put("a.com", "web01")
    first.until(stream.is_done, "a change is deployed")
    assert first.stop() == 0
    stopped = time.monotonic()
    stream.put("a.com", "web02")
    assert took(stopped, has_lock(pair, second), second, "the other one takes over") < AT_ONCE
    second.until(stream.is_done, "the next change is deployed")
    assert set(stream.deployments().values()) == {1}
