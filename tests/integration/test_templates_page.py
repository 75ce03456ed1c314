# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on templates: its commands and files as they stand there, by an agent and by a playbook."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import sandbox, values
from ansible_collections.watcher.config.tests.agent_run import AgentRun, eventually
from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, etcd_35

PAGE = (ROOT / "docs" / "docsite" / "rst" / "templates.rst").read_text(encoding="utf-8")
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n(?: +:caption: (\S+)\n)?\n((?: .*\n|\n)+)", re.MULTILINE)
COMMANDS = {  # what the page's policies run
    "nginx": 'test "$1 $2" = "-t -c" && grep -q "server 10.0.1.100:80;" "$3"',
    "systemctl": 'test "$*" = "reload nginx" && echo reloaded >> "$LOG"',
}


class Block(NamedTuple):
    """A code block of the page: a file if it is captioned, else commands."""

    language: str
    caption: str
    text: str


def blocks(folder: Path) -> list[Block]:
    """Return the blocks, with everything below /etc moved below a folder."""
    page = PAGE.replace("/etc/", f"{folder}/etc/")
    return [Block(found[0], found[1], textwrap.dedent(found[2]).strip("\n") + "\n") for found in BLOCK.findall(page)]


def results(folder: Path) -> dict[Path, str]:
    """Return what the page says becomes of its examples."""
    return {Path(block.caption): block.text for block in blocks(folder) if block.caption.startswith("/")}


def right(folder: Path) -> bool:
    """Return whether each of the files is there as the page says."""
    return all(
        path.exists() and path.read_text().rstrip("\n") == text.rstrip("\n") for path, text in results(folder).items()
    )


class Page:
    """Runs the page in a folder, against an etcd."""

    def __init__(self, folder: Path, etcd: EtcdServer) -> None:
        """Make the commands that the policies run."""
        self.folder = folder
        self.site = Site(folder, etcd.endpoint, ["web01"])
        (folder / "bin").mkdir()
        for name, script in COMMANDS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\nLOG={folder}/log\n{script}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "page").mkdir()

    def play(self) -> int:
        """Write all files and run all commands, in their order; return how many blocks that were."""
        path = f"{self.folder / 'bin'}:{etcd_35().parent}:{self.site.environment['PATH']}"
        done = 0
        for block in blocks(self.folder):
            if block.language == "sh":
                script, environment = f"set -e\n{block.text}", {**self.site.environment, "PATH": path}
                ran = subprocess.run(
                    ["bash", "-c", script],
                    cwd=self.folder / "page",
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ran.returncode == 0, script + ran.stdout + ran.stderr
            elif block.caption and not block.caption.startswith("/"):
                file = self.folder / "page" / block.caption
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            else:
                continue
            done += 1
        return done


@pytest.fixture
def page(etcd: EtcdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Return the page, on an empty tree; what is run finds the page's commands."""
    etcd.etcdctl("del", "--prefix", "/")
    found = Page(tmp_path, etcd)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{found.site.environment['PATH']}")
    return found


@pytest.fixture
def agent(page: Page, etcd: EtcdServer) -> Iterator[AgentRun]:
    """Run the agent of web01."""
    with AgentRun(page.folder / "web01", etcd.endpoint) as run:
        yield run


def test_the_page(page: Page, agent: AgentRun, etcd: EtcdServer) -> None:
    """Each example becomes what the page says, by an agent; the same by a playbook on a host that has nothing."""
    assert page.play() + len(results(page.folder)) == PAGE.count("code-block::")  # none is left out
    agent.until(lambda: right(page.folder), "the files are as the page says")
    log = page.folder / "log"
    eventually(lambda: log.exists() and "reloaded" in log.read_text(), "nginx was reloaded")

    etcd.etcdctl("del", "/watcher/web01/motd/vars/owner")
    said = re.search(r"``(host web01, project motd, .*?)``", PAGE)
    status = "/watcher.status/web01/motd"
    agent.until(lambda: said and said[1] in etcd.etcdctl("get", status), "the status says what the page says")
    etcd.etcdctl("put", "/watcher/web01/motd/vars/owner", "Team Web")
    assert agent.stop() == 0

    shutil.rmtree(page.folder / "etc")
    page.site.ran("watcher.config.deploy", "-e", f"watcher_state_dir={page.folder}/other")
    assert right(page.folder)


def test_the_page_names_all() -> None:
    """Functions, filters, tests and globals in reach are on the page."""
    for name in values.Functions(values.Values("/")).named():
        assert f"``{name}(" in PAGE
    words = set(re.findall(r"\w+", PAGE.partition("* - jinja2's")[2].partition("White space")[0]))
    assert {name for name in (*sandbox.FILTERS, *sandbox.TESTS, *sandbox.GLOBALS) if name.isidentifier()} <= words
