# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source as a process of its own, which can be killed and frozen; its events are lines of a file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.watcher.config.extensions.eda.plugins.event_source.tree import main
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.guarded import Guard

STOP = 10.0  # seconds that it has to end


class SourceProcess:
    """A source that runs; a context manager that kills it in the end."""

    def __init__(self, server: EtcdServer, folder: Path, number: int = 0, **options: Any) -> None:
        """Start it; ``number`` tells its files from those of others."""
        self._events = folder / f"events.{number}"
        self._log = folder / f"log.{number}"
        self._events.touch()
        self._read = 0
        args = {"endpoints": [server.endpoint], **options}
        command = [sys.executable, "-m", __spec__.name, str(self._events), json.dumps(args)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ANSIBLE_HOME": str(folder)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
            )
        self._guard = Guard(self.process)

    def __enter__(self) -> SourceProcess:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it."""
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL; it may be frozen."""
        self._guard.kill()

    def freeze(self) -> None:
        """Stop the process."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> float:
        """End it as ansible-rulebook does on SIGTERM; return the seconds that took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP)
        return time.monotonic() - begin

    def log(self) -> str:
        """Return what it logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Return what the events say that were handed on since the last call."""
        text = self._events.read_bytes()
        whole = text[self._read : text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line)["watcher"] for line in whole.splitlines()]


async def _run(path: str, args: dict[str, Any]) -> None:
    """Write each event to a file at once: what is there when the process is killed was handed on."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
    source = asyncio.create_task(main(queue, args))
    source.add_done_callback(lambda _task: queue.put_nowait({}) if queue.empty() else None)
    with open(path, "ab", buffering=0) as file:  # noqa: ASYNC230 (nothing else is in this loop)
        try:
            while not source.done():
                event = await queue.get()
                if event:
                    file.write(json.dumps(event).encode() + b"\n")
        finally:
            source.cancel()
            await asyncio.wait({source})
    source.result()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(sys.argv[1], json.loads(sys.argv[2])))
