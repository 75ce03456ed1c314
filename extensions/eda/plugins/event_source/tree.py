# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ansible-rulebook event source: changes of the tree in etcd."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tree
short_description: Changes of the configuration tree in etcd as events
description:
  - Watches the tree and hands on one event for each project that changes, over all hosts whose files of it changed.
    V(meta.hosts) holds these hosts, which limits a C(run_playbook) or C(run_job_template) action to them.
  - Changes that come close together are one event. Changes that come while a project's event is being worked on are
    collected and become one more event, once all its hosts have written the outcome to the tree.
  - Where a policy says C(render), a change of what templates read is a change of the project too. That is a value below
    the project's own C(vars/), and a key below a prefix that the policy lists in C(watch), also one that ends with its
    lease. Such a change has V(values_changed=true) in the event, and no files unless some changed as well.
    A put of the same value is one, too.
  - At most 64 different prefixes are followed at once, and the log names those beyond. Policies that watch the same
    prefix share one. The etcd user has to be allowed to read them; one that is refused is logged and tried again.
  - Callbacks of deployments from this controller that were not taken are sent again meanwhile.
  - An event names files and never holds their contents, nor values. The last change is never lost; a change may come
    twice, then with the same V(meta.uuid).
  - Outages of etcd are waited for. A wrong password or certificate at the start ends the rulebook.
options:
  endpoints:
    description:
      - The etcd servers, each as V(host:port), V(http://host:port) or V(https://host:port), as a list or in one string
        with commas.
      - Without it the environment variable E(ETCDCTL_ENDPOINTS) is taken, then V(127.0.0.1:2379).
    type: list
    elements: str
  prefix:
    description:
      - The prefix of the tree, also from the environment variable E(WATCHER_PREFIX).
      - V(/watcher) when nothing else is set.
    type: str
  username:
    description:
      - The etcd user, also from the environment variable E(ETCDCTL_USER), which may be V(user:password).
    type: str
  password:
    description:
      - The password of the etcd user, better from the environment variable E(ETCDCTL_PASSWORD).
    type: str
  ca_cert:
    description:
      - A file with the certificate authorities to trust, also from the environment variable E(ETCDCTL_CACERT);
        those of the system when it is not set.
    type: path
  client_cert:
    description:
      - A file with the client certificate, also from the environment variable E(ETCDCTL_CERT).
    type: path
  client_key:
    description:
      - A file with the key of the client certificate, also from the environment variable E(ETCDCTL_KEY).
    type: path
  timeout:
    description:
      - Seconds that one server has to answer one call, also from the environment variable E(WATCHER_TIMEOUT).
      - V(5) when nothing else is set.
    type: float
  projects:
    description:
      - The projects to watch; an empty list means all.
    type: list
    elements: str
    default: []
  hosts:
    description:
      - The hosts to watch; an empty list means all.
    type: list
    elements: str
    default: []
  batch:
    description:
      - Seconds without a change of a project after which its changes become an event, V(2) at most.
      - However many changes keep coming, the first waits for 2 seconds at most. V(0) turns the waiting off.
    type: float
    default: 0.2
  parallel:
    description:
      - How many projects may be handed on without an outcome yet.
    type: int
    default: 4
  hold:
    description:
      - Seconds that an event waits for the next outcome of its hosts. Until then further changes of its project are
        collected, and a restart repeats it. Hosts without an outcome then get another event, with growing pauses.
      - V(0) does not wait, which suits rulebooks that do not deploy.
    type: float
    default: 60
  position_file:
    description:
      - The file that remembers how far the tree was read, and what was below watched prefixes, so that a restart goes
        on there.
      - By default it is in the folder C(watcher) below the environment variable E(ANSIBLE_HOME) or C(~/.ansible),
        named after endpoints, prefix, projects and hosts.
      - With an empty string all projects are replayed at each start.
      - Not allowed together with O(standby).
    type: path
  replay:
    description:
      - Hand on an event for each project at the start, whether it changed or not.
      - With O(standby) the first time that this source hands on events after its start.
    type: bool
    default: false
  standby:
    description:
      - A name. Of all sources with the same name on one tree, in as many rulebooks on as many machines as you like,
        one hands on events. The others stand by, and one of them takes over when it ends, dies, freezes or loses etcd.
        After a clean stop that is at once, else when its lease in etcd ends, after about 5 seconds.
      - The position is then in etcd, so the next one goes on where the one before was. Nothing is left out. Hosts that
        have reported a change are not in an event for it again, unless O(hold) is V(0). What was handed on
        and has no outcome yet is handed on again; a deployment that is there already changes nothing.
      - All of them need the same O(projects) and O(hosts). Sources that are to work at the same time need
        different names.
      - The etcd user has to be allowed to read and write below C(/watcher.sources/), or whatever O(prefix) is instead
        of C(/watcher). There is one folder for each name; deleting it makes the next one replay all projects.
      - A machine that is cut off from etcd, or was frozen, stops handing on events by its own clock, before another one
        can take over. Playbooks and jobs that it has started go on.
      - An empty string means that this source is alone.
    type: str
    default: ''
    version_added: 0.2.0
requirements:
  - etcd3 0.12.0
  - grpcio
  - protobuf
author:
  - the watcher.config authors (@watcher)
"""

EXAMPLES = r"""
- name: Deploy what changes
  hosts: all
  execution_strategy: parallel
  sources:
    - watcher.config.tree:
        endpoints:
          - https://etcd1.example.com:2379
          - https://etcd2.example.com:2379
        ca_cert: /etc/ssl/etcd-ca.pem
        projects:
          - a.com
  rules:
    - name: Deploy a project
      condition: event.watcher.project is defined
      action:
        run_playbook:
          name: watcher.config.deploy
          lock: "watcher-{{ event.watcher.project }}"
          extra_vars:
            watcher_project: "'{{ event.watcher.project }}'"
            watcher_revision: "{{ event.watcher.revision }}"
"""

import asyncio
import os
import sys
from typing import Any

# ansible-rulebook runs this file without a package: the collection is found by where the file is.
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 7))


async def main(queue: Any, args: dict[str, Any]) -> None:
    """Hand on events until cancelled.

    Raise InvalidError for a wrong argument, and DeniedError or StoreError for a refusal at the start.
    """
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
    from ansible_collections.watcher.config.plugins.module_utils._core.sender import Sender
    from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions, state_folder
    from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
    from ansible_collections.watcher.config.plugins.module_utils._core.standby import source_of
    from ansible_collections.watcher.config.plugins.module_utils._core.wire import load_grpc

    options = SourceOptions.parse(args, os.environ)
    await asyncio.to_thread(load_grpc, forks=True)  # playbooks are started beside it
    with Sender(Spool(os.path.join(state_folder(os.environ), "spool"))):
        await source_of(options, connect).run(queue.put)
