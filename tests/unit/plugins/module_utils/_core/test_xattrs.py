# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extended attributes, where the file system below the tests has them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import xattrs

LIST = bytes.fromhex(  # user::rw- user:1000:r-- group::--- mask::r-- other::---
    "0200000001000600ffffffff02000400e803000004000000ffffffff10000400ffffffff20000000ffffffff"
)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """Return an open file that can have attributes."""
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.setxattr(fd, "user.note", b"1")
        os.setxattr(fd, xattrs.ACL, LIST)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system has no extended attributes")
    else:
        yield fd
    finally:
        os.close(fd)


def refusing(number: int) -> object:
    """Return a system call that fails."""

    def call(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_read_and_give(fd: int, tmp_path: Path) -> None:
    """What one file has another one gets, and an access control list that it lacks goes."""
    assert xattrs.read(fd) == {"user.note": b"1", xattrs.ACL: LIST}
    with (tmp_path / "other").open("wb") as other:
        assert xattrs.give(other.fileno(), xattrs.read(fd))
        assert xattrs.read(other.fileno()) == xattrs.read(fd)
        assert xattrs.give(other.fileno(), {})
        assert xattrs.read(other.fileno()) == {"user.note": b"1"}


@pytest.mark.parametrize("name", ["listxattr", "getxattr"])
@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES])
def test_what_cannot_be_read(fd: int, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """It is as if it were not there."""
    monkeypatch.setattr(os, name, refusing(number))
    assert xattrs.read(fd) == {}


def test_a_disk_that_fails(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says something else is one."""
    for name in ("listxattr", "getxattr"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refusing(errno.EIO))
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                xattrs.read(fd)


@pytest.mark.parametrize(
    ("number", "harmless"),
    [(errno.ENOTSUP, True), (errno.EPERM, True), (errno.EACCES, False), (errno.EINVAL, False), (errno.ENOSPC, False)],
)
def test_what_cannot_be_given(fd: int, monkeypatch: pytest.MonkeyPatch, number: int, harmless: bool) -> None:
    """A file system without contexts, or a kernel that does not use them, is no failure; SELinux's refusal is."""
    monkeypatch.setattr(os, "setxattr", refusing(number))
    context = {xattrs.CONTEXT: b"system_u:object_r:etc_t:s0\0"}
    if harmless:
        assert xattrs.give(fd, {**xattrs.read(fd), **context})
        assert not xattrs.give(fd, {xattrs.ACL: LIST[::-1]})
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            xattrs.give(fd, context)


def test_what_is_there_is_not_given_again(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a context that nobody may set, but that each file of the folder has, harms nothing."""
    monkeypatch.setattr(os, "setxattr", refusing(errno.EACCES))
    assert xattrs.give(fd, xattrs.read(fd))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE])
def test_notes_that_do_not_fit(fd: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Who may note much on a file cannot keep it from being changed, where its backup has less room for notes."""
    monkeypatch.setattr(os, "setxattr", refusing(number))
    assert xattrs.give(fd, {**xattrs.read(fd), "user.long": b"x" * 60_000})
    with pytest.raises(OSError, match=os.strerror(number)):
        xattrs.give(fd, {xattrs.ACL: LIST[::-1]})
