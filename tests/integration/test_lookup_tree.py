# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup tree, and where connection options come from."""

from __future__ import annotations

import base64
import json

from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"


def test_lookup(site: Site, etcd: EtcdServer) -> None:
    """Values, policies, projects and hosts are read; what is missing fails unless there is a default."""
    site.publish()
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
    site.publish(watcher_files=[{"path": "x", "content": "AP8=", "encoding": "base64"}])
    debug = {"ansible.builtin.debug": {"msg": "{{ lookup('watcher.config.tree', 'web01/a.com/config.d/x') }}"}}
    done = site.play(site.write("bad.yml", [{"hosts": "web01", "gather_facts": False, "tasks": [debug]}]))
    assert done.returncode == 2 and "read it with encoding='base64'" in done.stdout + done.stderr


def test_connection_options_from_everywhere(site: Site) -> None:
    """A variable beats the environment, the task beats both, and ansible.cfg serves when neither is set."""
    site.publish()
    endpoint, site.endpoint = site.endpoint, "127.0.0.1:1"
    done = site.play(DEPLOY, "-e", "watcher_timeout=1")
    assert done.returncode == 2 and "127.0.0.1:1" in done.stdout, done.stdout
    assert site.ran(DEPLOY, watcher_endpoints=[endpoint])["web01"]["changed"] == 1
    (site.folder / "ansible.cfg").write_text(f"[watcher]\nendpoints = {endpoint}\n")
    site.endpoint = ""
    assert site.ran(DEPLOY)["web01"]["ok"] == 1
