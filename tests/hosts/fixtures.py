# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two fresh hosts for the whole run, with the agent that the role has put there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.hosts.fleet import PASSWORD, Fleet, Host, make_wheels, tool

# Says in the test's log what it was run for, waits while /srv/slow is there, and says that it is done.
AFTER = """#!/bin/sh
echo "begin $WATCHER_REVISION" >> /srv/log
while [ -e /srv/slow ]; do sleep 0.05; done
echo "end $WATCHER_REVISION" >> /srv/log
"""
Runs = dict[str, dict[str, dict[str, int]]]


def why_not() -> str:
    """Return why this machine cannot have hosts; nothing when it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("apt-get"):
        return "needs apt, to make the hosts from"
    allowed = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode == 0
    return "" if allowed else "needs to be allowed to make mount and network namespaces"


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdServer]:
    """Start two fresh hosts, and an etcd that they reach at the machine's address in their network."""
    problem = why_not()
    if problem:
        pytest.skip(f"no hosts on this machine: {problem}")
    tool("down")
    try:
        tool("up", "2")
        machine = re.findall(r"^machine_address=(\S+)", tool("inventory"), re.MULTILINE)
        with EtcdServer(mutual=True, listen=machine) as server:
            server.enable_auth()
            server.add_user("agent", PASSWORD, "/watcher/", "/watcher.status/", "/watcher.agents/", "/services/")
            yield server
    finally:
        tool("down")


@pytest.fixture(scope="session")
def fresh(etcd: EtcdServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return the hosts with nothing on them but the command that the tests' policies run."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), etcd)
    for host in fleet.hosts:
        host.path("/srv/after").write_text(AFTER)
        host.path("/srv/after").chmod(0o755)
    make_wheels(fleet.hosts[0].run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip())
    yield fleet
    fleet.store.close()


@pytest.fixture(scope="session")
def first_runs(fresh: Fleet) -> Runs:
    """Apply the role: in check mode, for real, and again; return the three recaps."""
    runs = {"check": fresh.role("--check", "--diff")}
    assert not [host.name for host in fresh.hosts if host.path("/opt/watcher").exists()]
    return {**runs, "first": fresh.role(), "second": fresh.role()}


@pytest.fixture(scope="session")
def fleet(fresh: Fleet, first_runs: Runs) -> Fleet:
    """Return the hosts with their agents at work."""
    assert first_runs["first"].keys() == set(fresh.names)
    return fresh


@pytest.fixture(params=[0, 1], ids=["h1", "h2"])
def host(request: pytest.FixtureRequest, fleet: Fleet) -> Host:
    """Return one host after the other."""
    found: Host = fleet.hosts[request.param]
    return found
