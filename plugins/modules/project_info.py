# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what is published, and what became of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_info
short_description: Read the projects of the tree, and how far hosts have deployed them
version_added: 0.1.0
description:
  - Reads the published projects with the keys of their files, and the statuses that hosts have written.
  - Runs where the task runs, which has to reach etcd and to have the Python packages; usually that is
    C(localhost).
extends_documentation_fragment:
  - watcher.config.connection
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  projects:
    description:
      - Only these projects.
    type: list
    elements: str
    aliases: [project]
  hosts:
    description:
      - Only these hosts.
    type: list
    elements: str
    aliases: [host]
author:
  - the watcher.config authors (@watcher)
seealso:
  - module: watcher.config.project
"""

EXAMPLES = r"""
- name: Read everything
  watcher.config.project_info:
  register: tree

- name: Show it as a table
  ansible.builtin.debug:
    msg: "{{ tree.table }}"
"""

RETURN = r"""
projects:
  description: The projects, sorted by host and project.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: The host.
      type: str
      sample: web01
    project:
      description: The project.
      type: str
      sample: a.com
    policy:
      description: The policy; empty where it is missing or breaks the contract.
      type: dict
      sample: {deployPath: /etc/nginx/conf.d}
    files:
      description: The path, size and digest of each file.
      type: list
      elements: dict
      sample: [{path: ngx.conf, size: 612, digest: "sha256:1f…"}]
    problems:
      description: What breaks the contract, one sentence each.
      type: list
      elements: str
    newest:
      description: The newest etcd revision at which a key of the project was modified.
      type: int
      sample: 1834
    state:
      description: >-
        C(deployed), C(removed), C(failed), C(rolledBack), C(held) or C(waiting) as the host said, C(pending) where
        the tree is newer than that, C(new) where no host has said anything.
      type: str
      sample: deployed
    status:
      description: The status as the host wrote it; empty where there is none.
      type: dict
revision:
  description: The etcd revision that was read.
  returned: success
  type: int
  sample: 1834
table:
  description: The same as lines of a table for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.overview import overview
from ..module_utils.connected import run_with_store
from ..module_utils.module import CONNECTION

OPTIONS = {
    "projects": {"type": "list", "elements": "str", "aliases": ["project"]},
    "hosts": {"type": "list", "elements": "str", "aliases": ["host"]},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={**CONNECTION, **OPTIONS}, supports_check_mode=True)
    run_with_store(
        module,
        lambda store, tree: overview(store, tree, hosts=module.params["hosts"], names=module.params["projects"]),
    )


if __name__ == "__main__":
    main()
