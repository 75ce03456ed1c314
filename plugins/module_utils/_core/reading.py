# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of the tree as data: a value, a policy, a project, a host."""

from __future__ import annotations

import base64 as codec
from collections.abc import Mapping
from typing import Any

from .errors import InvalidError
from .keys import CONTROL, Tree, check_name, check_path, shown
from .model import Project
from .snapshot import projects as read_projects
from .store import Store


class Missing(InvalidError):
    """The place does not exist; callers with a default take that instead."""


def read(store: Store, tree: Tree, place: str, *, base64: bool = False) -> Any:
    """Return what is at a place: ``host``, ``host/project``, ``host/project/config`` or a file's place below that.

    A place that starts with / is a whole key. Raise Missing, InvalidError or StoreError.
    """
    if CONTROL.search(place):
        raise InvalidError(f"place {shown(place)!r}: it has a control character")
    if place.startswith("/"):
        return _value(store, place, place, base64)
    host, _unused, rest = place.partition("/")
    name, _unused, rest = rest.partition("/")
    check_name("host", host)
    if name or rest:
        check_name("project", name)
    if rest.startswith("config.d/"):
        return _value(store, tree.file(host, name, check_path(rest[len("config.d/") :])), place, base64)
    if rest not in ("", "config"):
        raise InvalidError(f"place {shown(place)!r}: below a project there are config and config.d/<file> only")
    found = {key[1]: project for key, project in _projects(store, tree, host, name).items()}
    if not found:
        raise Missing(f"{shown(place)!r} is not in the tree below {tree.prefix}")
    if rest == "config":
        return _policy(found[name], place)
    if name:
        return _project(found[name], base64)
    return {project: _project(value, base64) for project, value in sorted(found.items())}


def _projects(store: Store, tree: Tree, host: str, name: str) -> Mapping[tuple[str, str], Project]:
    return read_projects(tree, store.list(tree.project(host, name) if name else tree.host(host)))


def _value(store: Store, key: str, place: str, base64: bool) -> str:
    item, _unused = store.get(key)
    if item is None:
        raise Missing(f"{shown(place)!r} is not in the tree (key {shown(key)})")
    return _decoded(item.value, place, base64)


def _decoded(content: bytes, place: str, base64: bool) -> str:
    if base64:
        return codec.b64encode(content).decode("ascii")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidError(
            f"{shown(place)!r} holds {len(content)} bytes that are not UTF-8 text; read it with encoding='base64'"
        ) from None


def _policy(project: Project, place: str) -> dict[str, Any]:
    if project.policy_error:
        raise InvalidError(project.policy_error)
    if project.policy is None:
        raise Missing(f"{shown(place)!r} is not in the tree: the project has files, but no policy")
    return project.policy.to_data()


def _project(project: Project, base64: bool) -> dict[str, Any]:
    if project.policy_error:
        raise InvalidError(project.policy_error)
    return {
        "policy": project.policy.to_data() if project.policy else {},
        "files": {
            path: _decoded(file.content or b"", f"{project.host}/{project.name}/config.d/{path}", base64)
            for path, file in sorted(project.files.items())
        },
        "revision": project.newest,
    }
