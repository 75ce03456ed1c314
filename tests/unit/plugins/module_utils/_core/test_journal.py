# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back of a deployment: failures and deaths at every single step of it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import journal
from ansible_collections.watcher.config.tests.unit.countdown import Countdown, never_wait, refuse
from ansible_collections.watcher.config.tests.unit.site import Site, forked, tree

OLD = {"set": b"old", "gone": b"old", "file": b"old", "folder/x/inner": b"old", "folder/y": b"old", "mode": b"same"}
NEW = {"set": b"new", "new/a": b"new", "new/b": b"new", "file/a/b": b"new", "folder": b"new", "mode": b"same"}
ENOUGH = 200  # calls, more than a deployment of these files makes


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here has to be on the disk itself."""
    never_wait(monkeypatch)


def prepared(folder: Path, **fields: Any) -> tuple[Site, dict[str, Any]]:
    """Return a host with the old files, and what is on its disk."""
    site = Site(folder)
    site.root.mkdir(parents=True)
    (site.root / "set").write_bytes(b"theirs")
    site.deploy(OLD, mode="0640", dirMode="0750")
    (site.root / "foreign").write_bytes(b"theirs")
    return site, tree(site.root)


def test_every_failure_restores_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk refuses, the old files are back to the byte and the mode and nothing is left lying about."""
    failed = 0
    for count in range(1, ENOUGH, 3):
        site, before = prepared(tmp_path / str(count))
        with monkeypatch.context() as patch:
            countdown = Countdown(patch, count, refuse)
            outcome = site.deploy(NEW, mode="0600", backupDir=str(site.backups), afterCmd=site.say("after"))
        if countdown.count > 0:
            break
        if outcome.state == "deployed":
            assert set(tree(site.root)) >= set(NEW)
        else:
            failed += 1
            assert "No space left" in outcome.msg
            ledger = site.ledger()
            if not ledger.done:  # the ledger itself could be written when all had been done
                assert tree(site.root) == before or ledger.journal
        assert site.deploy(NEW, mode="0600").state == "deployed"
        assert set(tree(site.root)) == {*NEW, "new", "file", "file/a", "foreign"}
        assert site.temporaries() == []
    assert countdown.count > 0
    assert failed > 15


def dying(monkeypatch: pytest.MonkeyPatch, site: Site, count: int) -> None:
    """Deploy the new files in a process that dies at one of its calls."""
    Countdown(monkeypatch, count, lambda: os._exit(9))
    site.deploy(NEW, mode="0600", backupDir=str(site.backups), afterCmd=site.say("after"))


@pytest.mark.parametrize("then", ["same", "reverted", "withdrawn"])
def test_every_death_is_recovered_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """Whenever the process is killed, the next deployment ends where it should, and runs the commands."""
    deaths = 0
    first = 1 + ["same", "reverted", "withdrawn"].index(then)
    for count in range(first, ENOUGH, 5):
        site, before = prepared(tmp_path / str(count))
        status = forked(functools.partial(dying, monkeypatch, site, count))
        files = {"same": NEW, "reverted": OLD, "withdrawn": None}[then]
        touched = tree(site.root) != before
        outcome = site.deploy(files, revision=20, mode="0640", dirMode="0750", afterCmd=site.say("after"))
        assert outcome.state in ("deployed", "removed")
        assert site.temporaries() == []
        found = tree(site.root)
        if then == "reverted":
            assert found == before
        elif then == "same":
            assert set(found) == {*NEW, "new", "file", "file/a", "foreign"}
            assert {found[path][0] for path in NEW} == {b"new", b"same"}
        else:
            assert set(found) == {"foreign"}
        if status == 0:
            break
        deaths += 1
        if touched and then != "withdrawn":
            assert site.logged()[-1:] == ["after"]
        assert not site.deploy(files, revision=21, mode="0640", afterCmd=site.say("more")).ran
        ledger = site.ledger()
        assert (ledger.journal, ledger.claims, ledger.owed) == ((), (), None)
    assert status == 0
    assert deaths > 15


@pytest.mark.parametrize("command", ["checkCmd", "beforeCmd", "afterCmd"])
def test_killed_in_a_command(tmp_path: Path, command: str) -> None:
    """A process that dies while a command runs owes the commands, even if the tree is what it was by then."""
    site, before = prepared(tmp_path)
    fields: dict[str, Any] = {command: "kill -9 $PPID"}
    assert forked(lambda: site.deploy(NEW, **fields)) == -9
    outcome = site.deploy(OLD, revision=20, mode="0640", afterCmd=site.say("after"))
    assert (outcome.state, outcome.ran) == ("deployed", True)
    assert site.logged() == ["after"]
    assert tree(site.root) == before
    assert site.temporaries() == []


def test_killed_in_the_first_deployment(tmp_path: Path) -> None:
    """What a first deployment left half done goes although the project is gone from the tree by then."""
    site = Site(tmp_path)
    once = f"test -e {site.log} || {{ {site.say('once')}; kill -9 $PPID; }}"
    assert forked(lambda: site.deploy({"a": b"1", "d/b": b"2"}, afterCmd=once)) == -9
    assert (site.root / "d/b").exists()
    assert site.state.concerns("web01", "a.com")
    assert site.deploy(None, revision=20).state == "removed"
    assert not site.root.exists()
    assert not site.state.concerns("web01", "a.com")


def test_a_death_after_which_somebody_changed_a_new_file(tmp_path: Path) -> None:
    """A file that is no longer what we wrote is not ours to remove."""
    site = Site(tmp_path)
    assert forked(lambda: site.deploy({"a": b"1", "b": b"2"}, afterCmd="kill -9 $PPID")) == -9
    (site.root / "a").write_bytes(b"theirs")
    assert site.deploy({}, revision=20).state == "deployed"
    assert set(tree(site.root)) == {"a"}


def test_what_cannot_be_restored_is_said_and_tried_again(tmp_path: Path) -> None:
    """The journal stays until the way back succeeds; nothing else is begun before."""
    site = Site(tmp_path)
    site.deploy({"d/a": b"old", "b": b"old"})
    swap = f"cd {site.root} && test -e e || {{ mv d e; ln -s /etc d; }}"
    outcome = site.deploy({"d/a": b"new", "b": b"new"}, afterCmd=f"{swap}; exit 1", beforeCmd=site.say("before"))
    assert outcome.state == "failed"
    assert "AND THE OLD FILES COULD NOT ALL BE RESTORED, which the next try does first: cannot restore" in outcome.msg
    assert (site.root / "b").read_bytes() == b"old"
    outcome = site.deploy({"d/a": b"new", "b": b"new"}, beforeCmd=site.say("before"))
    assert outcome.state == "failed"
    assert "an interrupted deployment could not be undone" in outcome.msg
    (site.root / "d").unlink()
    (site.root / "e").rename(site.root / "d")
    assert site.deploy({"d/a": b"old", "b": b"old"}).state == "deployed"
    assert tree(site.root) == {"b": (b"old", 0o644), "d": 0o755, "d/a": (b"old", 0o644)}
    assert site.logged() == ["before"]


def test_killed_after_a_deployment_whose_temporary_files_stayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the one before ended well says nothing of the one that was killed: it is undone."""
    site = Site(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_clean", lambda move: False)
        site.deploy({"a": b"1"})
        assert site.ledger().done
        assert forked(lambda: site.deploy({"a": b"2"}, afterCmd="kill -9 $PPID")) == -9
    assert (site.root / "a").read_bytes() == b"2"
    assert site.deploy({"a": b"2"}, checkCmd="false").state == "failed"
    assert (site.root / "a").read_bytes() == b"1"
