# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until the running agent has registered in etcd: arguments are its INI file and the seconds it has."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from watcher.errors import StoreError, WatcherError
from watcher.etcd import connect
from watcher.keys import Tree
from watcher.settings import Settings
from watcher.store import Store
from watcher.wire import load_grpc

TICK = 0.2  # seconds between two looks
STATE = ["systemctl", "show", "--property=MainPID", "--value", "watcher"]


def registered(store: Store, key: str) -> str:
    """Return what is wrong, nothing when the process that systemd runs is the one in etcd."""
    pid = int(subprocess.run(STATE, check=True, capture_output=True, text=True).stdout)  # noqa: S603 (a constant)
    try:
        load_grpc(forks=True)  # for systemctl is started while the store is open
        item, _revision = store.get(key)
    except StoreError as error:
        return str(error)
    if item is None:
        return "the key is not there"
    return "" if json.loads(item.value)["pid"] == pid else f"the key is not that of process {pid}"


def main(path: str, seconds: str) -> None:
    """Return when it has; exit with one sentence when it does not."""
    settings = Settings.load(path)
    key = Tree(settings.connection.prefix).agent(settings.host)
    deadline = time.monotonic() + float(seconds)
    store = connect(settings.connection)
    try:
        while True:
            problem = registered(store, key)
            if not problem:
                return
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"the agent has not registered at {key} within {seconds} s ({problem}): see watcher doctor and"
                    " journalctl -u watcher there"
                )
            time.sleep(TICK)
    finally:
        store.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WatcherError as error:
        sys.exit(str(error))
