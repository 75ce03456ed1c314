# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers: one folder a project below the state folder, and the locks on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .book import BASE, Book
from .errors import DeployError
from .model import Ledger, Outcome, Place

STATE_DIR = "/var/lib/watcher"
SPOOL = "+spool"  # in the state folder; + cannot be in a project's name
LOCK_WAIT = 600.0  # seconds to wait for another deployment of the same project
LOCK_TICK = 0.05  # seconds between two looks at a lock that another process holds
_HOST_LOCK = "+lock"  # + cannot be in a project's name


class State:
    """The state folder of a host; shared by threads, and with other processes."""

    def __init__(self, path: str = STATE_DIR) -> None:
        """Use the folder; it is made when something is written."""
        self.path = path
        self._books: dict[str, Book] = {}
        self._gates: dict[str, threading.Lock] = {}  # threads of one process need not look at a lock again and again

    def folder(self, project: str) -> str:
        """Return the folder of a project; its name has passed `keys.check_name`."""
        return os.path.join(self.path, project)

    def _book(self, project: str) -> Book:
        book = self._books.get(project)
        return self._books.setdefault(project, Book(self.folder(project))) if book is None else book

    @contextlib.contextmanager
    def lock(self, project: str = "", wait: float | None = None) -> Iterator[None]:
        """Hold a project, or the claims of the whole host; DeployError when others hold it for too long.

        ``wait`` is in seconds, `LOCK_WAIT` by default.
        """
        limit = LOCK_WAIT if wait is None else wait
        deadline = time.monotonic() + limit
        what = project or "the host's claims"
        busy = f"{what}: another deployment has been running for {limit:g} s"
        gate = self._gates.setdefault(project, threading.Lock())
        if not gate.acquire(timeout=limit):
            raise DeployError(busy)
        try:
            fd = self._opened(project)
            try:
                _acquire(fd, deadline, busy)
                yield
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # a command that is just being started has the file open, too
                os.close(fd)
        finally:
            gate.release()

    def _opened(self, project: str) -> int:
        """Open the lock of a project, or of the host, and make what is missing."""
        folder = self.folder(project) if project else self.path
        path = os.path.join(folder, "lock" if project else _HOST_LOCK)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                os.makedirs(self.path, mode=0o700, exist_ok=True)
                os.makedirs(folder, mode=0o700, exist_ok=True)
                return os.open(path, flags, 0o600)
        except OSError as error:
            raise DeployError(f"state folder {folder} cannot be used: {error.strerror}") from error

    def load(self, host: str, project: str) -> Ledger:
        """Return the ledger of a project, a new one when there is none.

        Raise DeployError when it cannot be read, or is another host's.
        """
        ledger = self._book(project).ledger()
        return Ledger(host, project) if ledger is None else self._checked(ledger, host)

    def part(self, host: str, project: str, paths: Iterable[str]) -> Ledger | None:
        """Return the ledger with only these of its files and the folders above them, at a cost of their number.

        None when there is none, or not all of its files are plainly below one deploy path. Raise
        DeployError as `load` does.
        """
        ledger = self._book(project).part(paths)
        return None if ledger is None else self._checked(ledger, host)

    def _checked(self, ledger: Ledger, host: str) -> Ledger:
        if ledger.host != host:
            raise DeployError(
                f"host {host}, project {ledger.project}: the state folder {self.path} holds this project of host"
                f" {ledger.host}; give each host of the tree a state_dir of its own"
            )
        return ledger

    def concerns(self, host: str, project: str) -> bool:
        """Return whether a project that is gone has left something to do here; an unreadable ledger may have."""
        try:
            ledger = self._book(project).ledger()
        except DeployError:
            return True
        return ledger is not None and ledger.host == host and ledger.open

    def save(self, after: Ledger, before: Ledger | None = None, *, durable: bool = True) -> None:
        """Write down how a ledger has changed since `load` or `part` returned ``before``, None: since whatever it was.

        Durable before this returns, if asked; OSError when the disk refuses, DeployError when what is
        there cannot be read. The project must be locked.
        """
        self._book(after.project).save(before, after, durable)

    def told(self, project: str, outcome: Outcome | None = None) -> None:
        """Note that the callback of an outcome was handed over; without an outcome, of the one that is remembered.

        This waits for nothing: while a deployment is under way, or when the disk refuses, nothing is
        noted. Then the callback may come twice.
        """
        with contextlib.suppress(DeployError, OSError), self.lock(project, 0):
            ledger = self._book(project).plain()
            if ledger is not None and ledger.untold is not None and _is_of(ledger.untold, outcome):
                self.save(replace(ledger, untold=None), ledger, durable=False)

    def projects(self) -> list[str]:
        """Return the projects that the host remembers, sorted."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DeployError(f"state folder {self.path} cannot be read: {error.strerror}") from error
        return sorted(name for name in names if os.path.isfile(os.path.join(self.path, name, BASE)))

    def taken(self, project: str, paths: Collection[str]) -> dict[str, str]:
        """Return those of the absolute paths that other projects own or have claimed, and the project of each."""
        found: dict[str, str] = {}
        for name in self.projects():
            if name != project:
                found.update(dict.fromkeys(self._book(name).having(paths), name))
        return found


def absolute(places: Sequence[Place]) -> list[str]:
    """Return the absolute path of each place, links on the way to its deploy path resolved."""
    roots = {root: os.path.realpath(root) for root, _unused in places}
    return [os.path.join(roots[root], path) for root, path in places]


def _is_of(untold: Mapping[str, Any], outcome: Outcome | None) -> bool:
    """Return whether it is this outcome that is remembered."""
    names = ("wanted_revision", "started", "finished")
    return outcome is None or all(untold.get(name) == getattr(outcome, name) for name in names)


def _acquire(fd: int, deadline: float, busy: str) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DeployError(busy) from None
            time.sleep(LOCK_TICK)
        else:
            return
