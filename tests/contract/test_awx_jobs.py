# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the stand-in of AWX runs a job: variables, credentials, faults. A real AWX has no such playbook to look at."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.awx.jobs import Job
from ansible_collections.watcher.config.tests.awx.server import AwxServer

BOUND = 120.0  # seconds that a job may take; it takes one, on a busy machine more
GIT = {"scm_type": "git", "scm_url": "https://git.example.com/watcher"}
SHOW = """\
- name: Show what the job was given
  hosts: all
  gather_facts: false
  tasks:
    - name: Write it
      ansible.builtin.copy:
        content: "{{ {'names': names, 'types': names | map('type_debug') | list, 'seen': seen} | to_json }}"
        dest: "{{ folder }}/{{ inventory_hostname }}"
        mode: "0600"
      vars:
        names: "{{ [given, trusted, number] }}"
        seen:
          limit: "{{ ansible_limit | default('none') }}"
          user: "{{ awx_user_name }}"
          template: "{{ tower_job_template_name }}"
          home: "{{ lookup('ansible.builtin.env', 'ETCDCTL_ENDPOINTS') }}"
          certificate: "{{ lookup('ansible.builtin.file', lookup('ansible.builtin.env', 'ETCDCTL_CACERT')) }}"
          key: "{{ lookup('ansible.builtin.env', 'ETCDCTL_KEY') }}"
          injected: "{{ injected }}"
"""
SLEEP = """\
- name: Never end
  hosts: all
  gather_facts: false
  tasks:
    - name: Sleep
      ansible.builtin.command:
        argv: [sleep, "1000"]
      changed_when: false
"""


class Ground:
    """An AWX with one job template of the playbook above."""

    def __init__(self, folder: Path) -> None:
        """Make all objects."""
        self.folder = folder
        checkout = folder / "checkout"
        checkout.mkdir()
        (checkout / "show.yml").write_text(SHOW, encoding="utf-8")
        site = Site(folder, "", ["web01", "web02"])
        self.awx = AwxServer(folder / "awx", inventory=site.inventory, environment=site.environment, checkout=checkout)
        tables = self.awx.tables
        organization = tables.add("organizations", name="Watcher")["id"]
        fields = [{"id": name, "type": "string", "label": name} for name in ("endpoints", "ca_cert", "client_key")]
        kind = tables.add(
            "credential_types",
            name="Watcher etcd",
            kind="cloud",
            inputs={"fields": fields},
            injectors={
                "file": {"template.ca_cert": "{{ ca_cert }}"},
                "env": {
                    "ETCDCTL_ENDPOINTS": "{{ endpoints }}",
                    "ETCDCTL_CACERT": "{{ tower.filename.ca_cert }}",
                    "ETCDCTL_KEY": "{% if client_key %}{{ client_key }}{% endif %}",
                },
                "extra_vars": {"injected": "{{ endpoints }}"},
            },
        )["id"]
        credential = tables.add(
            "credentials",
            name="Watcher etcd",
            organization=organization,
            credential_type=kind,
            inputs={"endpoints": "https://etcd.example.com", "ca_cert": "A CERTIFICATE"},
        )["id"]
        self.template = tables.add(
            "job_templates",
            name="Show",
            inventory=tables.add("inventories", name="Watcher", organization=organization)["id"],
            project=tables.add("projects", name="Watcher", organization=organization, **GIT)["id"],
            playbook="show.yml",
            extra_vars=json.dumps({"folder": str(folder), "trusted": "{{ 6 * 7 }}"}),
            ask_limit_on_launch=True,
            ask_variables_on_launch=True,
        )["id"]
        tables.link("job_templates", self.template, "credentials", credential)

    def run(self, **body: Any) -> Job:
        """Run the job to its end."""
        admin = self.awx.tables.one("users", username="admin")
        status, answer = self.awx.jobs.launch(self.template, body, admin)
        assert (status, answer["ignored_fields"]) == (201, {}), answer
        return self.awx.jobs.wait(lambda jobs: jobs[-1].finished, BOUND)[-1]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Return the ground."""
    ground = Ground(tmp_path)
    with ground.awx:
        yield ground


def test_what_a_job_is_given(ground: Ground) -> None:
    """Limit, AWX's own variables and the credential arrive; only the template's Jinja is taken for Jinja."""
    job = ground.run(limit="web02", extra_vars={"given": "{{ 7 * 7 }}", "number": "1.10"})
    assert job.status == "successful", job.stdout
    assert not (ground.folder / "web01").is_file()
    told = json.loads((ground.folder / "web02").read_text())
    assert told["names"][:2] == ["{{ 7 * 7 }}", 42]
    assert told["seen"] == {
        "limit": "web02",
        "user": "admin",
        "template": "Show",
        "home": "https://etcd.example.com",
        "certificate": "A CERTIFICATE",
        "key": "",
        "injected": "https://etcd.example.com",
    }


def test_a_text_that_looks_like_a_number_becomes_one(ground: Ground) -> None:
    """AWX's way to write variables and ansible-core 2.19's way to read them lose that it was a text."""
    job = ground.run(limit="web02", extra_vars={"given": "x", "number": "1.10"})
    assert job.status == "successful", job.stdout
    told = json.loads((ground.folder / "web02").read_text())
    assert (told["names"][2], told["types"][2]) == (1.1, "float")
    written = (ground.folder / "awx" / "jobs" / "1" / "extravars").read_text()
    assert "!unsafe 'number': !unsafe '1.10'\n" in written


def test_a_job_that_cannot_begin(ground: Ground) -> None:
    """It ends as an error that says why, without a playbook; so it does when a test wants it."""
    ground.awx.jobs.break_next("error", "The node is gone.")
    job = ground.run()
    assert (job.status, job.explanation, job.stdout) == ("error", "The node is gone.", "")
    tables = ground.awx.tables
    broken = {"env": {"ETCDCTL_CACERT": "{{ tower.filename.other.name }}"}}
    kind = tables.add("credential_types", name="Broken", kind="cloud", inputs={"fields": []}, injectors=broken)["id"]
    fields = {"organization": tables.one("organizations", name="Watcher")["id"], "credential_type": kind, "inputs": {}}
    tables.link("job_templates", ground.template, "credentials", tables.add("credentials", name="x", **fields)["id"])
    job = ground.run()
    assert job.status == "error"
    assert "has no attribute 'other'" in job.explanation


def test_nothing_is_left_of_a_job(tmp_path: Path) -> None:
    """The end of the stand-in, and a canceled job, kill the playbook with all that it began."""
    ground = Ground(tmp_path)
    (tmp_path / "checkout" / "show.yml").write_text(SLEEP, encoding="utf-8")
    admin = ground.awx.tables.one("users", username="admin")
    with ground.awx:
        for number in (1, 2):
            assert ground.awx.jobs.launch(ground.template, {"limit": "web01"}, admin)[0] == 201
            wait_for(lambda: sleeping(tmp_path) == 1)
            if number == 1:
                assert ground.awx.jobs.rest("POST", ["1", "cancel"], {}, admin)[0] == 202
                wait_for(lambda: sleeping(tmp_path) == 0)
    assert sleeping(tmp_path) == 0
    assert [job.status for job in ground.awx.jobs.all.values()] == ["canceled", "failed"]


def sleeping(folder: Path) -> int:
    """Return how many commands of the playbook below run."""
    mark = f"HOME={folder}".encode()
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"sleep\0") and mark in path.with_name("environ").read_bytes().split(b"\0"):
                found += 1
    return found


def wait_for(holds: Callable[[], bool]) -> None:
    """Return once something holds."""
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
