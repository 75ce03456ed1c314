# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of folders that have to be written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.finding import FAIL, OK, WARN
from ansible_collections.watcher.config.plugins.module_utils._core.room import look_at, user
from ansible_collections.watcher.config.tests.unit.site import unprivileged

# What follows sees the folder that it is given read-only, and the rest of the machine as it is.
READ_ONLY = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && echo && cat']


def test_a_good_folder(tmp_path: Path) -> None:
    """It says how much is free."""
    found = look_at("log", str(tmp_path))
    assert (found.level, found.what) == (OK, "log")
    assert found.text.startswith(f"{tmp_path}, ")
    assert found.text.endswith(" free")


def test_a_missing_folder(tmp_path: Path) -> None:
    """Where it will be made, the folder that it will be made in is looked at."""
    path = tmp_path / "a" / "b"
    assert f"{path} is missing and will be made in {tmp_path}" in look_at("x", str(path)).text


def test_a_link(tmp_path: Path) -> None:
    """It is followed, and told."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert f"link (which leads to {tmp_path}/nowhere) is missing" in look_at("x", str(tmp_path / "link")).text


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """A file is no folder, and nothing can be made below it."""
    (tmp_path / "file").touch()
    for path in ("file", "file/below"):
        found = look_at("x", str(tmp_path / path))
        assert (found.level, "not a folder" in found.text) == (FAIL, True), path


def test_a_folder_of_somebody_else() -> None:
    """It names who may not write."""

    def act() -> None:
        assert f"user {user(os.geteuid())} may not write" in look_at("x", "/").text

    unprivileged(act)


@pytest.mark.parametrize(("free", "level"), [(5 << 20, FAIL), (50 << 20, WARN), (500 << 20, OK)])
def test_a_full_disk(free: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room is a warning, none a failure."""
    there = os.statvfs(tmp_path)
    blocks = free // there.f_frsize
    full = os.statvfs_result((*there[:4], blocks, *there[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    found = look_at("x", str(tmp_path))
    assert (found.level, f"{free >> 20} MiB" in found.text) == (level, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount something read-only")
def test_as_a_service_sees_it(tmp_path: Path) -> None:
    """What is read-only for a process is told where its view is asked for, however writable it is for us."""
    with subprocess.Popen([*READ_ONLY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdin is not None and service.stdout is not None
        if not service.stdout.readline():
            pytest.skip("this root may not mount anything")
        found = look_at("x", str(tmp_path), f"/proc/{service.pid}/root")
        service.stdin.close()
    assert (found.level, "read-only" in found.text) == (FAIL, True)
    assert look_at("x", str(tmp_path)).level == OK


def test_as_a_service_that_has_ended_saw_it(tmp_path: Path) -> None:
    """Its view is gone, at any moment: what this process sees is told."""
    with subprocess.Popen(["true"]) as service:
        view = f"/proc/{service.pid}/root"
    found = look_at("x", str(tmp_path), view)
    assert (found.level, found.text.startswith(f"{tmp_path}, ")) == (OK, True)
    missing = tmp_path / "a" / "b"
    assert f"{missing} is missing and will be made in {tmp_path}, " in look_at("x", str(missing), view).text


def test_users() -> None:
    """A user without a name has a number."""
    assert user(0) == "root"
    assert user(4_000_000_000) == "4000000000"
