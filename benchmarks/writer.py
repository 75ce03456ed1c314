# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put keys when told to: ``python -m benchmarks.writer ENDPOINT``, one key a line on standard input.

For each it answers with the time just before the put, on the clock that all processes of a machine
share. It is a process of its own, so that its work never holds up the one that is measured.
"""

from __future__ import annotations

import sys
import time

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write


def main() -> None:
    """Serve until standard input ends."""
    store = connect(Connection((sys.argv[1],)))
    for number, line in enumerate(sys.stdin):
        key, value = line.strip(), str(number).encode()
        before = time.monotonic_ns()
        store.commit(Write(puts=((key, value),)))
        print(before, flush=True)
    store.close()


if __name__ == "__main__":
    main()
