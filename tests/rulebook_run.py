# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shipped rulebook, run by real ansible-rulebook on a site."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.watcher.config.tests.ansible_site import BIN, Site

BOUND = 120.0  # seconds that anything may take at most; a playbook takes one, on a busy machine more
MARK = "WATCHER_TEST_RULEBOOK"  # variable of the environment by which its processes are known


class Rulebook:
    """ansible-rulebook on a site, in a folder of its own."""

    name = "watcher.config.deploy"

    def __init__(self, site: Site, folder: Path) -> None:
        """Make its temporary folder; start nothing."""
        self.site = site
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {"JAVA_TOOL_OPTIONS": "-Xrs", "TMPDIR": str(self.temporary), MARK: str(folder)}

    @property
    def pid(self) -> int:
        """Return its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def output(self) -> str:
        """Return what it, and its playbooks, have said so far."""
        return read(self.folder / "output").decode("utf-8", "replace")

    def start(self, **variables: Any) -> None:
        """Start it with these variables."""
        (self.folder / "vars.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
        files = {"-i": self.site.inventory, "--vars": self.folder / "vars.yml"}
        command = [str(BIN / "ansible-rulebook"), "-r", self.name]
        command += [str(part) for option in files.items() for part in option]
        environment = {**self.site.environment, **self.environment}
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder
            )

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND)

    def crash(self) -> None:
        """End it, and nothing else, at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """End it, and what it left."""
        if self.process is not None:
            self.crash()
        for path in self.left():
            subprocess.run(["kill", "-9", path.name], check=False)

    def left(self) -> list[Path]:
        """Return the processes, as in /proc, that were started by it, or are it: they have its mark."""
        mark = f"\0{MARK}={self.folder}\0".encode()
        return [path for path in Path("/proc").glob("[0-9]*") if mark in b"\0" + read(path / "environ")]

    def gone(self) -> None:
        """Wait until it has left no process.

        Of a playbook that was stopped, ansible-core lets the task in hand come to its end.
        """
        deadline = time.monotonic() + BOUND
        while self.left():
            assert time.monotonic() < deadline, f"left: {[read(path / 'cmdline') for path in self.left()]}"
            time.sleep(0.02)

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds; fail with the output when it does not in time."""
        deadline = time.monotonic() + BOUND
        while not holds():
            alive = self.process is not None and self.process.poll() is None
            assert alive and time.monotonic() < deadline, f"not in time: {what}\n{self.output}"
            time.sleep(0.02)


def read(path: Path) -> bytes:
    """Return the content of a file; nothing when it is not there or went away."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
