# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks and modules, by real ansible-playbook on real etcd."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.ansible_site import ROOT, Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
PUBLISH = "watcher.config.publish"
CONF = "/watcher/web01/a.com/config.d/ngx.conf"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    """Start one etcd for the whole file."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def site(etcd: EtcdServer, tmp_path: Path) -> Site:
    """Return a controller with the host web01 and an empty tree."""
    etcd.etcdctl("del", "--prefix", "/")
    return Site(tmp_path, etcd.endpoint, ["web01"])


def publish(site: Site, *arguments: str, **more: object) -> dict[str, int]:
    """Publish a.com for web01 with one file, unless told otherwise; return localhost's recap."""
    variables = {
        "watcher_project": "a.com",
        "watcher_hosts": ["web01"],
        "watcher_policy": site.policy(),
        "watcher_files": [{"path": "ngx.conf", "content": "one\n"}],
        **more,
    }
    return site.ran(PUBLISH, *arguments, **variables)["localhost"]


def test_the_cycle(site: Site, etcd: EtcdServer) -> None:
    """A publish is deployed once, a change with a backup, a delete too; in between nothing happens."""
    assert publish(site)["changed"] == 1
    assert publish(site)["changed"] == 0
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert (site.out() / "ngx.conf").read_text() == "one\n"
    assert site.ran(DEPLOY)["web01"]["changed"] == 0
    assert site.commands() == ["before", "after"]

    etcd.etcdctl("put", CONF, "two")
    assert site.ran(str(ROOT / "playbooks" / "deploy.yml"))["web01"]["changed"] == 1
    assert (site.out() / "ngx.conf").read_text() == "two"
    backups = list((site.folder / "web01" / "backup").iterdir())
    assert [backup.read_text() for backup in backups] == ["one\n"]
    assert backups[0].name.startswith("ngx.conf_watcherbackup_")

    etcd.etcdctl("del", CONF)
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert list(site.out().iterdir()) == []
    assert len(list((site.folder / "web01" / "backup").iterdir())) == 2
    assert site.commands() == ["before", "after"] * 3


def test_check_mode_and_diff(site: Site, etcd: EtcdServer) -> None:
    """Check mode shows what would change, on both sides, and changes nothing."""
    assert publish(site, "--check")["changed"] == 1
    assert etcd.etcdctl("get", "--prefix", "/", "--keys-only").strip() == ""
    publish(site)
    done = site.play(DEPLOY, "--check", "--diff")
    assert done.returncode == 0 and "+one" in done.stdout and "changed=1" in done.stdout
    assert not (site.folder / "web01").exists()
    assert etcd.etcdctl("get", "--prefix", "/watcher.status", "--keys-only").strip() == ""
    site.ran(DEPLOY)
    assert site.ran(DEPLOY, "--check", "--diff")["web01"]["changed"] == 0


def test_diff_hides_what_the_user_hides(site: Site) -> None:
    """A file with no_log is not in the difference of a publish, nor is anything with the task's no_log."""
    files = [{"path": "secret", "content": "hunter2", "no_log": True}, {"path": "open", "content": "shown"}]
    done = site.play(
        PUBLISH,
        "--diff",
        watcher_project="a.com",
        watcher_hosts=["web01"],
        watcher_policy=site.policy(),
        watcher_files=files,
    )
    assert done.returncode == 0 and "+shown" in done.stdout and "hunter2" not in done.stdout


def test_three_files_are_one_deployment(site: Site) -> None:
    """A publish of three files runs the commands once and calls back once."""
    with Receiver().serving() as receiver:
        files = [{"path": f"f{number}", "content": "x"} for number in range(3)]
        publish(site, watcher_files=files, watcher_policy=site.policy(callback=receiver.url))
        site.ran(DEPLOY)
        assert site.commands() == ["before", "after"]
        (body,) = receiver.wait(1)
    assert [file["path"] for file in body["files"]] == ["f0", "f1", "f2"]
    assert (body["action"], body["code"], body["md5"], body["state"]) == ("create", 200, "", "deployed")


def test_callback_is_the_old_daemons(site: Site) -> None:
    """The first six fields are word for word what Watcher's receivers know."""
    with Receiver().serving() as receiver:
        publish(site, watcher_policy=site.policy(callback=receiver.url, beforeCmd="echo before", afterCmd="echo after"))
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
        publish(site, watcher_policy=site.policy(callback=receiver.url))
        done = site.play(DEPLOY)
        receiver.wait(1)
    assert done.returncode == 0 and "next attempt in" in done.stderr + done.stdout
    assert len(list((site.folder / "ansible" / "watcher" / "spool").glob("*.json"))) == 1


def test_failed_after_command_rolls_back(site: Site, etcd: EtcdServer) -> None:
    """The old files come back, the task fails with the reason, status and callback say rolledBack."""
    publish(site)
    site.ran(DEPLOY)
    with Receiver().serving() as receiver:
        policy = site.policy(afterCmd=f"grep -q one {site.out()}/ngx.conf", callback=receiver.url)
        publish(site, watcher_policy=policy, watcher_files=[{"path": "ngx.conf", "content": "two\n"}])
        done = site.play(DEPLOY)
        (body,) = receiver.wait(1)
    assert done.returncode == 2
    said = "host web01, project a.com: afterCmd failed with exit status 1; the previous files are back"
    assert said in done.stdout
    assert (site.out() / "ngx.conf").read_text() == "one\n"
    assert (body["code"], body["state"], body["afterCmd"]["success"]) == (500, "rolledBack", False)
    status = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    assert status["state"] == "rolledBack" and status["revision"] < status["wantedRevision"]


def test_bad_input_is_named_and_hurts_nothing_else(site: Site, etcd: EtcdServer) -> None:
    """Each breach gives one message with host, project and key; the good project beside it is deployed."""
    publish(site, watcher_project="good.com")
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
    publish(site, watcher_files=files)
    site.ran(DEPLOY)
    assert len(list((site.out() / "sub").iterdir())) == 30
    assert publish(site, watcher_state="absent")["changed"] == 1
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert not site.out().exists()
    status = json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher.status/web01/a.com"))
    assert status["state"] == "removed"


def test_mass_removal_by_hand_is_held(site: Site, etcd: EtcdServer) -> None:
    """A slip of etcdctl removes nothing until it is confirmed."""
    publish(site, watcher_files=[{"path": f"f{number}", "content": "x"} for number in range(30)])
    site.ran(DEPLOY)
    etcd.etcdctl("del", "--prefix", "/watcher/web01/a.com/config.d/")
    done = site.play(DEPLOY)
    assert done.returncode == 0 and "held, because 30 of 30 files" in done.stdout + done.stderr
    assert len(list(site.out().iterdir())) == 30
    assert site.ran(DEPLOY, watcher_confirm=True)["web01"]["changed"] == 1
    assert not site.out().exists() or list(site.out().iterdir()) == []


def test_store_replaced_removes_nothing(site: Site, etcd: EtcdServer, tmp_path: Path) -> None:
    """A new, empty store is no evidence that files should go; the next put is deployed all the same."""
    publish(site, watcher_files=[{"path": "a", "content": "1"}, {"path": "b", "content": "1"}])
    site.ran(DEPLOY)
    with EtcdServer() as other:
        site.endpoint = other.endpoint
        done = site.play(DEPLOY)
        assert done.returncode == 0 and "a store that was replaced" in " ".join((done.stdout + done.stderr).split())
        publish(site, watcher_files=[{"path": "a", "content": "2"}])
        assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert [(site.out() / name).read_text() for name in ("a", "b")] == ["2", "1"]


def test_sources_and_purge(site: Site, etcd: EtcdServer, tmp_path: Path) -> None:
    """A folder is published with its sub-folders and binary files; purge drops what it no longer has."""
    source = tmp_path / "files" / "site"
    (source / "ssl").mkdir(parents=True)
    (source / "ssl" / "key.der").write_bytes(bytes(range(256)))
    (source / "a b.conf").write_text("text")
    task = {"project": "a.com", "host": "web01", "policy": site.policy(), "src": "site", "purge": True}
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "tasks": [{"watcher.config.project": task}],
        }
    ]
    playbook = site.write("publish.yml", play)
    assert site.ran(playbook)["localhost"]["changed"] == 1
    site.ran(DEPLOY)
    assert (site.out() / "ssl" / "key.der").read_bytes() == bytes(range(256))
    (source / "ssl" / "key.der").unlink()
    assert site.ran(playbook)["localhost"]["changed"] == 1
    assert site.ran(playbook)["localhost"]["changed"] == 0
    site.ran(DEPLOY)
    assert [path.name for path in site.out().iterdir()] == ["a b.conf"]


def test_big_project(site: Site) -> None:
    """More files than one transaction takes, some of them large, are deployed whole, with their modes."""
    files = [{"path": f"f{number:03}", "content": "x" * 9000} for number in range(300)]
    assert publish(site, watcher_files=files, watcher_policy=site.policy(mode="0600"))["changed"] == 1
    assert publish(site, watcher_files=files, watcher_policy=site.policy(mode="0600"))["changed"] == 0
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    found = sorted(site.out().iterdir())
    assert len(found) == 300 and {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert site.commands() == ["before", "after"]
    assert site.ran(DEPLOY)["web01"]["changed"] == 0


def test_one_project_only(site: Site) -> None:
    """watcher_project narrows a deployment."""
    publish(site)
    publish(site, watcher_project="b.com", watcher_files=[{"path": "b", "content": "b"}])
    site.ran(DEPLOY, watcher_project="b.com")
    assert [path.name for path in site.out().iterdir()] == ["b"]


def test_status_table(site: Site, etcd: EtcdServer) -> None:
    """The table follows a project from new over deployed to pending."""
    publish(site)
    assert " new " in site.play("watcher.config.status").stdout
    site.ran(DEPLOY)
    assert " deployed " in site.play(str(ROOT / "playbooks" / "status.yml")).stdout
    etcd.etcdctl("put", CONF, "two")
    assert " pending " in site.play("watcher.config.status").stdout


def test_lookup(site: Site, etcd: EtcdServer) -> None:
    """Values, policies, projects and hosts are read; what is missing fails unless there is a default."""
    publish(site)
    etcd.etcdctl("put", "/watcher/web01/a.com/config.d/jinja", "{{ 1 + 1 }}")
    etcd.etcdctl("put", "/elsewhere", "seen")
    raw = base64.b64encode(b"one\n").decode()
    terms = {
        "'web01/a.com/config.d/ngx.conf'": "one\n",
        "'web01/a.com/config.d/jinja'": "{{ 1 + 1 }}",
        "'/elsewhere'": "seen",
        "'web01/a.com/config.d/ngx.conf', encoding='base64'": raw,
        "'web01/none', default='nothing'": "nothing",
    }
    found = [f"lookup('watcher.config.tree', {term})" for term in terms]
    found += [
        "lookup('watcher.config.tree', 'web01/a.com/config').deployPath",
        "lookup('watcher.config.tree', 'web01/a.com').files['ngx.conf']",
        "lookup('watcher.config.tree', 'web01') | list",
    ]
    answer = "{{ [" + ", ".join(found) + "] | to_json }}"
    copy = {"ansible.builtin.copy": {"content": answer, "dest": str(site.folder / "answer"), "mode": "0600"}}
    play = [{"hosts": "web01", "gather_facts": False, "tasks": [copy]}]
    site.ran(site.write("lookup.yml", play))
    expected = [*terms.values(), str(site.out()), "one\n", ["a.com"]]
    assert json.loads((site.folder / "answer").read_text()) == expected

    for term, said in (
        ("'web01/none'", "'web01/none' is not in the tree"),
        ("'web01/a.com/other'", "below a project there are config and config.d/<file> only"),
        ("'we b/a.com'", "a host is one segment of"),
        ("'web01/a.com', prefix='watcher'", "prefix 'watcher': it must start with /"),
    ):
        debug = {"ansible.builtin.debug": {"msg": "{{ lookup('watcher.config.tree', " + term + ") }}"}}
        done = site.play(site.write("bad.yml", [{"hosts": "web01", "gather_facts": False, "tasks": [debug]}]))
        assert done.returncode == 2 and said in done.stdout + done.stderr, done.stdout + done.stderr


def test_lookup_of_bytes_that_are_not_text(site: Site) -> None:
    """Such a value is an error that tells the way out."""
    publish(site, watcher_files=[{"path": "x", "content": "AP8=", "encoding": "base64"}])
    debug = {"ansible.builtin.debug": {"msg": "{{ lookup('watcher.config.tree', 'web01/a.com/config.d/x') }}"}}
    done = site.play(site.write("bad.yml", [{"hosts": "web01", "gather_facts": False, "tasks": [debug]}]))
    assert done.returncode == 2 and "read it with encoding='base64'" in done.stdout + done.stderr


def test_connection_options_from_everywhere(site: Site) -> None:
    """A variable beats the environment, the task beats both, and ansible.cfg serves when neither is set."""
    publish(site)
    endpoint, site.endpoint = site.endpoint, "127.0.0.1:1"
    done = site.play(DEPLOY, "-e", "watcher_timeout=1")
    assert done.returncode == 2 and "127.0.0.1:1" in done.stdout, done.stdout
    assert site.ran(DEPLOY, watcher_endpoints=[endpoint])["web01"]["changed"] == 1
    (site.folder / "ansible.cfg").write_text(f"[watcher]\nendpoints = {endpoint}\n")
    site.endpoint = ""
    assert site.ran(DEPLOY)["web01"]["ok"] == 1


def test_one_hundred_hosts(etcd: EtcdServer, tmp_path: Path) -> None:
    """One task publishes for 100 hosts; one run deploys to all of them."""
    etcd.etcdctl("del", "--prefix", "/")
    hosts = [f"web{number:03}" for number in range(100)]
    site = Site(tmp_path, etcd.endpoint, hosts)
    files = [{"path": f"f{number}", "content": "x" * 4096} for number in range(20)]
    policy = site.policy("shared")
    publish(site, watcher_hosts=hosts, watcher_files=files, watcher_policy=policy)
    keys = etcd.etcdctl("get", "--prefix", "/watcher/", "--keys-only").split()
    assert len(keys) == 100 * 21
