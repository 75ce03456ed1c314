# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print those of the paths given, and of what is in them, that were changed after the running agent was started."""

from __future__ import annotations

import os
import subprocess
import sys
import time

STATE = ["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", "watcher"]


def main(paths: list[str]) -> None:
    """Print nothing when no agent runs."""
    active = subprocess.run(STATE, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 (a constant)
    if not int(active or 0):
        return
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + int(active) / 1e6
    for path in paths:
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        for file in [os.path.join(path, name) for name in os.listdir(path)] if is_folder else [path]:
            if os.path.lexists(file) and os.lstat(file).st_mtime > started:
                print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
