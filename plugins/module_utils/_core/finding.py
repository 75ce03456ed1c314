# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that somebody looked at, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .exits import ILL, WELL
from .keys import CONTROL

OK, WARN, FAIL = "OK", "WARN", "FAIL"


@dataclass(frozen=True)
class Finding:
    """``what`` was looked at, ``text`` is a sentence; ``code`` is the exit code that a FAIL means."""

    level: str
    what: str
    text: str
    code: int = ILL

    def __str__(self) -> str:
        """Return one line, whatever the parts hold."""
        return CONTROL.sub(" ", f"{self.level:<4}  {self.what}: {self.text}")


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code that findings mean together: the highest of those that failed."""
    return max((finding.code for finding in findings if finding.level == FAIL), default=WELL)
