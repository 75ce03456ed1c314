# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until the running service watches etcd: the argument is the seconds it has. The environment is the service's."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import time

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import WatcherError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions

TICK = 0.2  # seconds between two looks
UNIT = "watcher-rulebook"
STATE = ["systemctl", "show", "--property=MainPID", "--value", UNIT]
ESTABLISHED = "01"


def connected(pid: str, ports: set[int]) -> bool:
    """Return whether a process has a connection to one of the ports."""
    sockets = set()
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            sockets.add(os.readlink(path))
        except OSError:  # it was closed meanwhile
            continue
    for path in (f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as stream:
                rows = [line.split() for line in stream][1:]
            for row in rows:
                port = int(row[2].rpartition(":")[2], 16)
                if row[3] == ESTABLISHED and port in ports and f"socket:[{row[9]}]" in sockets:
                    return True
    return False


def watches(ports: set[int]) -> bool:
    """Return whether the process that systemd runs has."""
    pid = subprocess.run(STATE, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 (a constant)
    return pid != "0" and connected(pid, ports)


def answers(connection: Connection) -> None:
    """Return when etcd does; raise WatcherError when it refuses or is away."""
    store = connect(connection)
    try:
        store.get(Tree(connection.prefix).policy("watcher", "watcher"))
    finally:
        store.close()


def main(seconds: str) -> None:
    """Return when it does; exit with one sentence when it does not."""
    deadline = time.monotonic() + float(seconds)
    connection = SourceOptions.parse({}, os.environ).connection
    ports = {server.port for server in connection.servers}
    while not watches(ports):
        if time.monotonic() >= deadline:
            answers(connection)
            sys.exit(f"ansible-rulebook has not come to watch etcd within {seconds} s: see journalctl -u {UNIT} there")
        time.sleep(TICK)
    answers(connection)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WatcherError as error:
        sys.exit(str(error))
