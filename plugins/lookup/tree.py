# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the tree."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tree
short_description: Read values, policies, projects and hosts of the tree
version_added: 0.1.0
description:
  - Reads from the etcd tree what somebody published.
  - A term is a place below the prefix. V(web01/a.com/config.d/ngx.conf) is the content of a file,
    V(web01/a.com/config) a policy, V(web01/a.com) a project with C(policy), C(files) and C(revision), and V(web01)
    the projects of a host by their names.
  - A term that starts with V(/) is a whole key of etcd, whose value is returned as it is.
extends_documentation_fragment:
  - watcher.config.connection
  - watcher.config.connection.plugins
options:
  _terms:
    description:
      - The places to read.
    type: list
    elements: str
    required: true
  default:
    description:
      - What to return for a place that does not exist; without it, that is an error.
    type: raw
  encoding:
    description:
      - How contents are returned. With V(text), one that is not UTF-8 text is an error; V(base64) carries any bytes.
    type: str
    choices: [text, base64]
    default: text
author:
  - the watcher.config authors (@watcher)
seealso:
  - plugin: watcher.config.project_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Show a file
  ansible.builtin.debug:
    msg: "{{ lookup('watcher.config.tree', 'web01/a.com/config.d/ngx.conf') }}"

- name: Where does a project go?
  ansible.builtin.debug:
    msg: "{{ lookup('watcher.config.tree', 'web01/a.com/config').deployPath }}"

- name: The names of a host's projects, if it has any
  ansible.builtin.debug:
    msg: "{{ lookup('watcher.config.tree', inventory_hostname, default={}) | list }}"
"""

RETURN = r"""
_raw:
  description: One value a term.
  type: list
  elements: raw
"""

import functools
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ..module_utils._core.connection import Connection
from ..module_utils._core.errors import WatcherError
from ..module_utils._core.etcd import connect
from ..module_utils._core.keys import Tree
from ..module_utils._core.reading import Missing, read
from ..module_utils._core.store import Store
from ..plugin_utils.controller import connection_option


class LookupModule(LookupBase):
    """The lookup ``watcher.config.tree``."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return one value a term; raise AnsibleLookupError with the one sentence of an error."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            connection = Connection.from_options(functools.partial(connection_option, self))
            store = connect(connection)
            try:
                tree = Tree(connection.prefix)
                return [self._one(store, tree, term, "default" in kwargs) for term in terms]
            finally:
                store.close()
        except WatcherError as error:
            raise AnsibleLookupError(f"watcher.config.tree: {error}") from error

    def _one(self, store: Store, tree: Tree, term: str, has_default: bool) -> Any:
        try:
            return read(store, tree, term, base64=self.get_option("encoding") == "base64")
        except Missing:
            if has_default:
                return self.get_option("default")
            raise
