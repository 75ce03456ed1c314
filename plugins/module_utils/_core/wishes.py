# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``watcher retry`` asks of the agent beside it: empty files in the state folder, one a wish.

The agent is told by SIGUSR1 to look at them, and removes each when a try that began after that has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Collection, Iterator

from .errors import DeployError, InvalidError
from .keys import check_name

FOLDER = "+retry"  # in the state folder; + cannot be in a project's name
SIGNAL = signal.SIGUSR1


class Wishes:
    """The wishes of a state folder."""

    def __init__(self, state_dir: str) -> None:
        """Look at nothing yet."""
        self._folder = os.path.join(state_dir, FOLDER)
        self._taken: dict[str, set[str]] = {}  # the files of each project whose try has not begun
        self._lock = threading.Lock()

    # The one who asks

    def ask(self, projects: Collection[str]) -> list[str]:
        """Wish for a try of each project and return the files of that; raise DeployError when the folder refuses."""
        paths = [os.path.join(self._folder, f"{name}+{os.getpid()}") for name in projects]
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            for path in paths:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise DeployError(f"folder {self._folder} cannot be written: {error.strerror}") from error
        return paths

    # The agent

    def take(self) -> set[str]:
        """Return the projects that somebody wishes to be tried."""
        with self._lock:
            for file in self._files():
                with contextlib.suppress(InvalidError):
                    self._taken.setdefault(check_name("project", file.partition("+")[0]), set()).add(file)
            return set(self._taken)

    def _files(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DeployError(f"folder {self._folder} cannot be read: {error.strerror}") from error

    @contextlib.contextmanager
    def answering(self, project: str) -> Iterator[None]:
        """Try a project, and tell those who had wished for that when it has ended."""
        files: set[str] = set()
        if self._taken:
            with self._lock:
                files = self._taken.pop(project, files)
        try:
            yield
        finally:
            for file in files:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self._folder, file))


def listens(pid: int) -> bool:
    """Return whether a process takes the signal: it would end one that does not."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            caught = next(line for line in stream if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
