# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file that takes another one's place has of it, and what copies have."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import disk, journal, likeness, xattrs
from ansible_collections.watcher.config.plugins.module_utils._core.disk import Owner
from ansible_collections.watcher.config.tests.unit.site import Site, forked, let_in, tree, unprivileged

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
CONTEXT = b"system_u:object_r:httpd_config_t:s0\0"
LIST = bytes.fromhex(  # user::rw- user:1000:r-- group::--- mask::r-- other::---
    "0200000001000600ffffffff02000400e803000004000000ffffffff10000400ffffffff20000000ffffffff"
)
MARKS = {"user.note": b"mine", xattrs.ACL: LIST, **({xattrs.CONTEXT: CONTEXT} if os.geteuid() == 0 else {})}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host with the old file."""
    site = Site(tmp_path)
    site.root.mkdir()
    (site.root / "f").write_bytes(b"old")
    (site.root / "f").chmod(0o640)
    return site


def mark(path: Path) -> None:
    """Give a file attributes, if the file system has such."""
    for name, value in MARKS.items():
        try:
            os.setxattr(path, name, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                raise
            pytest.skip(f"{name} cannot be set here: {error.strerror}")


def marks(path: Path) -> dict[str, bytes]:
    """Return the attributes of a file that matter."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name in (*MARKS, "security.capability")}


def test_a_successor_has_the_attributes(site: Site) -> None:
    """Context, access control list and notes of the replaced file are those of the new one, and of the backup."""
    mark(site.root / "f")
    assert site.deploy({"f": b"new", "g": b"new"}, backupDir=str(site.backups)).state == "deployed"
    assert marks(site.root / "f") == MARKS
    assert marks(next(site.backups.iterdir())) == MARKS
    assert (site.root / "f").stat().st_mode & 0o777 == 0o640
    assert "user.note" not in marks(site.root / "g")
    site.deploy({"f": b"newer"}, mode="0600", backupDir=str(site.backups))  # the list goes on, and allows nobody now
    assert set(marks(site.root / "f")) == set(MARKS)
    assert (site.root / "f").stat().st_mode & 0o777 == 0o600


def test_what_comes_back_has_them(site: Site) -> None:
    """After a failure the file is what it was, in this, too; also where there are no hard links."""
    mark(site.root / "f")
    assert site.deploy({"f": b"new"}, afterCmd="false").state == "rolledBack"
    assert marks(site.root / "f") == MARKS
    assert (site.root / "f").read_bytes() == b"old"


def test_what_comes_back_without_hard_links(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links loses nothing."""

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    mark(site.root / "f")
    (site.root / "f").chmod(0o4640)
    before = tree(site.root)
    monkeypatch.setattr(os, "link", refuse)
    assert site.deploy({"f": b"new"}, afterCmd="false").state == "rolledBack"
    assert (tree(site.root), marks(site.root / "f")) == (before, MARKS)


def test_a_list_of_the_folder(site: Site) -> None:
    """A folder that gives an access control list to new files does not give it to the successor of one without."""
    try:
        os.setxattr(site.root, "system.posix_acl_default", LIST)
    except OSError:
        pytest.skip("this file system has no access control lists")
    assert site.deploy({"f": b"new", "g": b"new"}).state == "deployed"
    assert (xattrs.ACL in os.listxattr(site.root / "f"), xattrs.ACL in os.listxattr(site.root / "g")) == (False, True)


def test_a_list_that_cannot_be_given(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the group does not get what the list allowed somebody else."""
    mark(site.root / "f")
    real = os.setxattr

    def without_lists(fd: int, name: str, value: bytes) -> None:
        if name == xattrs.ACL:
            raise OSError(errno.ENOTSUP, "Operation not supported")
        real(fd, name, value)

    monkeypatch.setattr(os, "setxattr", without_lists)
    assert site.deploy({"f": b"new"}).state == "deployed"
    assert (site.root / "f").stat().st_mode & 0o777 == 0o600


@ROOT
def test_capabilities_and_set_id_are_of_the_old_content(site: Site) -> None:
    """What a program was allowed is not for the text that replaces it, but comes back with the program."""
    (site.root / "f").chmod(0o6755)
    rights = bytes.fromhex("0100000200040000000000000000000000000000")  # to bind to low ports
    os.setxattr(site.root / "f", "security.capability", rights)
    assert site.deploy({"f": b"new"}, afterCmd="false").state == "rolledBack"
    assert ((site.root / "f").stat().st_mode & 0o7777, marks(site.root / "f")["security.capability"]) == (
        0o6755,
        rights,
    )
    assert site.deploy({"f": b"new"}).state == "deployed"
    assert ((site.root / "f").stat().st_mode & 0o7777, marks(site.root / "f")) == (0o755, {})
    assert site.deploy({"f": b"newer"}, mode="4755").state == "deployed"
    assert (site.root / "f").stat().st_mode & 0o7777 == 0o4755


@ROOT
def test_a_context_that_selinux_refuses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file would not be readable for whom it is; the old one stays."""
    mark(site.root / "f")

    def refuse(fd: int, name: str, value: bytes) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "setxattr", refuse)
    outcome = site.deploy({"f": b"new"})
    assert (outcome.state, outcome.msg.endswith(f"cannot write {site.root}/f: Permission denied")) == ("failed", True)
    assert (tree(site.root), marks(site.root / "f")) == ({"f": (b"old", 0o640)}, MARKS)


def test_modes_do_not_depend_on_the_umask(site: Site) -> None:
    """Neither those of the policy, nor the usual ones."""
    before = os.umask(0o077)
    try:
        site.deploy({"d/a": b"1"}, mode="0666", dirMode="0777")
        site.deploy({"e/b": b"1"}, name="b.com", backupDir=str(site.backups))
    finally:
        os.umask(before)
    expected = {"d": 0o777, "d/a": (b"1", 0o666), "e": 0o755, "e/b": (b"1", 0o644)}
    assert {path: found for path, found in tree(site.root).items() if path != "f"} == expected


def test_folder_modes_are_for_folders_that_we_make(site: Site) -> None:
    """Those that are there stay as they are, also when the policy changes and when all is undone."""
    (site.root / "theirs").mkdir(mode=0o700)
    site.deploy({"theirs/ours/a": b"1", "ours/b": b"1"}, dirMode="0750")
    expected = {"theirs": 0o700, "theirs/ours": 0o750, "ours": 0o750}
    assert {path: found for path, found in tree(site.root).items() if isinstance(found, int)} == expected
    assert site.root.stat().st_mode & 0o777 == 0o755
    site.deploy({"theirs/ours/a": b"2", "ours/b": b"2", "ours/deep/c": b"2"}, dirMode="0711")
    expected["ours/deep"] = 0o711
    assert {path: found for path, found in tree(site.root).items() if isinstance(found, int)} == expected


def test_a_group_that_a_folder_hands_on(site: Site) -> None:
    """A folder in one with set-group-id hands the group on, too, unless the policy says another mode."""
    site.root.chmod(0o2755)
    site.deploy({"d/e/a": b"1"})
    assert {path: found for path, found in tree(site.root).items() if isinstance(found, int)} == {
        "d": 0o2755,
        "d/e": 0o2755,
    }
    site.deploy({"x/a": b"1"}, name="b.com", dirMode="0750")
    assert (site.root / "x").stat().st_mode & 0o7777 == 0o750


def test_an_agent_that_is_not_root(site: Site) -> None:
    """It keeps the group that it is in, and cannot keep another's owner, nor set-id bits that were the owner's."""

    def act() -> None:
        me, mine = os.geteuid(), os.getegid()
        assert likeness.owner(me, mine, 0o4755) == Owner(me, mine, 0o4755)
        assert likeness.owner(0, mine, 0o4755) == Owner(None, mine, 0o755)
        assert likeness.owner(me, 54321, 0o2750) == Owner(me, None, 0o750)

    unprivileged(act)


@ROOT
def test_a_group_of_an_agent_that_is_not_root(tmp_path: Path) -> None:
    """A file that the web server's group may read stays one."""
    site = Site(tmp_path / "host")
    site.root.mkdir(parents=True)
    (site.root / "f").write_bytes(b"old")
    (site.root / "g").write_bytes(b"old")
    for path in (site.folder, site.root, site.root / "f"):
        os.chown(path, 4711, 4711)
    os.chown(site.root / "f", 4711, 4712)
    os.chown(site.root / "g", 0, 4712)
    let_in(tmp_path)

    def act() -> None:
        os.setgroups([4712])
        os.setgid(4711)
        os.setuid(4711)
        assert site.deploy({"f": b"new", "g": b"new"}, backupDir=str(site.backups)).state == "deployed"

    assert forked(act) == 0
    for name in ("f", "g"):
        status = (site.root / name).stat()
        assert (status.st_uid, status.st_gid, (site.root / name).read_bytes()) == (4711, 4712, b"new")


def test_hard_links(site: Site) -> None:
    """The other name of a file keeps the old content, mode and owner: it may be somebody else's."""
    other = site.folder / "other"
    os.link(site.root / "f", other)
    assert site.deploy({"f": b"new"}, mode="0600", afterCmd="false").state == "rolledBack"
    assert other.samefile(site.root / "f")
    assert site.deploy({"f": b"new"}, mode="0600").state == "deployed"
    assert (other.read_bytes(), other.stat().st_mode & 0o777) == (b"old", 0o640)
    other.unlink()
    os.link(site.root / "f", other)
    outcome = site.deploy({"f": b"new"}, mode="0644")
    assert [change.action for change in outcome.changes] == ["set"]
    assert [path.stat().st_mode & 0o777 for path in (other, site.root / "f")] == [0o600, 0o644]
    other.unlink()
    os.link(site.root / "f", other)
    assert site.deploy({}).state == "deployed"
    assert (other.read_bytes(), list(site.root.iterdir())) == (b"new", [])


def test_a_hard_link_that_comes_in_between(site: Site) -> None:
    """No mode is given to a file of somebody else that has been put in the place of ours."""
    other = site.folder / "other"
    other.write_bytes(b"old")
    other.chmod(0o600)
    place = site.root / "f"
    outcome = site.deploy({"f": b"old"}, mode="0644", beforeCmd=f"ln -f {other} {place}")
    assert (outcome.state, place.read_bytes()) == ("deployed", b"old")
    assert [path.stat().st_mode & 0o777 for path in (other, place)] == [0o600, 0o644]


def test_a_mode_alone(site: Site) -> None:
    """The file keeps its content and time, needs no content to be sent, and is not backed up."""
    place = site.root / "f"
    os.utime(place, (1, 2))
    outcome = site.deploy({"f": b"old"}, mode="0604", backupDir=str(site.backups))
    assert [(change.action, change.backup) for change in outcome.changes] == [("set", None)]
    status = place.stat()
    assert (status.st_mode & 0o777, status.st_mtime, place.read_bytes()) == (0o604, 2.0, b"old")
    assert site.deploy({"f": b"old"}, mode="0600", afterCmd="false").state == "rolledBack"
    assert (place.stat().st_mode & 0o777, place.stat().st_ino) == (0o604, status.st_ino)


def test_a_mode_of_what_has_changed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's content is put in place of ours, with a mode that lets others read it."""
    secret = site.folder / "secret"
    secret.write_bytes(b"secret")
    prepare = journal.prepare

    def swap(*arguments: Any) -> Any:
        os.replace(secret, site.root / "f")
        return prepare(*arguments)

    monkeypatch.setattr(journal, "prepare", swap)
    outcome = site.deploy({"f": b"old"}, mode="0644")
    assert outcome.state == "failed"
    assert f"{site.root}/f has changed meanwhile; deploy again" in outcome.msg
    assert site.temporaries() == []


def test_busy_though_it_can_be_linked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in place, a file does not take its old content with it that lies aside: that comes back."""
    rename = os.rename

    def busy(source: str, target: str, **folders: int) -> None:
        if target == "f":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rename(source, target, **folders)

    before = tree(site.root)
    monkeypatch.setattr(os, "rename", busy)
    outcome = site.deploy({"f": b"newer"}, afterCmd="false")
    assert outcome.state == "rolledBack"
    assert (tree(site.root), site.temporaries()) == (before, [])
    outcome = site.deploy({"f": b"newer"})
    assert (outcome.state, (site.root / "f").read_bytes(), site.temporaries()) == ("deployed", b"newer", [])
    assert "written in place" in outcome.msg


def test_overwrite(site: Site) -> None:
    """A file that is written in place is the same file with another content, and mode where that shall differ."""
    inode = (site.root / "f").stat().st_ino
    with disk.folder(str(site.root), "") as fd:
        for content, mode in ((b"longer than before", 0o640), (b"", 0o640), (b"x", 0o600)):
            likeness.overwrite(fd, "f", content, Owner(mode=mode))
            assert tree(site.root) == {"f": (content, mode)}
        (site.root / "link").symlink_to("f")
        with pytest.raises(OSError, match="link"):
            likeness.overwrite(fd, "link", b"y", Owner())
    assert (site.root / "f").stat().st_ino == inode


def test_overwrite_while_the_disk_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is never shorter than the old one before all is written: so that fits back."""
    sizes = []

    def refuse(fd: int, content: bytes) -> int:
        sizes.append(os.fstat(fd).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with disk.folder(str(site.root), "") as fd, pytest.raises(OSError, match="No space"):
        likeness.overwrite(fd, "f", b"new", Owner())
    assert (sizes, (site.root / "f").read_bytes()) == ([3], b"old")


def test_copy(site: Site) -> None:
    """A copy has content, mode, times and attributes; one of a link is a link; what is no file is not copied."""
    mark(site.root / "f")
    os.utime(site.root / "f", (1, 2))
    (site.root / "link").symlink_to("f")
    with disk.folder(str(site.root), "") as fd:
        likeness.copy(fd, "f", fd, "copy")
        likeness.copy(fd, "link", fd, "copied link")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"/proc/self/fd/{fd}/socket")
        with pytest.raises(OSError, match="such device"):
            likeness.copy(fd, "socket", fd, "none")
    status = (site.root / "copy").stat()
    assert ((site.root / "copy").read_bytes(), status.st_mode & 0o777, status.st_mtime) == (b"old", 0o640, 2.0)
    assert marks(site.root / "copy") == MARKS
    assert os.readlink(site.root / "copied link") == "f"
