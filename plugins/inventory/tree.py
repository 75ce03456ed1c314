# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the tree."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tree
short_description: The hosts of the tree, grouped by project and by state
version_added: 0.2.0
description:
  - Takes its hosts from the etcd tree, which are those that something is published for, those that have reported
    the outcome of a deployment, and those whose agent is alive. It reads no content of a file.
  - Its configuration is a YAML file whose name ends in C(watcher.yml) or C(watcher.yaml).
  - The group C(watcher_project_NAME) has the hosts of a project, with each character of its name that a group cannot
    have replaced by an underscore. Projects whose names become the same share the group.
  - Each host is in one of the groups C(watcher_in_sync), C(watcher_lagging) and C(watcher_failed), that of its
    worst project. A project is in sync when its last deployment succeeded, nothing in the tree is newer, and the
    numbers of files agree. It has failed when the last deployment did, of what is still published; all else is
    lagging, such as what is new, waits, or is held. What templates read outside of their project does not count.
  - The group C(watcher_agent_alive) has the hosts with a live agent, C(watcher_agent_gone) those without one
    whose newest outcome an agent has reported. A host that is deployed to by playbooks is in neither.
  - A project that was withdrawn is listed until the host has reported that it is removed. The host itself stays.
  - The variable C(watcher_state) is V(in_sync), V(lagging) or V(failed). C(watcher_agent) is what a live agent says
    of itself, with C(version), C(pid), C(started) and C(revision); without one it is not defined.
  - The variable C(watcher_projects) has by the name of each project its C(state), how many C(files) are published,
    the C(newest) revision of them, and of the last outcome C(revision), C(wanted_revision), C(msg), C(by), C(version),
    C(attempts), C(finished_at) and, while another try is planned, C(next_try).
  - Text that hosts have written is never taken for a template.
  - A host whose name Ansible would misread, such as V(localhost), V(all) or the name of a group, is left out with a
    warning. A tree without hosts is an empty inventory, with a warning, too.
notes:
  - Of the variables that connection options are looked up in, only those of the command line (C(-e)) are known to
    an inventory.
  - The connection options in the file may be templates, such as V({{ lookup('env', 'PASSWORD'\) }}), or vaulted.
extends_documentation_fragment:
  - watcher.config.connection
  - watcher.config.connection.plugins
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description:
      - That this file is for this plugin.
    type: str
    required: true
    choices: [watcher.config.tree]
author:
  - the watcher.config authors (@watcher)
seealso:
  - plugin: watcher.config.project_info
    plugin_type: module
"""

EXAMPLES = r"""
# inventory/watcher.yml: all else comes from the environment, as for etcdctl
plugin: watcher.config.tree
---
# With everything at hand
plugin: watcher.config.tree
endpoints: [https://etcd1.example.com, https://etcd2.example.com]
ca_cert: /etc/etcd/ca.pem
username: watcher
password: "{{ lookup('ansible.builtin.env', 'WATCHER_PASSWORD') }}"
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/watcher
cache_timeout: 60
compose:
  ansible_host: inventory_hostname ~ '.example.com'
groups:
  retrying: watcher_projects.values() | selectattr('next_try', 'defined') | length > 0
keyed_groups:
  - prefix: agent
    key: watcher_agent.version
"""

import contextlib
import dataclasses
import functools
import hashlib
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import WatcherError
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.fleet import read_fleet
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.plugin_utils.controller import connection_option
from ansible_collections.watcher.config.plugins.plugin_utils.hosts import populate, uncollected


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory ``watcher.config.tree``."""

    NAME = "watcher.config.tree"

    def verify_file(self, path: str) -> bool:
        """Return whether a file is to be read by this plugin."""
        return bool(super().verify_file(path)) and path.endswith(("watcher.yml", "watcher.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts of the tree; raise AnsibleParserError with the one sentence of an error."""
        super().parse(inventory, loader, path, cache)
        self._render_options(self._read_config_data(path))
        with uncollected():
            try:
                fleet = self._fleet(Connection.from_options(functools.partial(connection_option, self)), path, cache)
            except WatcherError as error:
                raise AnsibleParserError(f"{self.NAME}: {error}") from error
            hosts, warnings = populate(self.inventory, fleet["hosts"], self._sanitize_group_name)
            for warning in (*fleet["warnings"], *warnings):
                self.display.warning(f"{self.NAME}: {warning}")
            self._construct(hosts)

    def _render_options(self, given: dict[str, Any]) -> None:
        """Render the connection options of the file that are templates."""
        self.templar.available_variables = self._vars
        for name in (field.name for field in dataclasses.fields(Connection)):
            if isinstance(given.get(name), (str, list)) and self.templar.is_template(given[name]):
                self.set_option(name, self.templar.template(given[name]))

    def _fleet(self, connection: Connection, path: str, cache: bool) -> dict[str, Any]:
        """Return the hosts, from the cache if that is wanted and has them."""
        caches = self.get_option("cache")
        place = (connection.endpoints, connection.prefix, connection.username)  # one file may serve several trees
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(repr(place).encode()).hexdigest()[:12]}"
        if caches and cache:
            with contextlib.suppress(KeyError):
                return dict(self._cache[key])
        store = connect(connection)
        try:
            fleet = read_fleet(store, Tree(connection.prefix))
        finally:
            store.close()
        if caches:
            self._cache[key] = fleet
        return fleet

    def _construct(self, hosts: dict[str, Any]) -> None:
        """Do what the constructed options ask for; without them, hosts need not be looked at again."""
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        strict = self.get_option("strict")
        for name, host in hosts.items() if compose or groups or keyed else ():
            self._set_composite_vars(compose, host.get_vars(), name, strict=strict)
            variables = host.get_vars()
            self._add_host_to_composed_groups(groups, variables, name, strict=strict, fetch_hostvars=False)
            self._add_host_to_keyed_groups(keyed, variables, name, strict=strict, fetch_hostvars=False)
