# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the statuses in the tree mean for who hands on changes (pure)."""

from __future__ import annotations

from typing import NamedTuple

from .keys import Tree
from .report import parse_status
from .store import Batch, Listing


class Reported(NamedTuple):
    """What a host said of a project, at the store's revision ``written``.

    ``wanted`` is the revision that it tried last, 0 for nothing; ``failed`` says that this failed and is
    not the agent's to try again.
    """

    host: str
    project: str
    wanted: int
    failed: bool
    written: int


def reported(tree: Tree, item: Listing | Batch) -> list[Reported]:
    """Return what a listing or batch of statuses says."""
    found = []
    for entry in item.items if isinstance(item, Listing) else item.events:
        host, _slash, project = entry.key[len(tree.status_root) :].decode("utf-8", "replace").partition("/")
        status = parse_status(entry.value)
        wanted: int = status["wantedRevision"]
        if wanted >= entry.revision:  # of the store that was here before this one
            wanted = 0
        failed = status.get("by") == "playbook" and status.get("state") in ("failed", "rolledBack")
        found.append(Reported(host, project, wanted, failed, entry.revision))
    return found
