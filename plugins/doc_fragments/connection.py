# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options, documented once for every door."""

from __future__ import annotations


class ModuleDocFragment:
    """``watcher.config.connection`` and, for controller plugins, ``watcher.config.connection.plugins``."""

    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - The etcd servers, each as V(host:port), V(http://host:port) or V(https://host:port); the next one is
        tried when one does not answer.
      - V(https://) means TLS or an error, never a silent fall-back.
      - Without it, the variable C(watcher_endpoints), the environment variable E(ETCDCTL_ENDPOINTS), the setting
        C(endpoints) in section C([watcher]) of C(ansible.cfg) and V(127.0.0.1:2379) are taken, in this order.
        The other connection options are looked up likewise.
    type: list
    elements: str
  prefix:
    description:
      - The prefix of the tree; V(/watcher) when nothing else is set.
    type: str
  username:
    description:
      - The etcd user.
    type: str
  password:
    description:
      - The password of the etcd user.
    type: str
  ca_cert:
    description:
      - A file with the certificate authorities to trust; those of the system when it is not set.
    type: path
  client_cert:
    description:
      - A file with the client certificate, for mutual TLS.
    type: path
  client_key:
    description:
      - A file with the key of the client certificate.
    type: path
  timeout:
    description:
      - Seconds that one server has to answer one call; V(5) when nothing else is set.
    type: float
requirements:
  - etcd3 0.12.0
  - grpcio
  - protobuf
"""

    PLUGINS = r"""
options:
  endpoints:
    env: [{name: ETCDCTL_ENDPOINTS}]
    ini: [{section: watcher, key: endpoints}]
    vars: [{name: watcher_endpoints}]
  prefix:
    env: [{name: WATCHER_PREFIX}]
    ini: [{section: watcher, key: prefix}]
    vars: [{name: watcher_prefix}]
  username:
    env: [{name: ETCDCTL_USER}]
    ini: [{section: watcher, key: username}]
    vars: [{name: watcher_username}]
  password:
    env: [{name: ETCDCTL_PASSWORD}]
    ini: [{section: watcher, key: password}]
    vars: [{name: watcher_password}]
  ca_cert:
    env: [{name: ETCDCTL_CACERT}]
    ini: [{section: watcher, key: ca_cert}]
    vars: [{name: watcher_ca_cert}]
  client_cert:
    env: [{name: ETCDCTL_CERT}]
    ini: [{section: watcher, key: client_cert}]
    vars: [{name: watcher_client_cert}]
  client_key:
    env: [{name: ETCDCTL_KEY}]
    ini: [{section: watcher, key: client_key}]
    vars: [{name: watcher_client_key}]
  timeout:
    env: [{name: WATCHER_TIMEOUT}]
    ini: [{section: watcher, key: timeout}]
    vars: [{name: watcher_timeout}]
"""
