# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One project in the mirror of a host; every change costs the same however many files there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from .digest import TreeDigest
from .model import File
from .policy import Policy
from .snapshot import Reading, above
from .store import KeyValue


@dataclass
class Image:
    """One project as the tree has it, and what of it is not settled yet; whoever uses it holds a lock."""

    policy: Policy | None = None
    readings: dict[bytes, tuple[Reading, int]] = field(default_factory=dict)  # by key; with the revision
    keys: dict[str, bytes] = field(default_factory=dict)  # of the files that can be deployed
    folders: dict[str, int] = field(default_factory=dict)  # how many files are below each
    digest: TreeDigest = field(default_factory=TreeDigest)
    newest: int = 0  # the revision of the last change, be it a deletion
    replaced: int = 0  # the ticket of the last listing from another store than the one before; 0: it is known
    at: int = 0  # the revision as of which all this is known
    bad: int = 0  # keys that cannot be deployed
    variables: int = 0  # keys that only templates read
    shadowed: bool = False  # whether a file may be below a path that is a file, too
    changed: dict[str, int] = field(default_factory=dict)  # unsettled paths, with the ticket of their last change
    vouched: dict[str, int] = field(default_factory=dict)
    whole: int = 0  # the ticket of the last wish to compare all of it; 0: there is none

    @property
    def exists(self) -> bool:
        """Return whether the tree has a key of the project that is ours, variables aside."""
        return len(self.readings) > self.variables

    @property
    def idle(self) -> bool:
        """Return whether there is no such project, and nothing of one to settle."""
        return not (self.exists or self.whole or self.changed)

    @property
    def renders(self) -> bool:
        """Return whether variables matter to the project."""
        return self.policy is not None and self.policy.render

    def set(self, item: KeyValue, reading: Reading) -> None:
        """Take a key that was set."""
        self.drop(item.key)
        self.readings[item.key] = (reading, item.revision)
        if reading.value is None or self.renders:
            self.newest = max(self.newest, item.revision)
        self.vouched.pop(reading.path, None)
        if reading.file is not None:
            self.keys[reading.path] = item.key
            self.digest.set(reading.path, reading.file.digest)
            for folder in above(reading.path):
                self.folders[folder] = self.folders.get(folder, 0) + 1
                self.shadowed = self.shadowed or folder in self.keys
            self.shadowed = self.shadowed or reading.path in self.folders
        elif reading.reason:
            self.bad += 1
        elif reading.value is not None:
            self.variables += 1
        else:
            self.policy = reading.policy

    def drop(self, key: bytes) -> Reading | None:
        """Forget a key; return what it said."""
        reading, _revision = self.readings.pop(key, (None, 0))
        if reading is None:
            return None
        if reading.file is not None:
            del self.keys[reading.path]
            self.digest.drop(reading.path)
            for folder in above(reading.path):
                self.folders[folder] -= 1
                if not self.folders[folder]:
                    del self.folders[folder]
        elif reading.reason:
            self.bad -= 1
        elif reading.value is not None:
            self.variables -= 1
        else:
            self.policy = None
        return reading

    def file(self, path: str) -> File | None:
        """Return a file that can be deployed."""
        key = self.keys.get(path)
        return None if key is None else self.readings[key][0].file
