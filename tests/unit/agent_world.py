# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store and a host with what an agent has of them: a mirror that follows when it is told to, and lanes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.lane import Lanes
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.mirror import Mirror
from ansible_collections.watcher.config.plugins.module_utils._core.model import Ledger, Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.store import Batch
from ansible_collections.watcher.config.tests.unit.world import TREE, World

PREFIX = TREE.host("web01")


class AgentWorld(World):
    """A world whose host has the lanes of an agent."""

    def __init__(self, folder: Path, *, force: bool = True, rules: Rules | None = None) -> None:
        """Start empty."""
        super().__init__(folder)
        self.rules = rules or Rules()
        self.start(force=force)

    def start(self, *, force: bool = True) -> None:
        """Become a process that has just started: nothing is in memory."""
        self.state = State(self.state.path)
        self.mirror = Mirror(TREE, "web01")
        self.lanes = Lanes(self.store, TREE, "web01", self.mirror, self.state, self.rules, force=force)
        self._seen = 0

    def list(self) -> set[str]:
        """List the tree; return the projects to look at."""
        listing = self.store.list(PREFIX)
        self._seen = listing.revision
        return self.mirror.take_listing(listing, self.state.projects())

    def follow(self) -> set[str]:
        """Take what has happened since, as one batch; return the projects that changed."""
        events = self.store.since(PREFIX, self._seen)
        if not events:
            return set()
        self._seen = events[-1].revision
        return self.mirror.take_batch(Batch(events, self._seen))

    def lane(self, name: str = "a.com") -> Outcome:
        """Run a project's lane, which has something to do."""
        outcome = self.lanes.run(name)
        assert outcome is not None
        return outcome

    def deploy(self, files: dict[str, bytes], name: str = "a.com", **policy: Any) -> Outcome:
        """Publish as the module does, follow, and run the lane."""
        self.put(files, name, **policy)
        self.follow() if self._seen else self.list()
        return self.lane(name)

    def set(self, path: str, content: bytes, name: str = "a.com") -> None:
        """Put one file into the tree, as others than the module do."""
        self.store.put(TREE.file("web01", name, path), content)

    def unset(self, *paths: str, name: str = "a.com") -> None:
        """Delete files from the tree in one transaction, without the policy."""
        self.store.delete(*(TREE.file("web01", name, path) for path in paths))

    def on_disk(self, name: str = "a.com") -> dict[str, bytes]:
        """Return the deployed files."""
        return {path: (self.folder / name / path).read_bytes() for path in sorted(self.files(name))}

    def drift(self, path: str, content: bytes = b"drifted", name: str = "a.com") -> None:
        """Change a deployed file by hand."""
        (self.folder / name / path).write_bytes(content)

    def ledger(self, name: str = "a.com") -> Ledger:
        """Return what the host remembers."""
        return self.state.load("web01", name)
