# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers of the measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def minus(samples: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the differences, round by round."""
    return [sample - other for sample, other in zip(samples, others, strict=True)]


def p95(samples: list[float]) -> float:
    """Return the sample that one in twenty exceeds."""
    return sorted(samples)[len(samples) * 95 // 100]
