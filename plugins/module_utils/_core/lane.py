# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of work on a project does: take what is unsettled, deploy it, answer the questions that come up.

A part is tried first, and the whole project where a part cannot be judged alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from .apply import deploy, deploy_part
from .copies import Copies
from .errors import DeployError, StoreError, UnavailableError
from .evidence import removed_with_policy
from .keys import Tree
from .ledger import State
from .mirror import Mirror, Task
from .model import File, Ledger, Outcome, Project, sha256
from .plan import Evidence, restored_notes
from .policy import Policy
from .render import Renderer, is_template, rendered, target
from .rules import Rules
from .store import Store
from .values import Values, by_name
from .watches import Watches

logger = logging.getLogger(__name__)

ROUNDS = 5  # questions of one deployment; more mean that the disk changes all the time


class Lanes:
    """Deploys projects of a host, one run at a time each; shared by threads."""

    def __init__(
        self, store: Store, tree: Tree, host: str, mirror: Mirror, state: State, rules: Rules, *, force: bool
    ) -> None:
        """``force``: what drifted is repaired also where the tree has not changed."""
        self._store, self._tree, self._host, self._mirror, self._state = store, tree, host, mirror, state
        self._rules, self._force = rules, force
        self.retrying = False  # whether somebody tries failures again when they are due
        self._copies = Copies(state.path)
        self.watches = Watches(store, tree.reports)
        self._renderer = Renderer()

    def run(self, name: str) -> Outcome | None:
        """Settle what is unsettled of a project as far as that goes; None when there was nothing to do."""
        task = self._mirror.task(name)
        if task is None:
            return None
        wanted = self._wanted(task)
        outcome = self._part(wanted)
        if outcome is None:
            if task.paths is not None:
                whole = self._mirror.task(name, whole=True)
                if whole is None:
                    return None
                task, wanted = whole, self._wanted(whole)
            outcome = self._whole(wanted)
        outcome = replace(outcome, digest=task.digest, files=task.files)
        if not outcome.failed and outcome.state != "stale":
            self._mirror.heeded(task)
        if outcome.settled:
            self._keep_copies(task, wanted)
            self._mirror.settled(task)
        return outcome

    def preview(self, name: str) -> Outcome | None:
        """Say what would be done for a project; nothing is touched."""
        task = self._mirror.task(name, whole=True)
        if task is None:
            return None
        wanted = self._wanted(task)
        outcome = self._part(wanted, check=True) or self._whole(wanted, check=True)
        self._mirror.settled(task)
        return replace(outcome, digest=task.digest, files=task.files)

    def repair(self, name: str) -> Outcome | None:
        """Bring a project's files back to what was deployed last, without the tree; None when there is nothing."""
        project = self._remembered(name)
        if project is None:
            return None
        outcome = deploy(project, self._state, rules=self._rules, remember=True, retry=self.retrying)
        for _unused in range(ROUNDS):
            if not outcome.needs:
                break
            project = self._with_copies(project, outcome.needs)
            if any(project.files[path].content is None for path in outcome.needs):
                logger.warning("%s: a file drifted and no copy of it is left; it waits for etcd", project.where)
                return None
            outcome = deploy(project, self._state, rules=self._rules, remember=True, retry=self.retrying)
        return outcome

    def _wanted(self, task: Task) -> Task:
        """Return the task with what is wanted on the disk: the files that its templates make.

        What is wrong with them is said by the project. Raise StoreError when a template cannot be read.
        """
        project, policy = task.project, task.project.policy
        watch = policy.watch if policy is not None and policy.render else ()
        try:
            items, newest = self.watches.values(project.name, watch)
        except DeployError as error:
            return replace(task, project=replace(project, render_error=f"{project.where}: {error}"))
        if policy is None or not policy.render:
            return task
        lacking = [path for path, file in project.files.items() if is_template(path) and file.content is None]
        project = self._filled(project, lacking)
        if any(project.files[path].content is None for path in lacking):
            raise UnavailableError(f"{project.where}: the tree has other templates by now; they are on the way")
        items.update(by_name(project.variables.items()))
        values = Values(self._tree.variables(self._host, project.name), policy.watch, items)
        project = rendered(self._renderer, project, values)
        project = replace(project, revision=max(project.revision, newest), newest=max(project.newest, newest))
        return replace(task, project=project)

    def _part(self, task: Task, *, check: bool = False) -> Outcome | None:
        """Deploy what changed; None when the whole project has to be looked at."""
        paths, project = task.paths, task.project
        if paths is None:
            ledger = self._state.load(self._host, project.name)
            unclear = self._force or task.replaced or project.render_error
            paths = None if unclear else _changed(project, ledger)
            if paths is None:
                return None
            if project.published:  # what a template makes may depend on all others
                return None if paths else _unchanged(project, ledger)
            project = replace(project, files={path: file for path, file in project.files.items() if path in paths})
        lacking = [path for path, file in project.files.items() if file.content is None]
        if lacking:
            project = self._filled(project, lacking)
        outcome = deploy_part(
            project, paths, self._state, rules=self._rules, check=check, remember=True, retry=self.retrying
        )
        if outcome is None and not paths:
            # A whole comparison would repair what drifted.
            return _unchanged(task.project, self._state.load(self._host, project.name))
        return None if outcome is not None and outcome.needs else outcome

    def _whole(self, task: Task, *, check: bool = False) -> Outcome:
        """Deploy the whole project, and answer what the plan asks for."""
        vouched = task.vouched | {target(path) for path in task.vouched}
        project, evidence = task.project, Evidence(with_policy=vouched, replaced=task.replaced)
        for _unused in range(ROUNDS):
            outcome = deploy(
                project,
                self._state,
                evidence=evidence,
                check=check,
                rules=self._rules,
                remember=True,
                retry=self.retrying,
            )
            if outcome.needs:
                project = self._filled(project, outcome.needs)
                continue
            try:
                answer = self._answer(project, outcome, evidence)
            except StoreError as error:
                return replace(
                    outcome, state="failed", msg=f"{project.where}: the tree's history cannot be read: {error}"
                )
            if answer is None:
                return outcome
            project, evidence = answer
        return replace(outcome, state="failed", msg=f"{project.where}: the disk or the tree kept changing")

    def _answer(self, project: Project, outcome: Outcome, known: Evidence) -> tuple[Project, Evidence] | None:
        """Return the project as of a newer revision, or with more evidence; None for neither; raise StoreError."""
        if outcome.state == "stale" and not known.reread:
            listing = self._store.list(self._tree.project(self._host, project.name), keys_only=True)
            if listing.revision < outcome.since:
                return project, replace(known, reread=True)
            if not self._mirror.confirm(project.name, listing):
                return None
            policy = project.policy  # what it watches is followed apart, and may not be known as of then
            if policy is not None and policy.render and self.watches.forget(policy.watch):
                return None
            return replace(project, revision=max(project.revision, outcome.since)), known
        if outcome.asks and not known.with_policy.issuperset(outcome.asks):
            found = removed_with_policy(
                self._store, self._tree, self._host, outcome.project, outcome.since, outcome.asks
            )
            return (project, replace(known, with_policy=known.with_policy | found)) if found else None
        return None

    def _filled(self, project: Project, paths: Collection[str]) -> Project:
        """Return the project with the contents of these files: from their copies, else from the store."""
        files = dict(self._with_copies(project, paths).files)
        for path in paths:
            if files[path].content is None:
                item, _revision = self._store.get(self._tree.file(self._host, project.name, path))
                if item is not None and sha256(item.value) == files[path].digest:
                    files[path] = replace(files[path], content=item.value)
        return replace(project, files=files)

    def _with_copies(self, project: Project, paths: Collection[str]) -> Project:
        """Return the project with the contents of these files, as far as there are copies."""
        copied = {path: self._copied(project.name, path, project.files[path]) for path in paths}
        return replace(project, files={**project.files, **copied})

    def _copied(self, name: str, path: str, file: File) -> File:
        if file.content is not None:
            return file
        return replace(file, content=self._copies.get(name, path, file.digest))

    def _keep_copies(self, task: Task, wanted: Task) -> None:
        """Keep what is in the tree and what is on the disk, which templates make two things of."""
        name, files = task.project.name, {**task.project.files, **wanted.project.files}
        for path, file in files.items():
            if file.content is not None:
                self._copies.put(name, path, file.content)
        if task.paths is None:
            self._copies.prune(name, files)
        else:
            for path in task.paths - files.keys():
                self._copies.drop(name, path)

    def _remembered(self, name: str) -> Project | None:
        """Return a project as it was deployed last; None when nothing was, or its commands are not known."""
        ledger = self._state.load(self._host, name)
        if ledger.policy is None or not ledger.files:
            return None
        policy = Policy.from_data(ledger.policy, f"host {self._host}, project {name}")
        files = {
            path: File(owned.digest, 0)
            for (root, path), owned in ledger.files.items()
            if root == policy.deploy_path and not owned.held  # which stay as they are
        }
        return Project(self._host, name, ledger.revision, ledger.cluster_id, policy, files=files)


def _changed(project: Project, ledger: Ledger) -> frozenset[str] | None:
    """Return the paths in which the tree differs from what was deployed last; None when more differs than files."""
    policy = project.policy
    known = policy is not None and ledger.policy == policy.to_data() and ledger.cluster_id == project.cluster_id
    if policy is None or not known or ledger.journal or ledger.owed is not None or ledger.problem:
        return None
    had = {path: owned.digest for (root, path), owned in ledger.files.items() if root == policy.deploy_path}
    if len(had) != len(ledger.files):
        return None
    wanted = {path: file.digest for path, file in project.files.items()}
    gone = had.keys() - wanted.keys() - project.kept
    return frozenset(gone | {path for path in wanted if had.get(path) != wanted[path]})


def _unchanged(project: Project, ledger: Ledger) -> Outcome:
    """Return the outcome of a project that is left alone because the tree is what was deployed last.

    It says neither digest nor number of files, which the task knows.
    """
    restored = [path for (_root, path), owned in ledger.files.items() if owned.restored]
    notes = [f"{project.where}: {note}" for note in restored_notes(restored)]
    message = "; ".join([*notes, *project.rejected.values()])
    return Outcome(project.host, project.name, "deployed", project.revision, project.revision, "", 0, message)
