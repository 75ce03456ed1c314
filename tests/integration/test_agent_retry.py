# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that failed and whose next try is minutes away: `watcher retry` does not wait for that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.clock import moment, timestamp
from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.etcd_server import free_ports

FAILURES = 6  # after which the pause is at least 51 seconds


def ill(host: AgentSite, agent: AgentRun) -> Path:
    """Deploy, and let the next revision fail many times; return the file whose presence would heal it."""
    healed = host.folder / "healed"
    host.publish({"x": "1"}, beforeCmd="", afterCmd="")
    assert agent.command("once").returncode == 0
    host.publish({"x": "2"}, beforeCmd="", afterCmd=f"echo no good; test -e {healed}")
    for _unused in range(FAILURES - 1):
        assert agent.command("once").returncode == 1
    assert shown(agent)["due"] == ""  # nobody is there to try it again
    return healed


def shown(agent: AgentRun, project: str = "a.com") -> dict[str, Any]:
    """Return how a project stands."""
    return next(item for item in agent.status()["projects"] if item["project"] == project)


def test_retry_by_the_agent(host: AgentSite) -> None:
    """The attempts outlive restarts, the next try is shown everywhere, and a wish is heard long before that."""
    agent = host.agent()
    healed = ill(host, agent)
    with agent:
        agent.until(lambda: host.status()["attempts"] == FAILURES, "the agent has tried at its start")
        due = shown(agent)["due"]
        assert moment(due) > moment(timestamp()) + 30
        assert host.status()["nextTry"] == due
        assert due in agent.command("status").stdout

        unknown = agent.command("retry", "no.com")
        assert (unknown.returncode, unknown.stdout) == (2, "")
        assert "host web01 has no project no.com" in unknown.stderr

        done = agent.command("retry", "a.com")
        assert done.returncode == 1
        assert f"a.com: rolledBack at revision {shown(agent)['revision']}; attempts: {FAILURES + 1}" in done.stdout
        assert "no good" in done.stdout
        assert host.text("x") == "1"

        healed.touch()
        done = agent.command("retry")
        assert (done.returncode, done.stdout) == (0, f"a.com: deployed at revision {host.status()['revision']}\n")
        assert host.text("x") == "2"
        agent.until(lambda: host.status()["state"] == "deployed", "the status says so")
        assert timestamp() < due
        assert "nextTry" not in host.status()
        assert (shown(agent)["attempts"], shown(agent)["due"]) == (0, "")

        done = agent.command("retry")
        assert (done.returncode, "no project has failed" in done.stdout) == (0, True)


def test_retry_without_an_agent(host: AgentSite) -> None:
    """It is tried by the command itself, and nothing else is; without etcd that is what it says."""
    agent = host.agent()
    healed = ill(host, agent)
    host.publish({"x": "1"}, "b.com")
    agent.configure({"etcd": {"endpoints": f"127.0.0.1:{free_ports(1)[0]}"}})
    away = agent.command("retry")
    assert (away.returncode, away.stdout) == (3, "")
    assert "nothing listens there" in away.stderr
    agent.configure({"etcd": {"endpoints": host.server.endpoint}})
    assert agent.command("retry").returncode == 1
    healed.touch()
    done = agent.command("retry")
    assert (done.returncode, done.stdout) == (0, f"a.com: deployed at revision {host.status()['revision']}\n")
    assert host.text("x") == "2"
    assert host.text("x", "b.com") is None
    assert agent.command("retry", "no.com").returncode == 2
    assert agent.command("retry", "b.com").returncode == 0  # which only the tree knows
    assert host.text("x", "b.com") == "1"


def test_retry_beside_a_run_that_takes_no_wishes(host: AgentSite) -> None:
    """The signal would end `watcher once`, so it is not sent."""
    agent = host.agent()
    ill(host, agent)
    gate = host.folder / "gate"
    wait = f"test -e {gate} || {{ touch {gate}.reached; while ! test -e {gate}; do sleep 0.05; done; }}"
    host.publish({"x": "3"}, beforeCmd=wait, afterCmd="")
    with ThreadPoolExecutor(1) as pool:
        once = pool.submit(agent.command, "once")
        agent.until(gate.with_suffix(".reached").exists, "the other command is at work")
        done = agent.command("retry")
        gate.touch()
        assert once.result().returncode == 0
    assert (done.returncode, "takes no wishes" in done.stderr) == (1, True)
    assert host.text("x") == "3"
