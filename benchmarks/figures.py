# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark says, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

HEAD = ("what", "median (min-max)", "limit or peer", "ratio", "goal", "within")


@dataclass(frozen=True)
class Figure:
    """Samples, beside a limit or the samples of a peer from the same run; all in ``unit``, by default seconds.

    ``at_most`` is the goal of the ratio to either; None where there is no goal and the figure only informs.
    """

    what: str
    samples: Sequence[float]
    limit: float | None = None
    peer: str = ""
    peer_samples: Sequence[float] = ()
    at_most: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        """Return the median by the limit or the peer's median; None without either."""
        beside = self.limit if self.limit is not None else median(self.peer_samples) if self.peer_samples else None
        return median(self.samples) / beside if beside else None

    @property
    def within(self) -> bool | None:
        """Return whether the goal is met; None where there is none."""
        return None if self.at_most is None or self.ratio is None else self.ratio <= self.at_most

    def cells(self) -> tuple[str, ...]:
        """Return the figure as a row of the table."""
        beside = f"{self.peer}: {spread(self.peer_samples, self.unit)}" if self.peer_samples else ""
        return (
            self.what,
            spread(self.samples, self.unit),
            shown(self.limit, self.unit) if self.limit is not None else beside,
            "" if self.ratio is None else f"{self.ratio:.3g}",
            "" if self.at_most is None else f"<= {self.at_most:g}",
            {True: "yes", False: "NO", None: ""}[self.within],
        )


def shown(value: float, unit: str = "s") -> str:
    """Return a value with its unit, a time with one that fits it."""
    if unit != "s":
        return f"{value:.2f} {unit}"
    return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1000:.{1 if abs(value) < 0.1 else 0}f} ms"


def spread(samples: Sequence[float], unit: str = "s") -> str:
    """Return the median, the extremes and the count of samples."""
    extremes = f" ({shown(min(samples), unit)} - {shown(max(samples), unit)})" if len(samples) > 1 else ""
    return f"{shown(median(samples), unit)}{extremes} n={len(samples)}"


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as one table."""
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
