# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates in a lane: what they make is on the disk, what they read is watched, what is wrong with them is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Outcome, Project, sha256
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.agent_world import PREFIX, AgentWorld
from ansible_collections.watcher.config.tests.unit.world import TREE

AWAY = UnavailableError("nothing is listening")
FILES = {"a.j2": b"port {{ getv('port') }}\n", "plain": b"as it is {{ }}\n"}
UPSTREAM = {"up.j2": b"{% for at in getvs('/s/*') %}\nserver {{ at }};\n{% endfor %}\n"}


class RenderWorld(AgentWorld):
    """A world whose project renders."""

    def render(self, files: dict[str, bytes], **policy: Any) -> Outcome:
        """Publish files of a project that renders, and deploy them."""
        return self.deploy(files, render=True, **policy)

    def var(self, name: str, value: bytes | None) -> int:
        """Set or delete a variable and return the revision."""
        key = TREE.variables("web01", "a.com") + name
        return self.store.delete(key) if value is None else self.store.put(key, value)

    def next(self) -> Outcome:
        """Follow and run the lane."""
        assert self.follow() == {"a.com"}
        return self.lane()


@pytest.fixture
def world(tmp_path: Path) -> RenderWorld:
    """Return a world with a template and a plain file deployed."""
    world = RenderWorld(tmp_path)
    world.var("port", b"80")
    assert world.render(FILES).state == "deployed"
    return world


def test_deployed(world: RenderWorld) -> None:
    """Without the suffix; what the tree has is what the status says, and there is nothing more to do."""
    assert world.on_disk() == {"a": b"port 80\n", "plain": FILES["plain"]}
    ledger = world.ledger()
    assert {path: owned.digest for (_root, path), owned in ledger.files.items()} == {
        path: sha256(content) for path, content in world.on_disk().items()
    }
    assert (ledger.policy or {})["render"] is True
    world.list()
    outcome = world.lane()
    published = Project("web01", "a.com", 1, 1, files={path: File.of(content) for path, content in FILES.items()})
    assert (outcome.state, outcome.ran, outcome.digest, outcome.files) == ("deployed", False, published.digest, 2)
    assert world.lanes.run("a.com") is None


def test_a_variable_changes(world: RenderWorld) -> None:
    """The file changes with it, and it is a deployment at that revision, with its commands."""
    world.render(FILES, afterCmd="echo $WATCHER_CHANGED")
    revision = world.var("port", b"81")
    outcome = world.next()
    assert (outcome.state, outcome.revision, outcome.after.out) == ("deployed", revision, "a\n")
    assert world.on_disk()["a"] == b"port 81\n"
    world.var("other", b"1")
    assert (world.next().ran, world.on_disk()["a"]) == (False, b"port 81\n")


@pytest.mark.parametrize("copies", [True, False])
def test_where_templates_are_taken_from(world: RenderWorld, copies: bool) -> None:
    """They have left the memory: they come from their copies, else from the store."""
    if not copies:
        shutil.rmtree(world.folder / "state" / "a.com" / "objects")
    world.store.calls.clear()
    world.var("port", b"81")
    assert world.next().state == "deployed"
    assert world.on_disk()["a"] == b"port 81\n"
    assert world.store.calls["get"] == (0 if copies else 1)


def test_templates_that_changed_meanwhile(world: RenderWorld) -> None:
    """They are not mixed with older ones: what is on its way is waited for."""
    shutil.rmtree(world.folder / "state" / "a.com" / "objects")
    world.var("port", b"81")
    world.follow()
    world.set("a.j2", b"new")
    with pytest.raises(UnavailableError, match="on the way"):
        world.lanes.run("a.com")
    assert world.next().state == "deployed"
    assert world.on_disk()["a"] == b"new"


def test_a_template_that_fails(world: RenderWorld) -> None:
    """File, line and key are named, the old set stays; the key that was missing deploys it."""
    outcome = world.render({**FILES, "b.j2": b"\n{{ getv('name') }}", "plain": b"new"})
    assert (outcome.state, world.on_disk()["plain"]) == ("failed", FILES["plain"])
    for text in (outcome.msg, world.ledger().problem):
        assert "template b.j2, line 2: key '/watcher/web01/a.com/vars/name' is not in the tree" in text
    assert world.lane().state == "failed"
    world.var("name", b"x")
    outcome = world.next()
    assert (outcome.state, outcome.msg) == ("deployed", "")
    assert world.on_disk() == {"a": b"port 80\n", "b": b"\nx", "plain": b"new"}


def test_a_variable_that_went(world: RenderWorld) -> None:
    """The file stays as it was, and it is told why."""
    world.var("port", None)
    outcome = world.next()
    assert (outcome.state, world.on_disk()["a"]) == ("failed", b"port 80\n")
    assert "vars/port" in outcome.msg


def test_without_the_store(world: RenderWorld) -> None:
    """What was made is repaired from its copy; nothing is rendered anew, and no change is seen."""
    world.drift("a")
    world.drift("plain")
    world.start()
    world.store.fail(AWAY, 100)
    before = world.ledger().policy
    outcome = world.lanes.repair("a.com")
    assert outcome is not None and (outcome.state, outcome.ran) == ("deployed", True)
    assert world.on_disk() == {"a": b"port 80\n", "plain": FILES["plain"]}
    assert world.ledger().policy == before


def test_copies_of_what_is_gone(world: RenderWorld) -> None:
    """They are dropped, those of templates and those of what they made."""
    objects = world.folder / "state" / "a.com" / "objects"
    assert len(list(objects.iterdir())) == 3
    world.render({"plain": b"1"})
    assert len(list(objects.iterdir())) == 1
    assert world.on_disk() == {"plain": b"1"}


def test_after_a_restart_without_force(world: RenderWorld) -> None:
    """What drifted is left alone where nothing has changed; a change of a variable compares all."""
    world.drift("plain")
    world.drift("a")
    world.start(force=False)
    world.list()
    outcome = world.lane()
    assert (outcome.state, outcome.ran, outcome.files) == ("deployed", False, 2)
    assert world.on_disk() == {"a": b"drifted", "plain": b"drifted"}
    world.var("port", b"81")
    world.start(force=False)
    world.list()
    assert world.lane().ran
    assert world.on_disk() == {"a": b"port 81\n", "plain": FILES["plain"]}


def test_a_failure_after_a_restart_without_force(world: RenderWorld) -> None:
    """It is told: that nothing may be written is no sign that nothing has changed."""
    world.var("port", None)
    world.start(force=False)
    world.list()
    assert world.lane().state == "failed"


def test_rendering_begins_and_ends(world: RenderWorld) -> None:
    """With the policy: the file takes its suffix off, and puts it on again."""
    world.deploy(FILES)
    assert world.on_disk() == FILES
    world.var("port", b"81")
    assert world.follow() == set()
    world.render(FILES)
    assert world.on_disk() == {"a": b"port 81\n", "plain": FILES["plain"]}


def test_what_is_watched(tmp_path: Path) -> None:
    """Values of others are there, those that are not watched are not; their revision is that of the deployment."""
    world = RenderWorld(tmp_path)
    world.store.commit(Write(puts=(("/s/a", b"one"), ("/s/b", b"two"), ("/t/a", b"x"))))
    assert world.render(UPSTREAM, watch=["/s"]).state == "deployed"
    assert world.on_disk() == {"up": b"server one;\nserver two;\n"}
    gone = world.store.delete("/s/a")
    world.mirror.touch({"a.com"}, gone)
    assert world.lane().revision == gone
    assert world.on_disk() == {"up": b"server two;\n"}
    world.render(UPSTREAM, watch=["/t"])
    assert "outside of what the project sees" in world.ledger().problem
    assert world.on_disk() == {"up": b"server two;\n"}


def test_a_watched_change_that_no_event_told(tmp_path: Path) -> None:
    """It counts by its revision where that is newer than the project."""
    world = RenderWorld(tmp_path)
    world.put(UPSTREAM, render=True, watch=["/s"])
    world.list()
    put = world.store.put("/s/a", b"one")
    assert (world.lane().revision, world.on_disk()) == (put, {"up": b"server one;\n"})


@pytest.mark.parametrize("preview", [False, True])
def test_a_prefix_that_cannot_be_read(tmp_path: Path, preview: bool) -> None:
    """The project fails and says so; others and its files stay."""
    world = RenderWorld(tmp_path)
    world.put(UPSTREAM, render=True, watch=["/s"])
    world.list()
    world.store.fail(DeniedError("permission denied"))
    outcome = world.lanes.preview("a.com") if preview else world.lanes.run("a.com")
    assert outcome is not None and (outcome.state, world.files()) == ("failed", set())
    assert outcome.msg == (
        "host web01, project a.com: the values below /s/, which the policy watches, cannot be read: permission denied"
    )
    if not preview:
        assert world.lane().state == "deployed"


def test_a_prefix_that_cannot_be_read_after_a_restart(tmp_path: Path) -> None:
    """It is told also where no file has changed, and none is repaired."""
    world = RenderWorld(tmp_path)
    world.render({"plain": b"1"}, watch=["/s"])
    world.start(force=False)
    world.list()
    world.store.fail(DeniedError("permission denied"))
    assert world.lane().state == "failed"


def test_a_preview_renders(world: RenderWorld) -> None:
    """It says what would change, without the suffix, and what is wrong."""
    world.var("port", b"81")
    world.follow()
    outcome = world.lanes.preview("a.com")
    assert outcome is not None and [(change.path, change.action) for change in outcome.changes] == [("a", "set")]
    assert world.on_disk()["a"] == b"port 80\n"
    world.var("port", None)
    world.follow()
    outcome = world.lanes.preview("a.com")
    assert outcome is not None and "vars/port" in outcome.msg


def test_values_never_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a playbook run has deployed is not undone by a host whose watch of the values is behind."""
    world = RenderWorld(tmp_path)
    watches = world.lanes.watches
    watches.start(world.mirror.touch, lambda: None)
    world.store.put("/s/a", b"one")
    world.render(UPSTREAM, watch=["/s"])
    with monkeypatch.context() as patch:
        patch.setattr(watches, "_take_batch", lambda source, batch: False)
        world.store.put("/s/a", b"two")
        assert world.states() == {"a.com": "deployed"}
        world.mirror.compare()
        assert world.lane().state == "stale"
        assert world.on_disk() == {"up": b"server two;\n"}
    outcome = world.lane()
    watches.close()
    assert (outcome.state, outcome.ran, world.on_disk()) == ("deployed", False, {"up": b"server two;\n"})


def test_the_end_is_no_failure(tmp_path: Path) -> None:
    """A deployment that comes when the agent ends is left to its next start."""
    world = RenderWorld(tmp_path)
    world.lanes.watches.start(lambda names, revision: None, lambda: None)
    world.render({"plain": b"1"}, watch=["/s"])
    world.mirror.compare()
    world.lanes.watches.close()
    with pytest.raises(UnavailableError, match="the agent ends"):
        world.lanes.run("a.com")
    assert world.ledger().attempts == 0


MANY = {f"f{number:02}.j2": b"1" for number in range(14)}
GONE = [f"config.d/{path}" for path in sorted(MANY)[1:]]


def remove_most(world: RenderWorld, *, with_policy: bool) -> None:
    """Delete most templates by hand."""
    base = TREE.project("web01", "a.com")
    policy, _revision = world.store.get(base + "config")
    assert policy is not None
    puts = ((base + "config", policy.value),) if with_policy else ()
    world.store.commit(Write(puts=puts, deletes=tuple(base + rest for rest in GONE)))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("with_policy", [False, True])
def test_many_templates_are_removed(tmp_path: Path, with_policy: bool, restarted: bool) -> None:
    """What they made is held, unless the policy was written in the same revision: be it seen or looked up."""
    world = RenderWorld(tmp_path)
    base = TREE.project("web01", "a.com")
    policy = f'{{"deployPath": "{tmp_path}/a.com", "render": true}}'.encode()
    files = tuple((f"{base}config.d/{path}", content) for path, content in MANY.items())
    world.store.commit(Write(puts=((base + "config", policy), *files)))
    world.list()
    world.lane()
    assert len(world.on_disk()) == 14
    remove_most(world, with_policy=with_policy)
    if restarted:
        world.start()
        world.list()
    else:
        world.follow()
    world.store.calls.clear()
    assert world.lane().state == ("deployed" if with_policy else "held")
    assert world.store.calls["watch"] == (0 if with_policy and not restarted else 1)  # what was seen is not looked up
    assert len(world.on_disk()) == (1 if with_policy else 14)


@pytest.mark.parametrize("more", [0, 16])
def test_many_files_change_their_names(tmp_path: Path, more: int) -> None:
    """When rendering begins or ends, written by hand: that is no mass removal, and one beside it is still held."""
    world = RenderWorld(tmp_path)
    base = TREE.project("web01", "a.com")
    plain = f'{{"deployPath": "{tmp_path}/a.com"}}'.encode()
    rendering = plain[:-1] + b', "render": true}'
    others = [f"{base}config.d/g{number}" for number in range(more)]
    files = tuple((f"{base}config.d/{path}", content) for path, content in MANY.items())
    world.store.commit(Write(puts=((base + "config", plain), *files, *((key, b"") for key in others))))
    world.list()
    world.lane()
    for policy, names in ((rendering, {path[:-3] for path in MANY}), (plain, set(MANY))):
        if others:
            world.store.delete(*others)
        world.store.put(base + "config", policy)
        world.follow()
        outcome = world.lane()
        if others:
            assert (outcome.state, len(world.on_disk())) == ("held", 14 + more)
            assert "16 of 30" in outcome.msg
            return
        assert (outcome.state, world.files()) == ("deployed", names)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_end_of_the_project(tmp_path: Path, restarted: bool) -> None:
    """All that its templates made goes with it."""
    world = RenderWorld(tmp_path)
    world.render(MANY)
    world.var("left", b"1")
    world.withdraw()
    if restarted:
        world.start()
        assert world.list() == {"a.com"}
    else:
        assert world.follow() == {"a.com"}
    assert world.lane().state == "removed"
    assert (world.files(), world.lanes.run("a.com")) == (set(), None)
    assert world.mirror.suspects(world.store.list(PREFIX, keys_only=True)) == set()
