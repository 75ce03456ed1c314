# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tree gets of a backup that is put back: its content where it is to be published, else the status."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from .backup import Backup
from .errors import InvalidError, WatcherError
from .keys import Tree
from .model import Outcome
from .policy import SUFFIX, Policy
from .publish import Publication, Wanted, publish, validate
from .report import callback_body, parse_status, write_status
from .restore import Restored
from .spool import Spool
from .store import Store


def publish_backup(
    store: Store, tree: Tree, host: str, project: str, file: str, content: bytes, *, check: bool = False
) -> Publication:
    """Write a content under the key of a file of a project that is published; with ``check`` only say what that takes.

    Raise InvalidError when the tree has no such project, or makes the file from a template; StoreError.
    """
    where = f"host {host}, project {project}"
    wanted = Wanted(None, {file: content})
    validate(wanted, where)
    policy, _revision = store.get(tree.policy(host, project))
    if policy is None:
        raise InvalidError(f"{where}: the tree has no policy for it; publish the project as a whole")
    if Policy.parse(policy.value, where).render:
        template, _revision = store.get(tree.file(host, project, file + SUFFIX))
        if template is not None:
            raise InvalidError(f"{where}: {file!r} is rendered from {file + SUFFIX!r}; publish that template instead")
    return publish(store, tree, host, project, wanted, check=check)


def sent_backup(answer: Mapping[str, Any]) -> tuple[Backup, bytes]:
    """Return a backup that a host has sent to be published, and its content; raise InvalidError for anything else."""
    try:
        return Backup(**answer["backup"]), base64.b64decode(answer["content"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"the host's answer is not a backup of this version ({error!r})") from error


def tell(
    store: Store,
    tree: Tree,
    restored: Restored,
    spool: Spool,
    *,
    by: str,
    version: str,
    told: Callable[[], object] = bool,
) -> list[str]:
    """Send the callback and write the status, so far as they are due; return what did not succeed, as sentences.

    ``told`` is called once the callback is stored.
    """
    outcome = restored.outcome
    where = f"host {outcome.host}, project {outcome.project}"
    problems = []
    if outcome.callback and (outcome.ran or outcome.failed):
        try:
            problems.append(spool.deliver(outcome.callback, callback_body(outcome)))
            told()
        except OSError as error:
            problems.append(f"{where}: the callback could not be stored: {error}")
    if restored.standing:
        try:
            write_status(store, tree, _as_of_now(store, tree, outcome), by, version, 0)
        except WatcherError as error:
            problems.append(
                f"{where}: the status was not written: {error}; it follows when the project is looked at again"
            )
    return [problem for problem in problems if problem]


def _as_of_now(store: Store, tree: Tree, outcome: Outcome) -> Outcome:
    """Return the outcome with what only the status so far knows.

    That is the digest of templates, and the revision as of which the tree was seen to be unchanged.
    """
    item, _revision = store.get(tree.status(outcome.host, outcome.project))
    stored = parse_status(item.value) if item is not None else {}
    if not outcome.digest:
        return replace(outcome, digest=str(stored.get("digest", "")))
    same = stored.get("state") == outcome.state and stored.get("digest") == outcome.digest
    seen = max(outcome.wanted_revision, stored["wantedRevision"]) if same else outcome.wanted_revision
    return replace(outcome, wanted_revision=seen, revision=seen if outcome.state == "deployed" else outcome.revision)
