# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments against disks that are hostile: links out, things in the way, folders that refuse."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.unit.site import Site, forked, let_in, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host with a deploy path, and a folder beside it that must never be touched."""
    site = Site(tmp_path)
    site.root.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"theirs")
    return site


@pytest.mark.parametrize("deep", ["", "x/"])
def test_a_linked_folder_is_not_followed_to_write(site: Site, deep: str) -> None:
    """A folder below the deploy path that is a link fails the deployment before anything is written."""
    outside = site.folder / "outside"
    (site.root / "sub").symlink_to(outside)
    before = tree(site.folder / "outside")
    outcome = site.deploy({f"sub/{deep}f": b"ours", "good": b"1"}, backupDir=str(site.backups))
    assert outcome.state == "failed"
    assert f"{site.root}/sub is not a folder, or a symbolic link, which is not followed" in outcome.msg
    assert tree(outside) == before
    assert not (site.root / "good").exists()


@pytest.mark.parametrize("files", [{}, {"sub/f": b"new"}, None])
def test_a_folder_that_became_a_link(site: Site, files: dict[str, bytes] | None) -> None:
    """Neither a change nor a removal nor a backup follows a folder that was swapped for a link."""
    site.deploy({"sub/f": b"ours", "d/f": b"ours"}, backupDir=str(site.backups))
    (site.root / "sub").rename(site.folder / "aside")
    (site.root / "sub").symlink_to(site.folder / "outside")
    before = tree(site.folder / "outside")
    outcome = site.deploy(files, backupDir=str(site.backups))
    assert tree(site.folder / "outside") == before
    assert (site.folder / "aside" / "f").read_bytes() == b"ours"
    assert (site.root / "sub").is_symlink()
    if files:
        assert outcome.state == "failed"
    else:
        assert "sub/f was not removed" in outcome.msg
        assert site.saved() == {"d/f@12": b"ours"}


def test_a_folder_that_becomes_a_link_during_the_deployment(site: Site) -> None:
    """The swap goes through the folder that is there then, never through a link; the rest comes back."""
    site.deploy({"a": b"old", "sub/f": b"old"})
    swap = f"mv {site.root}/sub {site.folder}/aside; ln -s {site.folder}/outside {site.root}/sub"
    outcome = site.deploy({"a": b"new", "sub/f": b"new"}, beforeCmd=swap)
    assert outcome.state == "failed"
    assert (site.root / "a").read_bytes() == b"old"
    assert tree(site.folder / "outside") == {"f": (b"theirs", 0o644)}


def test_backup_folder_with_a_link(site: Site) -> None:
    """Backups do not follow a link below the backup folder either."""
    site.deploy({"sub/f": b"old"}, backupDir=str(site.backups))
    site.backups.mkdir()
    (site.backups / "sub").symlink_to(site.folder / "outside")
    outcome = site.deploy({"sub/f": b"new"}, backupDir=str(site.backups))
    assert outcome.state == "failed"
    assert f"cannot back up {site.root}/sub/f to {site.backups}" in outcome.msg
    assert (site.root / "sub" / "f").read_bytes() == b"old"
    assert set(tree(site.folder / "outside")) == {"f"}


def test_the_target_is_a_link(site: Site) -> None:
    """A link at a file's place is replaced, what it points to is not; its backup is the link."""
    (site.root / "f").symlink_to(site.folder / "outside" / "f")
    outcome = site.deploy({"f": b"ours"}, backupDir=str(site.backups))
    assert outcome.state == "deployed"
    assert tree(site.root) == {"f": (b"ours", 0o644)}
    assert (site.folder / "outside" / "f").read_bytes() == b"theirs"
    assert [os.readlink(path) for path in site.backups.iterdir()] == [str(site.folder / "outside" / "f")]
    (site.root / "f").unlink()
    (site.root / "f").symlink_to(site.folder / "outside" / "f")
    assert site.deploy({"f": b"x"}, afterCmd="false").state == "rolledBack"
    assert tree(site.root) == {"f": str(site.folder / "outside" / "f")}


@pytest.mark.parametrize("what", ["folder", "fifo", "full folder"])
def test_in_the_way(site: Site, what: str) -> None:
    """What is no file, nor a folder of ours, is never replaced, and a pipe does not hang us."""
    if what == "fifo":
        os.mkfifo(site.root / "f")
    else:
        (site.root / "f").mkdir()
    if what == "full folder":
        assert site.deploy({"f/g": b"ours"}).state == "deployed"
    before = tree(site.root)
    outcome = site.deploy({"f": b"ours"})
    assert outcome.state == "failed"
    assert "move it out of the way" in outcome.msg
    assert tree(site.root) == before


def test_a_removed_file_that_is_something_else_by_now(site: Site) -> None:
    """A folder that somebody put where our file was is left, and that is said once."""
    site.deploy({"f": b"1"})
    (site.root / "f").unlink()
    (site.root / "f").mkdir()
    assert f"{site.root}/f was not removed" in site.deploy({}).msg
    assert site.deploy({}).msg == ""
    assert (site.root / "f").is_dir()


def test_deploy_path_is_a_link(site: Site) -> None:
    """The deploy path itself is resolved as the system does."""
    link = site.folder / "link"
    link.symlink_to(site.root)
    assert site.deploy({"d/f": b"1"}, deployPath=str(link)).state == "deployed"
    assert (site.root / "d" / "f").read_bytes() == b"1"
    assert site.deploy(None).state == "removed"
    assert site.root.is_dir()
    assert link.is_symlink()


@pytest.mark.parametrize("what", ["file", "dangling link", "below a file"])
def test_deploy_path_is_no_folder(site: Site, what: str) -> None:
    """A deploy path that cannot be a folder fails with its name."""
    path = site.folder / "place"
    if what == "dangling link":
        path.symlink_to(site.folder / "nowhere")
    else:
        path.write_bytes(b"theirs")
    root = path / "below" if what == "below a file" else path
    outcome = site.deploy({"f": b"1"}, deployPath=str(root), beforeCmd=site.say("before"))
    assert outcome.state == "failed"
    assert str(path) in outcome.msg
    assert site.logged() == []


def test_a_folder_that_we_made_and_others_use(site: Site) -> None:
    """A file cannot take the place of our folder while something of others is in it; all comes back."""
    site.deploy({"d/x/a": b"1", "d/b": b"2"}, backupDir=str(site.backups))
    (site.root / "d" / "foreign").write_bytes(b"theirs")
    before = tree(site.root)
    outcome = site.deploy({"d": b"now a file"}, backupDir=str(site.backups))
    assert outcome.state == "failed"
    assert "not empty" in outcome.msg
    assert tree(site.root) == before
    assert (site.temporaries(), site.saved()) == ([], {})
    (site.root / "d" / "foreign").unlink()
    assert site.deploy({"d": b"now a file"}).state == "deployed"
    assert site.deploy({"d/x/a": b"1"}).state == "deployed"
    assert tree(site.root) == {"d": 0o755, "d/x": 0o755, "d/x/a": (b"1", 0o644)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_folder_that_refuses(site: Site) -> None:
    """A folder that may not be written fails cleanly, as does a state folder."""
    site.deploy({"open/a": b"old", "shut/b": b"old"}, mode="0644")
    for path in (site.folder, *site.folder.rglob("*")):
        os.lchown(path, 65534, 65534)
    (site.root / "shut").chmod(0o555)
    before = tree(site.root)
    shut = {"open/a": b"new", "shut/b": b"new"}
    outcome = as_nobody(site, shut)
    assert outcome == f"host web01, project a.com: cannot write {site.root}/shut/b: Permission denied"
    assert tree(site.root) == before
    assert site.temporaries() == []
    os.chown(site.root / "shut" / "b", 0, 0)
    (site.root / "shut" / "b").chmod(0o600)
    outcome = as_nobody(site, shut)
    assert outcome == f"host web01, project a.com: cannot look at it: Permission denied ({site.root}/shut/b)"
    (site.root / "shut" / "b").chmod(0o644)
    Path(site.state.path, "a.com").chmod(0o000)
    outcome = as_nobody(site, shut)
    assert (
        outcome == f"host web01, project a.com: state folder {site.state.path}/a.com cannot be used: Permission denied"
    )
    assert tree(site.root) == before


def as_nobody(site: Site, files: dict[str, bytes]) -> str:
    """Return the message of a deployment that another user carries out."""
    reading, writing = os.pipe()

    def act() -> None:
        let_in(site.folder)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writing, site.deploy(files).msg.encode())

    assert forked(act) == 0
    os.close(writing)
    with open(reading) as pipe:
        return pipe.read()


def test_a_reader_never_sees_half_a_file(site: Site) -> None:
    """While deployments replace a big file, a reader sees one content or the other."""
    contents = {letter * 300_000 for letter in (b"a", b"b")}
    site.deploy({"f": b"a" * 300_000})
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((site.root / "f").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(10):
        site.deploy({"f": (b"b" if number % 2 else b"a") * 300_000, "g": str(number).encode()})
    done.set()
    reader.join()
    assert seen <= contents


def test_long_names(site: Site) -> None:
    """A name of 255 bytes and a path of 1,024 can be deployed, changed and removed."""
    long = "/".join(["d" * 255] * 3 + ["f" * 255])
    for content in (b"1", b"2"):
        assert site.deploy({long: content, "\u00fc" * 127: content}, checkCmd="true").state == "deployed"
    assert (site.root / long).read_bytes() == b"2"
    assert site.deploy(None).state == "removed"
    assert tree(site.root) == {}


def test_many_files(site: Site) -> None:
    """Thousands of files take thousands of steps, not millions."""
    files = {f"{number % 50}/{number}": b"%d" % number for number in range(1000)}
    assert site.deploy(files).state == "deployed"
    assert len(list(site.root.rglob("*/*"))) == 1000
    assert not site.deploy(files).ran


def test_commands_do_not_inherit_the_lock(site: Site) -> None:
    """A daemon that a command leaves behind does not hold up the next deployment."""
    site.deploy({"a": b"1"}, afterCmd=f"sleep 60 >/dev/null 2>&1 & echo $! >{site.log}")
    pid = site.logged()[0]
    assert site.deploy({"a": b"2"}).state == "deployed"
    subprocess.run(["kill", pid], check=True)
