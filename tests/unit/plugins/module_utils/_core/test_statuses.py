# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What statuses mean for who hands on changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.statuses import Reported, reported
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, Event, KeyValue, Listing

KEY = b"/watcher.status/web01/a.com"


@pytest.mark.parametrize(
    ("status", "wanted", "failed"),
    [
        ({"wantedRevision": 7, "state": "deployed", "by": "playbook"}, 7, False),
        ({"wantedRevision": 7, "state": "failed", "by": "playbook"}, 7, True),
        ({"wantedRevision": 7, "state": "rolledBack", "by": "playbook"}, 7, True),
        ({"wantedRevision": 7, "state": "held", "by": "playbook"}, 7, False),
        ({"wantedRevision": 7, "state": "failed", "by": "agent"}, 7, False),  # the agent tries again
        ({"wantedRevision": 9, "state": "deployed"}, 9, False),
        ({"wantedRevision": 10, "state": "deployed"}, 0, False),  # no host can know its own report's revision
        ({"wantedRevision": 11, "state": "deployed"}, 0, False),
        ({"wantedRevision": "7"}, 0, False),
        ([], 0, False),
        (None, 0, False),
    ],
)
def test_a_status(status: Any, wanted: int, failed: bool) -> None:
    """The revision that was tried, and whether it is for us to try again; the same in a listing and in a batch."""
    value = json.dumps(status).encode()
    expected = [Reported("web01", "a.com", wanted, failed, 10)]
    assert reported(Tree(), Listing((KeyValue(KEY, value, 10),), 20, 1)) == expected
    assert reported(Tree(), Batch((Event(KEY, value, 10),), 10)) == expected


def test_a_status_that_was_deleted() -> None:
    """The host has reported nothing."""
    assert reported(Tree(), Batch((Event(KEY, b"", 10, True),), 10)) == [Reported("web01", "a.com", 0, False, 10)]


def test_a_key_that_is_no_status() -> None:
    """It is of no host that there is, and ends nothing."""
    (found,) = reported(Tree(), Batch((Event(b"/watcher.status/\xff", b"\xff", 10),), 10))
    assert (found.project, found.wanted) == ("", 0)
