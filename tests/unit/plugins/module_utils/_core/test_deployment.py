# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment asks the host's rules, and what the ledger remembers of how it went."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy
from ansible_collections.watcher.config.plugins.module_utils._core.clock import moment
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.outcomes import JITTER, pause
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.tests.unit.site import Site, forked, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty host."""
    return Site(tmp_path)


def test_rules(site: Site) -> None:
    """A policy that this host does not allow is refused before anything of it is carried out, in a preview too."""
    rules = Rules(roots=(str(site.folder / "allowed"),), commands=("true",))
    fields: dict[str, Any] = {"beforeCmd": site.say("before")}
    for check in (True, False):
        outcome = site.deploy({"a": b"1"}, rules=rules, check=check, **fields)
        assert (outcome.state, outcome.ran) == ("failed", False)
        assert f"policy field deployPath asks for '{site.root}'" in outcome.msg
        assert not site.root.exists()
        assert (site.ledger().problem == outcome.msg) == (not check)
    assert site.deploy({"a": b"1"}, rules=Rules(commands=("true",)), **fields).state == "failed"
    assert site.deploy({"a": b"1"}, rules=Rules((str(site.folder),), (fields["beforeCmd"],)), **fields).ran
    assert site.logged() == ["before"]


def test_rules_of_a_project_that_is_gone(site: Site) -> None:
    """Its last known policy is asked about: what is not allowed any more is not done for the last time either."""
    site.deploy({"a": b"1"}, afterCmd=site.say("after"))
    site.logged()
    outcome = site.deploy(None, rules=Rules(commands=("true",)))
    assert outcome.state == "failed"
    assert "policy field afterCmd asks for" in outcome.msg
    assert (site.root / "a").exists()
    assert site.deploy(None, rules=Rules()).state == "removed"
    assert site.logged() == ["after"]


def test_rules_of_a_part(site: Site) -> None:
    """A part is asked about as the whole is."""
    site.deploy({"a": b"1"})
    outcome = site.part({"a": b"2"}, rules=Rules(roots=("/elsewhere",)))
    assert outcome is not None
    assert (outcome.state, (site.root / "a").read_bytes()) == ("failed", b"1")
    assert "policy field deployPath asks for" in site.ledger().problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_commands_run_as(site: Site) -> None:
    """Commands run as the user that the rules name, who is looked for only where there are commands."""
    site.log.touch()
    site.log.chmod(0o666)
    folder = site.folder
    while folder != Path(tempfile.gettempdir()):
        folder.chmod(0o711)
        folder = folder.parent
    rules = Rules(run_as="nobody")
    command = f"echo $(id -un) >>{site.log}"
    fields: dict[str, Any] = {"checkCmd": f"test -r %s/a && {command}", "beforeCmd": command, "afterCmd": command}
    assert site.deploy({"a": b"1"}, rules=rules, **fields).msg == ""
    assert site.log.read_text() == "nobody\n" * 3
    assert (site.root / "a").owner() == "root"
    outcome = site.deploy({"a": b"2"}, rules=Rules(run_as="nosuchuser"), **fields)
    assert "no user 'nosuchuser'" in outcome.msg
    assert site.deploy({"a": b"2"}, rules=Rules(run_as="nosuchuser")).state == "deployed"


def refused(site: Site, **fields: Any) -> Outcome:
    """Ask for an owner that the host does not have."""
    return site.deploy({"a": b"2"}, owner="nosuchuser", **fields)


def bad_policy(site: Site, *, remember: bool = False, retry: bool = False, **fields: Any) -> Outcome:
    """Write a policy that breaks the contract."""
    project = replace(site.project({"a": b"2"}, **fields), policy=None, policy_error="host web01: bad")
    return deploy(project, site.state, remember=remember, retry=retry)


def bad_check(site: Site, **fields: Any) -> Outcome:
    """Fail the check."""
    return site.deploy({"a": b"2"}, checkCmd="false", **fields)


def bad_after(site: Site, **fields: Any) -> Outcome:
    """Fail when the files have changed."""
    return site.deploy({"a": b"2"}, afterCmd="! grep -q 2 $WATCHER_DEPLOY_PATH/a", **fields)


def keeping(site: Site, **fields: Any) -> Outcome:
    """Fail when the files have changed, and keep them."""
    return site.deploy({"a": b"2"}, onFailure="keep", afterCmd="false", **fields)


@pytest.mark.parametrize("fail", [refused, bad_policy, bad_check, bad_after, keeping])
def test_trouble(site: Site, fail: Any) -> None:
    """Every failure is counted, with its reason and when it began, until something succeeds."""
    site.deploy({"a": b"1"})
    first: Outcome = fail(site)
    ledger = site.ledger()
    assert first.failed
    assert (ledger.problem, ledger.since, ledger.attempts) == (first.msg, first.finished, 1)
    second: Outcome = fail(site, revision=site.revision)
    assert (first.attempts, second.attempts) == (1, 2)
    assert (site.ledger().since, site.ledger().attempts) == (first.finished, 2)
    assert site.deploy({"a": b"3"}).state == "deployed"
    ledger = site.ledger()
    assert (ledger.problem, ledger.since, ledger.attempts) == ("", "", 0)


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what chance says from now on: the first of the list each time, at first the middle."""
    said = [1.0]

    def uniform(least: float, most: float) -> float:
        assert (least, most) == JITTER
        return said[0]

    monkeypatch.setattr("random.uniform", uniform)
    return said


def test_pauses(chance: list[float]) -> None:
    """They double, up to a bound, and hosts that failed together spread."""
    seconds = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]
    assert [pause(failures) for failures in range(1, 11)] == seconds
    assert pause(5000) == 300.0
    chance[:] = [0.8]
    assert [pause(1), pause(2), pause(20)] == [1.6, 3.2, 240.0]


def planned(outcome: Outcome) -> float:
    """Return the seconds from the end of a failure to the next try."""
    return round(moment(outcome.due) - moment(outcome.finished), 1)


@pytest.mark.parametrize("fail", [refused, bad_policy, bad_check, bad_after, keeping])
def test_the_next_try(site: Site, chance: list[float], fail: Any) -> None:
    """Who retries plans the next try, later each time; a newer change, and only that, makes it soon again."""
    site.deploy({"a": b"1"})
    first: Outcome = fail(site, retry=True)
    assert (planned(first), site.ledger().due) == (2.0, first.due)
    assert [planned(fail(site, revision=site.revision, retry=True)) for _unused in range(3)] == [4.0, 8.0, 16.0]
    newer = fail(site, retry=True)
    assert (newer.attempts, planned(newer), site.ledger().attempts) == (1, 2.0, 1)
    chance[:] = [1.2]
    assert planned(fail(site, revision=site.revision, retry=True)) == 4.8
    assert site.deploy({"a": b"3"}).due == ""
    assert (site.ledger().due, site.ledger().attempts) == ("", 0)


def test_a_try_that_somebody_else_has_planned(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A playbook run plans none, and leaves the agent's in the ledger until its time has come."""
    site.deploy({"a": b"1"})
    assert (bad_check(site).due, site.ledger().due) == ("", "")
    agents = bad_check(site, retry=True).due
    assert (bad_check(site).due, site.ledger().due) == ("", agents)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert bad_check(site, retry=True).due.startswith("1970")
    assert (bad_check(site).due, site.ledger().due) == ("", "")


def test_nothing_is_planned_for_what_waits(site: Site) -> None:
    """What is held is no failure, and a failure before it is over."""
    files = {f"f{number}": b"" for number in range(20)}
    site.deploy(files)
    assert site.deploy({**files, "a": b""}, beforeCmd="false", retry=True).due
    outcome = site.deploy({"f1": b""}, retry=True)
    assert (outcome.state, outcome.due, site.ledger().due) == ("held", "", "")


def test_a_killed_deployment_counts_anew(site: Site) -> None:
    """It began at a newer revision: what failed before that does not lengthen its pauses, and nothing is planned."""
    site.deploy({"a": b"1"})
    assert bad_check(site, retry=True).attempts == 1
    assert bad_check(site, retry=True, revision=site.revision).attempts == 2
    assert forked(lambda: site.deploy({"a": b"5"}, revision=20, beforeCmd="kill -9 $PPID")) == -9
    assert (site.ledger().attempts, site.ledger().due) == (0, "")
    assert bad_check(site, retry=True, revision=20).attempts == 1


def test_trouble_of_a_project_that_was_never_deployed(site: Site) -> None:
    """It is remembered, and is nothing that would have to be removed; it goes with the project."""
    assert bad_policy(site).failed
    assert bad_policy(site, revision=site.revision).attempts == 2
    assert not site.state.concerns("web01", "a.com")
    assert site.deploy(None).state == "unknown"
    assert (site.ledger().problem, site.ledger().attempts) == ("", 0)
    assert site.deploy(None, name="b.com").state == "unknown"
    assert site.state.projects() == ["a.com"]


def test_what_is_held(site: Site) -> None:
    """What waits for somebody is a problem, not a failure."""
    site.deploy({f"f{number}": b"" for number in range(20)})
    outcome = site.deploy({"f1": b""})
    assert (outcome.state, site.ledger().problem, site.ledger().attempts) == ("held", outcome.msg, 0)
    assert site.deploy({"f1": b""}, revision=5).state == "stale"
    assert site.ledger().problem == outcome.msg
    site.deploy({f"f{number}": b"" for number in range(20)}, revision=30)
    assert site.ledger().problem == ""


def revisions(site: Site) -> tuple[int, int, int]:
    """Return what was observed, staged and settled."""
    ledger = site.ledger()
    return ledger.observed, ledger.staged, ledger.settled


def test_three_revisions(site: Site) -> None:
    """What was observed, what lay here complete and what was carried out are three things."""
    site.deploy({"a": b"1"})
    assert revisions(site) == (11, 11, 11)
    assert refused(site).wanted_revision == 12
    assert revisions(site) == (12, 11, 11)
    bad_check(site)
    assert revisions(site) == (13, 13, 11)
    bad_after(site)
    assert revisions(site) == (14, 14, 11)
    keeping(site)
    assert revisions(site) == (15, 15, 11)
    assert forked(lambda: site.deploy({"a": b"5"}, revision=20, beforeCmd="kill -9 $PPID")) == -9
    assert revisions(site) == (20, 20, 11)
    assert site.deploy({"a": b"2"}, revision=21).state == "deployed"
    assert revisions(site) == (21, 21, 21)
    assert site.deploy({"a": b"2"}, revision=22).state == "deployed"
    assert revisions(site) == (22, 22, 22)


def test_owed_after_a_rollback(site: Site) -> None:
    """Where afterCmd fails with the files that came back, too, the commands are owed to them; not where nothing was."""
    assert site.deploy({"a": b"1"}, afterCmd="false").state == "rolledBack"
    assert site.ledger().owed is None
    site.deploy({"a": b"1"})
    assert site.deploy({"a": b"2"}, afterCmd="! grep 2 $WATCHER_DEPLOY_PATH/a").state == "rolledBack"
    assert site.ledger().owed is None
    assert site.deploy({"a": b"2"}, afterCmd="false").state == "rolledBack"
    assert site.ledger().owed == ["a"]
    assert site.deploy({"a": b"1"}, afterCmd=site.say("after")).ran
    assert site.logged() == ["after"]
    assert site.ledger().owed is None


URL = "http://receiver.example/"


def test_untold(site: Site) -> None:
    """An outcome whose callback is due outlives this process, until it is told."""
    told = site.deploy({"a": b"1"}, callback=URL)
    assert site.ledger().untold is None  # nobody wants it remembered
    outcome = site.deploy({"a": b"2"}, callback=URL, remember=True)
    untold = site.ledger().untold
    assert untold is not None
    assert Outcome.from_json(untold) == Outcome.from_json(outcome.to_json())
    site.state.told("a.com", told)
    assert site.ledger().untold == untold
    site.state.told("b.com", outcome)
    site.state.told("a.com", replace(outcome, digest="sha256:other"))
    assert site.ledger().untold is None
    assert site.state.projects() == ["a.com"]


@pytest.mark.parametrize("fail", [refused, bad_policy, bad_check, bad_after, keeping])
def test_untold_failures(site: Site, fail: Any) -> None:
    """Failures are told, too, by the last known policy where the tree's is bad; what changes nothing is not."""
    site.deploy({"a": b"1"}, callback=URL)
    outcome = fail(site, callback=URL, remember=True)
    assert outcome.callback == URL
    untold = site.ledger().untold
    assert untold is not None
    assert untold["msg"] == outcome.msg
    site.state.told("a.com")
    assert site.deploy({"a": b"1"}, revision=40, callback=URL, remember=True).ran == (fail is keeping)
    assert (site.ledger().untold is None) == (fail is not keeping)


def test_told_waits_for_nothing(site: Site) -> None:
    """While the project is at work the ledger is left alone."""
    site.deploy({"a": b"1"}, callback=URL, remember=True)
    with site.state.lock("a.com"):
        site.state.told("a.com")
    assert site.ledger().untold is not None
    site.state.told("a.com")
    assert site.ledger().untold is None


@pytest.mark.parametrize("remember", [True, False])
def test_killed_right_after(site: Site, remember: bool) -> None:
    """A process that dies as soon as a deployment is over loses no callback."""

    def act() -> None:
        site.deploy({"a": b"1"}, callback=URL, remember=remember)
        os.kill(os.getpid(), 9)

    assert forked(act) == -9
    assert tree(site.root) == {"a": (b"1", 0o644)}
    assert (site.ledger().untold is not None) == remember
