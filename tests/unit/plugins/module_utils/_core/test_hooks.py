# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a deployment: what they are told, and where they look."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.hooks import MAX_CHANGED, Hooks
from ansible_collections.watcher.config.tests.unit.site import Site


def test_changed_paths_are_cut_where_a_line_ends(tmp_path: Path) -> None:
    """Thousands of paths fit into a variable as far as it reaches, and never a part of one."""
    site = Site(tmp_path)
    wide = "\u00fc" * 50
    paths = [f"{wide}{number:05}" for number in range(2000)]
    policy = site.policy(beforeCmd=f'echo "$WATCHER_CHANGED" >{site.log}')
    Hooks(site.project({}), policy, paths).run_before()
    lines = site.logged()
    assert lines == paths[: len(lines)]
    assert MAX_CHANGED - 200 < sum(len(line.encode()) + 1 for line in lines) <= MAX_CHANGED + 1


def test_check_of_a_project_that_is_gone(tmp_path: Path) -> None:
    """There is nothing to check when a project is removed."""
    site = Site(tmp_path)
    Hooks(site.project(None), site.policy(checkCmd="false"), []).run_check(str(tmp_path / "staged"), [])


def test_staged_is_quoted_and_private(tmp_path: Path) -> None:
    """%s is safe in a shell line, and nobody else sees what is staged."""
    site = Site(tmp_path)
    site.root.mkdir()
    (site.root / "kept").write_bytes(b"k")
    folder = tmp_path / "a b';id"
    command = f"ls %s >{site.log}; stat -c %%a %s >>{site.log}".replace("%%a", "%a")
    Hooks(site.project({"f": b"1"}), site.policy(checkCmd=command), []).run_check(str(folder), ["kept"])
    assert site.logged() == ["f", "kept", "700"]
    assert not folder.exists()
    with pytest.raises(DeployError, match="checkCmd failed"):
        Hooks(site.project({"f": b"1"}), site.policy(checkCmd="false"), []).run_check(str(folder), [])
    with pytest.raises(DeployError, match="cannot stage the project"):
        Hooks(site.project({"f": b"1"}), site.policy(checkCmd="true"), []).run_check(str(folder), ["none"])
    assert not folder.exists()
