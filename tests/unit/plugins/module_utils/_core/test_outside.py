# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a doctor makes of etcd's endpoints, of clocks and of the agent's key."""

from __future__ import annotations

import json

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import outside
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Endpoint
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.finding import FAIL, OK, WARN
from ansible_collections.watcher.config.plugins.module_utils._core.probes import Probe
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

ONE, TWO = Endpoint("10.0.0.1"), Endpoint("10.0.0.2")
KEY = "/watcher.agents/web01"
BODY = json.dumps({"pid": 42, "version": "1", "started": "today"}).encode()


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know nothing of this machine's clock."""
    monkeypatch.setattr(outside, "is_synchronised", lambda: None)


def test_endpoints() -> None:
    """Each has a line; those of different clusters are told together."""
    same = [Probe(ONE, latency=0.0012, cluster_id=10, version="3.5.1"), Probe(TWO, UnavailableError("away"))]
    assert [str(finding) for finding in outside.endpoints(same)] == [
        "OK    etcd: http://10.0.0.1:2379 answers within 1.2 ms, version 3.5.1",
        "FAIL  etcd: away",
    ]
    *_unused, last = outside.endpoints([Probe(ONE, cluster_id=10), Probe(TWO, cluster_id=11)])
    assert (last.level, "10.0.0.1:2379 is of a, http://10.0.0.2:2379 is of b" in last.text) == (FAIL, True)


@pytest.mark.parametrize(
    ("skew", "level", "says"),
    [
        (0.4, OK, "within 5 s of that of http://10.0.0.1:2379"),
        (-4.9, OK, "within 5 s"),
        (3600.2, WARN, "3600 s ahead of that of"),
        (-7.0, WARN, "7 s behind that of"),
        (None, WARN, "not compared with http://10.0.0.1:2379"),
    ],
)
def test_clocks(skew: float | None, level: str, says: str) -> None:
    """More than five seconds are too many."""
    (finding,) = outside.clock([Probe(ONE, skew=skew), Probe(TWO, UnavailableError("away"))])
    assert (finding.level, says in finding.text) == (level, True)


@pytest.mark.parametrize(("answer", "level"), [(True, OK), (False, WARN)])
def test_the_kernel(answer: bool, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells whether something keeps the clock right."""
    monkeypatch.setattr(outside, "is_synchronised", lambda: answer)
    assert [finding.level for finding in outside.clock([])] == [level]


@pytest.mark.parametrize(
    ("leased", "pid", "level", "says"),
    [
        (True, 42, OK, "its lease is alive (process 42, version 1, since today)"),
        (True, 7, FAIL, "is of another agent (process 42"),
        (True, 0, WARN, "does not serve here"),
        (True, None, OK, "its lease is alive"),
        (False, 42, FAIL, "has no lease and stays for ever"),
    ],
)
def test_registration(leased: bool, pid: int | None, level: str, says: str) -> None:
    """The key is of the agent that serves here, and under a lease."""
    store = MemoryStore()
    store.commit(Write(puts=((KEY, BODY),), lease=store.grant(60) if leased else 0))
    finding = outside.registration(store, KEY, pid)
    assert (finding.level, says in finding.text) == (level, True), finding


@pytest.mark.parametrize(("pid", "level"), [(42, FAIL), (0, OK), (None, OK)])
def test_no_registration(pid: int | None, level: str) -> None:
    """An agent that runs has a key."""
    assert outside.registration(MemoryStore(), KEY, pid).level == level


def test_a_registration_of_nobody() -> None:
    """What is no agent's value is another's."""
    store = MemoryStore()
    store.commit(Write(puts=((KEY, b"[]"),), lease=store.grant(60)))
    assert "nothing that can be read" in outside.registration(store, KEY, 42).text


def test_this_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, or says that it does not."""
    monkeypatch.undo()
    assert outside.is_synchronised() in (True, False, None)
