# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role says, writes and asks for agrees; it is run for real in tests/hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Settings
from ansible_collections.watcher.config.tests.unit.roles.role import Role

ROLE = Role("agent")
MINIMUM = {"agent_endpoints": ["etcd1:2379"]}


def settings(folder: Path, **variables: Any) -> Settings:
    """Return what the agent makes of the INI file that the role writes."""
    path = folder / "watcher.ini"
    path.write_text(ROLE.rendered("watcher.ini.j2", **MINIMUM, **variables), encoding="utf-8")
    path.chmod(0o600)
    return Settings.load(str(path))


def test_defaults_are_those_documented() -> None:
    """Each variable is specified and has a default, and both places agree on it."""
    assert ROLE.load("defaults/main.yml") == ROLE.defaults()


def test_readme_has_the_table() -> None:
    """The table in the README is the one that tools/role_docs.py makes."""
    assert ROLE.table() in ROLE.readme()


def test_requirements_are_pinned() -> None:
    """Hosts get exactly these versions."""
    assert ROLE.unpinned("requirements.txt") == []


def test_ini_is_closed(tmp_path: Path) -> None:
    """Without more than the endpoints, the agent is this host's and allows nothing."""
    found = settings(tmp_path)
    assert (found.host, found.connection.endpoints, found.force) == ("web01", ("etcd1:2379",), True)
    assert (found.rules.roots, found.rules.commands) == ((), ())
    assert (found.logs, found.heartbeat, found.warnings) == (None, None, ())


@pytest.mark.parametrize(
    ("roots", "commands", "rules"),
    [
        (["/srv", "/etc/nginx"], ["nginx -t", "a b,c"], Rules(("/srv", "/etc/nginx"), ("nginx -t", "a b,c"))),
        (["/srv"], ["a b,c"], Rules(("/srv",), ("a b,c",))),
        (["*"], ["*"], Rules(None, None)),
        ("*", "*", Rules(None, None)),
        ("/srv,/opt/x", "nginx -t", Rules(("/srv", "/opt/x"), ("nginx -t",))),
    ],
    ids=["lists", "one of each", "anything", "anything on the command line", "texts of the command line"],
)
def test_ini_has_the_rules(tmp_path: Path, roots: Any, commands: Any, rules: Rules) -> None:
    """Deploy roots and commands arrive as they were given."""
    found = settings(tmp_path, agent_deploy_roots=roots, agent_commands=commands).rules
    assert (found.roots, found.commands) == (rules.roots, rules.commands)


def test_ini_has_the_rest(tmp_path: Path) -> None:
    """Every other variable of the INI file arrives, too."""
    found = settings(
        tmp_path,
        agent_prefix="/other",
        agent_hostname="web02",
        agent_timeout=2.5,
        agent_force=False,
        agent_resync=60,
        agent_state_dir="/srv/state",
        agent_run_as="www-data",
        agent_log_path="/var/log/watcher",
        agent_log_level="debug",
        agent_heartbeat_url="http://10.0.0.1:9091",
        agent_heartbeat_interval=10,
        agent_metrics_listen="127.0.0.1:9750",
        agent_metrics_textfile="/var/lib/node/watcher.prom",
    )
    assert (found.connection.prefix, found.host, found.connection.timeout) == ("/other", "web02", 2.5)
    assert (found.force, found.resync, found.state_dir, found.rules.run_as) == (False, 60, "/srv/state", "www-data")
    assert found.logs is not None and (found.logs.folder, found.logs.level) == ("/var/log/watcher", "debug")
    assert found.heartbeat is not None
    assert (found.heartbeat.url, found.heartbeat.interval) == ("http://10.0.0.1:9091", 10)
    assert (found.metrics.listen, found.metrics.textfile) == ("127.0.0.1:9750", "/var/lib/node/watcher.prom")


@pytest.mark.parametrize(
    ("roots", "commands", "there", "missing"),
    [
        ([], [], ["ProtectSystem=full", "PrivateTmp=yes", "NoNewPrivileges=yes"], ["ReadWritePaths=-/srv"]),
        (["/srv"], [], ["ReadWritePaths=-/srv", "PrivateTmp=yes"], []),
        (["/var/tmp/x"], [], ["PrivateTmp=no"], []),  # noqa: S108 (a name only)
        (["*"], [], ["NoNewPrivileges=yes", "CapabilityBoundingSet="], ["ProtectSystem", "PrivateTmp", "ReadWrite"]),
        ([], ["*"], ["ProtectSystem=full"], ["NoNewPrivileges", "CapabilityBoundingSet", "SystemCall", "Restrict"]),
    ],
    ids=["closed", "a root", "a root in /tmp", "any root", "any command"],
)
def test_unit_is_as_open_as_the_rules(
    roots: list[str], commands: list[str], there: list[str], missing: list[str]
) -> None:
    """The unit takes what deploying does not need, and no more."""
    lines = ROLE.rendered("watcher.service.j2", agent_deploy_roots=roots, agent_commands=commands).splitlines()
    assert [text for text in there if not any(line.startswith(text) for line in lines)] == []
    assert [line for line in lines if line.startswith(tuple(missing))] == []
