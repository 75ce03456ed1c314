# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each endpoint of etcd by itself: whether it serves, how fast, which version it is and what time it has."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from .connection import Connection, Endpoint
from .diagnosis import tls_context
from .errors import WatcherError
from .etcd import connect

MAX_BODY = 65536  # bytes of an answer that are read
HALF = 0.5  # seconds; the Date header has whole ones


@dataclass(frozen=True)
class Probe:
    """One endpoint. ``problem`` is why it does not serve; ``latency`` is in seconds, of one read.

    ``version`` is empty and ``skew`` None where etcd did not say; skew is in seconds, positive where this host's
    clock is ahead.
    """

    endpoint: Endpoint
    problem: WatcherError | None = None
    latency: float = 0.0
    cluster_id: int = 0
    version: str = ""
    skew: float | None = None


def probe_all(connection: Connection, prefix: str) -> list[Probe]:
    """Return a probe of each endpoint, in their order; all are asked at once, about the keys below a prefix."""
    with ThreadPoolExecutor(len(connection.servers)) as pool:
        return list(pool.map(lambda endpoint: _probe(connection, endpoint, prefix), connection.servers))


def alone(connection: Connection, endpoint: Endpoint) -> Connection:
    """Return the connection with one endpoint only."""
    if endpoint.tls:
        return replace(connection, endpoints=(str(endpoint),))
    return replace(connection, endpoints=(str(endpoint),), ca_cert=None, client_cert=None, client_key=None)


def _probe(connection: Connection, endpoint: Endpoint, prefix: str) -> Probe:
    store = connect(alone(connection, endpoint))
    try:
        listing = store.list(prefix, keys_only=True)
        began = time.monotonic()  # the listing has connected, which is not what the latency is about
        store.get(prefix)
        latency = time.monotonic() - began
    except WatcherError as error:
        return Probe(endpoint, error)
    finally:
        store.close()
    version, skew = greeting(connection, endpoint)
    return Probe(endpoint, None, latency, listing.cluster_id, version, skew)


def greeting(connection: Connection, endpoint: Endpoint) -> tuple[str, float | None]:
    """Return the version and the clock's skew by etcd's HTTP answer; nothing where it gives none."""
    try:
        link = _http(connection, endpoint)
        try:
            before = time.time()
            link.request("GET", "/version")
            answer = link.getresponse()
            after = time.time()
            body = answer.read(MAX_BODY)
        finally:
            link.close()
        return _version(body), _skew(answer.getheader("Date"), (before + after) / 2)
    except (OSError, ValueError, http.client.HTTPException, WatcherError):
        return "", None


def _http(connection: Connection, endpoint: Endpoint) -> http.client.HTTPConnection:
    host, port, timeout = endpoint.host, endpoint.port, connection.timeout
    if endpoint.tls:
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls_context(connection))
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _version(body: bytes) -> str:
    try:
        return str(json.loads(body)["etcdserver"])[:50]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _skew(date: str | None, now: float) -> float | None:
    try:
        return now - (parsedate_to_datetime(date).timestamp() + HALF) if date else None
    except (TypeError, ValueError):
        return None
