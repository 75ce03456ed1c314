# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named points of a deployment at which a test may end the process, as a power loss would.

They cost one comparison and do nothing unless the environment names one when the process starts:
``WATCHER_FAILPOINT=swap.move`` ends it the first time that it comes there, ``swap.move:3`` the third time.
"""

from __future__ import annotations

import os
import signal
from typing import Callable

VARIABLE = "WATCHER_FAILPOINT"

# Each is reached when what it names has happened, and nothing after that.
POINTS = (
    # files and folders, whoever makes them
    "folder.made",
    "folder.done",
    "folder.removed",
    "file.created",
    "file.written",
    # the ledger
    "ledger.written",
    "ledger.new",
    "ledger.replaced",
    # a deployment, from its journal to the end
    "begin.recorded",
    "stage.synced",
    "stage.done",
    "stage.recorded",
    "check.file",
    "check.staged",
    "check.ran",
    "check.done",
    "before.done",
    "backup.copied",
    "backup.named",
    "backup.made",
    "backup.done",
    "swap.aside",
    "place.begun",
    "place.filled",
    "swap.move",
    "swap.synced",
    "swap.done",
    "after.done",
    "kept.recorded",
    "clean.removed",
    "clean.synced",
    "finish.cleaned",
    "finish.pruned",
    "finish.swept",
    "finish.recorded",
    "settled.recorded",
    # the way back
    "undo.begin",
    "undo.removed",
    "undo.renamed",
    "undo.move",
    "undo.synced",
    "undo.dropped",
    "undo.done",
    "again.done",
    "failure.recorded",
    # what the next process does about one that was killed
    "recover.begin",
    "recover.unstaged",
    "recover.cleaned",
    "recover.undone",
    "recover.recorded",
)


def _killer(text: str) -> Callable[[str], None] | None:
    """Return what ends the process at the point that the text names; None for an empty one."""
    if not text:
        return None
    point, _unused, number = text.partition(":")
    left = int(number or 1)

    def kill(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


armed: Callable[[str], None] | None = _killer(os.environ.get(VARIABLE, ""))  # called at each point; tests may set it


def reach(name: str) -> None:
    """Say that a deployment has come to a point."""
    if armed is not None:
        armed(name)
