# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real nginx, whose upstream list is a template that follows services with real leases."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.hosts.fleet import Fleet, Host
from ansible_collections.watcher.config.tests.hosts.test_nginx import CHECK, POLICY, RELOAD, get
from ansible_collections.watcher.config.tests.services import UPSTREAM, Ends, register, unregister

PROMISE = 1.0  # seconds from a lease's end until the service is out of the file
TTL = 2  # seconds; etcd ends a lease within half a second after that
CONF = "/etc/nginx/conf.d/a.com.conf"
SITE = UPSTREAM + "server { listen 80; server_name a.com; location / { proxy_pass http://app; } }\n"


@contextlib.contextmanager
def backend(machine: str, says: str) -> Iterator[str]:
    """Serve a service that says one line at an address of this machine; yield that address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            self.send_response(200)
            self.end_headers()
            self.wfile.write(says.encode())

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((machine, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{machine}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answers(host: Host) -> set[str]:
    """Return what a host says when it is asked some times."""
    return {get(host) for _unused in range(8)}


@pytest.fixture(autouse=True)
def removed(fleet: Fleet) -> Iterator[None]:
    """Leave nothing behind."""
    yield
    unregister(fleet.store, "one", "two")
    fleet.withdraw("up.com")
    fleet.each(lambda host: not host.path(CONF).exists(), "the site is gone")
    for host in fleet.hosts:
        for backup in host.path("/var/backups/watcher").glob("a.com.*_watcherbackup_*"):
            backup.unlink()


def test_services_with_leases(fleet: Fleet) -> None:
    """A service whose lease ends is out of nginx's list within a second, and served again when it comes back."""
    machine, store = fleet.etcd.listen[0], fleet.store
    with backend(machine, "one") as one, backend(machine, "two") as two, Ends(store) as ends:
        register(store, "one", one)
        lease = store.grant(TTL)
        register(store, "two", two, lease)
        fleet.put(
            "up.com", {"a.com.conf.j2": SITE, "a.com.check": CHECK}, POLICY | {"render": True, "watch": ["/services/"]}
        )
        both = {"200 one", "200 two"}
        fleet.each(lambda host: store.renew(lease) and answers(host) == both, "serves both", 20.0)
        for host in fleet.hosts:
            eventually(lambda host=host: two not in host.text(CONF), f"{host.name}: one is left")  # type: ignore[misc]
            out = time.monotonic()
            eventually(lambda: "two" in ends.seen, "the lease has ended")
            delay = out - ends.seen["two"]
            print(f"{host.name}: out of the list {delay * 1000:.0f} ms after the end of the lease")
            assert delay < PROMISE
        fleet.each(lambda host: answers(host) == {"200 one"}, "serves one", RELOAD)
        register(store, "two", two)
        fleet.each(lambda host: answers(host) == both, "serves both again", RELOAD)
        # nginx refuses a list without servers: what was served last stays.
        unregister(store, "one", "two")
        fleet.each(lambda host: fleet.status(host, "up.com")["state"] == "failed", "is refused")
        assert all(answers(host) == both for host in fleet.hosts)
