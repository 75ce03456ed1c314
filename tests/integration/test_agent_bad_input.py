# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad disks, policies, keys and values: the old set stays, it is told, nothing else is hurt, and it is retried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.mounts import ROOT, fill, mounted_on, remount, small_disk

RETRY = 15.0  # seconds within which a deployment that failed a few times is tried again


class Trouble:
    """A project that is deployed, a receiver of its callbacks, and a neighbour who must not be hurt."""

    def __init__(self, host: AgentSite, agent: AgentRun, receiver: Receiver) -> None:
        """Publish and deploy both."""
        self.host, self.agent, self.receiver = host, agent, receiver
        self.publish({"x": "old", "y": "old"})
        host.publish({"n": "1"}, "neighbour")
        agent.until(lambda: host.disk() == {"x": "old", "y": "old"}, "deployed")
        agent.until(lambda: host.text("n", "neighbour") == "1", "the neighbour is deployed")
        receiver.wait(1)

    def publish(self, files: dict[str, str], **fields: Any) -> int:
        """Publish the project."""
        return self.host.publish(files, callback=self.receiver.url, **fields)

    def told(self, *words: str, state: str = "failed") -> None:
        """Wait until status, log and callback say so in these words, with the old files in place."""
        host, agent = self.host, self.agent
        agent.until(lambda: host.status().get("state") == state, f"the status is {state}")
        agent.until(lambda: any(body["code"] == 500 for body in self.receiver.bodies), "a callback with code 500")
        body = next(body for body in self.receiver.bodies if body["code"] == 500)
        for text in (host.status()["msg"], body["msg"], agent.log):
            assert all(word in text for word in ("web01", "a.com", *words)), text
        assert host.disk() == {"x": "old", "y": "old"}
        assert host.words().count("after") == 1
        self.unhurt()

    def unhurt(self) -> None:
        """Demand that the neighbour is served at once."""
        number = self.host.put({"n": "2"}, "neighbour")
        self.agent.until(lambda: self.host.text("n", "neighbour") == "2", "the neighbour is deployed", 4.0)
        self.host.settled(self.agent, number, "neighbour")

    def mended(self, revision: int, disk: dict[str, str]) -> None:
        """Wait until the deployment has succeeded by itself."""
        self.host.settled(self.agent, revision, bound=RETRY)
        assert self.host.disk() == disk
        assert "Traceback" not in self.agent.log


@ROOT
def test_a_full_disk(host: AgentSite, receiver: Receiver) -> None:
    """Also one that fills up in the middle of the staging; it is mended by room."""
    with small_disk(host.out(), "128k") as disk, host.agent() as agent:
        trouble = Trouble(host, agent, receiver)
        revision = trouble.publish({"x": "new", "y": "n" * 200_000})
        trouble.told("No space left on device")
        remount(disk, "size=4m")
        trouble.mended(revision, {"x": "new", "y": "n" * 200_000})


@ROOT
def test_a_full_disk_below_the_state(host: AgentSite, receiver: Receiver) -> None:
    """What cannot be written down is not begun; once there is room, the deployment is made up for."""
    with small_disk(host.folder / "state", "256k") as disk, host.agent() as agent:
        Trouble(host, agent, receiver)
        ballast = fill(disk)
        revision = host.put({f"f{number}": "new" for number in range(100)})
        agent.until(lambda: "No space left on device" in agent.log, "it is logged")
        assert host.text("x") == "old"
        ballast.unlink()
        host.settled(agent, revision, bound=RETRY)
        assert len(host.disk()) == 102


@ROOT
def test_a_read_only_disk(host: AgentSite, receiver: Receiver) -> None:
    """It is mended by a remount."""
    with small_disk(host.out(), "1m") as disk, host.agent() as agent:
        trouble = Trouble(host, agent, receiver)
        remount(disk, "ro")
        revision = trouble.publish({"x": "new"})
        trouble.told("Read-only file system")
        remount(disk, "rw")
        trouble.mended(revision, {"x": "new", "y": "old"})


@ROOT
def test_a_bind_mount(host: AgentSite, receiver: Receiver) -> None:
    """A file that another one is mounted on is written in place, and that is told; it comes back in place, too."""
    with host.agent() as agent:
        trouble = Trouble(host, agent, receiver)
        over = host.folder / "over"
        over.write_text("old")
        with mounted_on(host.out() / "y", over):
            trouble.publish({"x": "new", "y": "new"}, afterCmd="exit 3")
            trouble.told("afterCmd", state="rolledBack")
            assert over.read_text() == "old"
            trouble.mended(trouble.publish({"x": "new", "y": "new"}), {"x": "new", "y": "new"})
            assert over.read_text() == "new"
            note = f"{host.out()}/y is a mount point: written in place"
            agent.until(lambda: note in str(host.status().get("msg")), "it is told")
            agent.until(lambda: any(note in body["msg"] for body in receiver.bodies), "the callback tells it, too")
        assert host.text("y") == "old"


@ROOT
def test_a_vanished_owner(host: AgentSite, receiver: Receiver) -> None:
    """A policy names a user whom the host does not have; it is mended when it has."""
    passwd = host.folder / "passwd"
    users = Path("/etc/passwd").read_text()
    passwd.write_text(users)
    script = f'mount --bind {passwd} /etc/passwd && exec "$@"'
    agent = AgentRun(host.folder, host.server.endpoint, within=("unshare", "--mount", "sh", "-c", script, "-"))
    with agent:
        trouble = Trouble(host, agent, receiver)
        revision = trouble.publish({"x": "new"}, owner="vanished")
        trouble.told("owner", "vanished")
        with passwd.open("a") as stream:
            stream.write("vanished:x:4711:0::/:/bin/false\n")
        trouble.mended(revision, {"x": "new", "y": "old"})
        assert (host.out() / "x").stat().st_uid == 4711


def test_a_symbolic_link_in_the_way(host: AgentSite, receiver: Receiver) -> None:
    """It is not followed out of the deploy path; it is mended by its removal."""
    outside = host.folder / "outside"
    outside.mkdir()
    with host.agent() as agent:
        trouble = Trouble(host, agent, receiver)
        (host.out() / "sub").symlink_to(outside)
        revision = trouble.publish({"x": "new", "sub/z": "new"})
        trouble.told("sub", "symbolic link")
        assert list(outside.iterdir()) == []
        (host.out() / "sub").unlink()
        trouble.mended(revision, {"x": "new", "y": "old", "sub/z": "new"})


BAD_POLICIES = {
    "no JSON": ("{", "not JSON"),
    "a relative path": ('{"deployPath": "etc"}', "deployPath"),
    "an unknown field": ('{"deployPath": "/etc/x", "afterCommand": "x"}', "afterCommand"),
    "a wrong type": ('{"deployPath": "/etc/x", "cmdTimeout": "soon"}', "cmdTimeout"),
    "a list": ("[]", "object"),
    "no UTF-8": ("\udcff", "not JSON"),
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_bad_policy(host: AgentSite, receiver: Receiver, name: str) -> None:
    """Nothing of it is carried out; the callback of the last good one hears of it; a good one mends it."""
    value, word = BAD_POLICIES[name]
    with host.agent() as agent:
        trouble = Trouble(host, agent, receiver)
        put_raw(host, host.key("a.com", "config"), value)
        host.put({"x": "new"})
        trouble.told(word)
        trouble.mended(trouble.publish({}), {"x": "new", "y": "old"})


def put_raw(host: AgentSite, key: str, value: str) -> None:
    """Put any bytes."""
    host.store.commit(Write(puts=((key, value.encode("utf-8", "surrogateescape")),)))


BAD_KEYS = {
    "a way out": "config.d/../../evil",
    "an empty segment": "config.d/a//b",
    "a control character": "config.d/a\nb",
    "a long segment": f"config.d/{'x' * 256}",
    "no file": "config.d/",
}


def test_bad_keys(host: AgentSite) -> None:
    """Each is reported and never reaches the disk; the good files beside them are deployed."""
    for rest in BAD_KEYS.values():
        put_raw(host, host.key("a.com", rest), "evil")
    put_raw(host, "/watcher/web01/bad name/config", "{}")
    put_raw(host, "/watcher/web01/a.com/notours", "1")
    with host.agent() as agent:
        revision = host.publish({"x": "1"})
        status = host.settled(agent, revision)
        assert host.disk() == {"x": "1"}
        assert "config.d" in status["msg"]
        for rest in BAD_KEYS.values():
            shown = rest.replace("\n", "\\n")
            agent.until(lambda shown=shown: shown in agent.log, f"{shown} is logged")  # type: ignore[misc]
        agent.until(lambda: "bad name" in agent.log, "a bad project is logged")
        put_raw(host, host.key("a.com", "config.d/late/../x"), "evil")
        agent.until(lambda: "late/../x" in agent.log, "a bad key is logged when it comes")
        host.settled(agent, host.put({"x": "2"}))
    assert host.disk() == {"x": "2"}
    assert not list(host.folder.rglob("evil"))


def test_a_huge_value(host: AgentSite) -> None:
    """More than 1 MiB is refused; the file that was there stays, and the others are deployed."""
    with host.agent() as agent:
        host.settled(agent, host.publish({"x": "1", "y": "1"}))
        revision = host.put({"x": "x" * ((1 << 20) + 1)})
        host.put({"y": "2"})
        agent.until(lambda: host.text("y") == "2", "the other file is deployed")
        agent.until(lambda: "1048577 bytes" in str(host.status().get("msg")), "it is reported")
        assert host.text("x") == "1"
        host.settled(agent, host.put({"x": "x" * (1 << 20)}))
        agent.until(lambda: host.text("x") == "x" * (1 << 20), "the largest is deployed")
        assert host.status()["msg"] == ""
    assert revision


def test_a_policy_outside_the_limits_of_the_host(host: AgentSite, receiver: Receiver) -> None:
    """Nothing of it is carried out, and its callback says what was asked for and what is allowed."""
    allowed = {"deploy_roots": str(host.folder / "out"), "commands": "true"}
    quiet = {"beforeCmd": "", "afterCmd": "true"}
    with host.agent(security=allowed) as agent:
        host.settled(agent, host.publish({"x": "1"}, **quiet))
        outside = host.folder / "elsewhere"
        fields = {"callback": receiver.url, **quiet}
        host.publish({"x": "2"}, **{**fields, "deployPath": str(outside)})
        body = receiver.wait(1)[0]
        assert body["code"] == 500
        assert str(outside) in body["msg"]
        assert str(host.folder / "out") in body["msg"]
        host.publish({"x": "2"}, **{**fields, "afterCmd": f"touch {host.folder}/ran"})
        assert "touch" in receiver.wait(2)[1]["msg"]
        assert host.disk() == {"x": "1"}
        assert not outside.exists()
        assert host.status()["state"] == "failed"
        host.settled(agent, host.publish({"x": "2"}, **fields))
    assert host.disk() == {"x": "2"}
    assert not (host.folder / "ran").exists()


def test_a_wrong_ini_file(etcd: EtcdServer, tmp_path: Path) -> None:
    """The start ends with 2 and one sentence: file, section, name, value and what is allowed."""
    agent = AgentRun(tmp_path, etcd.endpoint, sections={"heartbeat": {"domain": "nowhere", "interval": "30"}})
    done = agent.command("run")
    assert done.returncode == 2
    assert all(word in done.stderr for word in (str(agent.config), "heartbeat", "domain", "nowhere", "http")), done
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
