# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the tree, what is published for them and how far they are; without reading one file's content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from .errors import CompactedError, InvalidError
from .keys import Tree, is_name, shown
from .overview import read_statuses, seen_state
from .policy import Policy
from .snapshot import above
from .store import KeyValue, Store
from .tracker import misread_host

TRIES = 3  # one read takes three lists at one revision, which may be compacted meanwhile
MAX_TEXT = 1000  # characters of a text that a host wrote
MAX_NUMBER = 1 << 63
FAILED, LAGGING, IN_SYNC = STATES = ("failed", "lagging", "in_sync")  # the worst first
SETTLED = {"failed": FAILED, "rolledBack": FAILED, "deployed": IN_SYNC, "removed": IN_SYNC}

NUMBERS = {"revision": "revision", "wanted_revision": "wantedRevision", "attempts": "attempts"}
TEXTS = {"msg": "msg", "by": "by", "version": "version", "finished_at": "finishedAt"}
AGENT_NUMBERS = {"pid": "pid", "revision": "revision"}
AGENT_TEXTS = {"version": "version", "started": "started"}

Owner = tuple[str, str]  # host and project


@dataclass
class Published:
    """What the keys of one project say by themselves."""

    exists: bool = False
    newest: int = 0
    newest_value: int = 0  # of the values that templates see
    paths: list[str] = field(default_factory=list)

    def files(self) -> int:
        """Return how many files can be deployed: a disk cannot hold a file and others below its path."""
        there = set(self.paths)
        return sum(1 for path in self.paths if "/" not in path or there.isdisjoint(above(path)))


def read_fleet(store: Store, tree: Tree) -> dict[str, Any]:
    """Return ``hosts`` by name, each with ``state``, ``projects``, ``agent`` and ``gone``, and ``warnings``; JSON data.

    ``agent`` is None without a live one, which is ``gone`` when the host's projects wait for it. Raise StoreError.
    """
    for _unused in range(TRIES - 1):
        try:
            return _read(store, tree)
        except CompactedError:
            continue
    return _read(store, tree)


def _read(store: Store, tree: Tree) -> dict[str, Any]:
    listing = store.list(tree.root, keys_only=True)
    found, bad = _published(tree, listing.items)
    statuses = read_statuses(store, tree, revision=listing.revision)
    agents = _agents(tree, store.list(tree.agent_root, revision=listing.revision).items)
    names = sorted({*(host for host, _name in (*found, *statuses)), *agents})
    hosts: dict[str, Any] = {
        host: {"projects": {}, "agent": agents.get(host)} for host in names if not misread_host(host)
    }
    for owner in sorted({*found, *statuses}):
        entry = _entry(store, tree, owner, found.get(owner, Published()), statuses.get(owner, {}))
        if entry and owner[0] in hosts:
            hosts[owner[0]]["projects"][owner[1]] = entry
    for host in hosts.values():
        host["state"] = worst(host["projects"].values())
        host["gone"] = host["agent"] is None and _by_agent(host["projects"].values())
    warnings = _warnings(bad, [host for host in names if misread_host(host)])
    if not names:
        warnings.append(f"{tree.prefix} has no hosts: publish a project, or correct the prefix or the endpoints")
    return {"hosts": hosts, "warnings": warnings}


def worst(projects: Iterable[Mapping[str, Any]]) -> str:
    """Return the worst state of projects; in sync without any."""
    states = {project["state"] for project in projects}
    return next((state for state in STATES if state in states), IN_SYNC)


def groups(hosts: Mapping[str, Any], safe: Callable[[str], str]) -> dict[str, list[str]]:
    """Return the hosts by group; ``safe`` makes the name of a group. Those of states are there without hosts, too."""
    found: dict[str, list[str]] = {f"watcher_{name}": [] for name in (*STATES, "agent_alive", "agent_gone")}
    by_project: dict[str, list[str]] = {}
    for name, host in hosts.items():
        found[f"watcher_{host['state']}"].append(name)
        if host["agent"] is not None:
            found["watcher_agent_alive"].append(name)
        elif host["gone"]:
            found["watcher_agent_gone"].append(name)
        for project in host["projects"]:
            by_project.setdefault(project, []).append(name)
    for project in sorted(by_project):
        found.setdefault(safe(f"watcher_project_{project}"), []).extend(by_project[project])
    return found


def _published(tree: Tree, items: Iterable[KeyValue]) -> tuple[dict[Owner, Published], list[str]]:
    """Return the projects of keys, and what is wrong with those that break the contract."""
    found: dict[Owner, Published] = {}
    bad = []
    for item in items:
        try:
            key = tree.parse(item.key)
        except InvalidError as error:
            bad.append(str(error))
            key = None
        owner = (key.host, key.project) if key else tree.owner(item.key)
        if owner is None:
            continue
        project = found.get(owner)
        if project is None:
            project = found[owner] = Published()
        if key is not None:
            project.exists, project.newest = True, max(project.newest, item.revision)
            if key.path is not None:
                project.paths.append(key.path)
        elif tree.is_variable(item.key):
            project.newest_value = max(project.newest_value, item.revision)
    return {owner: project for owner, project in found.items() if project.exists}, bad


def _entry(
    store: Store, tree: Tree, owner: Owner, published: Published, status: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return what is to be known of a project; None for one that is neither in the tree nor on the host."""
    files = published.files()
    state = _state(published, status, files)
    if state == IN_SYNC and not published.exists:
        return None
    if state == IN_SYNC and published.newest_value > status["wantedRevision"] and _renders(store, tree, owner):
        state = LAGGING
    entry = {"state": state, "newest": published.newest, "files": files, **_said(status, NUMBERS, TEXTS)}
    return {**entry, **_said(status, {}, {"next_try": "nextTry"})} if status.get("nextTry") else entry


def _state(published: Published, status: Mapping[str, Any], files: int) -> str:
    same = status.get("files") == files  # a key that was deleted leaves no revision behind
    seen = seen_state(status, newest=published.newest, exists=published.exists, same=same)
    return SETTLED.get(seen, LAGGING)


def _renders(store: Store, tree: Tree, owner: Owner) -> bool:
    """Return whether the templates of a project see its values; asked only where that decides."""
    item, _revision = store.get(tree.policy(*owner))
    try:
        return item is not None and Policy.parse(item.value, "policy").render
    except InvalidError:
        return False


def _agents(tree: Tree, items: Iterable[KeyValue]) -> dict[str, dict[str, Any]]:
    """Return what live agents say of themselves; an agent whose words are no JSON is alive all the same."""
    found = {}
    for item in items:
        host = item.key[len(tree.agent_root.encode()) :].decode("utf-8", "replace")
        if is_name(host):
            try:
                data = json.loads(item.value.decode("utf-8"))
            except (ValueError, RecursionError):
                data = {}
            found[host] = _said(data if isinstance(data, dict) else {}, AGENT_NUMBERS, AGENT_TEXTS)
    return found


def _by_agent(projects: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the newest status is an agent's."""
    return max(((project["wanted_revision"], project["by"] == "agent") for project in projects), default=(0, False))[1]


def _said(data: Mapping[str, Any], numbers: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that are what they should be; 0 and nothing for the others."""
    said: dict[str, Any] = {name: _number(data.get(source)) for name, source in numbers.items()}
    said.update({name: _text(data.get(source)) for name, source in texts.items()})
    return said


def _number(value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and -MAX_NUMBER < value < MAX_NUMBER else 0


def _text(value: Any) -> str:
    """Return a text as one line without control characters."""
    if not isinstance(value, str):
        return ""
    return value if value.isprintable() and len(value) <= MAX_TEXT else shown(value[:MAX_TEXT])


def _warnings(bad: list[str], misread: list[str]) -> list[str]:
    said = []
    if bad:
        said.append(f"{len(bad)} keys break the contract and are left out; the first: {bad[0]}")
    if misread:
        names = ", ".join(misread[:10]) + (", ..." if len(misread) > 10 else "")
        said.append(f"{len(misread)} hosts are left out, for Ansible would misread their names; rename them: {names}")
    return said
