# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent is killed at random moments, again and again, while the tree changes all the time.

In the end the disk equals the tree, the receiver of callbacks has heard of every final revision,
and no command ran for a set of files that had not changed.

WATCHER_KILLS sets the number of kills, WATCHER_SEED repeats a run.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.model import md5
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.agent_site import HOST, AgentSite, Background
from ansible_collections.watcher.config.tests.ansible_site import Receiver

KILLS = int(os.environ.get("WATCHER_KILLS", "100"))
SEED = int(os.environ.get("WATCHER_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
PROJECTS = ("a.com", "b.com", "c.com", "d.com", "e.com")
QUIET = "quiet.com"  # changes only before the first kill
PATHS = tuple(f"{folder}f{number}" for folder in ("", "sub/") for number in range(6))
STARTING = 0.35  # seconds of a life that may be shorter than the start: a third of all kills
WORKING = 0.25  # seconds after the agent is ready; what a deployment does takes some milliseconds of them
PACE = 0.05  # seconds between two transactions
DIGEST = "cd {} && find . -type f ! -name '.watcher*' | sort | xargs -r md5sum | md5sum | cut -c1-8"


class Stream(Background):
    """A context manager: changes of random files of random projects; ``files`` are then those of the tree."""

    def __init__(self, site: AgentSite, chance: random.Random) -> None:
        """Start nothing yet."""
        super().__init__(PACE)
        self.files: dict[str, dict[str, str]] = {name: {} for name in PROJECTS}
        self.revisions: dict[str, int] = {}  # of the last change of each project
        self._site, self._random = site, chance

    def turn(self, number: int) -> None:
        """Change a project."""
        self._change(self._random.choice(PROJECTS), str(number))

    def _change(self, name: str, text: str) -> None:
        """Set some files of a project and delete another, in one transaction."""
        files = self.files[name]
        puts = self._random.sample(PATHS, self._random.randint(1, 3))
        there = [path for path in files if path not in puts]
        deletes = self._random.sample(there, 1) if len(there) > 3 and self._random.random() < 0.3 else []
        keys = {path: self._site.key(name, f"config.d/{path}") for path in (*puts, *deletes)}
        write = Write(
            puts=tuple((keys[path], text.encode()) for path in puts), deletes=tuple(keys[path] for path in deletes)
        )
        self.revisions[name] = self._site.store.commit(write)
        files.update(dict.fromkeys(puts, text))
        for path in deletes:
            del files[path]


@dataclass
class Kill:
    """What a kill left of a project: how many lines its commands had logged, and whether they were owed."""

    lines: int
    owed: bool


@pytest.mark.slow
def test_killed_at_random_moments(host: AgentSite) -> None:
    """Nothing is lost, nothing is torn, and nothing is done that need not be done."""
    print(f"WATCHER_SEED={SEED} WATCHER_KILLS={KILLS}")
    chance = random.Random(SEED)  # noqa: S311 - no secret
    kills: dict[str, list[Kill]] = {name: [] for name in (*PROJECTS, QUIET)}
    with Receiver().serving() as receiver:
        for name in PROJECTS:
            host.publish({}, name, callback=receiver.url, **commands(host, name))
        quiet = host.publish({"q": "1"}, QUIET, callback=receiver.url, **commands(host, QUIET))
        agent = host.agent()
        with agent:
            host.settled(agent, quiet, QUIET)
        with Stream(host, random.Random(SEED)) as stream:  # noqa: S311 - likewise
            for _unused in range(KILLS):
                live_and_die(agent, chance)
                for name, found in kills.items():
                    found.append(look(host, agent, name))
        with agent:
            for name in PROJECTS:
                host.settled(agent, stream.revisions[name], name)
            agent.until(lambda: told(receiver, stream.revisions), "the receiver has heard of all final revisions", 60)
    for name in PROJECTS:
        assert host.disk(name) == stream.files[name], name
        check_commands(host, name, kills[name])
    assert host.words(QUIET) == ["before", "after"]
    check_callbacks(receiver, stream.files)
    interrupted = sum(kill.owed for found in kills.values() for kill in found)
    print(f"{interrupted} deployments were interrupted, {len(receiver.bodies)} callbacks came")
    assert interrupted, "no kill hit a deployment"


def commands(host: AgentSite, name: str) -> dict[str, str]:
    """Return commands that log the revision and a digest of all files as they are."""
    line = f'"$WATCHER_REVISION $({DIGEST.format(host.out(name))})" >>{host.folder}/commands.{name}'
    return {"beforeCmd": f"mkdir -p {host.out(name)}; echo before {line}", "afterCmd": f"echo after {line}"}


def live_and_die(agent: AgentRun, chance: random.Random) -> None:
    """Start the agent and kill it, during its start or while it works."""
    agent.launch()
    if chance.random() < 1 / 3:
        time.sleep(chance.uniform(0, STARTING))
    else:
        agent.wait()
        time.sleep(chance.uniform(0, WORKING))
    agent.kill()


def look(host: AgentSite, agent: AgentRun, name: str) -> Kill:
    """Return what the kill left of a project."""
    ledger = State(str(agent.state_dir)).load(HOST, name)
    return Kill(len(host.commands(name)), ledger.owed is not None)


def told(receiver: Receiver, revisions: Mapping[str, int]) -> bool:
    """Return whether of each project a success at its last revision, or at a newer one of the host, was told."""
    newest = {body["project"]: body["revision"] for body in list(receiver.bodies) if body["code"] == 200}
    return all(newest.get(name, 0) >= revision for name, revision in revisions.items())


def check_commands(host: AgentSite, name: str, kills: Sequence[Kill]) -> None:
    """Demand that no command ran for a set that had not changed, and that those of the last set did run.

    Contents are never used twice, so two runs see the same digest only if nothing had changed. That
    is right once: after a kill which left the commands owed.
    """
    lines = [line.split() for line in host.commands(name)]
    for word in ("before", "after"):
        done = [(number, line[2]) for number, line in enumerate(lines) if line[0] == word]
        for (first, digest), (second, again) in itertools.pairwise(done):
            owed = any(kill.owed and first - 1 <= kill.lines <= second for kill in kills)
            assert digest != again or owed, f"{name}: lines {first} and {second} of\n{host.commands(name)}"
    command = DIGEST.format(host.out(name))
    now = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert done[-1][1] == now.strip(), f"{name}: afterCmd has not seen the last files"


def check_callbacks(receiver: Receiver, files: Mapping[str, Mapping[str, str]]) -> None:
    """Demand that callbacks tell the truth: the last digest that was told of a file is that of the disk."""
    last: dict[tuple[str, str], str] = {}
    for body in sorted(receiver.bodies, key=lambda body: int(body["revision"])):
        assert (body["code"], body["msg"]) == (200, ""), body
        for file in body["files"]:
            last[body["project"], file["path"]] = file["md5"]
    for name, wanted in files.items():
        for path, text in wanted.items():
            assert last[name, path] == md5(text.encode()), f"{name}/{path}"
