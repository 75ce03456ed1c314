# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment of one project: plan, stage, check, before, back up, swap, after, report."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from . import disk, journal
from .clock import timestamp
from .diff import differences
from .errors import DeployError, WatcherError
from .hooks import Hooks
from .journal import doing
from .ledger import State
from .model import FileChange, Ledger, Outcome, Owned, Place, Project, md5
from .plan import Evidence, Plan, Sight, acting_policy, make_plan, renewed
from .policy import Policy
from .sight import attributes_of, look
from .steps import Attributes, Step
from .transaction import Transaction


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
    except UnicodeError as error:  # a locale that is not UTF-8
        return work.outcome("failed", f"this host cannot spell a file name: {error}")


class _Deployment:
    """The course of one deployment."""

    def __init__(self, project: Project, state: State, evidence: Evidence, diff: bool) -> None:
        self.project, self.state, self.evidence, self.diff = project, state, evidence, diff
        self.started = timestamp()
        self.ledger = self.stored = Ledger(project.host, project.name)
        self.policy: Policy | None = project.policy
        self.attributes = Attributes()

    @property
    def _staged(self) -> str:
        """Return the folder in which checkCmd sees the project."""
        return self.state.folder(self.project.name) + "/staged"

    def load(self) -> None:
        """Read the ledger, and what follows from it."""
        self.stored = self.state.load(self.project.host, self.project.name)
        self.ledger = renewed(self.project, self.stored, self.evidence)
        self.policy = acting_policy(self.project, self.ledger)
        if self.policy is not None and self.project.exists:
            self.attributes = attributes_of(self.policy)

    def recover(self) -> None:
        """Undo what a deployment that was killed left half done; its commands stay owed."""
        if not self.ledger.journal:
            return
        shutil.rmtree(self._staged, ignore_errors=True)
        if self.ledger.done:
            left = tuple(journal.clean(self.ledger.journal))
            self._save(replace(self.ledger, journal=left, done=bool(left)))
            return
        problems = journal.undo(self.ledger.journal)
        if problems:
            raise DeployError(f"an interrupted deployment could not be undone: {'; '.join(problems)}")
        self._save(replace(self.ledger, journal=(), claims=()))

    def plan(self, sight: Sight) -> Plan:
        """Return the plan."""
        if any(place not in self.ledger.files for place in sight.found):
            sight = replace(sight, taken=self.state.taken(self.project.name))
        return make_plan(self.project, self.ledger, sight, self.attributes, self.evidence)

    def preview(self) -> Outcome:
        """Say what would be done; ``ran``: whether anything would be attempted."""
        self.load()
        plan = self.plan(look(self.project, self.ledger))
        work = plan.ready and bool(plan.steps or self.ledger.owed is not None)
        return replace(self.described(plan, _needs(plan) if self.diff else []), ran=work)

    def carry_out(self) -> Outcome:
        """Do it, if anything has to be done."""
        self.load()
        self.recover()
        sight = look(self.project, self.ledger)
        with self.state.lock():  # others must not plan for the same paths until ours are claimed
            plan = self.plan(sight)
            needs = _needs(plan)
            if plan.policy is None or not plan.ready or needs:
                self._save(self.ledger)
                return self.described(plan, needs)
            if not plan.steps and self.ledger.owed is None:
                self._save(self._settled(plan, plan.policy, owed=None))
                return self.described(plan)
            work = Transaction(
                plan.policy,
                self.attributes,
                self.project.revision,
                plan.steps,
                self.ledger.folders,
                datetime.now(),
            )
            changed = sorted({*[step.path for step in plan.steps], *(self.ledger.owed or ())})
            self._begin(plan.policy, work, changed)
        return self._execute(plan, plan.policy, work, changed)

    def _begin(self, policy: Policy, work: Transaction, changed: Sequence[str]) -> None:
        """Write down what will be done: should this process die, the next one undoes it and owes the commands."""
        wanted = [(policy.deploy_path, path) for path in self.project.files]
        begun = replace(
            self.ledger,
            claims=tuple(place for place in wanted if place not in self.ledger.files),
            journal=tuple(work.moves),
            owed=changed,
            policy=self.ledger.policy or policy.to_data(),
        )
        with doing("cannot write the ledger"):
            self.state.save(begun)
        self.stored = begun

    def _execute(self, plan: Plan, policy: Policy, work: Transaction, changed: Sequence[str]) -> Outcome:
        described = self.described(plan)  # now: differences are gone once the files are swapped
        hooks = Hooks(self.project, policy, changed)
        try:
            work.stage()
            kept = [path for root, path in plan.keep if root == policy.deploy_path]
            hooks.run_check(self._staged, kept)
            hooks.run_before()
            work.back_up()
            work.swap()
        except DeployError as error:
            return self._ended(described, hooks, "failed", f"{error}{self._given_up(work.undo())}")
        described = replace(described, changes=self._changes(plan, work.backups))
        try:
            hooks.run_after()
        except DeployError as error:
            if plan.steps and policy.on_failure == "rollback":
                return self._roll_back(described, hooks, work, str(error))
            self._keep(self._settled(plan, policy, owed=changed), work)
            return self._ended(described, hooks, "failed", f"{error}; the new files stay")
        self._keep(self._settled(plan, policy, owed=None), work)
        return self._ended(described, hooks, plan.state, "")

    def _given_up(self, problems: Sequence[str]) -> str:
        """Note the failure of a deployment that was undone; return what to add to the message."""
        left = self.stored if problems else self.ledger  # what could not be undone is tried again the next time
        said = [f"; AND THE OLD FILES COULD NOT ALL BE RESTORED: {'; '.join(problems)}"] if problems else []
        attempts = self.ledger.attempts + 1
        try:
            self._save(replace(self.ledger, claims=left.claims, journal=left.journal, attempts=attempts))
        except DeployError as error:
            said.append(f"; and {error}")
        return "".join(said)

    def _roll_back(self, described: Outcome, hooks: Hooks, work: Transaction, why: str) -> Outcome:
        problems = work.undo()
        again = hooks.run_after_again(self.ledger.settled)
        added = self._given_up(problems)
        second = f", but it failed again: {again.problem}" if again.problem else " and it succeeded"
        described = replace(described, changes=[replace(change, backup=None) for change in described.changes])
        state, files = ("failed", added) if problems else ("rolledBack", f"; the previous files are back{added}")
        return self._ended(described, hooks, state, f"{why}{files}; afterCmd was run once more{second}")

    def _settled(self, plan: Plan, policy: Policy, owed: Sequence[str] | None) -> Ledger:
        """Return what is true now: the files that are ours, and whether their commands are still owed."""
        mine = {(policy.deploy_path, path): Owned(file.digest) for path, file in self.project.files.items()}
        return replace(
            self.ledger,
            cluster_id=self.project.cluster_id,
            revision=self.project.revision,
            settled=self.project.revision if owed is None else self.ledger.settled,
            policy=policy.to_data(),
            files={**plan.keep, **mine},
            claims=(),
            owed=owed,
            attempts=0 if owed is None else self.ledger.attempts + 1,
        )

    def _keep(self, settled: Ledger, work: Transaction) -> None:
        """Let the new files stay: from the first line on, nothing undoes them any more."""
        self._save(replace(settled, journal=self.stored.journal, done=True, folders=tuple(work.folders)))
        keep = self.policy.deploy_path if self.policy and self.project.exists else ""
        left = work.finish(keep)
        with contextlib.suppress(DeployError):  # then the next deployment looks for temporary files once more
            self._save(replace(settled, folders=tuple(left), journal=tuple(work.moves), done=bool(work.moves)))

    def _save(self, ledger: Ledger) -> None:
        if ledger != self.stored:
            with doing("cannot write the ledger"):
                self.state.save(ledger)
        self.ledger = self.stored = ledger

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
            since=self.ledger.revision,
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


def _action(step: Step) -> str:
    return "set" if step.kind == "mode" else step.kind


def _md5(step: Step) -> str:
    if step.kind == "mode":
        return md5(disk.read(step.place))
    return md5(step.file.content) if step.file is not None and step.file.content is not None else ""
