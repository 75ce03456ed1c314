# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``tree`` lookup: a host with 10,000 files of 1 kB.

It is paired with the same playbook whose condition looks nothing up, and with one without a task.
"""

from __future__ import annotations

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.reading import read

from .figures import Figure
from .ground import Ground, say
from .measure import minus, timed

ROUNDS = 9
FILES = 10_000
LIMIT = 0.5  # seconds beyond Ansible's own start


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground:
        say(f"lookup: publishing {FILES} files")
        # Fifty a folder, each content different, for nothing should be the same object twice.
        files = {f"{number // 50:03}/{number:05}.conf": f"{number:09}\n".encode() * 100 for number in range(FILES)}
        for part in range(0, FILES, FILES // 10):
            chosen = dict(list(files.items())[part : part + FILES // 10])
            publish(ground.store, ground.tree, "web01", f"a{part}.com", Wanted({"deployPath": "/srv"}, chosen))
        empty = ground.playbook("empty", [])
        count = "lookup('watcher.config.tree', 'web01').values() | map(attribute='files') | map('length') | sum"
        nothing, lookup = (
            ground.playbook(name, [{"ansible.builtin.assert": {"that": [condition]}}])
            for name, condition in (("nothing", f"{FILES} == {FILES}"), ("lookup", f"{count} == {FILES}"))
        )
        ground.run(lookup)
        empties, nothings, lookups, core, fresh = [], [], [], [], []
        for number in range(ROUNDS):
            say(f"lookup: round {number + 1} of {ROUNDS}")
            empties.append(ground.run(empty))
            nothings.append(ground.run(nothing))
            lookups.append(ground.run(lookup))
            core.append(timed(lambda: read(ground.store, ground.tree, "web01")))
            fresh.append(timed(lambda: read(connect(Connection((ground.server.endpoint,))), ground.tree, "web01")))
    what = f"tree lookup: {FILES} files of 1 kB"
    return [
        Figure(f"{what}, less an empty playbook", minus(lookups, empties), limit=LIMIT, at_most=1),
        Figure(f"{what}, less the same task without it", minus(lookups, nothings), limit=LIMIT),
        Figure(f"{what}, the library alone", core),
        Figure(f"{what}, the whole run", lookups, peer="empty playbook", peer_samples=empties),
    ]
