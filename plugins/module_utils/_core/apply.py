# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment of one project: plan, stage, check, before, back up, swap, after, report."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import replace

from . import disk
from .deployment import FAILURES, Deployment
from .ledger import State
from .model import File, Ledger, Outcome, Project
from .outcomes import Words
from .plan import MASS, Evidence
from .policy import Policy
from .rules import Rules


def deploy(
    project: Project,
    state: State,
    *,
    evidence: Evidence | None = None,
    check: bool = False,
    diff: bool = False,
    rules: Rules | None = None,
    remember: bool = False,
    retry: bool = False,
) -> Outcome:
    """Make the disk agree with the project and return what came of it; nothing is raised for a failure.

    With ``check`` nothing is touched and the outcome tells what would be done. With ``diff`` it
    holds the differences of the files. ``rules`` are what this host allows. With ``remember`` the
    ledger keeps an outcome whose callback is due until `State.told`. ``retry`` promises that a failure
    is tried again when the outcome says so.
    """
    words = Words(project, whole=True, diff=diff, remember=remember, retry=retry)
    work = Deployment(project, state, evidence or Evidence(), rules, words)
    try:
        with contextlib.nullcontext() if check else state.lock(project.name):
            work.begin(state.load(project.host, project.name))
            return work.preview() if check else work.carry_out()
    except FAILURES as error:
        return work.failed(error)


def deploy_part(
    project: Project,
    paths: Collection[str],
    state: State,
    *,
    check: bool = False,
    rules: Rules | None = None,
    remember: bool = False,
    retry: bool = False,
) -> Outcome | None:
    """Deploy only what the tree has at some paths, at a cost that does not grow with the project's other files.

    ``project`` holds those of the paths that the tree has. The outcome says neither digest nor number
    of files, which are the whole project's. Return None, with nothing done, when a part says too little
    to judge: `deploy` the whole project then. With ``check`` nothing is touched.
    """
    policy = project.policy
    gone = sum(path not in project.files for path in paths)
    if policy is None or policy.check_cmd or policy.files is not None or project.rejected or gone > MASS:
        return None
    work = Deployment(project, state, Evidence(), rules, Words(project, whole=False, remember=remember, retry=retry))
    try:
        with contextlib.nullcontext() if check else state.lock(project.name):
            ledger = state.part(project.host, project.name, paths)
            if ledger is None or not _continues(project, ledger, policy):
                return None
            work.project, ledger = _with_backups(project, paths, ledger)
            work.begin(ledger)
            return work.preview() if check else work.carry_out()
    except FAILURES as error:
        return work.failed(error)


def _with_backups(project: Project, paths: Collection[str], ledger: Ledger) -> tuple[Project, Ledger]:
    """Return both with those of the other files that are from a backup: the outcome has to tell of them.

    Where such a file is not what it was, it is left out like all others: a part repairs nothing.
    """
    beside = {place: owned for place, owned in ledger.files.items() if place[1] not in paths}
    drifted = {place for place, owned in beside.items() if disk.inspect(place).digest != owned.restored}
    backups = {place[1]: File(owned.digest, 0) for place, owned in beside.items() if place not in drifted}
    known = {place: owned for place, owned in ledger.files.items() if place not in drifted}
    return replace(project, files={**project.files, **backups}), replace(ledger, files=known)


def _continues(project: Project, ledger: Ledger, policy: Policy) -> bool:
    """Return whether all is well with what was deployed last, and only files have changed since."""
    settled = not (ledger.journal or ledger.owed is not None or ledger.problem or ledger.attempts)
    older = ledger.cluster_id == project.cluster_id and ledger.revision <= project.revision
    return settled and older and ledger.policy == policy.to_data()
