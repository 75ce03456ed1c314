# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does with a parcel: all its projects, side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .apply import deploy
from .ledger import State
from .model import Outcome, Project
from .parcel import Parcel
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
