# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent tells: each callback once in the spool at least, each trouble once in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import reporter
from ansible_collections.watcher.config.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import SPOOL, State
from ansible_collections.watcher.config.plugins.module_utils._core.model import CommandResult, FileChange, Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.outlet import Outlet
from ansible_collections.watcher.config.plugins.module_utils._core.sender import Sender
from ansible_collections.watcher.config.tests.unit.agent_world import AgentWorld
from ansible_collections.watcher.config.tests.unit.receiver import Receiver, receiving
from ansible_collections.watcher.config.tests.unit.world import TREE

BOUND = 10.0  # seconds for one condition
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """Return a world in which nothing was deployed yet."""
    return AgentWorld(tmp_path)


@pytest.fixture
def outlets(world: AgentWorld) -> Iterator[Callable[..., Outlet]]:
    """Return a maker of outlets of the world's host, closed in the end."""
    made: list[Outlet] = []

    def make(state: State | None = None, *, sending: bool = False) -> Outlet:
        outlet = Outlet(world.store, TREE, state or world.state, "web01", "1.2.3")
        outlet.sender = Sender(outlet.spool, 3600.0)  # it looks when it is woken, or never
        outlet.start(sending=sending)
        made.append(outlet)
        return outlet

    yield make
    world.store.fail_no_more()
    for outlet in made:
        outlet.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver that is at work."""
    with receiving() as server:
        yield server


def outcome(state: str = "deployed", revision: int = 5, **more: Any) -> Outcome:
    """Return an outcome of a.com that was carried out, unless told otherwise."""
    values: dict[str, Any] = {"ran": True, "callback": NOBODY, "msg": "" if state == "deployed" else "no room"} | more
    return Outcome("web01", "a.com", state, revision, revision, "d", 1, **values)


def tell(outlet: Outlet, *outcomes: Outcome, silent: bool = False) -> None:
    """Tell of outcomes that follow each other."""
    before: Outcome | None = None
    for one in outcomes:
        outlet.tell(one, one.wanted_revision, before, 0.0123, silent=silent)
        before = one


def spooled(world: AgentWorld) -> list[dict[str, Any]]:
    """Return the bodies of the callbacks that wait."""
    files = sorted((world.folder / "state" / SPOOL).glob("*.json"))
    return [json.loads(path.read_text())["body"] for path in files]


def deployed(world: AgentWorld, content: bytes = b"1", **policy: Any) -> Outcome:
    """Deploy, with a callback that the ledger remembers."""
    found = world.deploy({"a": content}, **{"callback": NOBODY, **policy})
    assert world.ledger().untold is not None
    return found


# Callbacks


def test_spooled_and_forgotten_by_the_ledger(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """Once the spool has it, the ledger need not."""
    outlet = outlets()
    found = deployed(world)
    tell(outlet, found)
    assert [body["id"] for body in spooled(world)] == [f"web01/a.com@{found.wanted_revision}"]
    assert world.ledger().untold is None
    outlets()
    assert len(spooled(world)) == 1


def test_first_the_spool_then_the_ledger(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """A process that is killed between the two tells twice, never not at all."""
    seen: list[int] = []

    class Watched(State):
        def told(self, project: str, outcome: Outcome | None = None) -> None:
            seen.append(len(spooled(world)))
            super().told(project, outcome)

    tell(outlets(Watched(world.state.path)), deployed(world))
    assert seen == [1]


@pytest.mark.parametrize(
    ("what", "count"),
    [
        (outcome(), 1),
        (outcome("removed"), 1),
        (outcome("failed"), 1),
        (outcome("rolledBack"), 1),
        (outcome("failed", ran=False), 1),
        (outcome(ran=False), 0),
        (outcome("held", ran=False), 0),
        (outcome("waiting", ran=False), 0),
        (outcome("stale", ran=False), 0),
        (outcome("unknown", ran=False), 0),
        (outcome(callback=""), 0),
        (outcome("failed", callback=""), 0),
    ],
)
def test_when_a_callback_is_due(world: AgentWorld, outlets: Callable[..., Outlet], what: Outcome, count: int) -> None:
    """After something was carried out, or failed, where the policy names a receiver."""
    tell(outlets(), what)
    assert len(spooled(world)) == count


@pytest.mark.parametrize(
    ("second", "count"),
    [
        (outcome("failed"), 1),
        (outcome("failed", attempts=2, started="later", finished="later"), 1),
        (outcome("failed", msg="another reason"), 2),
        (outcome("failed", revision=6), 2),
        (outcome("rolledBack"), 2),
        (outcome(), 2),
    ],
)
def test_a_failure_that_repeats(world: AgentWorld, outlets: Callable[..., Outlet], second: Outcome, count: int) -> None:
    """It is told once, until it is another one."""
    tell(outlets(), outcome("failed"), second)
    assert len(spooled(world)) == count


def test_a_success_that_repeats(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """What was carried out twice is told twice: what drifted was repaired."""
    tell(outlets(), outcome(), outcome())
    assert len(spooled(world)) == 2


def test_a_failure_after_a_restart_or_a_success(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """It may be the same, but nobody knows, or it is one again."""
    tell(outlets(), outcome("failed"), outcome(), outcome("failed"))
    tell(outlets(), outcome("failed"))
    assert len(spooled(world)) == 4


def test_a_repetition_is_owed_no_more(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """Otherwise the next process would tell it."""
    outlet = outlets()
    world.deploy({"a": b"1"}, callback=NOBODY, beforeCmd="false")
    first, second = world.lane(), world.lane()
    assert (first.failed, world.ledger().untold is not None) == (True, True)
    tell(outlet, first, second)
    assert (len(spooled(world)), world.ledger().untold) == (1, None)


def test_a_disk_that_refuses(
    world: AgentWorld, outlets: Callable[..., Outlet], caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, nothing is raised, and the next process tells what the ledger remembers."""
    outlet = outlets()
    found = deployed(world)
    (world.folder / "state" / SPOOL).write_text("a file where the folder should be")
    tell(outlet, found)
    assert "host web01, project a.com: the callback could not be stored and waits for the next start" in caplog.text
    assert world.ledger().untold is not None
    (world.folder / "state" / SPOOL).unlink()
    outlets()
    assert [body["id"] for body in spooled(world)] == [f"web01/a.com@{found.wanted_revision}"]
    assert world.ledger().untold is None


def test_callbacks_of_the_last_process(
    world: AgentWorld, outlets: Callable[..., Outlet], caplog: pytest.LogCaptureFixture
) -> None:
    """All that were owed are spooled, whatever is wrong with a ledger beside them."""
    for name in ("a.com", "b.com", "c.com", "d.com"):
        world.deploy({"f": b"1"}, name, callback=NOBODY)
    (world.folder / "state" / "a.com" / "ledger.json").write_text("spoilt")
    ledger = world.folder / "state" / "c.com" / "ledger.json"
    ledger.write_text(ledger.read_text().replace('"web01"', '"web02"'))
    world.start()
    outlets()
    assert [body["project"] for body in spooled(world)] == ["b.com", "d.com"]
    assert (world.ledger("b.com").untold, world.ledger("d.com").untold) == (None, None)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [text.split(":")[0] for text in errors] == ["project a.com", "project c.com"]


def test_the_sender_is_woken(world: AgentWorld, outlets: Callable[..., Outlet], receiver: Receiver) -> None:
    """A callback is sent at once, without a look into the spool every moment."""
    outlet = outlets(sending=True)
    for number in range(3):
        tell(outlet, outcome(callback=receiver.url, revision=number))
        assert receiver.arrived.acquire(timeout=BOUND)
    assert [body["revision"] for _path, _kind, body in receiver.posts] == [0, 1, 2]
    for _unused in range(500):
        if outlet.sender.sent == 3:
            break
        receiver.arrived.acquire(timeout=0.01)
    assert (outlet.sender.sent, outlet.sender.dropped) == (3, 0)


# Statuses, and the end


def test_flush(world: AgentWorld, outlets: Callable[..., Outlet], receiver: Receiver) -> None:
    """Afterwards the status is written and the callback sent, without a sender."""
    outlet = outlets()
    tell(outlet, outcome(callback=receiver.url))
    outlet.flush()
    assert len(receiver.posts) == 1
    assert world.store.get(TREE.status("web01", "a.com"))[0] is not None


def test_flush_says_what_could_not_be_sent(
    world: AgentWorld, outlets: Callable[..., Outlet], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits in the spool for the next one."""
    receiver.code = 503
    outlet = outlets()
    tell(outlet, outcome(callback=receiver.url))
    outlet.flush()
    assert "answer 503; next attempt in" in caplog.text
    assert len(spooled(world)) == 1


def test_forget(world: AgentWorld, outlets: Callable[..., Outlet]) -> None:
    """Another store gets the statuses, too."""
    outlet = outlets()
    tell(outlet, outcome(callback="", ran=False))
    outlet.flush()
    world.store.replace()
    for there in (False, True):
        tell(outlet, outcome(callback="", ran=False))
        outlet.flush()
        assert (world.store.get(TREE.status("web01", "a.com"))[0] is not None) == there
        outlet.forget()


def test_the_end_writes_what_waits(
    world: AgentWorld, outlets: Callable[..., Outlet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status that was taken before the end is not lost."""
    monkeypatch.setattr(reporter, "PAUSE", 0.05)
    outlet = outlets()
    world.store.fail(UnavailableError("nothing is listening"))
    tell(outlet, outcome())
    outlet.close()
    assert world.store.get(TREE.status("web01", "a.com"))[0] is not None


# The log


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return levels and messages, and forget them."""
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Return what has been logged since the last time."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: logged(caplog)


def test_a_deployment_in_the_log(outlets: Callable[..., Outlet], log: Callable[[], Any]) -> None:
    """It says where, what, how long, and which files, but not thousands of them."""
    changes = tuple(FileChange(f"f{number}", "set") for number in range(7))
    outlet = outlets()
    tell(outlet, outcome(callback="", changes=changes[:2]))
    tell(outlet, outcome(callback="", changes=changes))
    where = "host web01, project a.com, revision 5: deployed in 12.3 ms"
    assert log() == [
        ("INFO", f"{where}: set f0, set f1"),
        ("INFO", f"{where}: set f0, set f1, set f2, set f3, set f4 and 2 more"),
    ]


def test_exit_codes_in_the_log(outlets: Callable[..., Outlet], log: Callable[[], Any]) -> None:
    """Of each command that was run, also where the message says nothing of it."""
    check, after = CommandResult("", "", 0), CommandResult("", "afterCmd was killed by SIGKILL", -9)
    tell(outlets(), replace(outcome(callback="", msg=""), check=check, after=after))
    where = "host web01, project a.com, revision 5: deployed in 12.3 ms"
    assert log() == [("INFO", f"{where}; checkCmd 0, afterCmd -9")]


def test_trouble_in_the_log(outlets: Callable[..., Outlet], log: Callable[[], Any]) -> None:
    """Once, by its weight; repetitions are for those who look for them."""
    outlet = outlets()
    failed, held = outcome("failed", callback=""), outcome("held", callback="", ran=False, msg="held back")
    tell(outlet, failed, failed, outcome("failed", callback="", msg="worse"), outcome(callback=""))
    assert [level for level, _text in log()] == ["ERROR", "DEBUG", "ERROR", "INFO"]
    tell(outlet, held, held, outcome("waiting", callback="", ran=False))
    assert [level for level, _text in log()] == ["WARNING", "WARNING"]
    tell(outlet, outcome("failed", callback="", ran=False), outcome("failed", callback="", ran=False, attempts=2))
    assert [text.rpartition("; ")[2] for _level, text in log()] == ["no room"]


def test_nothing_new_in_the_log(outlets: Callable[..., Outlet], log: Callable[[], Any]) -> None:
    """A comparison that found all well says nothing; what it notes is said once."""
    outlet = outlets()
    fine, noted = outcome(callback="", ran=False), outcome(callback="", ran=False, msg="key x is bad")
    tell(outlet, fine, fine, outcome("removed", callback="", ran=False, msg=""))
    assert log() == []
    tell(outlet, noted, noted, fine, noted)
    assert [text.rpartition("; ")[2] for _level, text in log()] == ["key x is bad", "key x is bad"]


def test_silent(world: AgentWorld, outlets: Callable[..., Outlet], log: Callable[[], Any]) -> None:
    """What would be done is logged, and nobody is told."""
    outlet = outlets()
    tell(outlet, outcome(), silent=True)
    outlet.flush()
    assert log() == [("INFO", "host web01, project a.com, revision 5: would be deployed in 12.3 ms")]
    assert (spooled(world), sum(world.store.calls.values())) == ([], 0)
