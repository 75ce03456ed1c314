# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a doctor asks others: etcd's endpoints, their clocks and the kernel's, the agent's key."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable, Iterator, Sequence

from .checkup import endpoint_finding
from .finding import FAIL, OK, WARN, Finding
from .keys import shown
from .probes import Probe
from .store import Store

MAX_SKEW = 5.0  # seconds between two clocks
TIME_ERROR = 5  # what adjtimex(2) returns where nothing disciplines the clock
TIMEX = 1024  # bytes; more than struct timex has anywhere


def endpoints(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Yield which endpoints serve, and whether they are of one cluster."""
    yield from map(endpoint_finding, probes)
    serving = [probe for probe in probes if probe.problem is None]
    if len({probe.cluster_id for probe in serving}) > 1:
        found = ", ".join(f"{probe.endpoint} is of {probe.cluster_id:x}" for probe in serving)
        yield Finding(FAIL, "etcd", f"the endpoints belong to different clusters ({found}): name those of one")


def clock(probes: Iterable[Probe]) -> Iterator[Finding]:
    """Yield whether this host's clock is right, by those of the endpoints that serve and by the kernel."""
    for probe in probes:
        if probe.problem is None:
            yield _compared(probe)
    synchronised = is_synchronised()
    if synchronised:
        yield Finding(OK, "clock", "something keeps it right, says the kernel")
    elif synchronised is False:
        yield Finding(WARN, "clock", "the kernel knows of nothing that keeps it right: run an NTP client")


def _compared(probe: Probe) -> Finding:
    if probe.skew is None:
        return Finding(WARN, "clock", f"not compared with {probe.endpoint}, which does not tell the time over HTTP")
    if abs(probe.skew) <= MAX_SKEW:
        return Finding(OK, "clock", f"within {MAX_SKEW:g} s of that of {probe.endpoint}")
    side = "ahead of" if probe.skew > 0 else "behind"
    text = f"{abs(probe.skew):.0f} s {side} that of {probe.endpoint}: have NTP set both"
    return Finding(WARN, "clock", text)


def is_synchronised() -> bool | None:
    """Return whether something keeps the system's clock right; None where the kernel does not tell."""
    try:
        code = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX)))  # modes 0: it only asks
    except (OSError, AttributeError):
        return None
    return None if code < 0 else code != TIME_ERROR


def registration(store: Store, key: str, pid: int | None) -> Finding:
    """Return whether the agent that serves the host, ``pid``, is the one in the tree; raise StoreError.

    A key under a lease that has ended is gone, so one that is there is under one that is alive.
    """
    item, _revision = store.get(key)
    if item is None:
        missing = f"{key} is not there"
        if pid:
            return Finding(FAIL, "registration", f"{missing} although the agent runs: its log says why")
        return Finding(OK, "registration", f"{missing}, as no agent runs")
    who, other = _said(item.value)
    if not item.lease:
        return Finding(FAIL, "registration", f"{key} ({who}) has no lease and stays for ever: etcdctl del {key}")
    if pid and other != pid:
        advice = "stop one of the two, or give each host its own hostname"
        return Finding(FAIL, "registration", f"{key} is of another agent ({who}): {advice}")
    if pid == 0:
        advice = "it ended less than a minute ago, or runs elsewhere or with another state folder"
        return Finding(WARN, "registration", f"{key} is of an agent ({who}) that does not serve here: {advice}")
    return Finding(OK, "registration", f"{key} is there, its lease is alive ({who})")


def _said(value: bytes) -> tuple[str, int]:
    """Return who wrote an agent's key, in words and as the number of a process."""
    try:
        body = json.loads(value)
        return shown(f"process {body['pid']}, version {body['version']}, since {body['started']}"), int(body["pid"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "nothing that can be read", -1
