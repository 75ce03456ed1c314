# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of failure: the files are as they were, and the outcome says what failed, with which words of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import command, journal
from ansible_collections.watcher.config.plugins.module_utils._core.book import Book
from ansible_collections.watcher.config.plugins.module_utils._core.model import Ledger, Move
from ansible_collections.watcher.config.plugins.module_utils._core.transaction import Transaction
from ansible_collections.watcher.config.tests.unit.site import Site, tree

OLD = {"a": b"old", "b": b"old", "gone/c": b"old"}
NEW = {"a": b"new", "b": b"new", "made/d": b"new"}
ENDS = {  # how a command ends -> its code, and what the message says of that
    "echo the reason; echo the end; exit 3": (3, "failed with exit status 3: the reason / the end"),
    "echo said; sleep 60": (-15, "was ended after 1 s, its time limit (cmdTimeout): said"),
    "echo said; kill -9 $$": (-9, "was killed by SIGKILL: said"),
    "echo " + "x" * 200_000: (None, "could not be started: Argument list too long"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a host that has the old files."""
    monkeypatch.setattr(command, "GRACE", 0.3)
    site = Site(tmp_path)
    site.deploy(OLD, mode="0640", backupDir=str(site.backups))
    return site


def fields(site: Site, **more: str) -> dict[str, Any]:
    """Return the policy of a deployment that changes modes, too, and keeps backups."""
    return {"mode": "0600", "backupDir": str(site.backups), **more}


def limit(line: str) -> dict[str, Any]:
    """Return a time limit that only a command which hangs meets."""
    return {"cmdTimeout": 1 if "sleep" in line else 30}


@pytest.mark.parametrize("line", ENDS, ids=["exit", "late", "killed", "unstartable"])
@pytest.mark.parametrize("field", ["checkCmd", "beforeCmd"])
def test_before_the_files_change(site: Site, field: str, line: str) -> None:
    """Nothing was changed, so nothing is said to be restored, and what comes later is not run."""
    before = tree(site.root)
    outcome = site.deploy(NEW, **{**fields(site, afterCmd=site.say("after")), field: line}, **limit(line))
    code, said = ENDS[line]
    result = outcome.check if field == "checkCmd" else outcome.before
    assert (outcome.state, outcome.msg) == ("failed", f"host web01, project a.com: {field} {said}")
    assert (result.code, result.problem) == (code, f"{field} {said}")
    assert tree(site.root) == before
    assert (site.logged(), site.temporaries(), site.saved()) == ([], [], {})
    assert site.deploy(NEW, **fields(site)).state == "deployed"


@pytest.mark.parametrize("line", ENDS, ids=["exit", "late", "killed", "unstartable"])
def test_after_the_files_changed(site: Site, line: str) -> None:
    """The old files come back to the mode, and the outcome tells how many and what the second run said."""
    before = tree(site.root)
    tried = site.folder / "tried"
    once = f"test -e {tried} && exit 0; touch {tried}; {line}"
    outcome = site.deploy(NEW, **fields(site, afterCmd=once), **limit(line))
    code, said = ENDS[line]
    again = " and it succeeded" if code is not None else f", but it failed again: afterCmd {said}"
    assert outcome.state == "rolledBack"
    assert outcome.msg == (
        f"host web01, project a.com: afterCmd {said}; the previous files are back (4 restored);"
        f" afterCmd was run once more{again}"
    )
    assert (outcome.after.code, outcome.after.problem) == (code, f"afterCmd {said}")
    assert tree(site.root) == before
    assert (site.temporaries(), site.saved()) == ([], {})
    assert site.ledger().problem == outcome.msg
    assert site.deploy(NEW, **fields(site)).state == "deployed"
    assert set(tree(site.root)) == {"a", "b", "made", "made/d"}


def test_the_second_run_fails_too(site: Site) -> None:
    """What it said is told, and the command stays owed: the next deployment runs it, be it of the old files."""
    outcome = site.deploy(NEW, **fields(site, afterCmd="echo run $WATCHER_REVISION; exit 4"))
    assert outcome.state == "rolledBack"
    assert outcome.msg.endswith(
        "(4 restored); afterCmd was run once more, but it failed again: afterCmd failed with exit status 4: run 11"
    )
    assert site.deploy(OLD, mode="0640", afterCmd=site.say("after")).ran
    assert site.logged() == ["after"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EBUSY, errno.EROFS])
@pytest.mark.parametrize("at", [0, 2])
def test_a_write_fails(site: Site, monkeypatch: pytest.MonkeyPatch, number: int, at: int) -> None:
    """Whatever had been changed by then comes back; afterCmd is not run."""
    before = tree(site.root)
    swap = Transaction._swap
    swapped: list[Move] = []

    def fail(self: Transaction, move: Move) -> None:
        if move.kind in ("create", "set", "delete"):
            if len(swapped) == at:
                raise OSError(number, os.strerror(number))
            swapped.append(move)
        swap(self, move)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "_swap", fail)
        outcome = site.deploy(NEW, **fields(site, beforeCmd=site.say("before"), afterCmd=site.say("after")))
    assert outcome.state == "failed"
    assert os.strerror(number) in outcome.msg
    assert str(site.root) in outcome.msg
    assert ("the previous files are back (2 restored)" in outcome.msg) == bool(at)
    assert ("restored" in outcome.msg) == bool(at)
    assert tree(site.root) == before
    assert (site.logged(), site.temporaries(), site.saved()) == (["before"], [], {})
    assert site.deploy(NEW, **fields(site)).state == "deployed"


@pytest.mark.parametrize("more", [{"afterCmd": "echo why; false"}, {}], ids=["afterCmd", "write"])
def test_a_rollback_fails(site: Site, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    """It is told as loudly as can be, remembered, and done first by the next try, until it succeeds."""
    undo, swap = journal._undo, Transaction._swap

    def refuse(move: Move) -> None:
        if move.path == "b":
            raise OSError(errno.EIO, "Input/output error")
        undo(move)

    def fail(self: Transaction, move: Move) -> None:
        if move.path == "gone/c":
            raise OSError(errno.ENOSPC, "No space left on device")
        swap(self, move)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_undo", refuse)
        if not more:
            patch.setattr(Transaction, "_swap", fail)
        outcome = site.deploy(NEW, **fields(site, **more))
        assert outcome.state == "failed"
        assert "AND THE OLD FILES COULD NOT ALL BE RESTORED, which the next try does first: " in outcome.msg
        assert f"cannot restore {site.root}/b: Input/output error" in outcome.msg
        assert "files are back" not in outcome.msg
        assert ("afterCmd was run once more, but it failed again" in outcome.msg) == bool(more)
        assert (site.root / "a").read_bytes() == b"old"
        again = site.deploy(NEW, **fields(site), revision=site.revision)
        assert (again.state, again.attempts) == ("failed", 2)
        assert "an interrupted deployment could not be undone" in again.msg
        assert f"cannot restore {site.root}/b: Input/output error" in again.msg
        assert site.ledger().problem == again.msg
    outcome = site.deploy(NEW, **fields(site, afterCmd=site.say("after")))
    assert outcome.state == "deployed"
    assert {path: (site.root / path).read_bytes() for path in NEW} == NEW
    assert (site.logged(), site.temporaries()) == (["after"], [])


@pytest.mark.parametrize("more", [{"afterCmd": "true"}, {}], ids=["afterCmd", "none"])
def test_the_ledger_cannot_be_written(site: Site, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    """What could not be remembered is undone; a command that is not there was not run once more."""
    save = Book.save

    def full(self: Book, before: Ledger | None, after: Ledger, durable: bool = True) -> None:
        if after.done:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, before, after, durable)

    before = tree(site.root)
    with monkeypatch.context() as patch:
        patch.setattr(Book, "save", full)
        outcome = site.deploy(NEW, **fields(site, **more))
    assert outcome.state == "rolledBack"
    assert "cannot write the ledger: No space left on device; the previous files are back" in outcome.msg
    assert ("afterCmd was run once more and it succeeded" in outcome.msg) == bool(more)
    assert ("afterCmd" in outcome.msg) == bool(more)
    assert tree(site.root) == before
