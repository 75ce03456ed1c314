# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shell command of a policy, run with a time limit and bounded output (contract, section 2)."""

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
            env={**os.environ, **environment},
            start_new_session=True,
            **identity,
        )
        self._kept = bytearray()
        self._dropped = 0

    def wait(self, timeout: float) -> int | None:
        """Return the exit code, negative for a signal; None when the time was over and it was ended."""
        with self._process.stdout as pipe:  # type: ignore[union-attr]
            if self._read(pipe.fileno(), time.monotonic() + timeout):
                return self._process.wait()
            self._end_group()
            self._read(pipe.fileno(), time.monotonic() + TICK)
            return None

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
        return bool(chunk)

    def _join(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _end_group(self) -> None:
        """End every process of the group: TERM, some time to obey, then KILL."""
        deadline = time.monotonic() + GRACE
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            while time.monotonic() < deadline:
                self._join(TICK / 2)
                if self._process.returncode is not None:
                    time.sleep(TICK / 10)  # children of a shell that is gone cannot be waited for
                os.killpg(self._process.pid, 0)
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # none are left, or only such as sudo started
        self._join(GRACE)

    def text(self) -> str:
        """Return the output."""
        text = bytes(self._kept).decode("utf-8", "replace")
        return text + (f"\n[{self._dropped} more bytes]" if self._dropped else "")


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
    out = running.text()
    return CommandResult(out, _problem(name, code, timeout, out))


def _problem(name: str, code: int | None, timeout: float, out: str) -> str:
    if code == 0:
        return ""
    if code is None:
        end = f"{name} was ended after {timeout:g} s, its time limit (cmdTimeout)"
    elif code < 0:
        end = f"{name} was killed by signal {-code}"
    else:
        end = f"{name} failed with exit status {code}"
    lines = out.strip().splitlines()
    last = "".join(char if char.isprintable() else " " for char in lines[-1][:500]) if lines else ""
    return f"{end}: {last}" if last else end
