# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to controller plugins: connection options from everywhere, data from the tree kept untrusted."""

from __future__ import annotations

import os
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins import AnsiblePlugin
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.watcher.config.plugins.module_utils._core.errors import WatcherError

OPTIONS = ("endpoints", "prefix", "username", "password", "ca_cert", "client_cert", "client_key", "timeout")
PATHS = ("ca_cert", "client_cert", "client_key")


def connection_option(plugin: AnsiblePlugin, name: str) -> Any:
    """Return a connection option of a plugin; None where it is not set or empty.

    Ansible makes the current folder of an empty path, and AWX sets the variables of empty fields to empty text.
    """
    value = plugin.get_option(name)
    return None if value == "" or (name in PATHS and value == os.getcwd()) else value


def spool_folder() -> str:
    """Return the folder of this controller in which callbacks wait that were not taken yet."""
    return os.path.join(constants.ANSIBLE_HOME, "watcher", "spool")


class ConnectedAction(ActionBase):
    """Runs the module of the same name with the connection options of variables, environment and ansible.cfg."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        super().run(tmp, task_vars)
        arguments = {**self._task.args, **self.options(task_vars or {})}
        try:
            prepared = self.prepared(arguments, task_vars or {})
            result: dict[str, Any] = self._execute_module(module_args=prepared, task_vars=task_vars)
        except WatcherError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def options(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the connection options that are set: by the task, a variable, the environment or ansible.cfg.

        Ansible resolves these for lookups, not for actions; so the lookup's declarations serve both.
        """
        named = {name: variables[name] for name in (f"watcher_{option}" for option in OPTIONS) if name in variables}
        direct = {name: self._task.args[name] for name in OPTIONS if self._task.args.get(name) is not None}
        lookup = lookup_loader.get("watcher.config.tree")
        lookup.set_options(var_options=self._templar.template(named), direct=direct)
        found = {name: connection_option(lookup, name) for name in OPTIONS}
        return {name: value for name, value in found.items() if value is not None}

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to hand to the module; ``variables`` are those of the task."""
        return arguments

    def upload(self, content: bytes) -> str:
        """Return a temporary file, where the module runs, that holds a content; it goes with the task."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = str(self._connection._shell.join_path(self._connection._shell.tmpdir, "content"))
        self._transfer_data(remote, content)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return remote
