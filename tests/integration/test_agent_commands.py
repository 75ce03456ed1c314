# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that hang or fail in the agent: nobody else waits, the last change is never lost, failures are retried."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.clock import timestamp
from ansible_collections.watcher.config.tests.agent_site import AgentSite

PROMPT = 4.0  # seconds within which a project that has nobody to wait for is deployed


def gate(path: Path) -> str:
    """Return a command that says that it is there and hangs until it is let go; its time is bounded."""
    return f"touch {path}.reached; for n in $(seq 600); do test -e {path} && exit 0; sleep 0.05; done"


@pytest.mark.parametrize("field", ["checkCmd", "beforeCmd", "afterCmd"])
def test_a_hanging_command_delays_no_other(host: AgentSite, field: str) -> None:
    """Twenty other projects are deployed at once, each as if it were alone."""
    path = host.folder / "gate"
    others = [f"other{number}" for number in range(20)]
    for name in others:
        host.publish({"x": "1"}, name)
    with host.agent() as agent:
        for name in others:
            agent.until(lambda name=name: host.text("x", name) == "1", f"{name} is deployed")  # type: ignore[misc]
        slow = host.publish({"x": "1"}, "slow", **{field: gate(path)})
        agent.until(path.with_suffix(".reached").exists, "the command hangs")
        for name in others:
            host.put({"x": "2"}, name)
            agent.until(lambda name=name: host.text("x", name) == "2", f"{name} waits for nobody", PROMPT)  # type: ignore[misc]
        assert host.status("slow").get("state") != "deployed"
        path.touch()
        host.settled(agent, slow, "slow")


def test_many_hanging_commands_delay_no_other(host: AgentSite) -> None:
    """Not even forty of them, which is more than there are threads to begin with."""
    path = host.folder / "gate"
    slow = [f"slow{number:02}" for number in range(40)]
    host.publish({"x": "1"}, "quick")
    with host.agent() as agent:
        agent.until(lambda: host.text("x", "quick") == "1", "quick is deployed")
        for name in slow:
            host.publish({"x": "1"}, name, beforeCmd=gate(path), afterCmd="")
        host.put({"x": "2"}, "quick")
        agent.until(lambda: host.text("x", "quick") == "2", "quick waits for nobody", 2 * PROMPT)
        host.put({"x": "3"}, "quick")
        agent.until(lambda: host.text("x", "quick") == "3", "quick waits for nobody", PROMPT)
        path.touch()
        for name in slow:
            agent.until(lambda name=name: host.text("x", name) == "1", f"{name} is deployed")  # type: ignore[misc]


def test_many_changes_are_one_more_run(host: AgentSite) -> None:
    """A hundred changes while a command runs become one more deployment, with the last contents."""
    path = host.folder / "gate"
    host.publish({"x": "0"}, beforeCmd=f"{host.say('a.com', 'before')}; {gate(path)}")
    with host.agent() as agent:
        agent.until(path.with_suffix(".reached").exists, "the command hangs")
        for number in range(1, 101):
            last = host.put({"x": str(number), f"y{number % 7}": str(number)})
        path.touch()
        status = host.settled(agent, last)
    assert host.words() == ["before", "after"] * 2
    assert host.commands()[-1] == f"after {last} x y0 y1 y2 y3 y4 y5 y6"
    assert host.text("x") == "100"
    assert status["wantedRevision"] == last


def test_a_failing_command_is_retried_until_it_succeeds(host: AgentSite) -> None:
    """With growing pauses, the old files in place meanwhile; the command line tells since when and how often."""
    log, healed = host.folder / "tries", host.folder / "healed"
    first = host.publish({"x": "1"}, afterCmd="", beforeCmd="")
    with host.agent() as agent:
        host.settled(agent, first)
        after = f"date +%s.%N >>{log}; echo no good; test -e {healed}"
        begun = timestamp()
        revision = host.publish({"x": "2"}, afterCmd=after, beforeCmd="", onFailure="rollback")
        agent.until(lambda: len(tries(log)) >= 6, "three deployments, each with a second run after the roll-back", 30)
        assert host.text("x") == "1"
        told = next(project for project in agent.status()["projects"] if project["project"] == "a.com")
        assert (told["state"], told["revision"]) == ("rolledBack", first)
        assert told["observed"] >= revision
        assert told["attempts"] >= 2
        assert "no good" in told["msg"]
        assert begun <= told["since"] <= timestamp()
        assert host.status()["state"] == "rolledBack"
        assert host.status()["attempts"] >= 2
        assert (host.status()["revision"], host.status()["wantedRevision"]) == (first, revision)
        starts = tries(log)[::2]
        pauses = [after - before for before, after in itertools.pairwise(starts)]
        assert pauses[0] > 1.5 and pauses[1] > 3.0, pauses  # the least of each, growing
        healed.touch()
        host.settled(agent, host.put({"x": "3"}))  # at once, for the tree has changed
    assert host.text("x") == "3"


def tries(log: Path) -> list[float]:
    """Return when a command was run."""
    return [float(line) for line in log.read_text().split()] if log.exists() else []


def test_a_new_revision_ends_the_pause(host: AgentSite) -> None:
    """A deployment that waits to be tried again is tried at once when the tree changes."""
    host.publish({"x": "1"}, checkCmd="! grep -q bad %s/x")
    with host.agent() as agent:
        agent.until(lambda: host.text("x") == "1", "deployed")
        bad = host.put({"x": "bad"})
        agent.until(lambda: host.status().get("attempts", 0) >= 2, "two attempts")
        assert host.status()["wantedRevision"] >= bad
        assert host.text("x") == "1"
        start = time.monotonic()
        host.settled(agent, host.put({"x": "3"}))
        assert time.monotonic() - start < PROMPT
    assert host.text("x") == "3"


def test_changes_of_others_do_not_hasten_a_retry(host: AgentSite) -> None:
    """The pauses grow by the project's own failures, however lively its neighbours are."""
    log = host.folder / "tries"
    with host.agent() as agent:
        host.publish({"x": "1"}, beforeCmd=f"date +%s.%N >>{log}; exit 1", afterCmd="")
        host.publish({"x": "1"}, "lively")
        agent.until(lambda: len(tries(log)) >= 1, "the first attempt")
        number, end = 0, time.monotonic() + 9.0  # attempts after 2, 6 and 14 seconds, a fifth more or less
        while time.monotonic() < end:
            number += 1
            host.put({"x": str(number)}, "lively")
            time.sleep(0.05)
    assert 2 <= len(tries(log)) <= 3, tries(log)
