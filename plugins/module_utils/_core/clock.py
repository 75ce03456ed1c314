# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time as it is told."""

from __future__ import annotations

from datetime import datetime, timezone


def timestamp(seconds: float | None = None) -> str:
    """Return a time since the epoch, by default now, as statuses and callbacks spell it: UTC, milliseconds."""
    when = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> float:
    """Return the seconds since the epoch of a timestamp; raise ValueError for another text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
