# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gRPC status means for the user: an answer of etcd, or an endpoint that is no use now."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from .channels import roots
from .connection import Connection, Endpoint
from .errors import CompactedError, DeniedError, InvalidError, RewoundError, StoreError, UnavailableError

# Codes with which etcd answers for good; all others are worth another endpoint or another time.
ANSWERS = (
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
    "NOT_FOUND",
)
# Texts of etcd after which a new token helps, where the code is not UNAUTHENTICATED already.
STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")
WANTS_USER = "etcd wants a user: set username and password"
REFUSED_TWICE = "etcd refuses the token it gave: check its auth settings and the clocks of its members"
# text in the details, kind of error, what to tell; the first line that fits counts
TABLE = (
    ("too many operations", StoreError, "it has more operations than etcd takes in one (128 by default): split it"),
    ("request is too large", StoreError, "it is larger than etcd takes at once (1.5 MiB by default): split it"),
    ("larger than max", StoreError, "it is larger than etcd takes at once (1.5 MiB by default): split it"),
    ("database space exceeded", StoreError, "its database is full: compact and defragment it, then disarm the alarm"),
    ("duplicate key", StoreError, "it sets or deletes one key twice"),
    ("lease not found", StoreError, "that lease has ended: grant another"),
    ("has been compacted", CompactedError, "that revision is compacted: list again"),
    ("future revision", RewoundError, "that revision is not there yet, so this is another or a restored store"),
    ("user name is empty", DeniedError, WANTS_USER),
    ("authentication failed", DeniedError, "user name or password is wrong: correct username and password"),
    ("user name not found", DeniedError, "etcd no longer knows the user: correct username"),
    ("permission denied", DeniedError, "its roles do not permit that: grant it with etcdctl role grant-permission"),
    ("auth token", DeniedError, REFUSED_TWICE),
    ("auth store is old", DeniedError, REFUSED_TWICE),
)
NO_NAME = ("DNS resolution failed", "errors resolving", "address lookup failed")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # of HTTP/2, with empty SETTINGS
PROBE_TIMEOUT = 2.0  # seconds for a handshake that only finds out why gRPC's failed


@dataclass(frozen=True)
class Failure:
    """A call that one endpoint did not serve; ``code`` is a gRPC status name."""

    endpoint: Endpoint
    code: str
    details: str

    @property
    def stale_token(self) -> bool:
        """Tell whether the token was refused and a new one may be taken."""
        if self.code == "UNAUTHENTICATED":
            return True
        return self.code in ANSWERS and any(text in self.details for text in STALE_TOKEN)

    @property
    def never_sent(self) -> bool:
        """Tell whether the request certainly never reached a server."""
        return self.code == "UNAVAILABLE" and any(
            text in self.details for text in ("failed to connect to all addresses", *NO_NAME)
        )

    def answer(self, what: str, connection: Connection) -> StoreError | None:
        """Return what etcd refused for good, as an error; None when another endpoint may serve."""
        if self.code not in ANSWERS or "too many requests" in self.details:
            return None
        refused = f"etcd at {self.endpoint} refused {what}"
        if connection.username:
            refused += f" for user {connection.username!r}"
        for text, kind, meaning in TABLE:
            if text in self.details:
                anonymous = kind is DeniedError and not connection.username and not connection.client_cert
                return kind(f"{refused}: {WANTS_USER if anonymous else meaning}")
        return StoreError(f"{refused}: {self.details or self.code}")

    def reason(self, timeout: float) -> str:
        """Return in a few words why the endpoint is no use."""
        known = (
            ("Connection refused", "nothing listens there"),
            *((text, "its name cannot be resolved") for text in NO_NAME),
            ("No route to host", "there is no route to it"),
            ("Network is unreachable", "there is no route to it"),
            ("no leader", "it has no leader"),
        )
        if self.code == "DEADLINE_EXCEEDED":
            return f"no answer within {timeout:g} s"
        brief = " ".join(self.details.split())[:200] or self.code
        return next((text for found, text in known if found in self.details), brief)


def unreachable(failures: Sequence[Failure], outcome: str, connection: Connection) -> StoreError:
    """Return the one error for endpoints that all failed, naming each with its reason after the outcome.

    It is a DeniedError when TLS or a certificate is the reason at every one of them.
    """
    refusals = [_handshake(failure, connection) for failure in failures]
    reasons = [
        f"{failure.endpoint} ({refusal or failure.reason(connection.timeout)})"
        for failure, refusal in zip(failures, refusals)
    ]
    tried = ", ".join(reasons)
    if all(refusals):
        return DeniedError(f"{outcome}: no TLS connection to etcd at {tried}")
    return UnavailableError(
        f"{outcome}: etcd cannot be reached at {tried}; check that it runs, and the option endpoints"
    )


def _handshake(failure: Failure, connection: Connection) -> str | None:
    """Return what is wrong with TLS at an endpoint, or None when that is not the trouble.

    gRPC reports most of it as a closed socket; a handshake with Python's own TLS knows more.
    """
    if failure.code != "UNAVAILABLE" or "Connection refused" in failure.details or "etcdserver" in failure.details:
        return None
    try:
        return _probe_tls(failure.endpoint, connection) if failure.endpoint.tls else _probe_plain(failure.endpoint)
    except OSError:
        return None


def _probe_plain(endpoint: Endpoint) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _shake_hands(endpoint, context):
            speaks = True
    except ssl.SSLError as error:
        speaks = "ALERT" in (error.reason or "")
    return f"it speaks TLS: write https://{endpoint.address}" if speaks else None


def tls_context(connection: Connection) -> ssl.SSLContext:
    """Return a context that trusts and shows what the connection says; InvalidError for files that do not fit."""
    trusted = roots(connection)
    try:
        context = ssl.create_default_context(cadata=trusted.decode("ascii", "replace") if trusted else None)
        if connection.client_cert:
            context.load_cert_chain(connection.client_cert, connection.client_key, lambda: "")  # asks nobody
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise InvalidError(
            f"ca_cert, client_cert or client_key is no PEM file, or the last two do not fit: {error}"
        ) from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 checks more than gRPC does
    return context


def _probe_tls(endpoint: Endpoint, connection: Connection) -> str | None:
    try:
        context = tls_context(connection)
    except InvalidError as error:
        return str(error)
    context.set_alpn_protocols(["h2"])
    try:
        with _shake_hands(endpoint, context) as secure, contextlib.suppress(socket.timeout):
            secure.recv(1)  # TLS 1.3 refuses a client certificate only after the handshake
        return None
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is refused: {error.verify_message}; correct ca_cert or the name in endpoints"
    except (ssl.SSLError, ConnectionResetError) as error:
        reason = getattr(error, "reason", None) or ""  # a server that ends a handshake may also just hang up
        return _refusal(endpoint, reason.lower().replace("_", " "), bool(connection.client_cert))


def _refusal(endpoint: Endpoint, reason: str, with_certificate: bool) -> str | None:
    if "alert" in reason and with_certificate:
        return f"it refuses client_cert: {reason}"
    if "alert" in reason:
        return f"it wants a client certificate, so set client_cert and client_key: {reason}"
    return f"it does not speak TLS: write http://{endpoint.address}" if _speaks_plain(endpoint) else None


def _speaks_plain(endpoint: Endpoint) -> bool:
    """Tell whether an HTTP/2 server without TLS answers: with its SETTINGS, or an error of HTTP/1."""
    with socket.create_connection((endpoint.host, endpoint.port), PROBE_TIMEOUT) as plain:
        plain.sendall(PREFACE)
        answer = plain.recv(9)
    return answer[3:4] == b"\4" or answer.startswith(b"HTTP/")


def _shake_hands(endpoint: Endpoint, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((endpoint.host, endpoint.port), PROBE_TIMEOUT)
    return context.wrap_socket(plain, server_hostname=endpoint.host)  # closes it when it raises
