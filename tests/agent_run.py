# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as a process of its own, as the role runs it: package ``watcher``, an INI file, systemd's socket."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.watcher.config.tests.guarded import Guard

CORE = Path(
    os.environ.get("WATCHER_TEST_CORE") or Path(__file__).resolve().parent.parent / "plugins" / "module_utils" / "_core"
)
BOUND = 20.0  # seconds that anything may take at most
TICK = 0.005  # seconds between two looks at a condition
STOP = 10.0  # seconds that the agent has to end

Sections = Mapping[str, Mapping[str, str]]


def eventually(holds: Callable[[], object], what: str, bound: float = BOUND) -> float:
    """Wait until something holds and return the seconds that took; fail when it does not in time."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < bound, f"not in {bound:g} s: {what}"
        time.sleep(TICK)
    return time.monotonic() - start


def library(folder: Path) -> None:
    """Make the package ``watcher`` of the core in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "watcher"
    if not link.is_symlink():
        link.symlink_to(CORE)


class Notices:
    """What a process tells systemd: a socket that is always read."""

    def __init__(self) -> None:
        """Listen on an abstract address of its own."""
        self.address = f"@watcher-test-{os.getpid()}-{secrets.token_hex(4)}"
        self.seen: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while line := self._socket.recv(65536):
            self.seen += line.decode().splitlines()

    @property
    def ready(self) -> bool:
        """Return whether the process said that it is ready."""
        return "READY=1" in self.seen

    def close(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.address.replace("@", "\0", 1))
        self._thread.join()
        self._socket.close()


class AgentRun:
    """A context manager: the agent of a host runs until its end, which is demanded to be clean.

    ``sections`` are added to the INI file, or replace values of it; ``text`` is the whole file instead.
    ``within`` is a command that becomes the one which is appended to it.
    """

    def __init__(
        self,
        folder: Path,
        endpoints: str,
        *,
        host: str = "web01",
        sections: Sections | None = None,
        text: str = "",
        within: Sequence[str] = (),
    ) -> None:
        """Write the INI file; start nothing yet."""
        self.folder = folder
        self.state_dir = folder / "state"
        self.config = folder / "watcher.ini"
        self.log_file = folder / "agent.log"  # of standard error
        self.notices: Notices | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, dict[str, str]] = {
            "local": {"prefix": "/watcher", "force": "true", "hostname": host, "state_dir": str(self.state_dir)},
            "etcd": {"endpoints": endpoints, "timeout": "5"},
            "logs": {"name": "watcher", "path": str(folder / "logs"), "filename": "watcher", "level": "debug"},
            "security": {"deploy_roots": "*", "commands": "*"},
        }
        self._within = tuple(within)
        library(folder / "lib")
        self.configure(sections or {}, text)

    def configure(self, sections: Sections, text: str = "") -> None:
        """Write the INI file again, with these values in it."""
        for name, values in sections.items():
            self.settings[name] = {**self.settings.get(name, {}), **values}
        lines: list[str] = []
        for name, values in self.settings.items():
            lines += [f"[{name}]", *(f"{option} = {value}" for option, value in values.items()), ""]
        self.config.write_text(text or "\n".join(lines), encoding="utf-8")
        self.config.chmod(0o600)

    def __enter__(self) -> AgentRun:
        """Start the agent, and return once it is ready."""
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the agent; when all went well so far, it has to end with 0."""
        if self.process is None:
            return
        if kind is not None:
            self.kill()
            return
        code = self.stop()
        assert code == 0, f"the agent ended with {code}\n{self.tail}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a service, with the package ``watcher`` in reach."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.folder / "lib"),
        }

    @property
    def pid(self) -> int:
        """Return the number of the running process."""
        assert self.process is not None, "the agent does not run"
        return self.process.pid

    @property
    def log(self) -> str:
        """Return what was written to standard error by all starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    @property
    def tail(self) -> str:
        """Return the end of the log."""
        return self.log[-6000:]

    @property
    def rss(self) -> int:
        """Return the resident memory in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used, in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def launch(self) -> None:
        """Start the agent's process."""
        self.notices = Notices()
        environment = {**self.environment, "NOTIFY_SOCKET": self.notices.address}
        command = [*self._within, sys.executable, "-m", "watcher.cli", "run", "--config", str(self.config)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        atexit.register(self.kill)
        self._guard = Guard(self.process)

    def start(self) -> AgentRun:
        """Start the agent, and return once it is ready."""
        self.launch()
        return self.wait()

    def wait(self) -> AgentRun:
        """Return once the agent is ready; fail when it ends or is not ready in time."""
        assert self.process is not None and self.notices is not None, "the agent was not started"
        process, notices = self.process, self.notices
        self.until(lambda: notices.ready or process.poll() is not None, "the agent is ready")
        assert notices.ready, f"the agent ended with {process.poll()}\n{self.tail}"
        return self

    def stop(self) -> int:
        """End the agent as systemd does and return its exit code; fail when it takes too long."""
        assert self.process is not None, "the agent does not run"
        self.process.terminate()
        try:
            code = self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the agent did not end within {STOP:g} s of SIGTERM\n{self.tail}") from None
        finally:
            self.kill()
        return code

    def kill(self) -> None:
        """Kill the agent with SIGKILL, if it runs."""
        if self.process is not None:
            self._guard.kill()
            self.process = None
        if self.notices is not None:
            self.notices.close()
            self.notices = None
        atexit.unregister(self.kill)

    def compare(self) -> None:
        """Ask for a full comparison: SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def until(self, holds: Callable[[], object], what: str, bound: float = BOUND) -> float:
        """Wait until something holds and return the seconds that took; fail with the log when it does not in time."""
        try:
            return eventually(holds, what, bound)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail}") from None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program with the same INI file."""
        command = [sys.executable, "-m", "watcher.cli", "--config", str(self.config), *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Return what ``watcher status --json`` says."""
        done = self.command("status", "--json")
        assert done.stdout, f"status ended with {done.returncode}: {done.stderr}"
        data: dict[str, Any] = json.loads(done.stdout)
        return data
