# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``watcher retry``: whom it asks, what it says of each project, and its exit code."""

from __future__ import annotations

import signal
import threading
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import retrying
from ansible_collections.watcher.config.plugins.module_utils._core.alone import alone
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError, InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Settings
from ansible_collections.watcher.config.plugins.module_utils._core.wishes import FOLDER, SIGNAL, Wishes
from ansible_collections.watcher.config.tests.unit.site import Site

SAID = "beforeCmd failed with exit status 1"


class Stand:
    """A host with good.com deployed, bad.com failed, held.com held, and somebody who asks for another try."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Deploy."""
        self.site = Site(folder)
        self.capsys = capsys
        self.tried: list[str] = []
        self.mended = folder / "mended"
        self.config = folder / "watcher.ini"
        self.config.write_text(f"[local]\nhostname = web01\nstate_dir = {self.site.state.path}\n[security]\n")
        self.deploy("good.com")
        self.deploy("bad.com", beforeCmd=f"test -e {self.mended}")
        files = {f"h{number}": b"" for number in range(20)}
        self.site.deploy(files, name="held.com", deployPath=str(folder / "held.com"))
        assert self.site.deploy({}, name="held.com", deployPath=str(folder / "held.com")).state == "held"

    def deploy(self, name: str, **fields: Any) -> Outcome:
        """Deploy a project, whose files are in a folder of its own."""
        return self.site.deploy({"x": b"1"}, name=name, deployPath=str(self.site.folder / name), **fields)

    def attempt(self, name: str) -> Outcome:
        """Try a project once more."""
        self.tried.append(name)
        return self.deploy(name, beforeCmd=f"test -e {self.mended}", revision=12)

    def once(self, names: Collection[str]) -> list[Outcome]:
        """Be an agent that does its work and ends."""
        return [self.attempt(name) for name in names if name != "no.com"]

    def close(self) -> None:
        """Be such an agent to the end."""

    def retry(self, *names: str) -> int:
        """Run the command."""
        return retrying.retry(Namespace(names=list(names), config=str(self.config), dry_run=False))

    def said(self) -> list[str]:
        """Return what was printed."""
        return self.capsys.readouterr().out.splitlines()


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stand:
    """Return a host without an agent."""
    stand = Stand(tmp_path, capsys)
    monkeypatch.setattr(retrying, "settings_of", lambda options: Settings.load(options.config))
    monkeypatch.setattr(retrying, "agent_of", lambda _settings: stand)
    return stand


@pytest.fixture
def agent(stand: Stand) -> Iterator[Callable[..., None]]:
    """Be the agent: take the signal, with what it is to do for each project; the folder is served meanwhile."""
    before = signal.getsignal(SIGNAL)
    wishes = Wishes(stand.site.state.path)

    def serve(act: Callable[[str], object]) -> None:
        def answer(name: str) -> None:
            with wishes.answering(name):
                act(name)

        def take(*_unused: object) -> None:
            for name in wishes.take():
                threading.Thread(target=answer, args=(name,)).start()

        signal.signal(SIGNAL, take)

    with alone(stand.site.state.path):
        yield serve
    signal.signal(SIGNAL, before)


def test_without_an_agent(stand: Stand) -> None:
    """What failed is tried, nothing else; the exit code is that of what came of it."""
    assert stand.retry() == 1
    assert stand.tried == ["bad.com"]
    assert stand.said() == [f"bad.com: failed at revision 0; attempts: 2; {SAID}"]
    stand.mended.touch()
    assert stand.retry() == 0
    assert stand.said() == ["bad.com: deployed at revision 12"]
    assert stand.retry() == 0
    assert stand.said() == ["host web01: no project has failed; there is nothing to try"]
    assert stand.tried == ["bad.com"] * 2


def test_named_projects(stand: Stand) -> None:
    """Each has a line, tried or not; one that waits for somebody is not well."""
    assert stand.retry("good.com") == 0
    assert stand.said() == ["good.com: deployed at revision 11, nothing to try"]
    assert stand.retry("held.com", "good.com") == 1
    held, _good = sorted(stand.said(), reverse=True)
    assert held.startswith("held.com: held at revision 13, which a try does not change; ")
    stand.mended.touch()
    assert stand.retry("good.com", "bad.com", "bad.com") == 0
    assert (stand.tried, len(stand.said())) == (["bad.com"], 2)
    assert stand.retry("new.com") == 0  # the host does not know it yet, the tree does
    assert stand.said() == ["new.com: deployed at revision 12"]


def test_names_that_are_none(stand: Stand, agent: Callable[..., None]) -> None:
    """They are the user's mistake."""
    with pytest.raises(InvalidError, match=r"host web01 has no project no\.com; `watcher status` lists"):
        stand.retry("bad.com", "no.com")
    with pytest.raises(InvalidError, match="project"):
        stand.retry("../x")
    assert stand.tried == []


def test_a_name_that_the_tree_lacks_too(stand: Stand) -> None:
    """Without an agent the tree has been asked by then."""
    with pytest.raises(InvalidError, match=r"host web01 has no project no\.com"):
        stand.retry("no.com")


def test_an_agent_tries(stand: Stand, agent: Callable[..., None]) -> None:
    """It is waited for, and its outcome is told."""
    agent(stand.attempt)
    assert stand.retry() == 1
    assert stand.said() == [f"bad.com: failed at revision 0; attempts: 2; {SAID}"]
    stand.mended.touch()
    assert stand.retry("bad.com") == 0
    assert stand.tried == ["bad.com"] * 2
    assert list((Path(stand.site.state.path) / FOLDER).iterdir()) == []


def test_an_agent_that_could_not_try(stand: Stand, agent: Callable[..., None]) -> None:
    """Such as for want of etcd: the old failure is not sold as a new one."""
    agent(lambda _name: None)
    assert stand.retry() == 1
    assert stand.said() == [f"bad.com: failed at revision 0, not tried: the log says why; attempts: 1; {SAID}"]


def test_an_agent_that_does_not_listen(stand: Stand, agent: Callable[..., None]) -> None:
    """The signal would end it, so it is not sent."""
    with pytest.raises(DeployError, match="takes no wishes: wait for the end of the command that it runs"):
        stand.retry()
    assert not (Path(stand.site.state.path) / FOLDER).exists()


def test_an_agent_that_ends(stand: Stand, agent: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next start tries everything, and nothing is left behind for it."""
    signal.signal(SIGNAL, lambda *_unused: monkeypatch.setattr(retrying, "agent", lambda _folder: 0))
    with pytest.raises(DeployError, match="has ended meanwhile; its next start tries everything"):
        stand.retry()
    assert list((Path(stand.site.state.path) / FOLDER).iterdir()) == []


def test_an_agent_that_cannot_be_told(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried beside one that may be there."""
    monkeypatch.setattr(retrying, "agent", lambda _folder: None)
    with pytest.raises(DeployError, match="cannot be told; run this as root"):
        stand.retry()
    assert stand.tried == []
