# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let pytest import a checkout with any folder name as the collection."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def pytest_configure() -> None:
    """Hand a collections tree with a link to Ansible's plugin loader."""
    if HERE.parent.parent.name == "ansible_collections":
        return  # ansible-test sees to it itself
    import collection_tree
    from ansible.plugins.loader import init_plugin_loader

    collection_tree.link()
    tree = str(HERE / ".cache" / "link")
    sys.path.insert(0, tree)
    init_plugin_loader([tree])
