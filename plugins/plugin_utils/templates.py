# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files rendered as ansible.builtin.template renders them, with the variables that another host has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import jinja2
from ansible import template
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task

NEW = hasattr(template, "trust_as_template")  # ansible-core 2.19 and newer: text is a template only if it is trusted
ENVIRONMENT: dict[str, Any] = {} if NEW else {"environment_class": template.AnsibleEnvironment}


class HostTemplates:
    """Renders files for one host, with what a task in this place would see if it ran for that host."""

    def __init__(self, task: Task, variables: dict[str, Any], templar: Any, loader: Any, host: str) -> None:
        """Take the task that runs, its own host's variables, and the host to render for.

        Raise AnsibleActionFail when the inventory lacks that host.
        """
        manager = task.get_variable_manager()
        known = manager._inventory.get_host(host)
        if known is None:
            raise AnsibleActionFail(
                f"host {host} is not in the inventory, so its templates have no variables; add it there"
            )
        self._variables = manager.get_vars(play=task.get_play(), host=known, task=task)
        loop = ["ansible_loop_var", "ansible_index_var"]  # a loop's variables are no host's
        loop += [variables[name] for name in loop if name in variables]
        self._variables.update({name: variables[name] for name in (*loop, "ansible_loop") if name in variables})
        self._templar = templar
        self._loader = loader
        self._host = host

    def render(self, file: str) -> bytes:
        """Return the rendered content of a file; raise AnsibleActionFail that names host, file and line."""
        text = ""
        try:
            text = self._loader._get_file_contents(file)[0].decode("utf-8")  # decrypted, if it is a vault
            return self._rendered(file, text).encode("utf-8")
        except Exception as error:  # lookups and filters are anybody's
            reason, place, line = next(_places(error), (str(error), "", 0))
            lines = [line] if line else _lines(text, reason)
            at = f", line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}" if lines else ""
            where = place if os.path.isabs(place) else file  # the main one has no name
            raise AnsibleActionFail(f"host {self._host}, template {where}{at}: {reason}") from error

    def _rendered(self, file: str, text: str) -> str:
        folders = [*self._variables.get("ansible_search_path", ()), self._loader.get_basedir(), os.path.dirname(file)]
        about = template.generate_ansible_template_vars(file, file)
        templar = self._templar.copy_with_new_env(
            searchpath=[path for folder in folders for path in (os.path.join(folder, "templates"), folder)],
            available_variables={**about, **self._variables},  # a user's own ansible_managed wins
            **ENVIRONMENT,
        )
        render = templar.template if NEW else templar.do_template
        trusted = template.trust_as_template(text) if NEW else text
        rendered = render(trusted, escape_backslashes=False, overrides={"trim_blocks": True})
        return "" if rendered is None else str(rendered)


def _places(error: BaseException | None) -> Iterator[tuple[str, str, int]]:
    """Yield what an error and its causes say, in which template and line, innermost first."""
    if error is None:
        return
    yield from _places(error.__cause__ or error.__context__)
    if isinstance(error, jinja2.TemplateSyntaxError):
        yield str(error.message), error.filename or "", error.lineno
    trace, found = error.__traceback__, []
    while trace is not None:
        compiled = trace.tb_frame.f_globals.get("__jinja_template__")
        if compiled is not None:
            found.append((str(error), compiled.filename or "", compiled.get_corresponding_lineno(trace.tb_lineno)))
        trace = trace.tb_next
    yield from reversed(found)


def _lines(text: str, reason: str) -> list[int]:
    """Return the lines of an undefined name: Ansible says which one it is, but not where it stands."""
    match = re.search(r"'([^']+)' is undefined|has no (?:attribute|element) '?([^']+?)'?\.?$", reason)
    if match is None:
        return []
    nodes = jinja2.nodes
    name = match[1] or match[2]
    tree = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]).parse(text)  # noqa: S701
    found = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
    found += [node.lineno for node in tree.find_all(nodes.Getattr) if node.attr == name]
    found += [item.lineno for item in tree.find_all(nodes.Getitem) if str(getattr(item.arg, "value", "")) == name]
    return sorted(set(found))
