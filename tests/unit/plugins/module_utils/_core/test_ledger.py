# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts remember, and the locks on it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import ledger as module
from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.host import deploy_all
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.model import Ledger, Move, Outcome, Owned
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel
from ansible_collections.watcher.config.plugins.module_utils._core.records import encoded
from ansible_collections.watcher.config.tests.unit.site import Site, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty host."""
    return Site(tmp_path)


FULL = Ledger(
    "web01",
    "a.com",
    7,
    12,
    11,
    {"deployPath": "/srv", "backupDir": "/b\udcff"},
    {("/srv", "a/\u00fc"): Owned("sha256:1"), ("/old", "b"): Owned("sha256:2", held=True)},
    (("/srv", "c"),),
    (("/srv", ""), ("/srv", "a")),
    ["a", "b"],
    3,
    (Move("set", "/srv", "a", "", "n", "o", "sha256:3", 0o644, 1, 2),),
    True,
)


def test_round_trip(tmp_path: Path) -> None:
    """A ledger is read as it was written, whatever bytes a name holds."""
    state = State(str(tmp_path / "state"))
    with state.lock("a.com"):
        state.save(FULL)
        assert state.load("web01", "a.com") == FULL
        assert state.load("web01", "b.com") == Ledger("web01", "b.com")
    assert state.projects() == ["a.com"]
    assert [path.stat().st_mode & 0o077 for path in Path(state.path).rglob("*")] == [0] * 3
    assert Path(state.path).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "spoil",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"a": ' * 2000 + "1" + "}" * 2000,
        json.dumps({**encoded(FULL), "revision": "12"}),
        json.dumps({**encoded(FULL), "files": {"/srv": {"a": {}}}}),
        json.dumps({**encoded(FULL), "claims": [["/srv"]]}),
        json.dumps({**encoded(FULL), "journal": [["set"]]}),
    ],
)
def test_damaged(site: Site, spoil: str) -> None:
    """A ledger that cannot be read stops its project, with its file named, and touches nothing."""
    site.deploy({"a": b"1"})
    (Path(site.state.folder("a.com")) / "ledger.json").write_text(spoil)
    before = tree(site.folder)
    outcome = site.deploy({"a": b"2"})
    assert outcome.state == "failed"
    assert f"{site.state.path}/a.com/ledger.json cannot be read" in outcome.msg
    assert "restore it, or remove it to start anew" in outcome.msg
    assert tree(site.folder) == before


def test_a_damaged_ledger_of_another_project(site: Site) -> None:
    """It stops new files, which might be the other's, and nothing else."""
    site.deploy({"a": b"1"})
    site.deploy({"b": b"1"}, name="b.com")
    (Path(site.state.folder("b.com")) / "ledger.json").write_text("{")
    assert site.deploy({"a": b"2"}).state == "deployed"
    outcome = site.deploy({"a": b"2", "b": b"2"})
    assert outcome.state == "failed"
    assert "b.com/ledger.json cannot be read" in outcome.msg
    assert site.deploy(None).state == "removed"


def test_another_hosts(site: Site) -> None:
    """Two hosts of the tree cannot share a state folder, and none removes the other's files."""
    site.deploy({"a": b"1"})
    outcome = deploy(replace(site.project({"a": b"2"}), host="web010"), site.state)
    assert outcome.state == "failed"
    assert "holds this project of host web01; give each host of the tree a state_dir of its own" in outcome.msg
    assert deploy_all(Parcel("web010", 20, 1), site.state) == []
    assert (site.root / "a").read_bytes() == b"1"


def test_no_state_folder(site: Site) -> None:
    """A state folder that cannot be made fails before anything is touched."""
    (site.folder / "state").write_bytes(b"")
    outcome = site.deploy({"a": b"1"}, beforeCmd=site.say("before"))
    assert outcome.state == "failed"
    assert f"state folder {site.state.path}" in outcome.msg
    assert not site.root.exists()
    with pytest.raises(DeployError, match="state folder"):
        site.state.projects()


def test_lock_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is waited for, not for ever; other projects are free meanwhile."""
    state = State(str(tmp_path))
    monkeypatch.setattr(module, "LOCK_WAIT", 0.1)
    with state.lock("a.com"):
        with state.lock("b.com"), state.lock():
            pass
        with (
            pytest.raises(DeployError, match=r"a\.com: another deployment has been running for 0\.1 s"),
            state.lock("a.com"),
        ):
            pass
    with state.lock("a.com"):
        pass


def test_threads_need_not_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of one process hand a lock on at once; only another process's lock is looked at again and again."""
    state, other = State(str(tmp_path)), State(str(tmp_path))
    monkeypatch.setattr(module, "LOCK_TICK", 60.0)
    held, done = threading.Event(), threading.Event()

    def act() -> None:
        held.wait(10)
        with state.lock("a.com"):
            done.set()

    thread = threading.Thread(target=act)
    thread.start()
    with state.lock("a.com"):
        held.set()
        assert not done.wait(0.05)
        with pytest.raises(DeployError, match="another deployment has been running for 0 s"), other.lock("a.com", 0):
            pass
    assert done.wait(10)
    thread.join()


def test_claimed_by_others(site: Site) -> None:
    """What another project's deployment has claimed is taken before it is there."""
    site.deploy({"a": b"1"})
    site.deploy({"b": b"1"}, name="b.com")
    with site.state.lock("b.com"):
        site.state.save(replace(site.ledger("b.com"), claims=((str(site.root), "c"),)))
    paths = {f"{site.root}/{name}": "b.com" for name in "bc"}
    assert site.state.taken("a.com", [*paths, f"{site.root}/a", f"{site.root}/d"]) == paths
    assert "c belongs to project b.com" in site.deploy({"a": b"1", "c": b""}).msg


def test_a_path_belongs_to_one_project(site: Site) -> None:
    """A second project is refused with the name of the first, by whatever way it comes to the file."""
    site.deploy({"d/f": b"1"})
    (site.folder / "link").symlink_to(site.root)
    others: list[tuple[dict[str, Any], str]] = [
        ({}, "d/f"),
        ({"deployPath": str(site.root / "d")}, "f"),
        ({"deployPath": str(site.folder)}, "deploy/d/f"),
        ({"deployPath": str(site.folder / "link" / "d")}, "f"),
    ]
    for fields, path in others:
        outcome = site.deploy({path: b"2", "other": b"2"}, name="b.com", **fields)
        assert outcome.state == "failed"
        assert (
            f"/{path} belongs to project a.com of this host; publish it in one of the two projects only" in outcome.msg
        )
    assert set(tree(site.root)) == {"d", "d/f"}
    assert site.deploy({"d/g": b"2"}, name="b.com").state == "deployed"  # a shared folder is fine
    site.deploy(None)
    assert set(tree(site.root)) == {"d", "d/g"}
    assert site.deploy({"d/f": b"2", "d/g": b"2"}, name="b.com").state == "deployed"
    assert site.deploy(None, name="b.com").state == "removed"


@pytest.mark.parametrize("there", [None, b"same", b"other"])
def test_the_same_path_at_the_same_time(site: Site, there: bytes | None) -> None:
    """Of many projects that want a path at once one gets it, and all others name that one."""
    site.root.mkdir()
    if there is not None:
        (site.root / "f").write_bytes(there)
    names = [f"p{number}" for number in range(8)]
    projects = {name: site.project({"f": b"same", name: b"1"}, name=name, checkCmd="sleep 0.05") for name in names}
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda name=name: outcomes.append(deploy(projects[name], site.state))) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome.project for outcome in outcomes if outcome.state == "deployed"]
    assert len(winners) == 1
    assert {outcome.msg.partition(" belongs to project ")[2].split(" ")[0] for outcome in outcomes} == {winners[0], ""}
    assert set(tree(site.root)) == {"f", winners[0]}


def test_a_failed_deployment_claims_nothing(site: Site) -> None:
    """A path that was not deployed in the end is free for others."""
    assert site.deploy({"f": b"1"}, beforeCmd="false").state == "failed"
    assert site.deploy({"f": b"2"}, name="b.com").state == "deployed"


def test_one_project_at_a_time(site: Site) -> None:
    """Deployments of one project never overlap, and the older one of two is stale."""
    command = f"mkdir {site.folder}/busy && sleep 0.02 && rmdir {site.folder}/busy"
    projects = [site.project({"f": b"%d" % number}, afterCmd=command) for number in range(6)]
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda item=item: outcomes.append(deploy(item, site.state))) for item in projects
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {outcome.state for outcome in outcomes} <= {"deployed", "stale"}
    assert (site.root / "f").read_bytes() == b"5"
    assert site.ledger().revision == 16
