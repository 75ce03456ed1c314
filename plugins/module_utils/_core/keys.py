# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key string is built and parsed here, nowhere else (contract, section 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import InvalidError

PREFIX = "/watcher"
MAX_SEGMENT = 255  # bytes; what Linux file systems take for one name
MAX_PATH = 1024  # bytes
NAME = re.compile(r"[A-Za-z0-9._-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # lone surrogates cannot be written, either


def shown(key: bytes | str) -> str:
    """Return a key for a message: one line, whatever bytes it holds."""
    text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key
    return CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def check_prefix(prefix: str) -> str:
    """Return the prefix; raise InvalidError when it breaks the contract."""
    parts = prefix.split("/")
    if len(parts) < 2 or parts[0] or "" in parts[1:] or "." in parts or ".." in parts or CONTROL.search(prefix):
        raise InvalidError(
            f"prefix {shown(prefix)!r}: it must start with /, not end with it, and have no empty segment,"
            f" such as {PREFIX}"
        )
    return prefix


def check_name(kind: str, name: str) -> str:
    """Return the name of a host or project; raise InvalidError when it breaks the contract."""
    if not is_name(name):
        raise InvalidError(
            f"{kind} {shown(name)!r}: a {kind} is one segment of A-Z a-z 0-9 . _ - of at most"
            f" {MAX_SEGMENT} characters, not . or .."
        )
    return name


def is_name(name: str) -> bool:
    """Return whether the name of a host or project keeps the contract."""
    return bool(NAME.fullmatch(name)) and name not in (".", "..") and len(name) <= MAX_SEGMENT


def check_path(path: str) -> str:
    """Return a file's path below ``config.d/``; raise InvalidError when it breaks the contract."""
    segments = path.split("/")
    try:
        sizes = [len(segment.encode("utf-8")) for segment in segments]
    except UnicodeEncodeError as error:
        raise InvalidError(f"file {path!a}: a file path is UTF-8 text") from error
    if "" in segments:
        why = "it has an empty segment"
    elif "." in segments or ".." in segments:
        why = "it has a segment . or .."
    elif CONTROL.search(path):
        why = "it has a control character"
    elif max(sizes) > MAX_SEGMENT:
        why = f"a segment is longer than {MAX_SEGMENT} bytes"
    elif sum(sizes) + len(sizes) - 1 > MAX_PATH:
        why = f"it is longer than {MAX_PATH} bytes"
    else:
        return path
    raise InvalidError(f"file {shown(path)!r} cannot be deployed: {why}")


def is_path(path: str) -> bool:
    """Return whether a file's path keeps the contract."""
    try:
        check_path(path)
    except InvalidError:
        return False
    return True


@dataclass(frozen=True)
class TreeKey:
    """A key of the tree: the policy of a project (``path`` None) or one of its files."""

    host: str
    project: str
    path: str | None = None


class Tree:
    """Builds and parses the keys below one prefix and of the trees beside it."""

    def __init__(self, prefix: str = PREFIX) -> None:
        """Raise InvalidError for a prefix that breaks the contract."""
        self.prefix = check_prefix(prefix)
        self.root = self.prefix + "/"
        self.status_root = self.prefix + ".status/"
        self.agent_root = self.prefix + ".agents/"
        self.source_root = self.prefix + ".sources/"
        # What deployments, agents and event sources write themselves.
        self.reports = (self.status_root, self.agent_root, self.source_root)

    def host(self, host: str) -> str:
        """Return the prefix of a host, with the slash that keeps web01 apart from web010."""
        return f"{self.root}{check_name('host', host)}/"

    def project(self, host: str, project: str) -> str:
        """Return the prefix of a project on a host."""
        return f"{self.host(host)}{check_name('project', project)}/"

    def policy(self, host: str, project: str) -> str:
        """Return the key of a policy."""
        return self.project(host, project) + "config"

    def file(self, host: str, project: str, path: str) -> str:
        """Return the key of a file."""
        return f"{self.project(host, project)}config.d/{check_path(path)}"

    def variables(self, host: str, project: str) -> str:
        """Return the prefix of the values that a project's templates see."""
        return self.project(host, project) + "vars/"

    def is_variable(self, key: bytes) -> bool:
        """Return whether a key holds a value for the templates of its project."""
        parts = key[len(self.root.encode()) :].split(b"/", 3)
        return self.owner(key) is not None and len(parts) == 4 and parts[2] == b"vars" and bool(parts[3])

    def check_watch(self, prefixes: Iterable[str], where: str) -> None:
        """Raise InvalidError, beginning with ``where``, when a policy watches what deployments themselves write."""
        for prefix in prefixes:
            if f"{prefix.rstrip('/')}/".startswith(self.reports):
                raise InvalidError(
                    f"{where}: policy field watch has {shown(prefix)}, which agents, deployments and sources write;"
                    " allowed are prefixes elsewhere"
                )

    def status(self, host: str, project: str) -> str:
        """Return the key of the outcome of a project on a host."""
        return f"{self.status_root}{check_name('host', host)}/{check_name('project', project)}"

    def agent(self, host: str) -> str:
        """Return the key of a live agent."""
        return self.agent_root + check_name("host", host)

    def source(self, name: str, key: str = "") -> str:
        """Return a key that event sources of one name share, such as their ``lock``; without one, their prefix."""
        return f"{self.source_root}{check_name('standby', name)}/{key}"

    def key(self, key: TreeKey) -> str:
        """Return the key string of a parsed key."""
        if key.path is None:
            return self.policy(key.host, key.project)
        return self.file(key.host, key.project, key.path)

    def owner(self, key: bytes) -> tuple[str, str] | None:
        """Return the host and project that a key is below; None when their names break the contract."""
        root = self.root.encode()
        parts = key[len(root) :].split(b"/", 2)
        if not key.startswith(root) or len(parts) < 3:
            return None
        host, project = (part.decode("utf-8", "replace") for part in parts[:2])
        return (host, project) if is_name(host) and is_name(project) else None

    def parse(self, key: bytes) -> TreeKey | None:
        """Return what a key means; None for a key that is not ours.

        Raise InvalidError, naming the key, for one that looks like ours and breaks the contract.
        """
        root = self.root.encode()
        if not key.startswith(root):
            return None
        host, slash, rest = key[len(root) :].partition(b"/")
        project, slash2, rest = rest.partition(b"/")
        is_file = rest.startswith(b"config.d/")
        if not slash or not slash2 or not (is_file or rest == b"config"):
            return None
        try:
            names = check_name("host", host.decode()), check_name("project", project.decode())
            return TreeKey(*names, check_path(rest[len(b"config.d/") :].decode()) if is_file else None)
        except (UnicodeDecodeError, InvalidError) as error:
            why = str(error) if isinstance(error, InvalidError) else "it is not UTF-8 text"
            raise InvalidError(f"key {shown(key)}: {why}") from error
