# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drop-in for the old daemon: its example file and keys as they were, only the ports are the test's.

The agent runs on a host of its own name and with a /var/lib of its own, for the old file names neither.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

# Only sections and names that the old daemon had.
OLD_FILE = """[local]
prefix = /watcher
force = true

[etcd]
endpoints = {etcd}
timeout = 5
username =
password =

[logs]
name = watcher
path = ./logs/
filename = watcher
level = debug

[heartbeat]
domain = {heartbeat}
interval = 30
"""
HOST = ("unshare", "--mount", "--uts", "sh", "-c", 'hostname web01 && mount -t tmpfs none /var/lib && exec "$@"', "-")
FIRST = ("action", "code", "msg", "md5", "beforeCmd", "afterCmd")


def possible() -> bool:
    """Return whether this user may have a host name and mounts of their own."""
    done = subprocess.run([*HOST, "hostname"], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "web01"


@pytest.mark.skipif(not possible(), reason="needs root, for a host name and a /var/lib of its own")
def test_example_file_and_example_keys(etcd: EtcdServer, host: AgentSite, tmp_path: Path) -> None:
    """Both example projects are deployed; callback and heartbeat have the bodies that the old receivers know."""
    with Receiver().serving() as callbacks, Receiver().serving() as beats:
        for project, file, text in (("a.com", "ngx.conf", "server {}\n"), ("b.com", "redis.conf", "port 6379\n")):
            policy = {
                "deployPath": str(host.out(project)),
                "backupDir": str(tmp_path / "backup"),
                "beforeCmd": "echo before",
                "afterCmd": "echo after",
                "callback": callbacks.url,
            }
            etcd.etcdctl("put", f"/watcher/web01/{project}/config", json.dumps(policy))
            etcd.etcdctl("put", f"/watcher/web01/{project}/config.d/{file}", text)
        text = OLD_FILE.format(etcd=etcd.address, heartbeat=beats.url.rstrip("/"))
        started = int(time.time())
        with AgentRun(tmp_path, "", text=text, within=HOST) as agent:
            agent.until(lambda: host.text("ngx.conf", "a.com") == "server {}\n", "a.com is deployed")
            agent.until(lambda: host.text("redis.conf", "b.com") == "port 6379\n", "b.com is deployed")
            bodies = {body["project"]: body for body in callbacks.wait(2)}
            beat = beats.wait(1)[0]
            etcd.etcdctl("put", "/watcher/web01/a.com/config.d/ngx.conf", "server { listen 80; }\n")
            changed = callbacks.wait(3)[-1]
            etcd.etcdctl("del", "/watcher/web01/b.com/config.d/redis.conf")
            deleted = callbacks.wait(4)[-1]
            log = (tmp_path / "logs" / "watcher.log").read_text()
    said = {word: {"success": True, "out": f"{word}\n", "err": None, "msg": ""} for word in ("before", "after")}
    assert {name: bodies["a.com"][name] for name in FIRST} == {
        "action": "create",
        "code": 200,
        "msg": "",
        "md5": md5("server {}\n"),
        "beforeCmd": said["before"],
        "afterCmd": said["after"],
    }
    assert tuple(bodies["a.com"])[:6] == FIRST
    assert (changed["action"], changed["md5"]) == ("set", md5("server { listen 80; }\n"))
    assert (deleted["action"], deleted["md5"]) == ("delete", "")
    assert list((tmp_path / "backup").glob("ngx.conf_watcherbackup_*"))
    assert list((tmp_path / "backup").glob("redis.conf_watcherbackup_*"))
    assert list(beat) == ["version", "hostname", "timestamp"]
    assert (type(beat["version"]), beat["hostname"], type(beat["timestamp"])) == (str, "web01", int)
    assert started <= beat["timestamp"] <= time.time()
    assert "a.com" in log
    warnings = [line for line in agent.log.splitlines() if "security" in line.lower()]
    assert warnings, agent.tail  # a file without [security] lets policies do anything, which is said at each start


def md5(text: str) -> str:
    """Return the digest that the old callback carried."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
