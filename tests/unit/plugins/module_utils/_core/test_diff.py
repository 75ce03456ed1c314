# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences as Ansible shows them."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.watcher.config.plugins.module_utils._core.diff import MAX_DIFF, differences, text
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Found,
)
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Step


def test_differences(tmp_path: Path) -> None:
    """What is text is shown, all else is named."""
    (tmp_path / "a").write_bytes(b"old\n")
    root = str(tmp_path)
    steps = [
        Step("set", root, "a", Found("file"), File.of(b"new\n")),
        Step("delete", root, "a", Found("file")),
        Step("create", root, "b", Found(), File.of(b"\xff")),
        Step("mode", root, "a", Found("file", mode=0o644), File.of(b"")),
        Step("delete", root, "l", Found("link")),
    ]
    shown = [(item["after_header"], item["before"], item["after"]) for item in differences(steps)]
    assert shown == [
        (f"{root}/a", "old\n", "new\n"),
        (f"{root}/a", "old\n", ""),
        (f"{root}/b", "", "[1 bytes that are not text]\n"),
        (f"{root}/a", "mode 0644\n", "mode or owner of the policy\n"),
        (f"{root}/l", "", ""),
    ]
    assert text(b"x" * MAX_DIFF) == "x" * MAX_DIFF
    assert text(b"x" * (MAX_DIFF + 1)) == f"[more than {MAX_DIFF} bytes]\n"
