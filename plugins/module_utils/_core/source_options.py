# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source's arguments: looked up, checked once, with a default each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .connection import Connection
from .errors import InvalidError
from .events import MAX_WAIT
from .keys import check_name, is_name
from .tracker import misread_host

# What a connection option is called in the environment.
ENVIRONMENT = {
    "endpoints": "ETCDCTL_ENDPOINTS",
    "prefix": "WATCHER_PREFIX",
    "username": "ETCDCTL_USER",
    "password": "ETCDCTL_PASSWORD",
    "ca_cert": "ETCDCTL_CACERT",
    "client_cert": "ETCDCTL_CERT",
    "client_key": "ETCDCTL_KEY",
    "timeout": "WATCHER_TIMEOUT",
}
MAX_PARALLEL = 1000
MAX_HOLD = 86_400.0  # seconds


@dataclass(frozen=True)
class SourceOptions:
    """What the event source was told; an empty ``position_file`` is none, and an empty ``standby`` no other source."""

    connection: Connection
    projects: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    batch: float = 0.2
    parallel: int = 4
    hold: float = 60.0
    position_file: str = ""
    replay: bool = False
    standby: str = ""

    @classmethod
    def parse(cls, args: Mapping[str, Any], environ: Mapping[str, str]) -> SourceOptions:
        """Return the options; raise InvalidError naming the one that is unknown or wrong.

        None and, for a connection option or a list, the empty string are the default.
        """
        own = [option.name for option in fields(cls) if option.name != "connection"]
        unknown = sorted(set(args) - {*ENVIRONMENT, *own})
        if unknown:
            raise InvalidError(f"{unknown[0]}: no such option; there are {', '.join(sorted({*ENVIRONMENT, *own}))}")
        given = {name: args[name] for name in own if args.get(name) is not None}
        connection = Connection.from_options(lambda name: _connection_option(name, args, environ))
        lists: dict[str, Any] = {name: _names(name, given.pop(name, ())) for name in ("projects", "hosts")}
        path = given.pop("position_file", None)
        checked: dict[str, Any] = {name: _CHECKS[name](name, value) for name, value in given.items()}
        options = cls(connection, **lists, **checked)
        if options.standby and path is not None:
            raise InvalidError("position_file: with standby the position is kept in etcd; leave one of both out")
        if options.standby:
            return options
        where = default_path(options, environ) if path is None else _text("position_file", path)
        return cls(connection, **lists, **checked, position_file=os.path.expanduser(where))


def default_path(options: SourceOptions, environ: Mapping[str, str]) -> str:
    """Return the position file of a source that is not told one: each selection of each tree has its own."""
    servers = sorted(map(str, options.connection.servers))
    made_of = [servers, options.connection.prefix, sorted(options.projects), sorted(options.hosts)]
    name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    return os.path.join(state_folder(environ), f"position-{name}.json")


def state_folder(environ: Mapping[str, str]) -> str:
    """Return where a controller keeps what has to outlive a restart."""
    return os.path.join(os.path.expanduser(environ.get("ANSIBLE_HOME") or "~/.ansible"), "watcher")


def _connection_option(name: str, args: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    value = args.get(name)
    return environ.get(ENVIRONMENT[name]) if value in (None, "", []) else value


def _names(option: str, value: Any) -> tuple[str, ...]:
    """Return a list of hosts or projects; raise InvalidError naming the option and the wrong one."""
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise InvalidError(f"{option}: {value!r} is not a list of names, such as [{option[:-1]}1]; empty means all")
    for part in parts:
        try:
            check_name(option[:-1], part)
        except InvalidError as error:
            raise InvalidError(f"{option}: {error}") from error
        if option == "hosts" and misread_host(part):
            raise InvalidError(
                f"hosts: {part!r} is no host of the tree that can be deployed to; an empty list means all"
            )
    return tuple(parts)


def _number(option: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidError(f"{option}: {value!r} is not a number of seconds from {low:g} to {high:g}")
    return float(value)


def _parallel(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PARALLEL:
        raise InvalidError(f"{option}: {value!r} is not a whole number from 1 to {MAX_PARALLEL}")
    return value


def _bool(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidError(f"{option}: {value!r} is neither true nor false")
    return value


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidError(f"{option}: {value!r} is not the path of a file; the empty string means none")
    return value


def _name(option: str, value: Any) -> str:
    if not isinstance(value, str) or not (is_name(value) or value == ""):
        raise InvalidError(f"{option}: {value!r} is not a name of A-Z a-z 0-9 . _ -; the empty string means none")
    return value


_CHECKS: Mapping[str, Any] = {
    "batch": lambda option, value: _number(option, value, 0, MAX_WAIT),
    "hold": lambda option, value: _number(option, value, 0, MAX_HOLD),
    "parallel": _parallel,
    "replay": _bool,
    "standby": _name,
}
