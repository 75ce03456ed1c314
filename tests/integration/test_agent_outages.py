# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent while etcd is away, frozen, cut off, compacted or refuses: never stale, never deaf, never a storm."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import StoreError
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_site import AgentSite, Background
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, cluster, free_ports
from ansible_collections.watcher.config.tests.network import Cable, Listener, close

LONG = bool(os.environ.get("WATCHER_LONG"))
OUTAGE = 60.0 if LONG else 30.0  # seconds; the lease is renewed every 20 s
BACK = 6.0  # seconds from the return of etcd until the host is up to date; 0.2 to 1.5 on a quiet machine
FROZEN = 25.0  # seconds until a member that says nothing is left: 10 s of silence, and time limits of 5 s
KILLS = 10


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    """Run an etcd that the test may harm."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def lone(server: EtcdServer, tmp_path: Path) -> Iterator[AgentSite]:
    """Return the host web01 of an etcd that the test may harm."""
    site = AgentSite(tmp_path, server)
    yield site
    site.close()


def test_a_start_without_etcd(lone: AgentSite) -> None:
    """The agent is ready, repairs what drifted from what it remembers, and deploys once etcd is there."""
    with lone.agent() as agent:
        lone.settled(agent, lone.publish({"x": "1", "y": "1"}))
    lone.server.kill()
    (lone.out() / "x").write_text("edited")
    with lone.agent() as agent:
        agent.until(lambda: lone.text("x") == "1", "repaired from local state")
        agent.until(lambda: lone.words() == ["before", "after"] * 2, "its commands ran")
        assert agent.command("status").returncode in (0, 1)  # it needs no etcd
        lone.server.start()
        revision = patient(lambda: lone.put({"x": "2"}))
        lone.settled(agent, revision)
    assert lone.disk() == {"x": "2", "y": "1"}
    assert lone.words() == ["before", "after"] * 3


def test_a_first_start_without_etcd(lone: AgentSite) -> None:
    """There is nothing to serve: it waits, and ends when it is told to."""
    lone.server.kill()
    with lone.agent() as agent:
        lone.server.start()
        lone.settled(agent, lone.publish({"x": "1"}))


def in_time(seconds: float) -> None:
    """Demand that the host was up to date soon enough, and say how soon."""
    print(f"up to date {seconds:.2f} s after the return of etcd")
    assert seconds < BACK


def patient(write: Callable[[], int]) -> int:
    """Write as soon as etcd takes it, and return the revision."""
    for _unused in range(1000):
        with contextlib.suppress(StoreError):
            return write()
        time.sleep(0.01)
    raise AssertionError("etcd takes nothing")


class Load(Background):
    """Changes of other hosts, and of another project of the host, as fast as etcd takes them; ``last`` came last."""

    def __init__(self, site: AgentSite) -> None:
        """Start nothing yet."""
        super().__init__(0.002)
        self.last = ""
        self._site = site

    def turn(self, number: int) -> None:
        """Put some keys."""
        noise = tuple((f"/watcher/web{host:02}/a.com/config.d/x", b"noise") for host in range(2, 12))
        own = ((self._site.key("lively", "config.d/x"), str(number).encode()),) if number % 10 == 0 else ()
        try:
            self._site.store.commit(Write(puts=(*noise, *own)))
        except StoreError:
            self.ending.wait(0.05)
        else:
            self.last = str(number) if own else self.last


@pytest.mark.slow
def test_an_outage_under_load(lone: AgentSite, tmp_path: Path) -> None:
    """Up to date within 2 s of etcd's return, nothing lost, nothing done twice, next to no CPU meanwhile.

    Another agent, with much to tell and nobody to tell it to, makes an attempt a second on average.
    """
    lone.publish({"x": "0"})
    lone.publish({"x": "0"}, "lively", beforeCmd="", afterCmd="")
    with lone.agent() as agent, Load(lone) as load:
        agent.until(lambda: lone.text("x") == "0" and load.last and lone.text("x", "lively") != "0", "deployed")
        lone.put({"x": "1"})
        lone.server.kill()
        before = agent.cpu
        attempts = attempts_in_an_outage(tmp_path / "counted")
        assert agent.cpu - before < 0.03 * OUTAGE
        assert OUTAGE / 2 <= attempts <= OUTAGE + 3, f"{attempts} attempts in {OUTAGE} s"
        lone.server.start()
        served = time.monotonic()
        revision = patient(lambda: lone.put({"y": "new"}))
        agent.until(lambda: lone.disk() == {"x": "1", "y": "new"}, "up to date")
        in_time(time.monotonic() - served)
        lone.settled(agent, revision)
        load.__exit__()
        agent.until(lambda: lone.text("x", "lively") == load.last, "the last change of the lively project is there")
    after = [line for line in lone.commands() if line.startswith("after")]
    assert len(after) == len(set(after)) <= 3


def attempts_in_an_outage(folder: Path) -> int:
    """Return how often an agent tries to reach an etcd that is away for as long as `OUTAGE`."""
    attempts = 0

    def hang_up(connection: socket.socket) -> None:
        nonlocal attempts
        connection.settimeout(1.0)
        with contextlib.suppress(OSError):
            attempts += connection.recv(3) == b"PRI"  # of gRPC; the rest only finds out what is wrong
        close(connection)

    folder.mkdir()
    with EtcdServer() as server:
        site = AgentSite(folder, server)
        site.publish({"x": "0"}, beforeCmd="false")  # its status is news again and again
        with contextlib.closing(site), site.agent() as agent:
            agent.until(lambda: site.status().get("state") == "failed", "deployed")
            server.kill()
            agent.compare()
            with Listener(hang_up, server.port):  # in etcd's place
                time.sleep(OUTAGE)
            assert agent.log.count("\n") < 100, agent.tail
    return attempts


def test_a_member_that_is_gone(lone: AgentSite) -> None:
    """Nobody listens at the first endpoint, and the second, which is watched, is cut off: the third one serves."""
    dead = free_ports(1)[0]
    with Cable(lone.server.port) as cable:
        endpoints = f"127.0.0.1:{dead}, {cable.endpoint}, {lone.server.endpoint}"
        with lone.agent(endpoints) as agent:
            lone.settled(agent, lone.publish({"x": "1"}))
            cable.cut()
            revision = lone.put({"x": "2"})
            in_time(agent.until(lambda: lone.text("x") == "2", "the last endpoint serves"))
            lone.settled(agent, revision)


@pytest.mark.slow
def test_a_frozen_member(tmp_path: Path) -> None:
    """The member that the agent watches freezes: another one serves, and the thawed one harms nothing."""
    with cluster() as servers:
        site = AgentSite(tmp_path, servers[1])
        try:
            with site.agent(", ".join(server.endpoint for server in servers)) as agent:
                site.settled(agent, site.publish({"x": "1"}))
                servers[0].freeze()
                revision = patient(lambda: site.put({"x": "2"}))
                agent.until(lambda: site.text("x") == "2", "another member serves", FROZEN)
                site.settled(agent, revision)
                servers[0].thaw()
                site.settled(agent, site.put({"x": "3"}))
        finally:
            servers[0].thaw()
            site.close()


def test_compaction_while_cut_off(lone: AgentSite) -> None:
    """History is gone when the agent is back: it lists again, removes what was deleted and re-runs nothing."""
    lone.publish({"q": "1"}, "quiet")
    lone.publish({"x": "1", "y": "1", "z": "1"})
    with Cable(lone.server.port) as cable, lone.agent(cable.endpoint) as agent:
        agent.until(lambda: lone.disk() == {"x": "1", "y": "1", "z": "1"}, "deployed")
        cable.cut()
        lone.delete("y")
        for number in range(20):
            revision = lone.put({"x": str(number)})
        lone.server.compact(revision)
        cable.join()
        took = agent.until(lambda: lone.disk() == {"x": "19", "z": "1"}, "up to date")
        in_time(took)
        lone.settled(agent, lone.put({"x": "end"}))
    assert lone.words("quiet") == ["before", "after"]
    assert lone.words() == ["before", "after"] * 3


def test_tokens_that_expire_or_are_forgotten(tmp_path: Path) -> None:
    """The agent takes a new one, for the watch and for all it writes."""
    with EtcdServer(flags=("--auth-token-ttl=1",)) as server:
        server.add_user("agent", "secret", "/watcher/", "/watcher.status/", "/watcher.agents/")
        server.enable_auth()
        site = AgentSite(tmp_path, server)
        try:
            with site.agent(etcd={"username": "agent", "password": "secret"}) as agent:
                for number in range(3):
                    policy = json.dumps({"deployPath": str(site.out())})
                    server.etcdctl("put", "/watcher/web01/a.com/config", policy)
                    server.etcdctl("put", "/watcher/web01/a.com/config.d/x", str(number))
                    agent.until(lambda number=number: site.text("x") == str(number), "deployed")  # type: ignore[misc]
                    if number == 0:
                        time.sleep(3)  # longer than a token lives
                    else:
                        server.restart()  # forgets all tokens
                status = ("get", "--print-value-only", "/watcher.status/web01/a.com")
                agent.until(lambda: '"deployed"' in server.etcdctl(*status), "status")
        finally:
            site.close()


def test_a_password_that_is_wrong_for_a_while(tmp_path: Path) -> None:
    """Somebody has to act, and when that is done the agent goes on by itself."""
    with EtcdServer() as server:
        server.add_user("agent", "old", "/watcher/", "/watcher.status/", "/watcher.agents/")
        server.etcdctl("put", "/watcher/web01/a.com/config", json.dumps({"deployPath": f"{tmp_path}/out/a.com"}))
        server.etcdctl("put", "/watcher/web01/a.com/config.d/x", "1")
        server.enable_auth()
        site = AgentSite(tmp_path, server)
        try:
            with site.agent(etcd={"username": "agent", "password": "new"}) as agent:
                agent.until(lambda: "agent" in agent.log and "password" in agent.log, "it says who is refused")
                assert site.text("x") is None
                server.etcdctl("user", "passwd", "agent", "--interactive=false", stdin="new\n")
                agent.until(lambda: site.text("x") == "1", "deployed", 40)
        finally:
            site.close()


def test_etcd_dies_right_after_each_put(lone: AgentSite) -> None:
    """The value comes with the event: what was acknowledged is applied, ten times of ten."""
    lone.publish({"x": "0"}, beforeCmd="", afterCmd="")
    with lone.agent() as agent:
        agent.until(lambda: lone.text("x") == "0", "deployed")
        for number in range(1, KILLS + 1):
            patient(partial(lone.put, {"x": str(number)}))
            lone.server.kill()
            lone.server.start()
            agent.until(lambda number=number: lone.text("x") == str(number), f"put {number} is applied")  # type: ignore[misc]


@pytest.mark.parametrize("same_cluster", [True, False], ids=["same cluster id", "another cluster id"])
@pytest.mark.parametrize("ahead", [False, True], ids=["revisions start over", "revisions are ahead by then"])
def test_an_empty_store_in_its_place(lone: AgentSite, same_cluster: bool, ahead: bool) -> None:
    """Nothing is deleted, and the very next publish is deployed."""
    lone.publish({"other": "1"}, "b.com")
    for number in range(30):
        revision = lone.publish({"x": str(number), "y": "1"})
    with Cable(lone.server.port) as cable, lone.agent(cable.endpoint) as agent:
        lone.settled(agent, revision)
        cable.cut()
        lone.server.wipe(same_cluster=same_cluster)
        new = patient(lambda: lone.publish({"x": "new"}))
        assert new < revision
        for _unused in range(2 * revision if ahead else 0):
            lone.put({"x": "1"}, "of.another.project.without.policy")
        cable.join()
        took = agent.until(lambda: lone.text("x") == "new", "the next publish is deployed")
        in_time(took)
        lone.settled(agent, new)
        assert lone.disk() == {"x": "new", "y": "1"}  # y is held: its absence proves nothing
        assert lone.disk("b.com") == {"other": "1"}
        agent.until(lambda: "held" in str(lone.status("b.com")), "what is held is reported")
        lone.delete("x")  # of this store, so it is evidence
        agent.until(lambda: lone.text("x") is None, "deleted")
    assert lone.disk() == {"y": "1"}
