# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy policy of a project: the value of its key ``config`` (contract, section 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from .errors import InvalidError
from .keys import CONTROL, check_path, check_prefix

MAX_VALUE = 1 << 20  # bytes of one value of the tree
MAX_WATCHED = 16  # prefixes of one policy; an agent keeps a watch for each
MAX_TIMEOUT = 86400  # seconds; a command that needs a day is not a deploy hook
NULLABLE = ("backupDir", "beforeCmd", "afterCmd", "callback")  # the old daemon took null for empty
SUFFIX = ".j2"  # of the files that are templates where the policy says ``render``; what they make has it not
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or re.search(r"[\0\ud800-\udfff]", value):
        raise ValueError("text without NUL characters and lone surrogates")
    return value


def normal_path(text: str) -> str | None:
    """Return an absolute path without repeated slashes; None unless it is one, without . and .. in it."""
    segments = [segment for segment in text.split("/") if segment]
    if not text.startswith("/") or CONTROL.search(text) or "." in segments or ".." in segments:
        return None
    return "/" + "/".join(segments)


def is_url(text: str) -> bool:
    """Return whether a text is an http or https URL."""
    if CONTROL.search(text) or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _path(value: Any) -> str:
    path = normal_path(value) if isinstance(value, str) else None
    if path is None:
        raise ValueError("an absolute path without . or .. segments and control characters")
    return path


def _path_or_empty(value: Any) -> str:
    return "" if value == "" else _path(value)


def _url(value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not is_url(value):
        raise ValueError("an http:// or https:// URL, or empty")
    return value


def _mode(value: Any) -> int | None:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3,4}", value):
        raise ValueError('octal digits in quotes, such as "0644"')
    return int(value, 8)


def _owner(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?|", value):
        raise ValueError("a name or number in quotes")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_TIMEOUT:
        raise ValueError(f"seconds, more than 0 and at most {MAX_TIMEOUT}")
    return float(value)


def _on_failure(value: Any) -> str:
    if value not in ("rollback", "keep"):
        raise ValueError("rollback or keep")
    return str(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _prefixes(value: Any) -> tuple[str, ...]:
    allowed = f"a list of at most {MAX_WATCHED} key prefixes, such as /services"
    if not isinstance(value, list) or len(value) > MAX_WATCHED or not all(isinstance(item, str) for item in value):
        raise ValueError(allowed)
    for item in value:
        if not item.strip("/"):
            raise ValueError(f"{allowed}, and not the whole store")
        try:
            check_prefix(item[:-1] if item.endswith("/") else item)
        except InvalidError as error:
            raise ValueError(f"{allowed} ({error})") from error
    return tuple(value)


def _manifest(value: Any) -> Mapping[str, str] | None:
    allowed = 'an object of file paths and digests, such as {"ngx.conf": "sha256:<64 hex digits>"}'
    if not isinstance(value, dict):
        raise ValueError(allowed)
    for path, digest in value.items():
        try:
            check_path(path)
        except InvalidError as error:
            raise ValueError(f"{allowed} ({error})") from error
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise ValueError(allowed)
    return dict(value)


@dataclass(frozen=True)
class Policy:
    """A valid policy; attributes are the contract's fields in snake case."""

    deploy_path: str = field(metadata={"check": _path})
    backup_dir: str = field(default="", metadata={"check": _path_or_empty})
    before_cmd: str = field(default="", metadata={"check": _text})
    after_cmd: str = field(default="", metadata={"check": _text})
    callback: str = field(default="", metadata={"check": _url})
    check_cmd: str = field(default="", metadata={"check": _text})
    mode: int | None = field(default=None, metadata={"check": _mode})
    dir_mode: int | None = field(default=None, metadata={"check": _mode})
    owner: str = field(default="", metadata={"check": _owner})
    group: str = field(default="", metadata={"check": _owner})
    cmd_timeout: float = field(default=30.0, metadata={"check": _seconds})
    on_failure: str = field(default="rollback", metadata={"check": _on_failure})
    keep_backups: int = field(default=10, metadata={"check": _count})
    render: bool = field(default=False, metadata={"check": _bool})
    watch: tuple[str, ...] = field(default=(), metadata={"check": _prefixes})
    files: Mapping[str, str] | None = field(default=None, metadata={"check": _manifest}, hash=False)

    @classmethod
    def parse(cls, value: bytes, where: str) -> Policy:
        """Return the policy that a value holds.

        Raise InvalidError, beginning with ``where`` (host, project, key), that names the field,
        what was found and what is allowed.
        """
        if len(value) > MAX_VALUE:
            raise InvalidError(f"{where}: the policy has {len(value)} bytes, allowed are {MAX_VALUE}")
        try:
            data = json.loads(value.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidError(f"{where}: the policy is not JSON ({error}); allowed is an object of fields") from error
        return cls.from_data(data, where)

    @classmethod
    def from_data(cls, data: Any, where: str) -> Policy:
        """Return the policy of decoded JSON; raise InvalidError as `parse` does."""
        if not isinstance(data, dict):
            raise InvalidError(f"{where}: the policy is {_found(data)}; allowed is an object of fields")
        checks = {json_name(item.name): (item.name, item.metadata["check"]) for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name not in checks:
                raise InvalidError(f"{where}: unknown policy field {_found(name)}; allowed are {', '.join(checks)}")
            attribute, check = checks[name]
            if value is None and name in NULLABLE:
                continue
            try:
                values[attribute] = check(value)
            except ValueError as error:
                raise InvalidError(f"{where}: policy field {name} is {_found(value)}; allowed is {error}") from error
        if "deploy_path" not in values:
            raise InvalidError(f"{where}: policy field deployPath is missing; allowed is an absolute path")
        return cls(**values)

    @property
    def commands(self) -> dict[str, str]:
        """Return the commands that there are, by their fields' names, in the order in which they run."""
        commands = {"checkCmd": self.check_cmd, "beforeCmd": self.before_cmd, "afterCmd": self.after_cmd}
        return {name: command for name, command in commands.items() if command}

    def to_data(self) -> dict[str, Any]:
        """Return the policy as JSON data for `from_data`, without what is default and without the manifest."""
        return dict(self._data)

    @cached_property
    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default or item.name == "files":
                continue
            if item.name in ("mode", "dir_mode"):
                value = f"{value:04o}"
            data[json_name(item.name)] = list(value) if isinstance(value, tuple) else value
        return data


def json_name(attribute: str) -> str:
    """Return the contract's name of an attribute: ``deploy_path`` -> ``deployPath``."""
    head, *tail = attribute.split("_")
    return head + "".join(part.capitalize() for part in tail)


def encode(data: Mapping[str, Any]) -> bytes:
    """Return the one spelling of a policy in the tree, so that equal policies are equal bytes."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8")


def _found(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except (RecursionError, ValueError):
        return "something nested too deeply"
    return text if len(text) <= 80 else text[:77] + "..."


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in pairs:
        if name in data:
            raise ValueError(f"field {_found(name)} stands there twice")
        data[name] = value
    return data
