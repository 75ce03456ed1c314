# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the deployment of a host's projects on that host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy
short_description: Bring a host's files to what the tree says
version_added: 0.1.0
description:
  - Carries out the deployment of the projects that the tree has for this host, in the order plan, stage, C(checkCmd),
    C(beforeCmd), back up, swap files, C(afterCmd). What fails is undone as the policy says.
  - The controller reads etcd, posts the callback and writes the status; the host needs Python only.
  - A host whose files are right already is left alone, and no command runs there.
  - Files whose keys are gone are removed, with a backup where the policy has a C(backupDir). A removal that looks like
    an accident is held until it is confirmed.
  - What a host has deployed is remembered in O(state_dir).
  - The host decides. What the file of its agent, O(config), allows policies holds here, too. A policy that asks for
    another folder or command is refused with what it asked for and what is allowed; nothing of it is carried out.
  - Projects that fail make the task fail after all other projects of the host were deployed. The next run tries them
    at once, however long the agent of the host, if it has one, would still wait.
  - Callbacks that are not taken wait in C(watcher/spool) below C(ANSIBLE_HOME) on the controller; this and later
    runs send them again, with growing pauses, for a day at most.
extends_documentation_fragment:
  - watcher.config.connection
attributes:
  check_mode:
    support: full
    description: Shows the plan and changes nothing, neither on the host nor in the tree.
  diff_mode:
    support: full
    description: Shows the differences of files that are text.
options:
  projects:
    description:
      - Only these projects; all of the host when it is not set.
    type: list
    elements: str
    aliases: [project]
  host:
    description:
      - The host's name in the tree; the inventory name when it is not set.
    type: str
  confirm:
    description:
      - Remove also what is missing from the tree and is held, because it would be most of a project, or because the
        store was replaced or went back.
    type: bool
    default: false
  state_dir:
    description:
      - The folder on the host where the product keeps what it has to remember. Two hosts of the tree must not
        share one.
    type: path
    default: /var/lib/watcher
  config:
    description:
      - The agent's INI file on the host. Its section C([security]) says below which folders policies may deploy
        (C(deploy_roots)), which commands they may run (C(commands)) and as whom (C(run_as)).
      - A file that cannot be read, or is wrong, refuses every deployment. Without the file, or without the section
        in it, everything is allowed.
    type: path
    default: /etc/watcher/watcher.ini
    version_added: 0.2.0
  backups:
    description:
      - Deploy nothing, and list the backups of O(projects) instead, or of all projects of the host that keep some.
    type: bool
    default: false
    version_added: 0.2.0
  restore:
    description:
      - Put a backup of one file back. O(projects) names the one project.
      - It is a deployment like any other, with the commands of the policy, a backup of what is there now, and the way
        back should a command fail. Other files of the project are not touched.
      - The file stays, and the status says so, until the tree has something else for it.
    type: dict
    version_added: 0.2.0
    suboptions:
      file:
        description:
          - The file, by its path below C(config.d/).
        type: str
        required: true
      backup:
        description:
          - Which backup, by its path below C(backupDir); the newest when it is not set. O(backups) lists them.
        type: str
      publish:
        description:
          - Write the backup's content into the tree for this host, and deploy the project as usual then.
          - A file that is rendered from a template cannot be published so; publish the template instead.
        type: bool
        default: false
  revision:
    description:
      - An etcd revision that somebody waits for; the status is brought up to it even when nothing changed. The
        shipped rulebook sets it.
    type: int
    default: 0
  parcel:
    description:
      - What the controller sends to the host; not for playbooks.
    type: str
  parcel_file:
    description:
      - A file on the host with what the controller sends; not for playbooks.
    type: path
author:
  - the watcher.config authors (@watcher)
seealso:
  - module: watcher.config.project
notes:
  - Needs the rights to write the policy's C(deployPath) and to run its commands, usually C(become).
"""

EXAMPLES = r"""
- name: Bring all hosts to what the tree says
  hosts: all
  gather_facts: false
  tasks:
    - name: Deploy
      watcher.config.deploy:
      become: true

- name: Only one project, and remove what was held
  hosts: web01
  gather_facts: false
  tasks:
    - name: Deploy
      watcher.config.deploy:
        projects: [a.com]
        confirm: true
      become: true

- name: Put a file back
  hosts: web01
  gather_facts: false
  become: true
  tasks:
    - name: List what there is
      watcher.config.deploy:
        projects: [a.com]
        backups: true
      register: listed

    - name: Put the newest backup of ngx.conf back on this host, until it is published again
      watcher.config.deploy:
        projects: [a.com]
        restore:
          file: ngx.conf

    - name: Publish the oldest backup of ngx.conf, and deploy it
      watcher.config.deploy:
        projects: [a.com]
        restore:
          file: ngx.conf
          backup: "{{ (listed.backups | selectattr('file', '==', 'ngx.conf') | last).name }}"
          publish: true
"""

RETURN = r"""
projects:
  description: What became of each project, sorted by name.
  returned: always
  type: list
  elements: dict
  contains:
    project:
      description: The project.
      type: str
      sample: a.com
    state:
      description: C(deployed), C(removed), C(failed), C(rolledBack), C(held) or C(waiting).
      type: str
    changed:
      description: Whether files changed or commands ran, or would in check mode.
      type: bool
    revision:
      description: The etcd revision whose files are on disk with their commands run.
      type: int
      sample: 1834
    wanted_revision:
      description: The etcd revision that was tried.
      type: int
      sample: 1834
    msg:
      description: What went wrong, or what was left alone and why.
      type: str
    files:
      description: The files that changed, with C(path), C(action), C(md5) and C(backup).
      type: list
      elements: dict
    commands:
      description:
        - C(out), C(problem) and C(code) of C(checkCmd), C(beforeCmd) and C(afterCmd). The code is the exit status, a
          signal's number below zero, or null where no command was started.
      type: dict
backups:
  description: The backups, by project and file, the newest first.
  returned: with O(backups=true)
  type: list
  elements: dict
  contains:
    project:
      description: The project.
      type: str
    file:
      description: The file that it is of.
      type: str
    name:
      description: Its path below C(backupDir).
      type: str
      sample: ssl/opts.conf_watcherbackup_2026-01-31_10:00:00_1834
    time:
      description: When it was made, in the host's local time.
      type: str
    revision:
      description: The etcd revision that replaced or removed the file.
      type: int
      sample: 1834
    size:
      description: Bytes.
      type: int
    kind:
      description: C(file), or C(link) where a symbolic link was replaced; a link cannot be put back.
      type: str
restored:
  description:
    - What was put back. C(project), C(file), C(backup), its path below C(backupDir), and C(published), the etcd
      revision at which the tree has the content, V(0) where it was not published.
  returned: with O(restore)
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.host import backups_of, deploy_all, put_back
from ..module_utils._core.ledger import State
from ..module_utils._core.parcel import unpack
from ..module_utils._core.settings import CONFIG, read_rules
from ..module_utils.module import CONNECTION, run

OPTIONS = {
    "projects": {"type": "list", "elements": "str", "aliases": ["project"]},
    "host": {"type": "str"},
    "confirm": {"type": "bool", "default": False},
    "state_dir": {"type": "path", "default": "/var/lib/watcher"},
    "config": {"type": "path", "default": CONFIG},
    "backups": {"type": "bool", "default": False},
    "restore": {
        "type": "dict",
        "options": {
            "file": {"type": "str", "required": True},
            "backup": {"type": "str"},
            "publish": {"type": "bool", "default": False},
        },
    },
    "revision": {"type": "int", "default": 0},
    "parcel": {"type": "str", "no_log": True},
    "parcel_file": {"type": "path"},
}


def received(module: AnsibleModule) -> bytes:
    """Return what the controller sent; InvalidError when it sent nothing."""
    if module.params["parcel"]:
        return str(module.params["parcel"]).encode()
    if not module.params["parcel_file"]:
        raise InvalidError("watcher.config.deploy came without its action plugin; call it from a playbook")
    with open(module.params["parcel_file"], "rb") as stream:
        return stream.read()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={**CONNECTION, **OPTIONS}, supports_check_mode=True)

    def work() -> dict[str, Any]:
        given = module.params
        state, rules = State(given["state_dir"]), read_rules(given["config"])
        how: dict[str, Any] = {"check": module.check_mode, "diff": module._diff, "rules": rules}
        if given["backups"] and given["host"]:
            return {"changed": False, "backups": backups_of(state, given["host"], given["projects"])}
        if given["restore"] and given["host"] and given["projects"]:
            answer = put_back(state, given["host"], given["projects"][0], given["restore"], **how)
            return {"changed": False, "restored": answer}
        outcomes = deploy_all(unpack(received(module)), state, **how)
        return {"changed": False, "outcomes": [outcome.to_json() for outcome in outcomes]}

    run(module, work)


if __name__ == "__main__":
    main()
