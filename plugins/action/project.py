# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs project with the options of variables, environment and ansible.cfg; finds its sources, renders templates."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.watcher.config.plugins.module_utils._core.publishing import Request, pack
from ansible_collections.watcher.config.plugins.module_utils.module import CONNECTION
from ansible_collections.watcher.config.plugins.modules.project import OPTIONS
from ansible_collections.watcher.config.plugins.plugin_utils.controller import ConnectedAction
from ansible_collections.watcher.config.plugins.plugin_utils.templates import HostTemplates


class ActionModule(ConnectedAction):
    """The action of ``watcher.config.project``."""

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Look a relative ``src`` up as copy does: in files/ of the role, beside the playbook, below both.

        With ``template``, look into templates/ before, and send all contents, rendered for each host.
        """
        template = boolean(arguments.get("template", False), strict=False)
        folders = ("templates", "files") if template else ("files",)
        found = self._found(arguments, folders)
        files = found.get("files")
        if isinstance(files, list):
            found["files"] = [self._found(item, folders) if isinstance(item, dict) else item for item in files]
        if not template:
            return found
        checked = ArgumentSpecValidator({**CONNECTION, **OPTIONS}).validate(found)
        if checked.error_messages:
            return found  # the module says what is wrong
        names = ("project", "hosts", "state", "files", "src", "template")
        request = Request(**{name: checked.validated_parameters[name] for name in names})
        contents = request.rendered(
            lambda host: HostTemplates(self._task, variables, self._templar, self._loader, host).render
        )
        return {**found, "contents_file": self.upload(pack(contents))}

    def _found(self, arguments: dict[str, Any], folders: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(arguments.get("content"), (dict, list)):
            arguments = {**arguments, "content": json.dumps(arguments["content"], ensure_ascii=False)}
        source = arguments.get("src")
        if not isinstance(source, str) or os.path.isabs(os.path.expanduser(source)):
            return dict(arguments)
        for folder in folders:
            with contextlib.suppress(AnsibleError):
                return {**arguments, "src": self._find_needle(folder, source)}
        if os.path.exists(source):  # a playbook of the collection has no files/ of its own
            return {**arguments, "src": os.path.abspath(source)}
        raise AnsibleActionFail(
            f"src {source!r} is not there: not in {'/ or '.join(folders)}/ of the role or playbook, beside them, or in"
            f" {os.getcwd()}"
        )
