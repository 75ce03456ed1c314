# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one process wishes and another answers, by files."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import wishes as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.wishes import FOLDER, SIGNAL, Wishes, listens


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state folder."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def left(state: Path) -> list[str]:
    """Return the files that are there."""
    return sorted(path.name for path in (state / FOLDER).iterdir())


def test_asked_and_answered(state: Path) -> None:
    """Each wish is there until a try that began after it was taken has ended, however that ended."""
    agent, asker = Wishes(str(state)), Wishes(str(state))
    assert agent.take() == set()
    files = asker.ask(["a.com", "b.com"])
    assert agent.take() == {"a.com", "b.com"}
    with agent.answering("a.com"):
        assert len(left(state)) == 2
    assert [os.path.exists(file) for file in files] == [False, True]
    with pytest.raises(RuntimeError), agent.answering("b.com"):
        raise RuntimeError
    assert left(state) == []
    assert agent.take() == set()


def test_two_ask_for_one_project(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is not answered by the try that began before it asked."""
    wishes = Wishes(str(state))
    (first,) = wishes.ask(["a.com"])
    wishes.take()
    monkeypatch.setattr("os.getpid", lambda: 1)
    with wishes.answering("a.com"):
        (second,) = wishes.ask(["a.com"])
        wishes.take()
    assert (os.path.exists(first), os.path.exists(second)) == (False, True)
    with wishes.answering("a.com"):
        pass
    assert left(state) == []


def test_what_is_no_wish(state: Path) -> None:
    """Other files are left alone, and those whose asker went are answered with the next one's."""
    (state / FOLDER).mkdir()
    for name in ("..+1", "+", "a b+2", "a.com+3"):
        (state / FOLDER / name).touch()
    assert Wishes(str(state)).take() == {"a.com"}


def test_a_folder_that_refuses(state: Path) -> None:
    """It is one sentence with the folder."""
    (state / FOLDER).touch()
    for act in (lambda: Wishes(str(state)).ask(["a.com"]), Wishes(str(state)).take):
        with pytest.raises(DeployError, match=re.escape(f"folder {state}/{FOLDER} cannot be ")):
            act()


def test_who_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process that takes the signal may be sent it: it would end any other."""
    assert not listens(2**30)
    before = signal.getsignal(SIGNAL)
    try:
        signal.signal(SIGNAL, signal.SIG_DFL)
        assert not listens(os.getpid())
        signal.signal(SIGNAL, lambda *_unused: None)
        assert listens(os.getpid())
        monkeypatch.setattr(module, "SIGNAL", signal.SIGUSR2)
        assert not listens(os.getpid())
    finally:
        signal.signal(SIGNAL, before)
