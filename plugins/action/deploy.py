# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the tree on the controller, has the host deploy, tells the outcome."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.watcher.config.plugins.module_utils._core import VERSION
from ansible_collections.watcher.config.plugins.module_utils._core.clock import timestamp
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.controller import (
    Controller,
    Course,
    tell,
    unreachable_course,
)
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeployError,
    InvalidError,
    WatcherError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree, check_name, check_path
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel, pack
from ansible_collections.watcher.config.plugins.module_utils._core.restore import Restored
from ansible_collections.watcher.config.plugins.module_utils._core.restored import publish_backup, sent_backup
from ansible_collections.watcher.config.plugins.module_utils._core.restored import tell as tell_restored
from ansible_collections.watcher.config.plugins.module_utils._core.result import published_result, task_result
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
from ansible_collections.watcher.config.plugins.module_utils.module import CONNECTION
from ansible_collections.watcher.config.plugins.modules.deploy import OPTIONS
from ansible_collections.watcher.config.plugins.plugin_utils.controller import ConnectedAction, spool_folder

INLINE = 512 * 1024  # characters of a parcel that go along with the module; larger ones travel as a file
HOST_PATHS = ("state_dir", "config")  # options that only the host can make use of


class ActionModule(ConnectedAction, ActionBase):
    """The action of ``watcher.config.deploy``."""

    TRANSFERS_FILES = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the task's result; raise AnsibleActionFail with the one sentence of an error."""
        ActionBase.run(self, tmp, task_vars)
        self._variables = task_vars or {}
        try:
            arguments = self._validated()
            connection = Connection.from_options(self.options(self._variables).get)
            store = connect(connection)
            try:
                return self._asked(store, Tree(connection.prefix), arguments)
            finally:
                store.close()
        except WatcherError as error:
            raise AnsibleActionFail(str(error)) from error
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _validated(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self.validate_argument_spec({**CONNECTION, **OPTIONS})[1]
        arguments["host"] = check_name("host", arguments["host"] or self._variables["inventory_hostname"])
        for name in HOST_PATHS:
            if not os.path.isabs(arguments[name]):
                raise InvalidError(f"{name} {arguments[name]!r} is not absolute; give an absolute path")
        for name in arguments["projects"] or ():
            check_name("project", name)
        if arguments["restore"]:
            check_path(arguments["restore"]["file"])
            if len(arguments["projects"] or ()) != 1:
                raise InvalidError("restore puts a file of one project back; name that project alone in projects")
            if arguments["backups"] or arguments["confirm"]:
                raise InvalidError("restore goes with neither backups nor confirm; leave them out")
        return arguments

    def _asked(self, store: Any, tree: Tree, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what the options ask for."""
        if arguments["backups"]:
            return {"changed": False, "projects": [], "backups": self._put(arguments, "backups")}
        if not arguments["restore"]:
            return self._deploy(store, tree, arguments)
        answer, check = self._put(arguments, "restored"), self._task.check_mode
        project, file = arguments["projects"][0], arguments["restore"]["file"]
        said = {"project": project, "file": file, "published": 0}
        if arguments["restore"]["publish"]:
            backup, content = sent_backup(answer)
            done = publish_backup(store, tree, arguments["host"], project, file, content, check=check)
            result = {"projects": []} if check else self._deploy(store, tree, arguments)
            said = {**said, "backup": backup.name, "published": 0 if check else done.revision}
            return published_result(done, result, said, diff=self._task.diff)
        restored, warnings = Restored.from_json(answer, arguments["host"], project), []
        if not check:
            warnings = tell_restored(store, tree, restored, Spool(spool_folder()), by="playbook", version=VERSION)
        result = task_result(Course([restored.outcome], warnings=warnings))
        return {**result, "restored": {**said, "backup": restored.backup.name}}

    def _put(self, arguments: dict[str, Any], answer: str) -> Any:
        """Return the host's answer to a question that needs no parcel."""
        names = (*HOST_PATHS, "host", "projects", "backups", "restore")
        return self._answered(arguments["host"], {name: arguments[name] for name in names}, answer)

    def _deploy(self, store: Any, tree: Tree, arguments: dict[str, Any]) -> dict[str, Any]:
        controller = Controller(
            store,
            tree,
            arguments["host"],
            lambda parcel: self._send(parcel, {name: arguments[name] for name in HOST_PATHS}),
            arguments["projects"],
            arguments["confirm"],
        )
        try:
            course = controller.run()
        except (AnsibleError, DeployError) as error:  # unreachable, no become, no Python …
            done = controller.course.outcomes  # in a round before
            course = unreachable_course(
                store, tree, arguments["host"], arguments["projects"], str(error), timestamp(), done
            )
            self._tell(store, tree, course, arguments)
            raise
        course.warnings += self._tell(store, tree, course, arguments)
        return task_result(course)

    def _tell(self, store: Any, tree: Tree, course: Course, arguments: dict[str, Any]) -> list[str]:
        if self._task.check_mode:
            return []
        return tell(store, tree, course, Spool(spool_folder()), version=VERSION, revision=arguments["revision"])

    def _send(self, parcel: Parcel, paths: dict[str, str]) -> list[Outcome]:
        packed = pack(parcel)
        sent = dict(paths)
        if len(packed) <= INLINE:
            sent["parcel"] = packed.decode()
        else:
            sent["parcel_file"] = self.upload(packed)
        return [Outcome.from_json(outcome) for outcome in self._answered(parcel.host, sent, "outcomes")]

    def _answered(self, host: str, sent: dict[str, Any], answer: str) -> Any:
        """Run the module on the host and return this part of its result."""
        result = self._execute_module("watcher.config.deploy", module_args=sent, task_vars=self._variables)
        if result.get("unreachable"):
            raise AnsibleConnectionFailure(result.get("msg", "unreachable"))
        if answer not in result:
            said = [result.get(name) for name in ("msg", "exception", "module_stderr", "module_stdout")]
            why = str(next(filter(None, said), "the module gave no result")).strip()
            raise DeployError(why if why.startswith(f"host {host}, ") else f"host {host}: {why}")
        return result[answer]
