# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module project, by real ansible-playbook on real etcd."""

from __future__ import annotations

import random
import stat
from pathlib import Path

from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
PUBLISH = "watcher.config.publish"


def test_the_cycle(site: Site, etcd: EtcdServer) -> None:
    """Create, change and withdraw, each first in check mode, and each a second time, which changes nothing."""
    two = {"watcher_files": [{"path": "ngx.conf", "content": "two\n"}]}
    gone = {"watcher_state": "absent"}
    for values, wish in (("one\n", {}), ("two\n", two), ("", gone)):
        assert site.publish("--check", **wish)["changed"] == 1
        assert site.publish(**wish)["changed"] == 1
        assert etcd.etcdctl("get", "--print-value-only", "/watcher/web01/a.com/config.d/ngx.conf").strip("\n") == (
            values.strip("\n")
        )
        assert site.publish("--check", **wish)["changed"] == 0
        assert site.publish(**wish)["changed"] == 0
    assert etcd.etcdctl("get", "--prefix", "/watcher/", "--keys-only").strip() == ""


def test_what_hosts_would_refuse_is_not_published(site: Site, etcd: EtcdServer) -> None:
    """One sentence names project, field and what is allowed, and nothing is written."""
    wishes = (
        ({"watcher_policy": {"deployPath": "etc"}}, "project a.com: policy field deployPath is"),
        ({"watcher_policy": {"deployPath": "/etc", "mode": 644}}, "octal digits in quotes"),
        ({"watcher_policy": {"deployPath": "/etc", "colour": "red"}}, "unknown policy field"),
        (
            {"watcher_files": [{"path": "../x", "content": ""}]},
            "file '../x' cannot be deployed: it has a segment . or ..",
        ),
        ({"watcher_files": [{"path": "a", "content": ""}, {"path": "a/b", "content": ""}]}, "'a' is a file and"),
        (
            {"watcher_files": [{"path": "a", "content": "x" * (1 << 20) + "x"}]},
            "has 1048577 bytes, allowed are 1048576",
        ),
        ({"watcher_hosts": ["web/01"]}, "host 'web/01': a host is one segment of"),
        ({"watcher_files": [{"path": "a", "content": "?", "encoding": "base64"}]}, "content is not base64"),
        ({"watcher_src": "nowhere"}, "src 'nowhere'"),
    )
    good = {
        "watcher_project": "a.com",
        "watcher_hosts": ["web01"],
        "watcher_policy": site.policy(),
        "watcher_files": [],
    }
    for wish, said in wishes:
        done = site.play("watcher.config.publish", **{**good, **wish})
        assert done.returncode == 2 and said in done.stdout + done.stderr, (said, done.stdout + done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
    assert etcd.etcdctl("get", "--prefix", "/", "--keys-only").strip() == ""


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
    """More than one transaction takes, and than goes along with a module, is deployed whole, with its modes."""
    content = random.Random(1).randbytes  # noqa: S311 (nothing secret; no compression makes it small)
    files = [{"path": f"f{number:03}", "content": content(4500).hex()} for number in range(300)]
    assert site.publish(watcher_files=files, watcher_policy=site.policy(mode="0600"))["changed"] == 1
    assert site.publish(watcher_files=files, watcher_policy=site.policy(mode="0600"))["changed"] == 0
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    found = sorted(site.out().iterdir())
    assert len(found) == 300 and {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert site.commands() == ["before", "after"]
    assert site.ran(DEPLOY)["web01"]["changed"] == 0


def test_one_hundred_hosts(etcd: EtcdServer, tmp_path: Path) -> None:
    """One task publishes for 100 hosts; one run deploys to all of them."""
    etcd.etcdctl("del", "--prefix", "/")
    hosts = [f"web{number:03}" for number in range(100)]
    site = Site(tmp_path, etcd.endpoint, hosts)
    files = [{"path": f"f{number}", "content": "x" * 4096} for number in range(20)]
    policy = site.policy("shared")
    site.publish(watcher_hosts=hosts, watcher_files=files, watcher_policy=policy)
    keys = etcd.etcdctl("get", "--prefix", "/watcher/", "--keys-only").split()
    assert len(keys) == 100 * 21
