# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for the benchmarks of the agent: keys in the tree, the agent's process, and the files that come of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.policy import encode
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import AgentRun, eventually

from . import ROOT
from .ground import Ground
from .landing import Landing

BOUND = 60.0  # seconds that anything may take
MAX_PUTS = 100  # of one transaction; etcd takes 128 operations


class Host:
    """A host of the tree with so many files, spread over so many projects.

    Its policies have only the fields ``more``. ``core`` is the library of another version of the agent.
    """

    def __init__(
        self,
        ground: Ground,
        name: str,
        keys: int,
        projects: int = 1,
        *,
        more: Mapping[str, Any] | None = None,
        core: Path | None = None,
    ) -> None:
        """Start nothing yet."""
        self.name, self.keys = name, keys
        self._more = more or {}
        self.folder = ground.folder / name
        self.folder.mkdir()
        if core is not None:
            (self.folder / "lib").mkdir()
            (self.folder / "lib" / "watcher").symlink_to(core)
        self.agent = AgentRun(self.folder, ground.server.endpoint, host=name)
        self._ground = ground
        each = keys // projects
        self.files = [(f"p{number // each:03}", f"f{number:05}") for number in range(keys)]

    def key(self, number: int) -> str:
        """Return the key of a file."""
        return self._ground.tree.file(self.name, *self.files[number])

    def path(self, number: int) -> Path:
        """Return the place of a file on the disk."""
        project, file = self.files[number]
        return self.folder / "out" / project / file

    def policies(self) -> None:
        """Publish the policies."""
        projects = sorted({project for project, _file in self.files})
        self._commit([(self._ground.tree.policy(self.name, each), self._policy(each)) for each in projects])

    def publish(self, content: bytes) -> None:
        """Publish all files with one content, in transactions of `MAX_PUTS`."""
        self._commit([(self.key(number), content) for number in range(self.keys)])

    def put(self, number: int, content: bytes) -> None:
        """Publish one file."""
        self._ground.store.commit(Write(puts=((self.key(number), content),)))

    def deployed(self, content: bytes) -> None:
        """Return once all files hold the content; fail when they do not in time."""
        waiting = list(range(self.keys))

        def rest() -> bool:
            while waiting and holds(self.path(waiting[-1]), content):
                waiting.pop()
            return not waiting

        eventually(rest, f"{self.keys} files of {self.name} hold {content!r}", BOUND)

    def _policy(self, project: str) -> bytes:
        return encode({"deployPath": str(self.folder / "out" / project), **self._more})

    def _commit(self, puts: list[tuple[str, bytes]]) -> None:
        for first in range(0, len(puts), MAX_PUTS):
            self._ground.store.commit(Write(puts=tuple(puts[first : first + MAX_PUTS])))


class Writer:
    """The process that puts: `benchmarks.writer`, whose values count up."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Talk to this process."""
        self._process = process
        self._count = 0

    def latency(self, key: str, landing: Landing) -> float:
        """Put the key and return the seconds until its file has the new content; TimeoutError when it never comes."""
        assert self._process.stdin and self._process.stdout  # noqa: S101 - both are pipes
        self._process.stdin.write(f"{key}\n")
        self._process.stdin.flush()
        landed = landing.wait(str(self._count).encode(), BOUND)
        self._count += 1
        before = int(self._process.stdout.readline())  # read only now: nothing else wakes this process meanwhile
        return (landed - before) / 1e9


@contextmanager
def writer(ground: Ground) -> Iterator[Writer]:
    """Run the process that puts."""
    with ground.putting() as process:
        yield Writer(process)


@contextmanager
def floor(ground: Ground, key: str, path: Path) -> Iterator[None]:
    """Run the bare watch that writes, fsyncs and renames."""
    command = [sys.executable, "-m", "benchmarks.agent_floor", ground.server.address, key, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline()  # noqa: S101 - it says that it is ready
            yield
        finally:
            process.kill()


def holds(path: Path, content: bytes) -> bool:
    """Return whether a file is there with this content."""
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
