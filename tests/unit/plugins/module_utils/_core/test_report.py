# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback's body and the status in the tree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import ConflictError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    CommandResult,
    FileChange,
    Outcome,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.report import (
    callback_body,
    parse_status,
    unreachable,
    write_status,
)
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.site import Site

TREE = Tree()
OUTCOME = Outcome(
    "web01", "a.com", "deployed", 12, 12, "sha256:0", 3, ran=True, started="t0", finished="t1", deploy_path="/srv"
)


def test_body_of_a_deployment(tmp_path: Path) -> None:
    """The body has exactly the contract's fields, in its order, with Watcher's first."""
    site = Site(tmp_path)
    site.deploy({"ngx.conf": b"old"})
    body = callback_body(
        site.deploy({"ngx.conf": b"new"}, beforeCmd="echo before", afterCmd="echo after", backupDir=str(site.backups))
    )
    assert list(body) == [
        "action", "code", "msg", "md5", "beforeCmd", "afterCmd", "id", "host", "project", "revision", "state",
        "deployPath", "files", "startedAt", "finishedAt",
    ]  # fmt: skip
    (backup,) = map(str, site.backups.iterdir())
    assert body.pop("startedAt") <= body.pop("finishedAt")
    digest = "22af645d1859cb5ca6da0c484f1f37ea"
    assert body == {
        "action": "set",
        "code": 200,
        "msg": "",
        "md5": digest,
        "beforeCmd": {"success": True, "out": "before\n", "err": None, "msg": ""},
        "afterCmd": {"success": True, "out": "after\n", "err": None, "msg": ""},
        "id": "web01/a.com@12",
        "host": "web01",
        "project": "a.com",
        "revision": 12,
        "state": "deployed",
        "deployPath": str(site.root),
        "files": [{"path": "ngx.conf", "action": "set", "md5": digest, "backup": backup}],
    }
    json.dumps(body)


CREATE, SET, DELETE = FileChange("a", "create", "1"), FileChange("b", "set", "2"), FileChange("c", "delete")


@pytest.mark.parametrize(
    ("changes", "action", "md5"),
    [
        ([CREATE], "create", "1"),
        ([CREATE, CREATE], "create", ""),
        ([SET], "set", "2"),
        ([DELETE], "delete", ""),
        ([DELETE, DELETE], "delete", ""),
        ([CREATE, SET], "set", ""),
        ([CREATE, DELETE], "set", "1"),
        ([], "set", ""),
    ],
)
def test_action(changes: list[FileChange], action: str, md5: str) -> None:
    """create and delete when all are, else set; md5 when exactly one file was set."""
    body = callback_body(replace(OUTCOME, changes=changes))
    assert (body["action"], body["md5"]) == (action, md5)


@pytest.mark.parametrize(("state", "code"), [("deployed", 200), ("removed", 200), ("rolledBack", 500), ("failed", 500)])
def test_code(state: str, code: int) -> None:
    """A failure is 500 with its reason, and the command that failed says so in its own fields."""
    failed = CommandResult("out", "afterCmd failed")
    body = callback_body(replace(OUTCOME, state=state, msg="why", after=failed))
    assert (body["code"], body["msg"], body["state"]) == (code, "why", state)
    assert body["afterCmd"] == {"success": False, "out": "out", "err": "afterCmd failed", "msg": "afterCmd failed"}
    assert body["beforeCmd"] == {"success": True, "out": "", "err": None, "msg": ""}


def test_body_of_a_mode(tmp_path: Path) -> None:
    """A file whose mode was put right is a set file with its content's md5."""
    site = Site(tmp_path)
    site.deploy({"a": b"new"})
    body = callback_body(site.deploy({"a": b"new"}, mode="0600"))
    assert (body["action"], body["md5"]) == ("set", "22af645d1859cb5ca6da0c484f1f37ea")


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty store."""
    store = MemoryStore()
    store.revision = 100  # newer than all that is written of
    return store


def status(store: MemoryStore) -> dict[str, Any]:
    """Return the stored status."""
    item, _unused = store.get("/watcher.status/web01/a.com")
    assert item is not None
    data: dict[str, Any] = json.loads(item.value)
    return data


def write(store: MemoryStore, newest: int = 12, **changes: Any) -> bool:
    """Write the status of an outcome with these changes; return whether a revision was made."""
    before = store.revision
    written = write_status(store, TREE, replace(OUTCOME, **changes), "playbook", "1.2.3", newest)
    assert written == (store.revision > before)
    return written


def test_status(store: MemoryStore) -> None:
    """The status has exactly the contract's fields."""
    assert write(store, msg="\u00fc\udcff")
    assert status(store) == {
        "state": "deployed",
        "revision": 12,
        "wantedRevision": 12,
        "digest": "sha256:0",
        "files": 3,
        "msg": "\u00fc\udcff",
        "by": "playbook",
        "version": "1.2.3",
        "startedAt": "t0",
        "finishedAt": "t1",
        "attempts": 1,
    }
    assert write(store, state="failed", due="then")
    assert status(store)["nextTry"] == "then"  # only while a try is planned


@pytest.mark.parametrize(
    ("first", "second", "newest", "written"),
    [
        ({}, {"wanted_revision": 11}, 11, False),  # older
        ({}, {"wanted_revision": 11, "state": "failed"}, 11, False),
        ({}, {"wanted_revision": 13, "revision": 13}, 13, True),
        ({}, {}, 12, True),  # something was done
        ({}, {"ran": False}, 12, False),
        ({}, {"ran": False, "wanted_revision": 15, "revision": 15}, 12, False),  # others' keys changed only
        ({}, {"ran": False, "wanted_revision": 15, "revision": 15}, 15, True),  # somebody waits for that
        ({}, {"ran": False, "digest": "sha256:1", "wanted_revision": 15}, 12, True),
        ({}, {"ran": False, "msg": "x", "wanted_revision": 15}, 12, True),
        ({}, {"ran": False, "files": 4, "wanted_revision": 15}, 12, True),
        ({}, {"ran": False, "state": "held", "wanted_revision": 15}, 12, True),
        ({"state": "held"}, {"ran": False, "state": "held", "wanted_revision": 15}, 12, False),
        ({"state": "held"}, {"ran": False, "state": "held", "wanted_revision": 15}, 15, True),
        ({"state": "failed"}, {"ran": False, "state": "failed"}, 12, True),  # counts attempts
        ({"state": "failed", "revision": 5}, {"ran": False}, 12, True),
    ],
)
def test_what_is_rewritten(
    store: MemoryStore, first: dict[str, Any], second: dict[str, Any], newest: int, written: bool
) -> None:
    """An older outcome never replaces a newer one, and nothing is rewritten that says nothing new."""
    write(store, **first)
    assert write(store, newest, **second) == written


@pytest.mark.parametrize("ran", [False, True])
def test_a_status_of_another_store(store: MemoryStore, ran: bool) -> None:
    """Whose revisions were ahead: nothing that was written here could know of them, so it is replaced."""
    write(store, wanted_revision=999, revision=999)
    assert write(store, ran=ran)
    assert (status(store)["wantedRevision"], status(store)["revision"]) == (12, 12)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"wantedRevision": "9"}',
        b'{"wantedRevision": null}',
        b"[" * 9999,
    ],
)
def test_a_status_that_is_not_ours(store: MemoryStore, value: bytes) -> None:
    """It counts as the oldest there is, and is replaced."""
    assert parse_status(value) == {"wantedRevision": 0}
    store.put("/watcher.status/web01/a.com", value)
    assert write(store, ran=False)
    assert status(store)["wantedRevision"] == 12


class Busy(MemoryStore):
    """A store in which others write the status just before we do."""

    def __init__(self, *revisions: int) -> None:
        """Let others write these wanted revisions, one before each of our commits."""
        super().__init__()
        self.revision = 100
        self.revisions = list(revisions)

    def commit(self, write: Write) -> int:
        """Let somebody else be first."""
        if self.revisions:
            value = json.dumps({"wantedRevision": self.revisions.pop(0), "state": "deployed"}).encode()
            super().commit(Write(puts=(("/watcher.status/web01/a.com", value),)))
        return super().commit(write)


@pytest.mark.parametrize(("others", "wins"), [([11], 12), ([11, 11, 11, 11], 12), ([13], 13), ([11, 13], 13)])
def test_others_write_too(others: list[int], wins: int) -> None:
    """The newest outcome wins, whoever comes first."""
    store = Busy(*others)
    write_status(store, TREE, OUTCOME, "agent", "1", 12)
    assert status(store)["wantedRevision"] == wins


def test_others_without_end() -> None:
    """After some tries it is an error."""
    with pytest.raises(ConflictError, match="others keep writing it"):
        write_status(Busy(*[11] * 9), TREE, OUTCOME, "agent", "1", 12)


def test_unreachable(store: MemoryStore) -> None:
    """A host that could not be asked keeps its applied revision in the status."""
    project = Project("web01", "a.com", 20, 1)
    write_status(store, TREE, unreachable(project, "no route", "t"), "playbook", "1", 20)
    assert (status(store)["state"], status(store)["revision"]) == ("failed", 0)
    write(store, wanted_revision=20)
    write_status(store, TREE, unreachable(replace(project, revision=21), "no route", "t"), "playbook", "1", 21)
    assert (status(store)["revision"], status(store)["wantedRevision"]) == (12, 21)
