# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror says what a listing would say, and never forgets what is not settled."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import snapshot
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.mirror import Mirror, Task
from ansible_collections.watcher.config.plugins.module_utils._core.model import Project
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Replaced
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch, KeyValue, Listing, Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()
ROOT = "/watcher/"  # more than the host's part, which alone counts
PREFIX = TREE.host("web01")
BASE = "/watcher/web01/a.com/"
POLICY = b'{"deployPath": "/srv"}'
OTHER_POLICY = b'{"deployPath": "/srv", "afterCmd": "true"}'
RENDER = b'{"deployPath": "/srv", "render": true, "watch": ["/services/"]}'


class Host:
    """A mirror that follows a store, event by event."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        """List what there is."""
        self.store = store or MemoryStore()
        self.mirror = Mirror(TREE, "web01")
        self.list()

    def list(self) -> set[str]:
        """List, and return the projects to look at."""
        listing = self.store.list(ROOT)
        self.seen = listing.revision
        return self.mirror.take_listing(listing)

    def batches(self) -> Iterator[Batch]:
        """Yield what has happened since, a revision at a time."""
        events = self.store.since(ROOT, self.seen)
        for revision in sorted({event.revision for event in events}):
            self.seen = revision
            yield Batch(tuple(event for event in events if event.revision == revision), revision)

    def follow(self, *, at_once: bool = False) -> set[str]:
        """Take what has happened since, in one batch or several; return the projects that changed."""
        batches = list(self.batches())
        if at_once and batches:
            batches = [Batch(tuple(event for batch in batches for event in batch.events), batches[-1].revision)]
        return {name for batch in batches for name in self.mirror.take_batch(batch)}

    def put(self, *paths: str, value: bytes = b"1") -> None:
        """Put files of a.com in one transaction, and follow; a path of "" is the policy."""
        puts = tuple((key(path), value if path else POLICY) for path in paths)
        self.store.commit(Write(puts=puts))
        self.follow()

    def delete(self, *paths: str) -> None:
        """Delete them."""
        self.store.delete(*map(key, paths))
        self.follow()

    def task(self, name: str = "a.com", *, whole: bool = False) -> Task:
        """Return a task, which there is."""
        task = self.mirror.task(name, whole=whole)
        assert task is not None
        return task

    def settle(self, name: str = "a.com") -> Task:
        """Settle what is unsettled and return it."""
        task = self.task(name)
        self.mirror.settled(task)
        return task

    def listed(self) -> dict[str, Project]:
        """Return what a listing of the same store says."""
        found = snapshot.projects(TREE, self.store.list(ROOT))
        return {name: project for (host, name), project in found.items() if host == "web01"}


def key(path: str) -> str:
    """Return the key of a file of a.com, or of its policy."""
    return BASE + (f"config.d/{path}" if path else "config")


@pytest.fixture
def host() -> Host:
    """Return a host with two files of a.com, settled."""
    host = Host()
    host.put("", "a", "b/c")
    host.settle()
    return host


def said(project: Project) -> dict[str, Any]:
    """Return what of a project has to be the same however it was learned."""
    names = ("host", "name", "cluster_id", "policy", "policy_error", "kept", "variables")
    rejected = list(project.rejected.items())
    files = {path: (file.digest, file.size) for path, file in project.files.items()}
    return {
        "files": files,
        "digest": project.digest,
        "rejected": rejected,
        **{name: getattr(project, name) for name in names},
    }


# Whatever happens

PATHS = ["a", "a/b", "a/b/c", "a.b", "d/e", "d", "d/e/f"]
VARS = ["vars/a", "vars/b/c", "vars/\u00e9"]
ODD = ["config.d/../x", "config.d/", "config.d/a\nb", "config.d/" + "x" * 256, "lock", "configx", "config.d", "other/1"]
ODD += ["vars", "vars/"]
BESIDE = [
    "/watcher/web010/p/config",
    "/watcher/web01/bad name/config",
    "/watcher/web01/p",
    "/watcher/web02/p/config.d/a",
]


class Chance:
    """Does things at random, the same for each seed."""

    def __init__(self, seed: int) -> None:
        """Begin with an empty store."""
        self.random = random.Random(seed)  # noqa: S311
        self.host = Host()
        self.disk: dict[str, dict[str, str]] = {}  # digests by project and path
        self.policies: dict[str, object] = {}
        self.variables: dict[str, object] = {}  # as of the last deployment that renders
        self.open: list[Task] = []  # deployed, and not settled yet

    def key(self) -> str:
        """Return a key."""
        kind = self.random.random()
        if kind < 0.05:
            return self.random.choice(BESIDE)
        base = f"/watcher/web01/{self.random.choice('pq')}/"
        if kind < 0.2:
            return base + "config"
        if kind < 0.4:
            return base + self.random.choice(ODD if kind < 0.3 else VARS)
        return base + f"config.d/{self.random.choice(PATHS)}"

    def value(self, key: str) -> bytes:
        """Return a value for it, good or bad."""
        if key.endswith("/config"):
            return self.random.choice((POLICY, OTHER_POLICY, RENDER, RENDER, RENDER, RENDER, b"{}", b"\xff"))
        return self.random.choice((b"1", b"2", b"3", b"", b"too large for the test"))

    def change(self) -> None:
        """Let somebody change the store."""
        keys = sorted({self.key() for _unused in range(self.random.choice((1, 1, 1, 2, 5)))})
        gone = {key for key in keys if self.random.random() < 0.35}
        if self.random.random() < 0.03:
            self.host.store.commit(Write(delete_prefixes=("/watcher/web01/p/",)))
            return
        puts = tuple((key, self.value(key)) for key in keys if key not in gone)
        self.host.store.commit(Write(puts=puts, deletes=tuple(gone)))

    def deploy(self, name: str) -> None:
        """Do what a task says; what it leaves alone must be right already."""
        task = self.host.mirror.task(name)
        wanted = (
            {path: file.digest for path, file in self.host.task(name, whole=True).project.files.items()} if task else {}
        )
        disk = self.disk.setdefault(name, {})
        if task is not None:
            for path in set(disk) | set(task.project.files) if task.paths is None else task.paths:
                file = task.project.files.get(path)
                if file is None:
                    disk.pop(path, None)
                elif disk.get(path) != file.digest:
                    assert file.content is not None
                    disk[path] = file.digest
            self.policies[name] = task.project.policy
            self.variables[name] = task.project.variables
            self.open.append(task)
            assert disk == wanted
        self.check_disk(name)

    def check_disk(self, name: str) -> None:
        """Compare the disk with the tree as far as the host has seen it."""
        whole = self.host.mirror.task(name, whole=True)
        wanted = {} if whole is None else {path: file.digest for path, file in whole.project.files.items()}
        assert self.disk.get(name, {}) == wanted
        policy = whole.project.policy if whole else None
        assert self.policies.get(name) == policy
        assert whole is None or policy is None or not policy.render or self.variables[name] == whole.project.variables

    def compare(self) -> None:
        """Compare the mirror with a listing, and each part with its whole."""
        listed = self.host.listed()
        for name in ("p", "q"):
            whole, part = self.host.mirror.task(name, whole=True), self.host.mirror.task(name)
            if name not in listed:
                assert whole is None or not whole.project.exists
                continue
            assert whole is not None
            assert said(whole.project) == said(listed[name])
            assert whole.project.newest == self.host.mirror.newest_of(name) >= listed[name].newest
            assert (whole.digest, whole.files) == (listed[name].digest, len(listed[name].files))
            if part is not None:
                assert (part.digest, part.files) == (whole.digest, whole.files)
                assert part.project.policy == whole.project.policy
                assert part.paths is None or part.paths >= set(part.project.files)
        assert set(self.host.mirror.newest()) == set(listed)
        assert self.host.mirror.suspects(self.host.store.list(PREFIX, keys_only=True)) == set()

    def step(self) -> None:
        """Do something."""
        kind = self.random.random()
        if kind < 0.5:
            self.change()
        elif kind < 0.8:
            self.host.follow(at_once=self.random.random() < 0.5)
        elif kind < 0.9:
            self.deploy(self.random.choice("pq"))
        elif kind < 0.97:
            while self.open:
                self.host.mirror.settled(self.open.pop(0))
        elif kind < 0.985:
            self.host.list()
        else:
            self.host.mirror.compare()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror says what a listing says, and a disk that does what tasks say agrees with it."""
    monkeypatch.setattr(snapshot, "MAX_VALUE", 10)
    chance = Chance(seed)
    for number in range(250):
        chance.step()
        if number % 5 == 0:
            chance.host.follow()
            chance.compare()
    chance.host.follow()
    chance.compare()
    for name in "pq":
        chance.deploy(name)


# What is to be settled


def test_nothing_is_known_at_first() -> None:
    """There is no task, and nothing is new."""
    mirror = Mirror(TREE, "web01")
    assert (mirror.task("a.com"), mirror.task("a.com", whole=True), mirror.newest_of("a.com")) == (None, None, 0)
    assert (mirror.revision, mirror.cluster_id, mirror.newest()) == (0, 0, {})


def test_a_listing_is_compared_as_a_whole(host: Host) -> None:
    """All projects, those that are gone, and those that the host remembers."""
    host.store.put("/watcher/web01/new/config.d/x", b"1")
    host.store.delete(*map(key, ("", "a", "b/c")))
    names = host.mirror.take_listing(host.store.list(PREFIX), ["remembered"])
    assert names == {"new", "a.com", "remembered"}
    assert (host.mirror.revision, host.mirror.cluster_id) == (host.store.revision, 1)
    for name, exists in (("new", True), ("a.com", False), ("remembered", False)):
        task = host.task(name)
        assert (task.paths, task.project.exists, task.project.revision) == (None, exists, host.store.revision)
        host.mirror.settled(task)
        assert host.mirror.task(name) is None
    assert set(host.mirror.newest()) == {"new"}


def test_a_change_is_a_part(host: Host) -> None:
    """Only what changed, with contents; the digest and the number of files are of the whole."""
    host.put("a", value=b"2")
    host.delete("b/c")
    task = host.task()
    assert (task.paths, set(task.project.files), task.files) == (frozenset({"a", "b/c"}), {"a"}, 1)
    assert task.project.files["a"].content == b"2"
    assert (task.project.revision, task.project.newest) == (host.store.revision, host.store.revision)
    assert task.digest == host.listed()["a.com"].digest


def test_changes_of_others_change_nothing(host: Host) -> None:
    """The revision of a project's task is its own, and other hosts and keys that are not ours are no change."""
    host.put("a", value=b"2")
    before = host.task()
    for other in (
        "/watcher/web01/b.com/config",
        "/watcher/web010/a.com/config",
        BASE + "lock",
        "/watcher/web01/x y/config",
    ):
        host.store.put(other, POLICY)
    assert host.follow() == {"b.com"}
    task = host.task()
    assert (task.project.revision, task.paths) == (before.project.revision, before.paths)
    assert host.mirror.revision == host.store.revision


@pytest.mark.parametrize(
    "act",
    [
        lambda host: host.store.put(key(""), OTHER_POLICY),
        lambda host: host.store.put(key(""), b"{}"),
        lambda host: host.store.delete(key("")),
        lambda host: host.store.put(BASE + "config.d/../x"),
        lambda host: host.store.put(key("a/below")),
        lambda host: host.store.put(key("b")),
        lambda host: host.store.delete(key(""), key("a"), key("b/c")),
        lambda host: host.mirror.compare(),
    ],
)
def test_what_is_compared_as_a_whole(host: Host, act: Callable[[Host], object]) -> None:
    """Another policy, or none; a bad key; a file below a file; the end of the project; a wish."""
    act(host)
    host.follow()
    host.put("z")
    assert host.settle().paths is None
    assert host.mirror.task("a.com") is None


@pytest.mark.parametrize("bad", [BASE + "config.d/../x", key("a/below")])
def test_what_was_bad_is_forgotten(host: Host, bad: str) -> None:
    """Once the bad key is gone and that is settled, changes are parts again."""
    host.store.put(bad)
    host.follow()
    host.settle()
    host.put("z")
    assert host.settle().paths is None
    host.store.delete(bad)
    host.follow()
    host.settle()
    host.put("z", value=b"2")
    assert host.settle().paths == frozenset({"z"})


@pytest.mark.parametrize("policy", [b"", b"{}"])
def test_without_a_good_policy(host: Host, policy: bytes) -> None:
    """Each change is compared as a whole: which policy acts is not for a part to say."""
    host.store.commit(Write(puts=((key(""), policy),) if policy else (), deletes=() if policy else (key(""),)))
    host.follow()
    host.settle()
    host.put("z")
    task = host.settle()
    assert (task.paths, task.project.policy, bool(task.project.policy_error)) == (None, None, bool(policy))


def test_a_folder_that_is_gone(host: Host) -> None:
    """A file in its place is below nothing and above nothing."""
    host.delete("b/c")
    host.settle()
    host.put("b")
    assert host.settle().paths == frozenset({"b"})


def test_contents_are_dropped_once_settled(host: Host) -> None:
    """What is on the disk need not be in memory; what is not, must."""
    host.put("a", value=b"2")
    task = host.task()
    host.put("b/c", value=b"3")
    host.mirror.settled(task)
    files = host.task(whole=True).project.files
    assert {path: file.content for path, file in files.items()} == {"a": None, "b/c": b"3"}
    host.list()
    files = host.task().project.files
    assert {path: file.content for path, file in files.items()} == {"a": b"2", "b/c": b"3"}


def test_changes_after_the_task_are_not_lost(host: Host) -> None:
    """Be they of the same file or of another, a deletion, or a wish to compare."""
    host.put("a", value=b"2")
    host.put("b/c", value=b"2")
    task = host.task()
    host.put("a", value=b"3")
    host.put("new")
    host.mirror.settled(task)
    later = host.task()
    assert later.paths == frozenset({"a", "new"})
    assert later.project.files["a"].content == b"3"
    host.delete("a")
    host.mirror.settled(later)
    last = host.task()
    assert (last.paths, last.project.files) == (frozenset({"a"}), {})
    host.mirror.compare()
    host.mirror.settled(last)
    whole = host.task()
    assert whole.paths is None
    host.list()
    host.mirror.settled(whole)
    assert host.settle().paths is None
    assert host.mirror.task("a.com") is None


def test_a_change_that_is_taken_back(host: Host) -> None:
    """Between task and settlement a file came and went: that it went is not settled."""
    host.put("new")
    task = host.task()
    host.delete("new")
    host.mirror.settled(task)
    assert host.task().paths == frozenset({"new"})


def test_a_task_that_is_not_settled_comes_again(host: Host) -> None:
    """With what was added to it, and with the contents."""
    host.put("a", value=b"2")
    host.task()
    host.put("new")
    task = host.task()
    assert task.paths == frozenset({"a", "new"})
    assert {file.content for file in task.project.files.values()} == {b"1", b"2"}


def test_settling_what_is_gone() -> None:
    """A task of a project that a later listing does not have any more harms nothing."""
    host = Host()
    host.put("", "a")
    task = host.task()
    host.store.replace()
    host.list()
    host.settle()
    host.mirror.settled(task)
    assert host.mirror.task("a.com", whole=True) is None


def test_the_end_of_a_project(host: Host) -> None:
    """The last key takes the project with it, whichever key it is, and it may come again."""
    for last in ("", "a"):
        host.delete(*({"", "a", "b/c"} - {last}))
        host.settle()
        host.delete(last)
        task = host.task()
        assert (task.paths, task.project.exists, task.files) == (None, False, 0)
        assert task.project.revision == host.store.revision
        assert (host.mirror.newest_of("a.com"), host.mirror.newest()) == (0, {})
        host.mirror.settled(task)
        assert host.mirror.task("a.com") is None
        host.put("", "a", "b/c")
        assert host.settle().project.exists


def test_a_wish_after_the_end(host: Host) -> None:
    """It is not settled by the task of the end."""
    host.delete("", "a", "b/c")
    task = host.task()
    host.mirror.compare()
    host.mirror.settled(task)
    assert not host.settle().project.exists
    assert host.mirror.task("a.com") is None


def test_a_project_that_comes_again_before_it_is_settled(host: Host) -> None:
    """The task of its end does not settle its beginning."""
    host.delete("", "a", "b/c")
    task = host.task()
    host.put("", "a")
    host.mirror.settled(task)
    assert host.settle().project.exists


# What templates read


@pytest.fixture
def rendering(host: Host) -> Host:
    """Return a host whose project renders templates, settled."""
    host.store.put(key(""), RENDER)
    host.store.put(BASE + "vars/old", b"0")
    host.follow()
    host.settle()
    return host


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.put(BASE + "vars/new", b"1"),
        lambda store: store.put(BASE + "vars/old", b"1"),
        lambda store: store.delete(BASE + "vars/old"),
    ],
    ids=["new", "changed", "deleted"],
)
def test_a_variable_changes_a_project_that_renders(rendering: Host, act: Callable[[MemoryStore], int]) -> None:
    """All of it is compared, as of then; once that is settled there is nothing to do."""
    revision = act(rendering.store)
    assert rendering.follow() == {"a.com"}
    task = rendering.settle()
    assert (task.paths, task.project.revision) == (None, revision)
    assert task.project.newest == revision
    assert task.project.variables == rendering.listed()["a.com"].variables
    assert (rendering.mirror.newest(), rendering.mirror.task("a.com")) == ({"a.com": revision}, None)
    rendering.list()
    assert rendering.settle().project.newest == rendering.listed()["a.com"].newest


def test_a_project_that_renders_is_compared_as_a_whole(rendering: Host) -> None:
    """A template may include any other file's change."""
    rendering.put("a", value=b"2")
    rendering.store.put(key(""), RENDER)
    assert rendering.settle().paths is None


def test_a_variable_changes_no_other_project(host: Host) -> None:
    """It is known, and nothing is to be done; the project is as new as before."""
    newest = host.mirror.newest()
    host.store.put(BASE + "vars/x", b"1")
    assert host.follow() == set()
    assert (host.mirror.task("a.com"), host.mirror.newest()) == (None, newest)
    assert host.listed()["a.com"].newest == newest["a.com"]
    host.list()
    assert host.mirror.newest() == newest
    host.settle()
    host.store.put(key(""), RENDER)
    host.follow()
    assert host.settle().project.variables == {(BASE + "vars/x").encode(): b"1"}


def test_variables_alone_are_no_project(host: Host) -> None:
    """Before a project is there and when it is gone: no work, nothing suspect, and they are known when it comes."""
    host.store.put("/watcher/web01/b.com/vars/x", b"1")
    host.store.put(BASE + "vars/x", b"1")
    assert host.follow() == set()
    host.delete("", "a", "b/c")
    assert not host.settle().project.exists
    for _unused in range(2):
        assert host.mirror.compare() == set()
        assert (host.mirror.task("a.com"), host.mirror.task("b.com"), host.mirror.newest()) == (None, None, {})
        assert host.mirror.suspects(host.store.list(PREFIX, keys_only=True)) == set()
        assert host.list() == set()
    assert host.mirror.take_listing(host.store.list(ROOT), ["a.com"]) == {"a.com"}
    assert not host.settle().project.exists
    host.store.commit(Write(puts=((key(""), RENDER), (key("a"), b"1"))))
    assert host.follow() == {"a.com"}
    assert host.settle().project.variables == {(BASE + "vars/x").encode(): b"1"}


def test_variables_that_are_gone_leave_nothing(host: Host) -> None:
    """Names come and go over the years, also those of projects that never were."""
    host.store.put(BASE + "vars/x", b"1")
    for number in range(3):
        host.store.put(f"/watcher/web01/p{number}/vars/x", b"1")
        host.store.delete(f"/watcher/web01/p{number}/vars/x")
    host.follow()
    assert list(host.mirror._images) == ["a.com"]
    host.delete("", "a", "b/c")
    host.store.delete(BASE + "vars/x")
    host.follow()
    assert not host.settle().project.exists
    host.store.put(BASE + "vars/x", b"1")
    host.store.delete(BASE + "vars/x")
    assert (host.follow(at_once=True), host.mirror._images) == (set(), {})


def test_what_is_elsewhere_changes_a_project(rendering: Host) -> None:
    """It is compared as of then, also when the task before came first; a project that is not there is not made."""
    rendering.mirror.touch({"a.com", "b.com"}, 90)
    task = rendering.task()
    assert (task.paths, task.project.revision, rendering.mirror.newest()) == (None, 90, {"a.com": 90})
    rendering.mirror.touch({"a.com"}, 91)
    rendering.mirror.settled(task)
    assert rendering.settle().project.revision == 91
    assert (rendering.mirror.task("a.com"), rendering.mirror.task("b.com")) == (None, None)
    rendering.list()
    assert rendering.task().project.revision == rendering.store.revision


# Evidence for removals


def test_deleted_with_the_policy(host: Host) -> None:
    """A deletion in one revision with the policy is vouched for, until it is settled."""
    host.delete("a")
    host.store.commit(Write(puts=((key(""), OTHER_POLICY),), deletes=(key("b/c"),)))
    host.follow(at_once=True)
    assert host.task().vouched == {"b/c"}
    assert host.task().vouched == {"b/c"}
    host.settle()
    host.put("z")
    assert host.task().vouched == set()


def test_the_whole_project_withdrawn(host: Host) -> None:
    """It is vouched for as a whole."""
    host.store.commit(Write(delete_prefixes=(BASE,)))
    host.follow()
    assert host.task().vouched == {"a", "b/c"}


@pytest.mark.parametrize(
    "beside", [BASE + "config.d/../x", BASE + "configx", "/watcher/web01/b.com/config", "/watcher/web02/a.com/config"]
)
def test_nothing_else_vouches(host: Host, beside: str) -> None:
    """Neither a bad key, nor one that is not ours, nor another project's policy; nor the policy a revision later."""
    host.store.commit(Write(puts=((beside, POLICY),), deletes=(key("a"),)))
    host.store.put(key(""), OTHER_POLICY)
    host.follow(at_once=True)
    assert host.task().vouched == set()


@pytest.mark.parametrize("at_once", [False, True])
def test_what_came_again_is_not_vouched_for(host: Host, at_once: bool) -> None:
    """Of several deletions only the last counts."""
    host.store.commit(Write(puts=((key(""), OTHER_POLICY),), deletes=(key("a"),)))
    host.store.put(key("a"), b"3")
    host.store.delete(key("a"))
    host.follow(at_once=at_once)
    assert host.task().vouched == set()
    host.store.put(key("a"), b"3")
    host.store.commit(Write(puts=((key(""), POLICY),), deletes=(key("a"),)))
    host.store.put(key("a"), b"4")
    host.follow(at_once=at_once)
    host.delete("a")
    assert host.task().vouched == set()
    host.store.put(key("a"), b"3")
    host.store.commit(Write(puts=((key(""), POLICY),), deletes=(key("a"),)))
    host.follow(at_once=at_once)
    assert host.task().vouched == {"a"}


def test_vouched_after_the_task(host: Host) -> None:
    """An earlier task does not settle it."""
    host.put("", "z")
    task = host.task()
    host.store.commit(Write(puts=((key(""), OTHER_POLICY),), deletes=(key("a"),)))
    host.follow()
    host.mirror.settled(task)
    task = host.task()
    assert task.vouched == {"a"}
    host.put("a")
    host.store.commit(Write(puts=((key(""), POLICY),), deletes=(key("a"),)))
    host.follow()
    host.mirror.settled(task)
    assert host.task().vouched == {"a"}


# Another store


def test_a_store_that_was_replaced(host: Host) -> None:
    """Each project's task says so until it is heeded, be the project still there or not, over another listing."""
    host.store.put("/watcher/web01/b.com/config", POLICY)
    host.list()
    assert not host.settle().replaced
    host.store.replace()
    host.store.put(key("new"))
    listing = host.store.list(ROOT)
    host.mirror.take_listing(Replaced(listing.items, listing.revision, listing.cluster_id))
    assert (host.task("a.com").replaced, host.task("b.com").replaced) == (True, True)
    host.list()
    task = host.task()
    assert task.replaced
    host.mirror.heeded(task)
    assert (host.task("a.com").replaced, host.task("b.com").replaced) == (False, True)
    host.list()
    assert (host.task("a.com").replaced, host.task("b.com").replaced) == (False, True)


def test_a_store_whose_keys_went_back(host: Host) -> None:
    """It is another one, whatever it says itself: a key's last change is never older than it was."""
    host.put("a", value=b"2")
    listing = host.store.list(ROOT)
    host.mirror.take_listing(listing)
    assert not host.task().replaced
    older = tuple(replace(item, revision=item.revision - 1) for item in listing.items)
    host.mirror.take_listing(Listing(older, 1000, listing.cluster_id))
    assert host.task().replaced


def test_replaced_once_more(host: Host) -> None:
    """A task from before does not speak for what came later, nor does one of a project that is gone harm."""
    listing = host.store.list(ROOT)
    other = Replaced(listing.items, listing.revision, listing.cluster_id)
    host.mirror.take_listing(other)
    task = host.task()
    host.mirror.take_listing(other)
    host.mirror.heeded(task)
    assert host.task().replaced
    host.mirror.take_listing(Replaced((), 1, 2))
    gone = host.settle()
    host.mirror.heeded(gone)
    assert host.mirror.task("a.com") is None


# What is newest, and what was missed


def test_newest(host: Host) -> None:
    """The last change of a project, be it a deletion."""
    assert host.mirror.newest_of("a.com") == host.store.revision
    host.put("a")
    written = host.store.revision
    host.delete("b/c")
    assert host.mirror.newest_of("a.com") == host.store.revision
    host.list()
    assert host.mirror.newest_of("a.com") == written  # a listing does not say what was deleted
    host.delete("a")
    assert host.mirror.newest() == {"a.com": host.store.revision}
    host.store.put("/watcher/web01/b.com/lock")
    host.follow()
    assert host.mirror.newest_of("a.com") == host.store.revision - 1


def test_nothing_is_suspect(host: Host) -> None:
    """Keys that are not ours, bad ones and those of others are none that could be missed."""
    for other in (BASE + "lock", BASE + "config.d/../x", "/watcher/web01/x y/config", "/watcher/web02/p/config"):
        host.store.put(other)
    host.follow()
    assert host.mirror.suspects(host.store.list("/watcher/", keys_only=True)) == set()


def test_what_was_missed_stays_suspect(host: Host) -> None:
    """A put, a put of a known key and a deletion, also when nothing came after them."""
    host.store.put(key("new"))
    changed = host.store.put(key("a"), b"2")
    host.store.delete(key("b/c"))
    listing = host.store.list(PREFIX, keys_only=True)
    suspects = host.mirror.suspects(listing)
    assert {found for found, _revision in suspects} == {key(path).encode() for path in ("new", "a", "b/c")}
    assert host.mirror.suspects(host.store.list(PREFIX, keys_only=True)) == suspects
    assert (key("a").encode(), changed) in suspects
    host.follow()
    assert host.mirror.suspects(listing) == set()


def test_what_is_on_its_way_is_suspect_once(host: Host) -> None:
    """A key that changes all the time is suspect each time at another revision: it was not missed."""
    found = []
    for number in range(3):
        host.store.put(key("a"), b"%d" % number)
        host.store.put(key("comes"), b"1")
        host.store.delete(key("b/c"))
        found.append(host.mirror.suspects(host.store.list(PREFIX, keys_only=True)))
        assert len(found[-1]) == 3
        host.follow()
        host.delete("comes")
        host.put("b/c")
    assert not found[0] & found[1]
    assert not found[1] & found[2]


def test_first_its_coming_then_its_going_on_its_way(host: Host) -> None:
    """A key that comes and goes is suspect twice, for two things."""
    host.store.put(key("new"))
    coming = host.mirror.suspects(host.store.list(PREFIX, keys_only=True))
    host.follow()
    host.store.delete(key("new"))
    going = host.mirror.suspects(host.store.list(PREFIX, keys_only=True))
    assert (len(coming), len(going), coming & going) == (1, 1, set())


def test_a_listing_that_was_overtaken(host: Host) -> None:
    """What the mirror learned after the listing is no reason for suspicion."""
    listing = host.store.list(PREFIX, keys_only=True)
    host.put("a", value=b"2")
    host.put("new")
    assert host.mirror.suspects(listing) == set()


def test_confirm(host: Host) -> None:
    """A listing that has what is known makes it known as of then."""
    host.store.put("/elsewhere")
    host.store.put(BASE + "lock")
    listing = host.store.list(TREE.project("web01", "a.com"), keys_only=True)
    assert host.mirror.confirm("a.com", listing)
    assert host.task(whole=True).project.revision == host.store.revision
    host.store.put(key("a"), b"2")
    newer = host.store.list(TREE.project("web01", "a.com"), keys_only=True)
    assert not host.mirror.confirm("a.com", newer)
    host.follow()
    assert host.mirror.confirm("a.com", newer)
    assert not host.mirror.confirm("a.com", listing)
    assert host.task().project.revision == host.store.revision


# What it costs


def opcodes(act: Callable[[], object]) -> int:
    """Return how many steps of Python something takes."""
    count = 0

    def local(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "opcode"
        return local

    def trace(frame: FrameType, _event: str, _arg: object) -> Any:
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def cost(files: int) -> int:
    """Return what a changed file costs a host with so many of them."""
    items = [KeyValue((BASE + "config").encode(), POLICY, 2)]
    items += [KeyValue(key(f"{number % 100}/{number}").encode(), b"1", 2) for number in range(files)]
    host = Host()
    host.mirror.take_listing(Listing(tuple(items), 2, 1))
    host.settle()
    host.store.put(key("7/7"), b"2")
    batches = list(host.batches())

    def act() -> None:
        host.mirror.take_batch(batches[0])
        assert host.settle().paths == frozenset({"7/7"})

    return opcodes(act)


def test_cost_does_not_grow_with_the_files() -> None:
    """A change costs the same with 20 and with 5,000 files but for one of 256 buckets of the digest."""
    assert cost(5000) < 2 * cost(20)
