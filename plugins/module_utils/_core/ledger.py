# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers: one folder a project below the state folder, and the locks on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence

from .errors import DeployError, InvalidError
from .model import Ledger, Place

STATE_DIR = "/var/lib/watcher"
LOCK_WAIT = 600.0  # seconds to wait for another deployment of the same project
LOCK_TICK = 0.05  # seconds between two looks at a lock
_HOST_LOCK = "+lock"  # + cannot be in a project's name


class State:
    """The state folder of a host."""

    def __init__(self, path: str = STATE_DIR) -> None:
        """Use the folder; it is made when something is written."""
        self.path = path

    def folder(self, project: str) -> str:
        """Return the folder of a project; its name has passed `keys.check_name`."""
        return os.path.join(self.path, project)

    @contextlib.contextmanager
    def lock(self, project: str = "") -> Iterator[None]:
        """Hold a project, or the claims of the whole host; DeployError when others hold it for too long."""
        folder = self.folder(project) if project else self.path
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            fd = os.open(
                os.path.join(folder, "lock" if project else _HOST_LOCK),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError as error:
            raise DeployError(f"state folder {folder} cannot be used: {error.strerror}") from error
        try:
            _acquire(fd, project or "the host's claims")
            yield
        finally:
            os.close(fd)

    def load(self, host: str, project: str) -> Ledger:
        """Return the ledger of a project, a new one when there is none.

        Raise DeployError when it cannot be read, or is another host's.
        """
        ledger = self._read(project)
        if ledger is None:
            return Ledger(host, project)
        if ledger.host != host:
            raise DeployError(
                f"host {host}, project {project}: the state folder {self.path} holds this project of host"
                f" {ledger.host}; give each host of the tree a state_dir of its own"
            )
        return ledger

    def concerns(self, host: str, project: str) -> bool:
        """Return whether a project that is gone has left something to do here; an unreadable ledger may have."""
        try:
            ledger = self._read(project)
        except DeployError:
            return True
        return ledger is not None and ledger.host == host and ledger.open

    def _read(self, project: str) -> Ledger | None:
        path = os.path.join(self.folder(project), "ledger.json")
        try:
            with open(path, encoding="utf-8") as stream:
                return Ledger.from_json(json.load(stream))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError, InvalidError) as error:
            raise DeployError(f"{path} cannot be read: {error}; restore it, or remove it to start anew") from error

    def save(self, ledger: Ledger) -> None:
        """Write a ledger, durable before this returns; OSError when the disk refuses."""
        folder = self.folder(ledger.project)
        path = os.path.join(folder, "ledger.json")
        with open(path + ".new", "w", encoding="utf-8", errors="backslashreplace") as stream:
            os.fchmod(stream.fileno(), 0o600)
            json.dump(ledger.to_json(), stream, ensure_ascii=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path + ".new", path)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def projects(self) -> list[str]:
        """Return the projects that the host remembers, sorted."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DeployError(f"state folder {self.path} cannot be read: {error.strerror}") from error
        return sorted(name for name in names if os.path.isfile(os.path.join(self.path, name, "ledger.json")))

    def taken(self, project: str) -> dict[str, str]:
        """Return the absolute paths that other projects own or have claimed, and the project of each."""
        found: dict[str, str] = {}
        for name in self.projects():
            ledger = self._read(name) if name != project else None
            if ledger is not None:
                found.update(dict.fromkeys(absolute([*ledger.files, *ledger.claims]), name))
        return found


def absolute(places: Sequence[Place]) -> list[str]:
    """Return the absolute path of each place, links on the way to its deploy path resolved."""
    roots = {root: os.path.realpath(root) for root, _unused in places}
    return [os.path.join(roots[root], path) for root, path in places]


def _acquire(fd: int, what: str) -> None:
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DeployError(f"{what}: another deployment has been running for {LOCK_WAIT:g} s") from None
            time.sleep(LOCK_TICK)
        else:
            return
