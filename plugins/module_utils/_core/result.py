# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes of a host as the result of an Ansible task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .controller import Course
from .diff import text
from .keys import shown
from .model import Outcome
from .publish import Edit, Publication


def task_result(course: Course) -> dict[str, Any]:
    """Return the ``deploy`` module's result."""
    outcomes = [outcome for outcome in course.outcomes if outcome.state != "unknown"]
    failed = [outcome for outcome in outcomes if outcome.failed]
    result: dict[str, Any] = {
        "changed": any(_changed(outcome) for outcome in outcomes),
        "failed": bool(failed),
        "projects": [_project(outcome) for outcome in outcomes],
        "msg": "; ".join(outcome.msg for outcome in failed) or _summary(outcomes),
    }
    warnings = [*course.warnings, *(outcome.msg for outcome in outcomes if outcome.msg and not outcome.failed)]
    differences = [dict(difference) for outcome in outcomes for difference in outcome.diff]
    if warnings:
        result["warnings"] = warnings
    if differences:
        result["diff"] = differences
    return result


def published_result(
    done: Publication, result: Mapping[str, Any], restored: Mapping[str, Any], *, diff: bool
) -> dict[str, Any]:
    """Return the result of the module that published a backup of a file, and what came of the deployment then."""
    differences = [*(_difference(edit) for edit in done.edits if diff), *result.get("diff", ())]
    more = {"diff": differences} if differences else {}
    return {**result, "changed": done.changed or bool(result.get("changed")), "restored": restored, **more}


def _difference(edit: Edit) -> dict[str, str]:
    name = shown(edit.key)
    return {"before_header": name, "after_header": name, "before": text(edit.before), "after": text(edit.after)}


def _changed(outcome: Outcome) -> bool:
    return bool(outcome.changes or outcome.ran) and outcome.state in ("deployed", "removed")


def _project(outcome: Outcome) -> dict[str, Any]:
    commands = {"checkCmd": outcome.check, "beforeCmd": outcome.before, "afterCmd": outcome.after}
    return {
        "project": outcome.project,
        "state": outcome.state,
        "changed": _changed(outcome),
        "revision": outcome.revision,
        "wanted_revision": outcome.wanted_revision,
        "msg": outcome.msg,
        "files": [change.to_json() for change in outcome.changes],
        "commands": {
            name: {"out": result.out, "problem": result.problem, "code": result.code}
            for name, result in commands.items()
        },
    }


def _summary(outcomes: list[Outcome]) -> str:
    parts = [f"{outcome.project} {outcome.state} ({len(outcome.changes)} files changed)" for outcome in outcomes]
    return ", ".join(parts) or "nothing is published for this host"
