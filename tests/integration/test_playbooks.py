# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks by path and by FQCN."""

from __future__ import annotations

from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
CONF = "/watcher/web01/a.com/config.d/ngx.conf"


def test_the_cycle(site: Site, etcd: EtcdServer) -> None:
    """A publish is deployed once, a change with a backup, a delete too; in between nothing happens."""
    assert site.publish()["changed"] == 1
    assert site.publish()["changed"] == 0
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


def test_one_project_only(site: Site) -> None:
    """watcher_project narrows a deployment."""
    site.publish()
    site.publish(watcher_project="b.com", watcher_files=[{"path": "b", "content": "b"}])
    site.ran(DEPLOY, watcher_project="b.com")
    assert [path.name for path in site.out().iterdir()] == ["b"]
