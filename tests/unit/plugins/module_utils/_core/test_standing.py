# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How projects stand, by ledgers as deployments leave them, and whether an agent serves the state folder."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import standing
from ansible_collections.watcher.config.plugins.module_utils._core.alone import LOCK, alone
from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import SPOOL, State
from ansible_collections.watcher.config.plugins.module_utils._core.model import Move
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
from ansible_collections.watcher.config.plugins.module_utils._core.standing import Standing
from ansible_collections.watcher.config.tests.unit.site import Site

SINCE = "2026-01-31T10:00:00.000Z"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host in a folder."""
    return Site(tmp_path)


def only(site: Site) -> Standing:
    """Return how the one project of a host stands, as another process finds it."""
    (found,) = standing.standings(State(site.state.path), "web01")
    return found


def change(site: Site, **values: Any) -> None:
    """Give the ledger of a.com these values."""
    with site.state.lock("a.com"):
        site.state.save(replace(site.ledger(), **values))


def test_deployed(site: Site) -> None:
    """What is on the disk, and nothing to do."""
    site.deploy({"x": b"1", "y": b"2"}, backupDir=str(site.backups))
    found = only(site)
    assert found == Standing(
        "a.com", "deployed", 11, 11, 11, files=2, deploy_path=str(site.root), backup_dir=str(site.backups)
    )
    assert found.settled


def test_failed(site: Site) -> None:
    """A deployment that failed says why, since when and how often, and what is still applied."""
    site.deploy({"x": b"1"})
    first = site.deploy({"x": b"2"}, beforeCmd="echo no good; exit 3")
    site.deploy({"x": b"2"}, beforeCmd="echo no good; exit 3", revision=site.revision)
    found = only(site)
    assert (found.state, found.revision, found.observed, found.attempts) == ("failed", 11, 12, 2)
    assert found.since == first.finished
    assert found.msg == "beforeCmd failed with exit status 3: no good"
    assert not found.settled


def test_the_next_try(site: Site) -> None:
    """It is shown as long as somebody keeps it."""
    site.deploy({"x": b"1"}, beforeCmd="false", retry=True)
    with alone(site.state.path):
        assert only(site).due == site.ledger().due > ""
    assert only(site).due == ""


def test_held(site: Site) -> None:
    """Files of a project whose policy is gone stay, and a mass removal is held."""
    site.deploy({f"f{number}": b"" for number in range(20)})
    site.deploy({"f1": b""})
    found = only(site)
    assert (found.state, found.attempts) == ("held", 0)
    assert "19 of 20 files" in found.msg
    assert found.since


def test_held_after_another_store(site: Site) -> None:
    """Files that a new store lacks are told of although the rest is deployed."""
    site.deploy({"x": b"1", "y": b"1"})
    ledger = site.ledger()
    held = {place: replace(owned, held=place[1] == "y") for place, owned in ledger.files.items()}
    change(site, files=held)
    assert (only(site).state, only(site).settled) == ("held", False)
    assert "'y'" in only(site).msg


def test_waiting(site: Site) -> None:
    """A policy that is not there yet is waited for."""
    deploy(replace(site.project({"x": b"1"}), policy=None), site.state)
    assert (only(site).state, only(site).files) == ("waiting", 0)
    assert "policy (key config) is missing" in only(site).msg


def test_empty(site: Site) -> None:
    """A project that was removed stays known, and nothing is wrong with it."""
    site.deploy({"x": b"1"})
    site.deploy(None)
    assert (only(site).state, only(site).files, only(site).settled) == ("empty", 0, True)


def test_owed_and_pending(site: Site) -> None:
    """Commands that did not run, and a revision that was seen and not applied, since the ledger was written."""
    site.deploy({"x": b"1"})
    change(site, owed=("x",))
    assert only(site).state == "owed"
    assert only(site).since.startswith("20")
    change(site, owed=None, observed=99)
    assert (only(site).state, only(site).observed) == ("pending", 99)


def test_interrupted(site: Site) -> None:
    """A journal means a deployment at work as long as somebody holds the project, and a killed one after that."""
    site.deploy({"x": b"1"})
    change(site, journal=(Move("set", str(site.root), "x"),), owed=("x",))
    assert only(site).state == "interrupted"
    with site.state.lock("a.com"):
        assert only(site).state == "deploying"
    change(site, done=True, owed=None)
    assert only(site).state == "deployed"


def test_unreadable(site: Site) -> None:
    """A ledger that cannot be read, or is of another host, says so and hides no other project."""
    site.deploy({"x": b"1"})
    (Path(site.state.path) / "b.com").mkdir()
    (Path(site.state.path) / "b.com" / "ledger.json").write_text("{")
    found = standing.standings(State(site.state.path), "web01")
    assert [project.state for project in found] == ["deployed", "unreadable"]
    assert "ledger.json" in found[1].msg
    assert "web01" in standing.standings(State(site.state.path), "web02")[0].msg


def test_the_table(site: Site) -> None:
    """Columns are aligned, and a message is one line."""
    projects = [
        Standing("a.com", "deployed", 11, 11),
        Standing("b", "failed", 0, 12, 0, SINCE, 3, msg="a\nb", due=SINCE),
    ]
    assert standing.table(projects) == [
        "PROJECT  STATE     APPLIED  OBSERVED  SINCE                     TRIES  NEXT                      MESSAGE",
        "a.com    deployed  11       11        -                         -      -",
        "b        failed    -        12        2026-01-31T10:00:00.000Z  3      2026-01-31T10:00:00.000Z  a b",
    ]


def test_the_headline(site: Site) -> None:
    """It says whether an agent serves the host, or that this cannot be told."""
    projects = [Standing("a.com", "deployed"), Standing("b", "failed")]
    for pid, words in ((0, "no agent runs"), (7, "agent 7 runs"), (None, "whether an agent runs cannot be told")):
        assert (
            standing.headline("web01", "/s", pid, projects, 0) == f"host web01, /s: {words}; 2 projects, 1 not settled"
        )
    assert standing.headline("web01", "/s", 7, [], 3).endswith("0 not settled, 3 callbacks wait")


def test_callbacks(tmp_path: Path) -> None:
    """Those that wait are counted where an agent puts them."""
    assert standing.callbacks(str(tmp_path)) == 0
    spool = Spool(str(tmp_path / SPOOL))
    for _unused in range(2):
        spool.put("http://127.0.0.1:1/", {})
    assert standing.callbacks(str(tmp_path)) == 2


def test_json() -> None:
    """The names of the ledger's three revisions."""
    data = Standing("a.com", "failed", 1, 3, 2, SINCE, 4, 5, "/srv", "/backup", "why", "then").to_json()
    assert data == {
        "project": "a.com",
        "state": "failed",
        "revision": 1,
        "observed": 3,
        "staged": 2,
        "since": SINCE,
        "attempts": 4,
        "due": "then",
        "files": 5,
        "deployPath": "/srv",
        "msg": "why",
    }


def test_the_agent(tmp_path: Path) -> None:
    """An agent is there as long as its lock is held, whatever the file says afterwards; to look disturbs nobody."""
    folder = str(tmp_path / "state")
    assert standing.agent(folder) == 0
    with alone(folder):
        assert standing.agent(folder) == os.getpid()
    assert (tmp_path / "state" / LOCK).read_text() == f"{os.getpid()}\n"
    assert standing.agent(folder) == 0


def test_an_agent_that_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed where the lock or the list of locks cannot be read."""
    with alone(str(tmp_path)):
        monkeypatch.setattr(standing, "LOCKS", str(tmp_path / "none"))
        assert standing.agent(str(tmp_path)) is None
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()
    assert standing.agent(str(tmp_path)) is None


def test_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list names another device than stat, the process that is expected counts, and no other."""
    path = tmp_path / "lock"
    path.touch()
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE 7 fe:ff:{path.stat().st_ino} 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE 42 fe:ff:{path.stat().st_ino} 0 EOF\n"
        f"2: -> FLOCK  ADVISORY  WRITE 43 fe:ff:{path.stat().st_ino} 0 EOF\n"
    )
    monkeypatch.setattr(standing, "LOCKS", str(locks))
    assert [standing.holder(str(path), pid) for pid in (42, 7, 43)] == [42, None, None]
