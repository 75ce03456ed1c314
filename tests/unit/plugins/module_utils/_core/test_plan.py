# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions, as tables: wanted, remembered and found -> steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Found,
    Ledger,
    Owned,
    Place,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.plan import (
    MAX_NOTES,
    Evidence,
    Plan,
    Sight,
    make_plan,
    places,
    renewed,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Attributes, Step

ROOT = "/srv"
ANY, NONE = Attributes(), Evidence()
MANY = [f"f{number:02}" for number in range(20)]


def digest(content: str) -> str:
    """Return the digest of a content."""
    return File.of(content.encode()).digest


def project(files: Mapping[str, str] | None, root: str = ROOT, **more: Any) -> Project:
    """Return a project at revision 20 with these contents; without files it is gone."""
    if files is None:
        return replace(Project("web01", "a.com", 20, 1), **more)
    policy = Policy.from_data({"deployPath": root}, "test")
    wanted = {path: File.of(content.encode()) for path, content in files.items()}
    return replace(Project("web01", "a.com", 20, 1, policy, files=wanted), **more)


def ledger(files: Mapping[str, str] | Sequence[str] = (), *, held: Sequence[str] = (), **more: Any) -> Ledger:
    """Return a ledger at revision 10 with these contents below ``ROOT``."""
    contents = files if isinstance(files, Mapping) else dict.fromkeys(files, "x")
    owned = {(ROOT, path): Owned(digest(content), path in held) for path, content in contents.items()}
    policy = {"deployPath": ROOT} if owned else None
    return replace(Ledger("web01", "a.com", 1, 10, 10, policy, owned), **more)


def plan(
    project: Project,
    ledger: Ledger,
    disk: Mapping[str, Found | str] | None = None,
    *,
    taken: Mapping[str, str] | None = None,
    attributes: Attributes = ANY,
    evidence: Evidence = NONE,
    real: Mapping[Place, str] | None = None,
) -> Plan:
    """Return the plan for a disk of absolute paths; without one, it holds what the ledger says."""
    ledger = renewed(project, ledger, evidence)
    if disk is None:
        disk = {"/".join(place): Found("file", owned.digest) for place, owned in ledger.files.items()}
    found: dict[Place, Found] = {}
    for place in places(project, ledger):
        there = disk.get("/".join(place), Found())
        found[place] = Found("file", digest(there)) if isinstance(there, str) else there
    paths = {place: (real or {}).get(place, "/".join(place)) for place in found}
    return make_plan(project, ledger, Sight(found, paths, taken or {}), attributes, evidence)


def steps(plan: Plan) -> list[str]:
    """Return the steps as words."""
    return [f"{step.kind} {step.path}" for step in plan.steps]


MODE = Found("file", digest("x"), mode=0o644, uid=0, gid=0)


@pytest.mark.parametrize(
    ("wanted", "owned", "disk", "expected"),
    [
        ({"a": "x"}, {}, {}, ["create a"]),
        ({"a": "x"}, {}, {"/srv/a": "x"}, []),
        ({"a": "x"}, {}, {"/srv/a": "theirs"}, ["set a"]),
        ({"a": "x"}, {"a": "x"}, {"/srv/a": "drifted"}, ["set a"]),
        ({"a": "x"}, {"a": "x"}, {}, ["create a"]),
        ({"a": "y"}, {"a": "x"}, {"/srv/a": "x"}, ["set a"]),
        ({"a": "y"}, {"a": "x"}, {"/srv/a": "y"}, []),
        ({"a": ""}, {"a": "x"}, {"/srv/a": Found("link")}, ["set a"]),
        ({}, {"a": "x"}, {"/srv/a": "x"}, ["delete a"]),
        ({}, {"a": "x"}, {"/srv/a": "drifted"}, ["delete a"]),
        ({}, {"a": "x"}, {}, []),
        ({}, {}, {"/srv/a": "theirs"}, []),
        ({}, {"a": "x"}, {"/srv/a": Found("folder", reason="a folder")}, []),
        ({}, {"a": "x"}, {"/srv/a": Found("blocked", reason="a link")}, []),
        ({"b": "x", "a": "x"}, {"c": "x", "a": "y"}, {"/srv/a": "y", "/srv/c": "x"}, ["set a", "create b", "delete c"]),
    ],
)  # fmt: skip
def test_steps(
    wanted: Mapping[str, str], owned: Mapping[str, str], disk: Mapping[str, Found | str], expected: list[str]
) -> None:
    """What is wanted and what is on disk decide; only owned files are deleted."""
    found = plan(project(wanted), ledger(owned), disk)
    assert (found.state, steps(found)) == ("deployed", expected)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (Attributes(), []),
        (Attributes(0o644, 0, 0), []),
        (Attributes(0o600), ["mode a"]),
        (Attributes(0), ["mode a"]),
        (Attributes(uid=5), ["mode a"]),
        (Attributes(gid=5), ["mode a"]),
    ],
)
def test_attributes(attributes: Attributes, expected: list[str]) -> None:
    """Mode, owner and group are put right where the policy names them."""
    assert steps(plan(project({"a": "x"}), ledger({"a": "x"}), {"/srv/a": MODE}, attributes=attributes)) == expected


def test_file_becomes_folder() -> None:
    """The old file goes first, and temporary files live where nothing changes its kind."""
    blocked = Found("blocked", reason="a is no folder", above="d/a")
    disk: dict[str, Found | str] = {"/srv/d/a": "x", "/srv/d/a/b": blocked, "/srv/d/a/c/e": blocked}
    found = plan(project({"d/a/b": "x", "d/a/c/e": "x"}), ledger({"d/a": "x"}), disk)
    assert steps(found) == ["delete d/a", "create d/a/b", "create d/a/c/e"]
    assert [step.base for step in found.steps] == ["d", "d", "d"]


def test_folder_becomes_file() -> None:
    """The files of a folder of ours go first."""
    disk: dict[str, Found | str] = {"/srv/d": Found("folder", reason="a folder"), "/srv/d/x/a": "x", "/srv/d/b": "x"}
    owned = ledger(["d/x/a", "d/b", "z"], folders=((ROOT, "d"), (ROOT, "d/x")))
    found = plan(project({"d": "x"}), owned, {**disk, "/srv/z": "x"})
    assert steps(found) == ["delete d/b", "delete d/x/a", "create d", "delete z"]
    assert [step.base for step in found.steps] == [""] * 4
    assert plan(project({"d": "x"}), replace(owned, folders=()), disk).msg == "host web01, project a.com: a folder"
    held = ledger(["d/b"], held=["d/b"], folders=((ROOT, "d"),))
    assert plan(project({"d": "x"}), held, disk).state == "failed"


@pytest.mark.parametrize(
    ("above", "owned"), [("a", {}), ("a", {"x": "x"}), ("", {"a": "x"}), ("a", {"a/b": "x"}), ("z", {"a": "x"})]
)
def test_blocked_by_others(above: str, owned: Mapping[str, str]) -> None:
    """What blocks a path and is not a file of ours that goes makes the deployment fail."""
    disk = {"/srv/a/b": Found("blocked", reason="a link, which is not followed", above=above)}
    found = plan(project({"a/b": "x"}), ledger(owned), disk)
    assert (found.state, found.msg) == ("failed", "host web01, project a.com: a link, which is not followed")


def test_moved() -> None:
    """With another deployPath, files are made there and deleted here."""
    found = plan(project({"a": "x", "b": "x"}, "/new"), ledger(["a", "b", "c"]))
    assert [(step.kind, step.place) for step in found.steps] == [
        ("create", ("/new", "a")),
        ("create", ("/new", "b")),
        ("delete", (ROOT, "a")),
        ("delete", (ROOT, "b")),
        ("delete", (ROOT, "c")),
    ]


def test_moved_to_the_same_file() -> None:
    """A place that is another name of a wanted file is not deleted."""
    real = {("/link", "a"): "/srv/a", (ROOT, "a"): "/srv/a"}
    found = plan(
        project({"a": "x"}, "/link"), ledger(["a", "b"]), {"/link/a": "x", "/srv/a": "x", "/srv/b": "x"}, real=real
    )
    assert steps(found) == ["delete b"]


def test_taken() -> None:
    """A path of another project is refused with its name, also by its absolute path."""
    found = plan(project({"a": "x"}, "/link"), ledger(), real={("/link", "a"): "/srv/a"}, taken={"/srv/a": "b.com"})
    assert (found.state, found.steps) == ("failed", ())
    assert found.msg == (
        "host web01, project a.com: /link/a belongs to project b.com of this host;"
        " publish it in one of the two projects only"
    )


MANIFEST = Policy.from_data({"deployPath": ROOT, "files": {"a": digest("x")}}, "test")
EMPTY_MANIFEST = Policy.from_data({"deployPath": ROOT, "files": {}}, "test")


@pytest.mark.parametrize(
    ("wanted", "owned", "state", "words"),
    [
        (project(None), ledger(), "unknown", "no such project"),
        (project({"a": "x"}, revision=9), ledger(["a"]), "stale", "revision 10 was deployed, 9 is older"),
        (project({"a": "x"}, revision=9), ledger(), "stale", "older"),
        (project({"a": "x"}, revision=10), ledger(["a"]), "deployed", ""),
        (project({"a": "x"}, revision=9, cluster_id=2), ledger(["a"]), "deployed", ""),
        (project({"a": "x"}, policy=None), ledger(), "waiting", "the policy (key config) is missing"),
        (project({"a": "y"}, policy=None), ledger(["a", "b"]), "held", "is missing; its 2 files stay"),
        (project({}, policy=None, rejected={"k": "bad"}), ledger(["a"]), "held", "its 1 files stay"),
        (project({"a": "x"}, policy=None, policy_error="broken"), ledger(["a"]), "failed", "broken"),
        (project({}, policy=MANIFEST), ledger(["a"]), "waiting", "1 of 1 files of the policy's manifest"),
        (project({"a": "y"}, policy=MANIFEST), ledger(), "waiting", "such as 'a'"),
        (project({"a": "x", "b": "x"}, policy=MANIFEST), ledger(), "waiting", "and 1 are not in it (such as 'b')"),
        (project({"a": "x"}, policy=MANIFEST), ledger(), "deployed", ""),
        (project({}, policy=Policy.from_data({"deployPath": ROOT, "render": True}, "")), ledger(), "failed", "render"),
        (project({}, policy=Policy.from_data({"deployPath": ROOT, "watch": ["/w"]}, "")), ledger(), "failed", "watch"),
        (project(None), ledger(["a"]), "removed", ""),
        (project(None), ledger(owed=["a"], policy={"deployPath": ROOT}), "removed", ""),
    ],
)  # fmt: skip
def test_obstacles(wanted: Project, owned: Ledger, state: str, words: str) -> None:
    """What may not be carried out says why, and has no steps."""
    found = plan(wanted, owned)
    assert (found.state, words in found.msg) == (state, True)
    assert found.ready == (state in ("deployed", "removed"))
    assert found.ready or not found.steps


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


def test_notes_are_bounded() -> None:
    """A status stays small, however many keys are wrong."""
    wanted = project({}, rejected={str(number): "bad" for number in range(1000)})
    assert plan(wanted, ledger()).notes == (*["bad"] * MAX_NOTES, "and 990 more like these")


def test_content_that_was_not_sent() -> None:
    """Nothing is ever written for a content that is not there."""
    with pytest.raises(DeployError, match="the content of /srv/a was not sent"):
        _ = Step("create", ROOT, "a", Found(), File("sha256:0", 1)).content
