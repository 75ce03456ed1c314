# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment of one project: plan, stage, check, before, back up, swap, after, report."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Callable

from . import disk
from .diff import differences
from .errors import DeployError, WatcherError
from .hooks import Hooks
from .ledger import State, absolute
from .model import FileChange, Found, Ledger, Outcome, Owned, Place, Project, md5
from .plan import Attributes, Evidence, Plan, Step, acting_policy, make_plan, places
from .policy import Policy
from .transaction import Transaction, doing


def timestamp() -> str:
    """Return the time as statuses and callbacks spell it: UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def deploy(
    project: Project,
    state: State,
    *,
    evidence: Evidence | None = None,
    check: bool = False,
    diff: bool = False,
) -> Outcome:
    """Make the disk agree with the project and return what came of it; nothing is raised for a failure.

    With ``check`` nothing is touched and the outcome tells what would be done. With ``diff`` it
    holds the differences of the files.
    """
    work = _Deployment(project, state, evidence or Evidence(), diff)
    try:
        if check:
            return work.preview()
        with state.lock(project.name):
            return work.carry_out()
    except WatcherError as error:
        return work.outcome("failed", str(error))
    except OSError as error:
        return work.outcome("failed", f"{error.strerror} ({error.filename})")


def attributes_of(policy: Policy) -> Attributes:
    """Return the mode and ids that a policy asks for; DeployError when the host has no such user or group."""
    return Attributes(
        policy.mode,
        _number(policy.owner, "owner", lambda name: pwd.getpwnam(name).pw_uid),
        _number(policy.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str, field: str, find: Callable[[str], int]) -> int | None:
    if not name:
        return None
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise DeployError(f"policy field {field} is {name!r}, which this host does not have") from None


class _Deployment:
    """The course of one deployment."""

    def __init__(self, project: Project, state: State, evidence: Evidence, diff: bool) -> None:
        self.project, self.state, self.evidence, self.diff = project, state, evidence, diff
        self.started = timestamp()
        self.ledger = Ledger(project.host, project.name)
        self.policy: Policy | None = project.policy
        self.attributes = Attributes()

    def observe(self) -> Mapping[Place, Found]:
        """Read the ledger and what is on disk at every place that matters."""
        self.ledger = self.state.load(self.project.host, self.project.name)
        self.policy = acting_policy(self.project, self.ledger)
        if self.policy is not None:
            self.attributes = attributes_of(self.policy)
        return {place: disk.inspect(place) for place in places(self.project, self.ledger)}

    def plan(self, found: Mapping[Place, Found]) -> Plan:
        """Return the plan."""
        others = self.state.taken(self.project.name)
        here = list(found)
        taken = {place: others[path] for place, path in zip(here, absolute(here)) if path in others}
        return make_plan(self.project, self.ledger, found, taken, self.attributes, self.evidence)

    def preview(self) -> Outcome:
        """Say what would be done."""
        plan = self.plan(self.observe())
        return self.described(plan, _needs(plan) if self.diff else [])

    def carry_out(self) -> Outcome:
        """Do it, if anything has to be done."""
        found = self.observe()
        with self.state.lock():
            plan = self.plan(found)
            needs = _needs(plan)
            if not plan.ready or needs:
                return self.described(plan, needs)
            if plan.steps:
                self._save(replace(self.ledger, claims=_creates(plan)))
        if plan.steps or self.ledger.owed is not None:
            return self._execute(plan)
        self._settle(plan, self.ledger.folders, owed=None)
        return self.described(plan)

    def _execute(self, plan: Plan) -> Outcome:
        assert plan.policy is not None
        keep = plan.policy.deploy_path if self.project.exists else ""
        described = self.described(plan)  # now: differences are gone once the files are swapped
        changed = sorted({*[step.path for step in plan.steps], *(self.ledger.owed or ())})
        hooks = Hooks(self.project, plan.policy, changed)
        work = Transaction(plan.policy, self.attributes, self.project.revision, datetime.now())
        try:
            work.stage(plan.steps)
            hooks.run_check(self.state.folder(self.project.name) + "/staged")
            hooks.run_before()
            work.back_up(plan.steps)
            # Should this process die from here on, the commands are still owed.
            self._save(replace(self.ledger, claims=_creates(plan), owed=changed))
            work.swap(plan.steps)
        except DeployError as error:
            return self._ended(described, hooks, "failed", str(error) + self._undo(work))
        described = replace(described, changes=self._changes(plan, work.backups))
        try:
            hooks.run_after()
        except DeployError as error:
            if plan.steps and plan.policy.on_failure == "rollback":
                return self._roll_back(described, hooks, work, str(error))
            self._settle(plan, work.finish(self.ledger.folders, keep), owed=changed)
            return self._ended(described, hooks, "failed", f"{error}; the new files stay")
        self._settle(plan, work.finish(self.ledger.folders, keep), owed=None)
        return self._ended(described, hooks, plan.state, "")

    def _undo(self, work: Transaction) -> str:
        """Bring the old files back and note the failure; return what to add to the message."""
        problems = work.undo()
        self._save(replace(self.ledger, claims=(), attempts=self.ledger.attempts + 1))
        return f"; AND THE OLD FILES COULD NOT ALL BE RESTORED: {'; '.join(problems)}" if problems else ""

    def _roll_back(self, described: Outcome, hooks: Hooks, work: Transaction, why: str) -> Outcome:
        problems = self._undo(work)
        again = hooks.run_after_again(self.ledger.settled)
        second = f", but it failed again: {again.problem}" if again.problem else " and it succeeded"
        described = replace(described, changes=[replace(change, backup=None) for change in described.changes])
        state, files = ("failed", problems) if problems else ("rolledBack", "; the previous files are back")
        return self._ended(described, hooks, state, f"{why}{files}; afterCmd was run once more{second}")

    def _settle(self, plan: Plan, folders: Sequence[Place], owed: Sequence[str] | None) -> None:
        """Write what is true now: the files that are ours, and whether their commands are still owed."""
        assert plan.policy is not None
        mine = {(plan.policy.deploy_path, path): Owned(file.digest) for path, file in self.project.files.items()}
        settled = replace(
            self.ledger,
            cluster_id=self.project.cluster_id,
            revision=self.project.revision,
            settled=self.project.revision if owed is None else self.ledger.settled,
            policy=plan.policy.to_data(),
            files={**plan.keep, **mine},
            claims=(),
            folders=tuple(folders),
            owed=owed,
            attempts=0 if owed is None else self.ledger.attempts + 1,
        )
        if settled != self.ledger:
            self._save(settled)
        self.ledger = settled

    def _save(self, ledger: Ledger) -> None:
        with doing("cannot write the ledger"):
            self.state.save(ledger)

    def _changes(self, plan: Plan, backups: Mapping[Place, str]) -> list[FileChange]:
        """Return what the callback lists; the old place of a file that moved is not a change of its own."""
        steps = [step for step in plan.steps if step.kind != "delete" or step.path not in self.project.files]
        return [FileChange(step.path, _action(step), _md5(step), backups.get(step.place)) for step in steps]

    def _ended(self, described: Outcome, hooks: Hooks, state: str, why: str) -> Outcome:
        return replace(
            described,
            state=state,
            msg=self._located(why) if why else "; ".join(described.notes),
            revision=self.ledger.settled,
            ran=True,
            before=hooks.before,
            after=hooks.after,
            check=hooks.check,
            finished=timestamp(),
        )

    def described(self, plan: Plan, needs: Sequence[str] = ()) -> Outcome:
        """Return the plan as an outcome of something not begun."""
        ready = plan.ready and not needs
        return replace(
            self.outcome(plan.state, plan.msg or "; ".join(plan.notes), needs),
            changes=self._changes(plan, {}) if ready else (),
            notes=plan.notes,
            asks=plan.asks,
            diff=differences(plan.steps) if self.diff and ready else (),
        )

    def outcome(self, state: str, msg: str = "", needs: Sequence[str] = ()) -> Outcome:
        """Return an outcome of this deployment with nothing done."""
        return Outcome(
            self.project.host,
            self.project.name,
            state,
            self.ledger.settled,
            self.project.revision,
            self.project.digest,
            len(self.project.files),
            self._located(msg) if msg else "",
            deploy_path=self.policy.deploy_path if self.policy else "",
            callback=self.policy.callback if self.policy else "",
            started=self.started,
            finished=timestamp(),
            attempts=self.ledger.attempts + 1,
            needs=list(needs),
        )

    def _located(self, text: str) -> str:
        return text if text.startswith("host ") else f"{self.project.where}: {text}"


def _needs(plan: Plan) -> list[str]:
    """Return the files that have to be written and whose contents have not been sent."""
    writes = [step for step in plan.steps if step.kind in ("create", "set")]
    return [step.path for step in writes if step.file is None or step.file.content is None]


def _creates(plan: Plan) -> tuple[Place, ...]:
    return tuple(step.place for step in plan.steps if step.kind == "create")


def _action(step: Step) -> str:
    return "set" if step.kind == "mode" else step.kind


def _md5(step: Step) -> str:
    if step.kind == "mode":
        return md5(disk.read(step.place))
    return md5(step.file.content) if step.file is not None and step.file.content is not None else ""
