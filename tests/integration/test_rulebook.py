# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped rulebook, run by real ansible-rulebook on real etcd, with a playbook that waits when told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.rulebook_run import BOUND, Rulebook, read

pytestmark = pytest.mark.rulebook

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


class Noting(Rulebook):
    """A rulebook that runs `PLAYBOOK`, and the log of that."""

    def __init__(self, site: Site, folder: Path) -> None:
        """Write the playbook; start nothing."""
        super().__init__(site, folder)
        self.playbook = folder / "playbook" / "note.yml"
        self.playbook.parent.mkdir()
        self.playbook.write_text(PLAYBOOK.replace("{{ folder }}", str(folder)), encoding="utf-8")

    def start(self, **variables: Any) -> None:
        """Start it with that playbook."""
        super().start(watcher_playbook=str(self.playbook), **variables)

    def log(self, what: str, project: str) -> list[dict[str, Any]]:
        """Return what hosts of a project have said so far."""
        lines = read(self.folder / "log").decode().splitlines()
        return [said for said in map(json.loads, lines) if (said["what"], said["project"]) == (what, project)]

    def hold_back(self, project: str) -> Path:
        """Let the playbook of a project wait until the file returned is gone."""
        path = self.folder / f"wait-{project}"
        path.touch()
        return path


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
def rulebook(etcd: EtcdServer, tmp_path: Path) -> Iterator[Noting]:
    """Return a rulebook on a site with three hosts."""
    site = tmp_path / "site"
    site.mkdir()
    rulebook = Noting(Site(site, etcd.endpoint, ["web01", "web02", "web03"]), tmp_path)
    yield rulebook
    rulebook.kill()


def put(store: Store, project: str, *hosts: str, name: str = "x") -> int:
    """Set one file of a project on hosts and return the revision."""
    return store.commit(Write(puts=tuple((f"/watcher/{host}/{project}/config.d/{name}", b"1") for host in hosts)))


def report(store: Store, project: str, revision: int, *hosts: str) -> None:
    """Report for hosts that they have deployed the project."""
    status = json.dumps({"state": "deployed", "wantedRevision": revision}).encode()
    store.commit(Write(puts=tuple((f"/watcher.status/{host}/{project}", status) for host in hosts)))


def test_the_rulebook(rulebook: Noting, store: Store) -> None:
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
def test_a_wrong_variable_ends_it(rulebook: Noting, variables: dict[str, Any], reason: str) -> None:
    """The rulebook says why and exits with 1."""
    rulebook.start(**variables)
    assert rulebook.process is not None
    assert rulebook.process.wait(BOUND) == 1
    assert reason in rulebook.output


def test_a_deployment_that_failed_is_tried_again(etcd: EtcdServer, store: Store, tmp_path: Path) -> None:
    """By the rulebook's own playbook, on that host only, until it succeeds; the log says when."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder, etcd.endpoint, ["web01", "web02"])
    mended = folder / "web01" / "mended"
    policies = {"web01": site.policy("web01", beforeCmd=f"test -e {mended}"), "web02": site.policy("web02")}
    for host, policy in policies.items():
        store.commit(Write(puts=((f"/watcher/{host}/a.com/config", json.dumps(policy).encode()),)))
    rulebook = Rulebook(site, tmp_path / "rulebook")
    try:
        rulebook.start(watcher_hold=10)
        put(store, "a.com", "web01", "web02")
        rulebook.until(lambda: "a.com: failed on web01; again in " in rulebook.output, "it fails")
        assert not (site.out() / "x").exists()
        mended.touch()
        rulebook.until((site.out() / "x").exists, "it is tried again and succeeds")
        assert rulebook.stop() == 0
    finally:
        rulebook.kill()
    assert (site.out("web02") / "x").exists()
    assert site.commands("web02") == ["before", "after"]
