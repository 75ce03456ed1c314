# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a listing to projects: what is good, bad, or not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Project
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE
from ansible_collections.watcher.config.plugins.module_utils._core.snapshot import projects, read_key, strays
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue, Listing
from ansible_collections.watcher.config.tests.unit.site import Site, tree

TREE = Tree()
POLICY = b'{"deployPath": "/srv"}'


def read(keys: dict[str | bytes, bytes]) -> dict[tuple[str, str], Project]:
    """Return the projects of these keys below /watcher/web01/a.com/ (absolute ones: as they are)."""
    items = []
    for revision, (key, value) in enumerate(keys.items(), 2):
        raw = key.encode() if isinstance(key, str) else key
        items.append(KeyValue(raw if raw.startswith(b"/") else b"/watcher/web01/a.com/" + raw, value, revision))
    return projects(TREE, Listing(tuple(items), 50, 1))


def one(keys: dict[str | bytes, bytes]) -> Project:
    """Return the only project of these keys."""
    (project,) = read(keys).values()
    return project


def test_good() -> None:
    """Policy, files, revision, cluster and newest modification arrive."""
    project = one({"config.d/b/c": b"\xff", "config": POLICY, "config.d/a": b""})
    assert (project.host, project.name, project.revision, project.cluster_id) == ("web01", "a.com", 50, 1)
    assert project.files == {"a": File.of(b""), "b/c": File.of(b"\xff")}
    assert project.policy is not None
    assert (project.newest, project.rejected, project.ignored) == (4, {}, 0)


def test_projects_are_kept_apart() -> None:
    """web01 and web010 have nothing in common."""
    found = read(
        {"/watcher/web01/a/config": POLICY, "/watcher/web010/a/config.d/x": b"", "/watcher/web01/a.b/config": b""}
    )
    assert set(found) == {("web01", "a"), ("web010", "a"), ("web01", "a.b")}


def test_ignored_keys() -> None:
    """Other keys below a project are counted, and alone they are no project."""
    project = one({"config": POLICY, "config.d": b"", "configx": b"", "lock/1": b"", b"\xff": b""})
    assert (project.ignored, project.rejected, project.exists) == (4, {}, True)
    assert read({"other": b"", "/watcher/x": b"", "/else/web01/a.com/config": POLICY}) == {}


@pytest.mark.parametrize(
    "key", [b"config.d/../x", b"config.d/", b"config.d/a\nb", b"config.d/\xff", b"config.d/" + b"x" * 256]
)
def test_rejected_keys(key: bytes) -> None:
    """A bad path is reported by host, project and key; the good files are served."""
    project = one({"config": POLICY, key: b"x", "config.d/good": b"1"})
    assert list(project.files) == ["good"]
    assert project.kept == frozenset()
    ((shown, why),) = project.rejected.items()
    assert why.startswith("host web01, project a.com: key /watcher/web01/a.com/config.d/")
    assert len(why.splitlines()) == len(shown.splitlines()) == 1


def test_oversize_values() -> None:
    """A value that is too big is refused, and what was there before is kept."""
    project = one({"config": POLICY, "config.d/big": b"x" * (MAX_VALUE + 1), "config.d/full": b"x" * MAX_VALUE})
    assert (list(project.files), list(project.kept)) == (["full"], ["big"])
    assert "has 1048577 bytes, allowed are 1048576" in next(iter(project.rejected.values()))
    assert "allowed are 1048576" in one({"config": POLICY + b" " * MAX_VALUE}).policy_error


@pytest.mark.parametrize("big", [False, True])
def test_a_file_below_a_file(big: bool) -> None:
    """A disk cannot hold both; the deeper one is refused, even when the upper one is refused itself."""
    upper = b"x" * (MAX_VALUE + 1) if big else b"1"
    project = one(
        {"config": POLICY, "config.d/a": upper, "config.d/a/b": b"", "config.d/a/c/d": b"", "config.d/a.b": b""}
    )
    assert set(project.files) == ({"a.b"} if big else {"a", "a.b"})
    assert project.kept == ({"a", "a/b", "a/c/d"} if big else {"a/b", "a/c/d"})
    assert "'a' is a file of the project, too" in " ".join(project.rejected.values())


def test_bad_policy() -> None:
    """A bad policy is an error of the project, not a missing policy."""
    project = one({"config": b"{}", "config.d/a": b""})
    assert project.policy is None
    assert project.policy_error.startswith("host web01, project a.com, key /watcher/web01/a.com/config: ")


def test_rejected_keys_have_one_order() -> None:
    """The message of a deployment is the same in whichever order the keys came."""
    keys: dict[str | bytes, bytes] = {"config.d/../x": b"", "config.d/a": b"", "config.d/a/b": b"", "config.d/a/": b""}
    found = [list(one(dict(order)).rejected) for order in (keys.items(), reversed(keys.items()))]
    assert found[0] == found[1] == sorted(found[0])
    assert len(found[0]) == 3


@pytest.mark.parametrize(
    ("key", "value", "is_policy"),
    [
        ("config", POLICY, True),
        ("config", b"{}", True),
        ("config.d/a", b"", False),
        ("config.d/../a", b"", False),
        ("config.d/a", b"x" * (MAX_VALUE + 1), False),
    ],
)
def test_what_is_the_policy(key: str, value: bytes, is_policy: bool) -> None:
    """A good and a bad one; neither a file nor a bad key is one."""
    item = KeyValue(f"/watcher/web01/a.com/{key}".encode(), value, 5)
    reading = read_key(TREE, item, ("web01", "a.com"))
    assert reading is not None
    assert reading.is_policy == is_policy


def test_values_for_templates() -> None:
    """They are kept apart, count as changes where templates are rendered, and are no project by themselves."""
    keys: dict[str | bytes, bytes] = {"config": POLICY, "vars/port": b"80", b"vars/\xff": b"\xff", "vars": b""}
    project = one(keys)
    root = b"/watcher/web01/a.com/vars/"
    assert project.variables == {root + b"port": b"80", root + b"\xff": b"\xff"}
    assert (project.files, project.rejected, project.ignored, project.newest) == ({}, {}, 1, 2)
    assert one({**keys, "config": b'{"deployPath": "/srv", "render": true}'}).newest == 4
    assert read({"vars/port": b"80"}) == {}


def test_a_policy_that_watches_statuses() -> None:
    """It is refused like any other wrong field: each deployment would be the next one's reason."""
    project = one({"config": b'{"deployPath": "/srv", "watch": ["/watcher.status/web02"]}'})
    assert project.policy is None
    assert project.policy_error.startswith("host web01, project a.com, key /watcher/web01/a.com/config: policy field")


def test_strays() -> None:
    """Keys whose host or project breaks the rules belong to no project, and are reported."""
    keys = [
        b"/watcher/we b/a/config",
        b"/watcher/h/..%/config.d/x",
        b"/watcher/h/p/config",
        b"/watcher/we b/a/other",
        b"/x",
    ]
    assert list(strays(TREE, keys)) == ["/watcher/we b/a/config", "/watcher/h/..%/config.d/x"]
    long = b"/watcher/h/" + b"x" * 300 + b"/config"
    assert read({long: POLICY}) == {}
    assert len(strays(TREE, [long])) == 1


def test_what_was_good_stays_on_disk(tmp_path: Path) -> None:
    """The old file of a value that is refused is neither removed nor changed, nor missing for the check."""
    site = Site(tmp_path)
    site.deploy({"big": b"good", "a/b": b"good", "gone": b"1"})
    policy = f'{{"deployPath": "{site.root}", "checkCmd": "cat %s/big >{site.log}"}}'.encode()
    project = one({"config": policy, "config.d/big": b"x" * (MAX_VALUE + 1), "config.d/new": b"2"})
    outcome = deploy(project, site.state)
    assert (outcome.state, outcome.failed) == ("deployed", False)
    assert "allowed are 1048576" in outcome.msg
    assert set(tree(site.root)) == {"big", "new"}
    assert (site.root / "big").read_bytes() == b"good"
