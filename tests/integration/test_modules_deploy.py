# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deploy with its action: what reaches the disk, the receiver and the status."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
CONF = "/watcher/web01/a.com/config.d/ngx.conf"


def test_check_mode_and_diff(site: Site, etcd: EtcdServer) -> None:
    """Check mode shows what would change, on both sides, and changes nothing."""
    assert site.publish("--check")["changed"] == 1
    assert etcd.etcdctl("get", "--prefix", "/", "--keys-only").strip() == ""
    site.publish()
    done = site.play(DEPLOY, "--check", "--diff")
    assert done.returncode == 0 and "+one" in done.stdout and "changed=1" in done.stdout
    assert not (site.folder / "web01").exists()
    assert etcd.etcdctl("get", "--prefix", "/watcher.status", "--keys-only").strip() == ""
    site.ran(DEPLOY)
    assert site.ran(DEPLOY, "--check", "--diff")["web01"]["changed"] == 0


def test_three_files_are_one_deployment(site: Site) -> None:
    """A publish of three files runs the commands once and calls back once."""
    with Receiver().serving() as receiver:
        files = [{"path": f"f{number}", "content": "x"} for number in range(3)]
        site.publish(watcher_files=files, watcher_policy=site.policy(callback=receiver.url))
        site.ran(DEPLOY)
        assert site.commands() == ["before", "after"]
        (body,) = receiver.wait(1)
    assert [file["path"] for file in body["files"]] == ["f0", "f1", "f2"]
    assert (body["action"], body["code"], body["md5"], body["state"]) == ("create", 200, "", "deployed")


def test_callback_is_the_old_daemons(site: Site) -> None:
    """The first six fields are word for word what Watcher's receivers know."""
    with Receiver().serving() as receiver:
        site.publish(watcher_policy=site.policy(callback=receiver.url, beforeCmd="echo before", afterCmd="echo after"))
        site.ran(DEPLOY)
        (body,) = receiver.wait(1)
    assert list(body)[:6] == ["action", "code", "msg", "md5", "beforeCmd", "afterCmd"]
    assert body["beforeCmd"] == {"success": True, "out": "before\n", "err": None, "msg": ""}
    assert body["afterCmd"] == {"success": True, "out": "after\n", "err": None, "msg": ""}
    assert body["md5"] == hashlib.md5(b"one\n", usedforsecurity=False).hexdigest()
    assert body["id"] == f"web01/a.com@{body['revision']}"


def test_callback_waits_for_its_receiver(site: Site) -> None:
    """A callback that is refused stays in the spool, and the deployment is as good as done."""
    receiver = Receiver()
    receiver.code = 500
    with receiver.serving():
        site.publish(watcher_policy=site.policy(callback=receiver.url))
        done = site.play(DEPLOY)
        receiver.wait(1)
    assert done.returncode == 0 and "next attempt in" in done.stderr + done.stdout
    assert len(list((site.folder / "ansible" / "watcher" / "spool").glob("*.json"))) == 1


def test_failed_after_command_rolls_back(site: Site, etcd: EtcdServer) -> None:
    """The old files come back, the task fails with the reason, status and callback say rolledBack."""
    site.publish()
    site.ran(DEPLOY)
    with Receiver().serving() as receiver:
        policy = site.policy(afterCmd=f"grep -q one {site.out()}/ngx.conf", callback=receiver.url)
        site.publish(watcher_policy=policy, watcher_files=[{"path": "ngx.conf", "content": "two\n"}])
        done = site.play(DEPLOY)
        (body,) = receiver.wait(1)
    assert done.returncode == 2
    said = "host web01, project a.com: afterCmd failed with exit status 1; the previous files are back"
    assert said in done.stdout
    assert (site.out() / "ngx.conf").read_text() == "one\n"
    assert (body["code"], body["state"], body["afterCmd"]["success"]) == (500, "rolledBack", False)
    status = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    assert status["state"] == "rolledBack" and status["revision"] < status["wantedRevision"]


def test_a_run_does_not_wait_for_the_agents_pause(site: Site, etcd: EtcdServer) -> None:
    """What the host's agent would try again in minutes is tried at once."""
    healed = site.folder / "healed"
    site.publish(watcher_policy=site.policy(afterCmd=f"test -e {healed}"))
    agent = AgentRun(site.folder / "web01", site.endpoint)
    for _unused in range(6):
        assert agent.command("once").returncode == 1

    def status() -> dict[str, Any]:
        said: dict[str, Any] = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
        return said

    with agent:
        agent.until(lambda: status()["attempts"] == 7, "the agent has tried at its start")
        due = status()["nextTry"]
        assert site.play(DEPLOY).returncode == 2
        healed.touch()
        assert site.ran(DEPLOY)["web01"]["changed"] == 1
        assert (site.out() / "ngx.conf").read_text() == "one\n"
        said = status()
        assert (said["state"], said["by"], said["attempts"]) == ("deployed", "playbook", 9)
        assert "nextTry" not in said
        assert said["finishedAt"] < due


def test_bad_input_is_named_and_hurts_nothing_else(site: Site, etcd: EtcdServer) -> None:
    """Each breach gives one message with host, project and key; the good project beside it is deployed."""
    site.publish(watcher_project="good.com")
    etcd.etcdctl("put", "/watcher/web01/json.com/config", "{not json")
    etcd.etcdctl("put", "/watcher/web01/relative.com/config", '{"deployPath": "etc"}')
    etcd.etcdctl("put", "/watcher/web01/good.com/config.d/../../../escape", "x")
    etcd.etcdctl("put", "/watcher/web01/good.com/config.d/large", stdin="x" * ((1 << 20) + 1))
    done = site.play(DEPLOY)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2
    for said in (
        "host web01, project json.com, key /watcher/web01/json.com/config: the policy is not JSON",
        "host web01, project relative.com, key /watcher/web01/relative.com/config: policy field deployPath is"
        ' "etc"; allowed is an absolute path',
        "host web01, project good.com: key /watcher/web01/good.com/config.d/../../../escape",
        "host web01, project good.com, key /watcher/web01/good.com/config.d/large: the value has 1048577 bytes",
    ):
        assert said.replace('"', "") in text.replace("\\", "").replace('"', ""), text
    assert sorted(path.name for path in site.out().iterdir()) == ["ngx.conf"]
    assert not list(site.folder.rglob("escape"))


def test_whole_project_withdrawn(site: Site, etcd: EtcdServer) -> None:
    """state absent removes a project of 30 files at once: it is no accident, so nothing is held."""
    files = [{"path": f"sub/f{number}", "content": "x"} for number in range(30)]
    site.publish(watcher_files=files)
    site.ran(DEPLOY)
    assert len(list((site.out() / "sub").iterdir())) == 30
    assert site.publish(watcher_state="absent")["changed"] == 1
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert not site.out().exists()
    status = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    assert status["state"] == "removed"


def test_mass_removal_by_hand_is_held(site: Site, etcd: EtcdServer) -> None:
    """A slip of etcdctl removes nothing until it is confirmed."""
    site.publish(watcher_files=[{"path": f"f{number}", "content": "x"} for number in range(30)])
    site.ran(DEPLOY)
    etcd.etcdctl("del", "--prefix", "/watcher/web01/a.com/config.d/")
    done = site.play(DEPLOY)
    assert done.returncode == 0 and "held, because 30 of 30 files" in done.stdout + done.stderr
    assert len(list(site.out().iterdir())) == 30
    assert site.ran(DEPLOY, watcher_confirm=True)["web01"]["changed"] == 1
    assert not site.out().exists() or list(site.out().iterdir()) == []


def test_store_replaced_removes_nothing(site: Site, etcd: EtcdServer, tmp_path: Path) -> None:
    """A new, empty store is no evidence that files should go; the next put is deployed all the same."""
    site.publish(watcher_files=[{"path": "a", "content": "1"}, {"path": "b", "content": "1"}])
    site.ran(DEPLOY)
    with EtcdServer() as other:
        site.endpoint = other.endpoint
        done = site.play(DEPLOY)
        assert done.returncode == 0 and "a store that was replaced" in " ".join((done.stdout + done.stderr).split())
        site.publish(watcher_files=[{"path": "a", "content": "2"}])
        assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert [(site.out() / name).read_text() for name in ("a", "b")] == ["2", "1"]


def test_a_host_that_cannot_be_asked_has_a_status(site: Site, etcd: EtcdServer) -> None:
    """Whoever waits for an outcome gets one, and what was applied before is not forgotten."""
    site.publish()
    site.ran(DEPLOY)
    etcd.etcdctl("put", CONF, "two")
    done = site.play(
        DEPLOY, "-e", "ansible_become_exe=/bin/false", "-e", "ansible_become_user=nobody", watcher_become=True
    )
    assert done.returncode in (2, 4)
    status = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    assert status["state"] == "failed" and "host web01, project a.com: " in status["msg"]
    assert 0 < status["revision"] < status["wantedRevision"]


def test_the_host_decides(site: Site, etcd: EtcdServer) -> None:
    """What its file does not allow is refused, with what was asked for and what is allowed; nothing is carried out."""
    out, outside = site.out(), site.folder / "outside"
    limit(site, f"deploy_roots = {out}\ncommands = true, touch {out}/ran")
    out.mkdir()
    (out / "link").symlink_to(outside)
    asked = {
        "path": ({"deployPath": str(outside)}, f"deployPath asks for '{outside}'"),
        "link": ({"deployPath": f"{out}/link/x"}, f"deployPath asks for '{out}/link/x', which leads to '{outside}/x'"),
        "backup": ({"backupDir": str(outside)}, f"backupDir asks for '{outside}'"),
        "before": ({"beforeCmd": f"touch {out}/run"}, f"beforeCmd asks for 'touch {out}/run'"),
        "after": ({"afterCmd": f"touch {out}/ran; id"}, f"afterCmd asks for 'touch {out}/ran; id'"),
    }
    for project, (fields, _said) in asked.items():
        policy = {"deployPath": f"{out}/{project}", "beforeCmd": f"touch {out}/ran", **fields}
        etcd.etcdctl("put", f"/watcher/web01/{project}/config", json.dumps(policy))
        etcd.etcdctl("put", f"/watcher/web01/{project}/config.d/file", "x")
    for arguments in (["--check"], []):
        done = site.play(DEPLOY, *arguments)
        text = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 2
        for project, (fields, said) in asked.items():
            allowed = f"{out} and below (deploy_roots" if {"deployPath", "backupDir"} & set(fields) else "true, touch"
            assert f"host web01, project {project}: policy field {said}; this host allows {allowed}" in text, text
    for project, (_fields, said) in asked.items():
        status = json.loads(etcd.etcdctl("get", "--print-value-only", f"/watcher.status/web01/{project}"))
        assert status["state"] == "failed" and said in status["msg"]
    assert [path.name for path in out.iterdir()] == ["link"] and not outside.exists()


def test_what_the_host_allows_works(site: Site) -> None:
    """A policy within the limits is deployed, also where a root is reached through a link."""
    link, ran = site.folder / "link", site.folder / "ran"
    limit(site, f"deploy_roots = {link}\ncommands =\n    touch {ran}\nrun_as = {os.geteuid()}")
    link.symlink_to(site.out().parent)
    site.publish(watcher_policy=site.policy(beforeCmd="", afterCmd=f"touch {ran}"))
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert (site.out() / "ngx.conf").read_text() == "one\n" and ran.exists()


def test_a_host_whose_limits_are_not_known(site: Site) -> None:
    """A file that is wrong refuses everything, and says why; without the file there are no limits."""
    site.publish()
    config = limit(site, "deploy_rots = *")
    done = site.play(DEPLOY)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2
    assert f"host web01: {config}: section [security], unknown name 'deploy_rots'; allowed are deploy_roots" in text
    assert not site.out().exists()
    config.unlink()
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert site.commands() == ["before", "after"]


def limit(site: Site, text: str) -> Path:
    """Write what the host allows, and return the file's path."""
    path = site.out().parent / "watcher.ini"
    path.parent.mkdir()
    path.write_text(f"[security]\n{text}\n", encoding="utf-8")
    return path
