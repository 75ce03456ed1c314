# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller in a folder: an inventory of local hosts, real ansible-playbook, and a callback receiver."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STOP = 60.0  # seconds that ansible-rulebook has to end, which waits for its playbook


class Site:
    """Hosts that share this machine: each has a state folder and deploys below a folder of its own."""

    patience = 120.0  # seconds that a playbook has

    def __init__(self, folder: Path, endpoint: str, hosts: list[str]) -> None:
        """Write the inventory; ``endpoint`` is etcd's."""
        self.folder = folder
        self.endpoint = endpoint
        self.inventory = folder / "inventory"
        self.inventory.mkdir()
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "watcher_state_dir": f"{folder}/{{{{ inventory_hostname }}}}/state",
            "watcher_config": f"{folder}/{{{{ inventory_hostname }}}}/watcher.ini",  # not this machine's
        }
        inventory = {"all": {"hosts": {host: {} for host in hosts}, "vars": variables}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a controller whose home is the folder."""
        endpoints = {"ETCDCTL_ENDPOINTS": self.endpoint} if self.endpoint else {}
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "ETCDCTL_"))},
            **endpoints,
            "HOME": str(self.folder),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "link"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
            "ETCDCTL_API": "3",
        }

    def out(self, host: str = "web01") -> Path:
        """Return the folder that a host's projects of `policy` deploy to."""
        return self.folder / host / "out"

    def policy(self, host: str = "web01", **more: Any) -> dict[str, Any]:
        """Return a policy in the old daemon's five fields, without callback."""
        base = self.folder / host
        return {
            "deployPath": str(base / "out"),
            "backupDir": str(base / "backup"),
            "beforeCmd": f"echo before >> {base}/commands",
            "afterCmd": f"echo after >> {base}/commands",
            **more,
        }

    def commands(self, host: str = "web01") -> list[str]:
        """Return what the policy's commands have logged."""
        log = self.folder / host / "commands"
        return log.read_text().split() if log.exists() else []

    def play(self, playbook: str, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run ansible-playbook and return what it said; the caller looks at the return code."""
        command = [str(BIN / "ansible-playbook"), playbook, "-i", str(self.inventory), *arguments]
        if variables:
            (self.folder / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
            command += ["-e", f"@{self.folder}/variables.json"]
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )

    def ran(self, playbook: str, *arguments: str, **variables: Any) -> dict[str, dict[str, int]]:
        """Run ansible-playbook, demand success and return its recap."""
        done = self.play(playbook, *arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return recap(done.stdout)

    def publish(self, *arguments: str, **more: Any) -> dict[str, int]:
        """Publish a.com for web01 with one file, unless told otherwise; return localhost's recap."""
        variables = {
            "watcher_project": "a.com",
            "watcher_hosts": ["web01"],
            "watcher_policy": self.policy(),
            "watcher_files": [{"path": "ngx.conf", "content": "one\n"}],
            **more,
        }
        return self.ran("watcher.config.publish", *arguments, **variables)["localhost"]

    @contextlib.contextmanager
    def rulebook(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ansible-rulebook with the shipped rulebook and demand a clean end; its log is ``rulebook.log``."""
        command = [str(BIN / "ansible-rulebook"), "-r", "watcher.config.deploy", "-i", str(self.inventory), *arguments]
        environment = {**self.environment, "JAVA_TOOL_OPTIONS": "-Xrs"}
        with (self.folder / "rulebook.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
            process.terminate()
            assert process.wait(STOP) == 0, f"ansible-rulebook ended with {process.returncode} on SIGTERM"
        finally:
            self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End ansible-rulebook, and the playbooks that it leaves behind in process groups of their own."""
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP)
        for number in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()

    def _processes(self) -> list[int]:
        """Return the processes whose home is this controller's folder."""
        mark = f"HOME={self.folder}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended, or is not ours
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def runs(self) -> int:
        """Return how many playbook runs the rulebook has begun."""
        return (self.folder / "rulebook.log").read_text(errors="replace").count("PLAY [")

    def write(self, name: str, play: list[dict[str, Any]]) -> str:
        """Write a playbook and return its path."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(play, sort_keys=False), encoding="utf-8")
        return str(path)


def recap(output: str) -> dict[str, dict[str, int]]:
    """Return the numbers of a playbook's recap, by host."""
    lines = output.partition("PLAY RECAP")[2].splitlines()[1:]
    found = {}
    for line in lines:
        host, colon, numbers = line.partition(" : ")
        if colon:
            pairs = (number.split("=") for number in numbers.split())
            found[host.strip()] = {name: int(value) for name, value in pairs}
    return found


class Receiver:
    """A receiver of callbacks: keeps every body, answers with ``code``."""

    def __init__(self) -> None:
        """Bind a free port of the loopback; nothing is served yet."""
        self.bodies: list[dict[str, Any]] = []
        self.code = 200
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver._arrived:
                    receiver.bodies.append(body)
                    receiver._arrived.notify_all()
                self.send_response(receiver.code)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Return the address to put into policies."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Receiver]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def wait(self, count: int, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return the bodies once there are that many; AssertionError after ``timeout`` seconds."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.bodies) >= count, timeout), self.bodies
            return list(self.bodies)
