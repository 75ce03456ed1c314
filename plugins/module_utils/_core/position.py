# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where it is kept how far a stream was read, and what was known there: in a file, or somewhere else."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from . import disk
from .changes import Mark
from .errors import InvalidError
from .prefixes import Owner, Total
from .reflector import Position

logger = logging.getLogger(__name__)

Known = dict[Owner, Mark]
Totals = dict[str, Total]
VERSION = 1
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)  # what `unpacked` raises


class Place(Protocol):
    """Keeps a position."""

    def load(self) -> tuple[Position | None, Known, Totals]:
        """Return what was saved; None and nothing for a first start."""

    def save(self, position: Position, known: Mapping[Owner, Mark], totals: Mapping[str, Total]) -> None:
        """Keep this instead, now or soon; what goes wrong is logged."""


class PositionFile:
    """Loads and saves a position; with an empty path it does neither."""

    def __init__(self, path: str) -> None:
        """Make the folder; raise InvalidError when the file cannot be kept there."""
        self._path = Path(path) if path else None
        self._lock = threading.Lock()
        if self._path:
            self._prepare(self._path)

    def _prepare(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidError(f"position_file: {path} cannot be kept there ({error.strerror})") from error
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            raise InvalidError(f"position_file: {path} cannot be kept there (it has to be a file in a writable folder)")

    def load(self) -> tuple[Position | None, Known, Totals]:
        """Return what was saved; None and nothing when that is not there or not readable."""
        try:
            return unpacked(self._path.read_text(encoding="utf-8")) if self._path else (None, {}, {})
        except FileNotFoundError:
            pass
        except (OSError, *UNREADABLE) as error:
            logger.warning("position file %s is not used, all projects are replayed: %s", self._path, error)
        return None, {}, {}

    def save(self, position: Position, known: Mapping[Owner, Mark], totals: Mapping[str, Total]) -> None:
        """Replace the file as a whole; a file that cannot be written is logged."""
        if self._path is None:
            return
        try:
            with self._lock:
                _replace(self._path, packed(position, known, totals))
        except OSError as error:
            logger.error("position file %s was not written: %s", self._path, error)


def packed(position: Position, known: Mapping[Owner, Mark], totals: Mapping[str, Total], **more: Any) -> str:
    """Return all of it as JSON, with ``more`` beside it."""
    projects: dict[str, dict[str, Mark]] = {}
    for (project, host), mark in known.items():
        projects.setdefault(project, {})[host] = mark
    key = position.key.decode("utf-8", "surrogateescape")
    rest = {"key": key, "projects": projects, "watched": totals}
    return json.dumps({"version": VERSION, **position._asdict(), **rest, **more})


def unpacked(text: str | bytes, **more: Any) -> tuple[Position, Known, Totals]:
    """Return what `packed` was given; raise one of `UNREADABLE` for anything else, also for other ``more``."""
    data = json.loads(text)
    if data["version"] != VERSION:
        raise ValueError(f"its version is {data['version']!r}, not {VERSION}")
    for name, value in more.items():
        if data[name] != value:
            raise ValueError(f"its {name} are {data[name]!r}, not {value!r}")
    numbers = (int(data[name]) for name in ("cluster_id", "revision", "written"))
    cluster_id, revision, written = numbers
    if not 0 <= revision < 2**63:
        raise ValueError(f"there is no revision {revision}")
    position = Position(cluster_id, revision, str(data["key"]).encode("utf-8", "surrogateescape"), written)
    marks = ((project, host, mark) for project, hosts in data["projects"].items() for host, mark in hosts.items())
    known = {(project, host): (int(keys), int(newest)) for project, host, (keys, newest) in marks}
    watched = data.get("watched", {})  # a file of an earlier version knows of none
    return position, known, {prefix: (int(keys), int(total)) for prefix, (keys, total) in watched.items()}


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    with open(
        new, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    disk.sync(str(path.parent))
