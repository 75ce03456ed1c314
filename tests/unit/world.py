# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store, and a host that the controller's parcels reach."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.controller import (
    Controller,
    Course,
)
from ansible_collections.watcher.config.plugins.module_utils._core.host import deploy_all
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel, pack, unpack
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

TREE = Tree()


class World:
    """A store, and a host that a parcel reaches as it does over ssh."""

    def __init__(self, folder: Path) -> None:
        """Start empty."""
        self.store = MemoryStore()
        self.folder = folder
        self.state = State(str(folder / "state"))
        self.sent: list[Parcel] = []
        self.before: list[Callable[[], object]] = []  # what happens before each parcel arrives

    def put(self, files: dict[str, bytes], name: str = "a.com", *, purge: bool = True, **policy: Any) -> None:
        """Publish as the module does."""
        policy = {"deployPath": str(self.folder / name), **policy}
        publish(self.store, TREE, "web01", name, Wanted(policy, files, purge))

    def withdraw(self, name: str = "a.com") -> None:
        """Withdraw as the module does."""
        publish(self.store, TREE, "web01", name, None)

    def send(self, parcel: Parcel) -> Sequence[Outcome]:
        """Do what the module does on the host."""
        if self.before:
            self.before.pop(0)()
        self.sent.append(parcel)
        outcomes = deploy_all(unpack(pack(parcel)), self.state)
        return [Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) for outcome in outcomes]

    def run(self, **options: Any) -> Course:
        """Deploy."""
        self.sent.clear()
        return Controller(self.store, TREE, "web01", self.send, **options).run()

    def states(self, **options: Any) -> dict[str, str]:
        """Deploy and return the state of each project."""
        outcomes = self.run(**options).outcomes
        assert len({outcome.project for outcome in outcomes}) == len(outcomes)
        return {outcome.project: outcome.state for outcome in outcomes}

    def files(self, name: str = "a.com") -> set[str]:
        """Return the files on the host."""
        return {str(path.relative_to(self.folder / name)) for path in (self.folder / name).rglob("*") if path.is_file()}

    def sent_contents(self) -> list[set[str]]:
        """Return which contents each parcel held."""
        return [
            {path for project in parcel.projects for path, file in project.files.items() if file.content is not None}
            for parcel in self.sent
        ]
