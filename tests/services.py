# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that register themselves below ``/services/app/``, and when they were seen to go."""

from __future__ import annotations

import json
import threading
import time

from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write

PREFIX = "/services/"
APP = PREFIX + "app/"
# Lists them for nginx.
UPSTREAM = """\
upstream app {
{% for service in gets('/services/app/*') %}
    server {{ json(service.key).address }};
{% endfor %}
}
"""


def upstream(*addresses: str) -> str:
    """Return what the template makes of services at these addresses."""
    return "upstream app {\n" + "".join(f"    server {address};\n" for address in addresses) + "}\n"


def register(store: Store, name: str, address: str, lease: int = 0) -> int:
    """Register a service, under a lease if one is given, and return the revision."""
    return store.commit(Write(puts=((APP + name, json.dumps({"address": address}).encode()),), lease=lease))


def unregister(store: Store, *names: str) -> int:
    """Remove services in one transaction and return its revision."""
    return store.commit(Write(deletes=tuple(APP + name for name in names)))


class Ends:
    """A context manager that notes when the deletion of each service arrives at a watch of its own."""

    def __init__(self, store: Store) -> None:
        """Prepare; nothing is watched yet."""
        self.seen: dict[str, float] = {}  # by name, on the monotonic clock
        self._store = store
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Ends:
        """Begin to watch."""
        self._watching = self._store.watch(APP, self._store.list(APP).revision + 1)
        self._watch = self._watching.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Watch no more."""
        self._watch.close()
        self._thread.join()

    def _read(self) -> None:
        for batch in self._watch:
            now = time.monotonic()
            self.seen.update({event.key.decode()[len(APP) :]: now for event in batch.events if event.deleted})
