# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of two changes of one project on one host."""

from __future__ import annotations

from ansible_collections.watcher.config.plugins.module_utils._core.changes import Change


def change(revision: int, mark: tuple[int, int], **more: object) -> Change:
    """Return a change of a.com on web01."""
    return Change("a.com", "web01", revision, mark, **more)  # type: ignore[arg-type]


def test_changes_add_up() -> None:
    """The later action on a file counts, and a cut stays one."""
    first = change(10, (3, 10), policy_changed=True, files={"a": "set", "b": "set"}, files_cut=2)
    second = change(11, (2, 11), files={"b": "delete", "c": "set"})
    assert first.then(second) == change(
        11, (2, 11), policy_changed=True, files={"a": "set", "b": "delete", "c": "set"}, files_cut=2
    )


def test_a_replay_stands_alone() -> None:
    """It says all there is; a change after it makes it no less a replay."""
    replayed = change(20, (1, 20), files={"a": "set"}, replayed=True)
    assert change(10, (1, 10), files={"b": "delete"}).then(replayed) == replayed
    assert replayed.then(change(21, (1, 21), files={"a": "set"})).replayed


def test_changes_of_values_add_up() -> None:
    """They are told, and what is due is the newest: what is beside the project comes in no order with its own keys."""
    values = change(20, (1, 10), values_changed=True, beside=True)
    file = change(11, (2, 11), files={"a": "set"})
    assert values.then(file) == change(20, (2, 11), files={"a": "set"}, values_changed=True, beside=True)
    assert file.then(values).revision == 20
    replayed = change(15, (2, 11), replayed=True)
    assert values.then(replayed) == change(15, (2, 11), replayed=True, beside=True)
