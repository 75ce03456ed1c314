# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells others: callbacks, the status, its own key, heartbeats; none of it holds a deployment up."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.agent_site import HOST, AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, free_ports
from ansible_collections.watcher.config.tests.network import Listener, close, silence

PROMPT = 4.0  # seconds within which a deployment that waits for nobody is done
LEASE = 60  # seconds
KEY = f"/watcher.agents/{HOST}"


@pytest.mark.parametrize("serve", [silence, close], ids=["a silent receiver", "one that hangs up"])
def test_a_bad_receiver_delays_nothing(host: AgentSite, serve: Any) -> None:
    """Each of ten changes is on the disk at once, and the end is prompt, too."""
    with Listener(serve) as listener:
        host.publish({"x": "0"}, callback=f"http://127.0.0.1:{listener.port}/")
        with host.agent(heartbeat={"domain": f"http://127.0.0.1:{listener.port}", "interval": "1"}) as agent:
            agent.until(lambda: host.text("x") == "0", "deployed")
            agent.until(lambda: listener.count, "the receiver is asked")
            for number in range(1, 11):
                revision = host.put({"x": str(number)})
                agent.until(lambda number=number: host.text("x") == str(number), "at once", PROMPT)  # type: ignore[misc]
            host.settled(agent, revision)
            start = time.monotonic()
            assert agent.stop() == 0
        assert time.monotonic() - start < 3


def test_callbacks_are_delivered_when_the_receiver_is_back(host: AgentSite) -> None:
    """Also after kill -9 and a restart: each deployment once, with its id."""
    receiver = Receiver()
    receiver.code = 503
    with receiver.serving():
        first = host.publish({"x": "1"}, callback=receiver.url)
        with host.agent() as agent:
            host.settled(agent, first)
            second = host.put({"x": "2"})
            host.settled(agent, second)
            receiver.wait(1)
            agent.kill()
            receiver.code = 200
            receiver.bodies.clear()
            agent.start()
            agent.until(lambda: len({body["id"] for body in receiver.bodies}) == 2, "both are delivered", 30)
    assert {body["id"] for body in receiver.bodies} == {f"{HOST}/a.com@{first}", f"{HOST}/a.com@{second}"}
    assert len(receiver.bodies) <= 3  # at least once: the kill may have come before the last was noted as spooled


def test_a_failure_is_told_once(host: AgentSite) -> None:
    """Not for each attempt; and its success is told, too."""
    healed = host.folder / "healed"
    with Receiver().serving() as receiver, host.agent() as agent:
        revision = host.publish({"x": "1"}, beforeCmd=f"echo no; test -e {healed}", callback=receiver.url)
        agent.until(lambda: host.status().get("attempts", 0) >= 2, "two attempts")
        assert [(body["code"], body["state"]) for body in receiver.bodies] == [(500, "failed")]
        assert receiver.bodies[0]["beforeCmd"] == {
            "success": False,
            "out": "no\n",
            "err": "beforeCmd failed with exit status 1: no",
            "msg": "beforeCmd failed with exit status 1: no",
        }
        healed.touch()
        host.settled(agent, revision, bound=30)
        body = receiver.wait(2)[1]
    assert (body["code"], body["state"], body["msg"]) == (200, "deployed", "")


def test_status_of_each_deployment(host: AgentSite) -> None:
    """It has the contract's fields, is by the agent, and follows removal."""
    revision = host.publish({"x": "1", "y": "2"})
    with host.agent() as agent:
        status = host.settled(agent, revision)
        assert set(status) == {
            "state", "revision", "wantedRevision", "digest", "files", "msg", "by", "version", "startedAt",
            "finishedAt", "attempts",
        }  # fmt: skip
        assert (status["wantedRevision"], status["files"], status["by"]) == (revision, 2, "agent")
        host.server.etcdctl("del", "--prefix", f"/watcher/{HOST}/a.com/")
        agent.until(lambda: host.status().get("state") == "removed", "removed")
        assert host.disk() == {}


def test_own_key_under_a_lease(etcd: EtcdServer, host: AgentSite) -> None:
    """The key is there with the contract's fields, gone after SIGTERM, and bound to go after kill -9."""
    with host.agent() as agent:
        agent.until(lambda: own_key(host), "registered")
        body = own_key(host)
        assert set(body) == {"hostname", "version", "pid", "started", "revision"}
        assert (body["hostname"], body["pid"]) == (HOST, agent.pid)
        assert agent.stop() == 0
        assert not own_key(host)
        agent.start()
        agent.until(lambda: own_key(host), "registered")
        agent.kill()
        assert own_key(host)
        item, _revision = host.store.get(KEY)
        assert item is not None
        left = etcd.etcdctl("lease", "timetolive", f"{item.lease:x}")
        assert re.search(rf"granted with TTL\({LEASE}s\), remaining\((\d+)s\)", left), left
        agent.start()  # takes the key over, with its own lease
        agent.until(lambda: own_key(host).get("pid") == agent.pid, "registered")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("WATCHER_LONG"), reason="takes a minute: WATCHER_LONG=1 runs it")
def test_own_key_goes_with_a_killed_agent(host: AgentSite) -> None:
    """Within a minute, and what etcd needs to notice."""
    with host.agent() as agent:
        agent.until(lambda: own_key(host), "registered")
        agent.kill()
        assert agent.until(lambda: not own_key(host), "the key is gone", LEASE + 5) <= LEASE + 2


def own_key(host: AgentSite) -> dict[str, Any]:
    """Return the agent's key; empty when there is none."""
    item, _revision = host.store.get(KEY)
    body: dict[str, Any] = json.loads(item.value) if item else {}
    return body


def test_heartbeats(host: AgentSite) -> None:
    """They come at their interval; a receiver that is away is only logged."""
    with Receiver().serving() as receiver:
        url = receiver.url.rstrip("/")
        start = time.monotonic()
        with host.agent(heartbeat={"domain": url, "interval": "1"}) as agent:
            bodies = receiver.wait(3)
            assert time.monotonic() - start > 1.9
            assert all(set(body) == {"version", "hostname", "timestamp"} for body in bodies)
    port = free_ports(1)[0]
    with host.agent(heartbeat={"domain": f"http://127.0.0.1:{port}", "interval": "1"}) as agent:
        agent.until(lambda: "heartbeat" in agent.log, "the failure is logged")
        revision = host.publish({"x": "1"})
        host.settled(agent, revision)
