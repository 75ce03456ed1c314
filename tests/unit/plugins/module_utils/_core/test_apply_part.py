# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments of a part of a project: they end where the whole would, and cost what changed."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import ledger as ledger_module
from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy, deploy_part
from ansible_collections.watcher.config.plugins.module_utils._core.model import Move, Project
from ansible_collections.watcher.config.plugins.module_utils._core.plan import MASS
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.tests.unit.site import Site, forked, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty host."""
    return Site(tmp_path)


PATHS = ["a", "b", "d/a", "d/b", "d/e/f", "x", "y/z/a"]


def changed(chance: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return other files; what was a file may be a folder then, and the other way round."""
    files = dict(files)
    for path in chance.sample(PATHS, chance.randrange(1, 4)):
        files.pop(path, None)
        if chance.random() < 0.6:
            files[path] = b"%d" % chance.randrange(3)
    if chance.random() < 0.3:
        files = {path: content for path, content in files.items() if path.split("/")[0] not in ("x", "y")}
        files[chance.choice(["x", "x/y/a", "x/y/b", "y"])] = b"other"
    return {path: content for path, content in files.items() if path not in ("x", "y") or f"{path}/" not in str(files)}


def test_a_part_ends_where_the_whole_does(tmp_path: Path) -> None:
    """However files come, change, go, and turn into folders, disk and ledger are the same."""
    chance = random.Random(3)  # noqa: S311 (no secret)
    whole, parts = Site(tmp_path / "whole"), Site(tmp_path / "parts")
    files: dict[str, bytes] = {"keep": b""}
    taken = 0
    for site in (whole, parts):
        site.deploy(files)
    for revision in range(20, 80):
        new = changed(chance, files)
        part = {path: content for path, content in new.items() if files.get(path) != content}
        gone = [path for path in files if path not in new]
        expected = whole.deploy(new, revision=revision, backupDir=str(whole.backups), keepBackups=0)
        outcome = parts.part(part, gone, revision=revision, backupDir=str(parts.backups), keepBackups=0)
        if outcome is None:
            assert taken == 0  # only the first: then the policy changes
            outcome = parts.deploy(new, revision=revision, backupDir=str(parts.backups), keepBackups=0)
        taken += outcome.ran
        names = ("state", "msg", "revision", "wanted_revision", "ran", "attempts", "notes", "since")
        for name in names:
            assert getattr(outcome, name) == getattr(expected, name)
        assert [(item.path, item.action, item.md5) for item in outcome.changes] == [
            (item.path, item.action, item.md5) for item in expected.changes
        ]
        assert tree(parts.root) == tree(whole.root)
        assert parts.saved() == whole.saved()
        one, other = whole.ledger(), parts.ledger()
        assert {place[1]: owned for place, owned in one.files.items()} == {
            place[1]: owned for place, owned in other.files.items()
        }
        assert sorted(path for _root, path in one.folders) == sorted(path for _root, path in other.folders)
        plain: dict[str, Any] = {"policy": None, "files": {}, "folders": ()}
        assert replace(one, **plain) == replace(other, **plain)
        files = new
    assert taken > 40
    assert parts.temporaries() == []


def cost(site: Site, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many files and folders one changed file makes a project of so many open and look at."""
    site.deploy({f"d{number}/f": b"1" for number in range(count)})
    calls = 0

    def counted(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return call(*arguments, **named)

    with monkeypatch.context() as patch:
        for name in ("open", "stat", "lstat", "readlink", "mkdir", "rmdir"):
            patch.setattr(os, name, functools.partial(counted, getattr(os, name)))
        outcome = site.part({"d0/f": b"2", "d0/new": b""}, ["d1/f"])
    assert outcome is not None
    assert outcome.state == "deployed"
    return calls


def test_the_cost_is_that_of_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow with the files that have not changed; these are not even looked at."""
    few, many = Site(tmp_path / "few"), Site(tmp_path / "many")
    assert cost(few, 2, monkeypatch) == cost(many, 200, monkeypatch)
    (many.root / "d7" / "f").write_bytes(b"drifted")
    outcome = many.part({"d0/f": b"3"})
    assert outcome is not None
    assert (outcome.state, outcome.digest, outcome.files) == ("deployed", "", 0)
    assert (many.root / "d7" / "f").read_bytes() == b"drifted"
    assert len(many.ledger().files) == 200


def nothing(site: Site) -> None:
    """Leave a host as it is."""


def owing(site: Site) -> None:
    """Let a command fail whose files stay."""
    assert site.deploy({"a": b"2", "b": b"2"}, onFailure="keep", afterCmd="false").state == "failed"
    assert site.ledger().owed is not None


def failing(site: Site) -> None:
    """Let a deployment fail before anything is changed."""
    assert site.deploy({"a": b"2", "b": b"2"}, checkCmd="false").state == "failed"


def holding(site: Site) -> None:
    """Lose a file with the store."""
    assert site.deploy({"a": b"1"}, revision=5).state == "stale"
    project = replace(site.project({"a": b"1"}), cluster_id=7)
    outcome = deploy(project, site.state)
    assert "missing from a store that was replaced" in outcome.msg
    assert [owned.held for owned in site.ledger().files.values()].count(True) == 1


def dying(site: Site) -> None:
    """Be killed in a command."""
    assert forked(lambda: site.deploy({"a": b"2", "b": b"2"}, beforeCmd="kill -9 $PPID")) == -9


def cleaning(site: Site) -> None:
    """Be killed before the last temporary file was removed."""
    (site.root / ".watcher-1o").write_bytes(b"")
    left = Move("set", str(site.root), "a", "", ".watcher-1n", ".watcher-1o")
    site.state.save(replace(site.ledger(), journal=(left,), done=True))


def newer(site: Site) -> None:
    """Have a newer revision deployed."""
    site.deploy({"a": b"1", "b": b"1"}, revision=99)


def refused(site: Site) -> None:
    """Want a path that is a folder of others."""
    (site.root / "c").mkdir()
    assert site.deploy({"a": b"1", "b": b"1", "c": b""}).state == "failed"


def suddenly(site: Site) -> None:
    """Lose most of a project at once."""
    site.deploy({f"f{number}": b"" for number in range(40)})
    assert site.deploy({"f1": b""}).state == "held"


def forgotten(site: Site) -> None:
    """Lose the ledger."""
    (Path(site.state.folder("a.com")) / "ledger.json").unlink()


@pytest.mark.parametrize("before", [owing, failing, holding, dying, cleaning, newer, refused, suddenly, forgotten])
def test_no_part_after(site: Site, before: Callable[[Site], None]) -> None:
    """After anything but a plain success a part says too little, and nothing is done."""
    site.deploy({"a": b"1", "b": b"1"})
    before(site)
    was = tree(site.folder)
    revision = 50 if site.ledger().revision < 50 else 60
    assert site.part({"a": b"9"}, revision=revision) is None
    assert tree(site.folder) == was


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({"mode": "0600"}, {}),
        ({"checkCmd": "true"}, {}),
        ({}, {"policy": Policy("/srv", files={"a": "sha256:" + "0" * 64})}),
        ({"deployPath": "/elsewhere"}, {}),
        ({}, {"cluster_id": 2}),
        ({}, {"rejected": {"/watcher/web01/a.com/config.d/b": "too long"}, "kept": frozenset("b")}),
        ({}, {"policy": None}),
        ({}, {"policy": None, "policy_error": "bad"}),
    ],
)
def test_no_part_of(site: Site, fields: dict[str, Any], more: dict[str, Any]) -> None:
    """What concerns more than the files of the part is no part, and nothing is done."""
    site.deploy({"a": b"1", "b": b"1"})
    was = tree(site.folder)
    project: Project = replace(site.project({"a": b"2"}, **fields), **more)
    assert deploy_part(project, {"a"}, site.state) is None
    assert tree(site.folder) == was


@pytest.mark.parametrize("count", [MASS, MASS + 1])
def test_many_removals(site: Site, count: int) -> None:
    """Removing many files may look like an accident, which the whole project tells."""
    files = {f"f{number:02}": b"" for number in range(30)}
    site.deploy(files)
    outcome = site.part({}, sorted(files)[:count])
    assert (outcome is None) == (count > MASS)
    assert len(list(site.root.iterdir())) == (30 if outcome is None else 30 - count)


def test_commands(site: Site) -> None:
    """They run as for the whole; when the last one fails the part comes back, and the next try is a whole one."""
    fields: dict[str, Any] = {
        "beforeCmd": site.say("before $WATCHER_CHANGED"),
        "afterCmd": f"! grep -q bad {site.root}/a",
    }
    site.deploy({"a": b"1", "b": b"1"}, **fields)
    site.logged()
    outcome = site.part({"a": b"bad"}, ["b"], **fields)
    assert outcome is not None
    assert (outcome.state, outcome.revision, outcome.wanted_revision) == ("rolledBack", 11, 12)
    assert site.logged() == ["before a", "b"]
    assert tree(site.root) == {"a": (b"1", 0o644), "b": (b"1", 0o644)}
    assert site.part({"a": b"2"}, **fields) is None
    assert site.deploy({"a": b"2"}, **fields).state == "deployed"
    outcome = site.part({"a": b"3"}, **fields)
    assert outcome is not None
    assert outcome.state == "deployed"
    assert tree(site.root) == {"a": (b"3", 0o644)}


def test_claims(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new path may be another project's, and only for a new one others have to wait."""
    site.deploy({"a": b"1"})
    site.deploy({"theirs": b"1"}, name="b.com")
    monkeypatch.setattr(ledger_module, "LOCK_WAIT", 0.05)
    with site.state.lock():
        outcome = site.part({"a": b"2"})
        assert outcome is not None
        assert outcome.state == "deployed"
        outcome = site.part({"new": b"2"})
        assert outcome is not None
        assert "the host's claims: another deployment has been running" in outcome.msg
    assert site.deploy({"a": b"2"}).state == "deployed"
    outcome = site.part({"theirs": b"2"})
    assert outcome is not None
    assert "theirs belongs to project b.com of this host" in outcome.msg
    assert (site.root / "theirs").read_bytes() == b"1"


def test_another_process_between_two_parts(site: Site) -> None:
    """What a playbook run has deployed meanwhile is seen."""
    site.deploy({"a": b"1", "b": b"1"})
    assert site.part({"a": b"2"}) is not None
    assert forked(lambda: site.deploy({"a": b"2", "b": b"2"}, revision=20)) == 0
    assert site.part({"a": b"3"}, revision=19) is None
    assert site.part({"b": b"3"}, revision=21) is not None
    assert {path: owned.digest for (_root, path), owned in site.ledger().files.items()} == {
        path: file.digest for path, file in site.project({"a": b"2", "b": b"3"}).files.items()
    }
