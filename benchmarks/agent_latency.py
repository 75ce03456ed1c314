# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: from a put to the new file on the disk, and what that costs, by the number of the host's keys.

The peer is a bare gRPC watch that writes, fsyncs and renames, in a process of its own as the agent
is. All hosts and the peer run at the same time and take turns, one put each in random order, so
that noise of the machine hits all alike. Nobody is woken for another's put.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .agent_ground import Host, Writer, floor, writer
from .figures import Figure
from .ground import Ground, say
from .landing import Landing
from .measure import p95

SIZES = {"1 key": (1, 1), "100 keys": (100, 1), "1,000 keys": (1000, 1), "10,000 keys": (10_000, 1)}
SPREAD = {"10,000 keys in 100 projects": (10_000, 100)}
WARM_UP = 30
ROUNDS = int(os.environ.get("WATCHER_BENCH_ROUNDS", "300"))
PAUSE = 0.01  # seconds between two puts, twice that at most, so that no timer can run in step with them
IDLE = 20.0  # seconds
AT_MOST = 1.5  # times the floor
FLAT = 1.2  # times the host with one key
IDLE_CPU = 0.5  # percent of a core; gRPC's own threads, which look around five times a second, take half of it
MEMORY = 60.0  # MB

FLOOR = "floor"
Samples = dict[str, list[float]]


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground, writer(ground) as process, hosts(ground) as running:
        with contextlib.ExitStack() as stack:
            bare = ground.folder / "bare"
            bare.mkdir()
            stack.enter_context(floor(ground, "/bare", bare / "file"))
            turns = {name: (host.key(0), Landing(host.path(0))) for name, host in running.items()}
            turns[FLOOR] = ("/bare", Landing(bare / "file"))
            for _key, landing in turns.values():
                stack.callback(landing.close)
            rounds(process, turns, WARM_UP)
            before = {name: host.agent.cpu for name, host in running.items()}
            say(f"agent: {ROUNDS} rounds of {len(turns)} puts")
            samples = rounds(process, turns, ROUNDS)
        cpu = {name: [(host.agent.cpu - before[name]) / ROUNDS] for name, host in running.items()}
        return [*latencies(samples), *costs(cpu), *idle(running)]


@contextmanager
def hosts(ground: Ground) -> Iterator[dict[str, Host]]:
    """Run the agents of all hosts, up to date."""
    with contextlib.ExitStack() as stack:
        found = {}
        for number, (name, (keys, projects)) in enumerate({**SIZES, **SPREAD}.items()):
            say(f"agent: publishing {name}")
            found[name] = host = Host(ground, f"web{number}", keys, projects)
            host.policies()
            host.publish(b"first")
            stack.callback(host.agent.kill)
            host.agent.start()
            host.deployed(b"first")
        yield found


def rounds(process: Writer, turns: Mapping[str, tuple[str, Landing]], count: int) -> Samples:
    """Return the seconds from put to disk of each, round by round."""
    samples: Samples = {name: [] for name in turns}
    for _unused in range(count):
        for name in random.sample(sorted(turns), len(turns)):
            samples[name].append(process.latency(*turns[name]))
            time.sleep(random.uniform(PAUSE, 2 * PAUSE))  # noqa: S311 - no secret
    return samples


def latencies(samples: Samples) -> list[Figure]:
    """Return the figures of put to disk."""
    what, peer, least = "agent: put to file on disk", "bare watch + write, fsync, rename", samples[FLOOR]
    ours = [name for name in samples if name != FLOOR]
    return [
        *(Figure(f"{what}, {name}", samples[name], peer=peer, peer_samples=least, at_most=AT_MOST) for name in ours),
        *(
            Figure(f"{what}, {name}, p95", [p95(samples[name])], peer=f"{peer}, p95", peer_samples=[p95(least)])
            for name in ours
        ),
        *(
            Figure(f"{what}, {name}", samples[name], peer="1 key", peer_samples=samples["1 key"], at_most=FLAT)
            for name in ours[-2:]
        ),
    ]


def costs(cpu: Samples) -> list[Figure]:
    """Return the figures of CPU for each event."""
    what = "agent: CPU for each event, all threads"
    return [
        Figure(f"{what}, 1 key", cpu["1 key"]),
        *(
            Figure(f"{what}, {name}", cpu[name], peer="1 key", peer_samples=cpu["1 key"], at_most=FLAT)
            for name in list(cpu)[1:]
        ),
    ]


def idle(running: Mapping[str, Host]) -> list[Figure]:
    """Return the figures of agents to which nothing happens."""
    say(f"agent: {IDLE:g} s of nothing")
    before = {name: host.agent.cpu for name, host in running.items()}
    start = time.monotonic()
    time.sleep(IDLE)
    used = {name: 100 * (host.agent.cpu - before[name]) / (time.monotonic() - start) for name, host in running.items()}
    return [
        *(Figure(f"agent: CPU idle, {name}", [used[name]], limit=IDLE_CPU, at_most=1, unit="%") for name in running),
        *(
            Figure(f"agent: memory idle, {name}", [host.agent.rss / 1e6], limit=MEMORY, at_most=1, unit="MB")
            for name, host in running.items()
        ),
    ]
