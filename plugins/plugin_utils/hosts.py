# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the tree as an inventory's: thousands of them, made quickly."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.fleet import STATES, groups
from ansible_collections.watcher.config.plugins.plugin_utils.untrusted import Marker

MAX_SAID = 10  # names in a warning
MARK = Marker((*STATES, "", "agent", "playbook"))  # texts that are ours, whoever says them


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector rest: what is made here stays, and looking for garbage is a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def populate(inventory: Any, hosts: Mapping[str, Any], safe: Callable[[str], str]) -> tuple[dict[str, Any], list[str]]:
    """Add hosts with their variables and groups, and return them by name, and what to warn about.

    ``safe`` makes the name of a group. A host that is named like one is left out, for it would be read as that group.
    """
    by_group = groups(hosts, safe)
    taken = hosts.keys() & {*by_group, *inventory.groups}
    there = {name: _added(inventory, name, host) for name, host in hosts.items() if name not in taken}
    for name, members in by_group.items():
        group = inventory.groups[inventory.add_group(name)]
        for member in members:
            if member in there:
                group.add_host(there[member])
    return there, _warnings(taken)


def _added(inventory: Any, name: str, data: Mapping[str, Any]) -> Any:
    # Straight to the host: the inventory's own way is five times as slow, for it copies and tags each value.
    host = inventory.hosts[inventory.add_host(name)]
    host.set_variable("watcher_projects", {project: MARK(said) for project, said in data["projects"].items()})
    host.set_variable("watcher_state", MARK.text(data["state"]))
    if data["agent"] is not None:
        host.set_variable("watcher_agent", MARK(data["agent"]))
    return host


def _warnings(taken: Collection[str]) -> list[str]:
    names = ", ".join(sorted(taken)[:MAX_SAID]) + (", ..." if len(taken) > MAX_SAID else "")
    said = f"{len(taken)} hosts are left out, for groups are named so; rename them: {names}"
    return [said] if taken else []
