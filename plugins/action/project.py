# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs project with the connection options of variables, environment and ansible.cfg, and finds its sources."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.watcher.config.plugins.plugin_utils.controller import ConnectedAction


class ActionModule(ConnectedAction):
    """The action of ``watcher.config.project``."""

    def prepared(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Look a relative ``src`` up as copy does: in files/ of the role, beside the playbook, below both."""
        found = self._found(arguments)
        files = found.get("files")
        if isinstance(files, list):
            found["files"] = [self._found(item) if isinstance(item, dict) else item for item in files]
        return found

    def _found(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if isinstance(arguments.get("content"), (dict, list)):
            arguments = {**arguments, "content": json.dumps(arguments["content"], ensure_ascii=False)}
        source = arguments.get("src")
        if not isinstance(source, str) or os.path.isabs(os.path.expanduser(source)):
            return dict(arguments)
        try:
            return {**arguments, "src": self._find_needle("files", source)}
        except AnsibleError as error:
            if os.path.exists(source):  # a playbook of the collection has no files/ of its own
                return {**arguments, "src": os.path.abspath(source)}
            raise AnsibleActionFail(
                f"src {source!r} is not there: not in files/ of the role or playbook, beside them, or in {os.getcwd()}"
            ) from error
