# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what was changed after a service was started, of some paths and what is in them.

Arguments are the service's name and the paths.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

STATE = ["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value"]


def main(service: str, *paths: str) -> None:
    """Print nothing when the service does not run."""
    command = [*STATE, service]
    active = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 (no shell)
    if not int(active or 0):
        return
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + int(active) / 1e6
    for path in paths:
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        for file in [os.path.join(path, name) for name in os.listdir(path)] if is_folder else [path]:
            if os.path.lexists(file) and os.lstat(file).st_mtime > started:
                print(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
