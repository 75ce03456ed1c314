# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one key into etcd: what `publishing` compares the ``project`` module with.

A module of this kind reads the key, writes it if it differs and says whether it did. This one
does it with the standard library, over etcd's HTTP gateway, and so faster than one that has to
import gRPC or another client; what remains is the price that Ansible asks for a task.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def encoded(text: str) -> str:
    """Return a text as the gateway takes keys and values."""
    return base64.b64encode(text.encode()).decode()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )

    def call(method: str, **fields: str) -> Any:
        url = f"{module.params['endpoint']}/v3/kv/{method}"
        with urllib.request.urlopen(url, json.dumps(fields).encode(), timeout=5) as response:  # noqa: S310 - it is ours
            return json.load(response)

    key, value = encoded(module.params["key"]), encoded(module.params["value"])
    found = call("range", key=key).get("kvs")
    changed = not found or found[0].get("value", "") != value
    if changed and not module.check_mode:
        call("put", key=key, value=value)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
