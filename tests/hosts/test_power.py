# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts lose power in the middle of deployments, and come back by themselves."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.agent_site import Background
from ansible_collections.watcher.config.tests.hosts.fleet import Fleet, Host

FILES = [f"{folder}/{number}.conf" for folder in ("one", "two") for number in range(10)]
POLICY = {"deployPath": "/srv/app/power", "backupDir": "/var/backups/watcher", "afterCmd": "/srv/after"}
PAUSE = 0.02  # seconds between two changes of the stream
BACK = 20.0  # seconds from a host that is up to files that are up to date; 1 as a rule


def generation(number: int) -> dict[str, str]:
    """Return files that all say the same number, long enough to be torn."""
    return dict.fromkeys(FILES, f"{number}\n" * 5000)


def numbers(folder: Path) -> set[str]:
    """Return the generations of the files in a folder, each of which must be whole, and of nothing else there."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".watcher-"):
            lines = path.read_text().splitlines()
            assert len(lines) == 5000 and len(set(lines)) == 1, f"{path} is torn"
            found.add(lines[0])
    return found


def settled(host: Host, number: int) -> bool:
    """Return whether all files are there, are of that generation, and nothing else is."""
    folder = host.path("/srv/app/power")
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return paths == set(FILES) and numbers(folder) == {str(number)}


class Stream(Background):
    """A context manager: each turn is the next generation for all hosts; ``count`` is the last that is in the tree."""

    def __init__(self, fleet: Fleet) -> None:
        """Start nothing yet."""
        super().__init__(PAUSE)
        self.count = 1
        self._fleet = fleet

    def turn(self, number: int) -> None:
        """Publish a generation."""
        self._fleet.put("power", generation(self.count + 1), POLICY)
        self.count += 1


@pytest.fixture(autouse=True)
def one(fleet: Fleet) -> Iterable[None]:
    """Begin with generation 1 on the disks, and end with nothing of it."""
    revisions = fleet.put("power", generation(1), POLICY)
    for host in fleet.hosts:
        fleet.told(host, "power", "deployed", revisions[host.name])
        host.path("/srv/log").unlink(missing_ok=True)
    yield
    fleet.withdraw("power")


def test_in_a_command(fleet: Fleet, host: Host) -> None:
    """Power goes while afterCmd runs: the set is whole, and the command that never ended is run again."""
    host.path("/srv/slow").touch()
    revision = fleet.put("power", generation(2), POLICY, host)[host.name]
    eventually(lambda: host.log() == [("begin", revision)], "afterCmd runs")

    host.kill()
    assert numbers(host.disk("/srv/app/power")) == {"2"}
    host.disk("/srv/slow").unlink()  # with nobody to tell the agent
    host.start()

    fleet.told(host, "power", "deployed", revision, BACK)
    assert settled(host, 2)
    assert [word for word, _revision in host.log()] == ["begin", "begin", "end"]
    assert host.log()[-1][1] >= revision


def test_in_a_stream_of_changes(fleet: Fleet) -> None:
    """Power goes at a random moment of many changes: no file is torn, the last arrives, no command runs twice."""
    seed = random.randrange(1 << 32)  # noqa: S311 (no secret, as below)
    print(f"seed {seed}")
    moments = random.Random(seed)  # noqa: S311
    with Stream(fleet) as stream:
        for host in fleet.hosts:
            enough = stream.count + moments.randrange(5, 50)
            eventually(partial(lambda enough: stream.count > enough, enough), "changes come")
            host.kill()
            numbers(host.disk("/srv/app/power"))
            host.start()

    fleet.each(lambda host: settled(host, stream.count), "is up to date", BACK)
    for host in fleet.hosts:
        ended = [revision for word, revision in host.log() if word == "end"]
        assert ended == sorted(ended), "a command ran for an older set"
        # The one that was just over, and not yet known to be, when power went is owed and runs again.
        assert len(ended) - len(set(ended)) <= 1, "a command ran twice"
