# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network cable of hosts is pulled for a minute, changes come meanwhile, and it is plugged in again."""

from __future__ import annotations

import time

from ansible_collections.watcher.config.tests.hosts.fleet import Fleet

OUTAGE = 60.0  # seconds
CHANGES = 6  # during the outage
CATCH_UP = 15.0  # seconds that a host has from the network to the newest state
POLICY = {"deployPath": "/srv/app/cable", "backupDir": "/var/backups/watcher", "afterCmd": "/srv/after"}


def test_cable(fleet: Fleet) -> None:
    """Both hosts are up to date within seconds, and each set that they deployed had its command once."""
    first = fleet.put("cable", {"a": "0", "b": "0"}, POLICY)
    for host in fleet.hosts:
        fleet.told(host, "cable", "deployed", first[host.name])
        host.path("/srv/log").unlink()
    before = [(host.unit("MainPID"), host.unit("NRestarts")) for host in fleet.hosts]

    for host in fleet.hosts:
        host.cut()
    for number in range(1, CHANGES + 1):
        last = fleet.put("cable", {"a": str(number), "b": str(number)}, POLICY)
        time.sleep(OUTAGE / CHANGES)
    assert [host.text("/srv/app/cable/a") for host in fleet.hosts] == ["0", "0"]

    for host in fleet.hosts:
        host.join()
    start = time.monotonic()
    fleet.each(lambda host: host.text("/srv/app/cable/b") == str(CHANGES), "is up to date", CATCH_UP)
    print(f"up to date {time.monotonic() - start:.2f} s after the network was back")
    for host in fleet.hosts:
        fleet.told(host, "cable", "deployed", last[host.name])
        assert [word for word, _revision in host.log()] == ["begin", "end"], "a command ran twice"
    fleet.each(fleet.agent, "has registered again")
    assert [(host.unit("MainPID"), host.unit("NRestarts")) for host in fleet.hosts] == before
