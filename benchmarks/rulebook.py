# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a change in the tree to the end of its playbook, through ansible-rulebook and the shipped rulebook.

The host is this machine over the local connection. The peer is ansible-playbook on a play without
tasks, in turns with the changes. Beside it stand one of one task with a module that does nothing,
as no deployment does with less, and the rulebook's own playbook, run by hand for a tree that is
deployed already: what is above that is the price of event source and rulebook. A wrapper on PATH
notes when each playbook of the rulebook begins and ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from java_home import java_home

from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish

from .figures import Figure
from .ground import Ground, say

WARM_UP = 2
ROUNDS = 12
PAUSE = 0.3  # seconds after a playbook, twice that at most: the next change finds nothing under way
BOUND = 90.0  # seconds that a change may take, the start of ansible-rulebook included
STOP_TIMEOUT = 10.0  # seconds
AT_MOST = 1.5  # times an empty playbook
HOST, PROJECT = "web01", "a.com"
WRAPPER = """#!/bin/sh
begin=$(date +%s%N)
{command} "$@"
code=$?
echo "$begin $(date +%s%N) $code" >> {log}
exit $code
"""


@dataclass
class Samples:
    """What one rulebook's rounds took, in seconds."""

    whole: list[float] = field(default_factory=list)
    until_start: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)


def measure() -> list[Figure]:
    """Return the figures."""
    figures = []
    for name, variables in (("default batch", {}), ("batch=0", {"watcher_batch": 0})):
        with Ground() as ground:
            samples = _rounds(Stage(ground, variables), name)
        what = f"change to playbook finished, {name}"
        peers = (
            ("empty playbook", samples.empty, AT_MOST),
            ("playbook of one ping", samples.nothing, None),
            ("watcher.config.deploy by hand", samples.by_hand, None),
        )
        figures += [
            Figure(what, samples.whole, peer=peer, peer_samples=beside, at_most=goal) for peer, beside, goal in peers
        ]
        figures.append(Figure(f"{what}: until ansible-playbook starts", samples.until_start))
    return figures


class Stage:
    """A host of the tree, the wrapper, and ansible-rulebook."""

    def __init__(self, ground: Ground, variables: Mapping[str, Any]) -> None:
        """Prepare the files; ``variables`` are the rulebook's."""
        self.ground = ground
        self.log = ground.folder / "playbooks.log"
        self.deployed = ground.folder / "deployed"
        self.inventory = ground.folder / "inventory"
        self.variables = ground.folder / "variables.json"
        self.output = ground.folder / "rulebook.log"
        self._lines = 0
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "watcher_state_dir": str(ground.folder / "state"),
        }
        self.inventory.mkdir()
        (self.inventory / "hosts.json").write_text(json.dumps({"all": {"hosts": {HOST: host}}}))
        self.variables.write_text(json.dumps({"watcher_position_file": "", **variables}))
        command = Path(sys.executable).with_name("ansible-playbook")
        wrapper = ground.folder / "bin" / "ansible-playbook"
        wrapper.parent.mkdir()
        wrapper.write_text(WRAPPER.format(command=command, log=self.log))
        wrapper.chmod(0o755)

    @contextmanager
    def rulebook(self) -> Iterator[None]:
        """Run ansible-rulebook."""
        home = java_home()
        if home is None:
            raise RuntimeError("ansible-rulebook needs Java 17 or newer, and there is none")
        environment = self.ground.environment
        environment["PATH"] = f"{self.ground.folder / 'bin'}{os.pathsep}{environment['PATH']}"
        environment["JAVA_TOOL_OPTIONS"] = "-Xrs"  # without it, a stop leaves playbooks behind
        if home:
            environment["JAVA_HOME"] = home
        options = ("--rulebook", "watcher.config.deploy", "--inventory", self.inventory, "--vars", self.variables)
        with (
            self.output.open("wb") as output,
            subprocess.Popen(
                ("ansible-rulebook", *options),
                cwd=self.ground.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            self._process = process
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()

    def change(self, content: str) -> tuple[float, float, float]:
        """Publish a file with this content; return the times of the publish, of its playbook's start and end."""
        wanted = Wanted({"deployPath": str(self.deployed)}, {"a.conf": content.encode()})
        published = time.time()
        publish(self.ground.store, self.ground.tree, HOST, PROJECT, wanted)
        begin, end, code = self._next_line()
        there = self.deployed / "a.conf"
        if code or there.read_text() != content:
            raise RuntimeError(f"the playbook ended with {code}:\n{self.output.read_text()}")
        time.sleep(random.uniform(PAUSE, 2 * PAUSE))  # noqa: S311 - no secret
        return published, begin / 1e9, end / 1e9

    def deploy(self) -> float:
        """Return the seconds that the rulebook's playbook takes when it is run by hand."""
        return self.ground.command("ansible-playbook", "--inventory", str(self.inventory), "watcher.config.deploy")

    def _next_line(self) -> tuple[int, int, int]:
        """Return what the wrapper notes of the next playbook."""
        deadline = time.monotonic() + BOUND
        while True:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if len(lines) > self._lines:
                self._lines += 1
                begin, end, code = map(int, lines[self._lines - 1].split())
                return begin, end, code
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no playbook ended within {BOUND:g} s:\n{self.output.read_text()}")
            time.sleep(0.01)


def _rounds(stage: Stage, name: str) -> Samples:
    samples = Samples()
    run = stage.ground.run
    empty = stage.ground.playbook("empty", [], (HOST,))
    nothing = stage.ground.playbook("nothing", [{"ansible.builtin.ping": {}}], (HOST,))
    with stage.rulebook():
        for number in range(WARM_UP):
            stage.change(f"warm-up {number}\n")
        run(empty, (HOST,)), run(nothing, (HOST,))
        for number in range(ROUNDS):
            say(f"rulebook, {name}: round {number + 1} of {ROUNDS}")
            samples.empty.append(run(empty, (HOST,)))
            samples.nothing.append(run(nothing, (HOST,)))
            samples.by_hand.append(stage.deploy())
            published, begin, end = stage.change(f"round {number}\n")
            samples.whole.append(end - published)
            samples.until_start.append(begin - published)
    return samples
