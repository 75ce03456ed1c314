# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single files that are mounted from elsewhere, as containers have them: nothing can take their place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.mounts import ROOT, fill, mounted_on, remount, small_disk
from ansible_collections.watcher.config.tests.unit.countdown import Countdown, never_wait
from ansible_collections.watcher.config.tests.unit.site import Site, forked, tree

pytestmark = ROOT

OLD, NEW = {"m": b"old content", "x": b"old"}, {"m": b"new", "x": b"new"}
ENOUGH = 200  # calls, more than a deployment of these files makes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return the file that is mounted."""
    path = tmp_path / "source"
    path.write_bytes(OLD["m"])
    path.chmod(0o640)
    os.chown(path, 7, 8)
    return path


@pytest.fixture
def site(tmp_path: Path, source: Path) -> Iterator[Site]:
    """Return a host whose file ``m`` is mounted."""
    site = Site(tmp_path / "host")
    site.root.mkdir(parents=True)
    (site.root / "m").touch()
    with mounted_on(site.root / "m", source):
        yield site


def note(site: Site) -> str:
    """Return what is said of a file that was written in place."""
    return f"{site.root}/m is a mount point: written in place, so a reader may have seen half of it"


def test_written_in_place(site: Site, source: Path) -> None:
    """The mounted file gets the content, keeps what else it has, and that is reported; one that is right is left."""
    before = source.stat()
    outcome = site.deploy(OLD)
    assert (outcome.state, outcome.notes) == ("deployed", ())
    assert source.stat() == before
    outcome = site.deploy(NEW, backupDir=str(site.backups))
    assert (outcome.state, outcome.notes, outcome.msg.endswith(note(site))) == ("deployed", (note(site),), True)
    after = source.stat()
    assert (source.read_bytes(), after.st_ino, after.st_mode & 0o7777) == (b"new", before.st_ino, 0o640)
    assert (after.st_uid, after.st_gid) == (7, 8)
    assert site.saved() == {"m@12": OLD["m"], "x@12": OLD["x"]}
    assert site.temporaries() == []
    assert not site.deploy(NEW).ran
    assert site.deploy({"m": b"newer", "x": b"new"}, mode="0600", owner="9").notes == (note(site),)
    assert (source.stat().st_uid, source.stat().st_mode & 0o7777, source.read_bytes()) == (9, 0o600, b"newer")


def test_brought_back(site: Site, source: Path) -> None:
    """When afterCmd fails the old content is back in the same file, with the time that it had."""
    os.utime(source, (1, 2))
    outcome = site.deploy({"m": b"new and longer than before", "x": b"1"}, afterCmd=f"cat {source} >>{site.log}; false")
    assert (outcome.state, site.logged(), tree(site.root)) == (
        "rolledBack",
        ["new and longer than beforeold content"],
        {"m": (OLD["m"], 0o640)},
    )
    assert (source.stat().st_mtime, source.stat().st_uid) == (2.0, 7)
    assert site.temporaries() == []


def half(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Be killed when half of the mounted file is written."""
    write = os.write
    inode = (site.root / "m").stat().st_ino

    def halved(fd: int, content: bytes) -> int:
        if os.fstat(fd).st_ino == inode:
            write(fd, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, content)

    monkeypatch.setattr(os, "write", halved)
    site.deploy({"m": b"NEW AND LONGER THAN BEFORE", "x": b"new"})


@pytest.mark.parametrize("then", ["same", "reverted", "refused"])
def test_killed_in_the_middle(site: Site, source: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """The next deployment first writes the old content back, whatever it is to do then."""
    site.deploy(OLD)
    before = tree(site.root)
    assert forked(lambda: half(monkeypatch, site)) == -signal.SIGKILL
    assert source.read_bytes() == b"NEW AND LONGE"
    if then == "refused":
        assert site.deploy(NEW, checkCmd="false").state == "failed"
    elif then == "reverted":
        assert site.deploy(OLD).state == "deployed"
    else:
        assert site.deploy(NEW).state == "deployed"
        before = {"m": (b"new", 0o640), "x": (b"new", 0o644)}
    assert (tree(site.root), site.temporaries()) == (before, [])


def dying(monkeypatch: pytest.MonkeyPatch, site: Site, count: int) -> None:
    """Deploy the new files in a process that dies at one of its calls; the first one brings the old ones back."""
    Countdown(monkeypatch, count, lambda: os._exit(9))
    site.deploy(NEW, backupDir=str(site.backups), afterCmd="exit 1")


def test_killed_anywhere(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process is killed, on the way there or back, the old set is back exactly."""
    never_wait(monkeypatch)
    deaths = 0
    for count in range(1, ENOUGH):
        site = Site(tmp_path / str(count))
        site.root.mkdir(parents=True)
        (site.root / "m").touch()
        with mounted_on(site.root / "m", source):
            site.deploy(OLD)
            before: dict[str, Any] = tree(site.root)
            status = forked(lambda: dying(monkeypatch, site, count))  # noqa: B023 (it has ended before the next turn)
            assert site.deploy(NEW, checkCmd="exit 1").state == "failed"
            assert (tree(site.root), site.temporaries()) == (before, [])
        if status == 0:
            break
        deaths += 1
    assert status == 0
    assert deaths > 15


def test_removed(site: Site, source: Path) -> None:
    """It cannot be taken away: that is said, all else comes back, and once it is unmounted it works."""
    site.deploy(OLD)
    with mounted_on(site.root / "x", source):
        for files in ({"m": b"new"}, {"m": b"new", "a": b"new"}):
            outcome = site.deploy(files, backupDir=str(site.backups))
            assert outcome.state == "failed"
            assert f"cannot change {site.root}/x: it is a mount point, which cannot be removed" in outcome.msg
            assert tree(site.root) == {"m": (OLD["m"], 0o640), "x": (OLD["m"], 0o640)}
            assert (site.temporaries(), site.saved()) == ([], {})
    assert site.deploy({"m": b"new"}).state == "deployed"
    assert tree(site.root) == {"m": (b"new", 0o640)}


def test_unmounted(site: Site, source: Path) -> None:
    """What was below the mount is replaced like any file, once the mount is gone."""
    site.deploy(NEW)
    with mounted_on(site.root / "x", source):
        assert site.deploy({"m": b"newer", "x": b"newer"}).notes != ()
        assert source.read_bytes() == b"newer"
    assert (site.root / "x").read_bytes() == b"new"
    outcome = site.deploy({"m": b"newer", "x": b"newer"})
    assert (outcome.state, outcome.notes) == ("deployed", ())
    assert (site.root / "x").read_bytes() == b"newer"


@pytest.mark.parametrize("obstacle", ["full", "read-only"])
def test_a_disk_that_refuses(tmp_path: Path, obstacle: str) -> None:
    """The mounted file's own disk is full or read-only: the old content is there to the byte."""
    site = Site(tmp_path / "host")
    site.root.mkdir(parents=True)
    (site.root / "m").touch()
    with small_disk(tmp_path / "disk", "64k") as disk:
        source = disk / "source"
        source.write_bytes(b"o" * 20_000)
        with mounted_on(site.root / "m", source):
            before = tree(site.root)
            if obstacle == "full":
                ballast = fill(disk)
            else:
                remount(site.root / "m", "bind,ro")
            outcome = site.deploy({"m": b"n" * 40_000, "a": b"1", "z": b"1"})
            assert outcome.state == "failed"
            words = {"full": "No space left on device", "read-only": "Read-only file system"}[obstacle]
            assert f"cannot change {site.root}/m: {words}" in outcome.msg
            assert "OLD FILES" not in outcome.msg
            assert (tree(site.root), site.temporaries()) == (before, [])
            if obstacle == "full":
                ballast.unlink()
            else:
                remount(site.root / "m", "bind,rw")
            assert site.deploy({"m": b"n" * 40_000, "a": b"1", "z": b"1"}).state == "deployed"
            assert source.read_bytes() == b"n" * 40_000
