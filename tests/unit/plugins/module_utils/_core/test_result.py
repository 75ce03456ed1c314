# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outcomes as the result of a task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.controller import Course
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    CommandResult,
    FileChange,
    Outcome,
)
from ansible_collections.watcher.config.plugins.module_utils._core.result import task_result

OUTCOME = Outcome("web01", "a.com", "deployed", 5, 5, "", 1, ran=True, changes=(FileChange("a", "set"),))


def test_commands() -> None:
    """Each has its output, problem and exit code; what was not run has none."""
    after = CommandResult("out\n", "afterCmd failed with exit status 3: out", 3)
    (project,) = task_result(Course([replace(OUTCOME, after=after)]))["projects"]
    nothing = {"out": "", "problem": "", "code": None}
    assert project["commands"] == {
        "checkCmd": nothing,
        "beforeCmd": nothing,
        "afterCmd": {"out": "out\n", "problem": "afterCmd failed with exit status 3: out", "code": 3},
    }


@pytest.mark.parametrize(
    ("outcomes", "changed", "failed", "msg"),
    [
        ([], False, False, "nothing is published for this host"),
        ([OUTCOME], True, False, "a.com deployed (1 files changed)"),
        ([replace(OUTCOME, changes=(), ran=False)], False, False, "a.com deployed (0 files changed)"),
        ([replace(OUTCOME, changes=())], True, False, "a.com deployed (0 files changed)"),
        ([replace(OUTCOME, state="removed")], True, False, "a.com removed (1 files changed)"),
        ([replace(OUTCOME, state="failed", msg="why")], False, True, "why"),
        ([replace(OUTCOME, state="rolledBack", msg="why"), OUTCOME], True, True, "why"),
        ([replace(OUTCOME, state="held", msg="held", ran=False)], False, False, "a.com held (1 files changed)"),
        ([replace(OUTCOME, state="unknown", msg="?")], False, False, "nothing is published for this host"),
    ],
)
def test_result(outcomes: list[Outcome], changed: bool, failed: bool, msg: str) -> None:
    """A task changed something when files or commands did; a failed project fails it; the rest is a warning."""
    result = task_result(Course(outcomes))
    assert (result["changed"], result["failed"], result["msg"]) == (changed, failed, msg)
    assert result.get("warnings", []) == [outcome.msg for outcome in outcomes if outcome.state == "held"]
