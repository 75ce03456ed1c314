# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The INI file of an agent (contract, section 7): the old daemon's sections and names, then ours.

Every error names the file, the section, the name, the value (never a secret) and what is allowed.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .connection import Connection
from .errors import InvalidError
from .ini import Ini, absolute, choice, number, parse_listen, readable, url, yes_or_no
from .keys import CONTROL, MAX_SEGMENT, PREFIX, check_prefix, is_name
from .ledger import STATE_DIR
from .rules import Rules, find_user, is_below

CONFIG = "/etc/watcher/watcher.ini"
ANYTHING = "*"
NONE: tuple[str, ...] | None = ()
LEVELS = ("debug", "info", "warn", "warning", "error")
RESYNC = 300.0  # seconds between two full comparisons
INTERVAL = 30.0  # seconds between two heartbeats
LONGEST = 86400.0  # seconds that either may be
NAMES: dict[str, tuple[str, ...]] = {
    "local": ("prefix", "force", "hostname", "state_dir", "resync"),
    "etcd": ("endpoints", "timeout", "username", "password", "password_file", "ca_cert", "client_cert", "client_key"),
    "logs": ("name", "path", "filename", "level"),
    "heartbeat": ("domain", "interval"),
    "security": ("deploy_roots", "commands", "run_as"),
    "metrics": ("listen", "textfile"),
}


@dataclass(frozen=True)
class Logs:
    """The log's level, and the folder of its file: relative to the working directory, empty for no file."""

    name: str = "watcher"  # of the old daemon; without effect
    folder: str = ""
    filename: str = "watcher"
    level: str = "info"


@dataclass(frozen=True)
class Beat:
    """Where heartbeats go, every so many seconds."""

    url: str
    interval: float


@dataclass(frozen=True)
class Endpoints:
    """Where metrics can be had: a loopback address with port, a file; empty where not."""

    listen: str = ""
    textfile: str = ""


@dataclass(frozen=True)
class Settings:
    """All that an agent is told; ``warnings`` are sentences for every start."""

    path: str
    host: str
    force: bool
    state_dir: str
    resync: float  # seconds
    connection: Connection
    logs: Logs | None
    heartbeat: Beat | None
    rules: Rules
    metrics: Endpoints
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str) -> Settings:
        """Return the settings of a file; raise InvalidError."""
        ini = Ini.read(path, NAMES)
        rules = _rules(ini, _user)
        state_dir = ini.get("local", "state_dir", STATE_DIR, absolute)
        return cls(
            path,
            _host(ini),
            ini.get("local", "force", True, yes_or_no),
            state_dir,
            ini.get("local", "resync", RESYNC, number(1, LONGEST, "seconds")),
            _connection(ini),
            _logs(ini),
            _heartbeat(ini),
            rules,
            Endpoints(ini.get("metrics", "listen", "", _listen), ini.get("metrics", "textfile", "", _textfile)),
            tuple(_warnings(ini, rules, state_dir)),
        )


def read_rules(path: str) -> Rules | None:
    """Return what the host of a file allows; None without the file. Raise InvalidError when it cannot be read."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError:  # such as a folder that may not be entered: nobody knows what is in it
        pass
    return _rules(Ini.read(path, NAMES), str)


def _rules(ini: Ini, user: Callable[[str], str]) -> Rules:
    """Return what a host allows: everything where nothing is said, as a file of the old daemon has it."""
    if not ini.has("security"):
        return Rules(source=ini.path)
    return Rules(
        ini.listed("security", "deploy_roots", NONE, _roots),
        ini.listed("security", "commands", NONE, _commands),
        ini.get("security", "run_as", "", user),
        ini.path,
    )


def _roots(items: Sequence[str]) -> tuple[str, ...] | None:
    try:
        return None if _is_anything(items) else tuple(dict.fromkeys(absolute(item) for item in items))
    except ValueError:
        raise ValueError(
            "absolute folders without . or .. segments, which stand for all below them, separated by commas or"
            f" one a line; or {ANYTHING} alone for any"
        ) from None


def _commands(items: Sequence[str]) -> tuple[str, ...] | None:
    try:
        return None if _is_anything(items) else tuple(dict.fromkeys(items))
    except ValueError:
        raise ValueError(f"commands, separated by commas or one a line; or {ANYTHING} alone for any") from None


def _is_anything(items: Sequence[str]) -> bool:
    """Return whether a list is the star; raise ValueError for one that stands or hides among others."""
    if any(item.endswith(",") for item in items):  # commas at the ends of lines
        raise ValueError
    if ANYTHING in items and len(items) > 1:
        raise ValueError
    return ANYTHING in items


def _user(text: str) -> str:
    if find_user(text) is None:
        raise ValueError("the name or number of a user whom this host has")
    return text


def _host(ini: Ini) -> str:
    allowed = f"one segment of A-Z a-z 0-9 . _ - of at most {MAX_SEGMENT} characters, not . or .."
    name = ini.get("local", "hostname", "", _that(is_name, allowed)) or socket.gethostname()
    if not is_name(name):
        raise InvalidError(
            f"{ini.path}: section [local], hostname is not given, and the name of this host is {name!r}; allowed is"
            f" {allowed}"
        )
    return name


def _that(holds: Callable[[str], bool], allowed: str) -> Callable[[str], str]:
    """Return what reads a text for which something holds."""

    def read(text: str) -> str:
        if not holds(text):
            raise ValueError(allowed)
        return text

    return read


def _prefix(text: str) -> str:
    try:
        return check_prefix(text)
    except InvalidError:
        raise ValueError(
            f"a path such as {PREFIX}: it starts with /, does not end with it, and has no empty segment"
        ) from None


def _listen(text: str) -> str:
    try:
        parse_listen(text)
    except InvalidError:
        raise ValueError("a loopback address and a port, such as 127.0.0.1:9101 or [::1]:9101") from None
    return text


def _textfile(text: str) -> str:
    if not text.endswith(".prom"):
        raise ValueError("an absolute path that ends with .prom, for Prometheus's node exporter reads no others")
    return absolute(text)


def _connection(ini: Ini) -> Connection:
    options: dict[str, Any] = {
        "prefix": ini.get("local", "prefix", None, _prefix),
        "endpoints": ini.listed("etcd", "endpoints", None, ",".join),
        "timeout": ini.get("etcd", "timeout", None, number(0.1, 3600, "seconds")),
        "username": ini.get("etcd", "username", None, str),
        "password": _password(ini),
    }
    for name in ("ca_cert", "client_cert", "client_key"):
        options[name] = ini.get("etcd", name, None, readable)
    try:
        return Connection.from_options(options.get)
    except InvalidError as error:  # it begins with the name of the option
        raise InvalidError(f"{ini.path}: section [etcd], {error}") from error


def _password(ini: Ini) -> str | None:
    given = ini.get("etcd", "password", None, str)
    path = ini.get("etcd", "password_file", "", readable)
    if not path:
        return given
    if given:
        raise InvalidError(
            f"{ini.path}: section [etcd], password and password_file {path!r} are both given; allowed is one of them"
        )
    return ini.get("etcd", "password_file", None, _first_line)


def _first_line(path: str) -> str:
    """Return the content of a file without one newline at its end."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            text = stream.read()
    except UnicodeDecodeError:
        text = ""
    password = text[:-1] if text.endswith("\n") else text
    if not password or CONTROL.search(password):
        raise ValueError("a file with the password alone, one line of UTF-8 text")
    return password


def _logs(ini: Ini) -> Logs | None:
    if not ini.has("logs"):
        return None
    return Logs(
        ini.get("logs", "name", Logs.name, str),
        ini.get("logs", "path", "", _that(lambda text: not CONTROL.search(text), "a folder")),
        ini.get("logs", "filename", Logs.filename, _that(_is_file_name, "the name of a file in path, such as watcher")),
        ini.get("logs", "level", Logs.level, choice(*LEVELS)),
    )


def _is_file_name(text: str) -> bool:
    return "/" not in text and text not in (".", "..") and not CONTROL.search(text) and len(text.encode()) < 200


def _heartbeat(ini: Ini) -> Beat | None:
    interval = ini.get("heartbeat", "interval", INTERVAL, number(1, LONGEST, "seconds"))
    domain = ini.get("heartbeat", "domain", "", url)
    return Beat(domain, interval) if domain else None


def _warnings(ini: Ini, rules: Rules, state_dir: str) -> list[str]:
    found = []
    if not ini.has("security"):
        found.append(
            f"{ini.path} has no section [security]: policies may deploy anywhere and run any command; add the section"
            " with deploy_roots and commands"
        )
    for name in ("deploy_roots", "commands"):
        if ini.has("security") and not ini.has("security", name):
            found.append(f"{ini.path}: section [security] has no {name}, so none are allowed; add it, be it empty")
    secrets = [(ini.path, ini.mode)] if ini.get("etcd", "password", "", str) else []
    path = ini.get("etcd", "password_file", "", str)
    if path:
        secrets.append((path, stat.S_IMODE(os.stat(path).st_mode)))
    for path, mode in secrets:
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            found.append(f"{path} holds a password and others may read it: its mode is {mode:04o}; give it 0600")
    if ini.mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(f"{ini.path}: others may change what this host allows: its mode is {ini.mode:04o}; give it 0600")
    for path in (ini.path, state_dir):
        real = os.path.realpath(path)
        root = next((root for root in rules.roots or () if is_below(real, os.path.realpath(root))), None)
        if root is not None:
            found.append(f"{path} is below {root}, one of deploy_roots, so a policy may replace it; name folders apart")
    return found
