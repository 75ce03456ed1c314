# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings as lines and as an exit code."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.finding import FAIL, OK, WARN, Finding, exit_code


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (Finding(OK, "etcd", "answers"), "OK    etcd: answers"),
        (Finding(WARN, "clock", "is wrong"), "WARN  clock: is wrong"),
        (Finding(FAIL, "project a", "said\nno\x1b[31m"), "FAIL  project a: said no [31m"),
    ],
)
def test_lines(finding: Finding, line: str) -> None:
    """Each is one line, without anything that a terminal would obey."""
    assert str(finding) == line


def test_exit_code() -> None:
    """Only what failed counts, and the gravest of it decides."""
    assert exit_code([]) == 0
    assert exit_code([Finding(OK, "a", ""), Finding(WARN, "a", "", 3)]) == 0
    assert exit_code([Finding(FAIL, "a", ""), Finding(OK, "a", "")]) == 1
    assert exit_code([Finding(FAIL, "a", "", 3), Finding(FAIL, "a", "")]) == 3
