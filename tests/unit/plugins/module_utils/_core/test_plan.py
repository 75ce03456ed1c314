# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions, as tables: wanted, remembered and found -> steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Found,
    Ledger,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.plan import (
    MAX_NOTES,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Attributes, Step
from ansible_collections.watcher.config.tests.unit.planning import (
    ROOT,
    digest,
    ledger,
    plan,
    project,
    steps,
)

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
        (project({}, policy=MANIFEST), ledger(["a"]), "waiting", "1 of 1 files are missing or different"),
        (project({"a": "y"}, policy=MANIFEST), ledger(), "waiting", "such as 'a'"),
        (project({"a": "x", "b": "x"}, policy=MANIFEST), ledger(), "waiting", "and 1 are too many (such as 'b')"),
        (project({"a": "x"}, policy=MANIFEST), ledger(), "deployed", ""),
        (project({"a": "x"}, render_error="template x"), ledger(["a"]), "failed", "template x"),
        (project({"a": "x"}, policy_error="broken", render_error="template x"), ledger(["a"]), "failed", "broken"),
        (project({"a": "x"}, policy=MANIFEST, render_error="template x"), ledger(), "failed", "template x"),
        (project({}, policy=Policy.from_data({"deployPath": ROOT, "watch": ["/w"]}, "")), ledger(), "deployed", ""),
        (project({}, policy=Policy.from_data({"deployPath": ROOT, "render": True}, "")), ledger(), "deployed", ""),
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


def test_notes_are_bounded() -> None:
    """A status stays small, however many keys are wrong."""
    wanted = project({}, rejected={str(number): "bad" for number in range(1000)})
    assert plan(wanted, ledger()).notes == (*["bad"] * MAX_NOTES, "and 990 more like these")


def test_content_that_was_not_sent() -> None:
    """Nothing is ever written for a content that is not there."""
    with pytest.raises(DeployError, match="the content of /srv/a was not sent"):
        _unused = Step("create", ROOT, "a", Found(), File("sha256:0", 1)).content
