# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped rulebook, run by real ansible-rulebook on real etcd, with a playbook that waits when told to."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.ansible_site import BIN, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

pytestmark = pytest.mark.rulebook

BOUND = 120.0  # seconds that anything may take at most; a playbook takes one, on a busy machine more

# Each host says that it begins, waits while the file "wait" is there, and says that it ends.
PLAYBOOK = r"""
- name: Note what happens
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin and end
      ansible.builtin.shell:
        cmd: |
          printf '%s\n' '{{ said | combine({"what": "begin"}) | to_json }}' >> {{ folder }}/log
          while [ -e {{ folder }}/wait-{{ watcher_project }} ]; do sleep 0.05; done
          printf '%s\n' '{{ said | combine({"what": "end"}) | to_json }}' >> {{ folder }}/log
      vars:
        said:
          project: "{{ watcher_project }}"
          host: "{{ inventory_hostname }}"
          revision: "{{ watcher_revision }}"
          files: "{{ ansible_eda.event.watcher.changes | map(attribute='files') | flatten | map(attribute='path') }}"
"""


class Rulebook:
    """ansible-rulebook on a site, and the log of its playbook."""

    def __init__(self, site: Site, folder: Path) -> None:
        """Write playbook and variables; start nothing."""
        self.site = site
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.playbook = folder / "playbook" / "note.yml"
        self.playbook.parent.mkdir()
        self.playbook.write_text(PLAYBOOK.replace("{{ folder }}", str(folder)), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **variables: Any) -> None:
        """Start it with these variables."""
        (self.folder / "vars.yml").write_text(yaml.safe_dump({"watcher_playbook": str(self.playbook), **variables}))
        files = {"-i": self.site.inventory, "--vars": self.folder / "vars.yml"}
        command = [str(BIN / "ansible-rulebook"), "-r", "watcher.config.deploy"]
        command += [str(part) for option in files.items() for part in option]
        environment = {**self.site.environment, "JAVA_TOOL_OPTIONS": "-Xrs", "TMPDIR": str(self.temporary)}
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder
            )

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND)

    def kill(self) -> None:
        """End it, and what it left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for path in self.left():
            subprocess.run(["kill", "-9", path.name], check=False)

    def left(self) -> list[Path]:
        """Return the processes, as in /proc, that were started by it: they have its home."""
        home = f"\0HOME={self.site.folder}\0".encode()
        return [path for path in Path("/proc").glob("[0-9]*") if home in b"\0" + _read(path / "environ")]

    def gone(self) -> None:
        """Wait until it has left no process.

        Of a playbook that was stopped, ansible-core lets the task in hand come to its end.
        """
        deadline = time.monotonic() + BOUND
        while self.left():
            assert time.monotonic() < deadline, f"left: {[_read(path / 'cmdline') for path in self.left()]}"
            time.sleep(0.02)

    def log(self, what: str, project: str) -> list[dict[str, Any]]:
        """Return what hosts of a project have said so far."""
        lines = _read(self.folder / "log").decode().splitlines()
        return [said for said in map(json.loads, lines) if (said["what"], said["project"]) == (what, project)]

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds; fail with the output when it does not in time."""
        deadline = time.monotonic() + BOUND
        while not holds():
            alive = self.process is not None and self.process.poll() is None
            assert alive and time.monotonic() < deadline, (
                f"not in time: {what}\n{_read(self.folder / 'output').decode()}"
            )
            time.sleep(0.02)

    def hold_back(self, project: str) -> Path:
        """Let the playbook of a project wait until the file returned is gone."""
        path = self.folder / f"wait-{project}"
        path.touch()
        return path


def _read(path: Path) -> bytes:
    """Return the content of a file; nothing when it is not there or went away."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def etcd() -> Iterator[EtcdServer]:
    """Start an etcd."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def store(etcd: EtcdServer) -> Iterator[Store]:
    """Return its store."""
    store = connect(Connection((etcd.endpoint,)))
    yield store
    store.close()


@pytest.fixture
def rulebook(etcd: EtcdServer, tmp_path: Path) -> Iterator[Rulebook]:
    """Return a rulebook on a site with three hosts."""
    site = tmp_path / "site"
    site.mkdir()
    rulebook = Rulebook(Site(site, etcd.endpoint, ["web01", "web02", "web03"]), tmp_path)
    yield rulebook
    rulebook.kill()


def put(store: Store, project: str, *hosts: str, name: str = "x") -> int:
    """Set one file of a project on hosts and return the revision."""
    return store.commit(Write(puts=tuple((f"/watcher/{host}/{project}/config.d/{name}", b"1") for host in hosts)))


def report(store: Store, project: str, revision: int, *hosts: str) -> None:
    """Report for hosts that they have deployed the project."""
    status = json.dumps({"state": "deployed", "wantedRevision": revision}).encode()
    store.commit(Write(puts=tuple((f"/watcher.status/{host}/{project}", status) for host in hosts)))


def test_the_rulebook(rulebook: Rulebook, store: Store) -> None:
    """Runs are limited to hosts, do not overlap, and a change during one becomes one more; a stop is clean."""
    gate = rulebook.hold_back("1.10")
    rulebook.start()
    first = put(store, "1.10", "web01", name="\U0001f600{{ 7 * 7 }}")
    rulebook.until(lambda: rulebook.log("begin", "1.10"), "the first run begins")
    for _unused in range(5):
        put(store, "1.10", "web01")
        last = put(store, "1.10", "web02")
    put(store, "b.com", "web02")
    rulebook.until(lambda: rulebook.log("end", "b.com"), "another project does not wait")
    assert [said["host"] for said in rulebook.log("begin", "1.10")] == ["web01"]

    gate.unlink()
    report(store, "1.10", first, "web01")
    rulebook.until(lambda: len(rulebook.log("end", "1.10")) == 3, "the second run ends")
    begun = rulebook.log("begin", "1.10")
    assert [(said["host"], said["revision"]) for said in begun[:1]] == [("web01", first)]
    assert sorted((said["host"], said["revision"]) for said in begun[1:]) == [("web01", last), ("web02", last)]
    assert begun[0]["files"] == ["\\U0001f600\\x7b{ 7 * 7 }}"]

    report(store, "1.10", last, "web01", "web02")
    gate = rulebook.hold_back("c.com")
    put(store, "c.com", "web03")
    rulebook.until(lambda: rulebook.log("begin", "c.com"), "a run begins")
    assert rulebook.stop() == 0
    assert list(rulebook.temporary.glob("eda*")) == []
    gate.unlink()
    rulebook.gone()

    rulebook.start(watcher_hold=1)
    rulebook.until(lambda: len(rulebook.log("begin", "c.com")) == 2, "the run that was stopped is repeated")
    assert len(rulebook.log("begin", "1.10")) == 3, "what was done is not repeated"

    gate = rulebook.hold_back("d.com")
    put(store, "d.com", "web01")
    rulebook.until(lambda: rulebook.log("begin", "d.com"), "a run begins that takes longer than it is waited for")
    put(store, "d.com", "web01")
    put(store, "e.com", "web01")
    rulebook.until(lambda: rulebook.log("end", "e.com"), "others run")
    assert len(rulebook.log("begin", "d.com")) == 1, "runs of a project do not overlap"
    gate.unlink()
    rulebook.until(lambda: len(rulebook.log("end", "d.com")) == 2, "the second run")
    assert rulebook.stop() == 0
    rulebook.gone()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"watcher_batch": "soon"}, "batch: 'soon' is not a number of seconds from 0 to 2"),
        ({"watcher_hosts": ["all"]}, "hosts: 'all' is no host of the tree"),
    ],
)
def test_a_wrong_variable_ends_it(rulebook: Rulebook, variables: dict[str, Any], reason: str) -> None:
    """The rulebook says why and exits with 1."""
    rulebook.start(**variables)
    assert rulebook.process is not None
    assert rulebook.process.wait(BOUND) == 1
    assert reason in (rulebook.folder / "output").read_text()
