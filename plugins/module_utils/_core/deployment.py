# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The course of one deployment, from the ledger that it starts with to the one that it leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from .command import Account
from .errors import DeployError, WatcherError, reason
from .failpoints import reach
from .hooks import Hooks
from .journal import doing, told
from .ledger import State
from .model import CommandResult, Ledger, Outcome, Project
from .outcomes import Words, needed
from .plan import Evidence, Plan, Sight, acting_policy, cut, make_plan, owned_by, renewed, with_restored
from .policy import Policy
from .recovery import interrupted, recovered
from .rules import Rules
from .sight import attributes_of, look
from .steps import Attributes
from .transaction import Transaction, feasible

FAILURES = (WatcherError, OSError, UnicodeError)
NOT_RUN = CommandResult()


class Deployment:
    """Makes the disk agree with a project, as far as a ledger and a host's rules let it.

    ``stored`` is the ledger as it is on disk, ``ledger`` what is true until something has succeeded.
    """

    def __init__(self, project: Project, state: State, evidence: Evidence, rules: Rules | None, words: Words) -> None:
        """Prepare; `begin` comes next."""
        self.project, self.state, self.evidence, self.rules, self.words = project, state, evidence, rules, words
        self.ledger = self.stored = Ledger(project.host, project.name)
        self.policy: Policy | None = project.policy
        self.attributes = Attributes()
        self.account: Account | None = None

    @property
    def _staged(self) -> str:
        """Return the folder in which checkCmd sees the project."""
        return self.state.folder(self.project.name) + "/staged"

    @property
    def _kept_root(self) -> str:
        """Return the deploy path that stays although it may be empty; none of a project that is gone."""
        return self.policy.deploy_path if self.policy and self.project.exists else ""

    def begin(self, ledger: Ledger) -> None:
        """Take the ledger; to carry anything out the project must be locked since before it was read."""
        self.ledger = self.stored = ledger
        self.words.begin(ledger)

    def failed(self, error: BaseException) -> Outcome:
        """Return the outcome of one of the `FAILURES` before anything was begun."""
        return self.words.outcome(self.ledger, self.policy, "failed", reason(error))

    def preview(self) -> Outcome:
        """Say what would be done; ``ran``: whether anything would be attempted."""
        self._judge()
        plan = self._plan(look(self.project, self.ledger))
        needs = needed(plan) if self.words.diff else []
        if plan.ready and not needs:
            self.words.show(plan)
        work = plan.ready and bool(plan.steps or self.ledger.owed is not None)
        return replace(self.words.described(plan, self.ledger, self.policy, needs), ran=work)

    def carry_out(self) -> Outcome:
        """Do it, if anything has to be done; what fails is noted in the ledger."""
        try:
            self._recover()
            self._judge()
            return self._carry_out()
        except FAILURES as error:
            return self._given_up(self.failed(error), self.stored)

    def _recover(self) -> None:
        """End what a deployment that was killed left half done."""
        if interrupted(self.ledger):
            self._save(recovered(self.ledger, self._staged, self._kept_root))
            reach("recover.recorded")

    def _judge(self) -> None:
        """Find out which policy acts; DeployError when this host does not allow it, or lacks what it names."""
        self.ledger = renewed(self.project, self.stored, self.evidence)
        policy = self.policy = acting_policy(self.project, self.ledger)
        if policy is None:
            return
        if self.rules is not None:
            self.rules.check(policy, self.project.where)
            if policy.commands:
                self.account = self.rules.account()
        if self.project.exists:
            self.attributes = attributes_of(policy)

    def _plan(self, sight: Sight) -> Plan:
        self.project = with_restored(self.project, self.ledger, sight.found)
        if self._claims(sight):
            sight = replace(sight, taken=self.state.taken(self.project.name, set(sight.real.values())))
        return feasible(make_plan(self.project, self.ledger, sight, self.attributes, self.evidence), self.project)

    def _claims(self, sight: Sight) -> bool:
        """Return whether places are wanted that are not ours yet."""
        return any(place not in self.ledger.files for place in sight.found)

    def _carry_out(self) -> Outcome:
        sight = look(self.project, self.ledger)
        # Others must not plan for the same paths until ours are claimed.
        with self.state.lock() if self._claims(sight) else contextlib.nullcontext():
            plan = self._plan(sight)
            needs = needed(plan)
            if plan.policy is None or not plan.ready or needs:
                return self._turned_down(plan, needs)
            if not plan.steps and self.ledger.owed is None:
                self._save(self._settled(plan, plan.policy, owed=None))
                reach("settled.recorded")
                return self.words.described(plan, self.ledger, self.policy)
            work = Transaction(
                plan.policy,
                self.attributes,
                self.project.revision,
                plan.steps,
                self.ledger.folders,
                datetime.now(),
            )
            changed = sorted({*[step.path for step in plan.steps], *(self.ledger.owed or ())})
            self.words.show(plan)
            self._begin(plan.policy, work, changed)
            reach("begin.recorded")
        return self._execute(plan, plan.policy, work, changed)

    def _turned_down(self, plan: Plan, needs: Sequence[str]) -> Outcome:
        """Note why nothing can be done."""
        outcome = self.words.described(plan, self.ledger, self.policy, needs)
        if outcome.failed:
            return self._given_up(outcome, self.ledger)
        ledger = self.ledger
        if plan.state == "unknown":  # whatever was wrong with it is gone
            ledger = ledger.well()
        elif plan.state != "stale" and not needs:
            ledger = self.words.noted(ledger, outcome)
        self._save(ledger)
        return outcome

    def _begin(self, policy: Policy, work: Transaction, changed: Sequence[str]) -> None:
        """Write down what will be done: should this process die, the next one undoes it and owes the commands."""
        wanted = [(policy.deploy_path, path) for path in self.project.files]
        self._store(
            replace(
                self.ledger,
                claims=tuple(place for place in wanted if place not in self.ledger.files),
                journal=tuple(work.moves),
                done=False,
                owed=changed,
                policy=self.ledger.policy or policy.to_data(),
                observed=self.project.revision,
                attempts=self.words.failures,
                due="",
            )
        )

    def _execute(self, plan: Plan, policy: Policy, work: Transaction, changed: Sequence[str]) -> Outcome:
        hooks = Hooks(self.project, policy, changed, self.account)
        try:
            work.stage()
            self._note_staged(policy)
            reach("stage.recorded")
            kept = [path for root, path in plan.keep if root == policy.deploy_path]
            hooks.run_check(self._staged, kept)
            reach("check.done")
            hooks.run_before()
            reach("before.done")
            work.back_up()
            work.swap()
        except DeployError as error:
            return self._undone(plan, hooks, work, "failed", str(error), self._undo(work))
        try:
            hooks.run_after()
            reach("after.done")
        except DeployError as error:
            if plan.steps and policy.on_failure == "rollback":
                return self._roll_back(plan, hooks, work, str(error))
            why = f"{error}; the new files stay"
            return self._keep(plan, hooks, work, "failed", why, self._settled(plan, policy, owed=changed))
        return self._keep(plan, hooks, work, plan.state, "", self._settled(plan, policy, owed=None))

    def _note_staged(self, policy: Policy) -> None:
        """Remember that the new contents lie here, also should this process die in a command."""
        if policy.commands:
            self._store(replace(self.stored, staged=self.project.revision), durable=False)

    def _undo(self, work: Transaction) -> list[str]:
        reach("undo.begin")
        problems = work.undo()
        reach("undo.done")
        return problems

    def _undone(
        self,
        plan: Plan,
        hooks: Hooks,
        work: Transaction,
        state: str,
        why: str,
        problems: Sequence[str],
        again: CommandResult = NOT_RUN,
    ) -> Outcome:
        """End a deployment whose files were brought back, after which afterCmd may have been run ``again``."""
        left = self.stored if problems else self.ledger  # what could not be undone is tried again the next time
        if problems:
            why += f"; {told(problems)}"
        elif work.swapped:
            why += f"; the previous files are back ({work.swapped} restored)"
        if again != NOT_RUN:
            second = f", but it failed again: {again.problem}" if again.problem else " and it succeeded"
            why += f"; afterCmd was run once more{second}"
        described = self.words.described(plan, self.ledger, self.policy)
        outcome = self.words.ended(described, hooks, state, why, self.ledger.settled)
        staged = self.project.revision if work.staged else self.ledger.staged
        return self._given_up(outcome, replace(left, staged=staged))

    def _roll_back(self, plan: Plan, hooks: Hooks, work: Transaction, why: str) -> Outcome:
        problems = self._undo(work)
        again = hooks.run_after_again(self.ledger.settled)
        reach("again.done")
        owed = self.stored.owed if again.problem and self.ledger.files else None  # by the files that came back
        self.ledger = replace(self.ledger, owed=owed)
        return self._undone(plan, hooks, work, "failed" if problems else "rolledBack", why, problems, again)

    def _given_up(self, outcome: Outcome, ledger: Ledger) -> Outcome:
        """Note a failure after which the ledger says what it said before, so far as it is known."""
        try:
            self._save(self.words.noted(ledger, outcome))
            reach("failure.recorded")
        except DeployError as error:
            return outcome if str(error) in outcome.msg else replace(outcome, msg=f"{outcome.msg}; and {error}")
        return outcome

    def _settled(self, plan: Plan, policy: Policy, owed: Sequence[str] | None) -> Ledger:
        """Return what is true now: the files that are ours, and whether their commands are still owed."""
        mine = {(policy.deploy_path, path): owned for path, owned in owned_by(self.project).items()}
        revision = self.project.revision
        ledger = self.ledger.well() if owed is None else self.ledger
        return replace(
            ledger,
            cluster_id=self.project.cluster_id,
            revision=revision,
            settled=revision if owed is None else ledger.settled,
            policy=policy.to_data(),
            files={**plan.keep, **mine},
            claims=(),
            owed=owed,
            observed=revision,
            staged=revision,
        )

    def _keep(self, plan: Plan, hooks: Hooks, work: Transaction, state: str, why: str, settled: Ledger) -> Outcome:
        """End a deployment whose new files stay: once that is written down, nothing undoes them any more."""
        plan = replace(plan, notes=cut([*plan.notes, *work.notes]))
        described = self.words.described(plan, self.ledger, self.policy, backups=work.backups)
        outcome = self.words.ended(described, hooks, state, why, settled.settled)
        settled = self.words.noted(settled, outcome)
        try:
            self._save(replace(settled, journal=self.stored.journal, done=True, folders=tuple(work.folders)))
        except DeployError as error:
            if not plan.steps:
                raise
            return self._roll_back(plan, hooks, work, str(error))
        reach("kept.recorded")
        left = work.finish(self._kept_root)
        reach("finish.swept")
        cleaned = replace(settled, folders=tuple(left), journal=tuple(work.moves), done=bool(work.moves))
        with contextlib.suppress(DeployError):  # then the next deployment looks for temporary files once more
            self._save(cleaned, durable=False)
        reach("finish.recorded")
        return outcome

    def _save(self, ledger: Ledger, *, durable: bool = True) -> None:
        """Write down what is true now."""
        self._store(ledger, durable=durable)
        self.ledger = ledger

    def _store(self, ledger: Ledger, *, durable: bool = True) -> None:
        """Write down what is true of a deployment that is under way."""
        with doing("cannot write the ledger"):
            self.state.save(ledger, self.stored, durable=durable)
        self.stored = ledger
