# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of failpoints, and what they cost and do."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import failpoints

CORE = Path(failpoints.__file__).parent


def reached(path: Path) -> Iterator[str]:
    """Return the names of the points of a source file; they are plain strings there."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
            (name,) = node.args
            assert isinstance(name, ast.Constant), f"{path.name}, line {node.lineno}"
            yield str(name.value)


def test_list() -> None:
    """It names each point that the library has once, and no others."""
    found = {name for path in CORE.glob("*.py") for name in reached(path)}
    assert found == set(failpoints.POINTS)
    assert max(Counter(failpoints.POINTS).values()) == 1


def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens at a point unless somebody asked for it."""
    assert failpoints.armed is None
    failpoints.reach("swap.move")
    seen: list[str] = []
    monkeypatch.setattr(failpoints, "armed", seen.append)
    failpoints.reach("swap.move")
    assert seen == ["swap.move"]


@pytest.mark.parametrize(
    ("text", "said"), [("b", "a "), ("b:2", "a b a "), ("c", "a b a b end "), ("", "a b a b end ")]
)
def test_environment(text: str, said: str) -> None:
    """The variable names the point, and which time of coming there is the last."""
    code = (
        "import failpoints\n"
        "for name in 'abab':\n"
        "    failpoints.reach(name)\n"
        "    print(name, end=' ', flush=True)\n"
        "print('end', end=' ')\n"
    )
    environment = {**os.environ, failpoints.VARIABLE: text, "PYTHONPATH": str(CORE)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == said
    assert done.returncode == (0 if "end" in said else -signal.SIGKILL)
