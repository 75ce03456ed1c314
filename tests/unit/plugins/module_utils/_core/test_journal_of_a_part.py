# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back of a part of a project: failures and deaths at the steps of it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.unit.countdown import Countdown, never_wait, refuse
from ansible_collections.watcher.config.tests.unit.site import Site, forked, tree

OLD = {"set": b"old", "gone": b"old", "d/x/gone": b"old", "other": b"old"}
PART = {"set": b"new", "new/a": b"new", "d/y": b"new"}
GONE = ["gone", "d/x/gone"]
NEW = {**PART, "other": b"old"}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here has to be on the disk itself."""
    never_wait(monkeypatch)


def prepared(folder: Path) -> tuple[Site, dict[str, Any]]:
    """Return a host with the old files, and what is on its disk."""
    site = Site(folder)
    site.root.mkdir(parents=True)
    site.deploy(OLD, afterCmd=site.say("after"))
    site.logged()
    return site, tree(site.root)


def act(site: Site) -> Any:
    """Deploy the part."""
    return site.part(PART, GONE, afterCmd=site.say("after"), remember=True)


def test_every_failure_restores_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk refuses a part, the old files are back, and the whole project succeeds afterwards."""
    failed = 0
    for count in range(1, 200, 2):
        site, before = prepared(tmp_path / str(count))
        with monkeypatch.context() as patch:
            countdown = Countdown(patch, count, refuse)
            outcome = act(site)
        if countdown.count > 0:
            break
        if outcome.state != "deployed":
            failed += 1
            assert "No space left" in outcome.msg
            if not site.ledger().done:
                assert tree(site.root) == before or site.ledger().journal
            assert act(site) is None
        assert site.deploy(NEW, afterCmd=site.say("after")).state == "deployed"
        assert set(tree(site.root)) == {*NEW, "new", "d"}
        assert site.temporaries() == []
    assert countdown.count > 0
    assert failed > 10


def die(monkeypatch: pytest.MonkeyPatch, site: Site, count: int) -> None:
    """Deploy the part in a process that dies at one of its calls."""
    Countdown(monkeypatch, count, lambda: os._exit(9))
    act(site)


@pytest.mark.parametrize("then", ["same", "reverted"])
def test_every_death_is_recovered_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """Whenever a part is killed, the next deployment of the whole ends where it should, and runs the commands."""
    deaths = 0
    for count in range(1 + ["same", "reverted"].index(then), 200, 2):
        site, before = prepared(tmp_path / str(count))
        status = forked(functools.partial(die, monkeypatch, site, count))
        touched = tree(site.root) != before
        files = NEW if then == "same" else OLD
        outcome = site.deploy(files, revision=20, afterCmd=site.say("after"))
        assert outcome.state == "deployed"
        assert site.temporaries() == []
        if then == "reverted":
            assert tree(site.root) == before
        else:
            assert set(tree(site.root)) - {"d/x"} == {*NEW, "new", "d"}  # an empty folder goes with the next files
        if status == 0:
            break
        deaths += 1
        if touched:
            assert site.logged()[-1:] == ["after"]
        ledger = site.ledger()
        assert (ledger.journal, ledger.claims, ledger.owed) == ((), (), None)
        assert site.part({"set": b"newest"}, revision=21, afterCmd=site.say("after")) is not None
    assert status == 0
    assert deaths > 10
