# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is published and how far hosts have deployed it, as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .keys import CONTROL, Tree, check_name, is_name
from .model import Project
from .report import parse_status
from .snapshot import projects as read_projects
from .snapshot import strays
from .store import Store

HEADER = ("HOST", "PROJECT", "STATE", "WANTED", "APPLIED", "WHEN", "MESSAGE")
MAX_MESSAGE = 200  # characters of a message in the table


def overview(
    store: Store, tree: Tree, *, hosts: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the ``project_info`` module's result. Raise InvalidError or StoreError."""
    for host in hosts or ():
        check_name("host", host)
    listing = store.list(tree.host(hosts[0]) if hosts and len(hosts) == 1 else tree.root)
    found = read_projects(tree, listing)
    statuses = read_statuses(store, tree)
    owners = sorted({*found, *statuses})
    entries = [
        _entry(*owner, found.get(owner), statuses.get(owner, {}))
        for owner in owners
        if (hosts is None or owner[0] in hosts) and (names is None or owner[1] in names)
    ]
    result = {"changed": False, "revision": listing.revision, "projects": entries, "table": table(entries)}
    bad = strays(tree, (item.key for item in listing.items))
    return {**result, "warnings": list(bad.values())} if bad else result


def read_statuses(store: Store, tree: Tree, *, revision: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the statuses by host and project, at a revision (0: now); what is none is left out. Raise StoreError."""
    root = tree.status_root.encode()
    found = {}
    for item in store.list(tree.status_root, revision=revision).items:
        owner = item.key[len(root) :].decode("utf-8", "replace").split("/")
        status = parse_status(item.value)
        if len(owner) == 2 and all(map(is_name, owner)) and "state" in status:
            found[(owner[0], owner[1])] = status
    return found


def _entry(host: str, name: str, project: Project | None, status: dict[str, Any]) -> dict[str, Any]:
    project = project or Project(host, name, 0, 0)
    problems = [*([project.policy_error] if project.policy_error else []), *project.rejected.values()]
    return {
        "host": host,
        "project": name,
        "policy": project.policy.to_data() if project.policy else {},
        "files": [
            {"path": path, "size": file.size, "digest": file.digest} for path, file in sorted(project.files.items())
        ],
        "problems": problems,
        "newest": project.newest,
        "state": state_of(project, status),
        "status": status,
    }


def state_of(project: Project, status: dict[str, Any]) -> str:
    """Return the state to show: what the host said, ``pending`` if the tree has moved on, ``new`` if it said nothing.

    A key that was deleted leaves no revision behind, so the files themselves are compared, too.
    """
    same = status.get("digest") == project.digest
    return seen_state(status, newest=project.newest, exists=project.exists, same=same)


def seen_state(status: Mapping[str, Any], *, newest: int, exists: bool, same: bool) -> str:
    """Return the state to show of a status, where the tree has the project's files as ``same`` says."""
    if not status:
        return "new"
    moved_on = newest > status["wantedRevision"] or (exists and not same)
    gone = not exists and status["state"] != "removed"
    return "pending" if moved_on or gone else str(status["state"])


def table(entries: Iterable[dict[str, Any]]) -> list[str]:
    """Return the entries as the lines of a table."""
    return aligned([HEADER, *(_row(entry) for entry in entries)])


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, columns aligned; each cell fits into its line, whatever it holds."""
    clean = [[CONTROL.sub(" ", cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean)][:-1]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in clean]


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    status = entry["status"]
    said = str(status.get("msg") or "")
    message = "; ".join(filter(None, [said, *(problem for problem in entry["problems"] if problem not in said)]))
    wanted = max(entry["newest"], int(status.get("wantedRevision", 0)))
    return (
        entry["host"],
        entry["project"],
        entry["state"],
        str(wanted or "-"),
        str(status.get("revision") or "-"),
        str(status.get("finishedAt") or "-"),
        message[:MAX_MESSAGE],
    )
