# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``project`` module: 100 hosts, 20 files of 4 KiB each, one task.

Its peer is a module that puts one key a task (`library/put_key.py`), in two readings. Twenty tasks
that put one file each are all it takes for one host; that is the whole peer, measured each round.
For all hosts the same twenty tasks run on each of them, several at a time as Ansible does it, which
is faster than a loop in each task. As that takes minutes, it is measured on some hosts and
multiplied; the cost is one module run a key, so it is linear.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.publishing import Request, publish_for_hosts
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write

from .figures import Figure
from .ground import Ground, say
from .measure import minus, timed

ROUNDS = 5
HOSTS = tuple(f"web{number:03}" for number in range(100))
PEER_HOSTS = HOSTS[:5]
LINE = "line of 64 characters, with the number of its file, which is {:02}\n"
FILES = {f"file{number:02}.conf": LINE.format(number) * 64 for number in range(20)}
LIMIT = 3.0  # seconds


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground:
        empty = ground.playbook("empty", [])
        project = ground.playbook("project", [{"watcher.config.project": arguments()}])
        peer_one = ground.playbook("peer_one", peer_tasks(ground), HOSTS[:1])
        peer_some = ground.playbook("peer_some", peer_tasks(ground), PEER_HOSTS)
        ground.run(project)  # compiles, and has the folders made
        empties, first, again, core, one, some = [], [], [], [], [], []
        for number in range(ROUNDS):
            say(f"publish: round {number + 1} of {ROUNDS}")
            empties.append(ground.run(empty))
            withdraw(ground)
            first.append(ground.run(project))
            again.append(ground.run(project))
            withdraw(ground)
            core.append(timed(lambda: publish_for_hosts(ground.store, ground.tree, Request(**arguments()))))
            withdraw(ground)
            one.append(ground.run(peer_one, HOSTS[:1]))
        say(f"publish: the peer on {len(PEER_HOSTS)} hosts")
        withdraw(ground)
        some = [ground.run(peer_some, PEER_HOSTS)]
    share = len(HOSTS) / len(PEER_HOSTS)
    everywhere = [(seconds - median(empties)) * share for seconds in some]
    what = f"project: {len(HOSTS)} hosts x {len(FILES)} files x 4 KiB"
    return [
        Figure(what, first, limit=LIMIT, at_most=1),
        Figure(f"{what}, less an empty playbook", minus(first, empties), limit=LIMIT, at_most=1),
        Figure(f"{what}, nothing to write", again, limit=LIMIT),
        Figure(f"{what}, the library alone", core),
        Figure(what, first, peer=f"{len(FILES)} one-key tasks, 1 host", peer_samples=one),
        Figure(what, first, peer=f"{len(FILES)} one-key tasks, all hosts (x{share:g})", peer_samples=everywhere),
    ]


def arguments() -> dict[str, Any]:
    """Return the options of the ``project`` task."""
    return {
        "project": "a.com",
        "hosts": list(HOSTS),
        "policy": {"deployPath": "/srv/a.com"},
        "files": [{"path": path, "content": content} for path, content in FILES.items()],
    }


def peer_tasks(ground: Ground) -> list[dict[str, Any]]:
    """Return one task a file that puts it for the host it runs on."""
    key = "/watcher/{{ inventory_hostname }}/a.com/config.d/"
    return [
        {"put_key": {"endpoint": ground.server.endpoint, "key": key + path, "value": content}}
        for path, content in FILES.items()
    ]


def withdraw(ground: Ground) -> None:
    """Empty the tree."""
    ground.store.commit(Write(delete_prefixes=(ground.tree.root,)))
