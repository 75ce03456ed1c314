# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of a deployment, told to others: the callback's body and the status in the tree."""

from __future__ import annotations

import json
from typing import Any

from .clock import timestamp
from .errors import ConflictError
from .keys import Tree
from .model import Outcome, Project
from .store import Guard, Store, Write

UNKNOWN = -1  # the applied revision in the outcome of a host that could not be asked
TRIES = 5  # writers of one status key that may come between


def callback_body(outcome: Outcome) -> dict[str, Any]:
    """Return the callback of an outcome (contract, section 4)."""
    kinds = {change.action for change in outcome.changes}
    action = next(iter(kinds)) if kinds in ({"create"}, {"delete"}) else "set"
    written = [change for change in outcome.changes if change.action != "delete"]
    return {
        "action": action,
        "code": 500 if outcome.failed else 200,
        "msg": outcome.msg,
        "md5": written[0].md5 if len(written) == 1 else "",
        "beforeCmd": outcome.before.to_json(),
        "afterCmd": outcome.after.to_json(),
        "id": f"{outcome.host}/{outcome.project}@{outcome.wanted_revision}",
        "host": outcome.host,
        "project": outcome.project,
        "revision": outcome.wanted_revision,
        "state": outcome.state,
        "deployPath": outcome.deploy_path,
        "files": [change.to_json() for change in outcome.changes],
        "startedAt": outcome.started,
        "finishedAt": outcome.finished,
    }


def status_body(outcome: Outcome, by: str, version: str) -> dict[str, Any]:
    """Return the status of an outcome (contract, section 6); ``by`` is agent or playbook.

    ``nextTry`` is there while a try is planned.
    """
    body = {
        "state": outcome.state,
        "revision": outcome.revision,
        "wantedRevision": outcome.wanted_revision,
        "digest": outcome.digest,
        "files": outcome.files,
        "msg": outcome.msg,
        "by": by,
        "version": version,
        "startedAt": outcome.started,
        "finishedAt": outcome.finished,
        "attempts": outcome.attempts,
    }
    return {**body, "nextTry": outcome.due} if outcome.due else body


def parse_status(value: bytes) -> dict[str, Any]:
    """Return a stored status; one that is not ours counts as the oldest possible."""
    try:
        data = json.loads(value.decode("utf-8"))
        number = data["wantedRevision"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"wantedRevision": 0}
    return data if isinstance(data, dict) and isinstance(number, int) else {"wantedRevision": 0}


def tells_nothing_new(stored: dict[str, Any], status: dict[str, Any], newest: int) -> bool:
    """Return whether a status would only repeat the stored one.

    ``newest`` is the revision at which the project was last modified, or one that somebody waits
    for: a stored status older than that says too little.
    """
    same = all(stored.get(name) == status[name] for name in ("state", "digest", "files", "msg"))
    settled = status["state"] != "failed" and status["state"] != "rolledBack"
    seen = stored.get("revision", 0) if status["state"] in ("deployed", "removed") else stored["wantedRevision"]
    return same and settled and isinstance(seen, int) and seen >= newest


def write_status(store: Store, tree: Tree, outcome: Outcome, by: str, version: str, newest: int) -> bool:
    """Write the status of an outcome, unless a newer one is there or it says nothing new; return if written.

    Raise StoreError when the store refuses or is away.
    """
    key = tree.status(outcome.host, outcome.project)
    status = status_body(outcome, by, version)
    for _unused in range(TRIES):
        item, _revision = store.get(key)
        stored = parse_status(item.value) if item else {"wantedRevision": 0}
        if item and stored["wantedRevision"] >= item.revision:  # of the store that was here before this one
            stored = {"wantedRevision": 0}
        if outcome.revision == UNKNOWN:
            status["revision"] = stored.get("revision", 0)
        if stored["wantedRevision"] > status["wantedRevision"]:
            return False
        if not outcome.ran and item and tells_nothing_new(stored, status, newest):
            return False
        guard = Guard(key, item.revision if item else 0, exact=True)
        value = json.dumps(status, ensure_ascii=False).encode("utf-8", "backslashreplace")
        try:
            store.commit(Write(puts=((key, value),), guards=(guard,)))
        except ConflictError:
            continue
        return True
    raise ConflictError(f"status {key}: others keep writing it")


def removed(project: Project) -> Outcome:
    """Return the outcome of a project of which nothing is left, in the tree or on the host."""
    when = timestamp()
    digest = project.digest
    return Outcome(
        project.host,
        project.name,
        "removed",
        project.revision,
        project.revision,
        digest,
        0,
        started=when,
        finished=when,
    )


def unreachable(project: Project, why: str, when: str) -> Outcome:
    """Return the outcome of a deployment that could not even begin."""
    return Outcome(
        project.host,
        project.name,
        "failed",
        UNKNOWN,
        project.revision,
        project.digest,
        len(project.files),
        f"{project.where}: {why}",
        callback=project.policy.callback if project.policy else "",
        deploy_path=project.policy.deploy_path if project.policy else "",
        started=when,
        finished=when,
    )
