# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted versus disk -> steps. Pure: check mode, diff, report and apply all see the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .model import File, Found, Ledger, Owned, Place, Project
from .policy import Policy

MASS = 10  # files; removing more than these and more than half of a project asks for evidence


@dataclass(frozen=True)
class Attributes:
    """Mode, user id and group id that the policy asks for; None where it says nothing."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    def fit(self, found: Found) -> bool:
        """Return whether a file on disk has them."""
        pairs = ((self.mode, found.mode), (self.uid, found.uid), (self.gid, found.gid))
        return all(wanted is None or wanted == present for wanted, present in pairs)


@dataclass(frozen=True)
class Evidence:
    """What is known about files that are missing from the tree, beside their absence.

    ``confirmed``: an operator said that they shall go. ``with_policy``: paths deleted in an etcd
    revision that also wrote or removed the policy. ``reread``: the tree was read again after a
    first plan found its revision older than the host's.
    """

    confirmed: bool = False
    with_policy: frozenset[str] = frozenset()
    reread: bool = False


@dataclass(frozen=True)
class Step:
    """One change of one path: ``create``, ``set``, ``mode`` (attributes only) or ``delete``."""

    kind: str
    root: str
    path: str
    found: Found
    file: File | None = None

    @property
    def place(self) -> Place:
        """Return the deploy path and the path below it."""
        return self.root, self.path


@dataclass(frozen=True)
class Plan:
    """What a deployment would do.

    ``state`` is the state it would end in: ``deployed`` or ``removed`` when it may be carried
    out; ``failed``, ``held``, ``waiting``, ``stale`` or ``unknown``, with the reason in ``msg``,
    when not. ``keep`` are the owned files that stay ours although the tree does not name them.
    """

    state: str
    msg: str = ""
    policy: Policy | None = None
    steps: tuple[Step, ...] = ()
    keep: Mapping[Place, Owned] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Return whether it may be carried out."""
        return self.state in ("deployed", "removed")


def acting_policy(project: Project, ledger: Ledger) -> Policy | None:
    """Return the policy to act by: the tree's, or the last known one of a project that is gone."""
    if project.exists or ledger.policy is None:
        return project.policy
    return Policy.from_data(ledger.policy, project.where)


def places(project: Project, ledger: Ledger) -> set[Place]:
    """Return the places on disk that `make_plan` has to know of."""
    wanted = {(project.policy.deploy_path, path) for path in project.files} if project.policy else set()
    return wanted | set(ledger.files)


def make_plan(
    project: Project,
    ledger: Ledger,
    found: Mapping[Place, Found],
    taken: Mapping[Place, str],
    attributes: Attributes,
    evidence: Evidence,
) -> Plan:
    """Return what has to be done.

    ``found`` holds what is at each of `places`, ``taken`` the places that other projects of the host
    own (to their names).
    """
    policy = acting_policy(project, ledger)
    obstacle = _obstacle(project, ledger, policy, evidence)
    if obstacle is not None:
        return obstacle
    assert policy is not None  # _obstacle has seen to it
    wanted = {(policy.deploy_path, path): file for path, file in project.files.items()}
    for place in wanted:
        if place in taken:
            return Plan("failed", _taken(project, place, taken[place]))
        if found[place].reason:
            return Plan("failed", f"{project.where}: {found[place].reason}")
    keep, gone, notes = _missing(project, ledger, policy, evidence)
    sudden = _sudden(project, ledger, policy, gone, evidence)
    if sudden:
        return Plan("held", _held_message(project, sudden, ledger), asks=tuple(sudden))
    steps = [*_writes(wanted, found, attributes), *_deletes(gone, found)]
    state = "deployed" if project.exists else "removed"
    if state == "removed" and keep:
        return Plan("held", f"{project.where}: {' '.join(notes)}")
    return Plan(state, "", policy, tuple(steps), keep, tuple(notes) + tuple(project.rejected.values()))


def _obstacle(project: Project, ledger: Ledger, policy: Policy | None, evidence: Evidence) -> Plan | None:
    """Return why nothing may be done, or None."""
    where = project.where
    if not project.exists and not ledger.files:
        return Plan("unknown", f"{where}: the tree has no such project and this host has no files of it")
    if project.cluster_id == ledger.cluster_id and project.revision < ledger.revision and not evidence.reread:
        return Plan("stale", f"{where}: revision {ledger.revision} was deployed, {project.revision} is older")
    if project.policy_error:
        return Plan("failed", project.policy_error)
    if policy is None and ledger.files:
        return Plan("held", f"{where}: the policy (key config) is missing; its {len(ledger.files)} files stay")
    if policy is None:
        return Plan("waiting", f"{where}: the policy (key config) is missing; nothing is deployed until it is there")
    for name in ("render", "watch"):
        if getattr(policy, name):
            return Plan("failed", f"{where}: policy field {name} is not supported by this version; leave it out")
    if project.unmatched:
        return Plan("waiting", f"{where}: {project.unmatched}; nothing changes until they are published")
    return None


def _taken(project: Project, place: Place, owner: str) -> str:
    return (
        f"{project.where}: {place[0]}/{place[1]} belongs to project {owner} of this host;"
        " publish it in one of the two projects only"
    )


def _missing(
    project: Project, ledger: Ledger, policy: Policy, evidence: Evidence
) -> tuple[dict[Place, Owned], list[Place], list[str]]:
    """Sort the owned files that are not wanted where they are: kept ones, those to go, and notes for the user."""
    same_store = ledger.cluster_id == project.cluster_id and ledger.revision <= project.revision
    keep: dict[Place, Owned] = {}
    gone: list[Place] = []
    held = 0
    for place, owned in ledger.files.items():
        root, path = place
        if path in project.files:
            if root != policy.deploy_path:
                gone.append(place)  # moved: it is wanted, elsewhere
        elif path in project.kept:
            keep[place] = owned
        elif evidence.confirmed or (same_store and not owned.held):
            gone.append(place)
        else:
            keep[place] = replace(owned, held=True)
            held += 1
    note = (
        f"{held} files (such as {min(place[1] for place in keep if keep[place].held)!r}) are missing from a store that"
        " was replaced or went back; they stay until they are published again or a deployment with confirm removes them"
        if held
        else ""
    )
    return keep, gone, [note] if note else []


def _sudden(project: Project, ledger: Ledger, policy: Policy, gone: list[Place], evidence: Evidence) -> list[str]:
    """Return the paths of a mass removal that nothing vouches for."""
    paths = sorted({path for _, path in gone if path not in project.files})
    many = len(paths) > MASS and 2 * len(paths) > len({path for _, path in ledger.files})
    if project.policy is not None and project.policy.files is not None:
        return []  # its manifest, which the tree matches, says what there shall be
    if not many or evidence.confirmed or evidence.with_policy.issuperset(paths):
        return []
    return paths


def _held_message(project: Project, paths: list[str], ledger: Ledger) -> str:
    return (
        f"{project.where}: held, because {len(paths)} of {len(ledger.files)} files (such as {paths[0]!r}) would be"
        " removed although the policy was not written in the same revision; deploy with confirm if that is meant"
    )


def _writes(wanted: Mapping[Place, File], found: Mapping[Place, Found], attributes: Attributes) -> list[Step]:
    steps = []
    for place, file in sorted(wanted.items()):
        there = found[place]
        if there.kind == "file" and there.digest == file.digest:
            if not attributes.fit(there):
                steps.append(Step("mode", *place, there, file))
        else:
            steps.append(Step("create" if there.kind == "absent" else "set", *place, there, file))
    return steps


def _deletes(gone: list[Place], found: Mapping[Place, Found]) -> list[Step]:
    return [Step("delete", *place, found[place]) for place in sorted(gone) if found[place].kind in ("file", "link")]
