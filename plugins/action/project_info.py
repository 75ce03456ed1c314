# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs project_info with the connection options of variables, environment and ansible.cfg."""

from __future__ import annotations

from ansible_collections.watcher.config.plugins.plugin_utils.controller import ConnectedAction


class ActionModule(ConnectedAction):
    """The action of ``watcher.config.project_info``."""
