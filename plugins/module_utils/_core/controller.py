# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment steered from a controller: read the tree, render, let the host work, answer its questions, tell others.

The host gets digests first and asks for the contents it lacks, unless all of them are little.
It also asks where a removal needs evidence from the tree's history, and where it has seen a
newer revision than it was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .errors import StoreError, WatcherError
from .evidence import removed_with_policy
from .keys import Tree, is_name
from .model import Outcome, Project
from .outcomes import check_answer
from .parcel import Parcel
from .plan import Evidence
from .rendering import Rendering
from .report import callback_body, removed, unreachable, write_status
from .snapshot import projects as read_projects
from .snapshot import strays
from .spool import Spool
from .store import Store

LITTLE = 256 * 1024  # bytes of content that are sent along rather than asked for
ROUNDS = 5  # questions of one host; more mean that its disk or the tree changes all the time
KEPT_CHANGING = "the tree or the disk kept changing; deploy again"
RESEND = 5.0  # seconds that a deployment spends on callbacks which others left in the spool

Send = Callable[[Parcel], Sequence[Outcome]]


@dataclass
class Course:
    """What came of a host's deployment; ``warnings`` are sentences."""

    outcomes: list[Outcome] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    asked: Parcel | None = None  # what the host was asked for; None when it could not be


@dataclass
class Controller:
    """Deploys the projects of one host; ``names`` None means all of them."""

    store: Store
    tree: Tree
    host: str
    send: Send
    names: Sequence[str] | None = None
    confirm: bool = False
    course: Course = field(default_factory=Course, init=False)  # so far, should `send` raise
    _vouched: set[str] = field(default_factory=set, init=False)  # projects whose removals were looked up
    _rendering: Rendering = field(init=False)

    def __post_init__(self) -> None:
        """Render with what the same store has."""
        self._rendering = Rendering(self.store, self.tree)

    def run(self) -> Course:
        """Return what came of it; raise StoreError when the tree cannot be read, and what the first `send` raises."""
        course = self.course
        found, parcel = self._read()
        course.asked = parcel
        outcomes = self._sent(replace(parcel, projects=_slim(parcel.projects, {})))
        for _unused in range(ROUNDS - 1):
            questions = self._sorted(outcomes)
            if not questions:
                break
            try:
                if any(outcome.state == "stale" for outcome in questions):
                    found, newer = self._read()
                    parcel = replace(newer, evidence=parcel.evidence)
                parcel = self._answer(questions, found, parcel)
                outcomes = self._sent(parcel)
            except WatcherError as error:  # what other projects came to has to be told all the same
                course.outcomes += [_unsettled(outcome, str(error)) for outcome in questions]
                break
        else:
            course.outcomes += [_unsettled(outcome, KEPT_CHANGING) for outcome in self._sorted(outcomes)]
        course.outcomes.sort(key=lambda outcome: outcome.project)
        return course

    def _sent(self, parcel: Parcel) -> Sequence[Outcome]:
        outcomes = self.send(parcel)
        for outcome in outcomes:
            check_answer(outcome, self.host, parcel.names)
        return outcomes

    def _read(self) -> tuple[dict[str, Project], Parcel]:
        listing = self.store.list(self.tree.host(self.host))
        found = {name: project for (_unused, name), project in read_projects(self.tree, listing).items()}
        self.course.warnings = list(strays(self.tree, (item.key for item in listing.items)).values())
        self.course.newest.update({name: project.newest for name, project in found.items()})
        self._vouched.clear()
        if self.names is not None:
            found = {name: project for name, project in found.items() if name in self.names}
        found = {name: self._rendering.of(project) for name, project in found.items()}
        self.course.newest.update({name: project.newest for name, project in found.items()})
        parcel = Parcel(
            self.host, listing.revision, listing.cluster_id, list(found.values()), self.names, {}, self.confirm
        )
        return found, parcel

    def _sorted(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Note the outcomes that are final and return the questions."""
        questions: list[Outcome] = []
        for outcome in outcomes:
            asks = outcome.asks and outcome.project not in self._vouched
            is_question = bool(outcome.needs or asks or outcome.state == "stale")
            (questions if is_question else self.course.outcomes).append(outcome)
        return questions

    def _answer(self, questions: Sequence[Outcome], found: Mapping[str, Project], parcel: Parcel) -> Parcel:
        """Return the next parcel, of the projects that asked only."""
        names = [outcome.project for outcome in questions]
        needs = {outcome.project: outcome.needs for outcome in questions}
        wanted = [found[name] for name in names if name in found]
        evidence = {**parcel.evidence, **{outcome.project: self._evidence(outcome, parcel) for outcome in questions}}
        return replace(parcel, projects=_slim(wanted, needs), names=names, evidence=evidence)

    def _evidence(self, outcome: Outcome, parcel: Parcel) -> Evidence:
        known = parcel.evidence.get(outcome.project, Evidence())
        if outcome.state == "stale":  # the tree has just been read again: older means that the store went back
            return replace(known, reread=True)
        if not outcome.asks:
            return known
        self._vouched.add(outcome.project)
        try:
            paths = removed_with_policy(self.store, self.tree, self.host, outcome.project, outcome.since, outcome.asks)
        except StoreError as error:  # without evidence the files stay
            where = f"host {outcome.host}, project {outcome.project}"
            self.course.warnings.append(f"{where}: why files are missing cannot be read: {error}")
            return known
        return replace(known, with_policy=paths)


def _slim(projects: Sequence[Project], needs: Mapping[str, Sequence[str]]) -> list[Project]:
    """Leave out contents that were not asked for, unless all of them are little."""
    if sum(file.size for project in projects for file in project.files.values()) <= LITTLE:
        return list(projects)
    slim = []
    for project in projects:
        asked = frozenset(needs.get(project.name, ()))
        files = {path: file if path in asked else replace(file, content=None) for path, file in project.files.items()}
        slim.append(replace(project, files=files))
    return slim


def _unsettled(outcome: Outcome, why: str) -> Outcome:
    return replace(outcome, state="failed", msg=f"host {outcome.host}, project {outcome.project}: {why}")


def unreachable_course(
    store: Store,
    tree: Tree,
    host: str,
    names: Sequence[str] | None,
    why: str,
    when: str,
    done: Sequence[Outcome] = (),
) -> Course:
    """Return a failed outcome for each project of a host that could not be asked, beside those that are ``done``."""
    listing = store.list(tree.host(host))
    found = read_projects(tree, listing).values()
    told = {outcome.project for outcome in done}
    chosen = [project for project in found if names is None or project.name in names]
    course = Course([*done, *(unreachable(project, why, when) for project in chosen if project.name not in told)])
    course.newest = {project.name: project.newest for project in chosen}
    return course


def tell(store: Store, tree: Tree, course: Course, spool: Spool, *, version: str, revision: int = 0) -> list[str]:
    """Write the statuses and send the callbacks; return what did not succeed, as sentences.

    ``revision`` is one that somebody waits for: a status at least as new is written.
    """
    problems: list[str] = []
    silent: set[str] = set()

    def write(outcome: Outcome) -> None:
        newest = max(course.newest.get(outcome.project, 0), revision)
        try:
            write_status(store, tree, outcome, "playbook", version, newest)
        except WatcherError as error:
            problems.append(f"host {outcome.host}, project {outcome.project}: the status was not written: {error}")

    for outcome in course.outcomes:
        if outcome.state != "unknown":
            write(outcome)
        if outcome.callback and (outcome.ran or outcome.failed):
            problems += _call_back(spool, outcome, silent)
    try:
        for outcome in _withdrawn(store, tree, course, asked_for=revision > 0):
            write(outcome)
    except WatcherError as error:
        problems.append(f"the statuses of projects that are gone were not looked at: {error}")
    try:
        problems += spool.send_due(RESEND, silent).problems
    except OSError as error:
        problems.append(f"callbacks that wait could not be read: {error}")
    return problems


def _withdrawn(store: Store, tree: Tree, course: Course, *, asked_for: bool) -> list[Outcome]:
    """Return an outcome for each project with a status that neither the tree nor the host has any more.

    Such a project never got onto the disk, or is gone from it for long; its status would be pending for ever.
    With ``asked_for`` somebody waits for an outcome of the projects named, also where there is no status.
    """
    asked = course.asked
    if asked is None:
        return []
    root = tree.status(asked.host, "x")[:-1]
    names = [item.key[len(root) :].decode("utf-8", "replace") for item in store.list(root, keys_only=True).items]
    names += [name for name in asked.names or () if asked_for and name not in names]
    known = {*course.newest, *(outcome.project for outcome in course.outcomes if outcome.state != "unknown")}
    gone = [
        Project(asked.host, name, asked.revision, asked.cluster_id)
        for name in names
        if name not in known and is_name(name) and asked.speaks_of(name)
    ]
    return [removed(project) for project in gone]


def _call_back(spool: Spool, outcome: Outcome, silent: set[str]) -> list[str]:
    """Send a callback; a receiver that did not answer once gets the others of this run later."""
    try:
        if outcome.callback in silent:
            spool.put(outcome.callback, callback_body(outcome))
            return []
        problem = spool.deliver(outcome.callback, callback_body(outcome))
    except OSError as error:
        return [f"host {outcome.host}, project {outcome.project}: the callback could not be stored: {error}"]
    if problem:
        silent.add(outcome.callback)
    return [problem] if problem else []
