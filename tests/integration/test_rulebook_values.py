# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole path of a value: registered under a lease, event, real ansible-rulebook, playbook, rendered file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

pytestmark = [pytest.mark.rulebook, pytest.mark.slow]
PATIENCE = 240.0  # seconds for one condition on a busy machine
LEASE = 60  # seconds, renewed by nobody: it is revoked before
TEMPLATE = b"""\
upstream app {
{% for key, address in gets("/services/app/*") %}
    server {{ address }};
{% endfor %}
    keepalive {{ getv("keepalive", "8") }};
}
"""


def upstream(*addresses: str, keepalive: int = 8) -> str:
    """Return what the template should become."""
    servers = "".join(f"    server {address};\n" for address in addresses)
    return f"upstream app {{\n{servers}    keepalive {keepalive};\n}}\n"


def test_a_service_comes_and_goes(tmp_path: Path) -> None:
    """The file follows the services below a watched prefix and the project's own values, also over a restart."""
    with EtcdServer() as etcd:
        store = connect(Connection((etcd.endpoint,)))
        site = Site(tmp_path, etcd.endpoint, ["web01"])
        file, log = site.out() / "app.conf", site.folder / "rulebook.log"

        def register(address: str) -> int:
            lease = store.grant(LEASE)
            store.commit(Write(puts=((f"/services/app/{address}", address.encode()),), lease=lease))
            return lease

        def becomes(text: str) -> None:
            _wait(lambda: file.exists() and file.read_text() == text, f"{file} should be\n{text}", log)

        def settled(revision: int) -> None:
            def is_told() -> bool:
                item, _unused = store.get("/watcher.status/web01/a.com")
                return item is not None and json.loads(item.value)["wantedRevision"] >= revision

            _wait(is_told, f"the status should come to {revision}", log)

        policy = {**site.policy(), "render": True, "watch": ["/services/app"]}
        root = "/watcher/web01/a.com/"
        first = register("10.0.0.1:80")
        store.commit(
            Write(puts=((f"{root}config", json.dumps(policy).encode()), (f"{root}config.d/app.conf.j2", TEMPLATE)))
        )
        with site.rulebook():
            becomes(upstream("10.0.0.1:80"))
            second = register("10.0.0.2:80")
            becomes(upstream("10.0.0.1:80", "10.0.0.2:80"))
            store.revoke(first)
            becomes(upstream("10.0.0.2:80"))
            last = store.commit(Write(puts=((f"{root}vars/keepalive", b"16"),)))
            becomes(upstream("10.0.0.2:80", keepalive=16))
            settled(last)
        store.revoke(second)
        _unused, last = store.get("/")
        with site.rulebook():
            becomes(upstream(keepalive=16))
            settled(last)
        assert site.commands() == ["before", "after"] * 5
        store.close()


def _wait(condition: Callable[[], bool], what: str, log: Path) -> None:
    """Return once the condition holds; AssertionError with the log after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}\n{log.read_text(errors='replace')[-5000:]}"
        time.sleep(0.02)
