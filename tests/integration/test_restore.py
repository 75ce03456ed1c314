# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that are put back on a real etcd: by the program beside its agent, and by the module with its action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

NOTE = "1 files (such as 'x') are from a backup until they are published again"
DEPLOY = "watcher.config.deploy"


# Beside an agent


def versions(host: AgentSite, agent: AgentRun, **fields: Any) -> int:
    """Publish x twice, wait for the agent each time, and return the second revision."""
    for content in ("v1", "v2"):
        now = host.publish({"x": content, "y": "1"}, backupDir=str(host.folder / "backups"), **fields)
        host.settled(agent, now)
    return now


def ran(agent: AgentRun, *arguments: str, code: int = 0) -> str:
    """Run a command beside the agent, demand its exit code and return what it printed."""
    done = agent.command(*arguments)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def backups(host: AgentSite) -> set[str]:
    """Return the contents of all backups of x."""
    return {path.read_text() for path in (host.folder / "backups").iterdir() if path.name.startswith("x_")}


def test_restored_beside_an_agent(host: AgentSite, receiver: Receiver) -> None:
    """The file stays through comparisons and a restart, all are told, and the next publish of it replaces it."""
    with host.agent() as agent:
        now = versions(host, agent, callback=receiver.url)
        receiver.wait(2)
        listed = json.loads(ran(agent, "backups", "a.com", "x", "--json"))["backups"]
        assert [(entry["file"], entry["size"], entry["revision"]) for entry in listed] == [("x", 2, now)]

        said = ran(agent, "restore", "a.com", "x")
        assert said.startswith(f"a.com: deployed at revision {now}: set x; backup {listed[0]['name']}; {NOTE}"), said
        assert (host.text("x"), host.commands()[-2:]) == ("v1", [f"before {now} x", f"after {now} x"])
        body = receiver.wait(3)[2]
        assert (body["state"], body["code"], [file["path"] for file in body["files"]]) == ("deployed", 200, ["x"])
        status = host.status()
        assert (status["state"], status["revision"], NOTE in status["msg"]) == ("deployed", now, True)

        (host.out() / "y").write_text("drifted")
        agent.compare()
        agent.until(lambda: host.text("y") == "1", "what drifted is repaired")
        assert host.text("x") == "v1"
        assert NOTE in host.settled(agent, host.put({"y": "2"}))["msg"]
        assert host.disk() == {"x": "v1", "y": "2"}
        (entry,) = agent.status()["projects"]
        assert (entry["state"], entry["msg"]) == ("deployed", NOTE)

        assert agent.stop() == 0
        (host.out() / "y").write_text("drifted")
        agent.start()
        agent.until(lambda: host.text("y") == "2", "what drifted while nobody watched is repaired")
        assert host.text("x") == "v1"

        assert host.settled(agent, host.put({"x": "v3"}))["msg"] == ""
        assert (host.text("x"), backups(host)) == ("v3", {"v1", "v2"})


def test_a_resync(host: AgentSite) -> None:
    """The look at the disk that comes every few minutes repairs what drifted, and leaves the file alone."""
    with host.agent(local={"resync": "1"}) as agent:
        versions(host, agent)
        ran(agent, "restore", "a.com", "x")
        (host.out() / "y").write_text("drifted")
        agent.until(lambda: host.text("y") == "1", "the resync repairs what drifted", 40)
        assert host.text("x") == "v1"


def test_published_from_a_backup(host: AgentSite) -> None:
    """The tree has the old content, and the agent deploys it like any other change."""
    with host.agent() as agent:
        now = versions(host, agent)
        said = ran(agent, "restore", "a.com", "x", "--publish")
        assert said.startswith("a.com: x published at revision "), said
        assert host.settled(agent, now + 1)["msg"] == ""
        item, _revision = host.store.get(host.key("a.com", "config.d/x"))
        assert (item and item.value, host.text("x"), backups(host)) == (b"v1", "v1", {"v1", "v2"})


def test_restore_that_fails(host: AgentSite) -> None:
    """When afterCmd fails the file comes back, and nothing of it troubles the agent."""
    with host.agent() as agent:
        now = versions(host, agent, afterCmd=f"! test -e {host.folder}/bad || grep -q v2 {host.out()}/x")
        before = host.status()
        (host.folder / "bad").touch()
        said = ran(agent, "restore", "a.com", "x", code=1)
        assert f"a.com: rolledBack at revision {now}" in said and "the previous files are back" in said
        assert (host.text("x"), host.status()) == ("v2", before)
        (entry,) = agent.status()["projects"]
        assert (entry["state"], entry["attempts"], entry["msg"]) == ("deployed", 0, "")


def test_restore_while_etcd_is_away(tmp_path: Path) -> None:
    """It works all the same, and the status follows once etcd is back."""
    with EtcdServer() as server:
        host = AgentSite(tmp_path, server)
        try:
            with host.agent(local={"resync": "1"}, etcd={"timeout": "1"}) as agent:
                versions(host, agent)
                server.kill()
                said = ran(agent, "restore", "a.com", "x")
                assert "the status was not written" in said and host.text("x") == "v1"
                server.start()
                agent.until(lambda: NOTE in host.status()["msg"], "the status says it", 60)
                assert host.text("x") == "v1"
        finally:
            host.close()


# By the module


def play(site: Site, *arguments: str, **options: Any) -> dict[str, Any]:
    """Run the module for a.com of web01 with these options and return its result."""
    answer = site.folder / "answer.json"
    answer.unlink(missing_ok=True)
    where = {"state_dir": "{{ watcher_state_dir }}", "config": "{{ watcher_config }}"}
    tasks: list[dict[str, Any]] = [
        {DEPLOY: {"projects": ["a.com"], **where, **options}, "register": "done", "ignore_errors": True},
        {
            "ansible.builtin.copy": {"content": "{{ done | to_json }}", "dest": str(answer), "mode": "0600"},
            "check_mode": False,
            "diff": False,
        },
    ]
    site.ran(site.write("restore.yml", [{"hosts": "web01", "gather_facts": False, "tasks": tasks}]), *arguments)
    result: dict[str, Any] = json.loads(answer.read_text())
    return result


def ngx(site: Site) -> str:
    """Return what ngx.conf of web01 holds."""
    return (site.out() / "ngx.conf").read_text()


def status(etcd: EtcdServer) -> dict[str, Any]:
    """Return the status in the tree."""
    data: dict[str, Any] = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    return data


def two(site: Site, **fields: Any) -> None:
    """Publish and deploy ngx.conf twice."""
    for content in ("one\n", "two\n"):
        site.publish(watcher_files=[{"path": "ngx.conf", "content": content}], watcher_policy=site.policy(**fields))
        site.ran(DEPLOY)


def test_module(site: Site, etcd: EtcdServer, receiver: Receiver) -> None:
    """List, look, put back, deploy, publish anew: the file stays until then, and all are told."""
    two(site, callback=receiver.url)
    (backup,) = play(site, backups=True)["backups"]
    assert (backup["project"], backup["file"], backup["size"]) == ("a.com", "ngx.conf", 4)

    done = play(site, "--check", "--diff", restore={"file": "ngx.conf"})
    assert (done["changed"], done["diff"][0]["before"], done["diff"][0]["after"]) == (True, "two\n", "one\n")
    assert (ngx(site), len(receiver.wait(2)), status(etcd)["msg"]) == ("two\n", 2, "")

    done = play(site, restore={"file": "ngx.conf"})
    assert (done["changed"], done["failed"], ngx(site)) == (True, False, "one\n")
    assert done["restored"] == {"project": "a.com", "file": "ngx.conf", "backup": backup["name"], "published": 0}
    assert [file["path"] for file in done["projects"][0]["files"]] == ["ngx.conf"]
    assert receiver.wait(3)[2]["state"] == "deployed"
    note = "1 files (such as 'ngx.conf') are from a backup until they are published again"
    assert note in status(etcd)["msg"] and note in done["warnings"][0]

    assert site.ran(DEPLOY)["web01"]["changed"] == 0
    assert ngx(site) == "one\n"
    site.publish(watcher_files=[{"path": "ngx.conf", "content": "three\n"}])
    site.ran(DEPLOY)
    assert (ngx(site), status(etcd)["msg"]) == ("three\n", "")


def test_module_publishes(site: Site, etcd: EtcdServer) -> None:
    """The tree has the content, and the host as well; in check mode neither."""
    two(site)
    key = "/watcher/web01/a.com/config.d/ngx.conf"
    request = {"file": "ngx.conf", "publish": True}
    done = play(site, "--check", "--diff", restore=request)
    assert (done["changed"], done["diff"][0]["after"], done["restored"]["published"]) == (True, "one\n", 0)
    assert etcd.etcdctl("get", "--print-value-only", key) == "two\n\n"
    done = play(site, restore=request)
    assert (done["changed"], ngx(site)) == (True, "one\n")
    assert etcd.etcdctl("get", "--print-value-only", key) == "one\n\n"
    assert done["restored"]["published"] == status(etcd)["revision"]
    assert status(etcd)["msg"] == ""


def test_module_fails(site: Site, etcd: EtcdServer) -> None:
    """What fails is undone and makes the task fail; so do names that do not exist, and options that do not fit."""
    two(site, afterCmd=f"! test -e {site.folder}/bad || grep -q two {site.out()}/ngx.conf")
    before = status(etcd)
    (site.folder / "bad").touch()
    done = play(site, restore={"file": "ngx.conf"})
    assert done["failed"] and "afterCmd failed with exit status 1" in done["msg"]
    assert (ngx(site), status(etcd)) == ("two\n", before)
    for options, says in (
        ({"restore": {"file": "none"}}, "host web01, project a.com: there is no backup of 'none' in "),
        ({"restore": {"file": "ngx.conf", "backup": "x"}}, "host web01, project a.com: 'x' is no backup of 'ngx.conf'"),
        ({"restore": {"file": "ngx.conf"}, "projects": ["a", "b"]}, "name that project alone in projects"),
        ({"restore": {"file": "ngx.conf"}, "backups": True}, "restore goes with neither backups nor confirm"),
        ({"restore": {"file": "../x"}}, "it has a segment . or .."),
        ({"backups": True, "projects": ["b.com"]}, "host web01, project b.com: this host has never deployed it"),
    ):
        done = play(site, **options)
        assert done["failed"] and says in done["msg"], done
