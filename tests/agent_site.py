# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host web01 in a folder: what is published for it on a real etcd, its agents, and what its commands log."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any, Self

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write
from ansible_collections.watcher.config.tests.agent_run import AgentRun, Sections
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

HOST = "web01"


class Background:
    """A context manager: a thread takes a turn after each pause, of so many seconds, until the end."""

    def __init__(self, pause: float) -> None:
        """Start nothing yet."""
        self.ending = threading.Event()
        self._pause = pause
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """End, after the turn at work."""
        self.ending.set()
        self._thread.join()

    def turn(self, number: int) -> None:
        """Do what is to be done in one turn, the first of which is number 1."""
        raise NotImplementedError

    def _run(self) -> None:
        for number in itertools.count(1):
            if self.ending.wait(self._pause):
                return
            self.turn(number)


class AgentSite:
    """Publishes for web01 behind the agent's back, and looks at what comes of it."""

    def __init__(self, folder: Path, server: EtcdServer) -> None:
        """Use the folder; start nothing."""
        self.folder = folder
        self.server = server
        self.store: Store = connect(Connection((server.endpoint,)))
        self._agents: list[AgentRun] = []

    def close(self) -> None:
        """Kill what still runs."""
        self.store.close()
        for agent in self._agents:
            agent.kill()

    def agent(self, endpoints: str = "", **sections: dict[str, str]) -> AgentRun:
        """Return the agent of the host, to be started, with these sections in its INI file."""
        given: Sections = sections
        agent = AgentRun(self.folder, endpoints or self.server.endpoint, host=HOST, sections=given)
        self._agents.append(agent)
        return agent

    def out(self, project: str = "a.com") -> Path:
        """Return the folder that a project deploys to."""
        return self.folder / "out" / project

    def policy(self, project: str = "a.com", **fields: Any) -> dict[str, Any]:
        """Return a policy whose commands log what they see; ``fields`` replace and add."""
        return {
            "deployPath": str(self.out(project)),
            "beforeCmd": self.say(project, "before"),
            "afterCmd": self.say(project, "after"),
            **fields,
        }

    def say(self, project: str, word: str) -> str:
        """Return a command that logs the word, the revision and the changed paths."""
        log = self._log(project)
        return f'printf "%s %s %s\\n" {word} "$WATCHER_REVISION" "$(echo $WATCHER_CHANGED)" >>{log}'

    def commands(self, project: str = "a.com") -> list[str]:
        """Return what the commands of a project have logged: lines such as ``after 12 a b``."""
        log = self._log(project)
        return log.read_text().splitlines() if log.exists() else []

    def words(self, project: str = "a.com") -> list[str]:
        """Return the first word of each line that the commands of a project have logged."""
        return [line.split()[0] for line in self.commands(project)]

    def _log(self, project: str) -> Path:
        return self.folder / f"commands.{project}"

    def publish(self, files: dict[str, str], project: str = "a.com", **fields: Any) -> int:
        """Set the policy and these files in one transaction and return its revision."""
        policy = (self.key(project, "config"), json.dumps(self.policy(project, **fields)).encode())
        return self.store.commit(Write(puts=(policy, *self._puts(files, project))))

    def put(self, files: dict[str, str], project: str = "a.com") -> int:
        """Set these files in one transaction and return its revision."""
        return self.store.commit(Write(puts=self._puts(files, project)))

    def delete(self, *paths: str, project: str = "a.com") -> int:
        """Delete files in one transaction and return its revision."""
        return self.store.commit(Write(deletes=tuple(self.key(project, f"config.d/{path}") for path in paths)))

    def key(self, project: str, rest: str) -> str:
        """Return a key of a project."""
        return f"/watcher/{HOST}/{project}/{rest}"

    def _puts(self, files: dict[str, str], project: str) -> tuple[tuple[str, bytes], ...]:
        return tuple((self.key(project, f"config.d/{path}"), text.encode()) for path, text in files.items())

    def disk(self, project: str = "a.com") -> dict[str, str]:
        """Return the files of a project's folder, with their contents; temporary ones, too."""
        out = self.out(project)
        found = {}
        for path in sorted(out.rglob("*")):
            try:
                if path.is_file():
                    found[str(path.relative_to(out))] = path.read_text()
            except FileNotFoundError:  # a temporary one
                continue
        return found

    def text(self, path: str, project: str = "a.com") -> str | None:
        """Return the content of a deployed file; None when it is not there."""
        try:
            return (self.out(project) / path).read_text()
        except FileNotFoundError:
            return None

    def status(self, project: str = "a.com") -> dict[str, Any]:
        """Return the status in the tree; empty when there is none."""
        item, _revision = self.store.get(f"/watcher.status/{HOST}/{project}")
        data: dict[str, Any] = json.loads(item.value) if item else {}
        return data

    def settled(self, agent: AgentRun, revision: int, project: str = "a.com", bound: float = 20.0) -> dict[str, Any]:
        """Wait until the status says that the revision is deployed, and return it."""
        said: dict[str, Any] = {}

        def has() -> object:
            nonlocal said
            said = self.status(project)
            return said.get("revision", 0) >= revision and said["state"] == "deployed"

        agent.until(has, f"{project} is deployed at {revision}", bound)
        return said
