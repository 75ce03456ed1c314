# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real mounts below a test's folder: small disks, and files that are mounted on others."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")


def mount(*arguments: str) -> None:
    """Run mount."""
    subprocess.run(["mount", *arguments], check=True)


def remount(path: Path, options: str) -> None:
    """Change a mount that is there."""
    mount("-o", f"remount,{options}", str(path))


@contextlib.contextmanager
def _until_the_end(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount an empty disk of so many bytes at the path."""
    path.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(path))
    with _until_the_end(path):
        yield path


@contextlib.contextmanager
def mounted_on(path: Path, what: Path) -> Iterator[Path]:
    """Mount a file or folder on another one, as containers do with single files."""
    mount("--bind", str(what), str(path))
    with _until_the_end(path):
        yield path


def fill(path: Path) -> Path:
    """Take all the room of a disk; return the file that holds it."""
    ballast = path / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"\0" * 4096)
    return ballast
