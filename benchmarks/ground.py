# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a benchmark stands: an etcd and a folder of its own, and Ansible with nobody's settings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

from . import ROOT, TREE

TIMEOUT = 900  # seconds that one run may take
FOREIGN = ("ANSIBLE_", "ETCDCTL_", "WATCHER_", "PYTHONDONTWRITEBYTECODE")  # settings that would change the figures
PEERS = ROOT / "benchmarks" / "library"


def say(text: str) -> None:
    """Tell the reader what is under way; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Ground:
    """A context manager: an empty etcd, a store on it, and a folder for playbooks that goes away."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.folder = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
        self.server = EtcdServer()
        self.tree = Tree()
        self.store: Store = connect(Connection((self.server.endpoint,)))

    def __enter__(self) -> Ground:
        """Start etcd."""
        try:
            self.server.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop etcd and remove the folder."""
        self._remove()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a user who has set the endpoint, and nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
            "PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "pycache"),  # as compiled as an installed collection
            "ANSIBLE_COLLECTIONS_PATH": str(TREE),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_LIBRARY": str(PEERS),
            "ANSIBLE_NOCOLOR": "1",
            "ETCDCTL_ENDPOINTS": self.server.endpoint,
        }

    def playbook(self, name: str, tasks: Sequence[Mapping[str, Any]], hosts: Sequence[str] = ("localhost",)) -> Path:
        """Write a playbook of these tasks, on these hosts over the local connection, and return its path."""
        play = {
            "hosts": list(hosts),
            "gather_facts": False,
            "connection": "local",
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": list(tasks),
        }
        path = self.folder / f"{name}.yml"
        path.write_text(json.dumps([play]), encoding="utf-8")  # JSON is YAML
        return path

    def run(self, playbook: Path, hosts: Sequence[str] = ("localhost",)) -> float:
        """Return the seconds that ansible-playbook takes; raise RuntimeError with its output when it fails."""
        inventory = ",".join(hosts) + ","
        return self.command("ansible-playbook", "--inventory", inventory, str(playbook))

    def command(self, *command: str) -> float:
        """Return the seconds that a command takes; raise RuntimeError with its output when it fails."""
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return seconds

    @contextmanager
    def putting(self) -> Iterator[subprocess.Popen[str]]:
        """Run `benchmarks.writer`: it puts the keys that it reads, and says when."""
        command = [sys.executable, "-m", "benchmarks.writer", self.server.endpoint]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def _remove(self) -> None:
        self.store.close()
        self.server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
