# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version and clock of an endpoint, by servers that answer as etcd does, and by some that do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import time
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection, Endpoint
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.probes import alone, greeting, probe_all
from ansible_collections.watcher.config.tests.etcd_server import free_ports


class Server(HTTPServer):
    """Tells a version and a time that is an offset from now."""

    body = b'{"etcdserver": "3.5.1", "etcdcluster": "3.5.0"}'
    offset: float | None = 0.0


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Answer, with a Date of our own."""
        self.send_response_only(200)
        if self.server.offset is not None:
            self.send_header("Date", formatdate(int(time() + self.server.offset), usegmt=True))
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve on a free port."""
    with Server(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def greeted(server: Server) -> tuple[str, float | None]:
    """Return what the server's greeting says."""
    endpoint = Endpoint("127.0.0.1", server.server_address[1])
    return greeting(Connection((str(endpoint),), timeout=2), endpoint)


@pytest.mark.parametrize("offset", [0, 3600, -90])
def test_greeting(server: Server, offset: int) -> None:
    """A Date is whole seconds: half a second and the way are what the skew may be wrong by."""
    server.offset = offset
    version, skew = greeted(server)
    assert version == "3.5.1"
    assert skew is not None and abs(skew + offset) < 1.0


@pytest.mark.parametrize("body", [b"", b"404 page not found", b"[]", b'{"etcd": 1}'])
def test_no_version(server: Server, body: bytes) -> None:
    """The clock is told all the same."""
    server.body = body
    version, skew = greeted(server)
    assert (version, skew is None) == ("", False)


def test_no_time(server: Server) -> None:
    """A server that does not tell the time has no skew."""
    server.offset = None
    assert greeted(server) == ("3.5.1", None)


def test_nobody() -> None:
    """Where nothing listens there is no greeting, and a probe says why."""
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    connection = Connection((endpoint,), timeout=2)
    assert greeting(connection, connection.servers[0]) == ("", None)
    (probe,) = probe_all(connection, "/watcher/web01/")
    assert isinstance(probe.problem, UnavailableError)
    assert endpoint in str(probe.problem)


def test_alone() -> None:
    """Files for TLS are of no use to an endpoint without it, which is not the user's mistake."""
    connection = Connection(("https://a:1", "http://b:2"), ca_cert="/ca", client_cert="/cert", client_key="/key")
    assert [alone(connection, endpoint).ca_cert for endpoint in connection.servers] == ["/ca", None]
    assert [alone(connection, endpoint).endpoints for endpoint in connection.servers] == [
        ("https://a:1",),
        ("http://b:2",),
    ]
