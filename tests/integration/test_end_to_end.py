# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole path: a put in real etcd, real ansible-rulebook with the shipped rulebook, files and callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

pytestmark = [pytest.mark.rulebook, pytest.mark.slow]
PATIENCE = 240.0  # seconds for one condition; 100 hosts take a busy machine a minute
CONF = "/watcher/web01/a.com/config.d/ngx.conf"


@pytest.fixture
def etcd() -> Iterator[EtcdServer]:
    """Start an etcd that may be ill-treated."""
    with EtcdServer() as server:
        yield server


def wait_for(condition: Callable[[], bool], what: str, log: Path) -> None:
    """Return once the condition holds; AssertionError with the log after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}\n{log.read_text(errors='replace')[-5000:]}"
        time.sleep(0.02)


def holds(site: Site, text: str, host: str = "web01") -> None:
    """Wait until a host's ngx.conf holds the text."""
    path = site.out(host) / "ngx.conf"
    wait_for(
        lambda: path.exists() and path.read_text() == text,
        f"{path} should hold {text!r}",
        site.folder / "rulebook.log",
    )


def publish(site: Site, hosts: list[str], count: int = 1, **policy: object) -> None:
    """Publish a.com with ngx.conf and ``count - 1`` more files; each host has folders of its own."""
    more = [{"path": f"f{number}", "content": "x"} for number in range(1, count)]
    site.ran(
        "watcher.config.publish",
        watcher_project="a.com",
        watcher_hosts=hosts,
        watcher_policy=site.policy(hosts[0], **policy),
        watcher_files=[{"path": "ngx.conf", "content": "one"}, *more],
    )


def test_outages_of_etcd(etcd: EtcdServer, receiver: Receiver, tmp_path: Path) -> None:
    """A change right after a kill -9 of etcd is deployed, one made while the source was down too, and none twice."""
    site = Site(tmp_path, etcd.endpoint, ["web01"])
    publish(site, ["web01"], callback=receiver.url)
    etcd.etcdctl(
        "put", "/watcher/web01/b.com/config", f'{{"deployPath": "{tmp_path}/b", "callback": "{receiver.url}"}}'
    )
    etcd.etcdctl("put", "/watcher/web01/b.com/config.d/b", "never changes")
    with site.rulebook():
        holds(site, "one")
        receiver.wait(2, PATIENCE)
        etcd.kill()
        etcd.start()
        etcd.etcdctl("put", CONF, "after the kill")
        holds(site, "after the kill")
        receiver.wait(3, PATIENCE)
    etcd.etcdctl("put", CONF, "while the source was down")
    with site.rulebook():
        holds(site, "while the source was down")
        receiver.wait(4, PATIENCE)
        etcd.kill()
        etcd.start()
        etcd.etcdctl("put", CONF, "once more")
        holds(site, "once more")
        receiver.wait(5, PATIENCE)
    assert [body["project"] for body in receiver.bodies].count("b.com") == 1
    assert len(receiver.bodies) == 5
    assert site.commands() == ["before", "after"] * 4


def test_compaction_while_down(etcd: EtcdServer, receiver: Receiver, tmp_path: Path) -> None:
    """A source whose revision was compacted away meanwhile lists again and goes on."""
    site = Site(tmp_path, etcd.endpoint, ["web01"])
    publish(site, ["web01"], callback=receiver.url)
    with site.rulebook():
        receiver.wait(1, PATIENCE)
    for number in range(20):
        etcd.etcdctl("put", CONF, f"change {number}")
    etcd.compact(20)
    with site.rulebook():
        holds(site, "change 19")
        receiver.wait(2, PATIENCE)
        etcd.etcdctl("put", CONF, "the next")
        holds(site, "the next")
        receiver.wait(3, PATIENCE)
    assert site.commands() == ["before", "after"] * 3


def test_many_changes_are_one_more_run(etcd: EtcdServer, tmp_path: Path) -> None:
    """Changes that come while a playbook runs become one more run, with the last content."""
    site = Site(tmp_path, etcd.endpoint, ["web01"])
    gate = tmp_path / "gate"
    wait = f"touch {gate}.reached; while test ! -e {gate}; do sleep 0.05; done"
    publish(site, ["web01"], beforeCmd=wait, afterCmd=f"echo after >> {tmp_path}/web01/commands")
    with site.rulebook():
        log = site.folder / "rulebook.log"
        wait_for(gate.with_suffix(".reached").exists, "the first deployment should run", log)
        for number in range(20):
            etcd.etcdctl("put", CONF, f"change {number}")
        gate.touch()
        holds(site, "change 19")
        wait_for(lambda: len(site.commands()) == 2, "two deployments", log)
        assert site.runs() == 2


def test_one_run_for_one_hundred_hosts(etcd: EtcdServer, tmp_path: Path) -> None:
    """A publish of a project with three files to 100 hosts is one playbook run on 100 hosts."""
    hosts = [f"web{number:03}" for number in range(100)]
    site = Site(tmp_path, etcd.endpoint, hosts)
    publish(site, hosts, 3, deployPath=f"{tmp_path}/$HOST", backupDir="", beforeCmd="", afterCmd="")
    with site.rulebook():
        status = ["get", "--prefix", "/watcher.status/", "--keys-only"]
        wait_for(lambda: len(etcd.etcdctl(*status).split()) == 100, "100 statuses", site.folder / "rulebook.log")
        assert site.runs() == 1
