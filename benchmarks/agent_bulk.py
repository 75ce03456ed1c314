# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent under many changes: a burst, a start with everything to do, and memory over very many events."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import linear_regression

from .agent_ground import Host
from .figures import Figure
from .ground import Ground, say
from .measure import timed

KEYS = 1000
ROUNDS = 5
ONCE_A_BURST = 1.0  # seconds from the last acknowledgement
START = 1.0  # seconds
AT_ONCE = 32  # puts on their way, of the faster burst
EVENTS = int(os.environ.get("WATCHER_BENCH_EVENTS", "50000"))
LOOKS = 20  # at the memory, over all events
GROWTH = 0.5  # MB for 100,000 events; less is what the allocator does
LONG = 500_000  # events; over fewer the allocator's settling is most of the slope
IMPORTS = "import watcher.agent; from watcher import wire; wire.load(); wire.load_grpc()"


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground:
        return [*bursts(ground), *starts(ground), *growth(ground)]


def bursts(ground: Ground) -> list[Figure]:
    """Return how long the last of 1,000 puts of 1,000 keys takes to be on the disk."""
    host = Host(ground, "burst", KEYS)
    host.policies()
    host.publish(b"0")
    with host.agent:
        host.deployed(b"0")
        contents = iter(str(number).encode() for number in range(1, 1000))
        say(f"agent: {2 * ROUNDS} bursts of {KEYS} puts")
        samples = {
            "one after the other": [burst(host, next(contents), map) for _unused in range(ROUNDS)],
            f"{AT_ONCE} at once": [burst(host, next(contents), at_once) for _unused in range(ROUNDS)],
        }
    what = f"agent: burst, {KEYS} keys by {KEYS} puts, last acknowledgement to all on disk"
    return [Figure(f"{what}, {how}", found, limit=ONCE_A_BURST, at_most=1) for how, found in samples.items()]


def at_once(put: Callable[[int], None], numbers: Iterable[int]) -> list[None]:
    """Put with many requests on their way."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(put, numbers))


def burst(
    host: Host, content: bytes, spread: Callable[[Callable[[int], None], Iterable[int]], Iterable[None]]
) -> float:
    """Put all files and return the seconds from the last acknowledgement until all are on the disk."""
    list(spread(lambda number: host.put(number, content), range(host.keys)))
    return timed(lambda: host.deployed(content))


def starts(ground: Ground) -> list[Figure]:
    """Return how long a start takes until 1,000 files are on the disk, and Python's part of it."""
    say(f"agent: {ROUNDS} starts with {KEYS} files to deploy")
    whole, ready, imports = [], [], []
    for number in range(ROUNDS):
        host = Host(ground, f"start{number}", KEYS)
        host.policies()
        host.publish(b"first")
        try:
            whole.append(timed(partial(start, host, b"first")))
            host.agent.wait()
            host.agent.stop()
            ready.append(timed(host.agent.start))
        finally:
            host.agent.kill()
        command = [sys.executable, "-c", IMPORTS]
        imports.append(timed(partial(run, command, host)))
    return [
        Figure(f"agent: start to {KEYS} files deployed", whole, limit=START, at_most=1),
        Figure("agent: start to ready, nothing to do", ready),
        Figure("agent: of that, Python and its imports", imports),
    ]


def start(host: Host, content: bytes) -> None:
    """Start the agent, and return once all files hold the content."""
    host.agent.launch()
    host.deployed(content)


def run(command: list[str], host: Host) -> None:
    """Run a command in the agent's environment."""
    subprocess.run(command, env=host.agent.environment, cwd=host.folder, check=True)


def growth(ground: Ground) -> list[Figure]:
    """Return the memory over many events: changes of 1,000 files in 10 projects, 100 in each transaction."""
    host = Host(ground, "growth", KEYS, 10)
    host.policies()
    host.publish(b"first")
    say(f"agent: memory over {EVENTS:,} events (WATCHER_BENCH_EVENTS sets the number)")
    events, memory = [0.0], []
    with host.agent:
        host.deployed(b"first")
        for number in range(EVENTS // KEYS):
            content = b"%d" % number
            host.publish(content)
            if number % max(1, EVENTS // KEYS // LOOKS) == 0:
                host.deployed(content)
                memory.append(host.agent.rss / 1e6)
                events.append(float((number + 1) * KEYS))
                ground.server.compact(number * 10 + 1)
    half = len(memory) // 2
    slope = linear_regression(events[1 + half :], memory[half:]).slope * 1e5
    goal = 1.0 if EVENTS >= LONG else None
    return [
        Figure(f"agent: memory, {EVENTS:,} events, first half", memory[:half], unit="MB"),
        Figure("agent: memory, second half", memory[half:], unit="MB"),
        Figure("agent: growth for 100,000 events (slope, second half)", [slope], limit=GROWTH, at_most=goal, unit="MB"),
    ]
