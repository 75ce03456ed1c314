# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a deployment: what they are told, and where they look."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import hooks as module
from ansible_collections.watcher.config.plugins.module_utils._core.command import Account
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


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stage for accounts in a folder of the test's, which others could not reach so far."""
    folder = Path(tempfile.mkdtemp(dir="/run"))
    monkeypatch.setattr(module, "SHARED", str(folder))
    yield folder
    folder.rmdir()  # nothing is left in it


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_staged_for_an_account(tmp_path: Path, shared: Path) -> None:
    """An account sees the whole project and may write there, and the state folder stays closed to it and others."""
    site = Site(tmp_path)
    site.root.mkdir(mode=0o700)
    (site.root / "kept").write_bytes(b"k")
    (site.root / "kept").chmod(0o600)
    state = Path(site.state.folder("a.com"))
    state.mkdir(parents=True, mode=0o700)
    state.parent.chmod(0o700)
    command = "cd %s && cat f sub/g kept && touch sub/new && stat -c %U:%a . sub/g && echo $WATCHER_STAGED"
    hooks = Hooks(site.project({"f": b"1", "sub/g": b"2"}), site.policy(checkCmd=command), [], nobody())
    mask = os.umask(0o077)
    try:
        hooks.run_check(f"{state}/staged", ["kept"])
    finally:
        os.umask(mask)
    first, second, folder = hooks.check.out.splitlines()
    assert (first, second) == ("12knobody:700", "nobody:600")
    assert Path(folder).parent == shared and not Path(folder).exists()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o711
    assert {stat.S_IMODE(path.stat().st_mode) for path in (state, state.parent, site.root)} == {0o700}
    spying = site.policy(checkCmd=f"ls {state.parent} || ls {state} || ls {shared} || cat {site.root}/kept")
    with pytest.raises(DeployError, match="Permission denied"):
        Hooks(site.project({"f": b"1"}), spying, [], nobody()).run_check(f"{state}/staged", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.usefixtures("shared")
def test_staged_for_an_account_a_second_time(tmp_path: Path) -> None:
    """What a process that was killed has left is gone at the next check; projects have folders of their own."""
    site = Site(tmp_path)
    left = Path(module._shared(f"{tmp_path}/a.com"))
    left.mkdir(exist_ok=True)
    (left / "left").touch()
    os.chown(left, nobody().uid, nobody().gid)
    policy = site.policy(checkCmd="ls %s")
    hooks = Hooks(site.project({"f": b"1"}), policy, [], nobody())
    hooks.run_check(f"{tmp_path}/a.com", [])
    assert hooks.check.out == "f\n"
    assert not left.exists()
    assert module._shared(f"{tmp_path}/b.com") != str(left) == module._shared(f"{tmp_path}/a.com")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.usefixtures("shared")
def test_all_commands_run_as_the_account(tmp_path: Path) -> None:
    """Not checkCmd alone."""
    site = Site(tmp_path)
    policy = site.policy(checkCmd="id -un", beforeCmd="id -un", afterCmd="id -un")
    hooks = Hooks(site.project({"f": b"1"}), policy, [], nobody())
    hooks.run_check(str(tmp_path / "staged"), [])
    hooks.run_before()
    hooks.run_after()
    again = hooks.run_after_again(1)
    assert {result.out for result in (hooks.check, hooks.before, hooks.after, again)} == {"nobody\n"}


def nobody() -> Account:
    """Return the account that owns nothing."""
    user = pwd.getpwnam("nobody")
    return Account("nobody", user.pw_uid, user.pw_gid, (user.pw_gid,))


def test_no_place_to_stage_for_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failure that says what could not be made."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "SHARED", f"{tmp_path}/file/shared")
    site = Site(tmp_path)
    hooks = Hooks(site.project({"f": b"1"}), site.policy(checkCmd="true"), [], nobody())
    with pytest.raises(DeployError, match=f"cannot make folder {tmp_path}/file/shared: Not a directory"):
        hooks.run_check(str(tmp_path / "staged"), [])
