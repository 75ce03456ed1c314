# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user swaps folders and files for links to elsewhere and back, as fast as can be, while deployments run.

Whatever comes of each deployment: nothing is ever written, removed or given another mode outside the deploy path and
the backup folder. WATCHER_RACES sets the number of deployments.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.unit.countdown import never_wait
from ansible_collections.watcher.config.tests.unit.site import Site

RACES = int(os.environ.get("WATCHER_RACES", "300"))
NAMES = ("f", "g", "deep/h")


def look(folder: Path) -> dict[str, Any]:
    """Return all that others see of a folder but the times of change, which a further hard link changes, too."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        facts = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_mtime_ns)
        found[str(path.relative_to(folder))] = (
            *facts,
            path.read_bytes() if path.is_file() else sorted(os.listdir(path)),
        )
    return found


@contextlib.contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Let another process swap a folder for a link to ``outside`` and back, and files in it for links, for ever."""
    child = os.fork()
    if child == 0:
        try:
            swap(folder, outside)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def swap(folder: Path, outside: Path) -> None:
    """Swap for ever; whatever does not work because a deployment is quicker is tried again."""
    aside, link = folder.with_name("aside"), folder.with_name("link")
    os.symlink(outside, link)
    for turn in itertools.count():
        with contextlib.suppress(OSError):
            os.rename(folder, aside)
        with contextlib.suppress(OSError):
            os.rename(link, folder)
        with contextlib.suppress(OSError):
            os.rename(folder, link)
        with contextlib.suppress(OSError):
            os.rename(aside, folder)
        if turn % 3 == 0:
            with contextlib.suppress(OSError):
                os.unlink(folder / "f")
            with contextlib.suppress(OSError):
                os.link(outside / "f", folder / "f")
        elif turn % 3 == 1:
            with contextlib.suppress(OSError):
                os.unlink(folder / "g")
            with contextlib.suppress(OSError):
                os.symlink(outside / "g", folder / "g")


@pytest.mark.parametrize("where", ["deploy", "backups"])
def test_nothing_outside_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Staging, backup, swap, mode, undo, removal and the removal of folders all stay inside."""
    never_wait(monkeypatch)
    site = Site(tmp_path / "host")
    outside = tmp_path / "outside"
    for name in NAMES:
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_bytes(b"1")  # what a deployment wants, too: so it might only set its mode
        (outside / name).chmod(0o600)
    (outside / "empty").mkdir()
    before = look(outside)
    folder = site.folder / where / "sub"
    folder.mkdir(parents=True)
    states: dict[str, int] = {}
    with swapping(folder, outside):
        for number in range(RACES):
            files = {f"sub/{name}": b"%d" % (number // 4 % 2) for name in NAMES[: 1 + number % 3]}
            files["sub/empty/x"] = b"1"
            fields: dict[str, Any] = {"mode": ("0644", "0640")[number % 2], "backupDir": str(site.backups)}
            if number % 5 == 4:
                fields["afterCmd"] = "exit 1"
            outcome = site.deploy(None if number % 7 == 6 else files, **fields)
            states[outcome.state] = states.get(outcome.state, 0) + 1
    assert look(outside) == before
    assert len(states) > 1, states  # the deployments did something, and the swaps did, too
