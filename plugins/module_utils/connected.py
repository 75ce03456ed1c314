# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam for modules that need the tree; apart from the other, so that only they carry the etcd client along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ._core.connection import Connection
from ._core.etcd import connect
from ._core.keys import Tree
from ._core.store import Store
from .module import run


def run_with_store(module: AnsibleModule, work: Callable[[Store, Tree], dict[str, Any]]) -> None:
    """Do work that needs the tree, and close the connection behind it."""

    def connected() -> dict[str, Any]:
        connection = Connection.from_options(module.params.get)
        store = connect(connection)
        try:
            return work(store, Tree(connection.prefix))
        finally:
            store.close()

    run(module, connected)
