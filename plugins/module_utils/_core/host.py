# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does for a controller: a parcel's projects, side by side; lists of backups; putting one back."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .apply import deploy
from .ledger import State
from .model import Outcome, Project
from .parcel import Parcel
from .policy import MAX_VALUE
from .restore import fetched, listed, projects_with_backups, restore
from .rules import Rules

SIDE_BY_SIDE = 8  # projects of one host at a time; a command that hangs in one must not hold up the others


def deploy_all(
    parcel: Parcel, state: State, *, check: bool = False, diff: bool = False, rules: Rules | None = None
) -> list[Outcome]:
    """Carry out a parcel, as far as the host's rules allow it, and return the outcomes, by project name.

    Raise DeployError when the state folder cannot be read.
    """
    projects = [*parcel.projects, *_gone(parcel, state)]

    def one(project: Project) -> Outcome:
        return deploy(project, state, evidence=parcel.evidence_of(project.name), check=check, diff=diff, rules=rules)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        outcomes = list(pool.map(one, projects))
    return sorted(outcomes, key=lambda outcome: outcome.project)


def _gone(parcel: Parcel, state: State) -> list[Project]:
    """Return the projects that this host remembers and the tree no longer has."""
    there = {project.name for project in parcel.projects}
    gone = []
    for name in state.projects():
        if name in there or not parcel.speaks_of(name):
            continue
        if state.concerns(parcel.host, name):
            gone.append(Project(parcel.host, name, parcel.revision, parcel.cluster_id))
    return gone


def backups_of(state: State, host: str, names: Sequence[str] | None, file: str = "") -> list[dict[str, Any]]:
    """Return the backups of these projects, or of all that keep some, as JSON data; or of one file of theirs.

    Raise InvalidError or DeployError for a project that is named and has none.
    """
    chosen = projects_with_backups(state, host) if names is None else names
    return [{"project": name, **backup.to_json()} for name in chosen for backup in listed(state, host, name, file)]


def put_back(
    state: State,
    host: str,
    project: str,
    wanted: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """Do what the option ``restore`` of the module asks for, and return the answer as JSON data.

    A backup that is to be published is only read: that is the controller's work. Raise InvalidError or DeployError.
    """
    file, name = wanted["file"], wanted.get("backup") or ""
    if wanted.get("publish"):
        backup, content = fetched(state, host, project, file, name, MAX_VALUE)
        return {"backup": backup.to_json(), "content": base64.b64encode(content).decode()}
    return restore(state, host, project, file, name, check=check, diff=diff, rules=rules).to_json()
