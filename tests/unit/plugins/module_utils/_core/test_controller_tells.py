# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller tells others: statuses, callbacks, results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.controller import (
    LITTLE,
    Controller,
    tell,
    unreachable_course,
)
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.report import parse_status
from ansible_collections.watcher.config.plugins.module_utils._core.result import task_result
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.world import World

TREE = Tree()
BIG = b"x" * (LITTLE // 2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return an empty world."""
    return World(tmp_path)


def test_unreachable(world: World, tmp_path: Path) -> None:
    """Each project of a host that cannot be reached fails, except those that were done before."""
    world.put({"a": b"1"})
    world.put({"b": b"1"}, "b.com")
    done = [outcome for outcome in world.run().outcomes if outcome.project == "b.com"]
    course = unreachable_course(world.store, TREE, "web01", None, "no route", "2026-01-31T10:00:00.000Z", done)
    assert {outcome.project: outcome.state for outcome in course.outcomes} == {"a.com": "failed", "b.com": "deployed"}
    assert tell(world.store, TREE, course, Spool(str(tmp_path / "spool")), version="1") == []
    item, _unused = world.store.get(TREE.status("web01", "a.com"))
    assert item is not None
    assert json.loads(item.value)["msg"] == "host web01, project a.com: no route"


def test_strays_are_warned_of(world: World) -> None:
    """Keys below the host that belong to no project are named."""
    world.put({"a": b"1"})
    world.store.put("/watcher/web01/b c/config")
    assert "'b c'" in world.run().warnings[0]


def test_told(world: World, tmp_path: Path) -> None:
    """Callbacks are sent for what was attempted, statuses written for all; trouble with either is a sentence."""
    posted: list[dict[str, Any]] = []

    def send(url: str, body: bytes) -> str:
        posted.append(json.loads(body))
        return "refused" if "bad" in url else ""

    spool = Spool(str(tmp_path / "spool"), send=send)
    world.put({"a": b"1"}, callback="http://good/")
    world.put({"b": b"1"}, "b.com", callback="http://bad/")
    world.put({"c": b"1"}, "c.com", callback="http://bad/")
    course = world.run()
    problems = tell(world.store, TREE, course, spool, version="1")
    assert len(problems) == 1
    assert "callback web01/b.com@" in problems[0]
    assert [body["project"] for body in posted] == ["a.com", "b.com"]  # the silent one gets the other later
    posted.clear()
    tell(world.store, TREE, world.run(), Spool(str(tmp_path / "other"), send=send), version="1")
    assert posted == []
    result = task_result(course)
    assert (result["changed"], result["failed"]) == (True, False)
    assert task_result(world.run())["changed"] is False


def test_a_status_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    """It is said, and keeps nobody from calling back."""
    posted: list[bytes] = []
    world.put({"a": b"1"}, callback="http://good/")
    course = world.run()
    world.store.fail(UnavailableError("away"))
    spool = Spool(str(tmp_path / "spool"), send=lambda url, body: posted.append(body) or "")  # type: ignore[func-returns-value]
    problems = tell(world.store, TREE, course, spool, version="1")
    assert problems == ["host web01, project a.com: the status was not written: away"]
    assert len(posted) == 1


def test_a_spool_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    """It is said as well."""
    (tmp_path / "spool").write_bytes(b"")
    world.put({"a": b"1"}, callback="http://good/")
    problems = tell(world.store, TREE, world.run(), Spool(str(tmp_path / "spool")), version="1")
    assert "the callback could not be stored" in problems[0]


def state(world: World, project: str) -> str:
    """Return the state that the tree has of a project."""
    item, _revision = world.store.get(TREE.status("web01", project))
    assert item is not None
    return str(parse_status(item.value)["state"])


def test_a_project_of_which_nothing_is_left(world: World, tmp_path: Path) -> None:
    """One that never got onto the disk is told as removed; so is one that somebody waits for, and no other."""
    spool = Spool(str(tmp_path / "spool"))
    world.store.put(TREE.policy("web01", "a.com"), b'{"deployPath": "relative"}')
    tell(world.store, TREE, world.run(), spool, version="1")
    assert state(world, "a.com") == "failed"
    world.store.commit(Write(delete_prefixes=(TREE.project("web01", "a.com"),)))
    assert tell(world.store, TREE, world.run(), spool, version="1") == []
    assert state(world, "a.com") == "removed"
    revision = world.store.revision
    tell(world.store, TREE, world.run(), spool, version="1")
    assert world.store.revision == revision
    course = Controller(world.store, TREE, "web01", lambda _parcel: [], ["b.com"]).run()
    tell(world.store, TREE, course, spool, version="1")
    assert world.store.revision == revision
    tell(world.store, TREE, course, spool, version="1", revision=revision)
    assert state(world, "b.com") == "removed"
