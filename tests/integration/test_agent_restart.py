# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent over restarts: what is missing is applied, what is done is not done again, what drifted is repaired."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.tests.agent_site import AgentSite


def test_what_is_missing_is_applied_and_nothing_else(host: AgentSite) -> None:
    """Of two projects only the one that changed while the agent was down runs its commands again."""
    first = host.publish({"x": "1", "y": "1"})
    other = host.publish({"z": "1"}, "b.com")
    with host.agent() as agent:
        host.settled(agent, first)
        host.settled(agent, other, "b.com")
    second = host.put({"x": "2"})
    host.delete("y")
    with host.agent() as agent:
        host.settled(agent, second)
        agent.until(lambda: host.disk() == {"x": "2"}, "x is new, y is gone")
        third = host.put({"x": "3"})
        host.settled(agent, third)
    assert host.commands("b.com") == [f"before {other} z", f"after {other} z"]
    assert host.words() == ["before", "after"] * 3
    assert [line.split()[2:] for line in host.commands()[2:]] == [["x", "y"], ["x", "y"], ["x"], ["x"]]


def test_a_start_with_nothing_to_do_does_nothing(host: AgentSite) -> None:
    """Files, commands, the ledger's revision and the status stay as they were."""
    revision = host.publish({"x": "1"})
    with host.agent() as agent:
        before = host.settled(agent, revision)
    file = host.out() / "x"
    was = file.stat()
    with host.agent() as agent:
        agent.until(lambda: "projects at revision" in agent.log, "the tree was read")
        marker = host.publish({"m": "1"}, "m.com")
        host.settled(agent, marker, "m.com")
        assert host.status() == before
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (was.st_ino, was.st_mtime_ns)
    assert host.words() == ["before", "after"]


@pytest.mark.parametrize("how", ["a restart", "SIGHUP"])
def test_force_repairs_what_drifted(host: AgentSite, how: str) -> None:
    """An edited file and a deleted one are back, with their commands; a file that is not ours stays."""
    revision = host.publish({"x": "1", "y": "1"})
    with host.agent() as agent:
        host.settled(agent, revision)
        spoil(host)
        if how == "SIGHUP":
            agent.compare()
            agent.until(lambda: repaired(host), "repaired")
    if how == "a restart":
        with host.agent() as agent:
            agent.until(lambda: repaired(host), "repaired")
    assert host.words() == ["before", "after"] * 2


def spoil(host: AgentSite) -> None:
    """Edit one file by hand, delete another, add a third."""
    (host.out() / "x").write_text("edited")
    (host.out() / "y").unlink()
    (host.out() / "mine").write_text("mine")


def repaired(host: AgentSite) -> bool:
    """Return whether all is as it should be."""
    return host.disk() == {"mine": "mine", "x": "1", "y": "1"} and host.words()[2:] == ["before", "after"]


def test_without_force_local_edits_stay_until_the_key_changes(host: AgentSite) -> None:
    """Neither a start nor SIGHUP touches them, nor does a change of another file."""
    host.publish({"x": "1", "y": "1"})
    with host.agent(local={"force": "false"}) as agent:
        agent.until(lambda: host.words() == ["before", "after"], "deployed")
    spoil(host)
    edited = {"mine": "mine", "x": "edited"}
    with host.agent(local={"force": "false"}) as agent:
        agent.compare()
        host.settled(agent, host.publish({"m": "1"}, "m.com"), "m.com")
        assert host.disk() == edited
        host.settled(agent, host.put({"z": "1"}))
        assert host.disk() == {**edited, "z": "1"}
        host.settled(agent, host.put({"x": "2"}))
        assert host.disk() == {**edited, "x": "2", "z": "1"}


def test_killed_in_the_middle_of_a_command(host: AgentSite) -> None:
    """The next start undoes the half that was done, does the whole again, and runs the commands that are owed."""
    gate = host.folder / "gate"
    hang = f"{host.say('a.com', 'after')}; test -e {gate} || sleep 60"
    first = host.publish({"x": "1"})
    with host.agent() as agent:
        host.settled(agent, first)
    second = host.publish({"x": "2", "y": "2"}, afterCmd=hang)
    agent = host.agent().start()
    agent.until(lambda: host.words().count("after") == 2, "afterCmd hangs")
    agent.kill()
    told = agent.status()["projects"][0]
    assert (told["state"], told["revision"]) == ("interrupted", first)
    assert min(told["observed"], told["staged"]) >= second
    gate.touch()
    with host.agent() as agent:
        host.settled(agent, second)
    assert host.disk() == {"x": "2", "y": "2"}
    assert host.words() == ["before", "after"] * 3
    assert host.commands()[-1].split()[2:] == ["x", "y"]
