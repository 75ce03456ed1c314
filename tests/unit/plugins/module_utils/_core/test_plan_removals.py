# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which removals are carried out, and which are held."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    Ledger,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.plan import (
    Evidence,
    renewed,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.tests.unit.planning import (
    MANY,
    ROOT,
    ledger,
    plan,
    project,
    steps,
)

EMPTY_MANIFEST = Policy.from_data({"deployPath": ROOT, "files": {}}, "test")


@pytest.mark.parametrize(
    ("wanted", "owned", "evidence", "state", "deleted"),
    [
        (project(dict.fromkeys(MANY[:11], "x")), ledger(MANY), Evidence(), "deployed", 9),
        (project(dict.fromkeys(MANY[:10], "x")), ledger(MANY), Evidence(), "deployed", 10),
        (project(dict.fromkeys(MANY[:9], "x")), ledger(MANY), Evidence(), "held", 11),
        (project({}), ledger(MANY[:10]), Evidence(), "deployed", 10),
        (project({}), ledger(MANY[:11]), Evidence(), "held", 11),
        (project(None), ledger(MANY[:10]), Evidence(), "removed", 10),
        (project(None), ledger(MANY[:11]), Evidence(), "held", 11),
        (project(None), ledger(MANY), Evidence(confirmed=True), "removed", 20),
        (project(None), ledger(MANY), Evidence(with_policy=frozenset(MANY)), "removed", 20),
        (project(None), ledger(MANY), Evidence(with_policy=frozenset(MANY[1:])), "held", 20),
        (project(None), ledger(MANY), Evidence(reread=True), "held", 20),
        (project({}, policy=EMPTY_MANIFEST), ledger(MANY), Evidence(), "deployed", 20),
        (project(dict.fromkeys(MANY, "x"), "/new"), ledger(MANY), Evidence(), "deployed", 20),
    ],
)  # fmt: skip
def test_mass_removal(wanted: Project, owned: Ledger, evidence: Evidence, state: str, deleted: int) -> None:
    """More than ten files and more than half of a project are held, unless something vouches for it."""
    found = plan(wanted, owned, evidence=evidence)
    assert found.state == state
    if state == "held":
        assert len(found.asks) == deleted
        assert "deploy with confirm if that is meant" in found.msg
    else:
        assert [step.kind for step in found.steps].count("delete") == deleted


@pytest.mark.parametrize(
    ("cluster", "revision", "reread", "holds"),
    [(1, 20, False, False), (1, 20, True, False), (1, 5, True, True), (2, 20, False, True), (2, 5, False, True)],
)
def test_a_replaced_store(cluster: int, revision: int, reread: bool, holds: bool) -> None:
    """In a store that was replaced or went back, what is missing is held; what is there is deployed."""
    wanted = project({"a": "y"}, cluster_id=cluster, revision=revision)
    found = plan(wanted, ledger(["a", "b"]), evidence=Evidence(reread=reread))
    assert (found.state, steps(found)) == ("deployed", ["set a"] if holds else ["set a", "delete b"])
    assert [(place[1], owned.held) for place, owned in found.keep.items()] == ([("b", True)] if holds else [])
    assert ("1 files (such as 'b') are missing from a store that was replaced" in " ".join(found.notes)) == holds


def test_held_files() -> None:
    """They stay until they are published again or somebody confirms, also in later revisions."""
    owned = ledger(["a", "b"], held=["b"])
    assert steps(plan(project({}), owned)) == ["delete a"]
    assert steps(plan(project({}), owned, evidence=Evidence(confirmed=True))) == ["delete a", "delete b"]
    assert plan(project({"b": "x"}), owned).keep == {}
    assert plan(project(None), owned).state == "held"
    assert plan(project(None), owned).asks == ()
    assert plan(project(None), owned, evidence=Evidence(confirmed=True)).state == "removed"


def test_renewed() -> None:
    """The ledger follows to the new store, so that later revisions of that one cannot delete either."""
    owned = ledger(["a", "b"])
    followed = renewed(project(None, cluster_id=2, revision=3), owned, Evidence())
    assert (followed.cluster_id, followed.revision) == (2, 3)
    assert plan(project(None, cluster_id=2, revision=400), followed).state == "held"
    assert renewed(project(None, revision=3), owned, Evidence()) == owned
    kept = renewed(project({}, cluster_id=2, kept=frozenset("a")), owned, Evidence())
    assert [owned.held for owned in kept.files.values()] == [False, True]


def test_kept() -> None:
    """A file whose new value was refused stays as it is, and that is said."""
    wanted = project({"b": "x"}, kept=frozenset("a"), rejected={"/w/a": "too big"})
    found = plan(wanted, ledger(["a", "b", "c"]))
    assert (steps(found), list(found.keep), found.notes) == (["delete c"], [(ROOT, "a")], ("too big",))
