# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted versus disk -> steps. Pure: check mode, diff, report and apply all see the same plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from .model import File, Found, Ledger, Owned, Place, Project
from .policy import SUFFIX, Policy
from .steps import Attributes, Step, steps_of

MASS = 10  # files; removing more than these and more than half of a project asks for evidence
RESTORED = "are from a backup until they are published again"  # how a note ends that asks nobody to act
MAX_NOTES = 10  # said one by one; a status must stay small enough for the store


@dataclass(frozen=True)
class Evidence:
    """What is known about files that are missing from the tree, beside their absence.

    ``confirmed``: an operator said that they shall go. ``with_policy``: paths deleted in an etcd
    revision that also wrote or removed the policy. ``reread``: the tree was read again after a
    first plan found its revision older than the host's. ``replaced``: the tree is known to come from
    another store than what the host has, or from one that went back.
    """

    confirmed: bool = False
    with_policy: frozenset[str] = frozenset()
    reread: bool = False
    replaced: bool = False


@dataclass(frozen=True)
class Sight:
    """What a host shows: what is at each of `places`, its absolute path, and the other projects' absolute paths."""

    found: Mapping[Place, Found]
    real: Mapping[Place, str]
    taken: Mapping[str, str]  # to the project that has it


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


def renewed(project: Project, ledger: Ledger, evidence: Evidence) -> Ledger:
    """Return the ledger for the store that the project comes from.

    Where that store was replaced or went back, all files that it lacks are held from then on: in it,
    nothing was ever deleted.
    """
    same_store = project.cluster_id == ledger.cluster_id and not evidence.replaced
    if not ledger.files or (same_store and (project.revision >= ledger.revision or not evidence.reread)):
        return ledger
    there = {*project.files, *project.kept}
    files = {place: owned if place[1] in there else replace(owned, held=True) for place, owned in ledger.files.items()}
    return replace(ledger, files=files, cluster_id=project.cluster_id, revision=project.revision)


def with_restored(project: Project, ledger: Ledger, found: Mapping[Place, Found]) -> Project:
    """Return the project with the backups that an operator put in place of its files, as far as they are still there.

    They stay until the tree has something else for that path.
    """
    if project.unmatched:  # then nothing is done anyway
        return project
    there: dict[str, Owned] = {}
    for place, owned in ledger.files.items():
        file = project.files.get(place[1]) if owned.restored else None
        at_home = project.policy is not None and place[0] == project.policy.deploy_path
        if file is None or not at_home or file.digest != owned.digest or place[1] in project.restored:
            continue
        if found[place].kind == "file" and found[place].digest == owned.restored:
            there[place[1]] = owned
    if not there:
        return project
    files = {path: File(owned.restored, 0) for path, owned in there.items()}
    digests = {path: owned.digest for path, owned in there.items()}
    return replace(project, files={**project.files, **files}, restored={**project.restored, **digests})


def owned_by(project: Project) -> dict[str, Owned]:
    """Return what the host owns that has the project: all its files but backups of what the tree does not have."""
    mine = {path: Owned(project.restored.get(path, file.digest)) for path, file in project.files.items()}
    for path, digest in project.restored.items():
        if not digest:
            del mine[path]
        elif digest != project.files[path].digest:
            mine[path] = Owned(digest, restored=project.files[path].digest)
    return mine


def make_plan(project: Project, ledger: Ledger, sight: Sight, attributes: Attributes, evidence: Evidence) -> Plan:
    """Return what has to be done; the ledger is `renewed`."""
    policy = acting_policy(project, ledger)
    obstacle = _obstacle(project, ledger, evidence)
    if obstacle is None and policy is not None:
        obstacle = _unready(project)
    if obstacle is not None or policy is None:
        return obstacle or _no_policy(project, ledger)
    wanted = {(policy.deploy_path, path): file for path, file in project.files.items()}
    keep, gone = _missing(project, ledger, wanted, sight, evidence)
    leaving, ours = set(gone), set(ledger.folders)
    for place in wanted:
        owner = sight.taken.get(sight.real[place])
        if owner is not None:
            return Plan("failed", _taken(project, place, owner))
        reason = _in_the_way(place, sight.found, leaving, keep, ours)
        if reason:
            return Plan("failed", f"{project.where}: {reason}")
    held = sorted(place for place, owned in keep.items() if owned.held)
    if held and not project.exists:
        return Plan("held", f"{project.where}: {_held_note(held)}")
    sudden = _sudden(project, ledger, gone, evidence)
    if sudden:
        return Plan("held", _held_message(project, sudden, ledger), asks=tuple(sudden))
    notes = [
        *([_held_note(held)] if held else []),
        *restored_notes(_restored(project, keep)),
        *(f"{path!r} is not in the tree: it stays until it is removed by hand" for path in _foreign(project)),
        *_stuck(gone, sight.found),
        *project.rejected.values(),
    ]
    steps = steps_of(wanted, gone, sight.found, attributes)
    return Plan("deployed" if project.exists else "removed", "", policy, steps, keep, cut(notes))


def _obstacle(project: Project, ledger: Ledger, evidence: Evidence) -> Plan | None:
    """Return why nothing may be done whatever the policy says, or None."""
    where = project.where
    if not project.exists and not ledger.open:
        return Plan("unknown", f"{where}: the tree has no such project and this host has no files of it")
    if project.cluster_id == ledger.cluster_id and project.revision < ledger.revision and not evidence.reread:
        return Plan("stale", f"{where}: revision {ledger.revision} was deployed, {project.revision} is older")
    if project.policy_error or project.render_error:
        return Plan("failed", project.policy_error or project.render_error)
    return None


def _no_policy(project: Project, ledger: Ledger) -> Plan:
    missing = f"{project.where}: the policy (key config) is missing"
    if ledger.files:
        return Plan("held", f"{missing}; its {len(ledger.files)} files stay")
    return Plan("waiting", f"{missing}; nothing is deployed until it is there")


def _unready(project: Project) -> Plan | None:
    """Return why nothing may be done by a policy yet, or None."""
    if project.unmatched and not project.restored:  # backups are no part of the manifest
        return Plan(
            "waiting", f"{project.where}: {project.unmatched}; nothing is deployed until the project is published again"
        )
    return None


def _taken(project: Project, place: Place, owner: str) -> str:
    return (
        f"{project.where}: {place[0]}/{place[1]} belongs to project {owner} of this host;"
        " publish it in one of the two projects only"
    )


def _missing(
    project: Project, ledger: Ledger, wanted: Mapping[Place, File], sight: Sight, evidence: Evidence
) -> tuple[dict[Place, Owned], list[Place]]:
    """Sort the owned files that are not wanted where they are: those to keep, and those to go.

    A file of another spelling of a wanted path is in neither: it is the same file.
    """
    stay = {sight.real[place] for place in wanted}
    keep: dict[Place, Owned] = {}
    gone: list[Place] = []
    for place, owned in ledger.files.items():
        if sight.real[place] in stay:
            continue
        if place[1] in project.kept or (owned.held and place[1] not in project.files and not evidence.confirmed):
            keep[place] = owned
        else:
            gone.append(place)
    return keep, gone


def _in_the_way(
    place: Place, found: Mapping[Place, Found], gone: set[Place], keep: Mapping[Place, Owned], folders: set[Place]
) -> str:
    """Return why a wanted file cannot be at its place, empty when what is there gives way in the same deployment."""
    there = found[place]
    blocker = (place[0], there.above)
    if there.kind == "blocked" and blocker in gone and found[blocker].kind in ("file", "link"):
        return ""
    if there.kind == "folder" and place in folders:
        below = [other for other in keep if other[0] == place[0] and other[1].startswith(f"{place[1]}/")]
        return there.reason if below else ""
    return there.reason


def _held_note(held: list[Place]) -> str:
    return (
        f"{len(held)} files (such as {held[0][1]!r}) are missing from a store that was replaced or went back;"
        " they stay until they are published again or a deployment with confirm removes them"
    )


def restored_notes(paths: Collection[str]) -> list[str]:
    """Return what to say of the files that an operator restored: a sentence, or nothing where there are none."""
    if not paths:
        return []
    return [f"{len(paths)} files (such as {min(paths)!r}) {RESTORED}"]


def _restored(project: Project, keep: Mapping[Place, Owned]) -> set[str]:
    """Return the paths whose content is a backup's and not the tree's."""
    mine = {path for path, digest in project.restored.items() if digest not in ("", project.files[path].digest)}
    return mine | {path for (_root, path), owned in keep.items() if owned.restored}


def _foreign(project: Project) -> list[str]:
    return [path for path, digest in project.restored.items() if not digest]


def _stuck(gone: list[Place], found: Mapping[Place, Found]) -> list[str]:
    """Return what to say of files that are gone from the tree and cannot be reached or are files no more."""
    reasons = ((place, found[place]) for place in gone)
    return [f"{'/'.join(place)} was not removed: {there.reason}" for place, there in reasons if there.reason]


def cut(notes: list[str]) -> tuple[str, ...]:
    """Return notes, the first `MAX_NOTES` of them if there are more."""
    more = len(notes) - MAX_NOTES
    return (*notes[:MAX_NOTES], *([f"and {more} more like these"] if more > 0 else []))


def _sudden(project: Project, ledger: Ledger, gone: list[Place], evidence: Evidence) -> list[str]:
    """Return the paths of a mass removal that nothing vouches for."""
    paths = sorted({path for _unused, path in gone if not _has(project, path)})
    many = len(paths) > MASS and 2 * len(paths) > len({path for _unused, path in ledger.files})
    if project.policy is not None and project.policy.files is not None:
        return []  # its manifest, which the tree matches, says what there shall be
    if not many or evidence.confirmed or evidence.with_policy.issuperset(paths):
        return []
    return paths


def _has(project: Project, path: str) -> bool:
    """Return whether a project has a file, be it under the name that it gets where rendering begins or ends."""
    names = (path, path + SUFFIX, path[: -len(SUFFIX)] if path.endswith(SUFFIX) else path)
    return any(name in project.files for name in names)


def _held_message(project: Project, paths: list[str], ledger: Ledger) -> str:
    return (
        f"{project.where}: held, because {len(paths)} of {len(ledger.files)} files (such as {paths[0]!r}) would be"
        " removed although the policy was not written in the same revision; deploy with confirm if that is meant"
    )
