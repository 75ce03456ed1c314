# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach etcd: the options that every door shares (contract, section 8), checked once."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidError
from .keys import PREFIX, check_prefix, shown

DEFAULT_ENDPOINTS = ("127.0.0.1:2379",)
DEFAULT_PORT = 2379
DEFAULT_TIMEOUT = 5.0  # seconds
MAX_TIMEOUT = 3600.0  # seconds
NO_TIMEOUT = f"is not a number of seconds above 0 and up to {MAX_TIMEOUT:g}"
ENDPOINT_FORMS = "host, host:port, [IPv6]:port, http://host:port or https://host:port"
ENDPOINT = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Endpoint:
    """One etcd server's client address; ``tls`` is true for ``https://`` only."""

    host: str
    port: int = DEFAULT_PORT
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Return the endpoint a user wrote; raise InvalidError naming it and the forms allowed."""
        found = ENDPOINT.fullmatch(text.strip())
        host = _ipv6(found["ipv6"]) or found["host"] if found else None
        port = int(found["port"] or DEFAULT_PORT) if found else 0
        if not found or not host or not 0 < port < 65536:
            raise InvalidError(f"endpoints: {_safe(text)!r} is not an endpoint, which is {ENDPOINT_FORMS}")
        return cls(host, port, (found["scheme"] or "").lower() == "https")

    @property
    def address(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Return the endpoint as messages show it."""
        return f"{'https' if self.tls else 'http'}://{self.address}"


@dataclass(frozen=True)
class Connection:
    """Where etcd is and who we are there; raises InvalidError for what breaks the contract."""

    endpoints: tuple[str, ...] = DEFAULT_ENDPOINTS
    prefix: str = PREFIX
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_cert: str | None = None  # a path, as the next two
    client_cert: str | None = None
    client_key: str | None = None
    timeout: float = DEFAULT_TIMEOUT  # seconds that one endpoint has to answer one call

    def __post_init__(self) -> None:
        """Check all values together."""
        check_prefix(self.prefix)
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise InvalidError(f"timeout: {self.timeout!r} {NO_TIMEOUT}")
        self._check_certificates()
        if bool(self.username) != bool(self.password):
            given, missing = ("username", "password") if self.username else ("password", "username")
            raise InvalidError(f"{given} is set and {missing} is not: set both or none of them")

    @classmethod
    def from_options(cls, get: Callable[[str], Any]) -> Connection:
        """Return the connection that the options named as in the contract describe.

        ``get`` returns an option's value; None and the empty string mean its default. As with
        etcdctl, ``username`` may be ``name:password`` while no password is set.
        """
        names = ("prefix", "username", "password", "ca_cert", "client_cert", "client_key")
        given = {name: str(get(name)) for name in names if get(name) not in (None, "")}
        if "password" not in given and ":" in given.get("username", ""):
            given["username"], given["password"] = given["username"].split(":", 1)
        return cls(_endpoint_list(get("endpoints")), timeout=_seconds(get("timeout")), **given)

    @property
    def servers(self) -> tuple[Endpoint, ...]:
        """Return the endpoints parsed, in the order given, each one once."""
        return tuple(dict.fromkeys(Endpoint.parse(text) for text in self.endpoints))

    def _check_certificates(self) -> None:
        if not self.endpoints:
            raise InvalidError(f"endpoints: the list is empty; it needs at least one {ENDPOINT_FORMS}")
        tls = any(server.tls for server in self.servers)
        for name in ("ca_cert", "client_cert", "client_key"):
            if getattr(self, name) and not tls:
                raise InvalidError(
                    f"{name}: {getattr(self, name)!r} has no effect, for no endpoint starts with https:// (found"
                    f" {', '.join(map(str, self.servers))})"
                )
        if bool(self.client_cert) != bool(self.client_key):
            given, missing = ("client_cert", "client_key") if self.client_cert else ("client_key", "client_cert")
            raise InvalidError(f"{given} is set and {missing} is not: set both or none of them")


def _ipv6(text: str | None) -> str | None:
    """Return the IPv6 address, or None where there is none."""
    try:
        return str(ipaddress.IPv6Address(text)) if text else None
    except ValueError:
        return None


def _safe(text: str) -> str:
    """Return an endpoint without the credentials somebody may have put into it."""
    return re.sub(r"^(\w+://)?.*@", r"\1***@", shown(text))


def _endpoint_list(value: Any) -> tuple[str, ...]:
    """Return the endpoints of a list or of a comma-separated string."""
    if value in (None, "", [], ()):
        return DEFAULT_ENDPOINTS
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise InvalidError(f"endpoints: {value!r} is not a list of {ENDPOINT_FORMS}")
    return tuple(part.strip() for part in parts if part.strip()) or DEFAULT_ENDPOINTS


def _seconds(value: Any) -> float:
    """Return the timeout option as a number; raise InvalidError showing it as it was written."""
    if value in (None, ""):
        return DEFAULT_TIMEOUT
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT:
        raise InvalidError(f"timeout: {value!r} {NO_TIMEOUT}")
    return seconds
