# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish or withdraw a project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project
short_description: Publish a project's files and policy for hosts, or withdraw it
version_added: 0.1.0
description:
  - Writes the deploy policy and the files of one project into the etcd tree, for one host or many.
  - All changes of one host are one etcd transaction, so no reader ever sees half of them. A project that is too
    big for one transaction (128 operations, 1.5 MiB) gets a manifest in its policy, written first, and
    deployments wait until the tree matches it.
  - Writes nothing that is right already, to the byte.
  - Runs where the task runs, which has to reach etcd and to have the Python packages; usually that is
    C(localhost).
extends_documentation_fragment:
  - watcher.config.connection
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the differences of the policy and of files that are text.
options:
  project:
    description:
      - The name of the project, one segment of C(A-Z a-z 0-9 . _ -).
    type: str
    required: true
  hosts:
    description:
      - The hosts to publish the project for, by the names that they have in the tree.
    type: list
    elements: str
    required: true
    aliases: [host]
  state:
    description:
      - V(present) publishes the project, V(absent) withdraws it; hosts then remove its files.
    type: str
    choices: [present, absent]
    default: present
  policy:
    description:
      - The deploy policy, in the names that the tree has, such as C(deployPath), C(backupDir), C(beforeCmd),
        C(afterCmd), C(checkCmd), C(callback), C(mode), C(owner). It replaces the stored one.
      - Left out, the stored policy stays; a new project needs one.
    type: dict
  files:
    description:
      - Files of the project.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The file's path below the policy's C(deployPath).
        type: str
        required: true
      content:
        description:
          - The file's content; data that is not text is written as JSON. Exclusive with O(files[].src).
        type: str
      encoding:
        description:
          - How O(files[].content) is written; V(base64) carries any bytes.
        type: str
        choices: [text, base64]
        default: text
      src:
        description:
          - A file to read the content from. A relative path is looked up as M(ansible.builtin.copy) does.
        type: path
      no_log:
        description:
          - Keep the content out of the difference that C(--diff) shows.
        type: bool
        default: false
  src:
    description:
      - A file or a folder of files, which are published under their names or paths below the folder. A relative
        path is looked up as M(ansible.builtin.copy) does, then in the current folder. O(files) wins where both name
        a path. Links to folders are refused.
    type: path
  template:
    description:
      - Render the files of O(src) and O(files[].src) whose names end in C(.j2), as M(ansible.builtin.template) does,
        once for each of O(hosts), and publish what comes out. Those of O(src) are published without the suffix,
        those of O(files[].src) under their O(files[].path). Other files, and O(files[].content), are published as
        they are.
      - A template sees what this task would see if it ran for that host, which has to be in the inventory.
        Facts, registered and set variables are those of that host, too; C(hostvars) has those of others.
      - Relative paths are looked up as M(ansible.builtin.template) does, then as M(ansible.builtin.copy) does. All
        files are read on the controller.
      - If one of the templates cannot be rendered for one of the hosts, nothing is published for any.
      - The policy field C(render) is something else. It has hosts render files that are published with the suffix
        C(.j2), from values of the tree. A file named C(x.j2.j2) goes through both.
    type: bool
    default: false
    version_added: 0.2.0
  contents_file:
    description:
      - A file with what the controller has rendered; not for playbooks.
    type: path
    version_added: 0.2.0
  purge:
    description:
      - Remove the files of the project that this task does not name.
    type: bool
    default: false
author:
  - the watcher.config authors (@watcher)
seealso:
  - module: watcher.config.project_info
  - module: watcher.config.deploy
"""

EXAMPLES = r"""
- name: Publish a site for two hosts
  watcher.config.project:
    project: a.com
    hosts: [web01, web02]
    policy:
      deployPath: /etc/nginx/conf.d
      backupDir: /var/backups/nginx
      checkCmd: nginx -t
      afterCmd: systemctl reload nginx
    files:
      - path: a.com.conf
        content: "server { listen 80; server_name a.com; }\n"

- name: Publish a folder, and nothing but that folder
  watcher.config.project:
    project: a.com
    hosts: "{{ groups['web'] }}"
    src: a.com/
    purge: true

- name: Publish a folder, with its *.j2 rendered for each host
  watcher.config.project:
    project: a.com
    hosts: "{{ groups['web'] }}"
    src: a.com/
    template: true
    purge: true

- name: Withdraw a project
  watcher.config.project:
    project: a.com
    hosts: web01
    state: absent
"""

RETURN = r"""
hosts:
  description: What changed for each host.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: The host.
      type: str
      sample: web01
    changed:
      description: Whether anything was written.
      type: bool
    revision:
      description: The etcd revision at which the tree is as wanted.
      type: int
      sample: 1834
    created:
      description: The keys that are new.
      type: list
      elements: str
    updated:
      description: The keys whose value changed.
      type: list
      elements: str
    deleted:
      description: The keys that are gone.
      type: list
      elements: str
  sample:
    - {host: web01, changed: true, revision: 1834, created: [/watcher/web01/a.com/config], updated: [], deleted: []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.keys import Tree
from ..module_utils._core.publishing import Request, publish_for_hosts, read_contents
from ..module_utils._core.store import Store
from ..module_utils.connected import run_with_store
from ..module_utils.module import CONNECTION

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
    "src": {"type": "path"},
    "no_log": {"type": "bool", "default": False},
}
OPTIONS = {
    "project": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True, "aliases": ["host"]},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "policy": {"type": "dict"},
    "files": {
        "type": "list",
        "elements": "dict",
        "options": FILE,
        "mutually_exclusive": [("content", "src")],
        "required_one_of": [("content", "src")],
    },
    "src": {"type": "path"},
    "purge": {"type": "bool", "default": False},
    "template": {"type": "bool", "default": False},
    "contents_file": {"type": "path"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={**CONNECTION, **OPTIONS}, supports_check_mode=True)
    options = {name: module.params[name] for name in OPTIONS}
    path = options.pop("contents_file")

    def work(store: Store, tree: Tree) -> dict[str, Any]:
        contents = read_contents(path) if path else None
        request = Request(**options, check=module.check_mode, diff=module._diff, contents=contents)
        return publish_for_hosts(store, tree, request)

    run_with_store(module, work)


if __name__ == "__main__":
    main()
