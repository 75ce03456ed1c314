# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events with a clock and a store that is made up, for the tests of what they are about."""

from __future__ import annotations

from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.changes import Change
from ansible_collections.watcher.config.plugins.module_utils._core.events import Events
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position


def change(project: str = "p", host: str = "h1", revision: int = 10, keys: int = 1, **more: Any) -> Change:
    """Return a change of one file, unless told otherwise."""
    return Change(project, host, revision, (keys, revision), **{"files": {"f": "set"}, **more})


class Feed:
    """Events with a clock, and a store whose revision is that of the newest change."""

    def __init__(self, **options: Any) -> None:
        """Start at 100 s with nothing."""
        self.now = 100.0
        self.events = Events(**options)

    def add(self, *changes: Change) -> None:
        """Let these changes arrive as one batch."""
        self.events.add(changes, self.now)
        self.events.reach(Position(7, max(each.revision for each in changes), b"k", 1))

    def take(self, after: float = 0.0) -> dict[str, Any] | None:
        """Return the event that is due after so many seconds, not yet handed."""
        self.now += after
        return self.events.take(self.now)

    def hand(self, after: float = 10.0) -> list[dict[str, Any]]:
        """Hand on all events that are due after so many seconds."""
        self.now += after
        found = []
        while (event := self.events.take(self.now)) is not None:
            self.events.handed(event["watcher"]["project"], self.now)
            found.append(event["watcher"])
        return found

    @property
    def saved(self) -> int:
        """Return the revision from which a restart would go on; 0 for the beginning."""
        saved = self.events.saved()
        return saved[0].revision if saved else 0
