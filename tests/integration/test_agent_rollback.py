# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One publish for two hosts, each with an agent and a service; what one of the services refuses is undone there."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store
from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.ansible_site import Receiver
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

RELOAD = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1] + "/reload", data=b"", timeout=10).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""


class Refused(Exception):
    """A configuration that the service does not take."""


class Service(ThreadingHTTPServer):
    """An HTTP server that answers as its file says, and reads that again only when it is told to, as nginx does.

    A file that it does not understand leaves it as it is.
    """

    def __init__(self, file: Path, modules: tuple[str, ...] = ()) -> None:
        """Read the file and serve; raise Refused where that is no good. ``modules`` are those that are installed."""
        self.file, self.modules = file, modules
        self.text = self.read()
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def read(self) -> str:
        """Return what the file says to answer."""
        text = ""
        for number, line in enumerate(self.file.read_text().splitlines(), 1):
            word, _space, value = line.partition(" ")
            if word == "module" and value not in self.modules:
                raise Refused(f"[emerg] {self.file.name}:{number}: unknown module {value}\nconfiguration test failed")
            text = value if word == "answer" else text
        return text

    def close(self) -> None:
        """End."""
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Service

    def do_GET(self) -> None:
        """Answer as the file said that was taken last."""
        self.answer(200, self.server.text)

    def do_POST(self) -> None:
        """Read the file again."""
        try:
            self.server.text = self.server.read()
            self.answer(200, "reloaded")
        except Refused as error:
            self.answer(500, str(error))

    def answer(self, code: int, text: str) -> None:
        """Answer."""
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Host:
    """A host with a service and an agent."""

    def __init__(self, folder: Path, name: str, endpoint: str, modules: tuple[str, ...]) -> None:
        """Have the service's first file there, as its package brings it; start the service, but not the agent."""
        self.name, self.out = name, folder / name / "etc"
        self.out.mkdir(parents=True)
        (self.out / "service.conf").write_text("answer zero\n")
        self.modules = modules
        self.service = Service(self.out / "service.conf", modules)
        self.agent = AgentRun(folder / name, endpoint, host=name)
        self.script = folder / name / "reload.py"
        self.script.write_text(RELOAD)

    def policy(self, callback: str) -> dict[str, Any]:
        """Return a policy that reloads the service."""
        after = f"{sys.executable} {self.script} {self.service.url}"
        return {"deployPath": str(self.out), "afterCmd": after, "callback": callback}

    def answer(self) -> str:
        """Return what a client of the service gets."""
        with urllib.request.urlopen(self.service.url, timeout=10) as response:  # noqa: S310 (our own)
            text: str = response.read().decode()
        return text

    def restarted(self) -> str:
        """Return what a service would answer that starts with the files as they are."""
        again = Service(self.out / "service.conf", self.modules)
        again.close()
        return again.text

    def files(self) -> dict[str, str]:
        """Return what is deployed, temporary files included."""
        return {path.name: path.read_text() for path in self.out.iterdir()}


@pytest.fixture
def hosts(etcd: EtcdServer, tmp_path: Path) -> Iterator[dict[str, Host]]:
    """Return two hosts, the second of which lacks a module of the service."""
    etcd.etcdctl("del", "--prefix", "/")
    found = {
        name: Host(tmp_path, name, etcd.endpoint, modules) for name, modules in (("web01", ("extra",)), ("web02", ()))
    }
    yield found
    for host in found.values():
        host.agent.kill()
        host.service.close()


@pytest.fixture
def store(etcd: EtcdServer) -> Iterator[Store]:
    """Return a connection."""
    store = connect(Connection((etcd.endpoint,)))
    yield store
    store.close()


def status(store: Store, host: str) -> dict[str, Any]:
    """Return a host's status in the tree."""
    item, _revision = store.get(f"/watcher.status/{host}/a.com")
    data: dict[str, Any] = json.loads(item.value) if item else {}
    return data


def test_one_of_two_hosts_rolls_back(hosts: dict[str, Host], store: Store, receiver: Receiver) -> None:
    """It has the old files and its service the old answer; status and callback say why; the other one goes ahead."""

    def release(files: dict[str, str]) -> None:
        """Publish the same for both hosts, as the project module does: one transaction each."""
        contents = {path: text.encode() for path, text in files.items()}
        for name, host in hosts.items():
            publish(store, Tree(), name, "a.com", Wanted(host.policy(receiver.url), contents, purge=True))

    def until(state: str, name: str, after: int = 0) -> dict[str, Any]:
        """Return a host's status once it is in this state as to a revision after one."""
        said: dict[str, Any] = {}

        def has() -> bool:
            said.update(status(store, name))
            return said.get("state") == state and said["wantedRevision"] > after

        hosts[name].agent.until(has, f"{name} is {state}")
        return said

    def told(state: str, name: str, after: int = 0) -> dict[str, Any]:
        """Return the newest callback of a host in this state about a revision after one."""

        def those() -> list[dict[str, Any]]:
            found = [body for body in list(receiver.bodies) if (body["host"], body["state"]) == (name, state)]
            return [body for body in found if body["revision"] > after]

        hosts[name].agent.until(those, f"the callback says that {name} is {state}")
        return those()[-1]

    one = {"service.conf": "answer one\n", "old.conf": "x"}
    two = {"service.conf": "answer two\nmodule extra\n", "new.conf": "y"}
    release(one)
    with hosts["web01"].agent, hosts["web02"].agent:
        first = {name: until("deployed", name)["revision"] for name in hosts}
        assert [host.answer() for host in hosts.values()] == ["one", "one"]

        release(two)
        good = until("deployed", "web01", first["web01"])
        hosts["web01"].agent.until(lambda: hosts["web01"].files() == two, "web01 is clean")
        assert hosts["web01"].answer() == "two"
        assert good["revision"] == good["wantedRevision"] > first["web01"]
        body = told("deployed", "web01", first["web01"])
        assert (body["code"], body["afterCmd"]) == (
            200, {"success": True, "out": "reloaded\n", "err": None, "msg": ""}
        )  # fmt: skip

        bad = until("rolledBack", "web02", first["web02"])
        why = (
            "afterCmd failed with exit status 1: [emerg] service.conf:2: unknown module extra"
            " / configuration test failed"
        )
        message = (
            f"host web02, project a.com: {why}; the previous files are back (3 restored); afterCmd was run once more"
            " and it succeeded"
        )
        hosts["web02"].agent.until(lambda: hosts["web02"].files() == one, "web02 has its old files")
        assert (hosts["web02"].answer(), hosts["web02"].restarted()) == ("one", "one")
        assert (bad["msg"], bad["revision"]) == (message, first["web02"])
        assert bad["wantedRevision"] > bad["revision"]
        assert bad["nextTry"] > bad["finishedAt"]
        body = told("rolledBack", "web02")
        assert (body["code"], body["msg"], body["revision"]) == (500, message, bad["wantedRevision"])
        assert (body["afterCmd"]["success"], body["afterCmd"]["msg"]) == (False, why)
        for name, state in (("web01", "deployed"), ("web02", "rolledBack")):
            agent = hosts[name].agent
            agent.until(lambda agent=agent, state=state: agent.status()["projects"][0]["state"] == state, state)  # type: ignore[misc]

        release({"service.conf": "answer three\n"})
        for name, host in hosts.items():
            said = until("deployed", name, bad["wantedRevision"])
            assert said["revision"] == said["wantedRevision"]
            assert "nextTry" not in status(store, name)
            three = {"service.conf": "answer three\n"}
            host.agent.until(lambda host=host, three=three: host.files() == three, f"{name} is clean")  # type: ignore[misc]
            assert host.answer() == "three"
            assert told("deployed", name, bad["wantedRevision"])["msg"] == ""
