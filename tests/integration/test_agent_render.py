# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates on a host: files follow variables and the services that register themselves, with real leases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import ROOT_PASSWORD, EtcdServer
from ansible_collections.watcher.config.tests.services import UPSTREAM, Ends, register, unregister, upstream

PROMISE = 1.0  # seconds from a lease's end until the service is out of the file, and the reload is done
TTL = 2  # seconds; etcd ends a lease within half a second after that
RETRY = 15.0  # seconds within which a deployment that failed a few times is tried again
PASSWORD = "the agent's password"

PORT = "listen {{ getv('port') }};\n"


def var(host: AgentSite, name: str, value: str) -> int:
    """Set a variable of the project and return the revision."""
    return host.store.commit(Write(puts=((host.key("a.com", f"vars/{name}"), value.encode()),)))


def test_a_variable(host: AgentSite) -> None:
    """The file is there without the suffix, and changes with the variable; what changes nothing runs no command."""
    var(host, "port", "80")
    with host.agent() as agent:
        host.settled(agent, host.publish({"a.conf.j2": PORT, "plain": "{{ }}"}, render=True))
        assert host.disk() == {"a.conf": "listen 80;\n", "plain": "{{ }}"}
        for port in ("81", "82"):
            host.settled(agent, var(host, "port", port))
            assert host.text("a.conf") == f"listen {port};\n"
        host.settled(agent, var(host, "other", "1"))
    assert host.words() == ["before", "after"] * 3
    assert [line.split()[2:] for line in host.commands()[2:]] == [["a.conf"]] * 4


def test_services_with_leases(host: AgentSite) -> None:
    """A service whose lease ends is out of the file, checked and reloaded, within a second; it may come again."""
    register(host.store, "a", "10.0.0.1:80")
    leases = [host.store.grant(TTL), host.store.grant(2 * TTL)]
    register(host.store, "b", "10.0.0.2:80", leases[0])
    register(host.store, "c", "10.0.0.3:80", leases[1])
    loaded = host.folder / "loaded"
    commands = {
        "checkCmd": "grep -q server %s/app.conf",
        "beforeCmd": "",
        "afterCmd": f"cp {host.out()}/app.conf {loaded}.new && mv {loaded}.new {loaded}",
    }
    with Ends(host.store) as ends, host.agent() as agent:
        host.publish({"app.conf.j2": UPSTREAM}, render=True, watch=["/services"], **commands)
        wanted = upstream("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
        agent.until(
            lambda: all(map(host.store.renew, leases)) and loaded.exists() and loaded.read_text() == wanted,
            "all are listed while they live",
        )
        for name, left in (("b", ["10.0.0.1:80", "10.0.0.3:80"]), ("c", ["10.0.0.1:80"])):
            agent.until(lambda left=left: loaded.read_text() == upstream(*left), f"{name} is out")  # type: ignore[misc]
            out = time.monotonic()
            agent.until(lambda name=name: name in ends.seen, f"the lease of {name} has ended")  # type: ignore[misc]
            delay = out - ends.seen[name]
            print(f"service {name} was out, and the reload done, {delay * 1000:.0f} ms after the end of its lease")
            assert delay < PROMISE
            assert host.text("app.conf") == upstream(*left)
        back = register(host.store, "b", "10.0.0.2:81", host.store.grant(60))
        host.settled(agent, back)
        assert loaded.read_text() == upstream("10.0.0.1:80", "10.0.0.2:81")


def test_a_check_that_wants_one(host: AgentSite) -> None:
    """The last service may not go out of the file, and comes back as another one."""
    register(host.store, "a", "10.0.0.1:80")
    with host.agent() as agent:
        policy: dict[str, Any] = {"render": True, "watch": ["/services/"], "checkCmd": "grep -q server.*: %s/app.conf"}
        host.settled(agent, host.publish({"app.conf.j2": UPSTREAM}, **policy))
        unregister(host.store, "a")
        agent.until(lambda: host.status()["state"] == "failed", "the check has failed")
        assert "checkCmd" in host.status()["msg"]
        assert host.text("app.conf") == upstream("10.0.0.1:80")
        register(host.store, "b", "10.0.0.2:80")
        agent.until(lambda: host.text("app.conf") == upstream("10.0.0.2:80"), "the new one is listed")
        agent.until(lambda: host.status()["state"] == "deployed", "all is well")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("x\n{{ getv('name') }}\n", "line 2: key '/watcher/web01/a.com/vars/name' is not in the tree"),
        ("{{ nam }}", "line 1: 'nam' is undefined"),
        ("\n\n{% if %}", "line 3: Expected an expression"),
        ("{{ json('bad').x }}", "line 1: the value of key '/watcher/web01/a.com/vars/bad' is not JSON"),
        ("{{ getv('/services/x') }}", "line 1: key '/services/x' is outside of what the project sees"),
    ],
    ids=["missing", "undefined", "syntax", "json", "outside"],
)
def test_a_template_that_fails(host: AgentSite, receiver: Receiver, template: str, says: str) -> None:
    """File, line and key are named by the status, the callback, the log and the command; the old set stays."""
    var(host, "bad", "{")
    with host.agent() as agent:
        host.settled(agent, host.publish({"x.j2": "1", "y": "1"}, render=True))
        host.publish({"x.j2": template, "y": "2"}, render=True, callback=receiver.url)
        agent.until(lambda: host.status()["state"] == "failed", "the status says so")
        body = receiver.wait(1)[0]
        assert (body["state"], body["code"]) == ("failed", 500)
        for text in (host.status()["msg"], body["msg"], agent.log, agent.command("status").stdout):
            assert f"template x.j2, {says}" in text
        assert host.disk() == {"x": "1", "y": "1"}
        assert host.words() == ["before", "after"]


def test_the_key_that_was_missing(host: AgentSite) -> None:
    """Once it is there the project is deployed, at once and not with the next try."""
    with host.agent() as agent:
        host.publish({"a.conf.j2": PORT}, render=True)
        agent.until(lambda: agent.status()["projects"][0]["attempts"] > 2, "it was tried a few times")
        assert host.disk() == {}
        host.settled(agent, var(host, "port", "80"), bound=1.9)
        assert agent.status()["projects"][0]["state"] == "deployed"


def test_a_restart(host: AgentSite) -> None:
    """What changed meanwhile is deployed by the next start, and by ``once``; a dry run says it."""
    var(host, "port", "80")
    register(host.store, "a", "10.0.0.1:80")
    files = {"a.conf.j2": PORT, "app.conf.j2": UPSTREAM}
    with host.agent() as agent:
        host.settled(agent, host.publish(files, render=True, watch=["/services/"]))
    with agent:
        agent.until(lambda: host.status()["state"] == "deployed", "it knows what it has deployed")
    assert host.words() == ["before", "after"]
    register(host.store, "b", "10.0.0.2:80")
    with agent:
        agent.until(lambda: host.text("app.conf") == upstream("10.0.0.1:80", "10.0.0.2:80"), "both are listed")
    unregister(host.store, "a")
    said = agent.command("once", "--dry-run").stdout
    assert "set app.conf" in said and "a.conf," not in said
    assert "would be deployed" in agent.command("check").stdout
    assert agent.command("once").returncode == 0
    assert host.disk() == {"a.conf": "listen 80;\n", "app.conf": upstream("10.0.0.2:80")}
    assert host.words() == ["before", "after"] * 3


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[AgentSite]:
    """Return the host web01 of an etcd that the test may harm."""
    with EtcdServer() as server:
        site = AgentSite(tmp_path, server)
        yield site
        site.close()


def test_an_outage(lone: AgentSite) -> None:
    """What is deployed stays, also over a start without etcd; what changed meanwhile comes with etcd."""
    var(lone, "port", "80")
    register(lone.store, "a", "10.0.0.1:80")
    with lone.agent() as agent:
        files = {"a.conf.j2": PORT, "app.conf.j2": UPSTREAM}
        lone.settled(agent, lone.publish(files, render=True, watch=["/services/"]))
        lone.server.kill()
        agent.until(lambda: "trying again" in agent.log, "etcd is missed")
        assert lone.text("app.conf") == upstream("10.0.0.1:80")
        lone.server.start()
        lone.server.etcdctl("put", "/services/app/a", '{"address": "10.0.0.9:80"}')
        agent.until(lambda: lone.text("app.conf") == upstream("10.0.0.9:80"), "the change has come")
    lone.server.kill()
    (lone.out() / "app.conf").write_text("edited")
    with agent:
        agent.until(lambda: lone.text("app.conf") == upstream("10.0.0.9:80"), "repaired from the copy")
        agent.until(lambda: lone.words() == ["before", "after"] * 3, "its commands ran")
        lone.server.start()
        lone.server.etcdctl("put", lone.key("a.com", "vars/port"), "81")
        agent.until(lambda: lone.text("a.conf") == "listen 81;\n", "the change has come")
        agent.until(lambda: lone.status()["state"] == "deployed", "it is told")
        assert lone.text("app.conf") == upstream("10.0.0.9:80")
        assert lone.words() == ["before", "after"] * 4


def test_a_prefix_that_is_refused(lone: AgentSite) -> None:
    """A watch on it fails, naming it, and the old file stays; once the user may read it, it is deployed."""
    register(lone.store, "a", "10.0.0.1:80")
    lone.server.enable_auth()
    lone.server.add_user("agent", PASSWORD, "/watcher/", "/watcher.status/", "/watcher.agents/")
    lone.store.close()
    lone.store = connect(Connection((lone.server.endpoint,), username="root", password=ROOT_PASSWORD))
    with lone.agent(etcd={"username": "agent", "password": PASSWORD}) as agent:
        lone.settled(agent, lone.publish({"app.conf.j2": "none\n"}, render=True))
        lone.publish({"app.conf.j2": UPSTREAM}, render=True, watch=["/services/"])
        agent.until(lambda: lone.status()["state"] == "failed", "it is refused")
        for said in (lone.status()["msg"], agent.command("check").stdout):
            assert "the values below /services/, which the policy watches, cannot be read" in said
            assert "its roles do not permit that" in said
        assert lone.text("app.conf") == "none\n"
        lone.server.etcdctl("role", "grant-permission", "agent", "--prefix=true", "read", "/services/")
        agent.until(lambda: lone.text("app.conf") == upstream("10.0.0.1:80"), "it may be read", RETRY)
        agent.until(lambda: lone.status()["state"] == "deployed", "all is well")
        lone.settled(agent, register(lone.store, "b", "10.0.0.2:80"))
        assert lone.text("app.conf") == upstream("10.0.0.1:80", "10.0.0.2:80")


def test_a_policy_that_watches_something_else(host: AgentSite) -> None:
    """The file follows what the policy says now, and nothing else."""
    register(host.store, "a", "10.0.0.1:80")
    host.store.commit(Write(puts=(("/others/app/a", b"x"),)))
    others = "{% for it in getvs('/others/*/*') %}{{ it }}{% endfor %}"
    with host.agent() as agent:
        host.settled(agent, host.publish({"app.conf.j2": UPSTREAM}, render=True, watch=["/services/"]))
        host.settled(agent, host.publish({"app.conf.j2": others}, render=True, watch=["/others"]))
        assert host.text("app.conf") == "x"
        register(host.store, "b", "10.0.0.2:80")
        host.settled(agent, host.store.commit(Write(puts=(("/others/app/b", b"y"),))))
        assert (host.text("app.conf"), host.words()) == ("xy", ["before", "after"] * 3)
        host.settled(agent, host.publish({"app.conf.j2": others}))
        assert host.disk() == {"app.conf.j2": others}


def test_a_check_of_templates(host: AgentSite) -> None:
    """It renders, says what is wrong, and warns of a field that has no effect; nothing is touched."""
    host.publish({"a.conf.j2": PORT}, render=True)
    host.publish({"x": "1"}, "b.com", watch=["/services/"])
    said = host.agent().command("check").stdout
    assert "template a.conf.j2, line 1: key '/watcher/web01/a.com/vars/port' is not in the tree" in said
    assert "project b.com: policy field watch has no effect" in said
    var(host, "port", "80")
    assert "create a.conf;" in host.agent().command("check").stdout
    assert not host.out().exists()


def test_the_same_as_a_playbook(host: AgentSite, site: Site) -> None:
    """The playbook path, on another state folder, makes the same bytes of the same tree."""
    var(host, "port", "\u00e9")
    register(host.store, "b", "10.0.0.2:80")
    register(host.store, "a", "10.0.0.1:80")
    files = {"a.conf.j2": PORT, "d/app.conf.j2": UPSTREAM, "who.j2": "{{ host }} {{ project }} {{ policy.watch }}"}
    with host.agent() as agent:
        host.settled(agent, host.publish(files, render=True, watch=["/services/"]))
    disk = host.disk()
    assert disk["d/app.conf"] == upstream("10.0.0.1:80", "10.0.0.2:80")
    status = host.status()
    for path in disk:
        (host.out() / path).unlink()
    site.ran("watcher.config.deploy")
    assert host.disk() == disk
    again = host.status()
    assert [again[name] for name in ("state", "digest", "files")] == [
        status[name] for name in ("state", "digest", "files")
    ]
