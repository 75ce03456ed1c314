# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module project_info and its table."""

from __future__ import annotations

from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
CONF = "/watcher/web01/a.com/config.d/ngx.conf"


def test_status_table(site: Site, etcd: EtcdServer) -> None:
    """The table follows a project from new over deployed to pending."""
    site.publish()
    assert " new " in site.play("watcher.config.status").stdout
    site.ran(DEPLOY)
    assert " deployed " in site.play(str(ROOT / "playbooks" / "status.yml")).stdout
    etcd.etcdctl("put", CONF, "two")
    assert " pending " in site.play("watcher.config.status").stdout
