# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that a Python program can do: ``python -m benchmarks.agent_floor ADDRESS KEY FILE``.

A bare gRPC watch of one key; each value is written to a temporary file, fsynced and renamed. It
says ``ready`` once the watch is open, and serves until it is killed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from ansible_collections.watcher.config.plugins.module_utils._core import wire


def main() -> None:
    """Serve."""
    address, key, path = sys.argv[1:]
    etcd = wire.load()
    create = etcd.messages["WatchRequest"](create_request={"key": key.encode()})

    def requests() -> Iterator[Any]:
        yield create
        threading.Event().wait()

    for response in etcd.methods["Watch/Watch"].on(grpc.insecure_channel(address))(requests()):
        if response.created:
            print("ready", flush=True)
        for event in response.events:
            write(path, event.kv.value)


def write(path: str, content: bytes) -> None:
    """Replace a file: no reader sees half of it, and no power loss leaves half of it."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(path + ".new", path)


if __name__ == "__main__":
    main()
