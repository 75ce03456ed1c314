# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a power loss would take at each step of a deployment: nothing that a later step relies on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import failpoints
from ansible_collections.watcher.config.tests.unit.site import Site, forked

OLD = {"set": b"old", "gone": b"old", "d/set": b"old", "d/e/gone": b"old", "swap/inner": b"old", "turn": b"old"}
OLD["mode"] = b"same"
NEW = {
    "set": b"new",
    "d/set": b"new",
    "n/x/new": b"new",
    "new": b"new",
    "swap": b"new",
    "turn/y": b"new",
    "mode": b"same",
}
SPARE = {"unlink"}  # a name that comes back is in the journal, or is a whole backup
# What may be in memory only when a point is reached; nothing where a point is not named.
ALLOWED: Mapping[str, set[str]] = {
    "stage.done": {"names"},  # of temporary files
    "stage.recorded": {"names", "log"},  # for the outcome's eyes only
    "backup.done": {"names", "log", "unlink"},
    "swap.move": {"log", "unlink", "rename", "rmdir", "attributes"},
    "swap.done": {"log", "unlink"},
    "after.done": {"log", "unlink"},
    "kept.recorded": SPARE,
    "finish.cleaned": set(),
    "finish.swept": SPARE,
    "finish.recorded": {"log", *SPARE},
    "undo.done": {"log", *SPARE},
    "begin.recorded": set(),
    "recover.undone": set(),
    "recover.cleaned": set(),
    "recover.recorded": set(),
}


class Memory:
    """Knows what was changed on a disk and not synced since; ``lost`` are the points at which that was too much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch all calls that change a disk."""
        self.dirty: dict[int, set[str]] = {}  # by inode
        self.names: dict[int, str] = {}
        self.lost: list[str] = []
        self.seen: set[str] = set()
        for name, kind in (("write", "write"), ("pwrite", "log"), ("ftruncate", "write"), ("fchmod", "attributes")):
            self._watch(monkeypatch, name, lambda fd, *_unused, kind=kind, **_named: self._changed(fd, kind))
        self._watch(monkeypatch, "fchown", lambda fd, *_unused: self._changed(fd, "attributes"))
        for name in ("fsync", "fdatasync"):
            self._watch(monkeypatch, name, lambda fd: self.dirty.pop(os.fstat(fd).st_ino, None))
        self._watch(monkeypatch, "open", self._opened)
        for name in ("mkdir", "rmdir", "unlink"):
            self._watch(
                monkeypatch, name, lambda path, *_unused, name=name, dir_fd=None: self._entry(name, path, dir_fd)
            )
        for name in ("rename", "link", "replace"):
            self._watch(monkeypatch, name, lambda *paths, name=name, **fds: self._entries(name, *paths, **fds))
        monkeypatch.setattr(failpoints, "armed", self._reached)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, note: Callable[..., Any]) -> None:
        call = getattr(os, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            note(*((result, *arguments) if name == "open" else arguments), **named)
            return result

        monkeypatch.setattr(os, name, watched)

    def _changed(self, fd: int, kind: str) -> None:
        inode = os.fstat(fd).st_ino
        self.names[inode] = os.readlink(f"/proc/self/fd/{fd}")
        if "/staged" not in self.names[inode]:  # made anew for each checkCmd
            self.dirty.setdefault(inode, set()).add(kind)

    def _opened(self, fd: int, path: Any, flags: int, *_unused: Any, dir_fd: int | None = None) -> None:
        if flags & os.O_EXCL:
            self._changed(fd, "create")
            self._entry("names", path, dir_fd)

    def _entry(self, kind: str, path: Any, dir_fd: int | None) -> None:
        if dir_fd is not None:
            self._changed(dir_fd, kind)

    def _entries(self, kind: str, *_paths: Any, **fds: int) -> None:
        for fd in fds.values():
            if not isinstance(fd, bool):
                self._changed(fd, "names" if kind == "link" else kind)

    def _reached(self, point: str) -> None:
        self.seen.add(point)
        for inode, kinds in list(self.dirty.items()):
            if not os.path.exists(self.names[inode]):
                del self.dirty[inode]  # whatever was in it
            elif point in ALLOWED and kinds - ALLOWED[point]:
                self.lost.append(f"{point}: {', '.join(sorted(kinds))} of {self.names[inode]}")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host with the old files."""
    site = Site(tmp_path)
    assert site.deploy(OLD, mode="0640", **fields(site)).state == "deployed"
    return site


def fields(site: Site) -> dict[str, Any]:
    """Return a policy with all steps."""
    return {"backupDir": str(site.backups), "checkCmd": "true", "beforeCmd": "true", "afterCmd": "true"}


def renewed(site: Site, **more: str) -> str:
    """Deploy the new files; return how it ended."""
    return site.deploy(NEW, revision=20, mode="0600", **{**fields(site), **more}).state


def test_all_is_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is on the disk before a file is touched, contents before a swap, all before it is told."""
    memory = Memory(monkeypatch)
    assert renewed(site) == "deployed"
    assert memory.lost == []
    assert memory.seen >= {point for point in ALLOWED if not point.startswith(("undo", "recover"))}


def test_rolled_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old files are on the disk before the journal is given up."""
    memory = Memory(monkeypatch)
    assert renewed(site, afterCmd="grep -q old $WATCHER_DEPLOY_PATH/set") == "rolledBack"
    assert memory.lost == []
    assert "undo.done" in memory.seen


@pytest.mark.parametrize("point", ["swap.done", "kept.recorded"])
def test_recovered(site: Site, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """The same is true of what a process that died has left."""

    def end(name: str) -> None:
        if name == point:
            os._exit(9)

    def die() -> None:
        monkeypatch.setattr(failpoints, "armed", end)
        renewed(site)

    assert forked(die) == 9
    memory = Memory(monkeypatch)
    assert renewed(Site(site.folder)) == "deployed"
    assert memory.lost == []
    assert memory.seen >= {"recover.undone" if point == "swap.done" else "recover.cleaned", "recover.recorded"}
