# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shell command of a policy, run with a time limit and bounded output (contract, section 2).

It has a session of its own. When its time is over, every process of that session is ended, whichever process
group it is in and whether or not the shell still lives; what a command has put into another session is a daemon
and is left alone, as is what still runs when the command has ended in time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import CommandResult

MAX_OUTPUT = 64 * 1024  # bytes kept of a command's output, the rest is counted
GRACE = 5.0  # seconds between TERM and KILL
TICK = 0.1  # seconds; how often the end of a command is looked for while something else holds its output open
TAIL = 4096  # bytes of the end of the output, which says why a command failed however much it said before
LINES, WORDS = 3, 500  # how many lines, and characters of them, go into the message of a failure
NOT_PASSED = ("ETCDCTL_", "WATCHER_", "WATCHDOG_", "NOTIFY_SOCKET", "LISTEN_", "CREDENTIALS_DIRECTORY")


@dataclass(frozen=True)
class Account:
    """A user of this host whom root runs commands as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"
    shell: str = "/bin/sh"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a login would set."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


class _Running:
    """A command at work: reads its output, keeps the first `MAX_OUTPUT` bytes, counts the rest."""

    def __init__(self, command: str, environment: Mapping[str, str], account: Account | None) -> None:
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
            environment = {**account.environment, **environment}
        self._process = subprocess.Popen(  # noqa: S603 (commands are what a policy is for)
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**_inherited(), **environment},
            start_new_session=True,
            **identity,
        )
        self._kept = bytearray()
        self._tail = b""
        self._dropped = 0
        self.late = False  # whether its time was over

    def wait(self, timeout: float) -> int | None:
        """Return the exit code, negative for a signal; None of a process that not even KILL ends.

        After ``timeout`` seconds it is ended, and ``late`` from then on.
        """
        with self._process.stdout as pipe:  # type: ignore[union-attr]
            if not self._read(pipe.fileno(), time.monotonic() + timeout):
                self.late = True
                self._end_session()
                self._read(pipe.fileno(), time.monotonic() + TICK)
            return self._process.poll()

    def _read(self, pipe: int, deadline: float) -> bool:
        """Read until the command has ended (True) or the deadline has passed."""
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        is_open = True
        while True:
            ended = self._process.poll() is not None
            if ended:  # whatever still holds the pipe then is a daemon it left behind
                deadline = min(deadline, time.monotonic() + TICK)
            wait = 0.0 if ended else max(0.0, min(TICK, deadline - time.monotonic()))
            if is_open and poll.poll(wait * 1000):
                is_open = self._take(os.read(pipe, 65536))
            elif ended:
                return True
            elif not is_open:
                self._join(wait)
            if time.monotonic() >= deadline:
                return self._process.poll() is not None

    def _take(self, chunk: bytes) -> bool:
        room = MAX_OUTPUT - len(self._kept)
        self._kept += chunk[:room]
        self._dropped += max(0, len(chunk) - room)
        if self._dropped:
            self._tail = (self._tail + chunk)[-TAIL:]
        return bool(chunk)

    def _join(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _end_session(self) -> None:
        """End every process of the session: TERM, some time to obey, then KILL until none is left."""
        asked: set[int] = set()
        shown = os.access(f"/proc/{self._process.pid}/stat", os.R_OK)  # the option hidepid of /proc hides other users'
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline + GRACE:
            late = time.monotonic() >= deadline
            groups = self._groups() if shown else self._group()
            if not groups:
                break
            for group in groups if late else groups - asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone, or is what sudo started
                    os.killpg(group, signal.SIGKILL if late else signal.SIGTERM)
            asked |= groups
            self._join(TICK / 10)
            if self._process.returncode is not None:
                time.sleep(TICK / 10)  # children of a shell that is gone cannot be waited for
        self._join(TICK)

    def _groups(self) -> set[int]:
        """Return the process groups of the session in which something lives."""
        found = set()
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as stream:
                    state, _parent, group, session = stream.read().rpartition(b")")[2].split()[:4]
            except (OSError, ValueError):  # it has just ended
                continue
            if int(session) == self._process.pid and state not in (b"Z", b"X"):
                found.add(int(group))
        return found

    def _group(self) -> set[int]:
        """Return the process group of the shell, if something of it is left; nobody may have reaped that yet."""
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return set()
        return {self._process.pid}

    def text(self) -> str:
        """Return the output."""
        text = bytes(self._kept).decode("utf-8", "replace")
        return text + (f"\n[{self._dropped} more bytes]" if self._dropped else "")

    def last_words(self) -> str:
        """Return the last lines of the output, as one printable one."""
        said: list[str] = []
        room = WORDS
        for line in reversed((self._tail or bytes(self._kept)).decode("utf-8", "replace").splitlines()):
            text = "".join(char if char.isprintable() else " " for char in line).strip()
            if text and len(said) < LINES and room > 0:
                said.insert(0, text[:room])
                room -= len(text) + len(" / ")
        return " / ".join(said)


def _inherited() -> dict[str, str]:
    """Return our environment without what concerns only us: how etcd is reached, and what systemd told us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED)}


def run(
    name: str, command: str, timeout: float, environment: Mapping[str, str], account: Account | None = None
) -> CommandResult:
    """Run a policy's command with ``/bin/sh -c`` and return what became of it.

    ``name`` is the policy field, for the message; ``timeout`` is in seconds; ``account`` is whom to
    run it as, None for ourselves. An empty command succeeds. Never raises for what the command does.
    """
    if not command.strip():
        return CommandResult()
    try:
        running = _Running(command, environment, account)
    except (OSError, ValueError) as error:
        whom = f" as user {account.name}" if account is not None else ""
        why = getattr(error, "strerror", None) or error  # without a file's name, which may be the wrong one
        return CommandResult("", f"{name} could not be started{whom}: {why}")
    code = running.wait(timeout)
    problem = _problem(name, code, timeout if running.late else None)
    words = running.last_words() if problem else ""
    return CommandResult(running.text(), f"{problem}: {words}" if words else problem, code)


def _problem(name: str, code: int | None, limit: float | None) -> str:
    """Return how a command failed, empty when it did not; ``limit`` are the seconds after which it was ended."""
    if limit is not None:
        return f"{name} was ended after {limit:g} s, its time limit (cmdTimeout)"
    if code is not None and code < 0:
        return f"{name} was killed by {_signal(-code)}"
    return f"{name} failed with exit status {code}" if code else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
