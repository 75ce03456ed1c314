# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a host: which there are, and putting one back in place of what was deployed.

A restore is a deployment like any other, of what was deployed last with another content for one file. No other
file is looked at. The tree is not needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import backup as kept
from .backup import Backup
from .deployment import Deployment
from .digest import TreeDigest
from .errors import DeployError, InvalidError
from .keys import check_name, check_path, shown
from .ledger import State
from .model import File, Ledger, Outcome, Owned, Project
from .outcomes import Words, check_answer
from .plan import Evidence
from .policy import Policy
from .rules import Rules

_TROUBLE = ("trouble", "problem", "since", "due", "attempts")


@dataclass(frozen=True)
class Restored:
    """What came of putting a backup back.

    ``standing``: the outcome is how the project stands now. It is not where a failure left everything as it was,
    where a newer change of the project still waits for its success, and where the tree has no such file.
    """

    outcome: Outcome
    backup: Backup
    standing: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data, to cross from a host to the controller."""
        return {
            "outcome": self.outcome.to_json(),
            "backup": self.backup.to_json(),
            "standing": self.standing,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], host: str, project: str) -> Restored:
        """Return what `to_json` wrote on that host; raise InvalidError for anything else, such as another's outcome."""
        try:
            restored = cls(Outcome.from_json(data["outcome"]), Backup(**data["backup"]), bool(data["standing"]))
        except (KeyError, TypeError) as error:
            raise InvalidError(f"the host's answer is not a restore of this version ({error!r})") from error
        check_answer(restored.outcome, host, [project])
        return restored


def listed(state: State, host: str, project: str, file: str = "") -> list[Backup]:
    """Return the backups of a project, or of one file of it: by file, the newest first.

    Where projects share a backup folder, only those of files that the project has deployed, unless ``file`` names one.
    Raise InvalidError for a project that was never deployed, DeployError when it keeps no backups or they cannot
    be read.
    """
    ledger, policy = _deployed(state, host, project)
    found = kept.found(policy.backup_dir, check_path(file) if file else "")
    if file or not _is_shared(state, host, project, policy.backup_dir):
        return found
    mine = {path for _root, path in ledger.files}
    return [backup for backup in found if backup.file in mine]


def fetched(
    state: State, host: str, project: str, file: str, name: str = "", limit: int = kept.MAX_READ
) -> tuple[Backup, bytes]:
    """Return a backup of a file, the newest without ``name``, and its content of at most ``limit`` bytes.

    Raise InvalidError or DeployError as `listed` does, and when there is no such backup.
    """
    _ledger, policy = _deployed(state, host, project)
    return _fetched(policy, f"host {host}, project {project}", file, name, limit)


def _fetched(policy: Policy, where: str, file: str, name: str, limit: int = kept.MAX_READ) -> tuple[Backup, bytes]:
    """Return what `fetched` does, of a project whose policy is known."""
    found = kept.found(policy.backup_dir, check_path(file))
    if not found:
        raise InvalidError(f"{where}: there is no backup of {shown(file)!r} in {policy.backup_dir}")
    if not name:
        return found[0], kept.read(policy.backup_dir, found[0], limit)
    wanted = name[len(policy.backup_dir) + 1 :] if name.startswith(policy.backup_dir + "/") else name
    for backup in found:
        if backup.name == wanted:
            return backup, kept.read(policy.backup_dir, backup, limit)
    raise InvalidError(
        f"{where}: {shown(name)!r} is no backup of {shown(file)!r}; the newest of {len(found)} is {found[0].name!r}"
    )


def restore(
    state: State,
    host: str,
    project: str,
    file: str,
    name: str = "",
    *,
    rules: Rules | None = None,
    check: bool = False,
    diff: bool = False,
    remember: bool = False,
) -> Restored:
    """Put a backup of a file back, the newest without ``name``, and return what came of it.

    The file stays until the tree has something else for it. A file that the tree does not have is put there and
    is not ours. The options are those of `apply.deploy`. Raise InvalidError or DeployError as `fetched` does.
    """
    _deployed(state, host, project)  # before its lock is made
    with contextlib.nullcontext() if check else state.lock(project):
        ledger, policy = _deployed(state, host, project)
        where = f"host {host}, project {project}"
        backup, content = _fetched(policy, where, file, name)
        owned = ledger.files.get((policy.deploy_path, file))
        if owned is not None and owned.held:
            raise InvalidError(
                f"{where}: {file!r} is held, because a store that was replaced lacks it; publish the backup instead"
            )
        wanted = _project(ledger, policy, file, owned, content)
        work = Deployment(wanted, state, Evidence(), rules, Words(wanted, whole=False, diff=diff, remember=remember))
        work.begin(ledger)
        outcome = work.preview() if check else work.carry_out()
        left = False if check else _trouble_left(state, ledger, outcome)
        return Restored(_completed(outcome, ledger, policy), backup, owned is not None and not left)


def _deployed(state: State, host: str, project: str) -> tuple[Ledger, Policy]:
    """Return what the host remembers of a project and the policy that it was deployed by last."""
    where = f"host {host}, project {check_name('project', project)}"
    ledger = state.load(host, project)
    if ledger.policy is None:
        raise InvalidError(f"{where}: this host has never deployed it")
    policy = Policy.from_data(ledger.policy, where)
    if not policy.backup_dir:
        raise DeployError(f"{where}: the policy has no backupDir, so no backups are kept")
    return ledger, policy


def _is_shared(state: State, host: str, project: str, backup_dir: str) -> bool:
    """Return whether backups of other projects may be in the same folder; what cannot be read may have some."""
    mine = os.path.join(os.path.realpath(backup_dir), "")
    for name in state.projects():
        if name == project:
            continue
        try:
            other = str((state.load(host, name).policy or {}).get("backupDir", ""))
        except DeployError:
            return True
        theirs = os.path.join(os.path.realpath(other), "") if other else ""
        if theirs and (mine.startswith(theirs) or theirs.startswith(mine)):
            return True
    return False


def _project(ledger: Ledger, policy: Policy, file: str, owned: Owned | None, content: bytes) -> Project:
    """Return what was deployed last as a project of which only one file, with this content, may change."""
    others = frozenset(path for root, path in ledger.files if (root, path) != (policy.deploy_path, file))
    return Project(
        ledger.host,
        ledger.project,
        ledger.revision,
        ledger.cluster_id,
        policy,
        files={file: File.of(content)},
        kept=others,
        restored={file: owned.digest if owned is not None else ""},
    )


def _trouble_left(state: State, before: Ledger, outcome: Outcome) -> bool:
    """Let the ledger say what it said of trouble, where that is none of the restore's; return whether it is.

    So is a failure of the restore itself that left everything as it was, and no command owed: nobody tries it again.
    """
    after = state.load(before.host, before.project)
    if outcome.failed:
        left = not after.journal and after.owed in (None, before.owed) and after.files == before.files
    else:
        left = bool(before.trouble) and (before.owed is None or before.observed > before.revision)
    same = {name: getattr(before, name) for name in _TROUBLE} if left else {}
    with contextlib.suppress(OSError):  # what came of the restore itself is written down, or told
        state.save(replace(after, observed=max(before.observed, after.observed), **same), after)
    return left


def _completed(outcome: Outcome, ledger: Ledger, policy: Policy) -> Outcome:
    """Return the outcome with what a status says of the project as a whole.

    The digest is that of the files as they are in the tree; of those that templates became it is not known here.
    """
    files = {path: owned.digest for (_root, path), owned in ledger.files.items() if not owned.held}
    return replace(outcome, files=len(files), digest="" if policy.render else TreeDigest(files).value())


def projects_with_backups(state: State, host: str) -> Sequence[str]:
    """Return the projects of the host that keep backups, sorted; those whose ledgers cannot be read are left out."""
    names = []
    for name in state.projects():
        with contextlib.suppress(DeployError, InvalidError):
            _deployed(state, host, name)
            names.append(name)
    return names
