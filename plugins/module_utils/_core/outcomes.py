# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment says of itself, and what the ledger remembers of that."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from . import disk
from .clock import timestamp
from .diff import differences
from .errors import InvalidError
from .hooks import Hooks
from .model import FileChange, Ledger, Outcome, Place, Project, md5
from .plan import Plan
from .policy import Policy
from .steps import Step

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # seconds until a failed deployment is tried again; doubled each time
JITTER = (0.8, 1.2)  # hosts that fail together do not come back together


def pause(failures: int) -> float:
    """Return the seconds until the next try of a project that has failed so many times."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 20)) * random.uniform(*JITTER)  # noqa: S311


class Words:
    """Finds the words for one deployment of one project."""

    def __init__(
        self, project: Project, *, whole: bool, diff: bool = False, remember: bool = False, retry: bool = False
    ) -> None:
        """``whole``: the project is all of it; else digest and number of files are left to who knows the whole.

        With ``diff`` outcomes hold the differences of the files, with ``remember`` the ledger keeps those
        whose callback is due. ``retry``: whoever deploys tries a failure again, at the time that the outcome says.
        """
        self._project, self._whole, self.diff, self._remember, self._retry = project, whole, diff, remember, retry
        self.failures = 0  # since the project was deployed, or changed in the tree
        self._started = timestamp()
        self._shown: Sequence[Mapping[str, str]] = ()

    def begin(self, ledger: Ledger) -> None:
        """Take the ledger that a deployment starts with."""
        self.failures = 0 if self._project.newest > ledger.observed else ledger.attempts

    def outcome(
        self, ledger: Ledger, policy: Policy | None, state: str, msg: str = "", needs: Sequence[str] = ()
    ) -> Outcome:
        """Return an outcome with nothing done; ``policy`` is the acting one, if that is known."""
        known = ledger.policy or {}  # where the tree's policy is bad, its receiver still wants to know
        return Outcome(
            self._project.host,
            self._project.name,
            state,
            ledger.settled,
            self._project.revision,
            self._project.digest if self._whole else "",
            len(self._project.files) if self._whole else 0,
            self._located(msg) if msg else "",
            deploy_path=policy.deploy_path if policy else "",
            callback=policy.callback if policy else str(known.get("callback", "")),
            started=self._started,
            finished=timestamp(),
            attempts=self.failures + 1,
            due=self._due(state),
            needs=list(needs),
        )

    def _due(self, state: str) -> str:
        """Return when a deployment that ended so is tried again; empty when nobody has that in mind."""
        is_due = self._retry and state in ("failed", "rolledBack")
        return timestamp(time.time() + pause(self.failures + 1)) if is_due else ""

    def show(self, plan: Plan) -> None:
        """Take the differences of the files, if they are asked for: they are gone once the files are swapped."""
        if self.diff:
            self._shown = differences(plan.steps)

    def described(
        self,
        plan: Plan,
        ledger: Ledger,
        policy: Policy | None,
        needs: Sequence[str] = (),
        backups: Mapping[Place, str] | None = None,
    ) -> Outcome:
        """Return the plan as an outcome of something not begun."""
        return replace(
            self.outcome(ledger, policy, plan.state, plan.msg or "; ".join(plan.notes), needs),
            changes=self._changes(plan, backups or {}) if plan.ready and not needs else (),
            notes=plan.notes,
            asks=plan.asks,
            since=ledger.revision,
            diff=self._shown,
        )

    def _changes(self, plan: Plan, backups: Mapping[Place, str]) -> list[FileChange]:
        """Return what the callback lists; the old place of a file that moved is not a change of its own."""
        steps = [step for step in plan.steps if step.kind != "delete" or step.path not in self._project.files]
        return [FileChange(step.path, _action(step), _md5(step), backups.get(step.place)) for step in steps]

    def ended(self, described: Outcome, hooks: Hooks, state: str, why: str, settled: int) -> Outcome:
        """Return the outcome of something that was begun; ``settled`` is the revision that the host is at now."""
        return replace(
            described,
            state=state,
            due=self._due(state),
            msg=self._located(why) if why else described.msg,
            revision=settled,
            ran=True,
            before=hooks.before,
            after=hooks.after,
            check=hooks.check,
            finished=timestamp(),
        )

    def noted(self, ledger: Ledger, outcome: Outcome) -> Ledger:
        """Return the ledger with what an outcome means for the next time.

        A try that somebody else has planned, an agent beside a playbook run, stays planned.
        """
        stuck = outcome.failed or outcome.state in ("held", "waiting")
        due = self._remember and outcome.callback and (outcome.ran or outcome.failed)
        untold = outcome.to_json() if due else ledger.untold
        ledger = replace(ledger, observed=self._project.revision, untold=untold)
        if not stuck:
            return ledger.well()
        return replace(
            ledger,
            trouble=outcome.state,
            problem=outcome.msg,
            since=ledger.since or outcome.finished,
            attempts=self.failures + outcome.failed,
            due=outcome.due or (ledger.due if ledger.due > outcome.finished and not self._retry else ""),
        )

    def _located(self, text: str) -> str:
        return text if text.startswith("host ") else f"{self._project.where}: {text}"


def check_answer(outcome: Outcome, host: str, projects: Collection[str] | None) -> None:
    """Raise InvalidError when a host answers for others: for another host, or a project (None: all) not asked for."""
    if outcome.host != host or (projects is not None and outcome.project not in projects):
        raise InvalidError(
            f"host {host}: it answers for project {outcome.project!r} of host {outcome.host!r}, which it was not asked"
        )


def needed(plan: Plan) -> list[str]:
    """Return the files that have to be written and whose contents have not been sent."""
    writes = [step for step in plan.steps if step.kind in ("create", "set")]
    return [step.path for step in writes if step.file is None or step.file.content is None]


def _action(step: Step) -> str:
    return "set" if step.kind == "mode" else step.kind


def _md5(step: Step) -> str:
    if step.kind == "mode":
        return md5(disk.read(step.place))
    return md5(step.file.content) if step.file is not None and step.file.content is not None else ""
