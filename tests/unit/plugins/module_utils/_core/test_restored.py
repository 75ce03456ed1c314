# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restored files beside an agent and the tree: what stays, what is told and published, and the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import cli, etcd
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.host import backups_of, put_back
from ansible_collections.watcher.config.plugins.module_utils._core.preview import Preview
from ansible_collections.watcher.config.plugins.module_utils._core.restore import Restored, fetched, restore
from ansible_collections.watcher.config.plugins.module_utils._core.restored import (
    publish_backup,
    sent_backup,
    tell,
)
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
from ansible_collections.watcher.config.plugins.module_utils._core.standing import standings
from ansible_collections.watcher.config.tests.unit.agent_world import AgentWorld
from ansible_collections.watcher.config.tests.unit.world import TREE

STATUS = "/watcher.status/web01/a.com"
NOTE = "host web01, project a.com: 1 files (such as 'x') are from a backup until they are published again"
AWAY = UnavailableError("nothing is listening")


class Agent(AgentWorld):
    """An agent's world in which x of a.com was 1 and is 2."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        """Deploy twice."""
        super().__init__(folder)
        self.fields = {"backupDir": str(folder / "backups"), **policy}
        for content in (b"1", b"2"):
            assert self.deploy({"x": content, "y": b"1"}, **self.fields).state == "deployed"

    def restore(self) -> Restored:
        """Put the newest backup of x back, as another process does."""
        return restore(type(self.state)(self.state.path), "web01", "a.com", "x", rules=self.rules)

    @property
    def status(self) -> dict[str, Any]:
        """Return the project's status in the tree."""
        item, _revision = self.store.get(STATUS)
        return json.loads(item.value) if item is not None else {}

    def tell(self, restored: Restored) -> list[str]:
        """Tell others of a restore."""
        spool = Spool(str(self.folder / "spool"), send=lambda url, body: self.posted.append(body) or "")  # type: ignore[func-returns-value]
        return tell(self.store, TREE, restored, spool, by="agent", version="1")

    @property
    def posted(self) -> list[bytes]:
        """Return the callbacks that were sent."""
        posted: list[bytes] = self.__dict__.setdefault("_posted", [])
        return posted


@pytest.fixture
def world(tmp_path: Path) -> Agent:
    """Return such a world."""
    return Agent(tmp_path)


# The agent


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("policy", [{}, {"checkCmd": "true"}])
def test_a_restart(policy: dict[str, str], force: bool, tmp_path: Path) -> None:
    """The file stays, also where everything is compared with the tree, and the outcome says why."""
    world = Agent(tmp_path, **policy)
    world.restore()
    world.start(force=force)
    world.list()
    outcome = world.lane()
    assert (world.on_disk()["x"], outcome.state, outcome.msg) == (b"1", "deployed", NOTE)


def test_a_comparison(world: Agent) -> None:
    """What drifted is repaired, and what was restored is left alone."""
    world.restore()
    world.drift("y")
    world.mirror.compare()
    outcome = world.lane()
    assert (world.on_disk(), outcome.msg) == ({"x": b"1", "y": b"1"}, NOTE)


def test_without_the_store(world: Agent) -> None:
    """A repair from what the host remembers leaves it alone, too."""
    world.restore()
    world.start()
    world.drift("y")
    outcome = world.lanes.repair("a.com")
    assert outcome is not None
    assert (world.on_disk(), outcome.msg) == ({"x": b"1", "y": b"1"}, NOTE)


def test_changes_of_the_tree(world: Agent) -> None:
    """Another file's change leaves it alone; its own, and then nobody speaks of it any more."""
    world.restore()
    world.set("y", b"9")
    world.follow()
    assert (world.lane().msg, world.on_disk()) == (NOTE, {"x": b"1", "y": b"9"})
    world.set("x", b"2")  # what the tree has is no news
    world.follow()
    assert (world.lane().msg, world.on_disk()["x"]) == (NOTE, b"1")
    world.set("x", b"3")
    world.follow()
    assert (world.lane().msg, world.on_disk()["x"]) == ("", b"3")


def test_a_playbook(world: Agent) -> None:
    """The deploy module leaves it alone, too."""
    world.restore()
    (outcome,) = world.run().outcomes
    assert (outcome.msg, world.on_disk()["x"], list(outcome.changes)) == (NOTE, b"1", [])


# What is told


def test_status(world: Agent) -> None:
    """It says that a file is from a backup; a comparison that follows adds nothing."""
    assert world.tell(world.restore()) == []
    status = world.status
    assert (status["state"], status["msg"], status["files"]) == ("deployed", NOTE, 2)
    assert status["revision"] == status["wantedRevision"] == world.ledger().revision
    world.mirror.compare()
    assert world.lane().digest == status["digest"]


def test_status_of_the_host(world: Agent) -> None:
    """What the host shows by itself says so, too, and nobody has to do anything."""
    world.restore()
    (standing,) = standings(world.state, "web01")
    assert (standing.state, standing.settled, standing.msg) == ("deployed", True, NOTE.partition(": ")[2])


def test_preview(world: Agent) -> None:
    """It is nothing to act upon; what is said beside it is."""
    world.restore()
    world.start()
    world.list()
    preview = Preview("a.com", world.lanes.preview("a.com"))
    assert (preview.good, str(preview).endswith(NOTE.partition(": ")[2])) == (True, True)
    world.store.put("/watcher/web01/a.com/config.d/../z", b"")
    world.follow()
    assert not Preview("a.com", world.lanes.preview("a.com")).good


def test_status_as_of_a_later_look(world: Agent) -> None:
    """Where the tree was seen unchanged later, the status goes on from there."""
    first = world.restore()
    body = {**json.loads(json.dumps({"state": "deployed"})), "digest": first.outcome.digest}
    for _unused in range(20):
        world.store.put("/other", b"")
    world.store.put(STATUS, json.dumps({**body, "revision": 15, "wantedRevision": 15}).encode())
    world.tell(first)
    assert (world.status["msg"], world.status["wantedRevision"], world.status["revision"]) == (NOTE, 15, 15)


def test_a_newer_status_stays(world: Agent) -> None:
    """What somebody deployed since then is not overwritten."""
    restored = world.restore()
    for _unused in range(20):
        world.store.put("/other", b"")
    newer = json.dumps({"state": "deployed", "digest": "sha256:1", "revision": 15, "wantedRevision": 15}).encode()
    world.store.put(STATUS, newer)
    assert world.tell(restored) == []
    assert world.status == json.loads(newer)


def test_a_failure_that_left_nothing(tmp_path: Path) -> None:
    """The receiver hears of it, and the status goes on saying how the project stands."""
    world = Agent(
        tmp_path, callback="http://127.0.0.1:1/", afterCmd=f"! grep -q 1 {tmp_path}/a.com/x || test ! -e {tmp_path}/bad"
    )
    (tmp_path / "bad").touch()
    restored = world.restore()
    assert world.tell(restored) == []
    (body,) = map(json.loads, world.posted)
    assert (body["state"], body["code"], world.status) == ("rolledBack", 500, {})


def test_the_store_is_away(tmp_path: Path) -> None:
    """The file is restored and the callback sent; what is missing is said."""
    world = Agent(tmp_path, callback="http://127.0.0.1:1/")
    world.store.fail(AWAY, 99)
    (problem,) = world.tell(world.restore())
    assert "the status was not written: nothing is listening; it follows when" in problem
    assert (world.on_disk()["x"], len(world.posted)) == (b"1", 1)


# Publishing


def published(world: Agent, **options: Any) -> Any:
    """Publish the newest backup of x."""
    _backup, content = fetched(world.state, "web01", "a.com", "x")
    return publish_backup(world.store, TREE, "web01", "a.com", "x", content, **options)


def test_publish(world: Agent) -> None:
    """The file's key has the content, and the host follows; a second time there is nothing to do."""
    before = world.store.revision
    assert published(world, check=True).changed
    assert world.store.revision == before
    done = published(world)
    assert (done.changed, done.revision, [edit.key for edit in done.edits]) == (
        True,
        before + 1,
        ["/watcher/web01/a.com/config.d/x"],
    )
    assert not published(world).changed
    world.follow()
    assert (world.lane().state, world.on_disk()["x"]) == ("deployed", b"1")


def test_publish_with_a_manifest(tmp_path: Path) -> None:
    """The manifest goes along, so that hosts deploy it."""
    world = Agent(tmp_path)
    many = {f"f{number:03}": b"1" for number in range(150)}
    world.deploy({"x": b"2", **many}, **world.fields)
    item, _revision = world.store.get("/watcher/web01/a.com/config")
    assert item is not None and "files" in json.loads(item.value)
    assert published(world).changed
    world.follow()
    assert (world.lane().state, world.on_disk()["x"]) == ("deployed", b"1")


def test_publish_is_refused(world: Agent) -> None:
    """A file that a template makes, or a project that is gone, cannot be published like that."""
    world.store.delete("/watcher/web01/a.com/config")
    with pytest.raises(InvalidError, match="the tree has no policy for it"):
        published(world)
    policy = {"deployPath": str(world.folder / "a.com"), "render": True}
    world.store.put("/watcher/web01/a.com/config", json.dumps(policy).encode())
    world.store.put("/watcher/web01/a.com/config.d/x.j2", b"1")
    with pytest.raises(InvalidError, match=r"'x' is rendered from .*; publish that template instead"):
        published(world)


# The command line


class Program:
    """The commands of a host whose tree is in memory."""

    def __init__(self, world: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Write the INI file."""
        self.world, self._capsys = world, capsys
        self.config = world.folder / "watcher.ini"
        text = (
            f"[local]\nhostname = web01\nstate_dir = {world.state.path}\n[security]\ndeploy_roots = *\ncommands = *\n"
        )
        self.config.write_text(text)
        monkeypatch.setattr(etcd, "connect", lambda _connection: world.store)
        monkeypatch.setattr(world.store, "close", lambda: None)

    def __call__(self, *arguments: str) -> tuple[int, list[str]]:
        """Run a command and return its exit code and the lines that it printed."""
        code = cli.main(["--config", str(self.config), *arguments])
        said = self._capsys.readouterr()
        return code, (said.out + said.err).splitlines()


@pytest.fixture
def program(world: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Return the program on such a host."""
    return Program(world, monkeypatch, capsys)


def test_backups(program: Program) -> None:
    """They are a table, or JSON; of the host, a project or a file."""
    for names in ((), ("a.com",), ("a.com", "x")):
        code, (header, row) = program("backups", *names)
        assert (code, header.split()) == (0, ["PROJECT", "FILE", "TIME", "REVISION", "BYTES", "BACKUP"])
        project, file, _day, _time, _revision, size, name = row.split()
        assert (project, file, size, name.startswith("x_watcherbackup_")) == ("a.com", "x", "1", True)
    data = json.loads("\n".join(program("backups", "--json")[1]))
    (entry,) = data["backups"]
    assert (data["host"], entry["project"], entry["file"], entry["name"]) == ("web01", "a.com", "x", name)
    assert program("backups", "a.com", "y") == (0, ["host web01: there are no such backups"])
    code, (line,) = program("backups", "b.com")
    assert (code, line) == (2, "watcher: host web01, project b.com: this host has never deployed it")


def test_restore(program: Program) -> None:
    """The file comes back, the line says what was done, and the status follows at once."""
    code, (line,) = program("restore", "a.com", "x")
    assert (code, program.world.on_disk()["x"], program.world.status["msg"]) == (0, b"1", NOTE)
    at = program.world.ledger().revision
    assert line.startswith(f"a.com: deployed at revision {at}: set x; backup x_watcherbackup_")
    assert line.endswith("; 1 files (such as 'x') are from a backup until they are published again")
    (older,) = [row.split()[-1] for row in program("backups")[1] if row.endswith(line.split("; ")[1].split()[1])]
    code, (line,) = program("restore", "a.com", "x", older)
    assert (code, "nothing to do: x is what the backup holds" in line) == (0, True)


def test_callback_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits in the spool until it is taken; where that cannot be written, the next start of the agent tells it."""
    world = Agent(tmp_path, callback="http://127.0.0.1:1/")
    program = Program(world, monkeypatch, capsys)
    code, (_line, problem) = program("restore", "a.com", "x")
    assert (code, "callback web01/a.com@" in problem, world.ledger().untold) == (0, True, None)
    (body,) = (json.loads(path.read_text())["body"] for path in tmp_path.glob("state/+spool/*.json"))
    assert (body["state"], body["files"][0]["path"]) == ("deployed", "x")

    shutil.rmtree(tmp_path / "state" / "+spool")
    (tmp_path / "state" / "+spool").touch()
    code, (_line, problem) = program("restore", "a.com", "x")
    untold = world.ledger().untold
    assert (code, "the callback could not be stored" in problem, bool(untold and untold["ran"])) == (0, True, True)


def test_restore_while_the_store_is_away(program: Program) -> None:
    """It is done all the same; what follows later is said."""
    program.world.store.fail(AWAY, 99)
    code, (line, problem) = program("restore", "a.com", "x")
    assert (code, program.world.on_disk()["x"]) == (0, b"1")
    assert line.startswith("a.com: deployed") and "the status was not written" in problem
    code, (problem,) = program("restore", "a.com", "x", "--publish")
    assert (code, problem) == (3, "watcher: nothing is listening")


def test_restore_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code and the line say so."""
    world = Agent(tmp_path, afterCmd=f"test ! -e {tmp_path}/bad")
    (tmp_path / "bad").touch()
    code, (line,) = Program(world, monkeypatch, capsys)("restore", "a.com", "x")
    assert (code, world.on_disk()["x"]) == (1, b"2")
    assert line.startswith("a.com: rolledBack at revision ") and "afterCmd failed" in line


def test_restore_published(program: Program) -> None:
    """The tree has it, the disk not yet: that is the agent's work."""
    code, (line,) = program("restore", "a.com", "x", "--publish")
    assert (code, program.world.on_disk()["x"]) == (0, b"2")
    assert line.startswith(f"a.com: x published at revision {program.world.store.revision}; backup x_watcherbackup_")
    item, _revision = program.world.store.get("/watcher/web01/a.com/config.d/x")
    assert item is not None and item.value == b"1"
    assert "is what the tree holds already, at revision" in program("restore", "a.com", "x", "--publish")[1][0]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("restore", "a.com", "none"), 2, "there is no backup of 'none'"),
        (("restore", "a.com", "x", "y"), 2, "'y' is no backup of 'x'"),
        (("restore", "b.com", "x"), 2, "this host has never deployed it"),
        (("restore", "b.com", "x", "--publish"), 2, "this host has never deployed it"),
    ],
)
def test_wrong_names(arguments: tuple[str, ...], code: int, says: str, program: Program) -> None:
    """They are named in one sentence."""
    ended, (line,) = program(*arguments)
    assert (ended, says in line) == (code, True), line


# Rendered files


def test_a_rendered_file(tmp_path: Path) -> None:
    """It stays until its template makes something else; it is no file of the tree that could be published."""
    world = AgentWorld(tmp_path)
    value = "/watcher/web01/a.com/vars/v"
    policy: dict[str, Any] = {"backupDir": str(tmp_path / "backups"), "render": True}
    for content in (b"1", b"2"):
        world.store.put(value, content)
        assert world.deploy({"x.j2": b"{{ getv('v') }}", "y": b"1"}, **policy).state == "deployed"
    restored = restore(world.state, "web01", "a.com", "x")
    assert (world.on_disk()["x"], restored.outcome.state, restored.outcome.digest) == (b"1", "deployed", "")
    world.store.put(STATUS, json.dumps({"wantedRevision": 1, "digest": "sha256:d"}).encode())
    tell(world.store, TREE, restored, Spool(str(tmp_path / "spool")), by="agent", version="1")
    item, _revision = world.store.get(STATUS)
    assert item is not None and json.loads(item.value)["digest"] == "sha256:d"
    world.mirror.compare()
    assert (world.lane().msg, world.on_disk()["x"]) == (NOTE, b"1")
    with pytest.raises(InvalidError, match="is rendered from"):
        publish_backup(world.store, TREE, "web01", "a.com", "x", b"1")
    world.store.put(value, b"3")
    world.follow()
    assert (world.lane().msg, world.on_disk()["x"]) == ("", b"3")


# What a host answers


@pytest.mark.parametrize("answer", [{}, {"backup": {}, "content": ""}, {"backup": None}])
def test_answers_that_are_none(answer: dict[str, Any]) -> None:
    """A host of another version, or a bad one, is told apart."""
    with pytest.raises(InvalidError, match="the host's answer is not a backup of this version"):
        sent_backup(answer)
    with pytest.raises(InvalidError, match="the host's answer is not a restore of this version"):
        Restored.from_json(answer, "web01", "a.com")


def test_what_the_host_sends(world: Agent) -> None:
    """A backup that is to be published arrives as it is, and nothing is changed; another is put back there."""
    (entry,) = backups_of(world.state, "web01", None)
    wanted = {"file": "x", "backup": entry["name"], "publish": True}
    backup, content = sent_backup(json.loads(json.dumps(put_back(world.state, "web01", "a.com", wanted))))
    assert (entry["project"], backup.name, content, world.on_disk()["x"]) == ("a.com", entry["name"], b"1", b"2")
    with pytest.raises(InvalidError, match="is not a backup"):
        sent_backup({"backup": backup.to_json(), "content": "%"})
    answer = put_back(world.state, "web01", "a.com", {"file": "x", "publish": False}, check=True)
    assert (Restored.from_json(answer, "web01", "a.com").outcome.ran, world.on_disk()["x"]) == (True, b"2")
    for other in (("web02", "a.com"), ("web01", "b.com")):  # whose status and callback are not its business
        with pytest.raises(InvalidError, match="it answers for project"):
            Restored.from_json(answer, *other)
    put_back(world.state, "web01", "a.com", {"file": "x"})
    assert world.on_disk()["x"] == b"1"
