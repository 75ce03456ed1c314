# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes first in a deployment: the end of one that was killed, or could not be undone."""

from __future__ import annotations

from dataclasses import replace

from . import journal
from .errors import DeployError
from .failpoints import reach
from .hooks import unstage
from .model import Ledger


def interrupted(ledger: Ledger) -> bool:
    """Return whether there is anything to recover from."""
    return bool(ledger.journal) or ledger.owed is not None


def recovered(ledger: Ledger, staged: str, keep: str) -> Ledger:
    """Clean up what was done, or bring back what was not; return the ledger after that. Commands stay owed.

    ``staged`` is the folder for checkCmd, ``keep`` a deploy path that stays although it may be empty.
    DeployError when something cannot be brought back: it is to be tried again.
    """
    reach("recover.begin")
    unstage(staged)
    reach("recover.unstaged")
    if ledger.done:
        left = journal.clean(ledger.journal)
        reach("recover.cleaned")
        folders = journal.sweep(ledger.folders, keep)
        return replace(ledger, journal=tuple(left), folders=tuple(folders), done=bool(left))
    problems = journal.undo(ledger.journal)
    reach("recover.undone")
    if problems:
        raise DeployError(
            f"an interrupted deployment could not be undone, which the next try does first: {'; '.join(problems)}"
        )
    return replace(ledger, journal=(), claims=())
