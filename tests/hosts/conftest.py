# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load `fixtures`, once the collection can be imported: pytest reads this file before that."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Come after the conftest of the checkout, which makes the collection importable."""
    config.pluginmanager.import_plugin("ansible_collections.watcher.config.tests.hosts.fixtures")
