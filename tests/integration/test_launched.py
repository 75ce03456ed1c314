# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook deploy as AWX starts it, which has dropped what the job template did not prompt for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site, recap
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_run import Tree

DEPLOY = str(ROOT / "playbooks" / "deploy.yml")
HOSTS = ["web01", "web02", "web03"]
AWX = {"awx_job_template_id": 7, "awx_job_template_name": "Nightly"}
LIMIT, VARIABLES = "Limit (ask_limit_on_launch)", "Variables (ask_variables_on_launch)"
PROJECT = {"watcher_project": "a.com"}


@pytest.fixture
def site(tree: Tree, etcd: EtcdServer, tmp_path: Path) -> Site:
    """Return a controller with three hosts, each of which has two projects to deploy."""
    site = Site(tmp_path, etcd.endpoint, HOSTS)
    puts = [
        put
        for host in HOSTS
        for project in ("a.com", "b.com")
        for put in (
            (f"/watcher/{host}/{project}/config", json.dumps(site.policy(host)).encode()),
            (f"/watcher/{host}/{project}/config.d/{project}", b"x"),
        )
    ]
    tree.store.commit(Write(puts=tuple(puts)))
    return site


def event(*hosts: str) -> dict[str, Any]:
    """Return the variable in which ansible-rulebook hands on an event of these hosts."""
    return {"ansible_eda": {"event": {"watcher": {"project": "a.com", "hosts": list(hosts), "revision": 9}}}}


def as_awx_says(variables: dict[str, Any]) -> str:
    """Return variables as the file that AWX writes: each text is tagged, a key like a value."""
    tagged = {key: f"!unsafe '{value}'" if isinstance(value, str) else value for key, value in variables.items()}
    return "".join(f"!unsafe '{key}': {value}\n" for key, value in tagged.items())


def deployed(site: Site) -> dict[str, list[str]]:
    """Return the projects that are on disk, by host."""
    found = {host: sorted(path.name for path in site.out(host).glob("*")) for host in HOSTS}
    return {host: projects for host, projects in found.items() if projects}


def test_what_is_refused(site: Site) -> None:
    """Nothing is deployed, and one sentence names the template, each prompt that is off, and what to give."""
    cases: list[tuple[str, dict[str, Any], str, list[str]]] = [
        ("", {**PROJECT, **event("web01")}, "without a limit, so", [LIMIT]),
        ("", PROJECT, "without a limit, so", [LIMIT]),
        ("web01", {}, "without watcher_project, so", [VARIABLES]),
        ("web01", {"watcher_project": ""}, "without watcher_project, so", [VARIABLES]),
        ("", {}, "without a limit and without watcher_project, so", [LIMIT, VARIABLES]),
        ("all", {**PROJECT, **event(*HOSTS)}, "with the limit all for an event of web01,web02,web03, so", [LIMIT]),
        ("web01,web02", {**PROJECT, **event("web01")}, "with the limit web01,web02 for an event of web01, so", [LIMIT]),
    ]
    for limit, variables, reason, prompts in cases:
        done = site.play(DEPLOY, *(["-l", limit] if limit else []), **AWX, **variables)
        said = " ".join(done.stdout.split())
        assert done.returncode == 2, said
        assert f"job template Nightly: the launch came {reason} nothing was deployed; " in said
        assert f'turn on "Prompt on launch" of {" and of ".join(prompts)} in the job template, and ' in said
        assert said.count("fatal: [") == 1
    assert deployed(site) == {}


@pytest.mark.parametrize(
    ("limit", "variables", "wanted"),
    [
        ("web01,web02", event("web01", "web02"), {"web01": ["a.com"], "web02": ["a.com"]}),
        ("web02", event("web01", "web02"), {"web02": ["a.com"]}),
        ("all", {}, {host: ["a.com"] for host in HOSTS}),
        ("all:!web03", {"watcher_project": "*"}, {host: ["a.com", "b.com"] for host in HOSTS[:2]}),
    ],
    ids=["the event's hosts", "again on those that failed", "all on purpose", "all projects on purpose"],
)
def test_what_is_deployed(site: Site, limit: str, variables: dict[str, Any], wanted: dict[str, list[str]]) -> None:
    """What the launch names, and nothing else."""
    site.ran(DEPLOY, "-l", limit, **AWX, **{**PROJECT, **variables})
    assert deployed(site) == wanted


def test_without_awx_nothing_is_asked(site: Site) -> None:
    """Then it runs on all hosts, and for all projects, as ever."""
    site.ran(DEPLOY, **event("web01"))
    assert deployed(site) == {host: ["a.com", "b.com"] for host in HOSTS}


def test_hosts_that_the_inventory_does_not_know(site: Site) -> None:
    """Ansible names them beside those that it knows; alone they are an error."""
    done = site.play(DEPLOY, "-l", "web01,ghost", **AWX, **PROJECT, **event("ghost", "web01"))
    assert done.returncode == 0 and list(recap(done.stdout)) == ["web01"]
    assert "Could not match supplied host pattern, ignoring: ghost" in done.stderr
    done = site.play(DEPLOY, "-l", "ghost", **AWX, **PROJECT, **event("ghost"))
    assert done.returncode == 1
    assert "leaves us with no hosts to target" in done.stderr
    assert deployed(site) == {"web01": ["a.com"]}


def test_all_projects_as_awx_says_it(site: Site) -> None:
    """Two stars arrive; one is a sign of YAML that AWX does not put into quotes, and no playbook starts with it."""
    path = site.folder / "awx.yml"
    path.write_text(as_awx_says({**AWX, "watcher_project": "*"}), encoding="utf-8")
    assert "YAML parsing failed" in site.play(DEPLOY, "-l", "web02", "-e", f"@{path}").stderr
    path.write_text(as_awx_says({**AWX, "watcher_project": "**"}), encoding="utf-8")
    site.ran(DEPLOY, "-l", "web02", "-e", f"@{path}")
    assert deployed(site) == {"web02": ["a.com", "b.com"]}


@pytest.mark.parametrize(
    ("variables", "said", "wanted"),
    [
        ({"watcher_project": "1.10", "watcher_launched_for": "1.10 on 007 web01"}, "", ["007", "web01"]),
        ({"watcher_project": "1.10", "watcher_launched_for": "1.10 on 007"}, "with the limit 007,web01 for an", []),
        ({"watcher_project": "1.10"}, "watcher_project came as 1.1, which is no text any more because", []),
    ],
    ids=["as the rulebook says it", "beyond the event", "by hand"],
)
def test_names_that_look_like_numbers(
    tree: Tree, etcd: EtcdServer, tmp_path: Path, variables: dict[str, Any], said: str, wanted: list[str]
) -> None:
    """AWX hands them on in such a way that ansible-core reads numbers; what gets lost is refused."""
    site = Site(tmp_path, etcd.endpoint, ["007", "web01"])
    for host in ("007", "web01"):
        for project in ("1.10", "1.1"):
            policy = json.dumps(site.policy(host)).encode()
            tree.store.commit(Write(puts=((f"/watcher/{host}/{project}/config", policy),)))
            tree.store.commit(Write(puts=((f"/watcher/{host}/{project}/config.d/{project}", b"x"),)))
    (tmp_path / "awx.yml").write_text(as_awx_says({**AWX, **variables}), encoding="utf-8")
    done = site.play(DEPLOY, "-l", "007,web01", "-e", f"@{tmp_path}/awx.yml")
    assert done.returncode == (2 if said else 0), done.stdout
    assert said in " ".join(done.stdout.split())
    found = {host: [path.name for path in site.out(host).glob("*")] for host in ("007", "web01")}
    assert found == {host: ["1.10"] if host in wanted else [] for host in found}
