# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the collection awx.awx, and print the folder to put on ANSIBLE_COLLECTIONS_PATH.

Taken out of the Python package ansible, the one place that has it for whoever can install with pip.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "awx"
PACKAGE = "ansible==12.3.0"  # 13 has it too, 14 does not
VERSION = "24.6.1"  # of awx.awx in that package
INSIDE = "ansible_collections/awx/"
ATTEMPTS = 3
PAUSE = 5.0  # seconds between them
DOWNLOAD_SECONDS = 300  # 54 MB


def version(folder: Path) -> str:
    """Return the version of the awx.awx below a folder; empty where there is none."""
    try:
        manifest = json.loads((folder / INSIDE / "awx" / "MANIFEST.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(manifest["collection_info"]["version"])


def download(folder: Path) -> Path:
    """Download the package into a folder; raise CalledProcessError or TimeoutExpired when no attempt worked."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    for attempt in range(1, ATTEMPTS + 1):
        try:
            subprocess.run(
                [*command, "--only-binary", ":all:", "--dest", folder, PACKAGE], check=True, timeout=DOWNLOAD_SECONDS
            )
            break
        except subprocess.SubprocessError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)
    return next(folder.glob("*.whl"))


def fetch() -> None:
    """Put the collection into its place; a reader never sees half of it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        with zipfile.ZipFile(download(folder)) as wheel:
            wheel.extractall(folder, [each for each in wheel.namelist() if each.startswith(INSIDE)])
        found = version(folder)
        if found != VERSION:
            sys.exit(f"{PACKAGE} has awx.awx {found or 'not at all'}, not {VERSION}")
        place = FOLDER / INSIDE
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / INSIDE).rename(place)


if __name__ == "__main__":
    if version(FOLDER) != VERSION:
        fetch()
    print(FOLDER)
