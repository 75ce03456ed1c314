# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's tour, run word for word in a network of its own, where etcd's own ports are free."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.ansible_site import ROOT

FOLDER = "/tmp/watcher-tour"  # noqa: S108 (the README's own)
PATIENCE = 180  # seconds


def tour() -> str:
    """Return the commands of the tour, block by block."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## A tour of five minutes")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 11
    return "\n".join(blocks)


def own_network() -> list[str]:
    """Return the command that runs a script in a network namespace; skip the test where that is not allowed."""
    command = ["unshare", "--net", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]
    try:
        subprocess.run([*command, "ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    return command


@pytest.mark.rulebook
@pytest.mark.slow
def test_tour(tmp_path: Path) -> None:
    """Every command succeeds, and the files and the table are as the text says."""
    folder = tmp_path / "tour"
    commands = tour().replace(FOLDER, str(folder))
    script = "\n".join(["set -e -o pipefail", "ip link set lo up", "set -m", commands, "echo the end"])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "ETCDCTL_"))},
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "link"),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        [*own_network(), "bash", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    logs = [log.read_text() for log in sorted(folder.glob("*.log")) if log.name != "etcd.log"]
    assert done.returncode == 0, "".join([done.stdout, done.stderr, *logs])
    assert "server { server_name a.com; }" in done.stdout
    graph = done.stdout.partition("@all:")[2].partition("www.a.com")[0]
    assert re.search(r"@watcher_in_sync:\n.*--web01$", graph, re.MULTILINE)
    assert re.search(r"@watcher_project_b_com:\n.*--web01$", graph, re.MULTILINE)
    assert "server { server_name www.a.com; }" in done.stdout
    assert re.search(r"web01 +a.com +deployed", done.stdout)
    assert re.search(r"web01 +b.com +removed", done.stdout)
    assert "server { server_name agent.a.com; }" in done.stdout
    assert re.search(r"^a.com +deployed", done.stdout, re.MULTILINE)
    after = done.stdout.partition("rolledBack")[2]
    assert after.index("server 10.0.0.1:80;") < after.index("server 10.0.0.2:80;") < after.rindex("server 10.0.0.1:80;")
    assert re.search(r"c.com.*: policy field deployPath asks for '/etc/c.com'; this host allows", done.stdout)
    assert done.stdout.endswith("the end\n")
