# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the projects of a host stand, from its state folder alone: etcd may be away, and the agent stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .alone import LOCK
from .book import BASE, LOG
from .clock import timestamp
from .errors import DeployError
from .ledger import SPOOL, State
from .model import Ledger
from .overview import aligned
from .plan import restored_notes

HEADER = ("PROJECT", "STATE", "APPLIED", "OBSERVED", "SINCE", "TRIES", "NEXT", "MESSAGE")
SETTLED = ("deployed", "empty")
LOCKS = "/proc/locks"


@dataclass(frozen=True)
class Standing:
    """One project.

    ``state``: ``deployed``, or ``empty`` where nothing of it is on the host; ``failed``, ``held`` and ``waiting``
    as in a status; ``deploying``, or ``interrupted`` by the end of whoever deployed; ``owed`` where the files are
    there and their commands have not succeeded; ``pending`` where a revision was seen and is not applied;
    ``unreadable``. The revisions are those of the ledger, ``since`` is when the trouble began, and ``due`` when
    the agent that runs tries again.
    """

    project: str
    state: str
    revision: int = 0
    observed: int = 0
    staged: int = 0
    since: str = ""
    attempts: int = 0
    files: int = 0
    deploy_path: str = ""
    backup_dir: str = ""
    msg: str = ""
    due: str = ""

    @property
    def settled(self) -> bool:
        """Return whether nobody has to do anything."""
        return self.state in SETTLED

    def to_json(self) -> dict[str, Any]:
        """Return the project's part of ``status --json``."""
        return {
            "project": self.project,
            "state": self.state,
            "revision": self.revision,
            "observed": self.observed,
            "staged": self.staged,
            "since": self.since,
            "attempts": self.attempts,
            "due": self.due,
            "files": self.files,
            "deployPath": self.deploy_path,
            "msg": self.msg,
        }

    def row(self) -> tuple[str, ...]:
        """Return the project's line of the table."""
        numbers = [str(number or "-") for number in (self.revision, self.observed)]
        tries = (self.since or "-", str(self.attempts or "-"), self.due or "-")
        return (self.project, self.state, *numbers, *tries, self.msg)


def standings(state: State, host: str) -> list[Standing]:
    """Return all projects that the host remembers, sorted; raise DeployError when the folder cannot be read."""
    found = [_standing(state, host, name) for name in state.projects()]
    if agent(state.path) == 0:  # nobody keeps what an agent had planned
        return [replace(project, due="") for project in found]
    return found


def table(projects: Iterable[Standing]) -> list[str]:
    """Return the projects as the lines of a table."""
    return aligned([HEADER, *(project.row() for project in projects)])


def _standing(state: State, host: str, name: str) -> Standing:
    try:
        ledger = state.load(host, name)
    except DeployError as error:
        return Standing(name, "unreadable", msg=str(error))
    word, msg = _state(state, ledger)
    msg = msg.removeprefix(f"host {host}, project {name}: ")
    policy = ledger.policy or {}
    return Standing(
        name,
        word,
        ledger.settled,
        ledger.observed,
        ledger.staged,
        "" if word in SETTLED else ledger.since or _written(state.folder(name)),
        ledger.attempts,
        len(ledger.files),
        str(policy.get("deployPath", "")),
        str(policy.get("backupDir", "")),
        msg,
        ledger.due,
    )


def _state(state: State, ledger: Ledger) -> tuple[str, str]:
    """Return the state of a project and what to say of it."""
    held = sorted(path for (_root, path), owned in ledger.files.items() if owned.held)
    if ledger.journal and not ledger.done:
        at_work = holder(os.path.join(state.folder(ledger.project), "lock"), agent(state.path) or 0) is not None
        if at_work:
            return "deploying", ledger.problem
        return "interrupted", ledger.problem or "the next run undoes what was half done, and deploys again"
    if ledger.problem:
        return ledger.trouble or "failed", ledger.problem
    if ledger.owed is not None:
        return "owed", "the files are there, and their commands have not been run"
    if held:
        return "held", f"{len(held)} files (such as {held[0]!r}) are missing from a store that was replaced; they stay"
    if ledger.observed > ledger.settled:
        return "pending", ""
    restored = [path for (_root, path), owned in ledger.files.items() if owned.restored]
    return ("deployed" if ledger.open else "empty"), "".join(restored_notes(restored))


def _written(folder: str) -> str:
    """Return when the ledger in a folder was written last, as a timestamp; empty when that cannot be told."""
    times = []
    for name in (BASE, LOG):
        try:
            times.append(os.stat(os.path.join(folder, name)).st_mtime)
        except OSError:
            continue
    return timestamp(max(times)) if times else ""


def agent(state_dir: str) -> int | None:
    """Return the process that serves a state folder as its agent; 0 when none does, None when that cannot be told."""
    path = os.path.join(state_dir, LOCK)
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            text = stream.read(20).strip()
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    pid = int(text) if text.isdecimal() else 0
    if not os.access(LOCKS, os.R_OK):
        return None
    return 0 if holder(path, pid) is None else pid


def holder(path: str, pid: int) -> int | None:
    """Return the process that holds the lock of a file, None when none does; nothing is locked to find that out.

    A lock taken only to look could turn away an agent that starts at this moment. Some file systems show another
    device in the list than `os.stat` does: there the expected holder ``pid`` counts.
    """
    try:
        status = os.stat(path)
        with open(LOCKS, encoding="ascii") as stream:
            lines = [line.split() for line in stream]
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for line in lines:
        if len(line) < 6 or line[1:4] != ["FLOCK", "ADVISORY", "WRITE"]:
            continue
        where, _unused, inode = line[5].rpartition(":")
        if inode == str(status.st_ino) and (where == device or line[4] == str(pid)):
            return int(line[4])
    return None


def callbacks(state_dir: str) -> int:
    """Return how many callbacks wait to be taken; 0 where that cannot be told."""
    try:
        return sum(name.endswith(".json") for name in os.listdir(os.path.join(state_dir, SPOOL)))
    except OSError:
        return 0


def headline(host: str, state_dir: str, pid: int | None, projects: Sequence[Standing], waiting: int) -> str:
    """Return the first line of the table: who serves the host."""
    served = "whether an agent runs cannot be told" if pid is None else f"agent {pid} runs" if pid else "no agent runs"
    ill = sum(not project.settled for project in projects)
    calls = f", {waiting} callbacks wait" if waiting else ""
    return f"host {host}, {state_dir}: {served}; {len(projects)} projects, {ill} not settled{calls}"
