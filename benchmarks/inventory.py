# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``tree`` inventory: 5,000 hosts with two projects each, all with a live agent.

Measured is ``ansible-inventory --graph``, for which the hosts, their variables and groups are read as for any playbook,
less the same on an inventory without hosts, which is Ansible's own start; and likewise ``--list``, which then writes
all variables. Beside them stand the same hosts in a file: with the same variables and groups, and bare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.clock import timestamp
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write

from .figures import Figure
from .ground import Ground, say
from .measure import minus

ROUNDS = 7
HOSTS = 5_000
PROJECTS = ("a.com", "b.com")
FILES = 2  # of a project
TOGETHER = 10  # hosts in one transaction
LIMIT = 2.0  # seconds beyond Ansible's own start
START = 1_790_000_000  # seconds since the epoch; each time is another


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground:
        say(f"inventory: publishing {len(PROJECTS)} projects for each of {HOSTS} hosts")
        for first in range(0, HOSTS, TOGETHER):
            puts = [put for number in range(first, first + TOGETHER) for put in _puts(ground, number)]
            ground.store.commit(Write(puts=tuple(puts)))
        tree = _written(ground, "watcher.yml", {"plugin": "watcher.config.tree"})
        shown = ground.folder / "shown.json"
        _list(ground, tree, shown)
        sources = {
            "empty": {"all": {"hosts": {}}},
            "bare": {"all": {"hosts": dict.fromkeys(f"web{number:04}" for number in range(HOSTS))}},
            "static": _static(json.loads(shown.read_text(encoding="utf-8"))),
        }
        paths = {name: _written(ground, f"{name}.json", data) for name, data in sources.items()} | {"tree": tree}
        took: dict[str, list[float]] = {name: [] for name in paths}
        read: dict[str, list[float]] = {name: [] for name in paths}
        for number in range(ROUNDS):
            say(f"inventory: round {number + 1} of {ROUNDS}")
            for name, path in paths.items():
                took[name].append(_list(ground, path, shown))
                read[name].append(_graph(ground, path, shown))
    figures = []
    for what, samples in (("read, with groups", read), ("all variables written as JSON", took)):
        beyond, static, bare = (minus(samples[name], samples["empty"]) for name in ("tree", "static", "bare"))
        name = f"tree inventory: {HOSTS} hosts {what}"
        goal = 1 if samples is read else None  # what Ansible makes of all variables is its own
        figures += [
            Figure(f"{name}, less one without hosts", beyond, limit=LIMIT, at_most=goal),
            Figure(f"{name}, less one without hosts", beyond, peer="the same in a file", peer_samples=static),
            Figure(f"{name}, less one without hosts", beyond, peer="bare hosts in a file", peer_samples=bare),
            Figure(f"{name}, the whole run", samples["tree"], peer="without hosts", peer_samples=samples["empty"]),
        ]
    return figures


def _puts(ground: Ground, number: int) -> list[tuple[str, bytes]]:
    """Return the keys of one host."""
    host, now = f"web{number:04}", timestamp(START + number)
    agent = {"hostname": host, "version": "1.2.3", "pid": 1000 + number, "started": now, "revision": 10_000}
    puts = [(ground.tree.agent(host), json.dumps(agent).encode())]
    for project in PROJECTS:
        status = {
            "state": "deployed",
            "revision": 10_000,
            "wantedRevision": 10_000,
            "digest": f"sha256:{number:064x}",
            "files": FILES,
            "msg": "",
            "by": "agent",
            "version": "1.2.3",
            "startedAt": now,
            "finishedAt": now,
            "attempts": 1,
        }
        puts.append((ground.tree.policy(host, project), b'{"deployPath": "/srv"}'))
        puts += [(ground.tree.file(host, project, f"{file}.conf"), b"x" * 1000) for file in range(FILES)]
        puts.append((ground.tree.status(host, project), json.dumps(status).encode()))
    return puts


def _static(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what ansible-inventory has shown as a file for the plugin ``yaml``."""
    hosts = shown["_meta"]["hostvars"]
    if len(hosts) != HOSTS or shown["watcher_in_sync"]["hosts"] != sorted(hosts):
        raise RuntimeError(f"{len(hosts)} hosts were shown, and not all of them in sync")
    groups = {name: {"hosts": dict.fromkeys(shown[name]["hosts"])} for name in shown if name.startswith("watcher_")}
    return {"all": {"hosts": hosts, "children": groups}}


def _written(ground: Ground, name: str, data: Any) -> Path:
    path = ground.folder / name
    path.write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    return path


def _list(ground: Ground, source: Path, shown: Path) -> float:
    return ground.command("ansible-inventory", "--inventory", str(source), "--list", "--output", str(shown))


def _graph(ground: Ground, source: Path, shown: Path) -> float:
    return ground.command("ansible-inventory", "--inventory", str(source), "--graph", "--output", str(shown))
