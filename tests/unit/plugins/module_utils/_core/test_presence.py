# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of a live agent: it is there while the agent is, whatever happens to store, lease and key."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    InvalidError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.presence import LEASE, RENEW, Presence
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue, Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

KEY = "/watcher.agents/web01"
STARTED = "2026-01-31T10:00:00.120Z"
BOUND = 5.0  # seconds for one condition
AWAY = UnavailableError("etcd cannot be reached at http://127.0.0.1:2379 (nothing listens there)")
DENIED = DeniedError("user name or password is wrong")


def state(presence: Presence) -> tuple[bool, str]:
    """Return what others read of a presence."""
    return presence.registered, presence.problem


class World:
    """A store with a clock, and what the agent has seen."""

    def __init__(self) -> None:
        """Begin at time 0, with an empty store."""
        self.now = 0.0
        self.seen = 7
        self.store = MemoryStore(clock=lambda: self.now)

    def presence(self, *, pid: int = 42, started: str = STARTED, **options: Any) -> Presence:
        """Return the presence of an agent on web01."""
        return Presence(
            self.store,
            Tree(),
            "web01",
            version="1.2.3",
            revision=lambda: self.seen,
            pid=pid,
            started=started,
            **{"jitter": lambda: 0.5, **options},
        )

    def live(self, presence: Presence, seconds: float) -> int:
        """Let time pass with a presence at work; return how many steps it took."""
        end, steps = self.now + seconds, 0
        while self.now < end:
            self.now += presence.step()
            steps += 1
        return steps

    def found(self) -> KeyValue | None:
        """Return the agent's key."""
        return self.store.get(KEY)[0]

    def body(self) -> dict[str, Any]:
        """Return what the agent's key says."""
        found = self.found()
        assert found is not None
        body: dict[str, Any] = json.loads(found.value)
        return body


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    """Return an empty world; all that is logged is kept."""
    caplog.set_level(logging.INFO)
    return World()


def test_the_key_of_the_contract(world: World) -> None:
    """All fields, under a lease of its own."""
    presence = world.presence()
    assert state(presence) == (False, "")
    presence.step()
    assert state(presence) == (True, "")
    assert world.body() == {"hostname": "web01", "version": "1.2.3", "pid": 42, "started": STARTED, "revision": 7}
    found = world.found()
    assert found is not None and world.store.renew(found.lease) == LEASE


def test_it_is_renewed(world: World) -> None:
    """Three times a minute; a key that says the same is not written again."""
    presence = world.presence()
    assert world.live(presence, 600) == 600 / RENEW
    assert presence.registered
    assert world.store.calls["commit"] == 1
    world.now += LEASE
    assert world.found() is None, "without renewals it is gone"


def test_the_jitter_keeps_the_mean(world: World) -> None:
    """Renewals are 18 to 22 s apart."""
    pauses = [world.presence(jitter=lambda number=number: number / 10).step() for number in range(11)]
    assert min(pauses) == pytest.approx(0.9 * RENEW) and max(pauses) == pytest.approx(1.1 * RENEW)
    assert sum(pauses) / 11 == pytest.approx(RENEW)


def test_a_new_revision_is_told_at_the_next_renewal(world: World) -> None:
    """In the same key, under the same lease."""
    presence = world.presence()
    presence.step()
    before = world.found()
    world.seen = 8
    presence.step()
    after = world.found()
    assert world.body()["revision"] == 8
    assert before and after and before.lease == after.lease
    assert world.store.calls["grant"] == 1


def test_a_store_that_is_away(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked at most once a second; said once when it begins and once when it ends."""
    presence = world.presence()
    world.store.fail(AWAY, times=1000)
    assert 60 <= world.live(presence, 90) <= 90
    assert state(presence) == (False, str(AWAY))
    world.store.fail_no_more()
    presence.step()
    assert state(presence) == (True, "")
    lines = [("WARNING", f"{KEY}: {AWAY}; trying again"), ("INFO", f"{KEY}: registered again")]
    assert [(record.levelname, record.message) for record in caplog.records] == lines
    world.store.fail(AWAY, times=5)
    world.live(presence, 60)
    assert [(record.levelname, record.message) for record in caplog.records] == lines * 2


def test_an_outage_shorter_than_the_lease(world: World) -> None:
    """The key stays the one it was."""
    presence = world.presence()
    presence.step()
    before = world.found()
    world.store.fail(AWAY, times=20)
    world.live(presence, 30)
    assert presence.registered
    assert world.found() == before


def test_a_lease_that_ended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Another is taken in the same step."""
    presence = world.presence()
    presence.step()
    world.now += 2 * LEASE
    assert world.found() is None
    presence.step()
    assert presence.registered and world.body()["pid"] == 42
    assert [record.message for record in caplog.records] == [
        f"{KEY}: the lease has ended, for it could not be renewed in time; taking another"
    ]


def test_a_store_that_was_emptied(world: World) -> None:
    """Lease and key are made anew."""
    presence = world.presence()
    presence.step()
    world.store.replace()
    presence.step()
    assert presence.registered and world.body()["pid"] == 42


def test_a_key_that_somebody_deleted(world: World) -> None:
    """It is put again at the next renewal."""
    presence = world.presence()
    presence.step()
    world.store.delete(KEY)
    presence.step()
    assert world.body()["pid"] == 42


@pytest.mark.parametrize("value", [b"\xff", b"[]", b"{}", b'{"pid": "a\\nb"}', b"[" * 100_000])
def test_a_key_that_somebody_wrote(world: World, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Without a lease it would never go away; whatever it says is replaced, and no line of the log is broken."""
    presence = world.presence()
    presence.step()
    world.store.put(KEY, value)
    presence.step()
    assert presence.registered and world.body()["pid"] == 42
    found = world.found()
    assert found is not None and found.lease
    assert all("\n" not in record.message for record in caplog.records)


@pytest.mark.parametrize("call", ["grant", "get", "commit", "renew"])
@pytest.mark.parametrize("error", [AWAY, StoreError("that lease has ended"), ValueError("closed channel")])
def test_whichever_call_fails(world: World, call: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next step goes on."""
    presence = world.presence()
    if call == "renew":
        presence.step()

    def fail(*_unused: object) -> object:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(world.store, call, fail)
        assert presence.step() < 2
        assert state(presence) == (False, str(error))
    presence.step()
    assert state(presence) == (True, "") and world.body()["pid"] == 42


def test_an_agent_that_cannot_tell_its_revision(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of the program is logged with its place, once, and the thread lives on."""
    presence = world.presence()
    del world.seen
    world.live(presence, 5)
    assert "seen" in presence.problem
    assert [bool(record.exc_info) for record in caplog.records] == [True]


@pytest.mark.parametrize("error", [DENIED, InvalidError("ca_cert: /none cannot be read")])
def test_a_refusal_is_said_once(world: World, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """As an error, for somebody has to act."""
    presence = world.presence()
    world.store._failures += [error] * 100  # type: ignore[list-item]
    world.live(presence, 60)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", f"{KEY}: {error}; trying again")
    ]


def test_a_refusal_does_not_cost_etcd_a_password_check_a_second(world: World) -> None:
    """It is tried again as often as a renewal is due."""
    presence = world.presence()
    world.store.fail(DENIED, times=100)
    assert world.live(presence, 200) == 200 / RENEW


def test_another_kind_of_problem_is_said_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Away, then refused, then well: three lines."""
    presence = world.presence()
    world.store.fail(AWAY, times=3)
    world.store.fail(DENIED, times=2)
    world.live(presence, 60)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]


def test_the_agent_before_was_killed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Its key is taken over, which is no reason to warn, and the end of its lease takes nothing away."""
    world.presence(pid=41).step()
    world.now += 10
    presence = world.presence()
    world.live(presence, 2 * LEASE)
    assert world.body()["pid"] == 42
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", f"{KEY}: taking over from another agent (pid 41, started {STARTED})")
    ]


def test_another_live_agent(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Both take the key at each renewal; each warns once, and says when it is over."""
    one, two = world.presence(), world.presence(pid=43)
    for _round in range(4):
        one.step()
        two.step()
    assert "another agent (pid 43" in one.problem and "another agent (pid 42" in two.problem
    assert one.registered
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 2
    assert "give each its own hostname" in warned[0]
    caplog.clear()
    one.step()
    one.step()
    assert one.problem == "" and world.body()["pid"] == 42
    assert [record.message for record in caplog.records] == [f"{KEY}: no other agent registers as this host any more"]


def test_its_own_key_of_a_lost_lease_is_no_rival(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The same process, under a lease that it no longer knows."""
    presence = world.presence()
    presence.step()
    presence._lease = 0
    presence.step()
    found = world.found()
    assert found is not None and found.lease == presence._lease
    assert caplog.records == []


def wait_for(presence: Presence) -> None:
    """Wait until it is registered."""
    eventually(lambda: presence.registered, "it registers", BOUND)


def test_the_thread(world: World) -> None:
    """It registers by itself; `close` takes the key away at once, not after the next renewal."""
    presence = world.presence()
    presence.start()
    wait_for(presence)
    began = time.monotonic()
    presence.close()
    assert time.monotonic() - began < 3
    assert world.found() is None
    assert not presence.registered
    presence.close()


def test_close_before_start(world: World) -> None:
    """There is nothing to take away."""
    world.presence().close()
    assert world.store.calls == {}


def test_close_with_a_store_that_is_away(world: World) -> None:
    """The lease is left to its end, and nothing is raised."""
    presence = world.presence()
    presence.start()
    wait_for(presence)
    world.store.fail(AWAY, times=100)
    presence.close()
    assert not presence._thread.is_alive()
    world.store.fail_no_more()
    assert world.found() is not None


@pytest.mark.parametrize("answers", [True, False])
def test_close_with_a_store_that_hangs(world: World, caplog: pytest.LogCaptureFixture, answers: bool) -> None:
    """One second, not more; nothing is registered, nor anything said, when the store answers or breaks afterwards."""
    hanging, go_on = threading.Event(), threading.Event()

    class Hanging(MemoryStore):
        def get(self, key: str) -> tuple[KeyValue | None, int]:
            hanging.set()
            assert go_on.wait(BOUND)
            if not answers:
                raise StoreError("The connection to etcd was closed by this program")
            return super().get(key)

    world.store = Hanging()
    presence = world.presence()
    presence.start()
    assert hanging.wait(BOUND)
    began = time.monotonic()
    presence.close()
    assert 0.9 < time.monotonic() - began < 4
    go_on.set()
    presence._thread.join(BOUND)
    assert world.store.revision == 1 and world.store.calls["revoke"] == 1
    assert caplog.records == []


def test_other_keys_are_left_alone(world: World) -> None:
    """The lease is not used for anything else."""
    world.store.commit(Write(puts=(("/watcher.agents/web010", b"other"),)))
    presence = world.presence()
    presence.start()
    wait_for(presence)
    presence.close()
    assert [item.key for item in world.store.list("/").items] == [b"/watcher.agents/web010"]
