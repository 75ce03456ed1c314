# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A live agent's key on a real etcd that is restarted, emptied, or wants a user."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.presence import Presence
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.contract.fixtures import BOB, keys
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

Open = Callable[..., EtcdStore]
KEY = "/watcher.agents/web01"


def started(store: Store) -> Presence:
    """Return the presence of web01, which has to renew every 0.1 s."""

    def sleep(seconds: float) -> None:
        presence._closed.wait(min(seconds, 0.1))

    presence = Presence(store, Tree(), "web01", version="1", revision=lambda: 7, sleep=sleep)
    presence.start()
    return presence


def test_it_survives(opened: Open, server: EtcdServer, caplog: pytest.LogCaptureFixture) -> None:
    """A restart, a new empty store, a deleted key; in the end it takes its key away."""
    caplog.set_level(logging.INFO)
    watching = opened(server.endpoint)
    presence = started(opened(server.endpoint))
    eventually(lambda: keys(watching, KEY) == [KEY], "it registers")
    server.kill()
    eventually(lambda: not presence.registered, "it notices")
    server.start()
    eventually(lambda: presence.registered, "it is back")
    server.wipe()
    eventually(lambda: keys(watching, KEY) == [KEY], "it registers with the new store")
    server.etcdctl("del", KEY)
    eventually(lambda: keys(watching, KEY) == [KEY], "it puts its key again")
    presence.close()
    assert keys(watching, KEY) == []
    assert not [record for record in caplog.records if record.exc_info]


def test_a_user_who_is_let_in_later(opened: Open, server: EtcdServer, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal is said once, and the key is there as soon as it may be."""
    server.enable_auth()
    server.add_user("bob", BOB["password"])
    presence = started(opened(server.endpoint, **BOB))
    eventually(lambda: "permit" in presence.problem, "it is refused")
    server.etcdctl("role", "grant-permission", "bob", "--prefix=true", "readwrite", "/watcher.agents/")
    eventually(lambda: presence.registered, "it is let in")
    presence.close()
    assert server.etcdctl("get", KEY) == ""
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1 and "for user 'bob': its roles do not permit that" in said[0]
