# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real nginx, whose site is a project of the tree."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.hosts.fleet import Fleet, Host

# What checks a site: nginx loads *.conf of its folder, so not this one, and looks for its names beside it.
CHECK = "events {}\nhttp { include a.com.conf; }\n"
POLICY = {
    "deployPath": "/etc/nginx/conf.d",
    "backupDir": "/var/backups/watcher",
    "checkCmd": "nginx -t -q -c %s/a.com.check",
    "afterCmd": "systemctl reload nginx",
}
RELOAD = 5.0  # seconds until new workers serve; systemctl does not wait for them


def site(text: str, listen: str = "80") -> str:
    """Return the configuration of a site that says one line."""
    return f'server {{ listen {listen}; server_name a.com; location / {{ return 200 "{text}\\n"; }} }}\n'


def get(host: Host) -> str:
    """Return what the host serves as a.com, with the status in front."""
    connection = http.client.HTTPConnection(host.address, 80, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": "a.com"})
        answer = connection.getresponse()
        return f"{answer.status} {answer.read().decode()}"
    finally:
        connection.close()


def publish(fleet: Fleet, conf: str) -> None:
    """Publish the site for all hosts."""
    variables: dict[str, Any] = {
        "watcher_project": "a.com",
        "watcher_hosts": fleet.names,
        "watcher_policy": POLICY,
        "watcher_files": [{"path": "a.com.conf", "content": conf}, {"path": "a.com.check", "content": CHECK}],
    }
    fleet.ran("watcher.config.publish", **variables)


def serve(fleet: Fleet, text: str) -> None:
    """Wait until all hosts serve a text."""
    fleet.each(lambda host: get(host) == f"200 {text}\n", f"serves {text}", RELOAD)


@pytest.fixture(scope="module", autouse=True)
def old(fleet: Fleet) -> Iterator[None]:
    """Have the old site on all hosts."""
    assert not any(get(host).startswith("200 old") for host in fleet.hosts)
    publish(fleet, site("old"))
    serve(fleet, "old")
    yield
    fleet.withdraw("a.com")
    fleet.each(lambda host: not host.path("/etc/nginx/conf.d/a.com.conf").exists(), "the site is gone")


@pytest.mark.parametrize(
    ("conf", "state", "said"),
    [
        ("server { lisstne 80; }\n", "failed", "checkCmd failed"),
        # Right by itself; Debian's own site is the default server already.
        (site("new", "80 default_server"), "rolledBack", "afterCmd failed"),
    ],
    ids=["wrong", "wrong beside others"],
)
def test_failed_publish(fleet: Fleet, conf: str, state: str, said: str) -> None:
    """The old site is served after a publish of a site that fails, and the reason is in the tree."""
    publish(fleet, conf)
    fleet.each(lambda host: fleet.status(host, "a.com")["state"] == state, f"says {state}")
    for host in fleet.hosts:
        assert said in fleet.status(host, "a.com")["msg"]
        assert get(host) == "200 old\n"
    # Not at once: it may be tried again at this very moment.
    fleet.each(lambda host: host.text("/etc/nginx/conf.d/a.com.conf") == site("old"), "has the old file")


def test_publish(fleet: Fleet) -> None:
    """The new site is served after a publish, also after failed ones, and the old one is in the backup."""
    publish(fleet, site("new"))
    serve(fleet, "new")
    for host in fleet.hosts:
        backups = list(host.path("/var/backups/watcher").glob("a.com.conf_watcherbackup_*"))
        assert [backup.read_text() for backup in backups] == [site("old")]
