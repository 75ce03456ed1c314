# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real disks that are full, read-only or refuse at each stage of a deployment.

Each time the old set is there exactly, the message names what failed, and once the obstacle is gone the next
deployment succeeds and leaves nothing lying about.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.tests.mounts import ROOT, fill, remount, small_disk
from ansible_collections.watcher.config.tests.unit.site import Site, forked, let_in, tree, unprivileged

pytestmark = ROOT

OLD = {"f": b"old", "d/g": b"old", "gone": b"old"}
NEW = {"f": b"n" * 60_000, "d/g": b"n" * 60_000, "new/h": b"n" * 60_000}
SMALL, BIG = "256k", "8m"


class Host(Site):
    """A host with the old set, some of whose folders are disks of their own."""

    def begin(self, **fields: Any) -> None:
        """Deploy the old set; ``fields`` are those of all policies from then on."""
        self.fields = fields
        assert self.deploy(OLD, **fields).state == "deployed"
        self.before = self.visible()

    def fails(self, *words: str, files: dict[str, bytes] | None = None, **fields: Any) -> Outcome:
        """Try the new set, or another one: that must fail in these words, and change nothing."""
        outcome = self.deploy(NEW if files is None else files, **{**self.fields, **fields})
        assert outcome.failed, outcome
        for word in ("host web01, project a.com: ", *words):
            assert word in outcome.msg
        assert self.visible() == self.before
        return outcome

    def visible(self) -> dict[str, Any]:
        """Return the files below the deploy path but temporary ones."""
        files = tree(self.root).items()
        return {path: found for path, found in files if isinstance(found, tuple) and ".watcher-" not in path}

    def mended(self, files: dict[str, bytes] | None = None, **fields: Any) -> None:
        """Deploy the new set, or another one; that must succeed."""
        wanted = NEW if files is None else files
        outcome = self.deploy(wanted, **{**self.fields, **fields})
        assert (outcome.state, outcome.msg) == ("deployed", "")
        found = {path: found[0] for path, found in tree(self.root).items() if isinstance(found, tuple)}
        assert found == wanted
        assert self.temporaries() == []
        assert not self.deploy(wanted, **{**self.fields, **fields}).ran


@pytest.fixture
def site(tmp_path: Path) -> Host:
    """Return a host."""
    return Host(tmp_path)


def test_full_while_staging(site: Host) -> None:
    """The third of three files does not fit: none is replaced, and there is as much room as before."""
    with small_disk(site.root, "160k") as disk:
        site.begin(beforeCmd=site.say("before"))
        free = os.statvfs(disk).f_bfree
        site.logged()
        site.fails(f"cannot write {site.root}/", "No space left on device")
        assert (site.temporaries(), os.statvfs(disk).f_bfree, site.logged()) == ([], free, [])
        remount(disk, f"size={BIG}")
        site.mended()


def test_no_room_for_a_folder(site: Host) -> None:
    """Not even the first new folder can be made."""
    with small_disk(site.root, SMALL) as disk:
        site.begin()
        remount(disk, f"nr_inodes={os.statvfs(disk).f_files - os.statvfs(disk).f_ffree}")
        site.fails(f"cannot make folder {site.root}/new", "No space left on device")
        assert site.temporaries() == []
        remount(disk, "nr_inodes=1000")
        site.mended()


def test_full_while_backing_up(site: Host) -> None:
    """Nothing is replaced that could not be backed up; the backups that were made go again."""
    big = dict.fromkeys(OLD, b"o" * 60_000)
    with small_disk(site.backups, "150k") as disk:
        site.begin(backupDir=str(site.backups))
        site.mended(big)
        site.before = site.visible()
        saved = site.saved()
        for path in site.backups.rglob("*_watcherbackup_*"):
            path.unlink()
        site.fails("cannot back up", f"to {site.backups}", "No space left on device")
        assert (site.saved(), site.temporaries(), len(saved)) == ({}, [], 3)
        remount(disk, f"size={BIG}")
        site.mended()
        assert len(site.saved()) == 3


def test_full_state_folder(site: Host) -> None:
    """What cannot be written down is not begun."""
    with small_disk(site.folder / "state", SMALL) as disk:
        site.begin(beforeCmd=site.say("before"))
        site.logged()
        ballast = fill(disk)
        big = {**NEW, **{f"{number}/{'x' * 200}": b"" for number in range(100)}}
        site.fails("cannot write the ledger", "No space left on device", files=big)
        assert (site.temporaries(), site.logged()) == ([], [])
        ballast.unlink()
        site.mended()


def test_state_folder_that_fills_up_meanwhile(site: Host) -> None:
    """What cannot be written down in the end is undone: the next process would know nothing of it."""
    with small_disk(site.folder / "state", "512k") as disk:
        site.begin()
        command = f"test -e {disk}/ballast || cat /dev/zero >{disk}/ballast 2>/dev/null; true"
        files = {f"{number}/{'x' * 200}": b"" for number in range(300)}
        outcome = site.fails("cannot write the ledger", "the previous files are back", files=files, afterCmd=command)
        assert (outcome.state, site.temporaries()) == ("rolledBack", [])
        site.fails("cannot write the ledger", files=files)
        (disk / "ballast").unlink()
        site.mended(afterCmd="true")


@pytest.mark.parametrize("what", ["deploy", "backups", "state"])
def test_read_only_from_the_start(site: Host, what: str) -> None:
    """Nothing is done at all."""
    with small_disk(site.folder / what, BIG) as disk:
        site.begin(backupDir=str(site.backups))
        remount(disk, "ro")
        outcome = site.fails("Read-only file system", str(disk))
        if what == "state":
            assert "cannot be used" in outcome.msg
        assert (site.temporaries(), site.saved()) == ([], {})
        remount(disk, "rw")
        site.mended()
        assert len(site.saved()) == 3


@pytest.mark.parametrize("what", ["deploy", "backups"])
def test_read_only_after_staging(site: Host, what: str) -> None:
    """The old set stays; what cannot be removed now, the next deployment removes."""
    with small_disk(site.folder / what, BIG) as disk:
        site.begin(backupDir=str(site.backups))
        outcome = site.fails("Read-only file system", beforeCmd=f"mount -o remount,ro {disk}")
        assert site.saved() == {}
        if what == "deploy":
            assert f"cannot set {site.root}/d/g aside" in outcome.msg
            assert "OLD FILES" not in outcome.msg
            assert "not all that was new could be removed, which the next try does first: cannot" in outcome.msg
            site.fails("Read-only file system")
        else:
            assert site.temporaries() == []
        remount(disk, "rw")
        site.mended()
        assert len(site.saved()) == 3


def test_read_only_before_the_way_back(site: Host) -> None:
    """Where the disk does not let the old files come back, that is said loudly, and made up for."""
    with small_disk(site.root, BIG) as disk:
        site.begin()
        outcome = site.deploy(NEW, afterCmd=f"mount -o remount,ro {disk}; exit 1")
        assert outcome.state == "failed"
        assert "AND THE OLD FILES COULD NOT ALL BE RESTORED" in outcome.msg
        assert "Read-only file system" in outcome.msg
        again = site.deploy(NEW)
        assert again.state == "failed"
        assert "could not be undone" in again.msg
        remount(disk, "rw")
        assert site.deploy(NEW, checkCmd="exit 1").state == "failed"
        assert (site.visible(), site.temporaries()) == (site.before, [])
        site.mended()


def test_a_killed_deployment_on_a_full_disk(site: Host) -> None:
    """What it has left is taken away first: that is the room that the next one needs."""
    with small_disk(site.root, "512k"):
        site.begin()
        assert forked(lambda: site.deploy(NEW, beforeCmd="kill -9 $PPID")) == -9
        assert site.temporaries() != []
        ballast = fill(site.root)
        assert site.deploy(NEW).state == "deployed"
        ballast.unlink()
        site.mended({**NEW, "f": b"newer"})


@pytest.mark.parametrize("what", ["deploy", "backups", "state"])
def test_permission_denied(site: Host, what: str) -> None:
    """A user who may not write there, or not any more, changes nothing."""
    for folder in (site.root, site.backups, site.folder / "state"):
        folder.mkdir()
    for path in (site.folder, *site.folder.iterdir()):
        os.chown(path, 65534, 65534)
    let_in(site.folder)
    folder = site.folder / what
    datetime.strptime("2026", "%Y")  # imports what it needs before this is a user who may not read root's Python

    def act() -> None:
        site.begin(backupDir=str(site.backups))
        paths = [folder, *folder.rglob("*")]
        shut = {path: path.stat().st_mode for path in paths if path.is_dir() or what == "state"}
        for path, mode in shut.items():
            path.chmod(mode & ~0o222)
        site.fails("Permission denied", str(folder))
        assert (site.temporaries(), site.saved()) == ([], {})
        for path, mode in shut.items():
            path.chmod(mode)
        site.mended()
        assert len(site.saved()) == 3

    unprivileged(act)
