# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One etcd for each file, an empty tree with the host web01 or none, and a receiver of callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_site import AgentSite
from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_run import Tree


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    """Start one etcd for the whole file."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def site(etcd: EtcdServer, tmp_path: Path) -> Site:
    """Return a controller with the host web01 and an empty tree."""
    etcd.etcdctl("del", "--prefix", "/")
    return Site(tmp_path, etcd.endpoint, ["web01"])


@pytest.fixture
def host(etcd: EtcdServer, tmp_path: Path) -> Iterator[AgentSite]:
    """Return the host web01 of an empty tree, for its agent."""
    etcd.etcdctl("del", "--prefix", "/")
    site = AgentSite(tmp_path, etcd)
    yield site
    site.close()


@pytest.fixture
def tree(etcd: EtcdServer) -> Iterator[Tree]:
    """Return an empty tree, for an event source."""
    tree = Tree(etcd)
    tree.store.commit(Write(delete_prefixes=("/",)))
    yield tree
    tree.store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Serve a receiver of callbacks."""
    with Receiver().serving() as serving:
        yield serving
