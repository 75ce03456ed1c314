# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process that never outlives this one, however this one dies."""

from __future__ import annotations

import subprocess


class Guard:
    """Kills a process when its own input ends, which is the end of this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Begin to guard the process."""
        self._process = process
        command = ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(process.pid)]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and guard it no more."""
        with self._guard:  # first, for the number of the process may be another's soon
            self._guard.kill()
        self._process.kill()
        self._process.wait()
