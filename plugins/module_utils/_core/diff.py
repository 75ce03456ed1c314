# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences of a plan's files, in the form that Ansible shows with ``--diff``."""

from __future__ import annotations

from collections.abc import Iterable

from . import disk
from .steps import Step

MAX_DIFF = 100 * 1024  # bytes of one file that are worth showing


def differences(steps: Iterable[Step]) -> list[dict[str, str]]:
    """Return what each step changes; OSError when a file cannot be read."""
    return [_difference(step) for step in steps]


def _difference(step: Step) -> dict[str, str]:
    name = f"{step.root}/{step.path}"
    if step.kind == "mode":
        before, after = f"mode {step.found.mode:04o}\n", "mode or owner of the policy\n"
    else:
        old = disk.read(step.place, MAX_DIFF + 1) if step.found.kind == "file" else None
        new = step.file.content if step.file is not None else None
        before, after = text(old), text(new)
    return {"before_header": name, "after_header": name, "before": before, "after": after}


def text(content: bytes | None) -> str:
    """Return a content as text; what no one wants to read on a terminal is named instead."""
    if content is None:
        return ""
    if len(content) > MAX_DIFF:
        return f"[more than {MAX_DIFF} bytes]\n"
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"[{len(content)} bytes that are not text]\n"
