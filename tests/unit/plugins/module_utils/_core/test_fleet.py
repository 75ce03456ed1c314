# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the tree, and how far they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import CompactedError
from ansible_collections.watcher.config.plugins.module_utils._core.fleet import MAX_TEXT, groups, read_fleet
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.store import Listing
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
CONFIG = b'{"deployPath": "/srv"}'
RENDERS = b'{"deployPath": "/srv", "render": true}'


def published(*files: str, owner: str = "web01/a.com", policy: bytes = CONFIG) -> MemoryStore:
    """Return a store with one project."""
    store = MemoryStore()
    store.put(f"/watcher/{owner}/config", policy)
    for file in files:
        store.put(f"/watcher/{owner}/config.d/{file}", b"1")
    return store


def report(store: MemoryStore, owner: str = "web01/a.com", **fields: Any) -> None:
    """Write a status of what is there now."""
    newest = max((item.revision for item in store.list(f"/watcher/{owner}/").items), default=1)
    body = {"state": "deployed", "revision": newest, "wantedRevision": newest, "files": 0, "by": "agent", **fields}
    store.put(f"/watcher.status/{owner}", json.dumps(body).encode())


def host(store: MemoryStore, name: str = "web01") -> dict[str, Any]:
    """Return what is known of a host."""
    found: dict[str, Any] = read_fleet(store, TREE)["hosts"][name]
    return found


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"files": 2}, "in_sync"),
        ({"files": 2, "wantedRevision": 1000}, "in_sync"),
        ({"files": 3}, "lagging"),  # a key was deleted since
        ({"files": "2"}, "lagging"),
        ({"files": 2, "wantedRevision": 1}, "lagging"),
        ({"files": 2, "state": "failed"}, "failed"),
        ({"files": 2, "state": "rolledBack"}, "failed"),
        ({"files": 2, "state": "failed", "wantedRevision": 1}, "lagging"),
        ({"files": 2, "state": "held"}, "lagging"),
        ({"files": 2, "state": "waiting"}, "lagging"),
        ({"files": 2, "state": "in_sync"}, "lagging"),
        ({"files": 2, "state": ["deployed"]}, "lagging"),
        ({"wantedRevision": "9"}, "lagging"),
    ],
)
def test_state_of_a_project(fields: dict[str, Any], state: str) -> None:
    """A project is in sync when its status is a success, nothing is newer, and no file is too many."""
    store = published("a", "d/b")
    report(store, **fields)
    assert host(store)["state"] == host(store)["projects"]["a.com"]["state"] == state


def test_worst_project_is_the_state_of_the_host() -> None:
    """failed beats lagging, which beats in sync."""
    store = published()
    report(store)
    assert host(store)["state"] == "in_sync"
    store.put("/watcher/web01/b.com/config", CONFIG)
    assert host(store)["state"] == "lagging"
    store.put("/watcher/web01/c.com/config", CONFIG)
    report(store, "web01/c.com", state="failed")
    assert host(store)["state"] == "failed"


def test_what_is_said_of_a_project() -> None:
    """All is there before a host has said a word, and next_try only while one is planned."""
    store = published("a")
    blank = {"revision": 0, "wanted_revision": 0, "attempts": 0, "msg": "", "by": "", "version": "", "finished_at": ""}
    assert host(store)["projects"]["a.com"] == {"state": "lagging", "newest": 3, "files": 1, **blank}
    fields: dict[str, Any] = {
        "msg": "no",
        "version": "1.2",
        "finishedAt": "now",
        "nextTry": "then",
        "attempts": 4,
        "revision": 2,
    }
    report(store, state="failed", files=1, **fields)
    assert host(store)["projects"]["a.com"] == {
        "state": "failed",
        "newest": 3,
        "files": 1,
        "revision": 2,
        "wanted_revision": 3,
        "attempts": 4,
        "msg": "no",
        "by": "agent",
        "version": "1.2",
        "finished_at": "now",
        "next_try": "then",
    }


def test_what_a_host_says_wrongly_is_not_repeated() -> None:
    """Another type is nothing, a text is one line of a bounded length, and a number has 64 bits."""
    store = published()
    fields: dict[str, Any] = {
        "msg": "a\n\x1b[31m\ud800" + "b" * 2000,
        "by": ["agent"],
        "version": {"x": 1},
        "attempts": True,
    }
    report(store, **fields, revision=1 << 70)
    said = host(store)["projects"]["a.com"]
    assert said["msg"].startswith(r"a\n\x1b[31m\ud800bbb") and len(said["msg"]) < MAX_TEXT + 20
    assert (said["by"], said["version"], said["attempts"], said["revision"]) == ("", "", 0, 0)
    report(store, msg="a\nb")
    assert host(store)["projects"]["a.com"]["msg"] == r"a\nb"
    for value in (b"\xff", b"[" * 100_000, b"3", b"null", b'{"wantedRevision": 3}'):
        store.put("/watcher.status/web01/a.com", value)
        assert host(store)["state"] == "lagging"


def test_withdrawn_project() -> None:
    """It is lagging until its host has removed it; then it is not listed any more, and the host stays."""
    store = published("a")
    report(store, files=1)
    store.delete("/watcher/web01/a.com/config", "/watcher/web01/a.com/config.d/a")
    assert host(store)["projects"]["a.com"]["state"] == "lagging"
    report(store, state="removed", files=0)
    assert host(store) == {"projects": {}, "agent": None, "state": "in_sync", "gone": False}


def test_agents() -> None:
    """Alive is who has a key, whatever it says; gone is whose newest outcome is an agent's, without a key."""
    store = published()
    store.put("/watcher.agents/web01", b'{"hostname": "x", "version": "1", "pid": 7, "started": "s", "revision": 3}')
    store.put("/watcher.agents/web04", b"[" * 100_000)
    store.put("/watcher.agents/web02", b"\xff")
    assert host(store)["agent"] == {"version": "1", "pid": 7, "started": "s", "revision": 3}
    assert host(store, "web02")["agent"] == {"version": "", "pid": 0, "started": "", "revision": 0}
    report(store)
    assert not host(store)["gone"]
    store.put("/watcher/web03/a.com/config", CONFIG)
    report(store, "web03/a.com", by="playbook")
    store.delete("/watcher.agents/web01")
    hosts = read_fleet(store, TREE)["hosts"]
    assert {name for name in hosts if hosts[name]["gone"]} == {"web01"}
    store.put("/watcher/web01/b.com/config", CONFIG)
    report(store, "web01/b.com", by="playbook")
    assert not host(store)["gone"]


def test_values_of_templates() -> None:
    """A newer value counts where templates see it, and nowhere else."""
    for policy, state in ((RENDERS, "lagging"), (CONFIG, "in_sync"), (b"?", "in_sync")):
        store = published(policy=policy)
        report(store)
        store.put("/watcher/web01/a.com/vars/port", b"80")
        assert host(store)["state"] == state
    store = MemoryStore()
    store.put("/watcher/web01/a.com/vars/port", b"80")
    store.put("/watcher/web02/a.com/config", CONFIG)
    assert list(read_fleet(store, TREE)["hosts"]) == ["web02"]


def test_files_that_cannot_be_deployed() -> None:
    """A bad key is warned about and counts for nothing, nor does a file below another file."""
    store = published("a", "a/b", "a/c/d")
    store.put("/watcher/web01/a.com/config.d//bad", b"1")
    store.put("/watcher/we b/a.com/config", CONFIG)
    report(store, files=1)
    fleet = read_fleet(store, TREE)
    assert fleet["hosts"]["web01"]["state"] == "in_sync" and list(fleet["hosts"]) == ["web01"]
    (warning,) = fleet["warnings"]
    assert warning.startswith("2 keys break the contract and are left out; the first: key /watcher/we b/a.com/config:")


def test_hosts_that_ansible_would_misread() -> None:
    """They are left out, with one warning."""
    store = published()
    for name in ("all", "localhost", "-x"):
        store.put(f"/watcher/{name}/a.com/config", CONFIG)
        report(store, f"{name}/a.com")
        store.put(f"/watcher.agents/{name}", b"{}")
    fleet = read_fleet(store, TREE)
    assert list(fleet["hosts"]) == ["web01"]
    assert fleet["warnings"] == [
        "3 hosts are left out, for Ansible would misread their names; rename them: -x, all, localhost"
    ]


def test_names_that_are_none() -> None:
    """What is below the trees beside it without the name of a host or project is nobody's."""
    store = published()
    for key in ("/watcher.status/we b/x", "/watcher.status/web02", "/watcher.status/web02/a/b", "/watcher.agents/a/b"):
        store.put(key, b'{"state": "deployed", "wantedRevision": 1}')
    assert list(read_fleet(store, TREE)["hosts"]) == ["web01"]


def test_no_host_is_a_warning() -> None:
    """A tree without hosts may be a mistake, and is where everybody begins."""
    said = "/watcher has no hosts: publish a project, or correct the prefix or the endpoints"
    assert read_fleet(MemoryStore(), TREE) == {"hosts": {}, "warnings": [said]}


def test_all_is_read_at_one_revision_without_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written between the reads is not seen, and a compaction between them lets all be read again."""
    store, listed, real = published(), [], MemoryStore.list

    def racing(self: MemoryStore, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        listed.append((prefix, keys_only))
        found = real(self, prefix, keys_only=keys_only, revision=revision)
        if len(listed) == 1:
            report(store)
            raise CompactedError("gone")
        if prefix == TREE.root:
            store.put("/watcher.agents/late", b"{}")
            store.put("/watcher.status/late/a.com", b'{"state": "failed", "wantedRevision": 1}')
        return found

    report(store)
    monkeypatch.setattr(MemoryStore, "list", racing)
    assert list(read_fleet(store, TREE)["hosts"]) == ["web01"]
    assert listed[-3:] == [("/watcher/", True), ("/watcher.status/", False), ("/watcher.agents/", False)]


def test_groups() -> None:
    """The groups of states are always there; projects whose groups have one name share it."""
    store = published(owner="web01/a.com")
    store.put("/watcher/web02/a-com/config", CONFIG)
    store.put("/watcher.agents/web02", b"{}")
    report(store)
    assert groups(read_fleet(store, TREE)["hosts"], lambda name: name.replace("-", "_").replace(".", "_")) == {
        "watcher_failed": [],
        "watcher_lagging": ["web02"],
        "watcher_in_sync": ["web01"],
        "watcher_agent_alive": ["web02"],
        "watcher_agent_gone": ["web01"],
        "watcher_project_a_com": ["web02", "web01"],
    }
