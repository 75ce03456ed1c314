# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to AnsibleModule: options in, errors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ._core.errors import WatcherError

CONNECTION = {
    "endpoints": {"type": "list", "elements": "str"},
    "prefix": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "timeout": {"type": "float"},
}


def run(module: AnsibleModule, work: Callable[[], dict[str, Any]]) -> None:
    """Do a module's work and end it: with the result, or with the one sentence of an error."""
    try:
        result = work()
    except WatcherError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result)
