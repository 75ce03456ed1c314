# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on real hosts: again, in check mode, with a wrong value, as an upgrade and as a removal."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import VERSION
from ansible_collections.watcher.config.tests.hosts.fixtures import Runs
from ansible_collections.watcher.config.tests.hosts.fleet import PASSWORD, Fleet, Host

POLICY = {"deployPath": "/srv/app/role", "afterCmd": "/srv/after"}
GONE = ["/opt/watcher", "/etc/watcher", "/usr/local/bin/watcher", "/etc/systemd/system/watcher.service"]


def changes(recap: dict[str, dict[str, int]]) -> list[int]:
    """Return how much changed on each host."""
    return [numbers["changed"] for numbers in recap.values()]


def traces(host: Host) -> tuple[object, ...]:
    """Return what would tell that a file was deployed again, or a command was run."""
    status = host.path("/srv/app/role/a").stat()
    return status.st_ino, status.st_mtime_ns, host.text("/srv/log")


@pytest.fixture(scope="module", autouse=True)
def deployed(fleet: Fleet) -> None:
    """Have a project on the hosts, which must come through everything untouched."""
    revisions = fleet.put("role", {"a": "a\n"}, POLICY)
    for host in fleet.hosts:
        fleet.told(host, "role", "deployed", revisions[host.name])


def test_first_runs(first_runs: Runs) -> None:
    """Check mode tells of changes and makes none, the first run makes them, the second has none."""
    assert all(changes(first_runs["check"]))
    assert all(changes(first_runs["first"]))
    assert changes(first_runs["second"]) == [0, 0]


def test_the_agent_is_in_the_tree(fleet: Fleet, host: Host) -> None:
    """The process that systemd runs has registered, and systemd shows what it does."""
    said = fleet.agent(host)
    assert (said["hostname"], said["version"], str(said["pid"])) == (host.name, VERSION, host.unit("MainPID"))
    assert host.unit("StatusText")
    assert host.run("systemctl is-enabled watcher").strip() == "enabled"


def test_secrets(host: Host) -> None:
    """Only root reads what is secret, and no password is in the INI file."""
    for name in ("watcher.ini", "password", "client.key"):
        status = host.path(f"/etc/watcher/{name}").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 0), name
    assert PASSWORD not in host.text("/etc/watcher/watcher.ini")
    assert PASSWORD not in host.run("journalctl --no-pager -o cat")


def test_command(host: Host) -> None:
    """The command works from any folder, even one that holds traps."""
    host.run(
        "mkdir -p /srv/trap/watcher && echo 'raise SystemExit(9)' | tee /srv/trap/watcher/__init__.py /srv/trap/json.py"
    )
    assert host.run("cd /srv/trap && PYTHONPATH=/srv/trap watcher --version").strip().endswith(VERSION)
    host.run("cd /srv/trap && watcher check")
    assert "role" in host.run("cd /srv/trap && watcher status")


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        ({"deployPath": "/etc/cron.d"}, "/etc/cron.d"),
        ({"deployPath": "/srv/app/x", "afterCmd": "systemctl reload nginx; id"}, "systemctl reload nginx; id"),
    ],
    ids=["root", "command"],
)
def test_the_host_decides(fleet: Fleet, policy: dict[str, str], asked: str) -> None:
    """A policy outside of what the role allowed is refused with what it asked for, and nothing is carried out."""
    fleet.put("evil", {"evil": "evil\n"}, policy)
    try:
        fleet.each(lambda host: asked in fleet.status(host, "evil").get("msg", ""), "refuses")
        for host in fleet.hosts:
            assert fleet.status(host, "evil")["state"] == "failed"
            assert not host.path(f"{policy['deployPath']}/evil").exists()
    finally:
        fleet.withdraw("evil")


def test_again_in_check_mode(fleet: Fleet) -> None:
    """Check mode has nothing to tell of hosts that are as they shall be."""
    assert changes(fleet.role("--check")) == [0, 0]


@pytest.fixture
def newer(fleet: Fleet, tmp_path: Path) -> Iterator[Path]:
    """Let the controller have a newer collection; return the folder of its library."""
    shutil.copytree(fleet.collections, tmp_path, dirs_exist_ok=True)
    core = tmp_path / "ansible_collections" / "watcher" / "config" / "plugins" / "module_utils" / "_core"
    (core / "only_in_9.py").touch()
    start = (core / "__init__.py").read_text()
    (core / "__init__.py").write_text(re.sub("^VERSION = .*", 'VERSION = "9.0.0"', start, flags=re.MULTILINE))
    here, fleet.collections = fleet.collections, tmp_path
    yield core
    fleet.collections = here


def test_upgrade(fleet: Fleet, newer: Path) -> None:
    """A wrong value stops it before the agent is touched; another run completes it; nothing is deployed again."""
    deployed = [traces(host) for host in fleet.hosts]
    first = fleet.hosts[0]
    before = (first.text("/etc/watcher/watcher.ini"), first.unit("MainPID"))
    wrong = fleet.variables(agent_heartbeat_url="gopher://example.com")
    done = fleet.play("watcher.config.agent", "--limit", first.name, **wrong)
    assert done.returncode != 0
    assert "gopher://example.com" in done.stdout and "Traceback" not in done.stdout
    assert (first.text("/etc/watcher/watcher.ini"), first.unit("MainPID")) == before

    assert all(changes(fleet.role()))
    assert [fleet.agent(host)["version"] for host in fleet.hosts] == ["9.0.0"] * 2
    files = sorted(path.name for path in newer.glob("*.py"))
    for host in fleet.hosts:
        assert sorted(path.name for path in host.path("/opt/watcher").glob("lib-*/watcher/*.py")) == files
    assert [traces(host) for host in fleet.hosts] == deployed


def test_removal(fleet: Fleet) -> None:
    """The agent goes and what it deployed stays, with the memory of it: the next agent has nothing to do."""
    before = [traces(host) for host in fleet.hosts]
    assert all(changes(fleet.role("--check", agent_state="absent")))
    assert all(fleet.agent(host) for host in fleet.hosts)

    done = fleet.play("watcher.config.agent", agent_state="absent")
    assert done.returncode == 0
    assert "/var/lib/watcher" in done.stdout
    for host in fleet.hosts:
        assert [path for path in GONE if host.path(path).exists()] == []
        assert host.path("/var/lib/watcher/role").is_dir()
        assert not fleet.agent(host)
        assert host.run("systemctl is-system-running").strip() == "running"
    assert changes(fleet.ran("watcher.config.agent", agent_state="absent")) == [0, 0]

    fleet.role("--limit", fleet.hosts[0].name)
    assert fleet.agent(fleet.hosts[0])["version"] == VERSION
    assert [traces(host) for host in fleet.hosts] == before
