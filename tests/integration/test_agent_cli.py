# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's command line on a real etcd, as a host without Ansible has it: lines, exit codes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, etcd_34, etcd_35, free_ports
from ansible_collections.watcher.config.tests.unit.site import tree

ETCDS = [pytest.param(binary, id=version) for version, binary in (("3.5", etcd_35()), ("3.4", etcd_34())) if binary]
PASSWORD = "a password"

Done = subprocess.CompletedProcess[str]


def lines(done: Done, code: int) -> list[str]:
    """Return what a command printed, and demand how it ended."""
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{done.stdout}{done.stderr}"
    return done.stdout.splitlines()


def failures(done: Done, code: int) -> list[str]:
    """Return the lines of ``check`` or ``doctor`` that begin with FAIL."""
    return [line for line in lines(done, code) if line.startswith("FAIL")]


def revision(host: AgentSite) -> int:
    """Return the store's revision."""
    return host.store.get("/")[1]


def test_once(host: AgentSite) -> None:
    """A dry run tells what the run after it does; the next one has nothing to do; no command runs twice."""
    agent = host.agent()
    host.publish({"x": "1", "sub/y": "2"}, checkCmd="true")
    now = host.publish({"z": "3"}, "b.com", afterCmd="", beforeCmd="")
    before = tree(host.folder)
    assert lines(agent.command("once", "--dry-run"), 0) == [
        f"a.com: would be deployed at revision {now}: create sub/y, create x; would run 'true';"
        f" would run {host.say('a.com', 'before')!r}; would run {host.say('a.com', 'after')!r}",
        f"b.com: would be deployed at revision {now}: create z",
    ]
    assert tree(host.folder) == before
    assert revision(host) == now

    assert lines(agent.command("once"), 0) == [
        f"a.com: deployed at revision {now}: create sub/y, create x",
        f"b.com: deployed at revision {now}: create z",
    ]
    assert (host.text("sub/y"), host.text("z", "b.com")) == ("2", "3")
    assert host.status()["state"] == "deployed"
    assert lines(agent.command("once", "--dry-run"), 0)[1].startswith("b.com: is up to date at revision ")
    assert [line.split(":")[1].split(" at ")[0] for line in lines(agent.command("once"), 0)] == [" deployed"] * 2
    assert host.words() == ["before", "after"]


def test_once_with_a_failure(host: AgentSite) -> None:
    """What fails has a line and the exit code; the others are deployed; status says the same."""
    agent = host.agent()
    host.publish({"x": "1"}, beforeCmd="echo no good; exit 3", afterCmd="")
    now = host.publish({"x": "1"}, "b.com")
    bad, good = lines(agent.command("once"), 1)
    assert bad == f"a.com: failed at revision {now}: create x; beforeCmd failed with exit status 3: no good"
    assert good == f"b.com: deployed at revision {now}: create x"
    header, *table = lines(agent.command("status"), 1)[1:]
    assert header.split()[:2] == ["PROJECT", "STATE"]
    assert [line.split()[:2] for line in table] == [["a.com", "failed"], ["b.com", "deployed"]]
    assert "no good" in table[0]


def test_without_ansible(host: AgentSite) -> None:
    """Nothing of Ansible is loaded by any command, also where it is installed."""
    agent = host.agent()
    host.publish({"x": "1"}, beforeCmd="", afterCmd="")
    code = f"""
import sys
from watcher.cli import main
for command in ("check", "once", "status", "doctor"):
    main([command, "--config", {str(agent.config)!r}])
loaded = sorted(name for name in sys.modules if name.startswith("ansible"))
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=agent.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert host.text("x") == "1"


@pytest.mark.parametrize("arguments", [("once",), ("once", "--dry-run"), ("check",)])
def test_etcd_is_away(arguments: tuple[str, ...], host: AgentSite) -> None:
    """It is said in a sentence, with the endpoint, and the exit code is its own."""
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    done = host.agent(endpoint).command(*arguments)
    lines(done, 3)
    assert f"http://{endpoint} (nothing listens there)" in done.stdout + done.stderr
    assert lines(host.agent(endpoint).command("status"), 0)


def test_check(host: AgentSite) -> None:
    """All that is wrong is said at once, what is right too, and nothing is written anywhere."""
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    rules = {"deploy_roots": str(host.folder / "out"), "commands": "true"}
    agent = host.agent(f"{host.server.endpoint}, {dead}", security=rules)
    host.publish({"x": "1"}, beforeCmd="", afterCmd="true")
    host.publish({"x": "1"}, "b.com", beforeCmd="", afterCmd="reboot")
    host.publish({"x": "1"}, "c.com", beforeCmd="", afterCmd="", deployPath="/etc")
    host.server.etcdctl("put", "/watcher/web01/d.com/config", "{")
    host.server.etcdctl("put", "/watcher/web01/bad name/config", "{}")
    now, before = revision(host), tree(host.folder)
    done = agent.command("check")
    assert [line.split(":")[0].removeprefix("FAIL  ") for line in failures(done, 1)] == [
        "etcd",
        "tree",
        "project b.com",
        "project c.com",
        "project d.com",
    ]
    for part in (dead, "'bad name'", "afterCmd asks for 'reboot'", "deployPath asks for '/etc'", "not JSON"):
        assert part in done.stdout
    assert f"OK    etcd: {host.server.endpoint} answers within" in done.stdout
    assert "project a.com: would be deployed" in done.stdout
    assert (revision(host), tree(host.folder)) == (now, before)


@pytest.mark.parametrize("binary", ETCDS)
def test_check_of_permissions(binary: Path, tmp_path: Path) -> None:
    """A user who may only read is told which keys cannot be written, and nothing is left of the question."""
    with EtcdServer(binary) as server:
        site = AgentSite(tmp_path, server)
        site.publish({"x": "1"})
        server.etcdctl("role", "add", "reader")
        server.etcdctl("role", "grant-permission", "reader", "--prefix=true", "read", "/watcher")
        server.etcdctl("user", "add", f"reader:{PASSWORD}")
        server.etcdctl("user", "grant-role", "reader", "reader")
        server.add_user("writer", PASSWORD, "/watcher/web01/", "/watcher.status/web01/", "/watcher.agents/web01")
        server.enable_auth()
        before = server.etcdctl("get", "--prefix", "/", "--write-out", "fields")
        for name, code, keys in (
            ("writer", 0, []),
            ("reader", 1, ["/watcher.status/web01/a.com", "/watcher.agents/web01"]),
        ):
            login = {"endpoints": server.endpoint, "username": name, "password": PASSWORD}
            failed = failures(site.agent(etcd=login).command("check"), code)
            assert len(failed) == len(keys), failed
            for key, line in zip(keys, failed, strict=True):
                assert key in line and "roles do not permit" in line
        wrong = site.agent(etcd={"endpoints": server.endpoint, "username": "writer", "password": "wrong"})
        assert "user name or password is wrong" in failures(wrong.command("check"), 1)[0]
        after = server.etcdctl("get", "--prefix", "/", "--write-out", "fields")
        site.close()
    assert revisions(after) == revisions(before)


def revisions(fields: str) -> list[str]:
    """Return the keys and revisions of what ``etcdctl --write-out fields`` shows."""
    return [line for line in fields.splitlines() if line.startswith(('"Key"', '"ModRevision"', '"Revision"'))]


def test_check_with_tls(tmp_path: Path) -> None:
    """Files that do not fit are configuration; a member that is reached without TLS says what to write."""
    with EtcdServer(mutual=True) as server:
        files = {
            "ca_cert": str(server.authority.certificate),
            "client_cert": str(server.client_cert),
            "client_key": str(server.client_key),
        }
        folder = tmp_path / "good"
        folder.mkdir()
        good = AgentRun(folder, server.endpoint, sections={"etcd": files})
        done = good.command("check")
        assert failures(done, 0) == []
        assert ", version 3." in done.stdout
        assert f"clock: within 5 s of that of {server.endpoint}" in good.command("doctor").stdout
        bad = {**files, "client_key": str(server.authority.certificate)}
        good.configure({"etcd": bad})
        assert "do not fit" in failures(good.command("check"), 2)[0]
        folder = tmp_path / "plain"
        folder.mkdir()
        plain = AgentRun(folder, server.address)
        assert f"write https://{server.address}" in failures(plain.command("check"), 1)[0]


def test_a_wrong_file(host: AgentSite) -> None:
    """Every command says where it is wrong, and ends with 2; doctor too."""
    agent = host.agent(local={"resync": "often"})
    for command in ("run", "once", "check", "status", "doctor"):
        done = agent.command(command)
        assert lines(done, 2) == []
        assert "section [local], resync is 'often'" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_running_agent(host: AgentSite) -> None:
    """Status and doctor tell of it, without etcd as well; a second one says whose place it is."""
    now = host.publish({"x": "1"})
    with host.agent() as agent:
        host.settled(agent, now)
        status = agent.status()
        assert (status["agent"], status["projects"][0]["revision"]) == (agent.pid, now)
        assert f"agent {agent.pid} runs; 1 projects, 0 not settled" in lines(agent.command("status"), 0)[0]
        agent.until(lambda: host.store.get("/watcher.agents/web01")[0], "it is registered")
        done = agent.command("doctor")
        assert failures(done, 0) == []
        assert f"process {agent.pid} serves" in done.stdout
        assert f"its lease is alive (process {agent.pid}, " in done.stdout
        for second in ("run", "once"):
            done = agent.command(second)
            assert lines(done, 1) == []
            assert f"process {agent.pid}" in done.stderr.splitlines()[-1]
        pid = agent.pid
        agent.kill()
        assert agent.status()["agent"] == 0
        failed = failures(agent.command("doctor"), 1)
        assert [line.split(":")[0] for line in failed] == ["FAIL  agent"]
        assert (
            f"WARN  registration: /watcher.agents/web01 is of an agent (process {pid},"
            in agent.command("doctor").stdout
        )


def test_another_agent_of_this_host(host: AgentSite, tmp_path: Path) -> None:
    """Two agents with the same name and state folders of their own are found by the key that one of them lost."""
    with host.agent() as agent:
        agent.until(lambda: host.store.get("/watcher.agents/web01")[0], "it is registered")
        other = tmp_path / "other"
        other.mkdir()
        with AgentRun(other, host.server.endpoint) as second:
            second.until(lambda: registered(host) == second.pid, "the second one has taken the key")
            assert "is of another agent (process" in failures(agent.command("doctor"), 1)[0]


def registered(host: AgentSite) -> Any:
    """Return the number of the process that is registered."""
    item, _revision = host.store.get("/watcher.agents/web01")
    return json.loads(item.value)["pid"] if item else None


def test_a_dry_run_that_watches(host: AgentSite) -> None:
    """It follows the tree, tells what it would do, and touches nothing on the host and in the tree."""
    agent = host.agent()
    first = host.publish({"x": "1"})
    command = [sys.executable, "-m", "watcher.cli", "run", "--dry-run", "--config", str(agent.config)]
    with agent.log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=host.folder, env=agent.environment, stderr=log)
    try:
        agent.until(lambda: f"revision {first}: would be deployed" in agent.log, "it tells what it would do")
        second = host.put({"y": "2"})
        agent.until(lambda: "create y" in agent.log, "it follows the tree")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert revision(host) == second
    assert (host.disk(), host.commands(), agent.state_dir.exists()) == ({}, [], False)


def test_signals(host: AgentSite) -> None:
    """SIGHUP compares everything; SIGTERM waits for a deployment; the second one does not."""
    revision = host.publish({"x": "1"})
    agent = host.agent(local={"resync": "3600"}).start()
    try:
        assert agent.process is not None
        host.settled(agent, revision)
        (host.out() / "x").write_text("edited")
        agent.compare()
        agent.until(lambda: host.text("x") == "1", "the file is repaired")
        reached = host.folder / "reached"
        host.publish({"x": "2"}, beforeCmd=f"touch {reached}; sleep 60")
        agent.until(reached.exists, "a command hangs")
        agent.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(1)
        os.kill(agent.pid, signal.SIGINT)
        assert agent.process.wait(5) == 128 + signal.SIGINT
    finally:
        agent.kill()
