# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project says of itself."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.watcher.config.plugins.module_utils._core.digest import TreeDigest
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy


def test_digest() -> None:
    """The digest is that of a tree of the files' digests."""
    project = Project("h", "p", 1, 1, files={"b": File.of(b"2"), "a": File.of(b"1")})
    assert project.digest == TreeDigest({"a": File.of(b"1").digest, "b": File.of(b"2").digest}).value()


def test_exists() -> None:
    """A project is there as soon as any key of it is ours, good or bad."""
    gone = Project("h", "p", 1, 1, ignored=3)
    assert not gone.exists
    assert replace(gone, policy=Policy("/x")).exists
    assert replace(gone, policy_error="e").exists
    assert replace(gone, files={"a": File.of(b"")}).exists
    assert replace(gone, rejected={"k": "w"}).exists
