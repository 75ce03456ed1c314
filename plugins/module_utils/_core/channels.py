# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gRPC channels to the endpoints: made when needed, dropped when they fail, closed when unused.

A channel that failed is never used again: gRPC would pause up to two minutes before it connects
anew, and share that pause between channels of one address. Nothing of gRPC is touched before the
first call, so a store may be made before a fork and used after it.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import wire
from .connection import Connection, Endpoint
from .errors import InvalidError, StoreError

OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # gRPC stops at 4 MiB, a page of values may be larger
    ("grpc.max_send_message_length", -1),  # etcd says itself what is too large for it
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # a hidden retry could carry out a transaction twice
    ("grpc.enable_http_proxy", 0),  # as etcdctl: http_proxy is meant for other traffic
)


class Link:
    """A channel to one endpoint and the callables made on it."""

    def __init__(self, endpoint: Endpoint, channel: Any) -> None:
        """Wrap a channel that nobody else uses."""
        self.endpoint = endpoint
        self.users = 0
        self.retired = False
        self._channel = channel
        self._callables: dict[str, Any] = {}

    def method(self, name: str) -> Any:
        """Return the callable of a method such as ``KV/Range``."""
        if name not in self._callables:
            self._callables[name] = wire.load().methods[name].on(self._channel)
        return self._callables[name]

    def close(self) -> None:
        """Close the channel; calls under way on it end with CANCELLED."""
        self._channel.close()


class Channels:
    """At most one live link per endpoint, shared by calls, watches and threads."""

    def __init__(self, connection: Connection) -> None:
        """Remember the connection; nothing is opened yet."""
        self.servers = connection.servers
        self._connection = connection
        self._lock = threading.Lock()
        self._live: dict[Endpoint, Link] = {}
        self._used: set[Link] = set()
        self._first = 0
        self._closed = False

    def check(self) -> None:
        """Raise StoreError after `close`."""
        if self._closed:
            raise StoreError("The connection to etcd was closed by this program; open a new one")

    def order(self) -> tuple[Endpoint, ...]:
        """Return all endpoints, the one that answered last first."""
        first = self._first
        return self.servers[first:] + self.servers[:first]

    @contextmanager
    def borrow(self, endpoint: Endpoint) -> Iterator[Link]:
        """Hand out the endpoint's link for one call; raise InvalidError for an unusable certificate file."""
        with self._lock:
            self.check()
            link = self._live.get(endpoint) or Link(endpoint, self._channel(endpoint))
            self._live[endpoint] = link
            self._hold(link)
        try:
            yield link
        finally:
            self.release(link)

    def keep(self, link: Link) -> None:
        """Count one more user of a borrowed link, who calls `release`."""
        with self._lock:
            self._hold(link)

    def release(self, link: Link) -> None:
        """Count one user less; a retired link without users is closed."""
        with self._lock:
            link.users -= 1
            unused = link.users == 0 and link.retired
            if link.users == 0:
                self._used.discard(link)
        if unused:
            link.close()

    def answered(self, endpoint: Endpoint) -> None:
        """Prefer this endpoint from now on."""
        self._first = self.servers.index(endpoint)

    def drop(self, link: Link) -> None:
        """Use this link for no new call, and another endpoint first."""
        with self._lock:
            link.retired = True
            if self._live.get(link.endpoint) is link:
                del self._live[link.endpoint]
            index = self.servers.index(link.endpoint)
            if self._first == index:
                self._first = (index + 1) % len(self.servers)
            unused = link.users == 0
        if unused:
            link.close()

    def close(self) -> None:
        """Close all links, used ones too."""
        with self._lock:
            self._closed = True
            links = {*self._live.values(), *self._used}
            self._live.clear()
        for link in links:
            link.close()

    def _hold(self, link: Link) -> None:
        link.users += 1
        self._used.add(link)

    def _channel(self, endpoint: Endpoint) -> Any:
        grpc = wire.load_grpc()
        if not endpoint.tls:
            return grpc.insecure_channel(endpoint.address, options=OPTIONS)
        settings = self._connection
        credentials = grpc.ssl_channel_credentials(
            root_certificates=roots(settings),
            private_key=_content("client_key", settings.client_key),
            certificate_chain=_content("client_cert", settings.client_cert),
        )
        return grpc.secure_channel(endpoint.address, credentials, options=OPTIONS)


def roots(connection: Connection) -> bytes | None:
    """Return the PEM certificates to trust: those of ``ca_cert``, else the system's.

    None where the system keeps none, which leaves gRPC with its own list.
    """
    if connection.ca_cert:
        return _content("ca_cert", connection.ca_cert)
    paths = ssl.get_default_verify_paths()
    bundles = [Path(paths.cafile)] if paths.cafile else []
    bundles += [Path(paths.capath) / "ca-certificates.crt"] if paths.capath else []  # Debian's only one
    return next((bundle.read_bytes() for bundle in bundles if bundle.is_file()), None)


def _content(option: str, path: str | None) -> bytes | None:
    """Return the content of the file an option names; raise InvalidError where it cannot be read."""
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidError(f"{option}: {path} cannot be read ({error.strerror})") from error
