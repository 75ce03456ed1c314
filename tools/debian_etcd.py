# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the path of an etcd 3.4, the oldest served; nothing where none can be had.

Taken from PATH, or else out of Debian's package, which is unpacked and not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ROOT / ".cache" / "debian-etcd"
DOWNLOAD_SECONDS = 60  # 10 MB


def is_34(etcd: Path) -> bool:
    """Return whether that program is an etcd 3.4."""
    try:
        said = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return "etcd Version: 3.4." in said


def run(*command: str | Path, cwd: str) -> None:
    """Run a command without a word."""
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)


def unpack() -> None:
    """Fetch the package and unpack it, as any user."""
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
        run("apt-get", "download", "etcd-server", cwd=folder)
        run("dpkg", "-x", next(Path(folder).glob("*.deb")), "tree", cwd=folder)
        shutil.rmtree(UNPACKED, ignore_errors=True)
        Path(folder, "tree").rename(UNPACKED)


def candidates() -> Iterator[Path]:
    """Yield where an etcd may be, the cheap places first."""
    # All of PATH: the virtual environment, which comes first, has an etcd of its own.
    yield from (Path(folder, "etcd") for folder in os.environ["PATH"].split(os.pathsep) if folder)
    yield UNPACKED / "usr" / "bin" / "etcd"
    try:
        unpack()
    except (OSError, subprocess.SubprocessError):
        return
    yield UNPACKED / "usr" / "bin" / "etcd"


if __name__ == "__main__":
    found = next(filter(is_34, candidates()), None)
    if found:
        print(found)
