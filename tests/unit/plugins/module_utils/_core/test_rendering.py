# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates on a controller: what is read for them, what reaches the host, and that an agent makes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import controller, lane, rendering, watches
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError, StoreError
from ansible_collections.watcher.config.plugins.module_utils._core.model import Project
from ansible_collections.watcher.config.plugins.module_utils._core.overview import overview
from ansible_collections.watcher.config.plugins.module_utils._core.report import write_status
from ansible_collections.watcher.config.plugins.module_utils._core.snapshot import projects
from ansible_collections.watcher.config.plugins.module_utils._core.store import Listing
from ansible_collections.watcher.config.tests.unit.agent_world import AgentWorld
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.world import TREE, World

OWN = TREE.variables("web01", "a.com")
RENDER: dict[str, Any] = {"render": True, "watch": ["/services"]}
UPSTREAM = b"""\
upstream app { # {{ host }} {{ project }} {{ policy.deployPath | length > 0 }}
{% for service in gets("/services/*") %}
    server {{ service.value }};
{% endfor %}
}
listen {{ getv("port") }} {{ json("/services/db").port if exists("/services/db") else "-" }};
"""


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """Return a world with a port, two services, one prefix beside them, and a template."""
    world = AgentWorld(tmp_path)
    world.store.put(f"{OWN}port", b"80")
    for name in ("/services/1", "/services/2", "/services2/3", "/services"):
        world.store.put(name, b"10.0.0." + name[-1:].encode())
    world.put({"u.conf.j2": UPSTREAM, "plain": b"{{ x }}"}, **RENDER)
    return world


def listed(world: World, monkeypatch: pytest.MonkeyPatch, refused: str = "") -> list[tuple[str, int]]:
    """Return a list that all further listings of the store are noted in; ``refused`` is a prefix that is not given."""
    calls: list[tuple[str, int]] = []
    real = world.store.list

    def spy(prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        calls.append((prefix, revision))
        if prefix == refused:
            raise DeniedError(f"{prefix}: permission denied")
        return real(prefix, keys_only=keys_only, revision=revision)

    monkeypatch.setattr(world.store, "list", spy)
    return calls


def of_store(store: MemoryStore) -> Project:
    """Return a.com as it is published."""
    return projects(TREE, store.list(TREE.host("web01")))["web01", "a.com"]


def test_what_reaches_the_host(world: AgentWorld) -> None:
    """Rendered files, under their own names, from what is below the watched prefixes and the project's own values."""
    assert world.states() == {"a.com": "deployed"}
    made = b"upstream app { # web01 a.com True\n    server 10.0.0.1;\n    server 10.0.0.2;\n}\nlisten 80 -;\n"
    assert world.on_disk() == {"plain": b"{{ x }}", "u.conf": made}
    (parcel,) = world.sent
    (project,) = parcel.projects
    assert project.digest == of_store(world.store).digest


def test_changes_of_values(world: AgentWorld) -> None:
    """What is put or deleted is in the file at the next run; the host takes it for newer."""
    world.states()
    world.store.put("/services/3", b"10.0.0.9")
    assert world.states() == {"a.com": "deployed"}
    assert b"    server 10.0.0.9;\n" in world.on_disk()["u.conf"]
    world.store.delete("/services/1", "/services/2", "/services/3")
    assert world.states() == {"a.com": "deployed"}
    assert b"server" not in world.on_disk()["u.conf"]
    world.store.put(f"{OWN}port", b"81")
    assert world.states() == {"a.com": "deployed"}
    assert b"listen 81" in world.on_disk()["u.conf"]
    before = world.ledger()
    world.store.put("/services2/3", b"not watched")
    (outcome,) = world.run().outcomes
    assert (outcome.state, list(outcome.changes), world.ledger().files) == ("deployed", [], before.files)


def test_an_agent_makes_the_same(world: AgentWorld, tmp_path: Path) -> None:
    """Whoever comes second finds nothing to do, to the byte; digest and revision agree."""
    (by_controller,) = world.run().outcomes
    first = world.on_disk()
    world.list()
    by_agent = world.lane()
    assert (by_agent.state, by_agent.ran, list(by_agent.changes)) == ("deployed", False, [])
    assert by_agent.digest == by_controller.digest == of_store(world.store).digest
    world.store.put("/services/3", b"\xc3\xbc\r\n")
    world.list()
    assert [change.path for change in world.lane().changes] == ["u.conf"]
    (again,) = world.run().outcomes
    assert (again.state, again.ran, list(again.changes)) == ("deployed", False, [])
    assert world.on_disk() != first


def test_one_function_for_both() -> None:
    """Agent and controller render by the same function, with the same kind of values."""
    for name in ("rendered", "Renderer", "Values", "by_name"):
        assert vars(lane)[name] is vars(rendering)[name]
    assert vars(rendering)["Contents"] is watches.Contents


def test_one_revision(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is read as of the revision of the project's listing, each prefix once."""
    world.put({"v.j2": b"{{ getvs('/services/*') | join }}{{ getvs('/other/*') | join }}"}, "b.com", render=True,
              watch=["/services/", "/other"])  # fmt: skip
    calls = listed(world, monkeypatch)
    real = world.store.list

    def then_change(prefix: str, **more: Any) -> Listing:
        found = real(prefix, **more)
        world.store.put("/services/4", b"too late")
        return found

    monkeypatch.setattr(world.store, "list", then_change)
    revision = world.store.get("/x")[1]
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert sorted(calls) == [("/other/", revision), ("/services/", revision), (TREE.host("web01"), 0)]
    assert b"too late" not in world.on_disk()["u.conf"] + world.on_disk("b.com")["v"]
    assert world.sent[0].revision == revision


def test_only_what_is_asked_for(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefixes of projects that are not deployed, or not rendered, are not read."""
    world.put({"x.j2": b"{{ y }}"}, "b.com", watch=["/other"])
    calls = listed(world, monkeypatch)
    assert world.states(names=["b.com"]) == {"b.com": "deployed"}
    assert calls == [(TREE.host("web01"), 0)]
    assert world.on_disk("b.com") == {"x.j2": b"{{ y }}"}


def test_newest(world: AgentWorld) -> None:
    """A change below a watched prefix is one of the project; what deployments write themselves is none."""
    world.put({"u.conf.j2": b"{{ ls('/watcher.status/web01') | length }}"}, "b.com", render=True, watch=["/services"])
    service = world.store.put("/services/9", b"10.0.0.9")
    course = world.run()
    assert course.newest == {"a.com": service, "b.com": service}
    world.store.put("/services2/3", b"beside")
    assert world.run().newest["a.com"] == service
    port = world.store.put(f"{OWN}port", b"81")
    assert world.run().newest == {"a.com": port, "b.com": service}


def test_a_watched_prefix_above_the_statuses(tmp_path: Path) -> None:
    """It sees them, and their changes count for nothing."""
    world = World(tmp_path)
    world.put({"x.j2": b"{{ ls('/') }}"}, render=True, watch=["/watcher"])
    project = of_store(world.store)
    quiet = rendering.Rendering(world.store, TREE)
    quiet._tree = type(TREE)("/watcher/inner")
    status = world.store.put("/watcher/inner.status/web01/a.com", b"{}")
    found = quiet.of(Project(**{**vars(project), "revision": status}))
    assert found.newest == project.newest < status


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (b"\n{{ nope }}", "u.conf.j2, line 2: 'nope' is undefined"),
        (b"\n\n{% for %}", "u.conf.j2, line 3: Expected an expression, got 'end of statement block'"),
        (b"{{ getv('no') }}", f"u.conf.j2, line 1: key '{OWN}no' is not in the tree; put it there, or give getv a"),
        (b"{{ getv('/services2/3') }}", "u.conf.j2, line 1: key '/services2/3' is outside of what the project sees"),
        (b"{{ json('port2') }}", f"u.conf.j2, line 1: key '{OWN}port2' is not in the tree"),
    ],
)
def test_a_bad_template(world: AgentWorld, template: bytes, said: str) -> None:
    """The old set stays, all of it; the outcome says why; other projects are served."""
    world.states()
    before = world.on_disk()
    world.store.put(TREE.policy("web01", "a.com"), b'{"deployPath": "%s", "render": true, "watch": ["/services"]}'
                    % str(world.folder / "a.com").encode())  # fmt: skip
    world.store.put(TREE.file("web01", "a.com", "plain"), b"new")
    world.store.put(TREE.file("web01", "a.com", "u.conf.j2"), template)
    world.put({"b": b"1"}, "b.com")
    good, bad = sorted(world.run().outcomes, key=lambda outcome: outcome.project, reverse=True)
    assert (good.project, good.state, bad.state) == ("b.com", "deployed", "failed")
    assert bad.msg.startswith(f"host web01, project a.com, template {said}")
    assert bad.digest == of_store(world.store).digest
    assert world.on_disk() == before
    world.list()
    by_agent = world.lane()
    assert (by_agent.state, by_agent.msg) == ("failed", bad.msg)
    world.store.put(TREE.file("web01", "a.com", "u.conf.j2"), b"good")
    assert world.states() == {"a.com": "deployed", "b.com": "deployed"}
    assert world.on_disk() == {"plain": b"new", "u.conf": b"good"}


def test_a_prefix_that_cannot_be_read(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; the old set stays, and other projects are served."""
    world.states()
    world.store.put("/services/3", b"10.0.0.9")
    world.put({"x.j2": b"{{ ls('/other') }}"}, "b.com", render=True, watch=["/other/"])
    before = world.on_disk()
    listed(world, monkeypatch, refused="/services/")
    bad, good = world.run().outcomes
    assert (bad.state, good.state) == ("failed", "deployed")
    assert bad.msg == (
        "host web01, project a.com: the values below /services/, which the policy watches, cannot be read:"
        " /services/: permission denied"
    )
    assert world.on_disk() == before


def test_a_revision_that_is_gone(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are compacted away in between are no values."""
    real = world.store.list

    def compacting(prefix: str, **more: Any) -> Listing:
        found = real(prefix, **more)
        world.store.put("/x")
        world.store.compact()
        return found

    monkeypatch.setattr(world.store, "list", compacting)
    (outcome,) = world.run().outcomes
    assert outcome.state == "failed"
    assert "the values below /services/, which the policy watches, cannot be read: " in outcome.msg


def test_too_many_values(world: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would fill the memory is refused, by its prefix."""
    monkeypatch.setattr(watches, "MAX_BYTES", 10)
    (outcome,) = world.run().outcomes
    assert (outcome.state, "the values below /services/" in outcome.msg) == ("failed", True)


def test_no_list_of_the_host(world: AgentWorld) -> None:
    """When not even the projects can be read, nothing is sent."""
    world.store.fail(DeniedError("permission denied"))
    with pytest.raises(StoreError):
        world.run()
    assert world.sent == []


def test_big_files_are_asked_for(world: AgentWorld) -> None:
    """What a template has made travels like any other content: once, when the host lacks it."""
    big = f"{{{{ 'x' * {controller.LITTLE} }}}}{{{{ getv('port') }}}}".encode()
    world.put({"u.conf.j2": big, "same.j2": big}, **RENDER)
    assert world.states() == {"a.com": "deployed"}
    assert world.sent_contents() == [set(), {"same", "u.conf"}]
    world.put({"u.conf.j2": big + b"!", "same.j2": big}, **RENDER)
    assert world.states() == {"a.com": "deployed"}
    assert world.sent_contents() == [set(), {"u.conf"}]
    assert world.states() == {"a.com": "deployed"}
    assert world.sent_contents() == [set()]


def test_a_tree_that_moves_on_is_rendered_anew(world: AgentWorld) -> None:
    """A host that has a newer revision than it was sent gets what the values say by then."""

    def faster() -> None:
        world.store.put("/services/3", b"10.0.0.9")
        world.list()
        assert world.lane().state == "deployed"

    world.before = [faster]
    assert world.states() == {"a.com": "deployed"}
    assert len(world.sent) == 2
    assert b"10.0.0.9" in world.on_disk()["u.conf"]


@pytest.mark.parametrize("how", ["purge", "withdraw"])
def test_a_mass_removal_of_templates(world: AgentWorld, how: str) -> None:
    """The host asks for files by their own names, the tree's history answers with those of templates."""
    world.put({f"f{number:02}.j2": b"{{ getv('port') }}" for number in range(40)}, **RENDER)
    assert world.states() == {"a.com": "deployed"}
    assert len(world.files()) == 40
    if how == "withdraw":
        world.withdraw()
        assert world.states() == {"a.com": "removed"}
        assert world.files() == set()
    else:
        world.put({"f00.j2": b"1"}, **RENDER)
        assert world.states() == {"a.com": "deployed"}
        assert world.files() == {"f00"}


def test_a_template_that_becomes_a_file(world: AgentWorld) -> None:
    """Turning rendering off, or on, exchanges the names."""
    world.states()
    world.put({"u.conf.j2": UPSTREAM})
    assert world.states() == {"a.com": "deployed"}
    assert world.on_disk() == {"u.conf.j2": UPSTREAM}
    world.put({"u.conf.j2": UPSTREAM}, **RENDER)
    assert world.states() == {"a.com": "deployed"}
    assert set(world.on_disk()) == {"u.conf"}


def test_a_template_that_cannot_be_taken(world: AgentWorld) -> None:
    """The file that it made stays, and the outcome says what is wrong with the key."""
    world.put({"u.conf.j2": UPSTREAM, "plain": b"1"}, **RENDER)
    world.states()
    before = world.on_disk()
    policy = b'{"deployPath": "%s", "render": true, "watch": ["/services"]}' % str(world.folder / "a.com").encode()
    world.store.put(TREE.policy("web01", "a.com"), policy)
    world.store.put(TREE.file("web01", "a.com", "u.conf.j2"), b"x" * ((1 << 20) + 1))
    (outcome,) = world.run().outcomes
    assert (outcome.state, "the value has 1048577 bytes" in outcome.msg) == ("deployed", True)
    assert world.on_disk() == before


def test_the_status_is_in_sync(world: AgentWorld) -> None:
    """Whoever compares the tree with the status sees what was published, not what templates made of it."""
    course = world.run()
    for outcome in course.outcomes:
        write_status(world.store, TREE, outcome, "playbook", "1", course.newest[outcome.project])

    def state() -> str:
        (entry,) = overview(world.store, TREE, names=["a.com"])["projects"]
        assert entry["status"]["digest"] == of_store(world.store).digest
        return str(entry["state"])

    assert state() == "deployed"
    world.store.put(f"{OWN}port", b"81")
    assert state() == "pending"
