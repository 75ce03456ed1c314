# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the watch agent is measured by."""

from __future__ import annotations

from . import agent_bulk, agent_deploy, agent_latency
from .figures import Figure


def measure() -> list[Figure]:
    """Return the figures."""
    return [*agent_latency.measure(), *agent_bulk.measure(), *agent_deploy.measure()]
