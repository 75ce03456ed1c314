# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event says (contract, section 9), in characters that the rule engine and a playbook's variables carry."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from .changes import Change

NAMESPACE = uuid.UUID("5b0c2a2e-6f0d-5d9e-9a5e-0c6d1a7f3b11")

# Rule engine and run_playbook break on what is beyond the BMP; Ansible would render a {{ in a variable. AWX writes
# variables so that ansible-core cannot read a text that is one of YAML's signs and nothing else.
UNCARRIED = re.compile(
    r"[\x00-\x1f\\\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff\U00010000-\U0010ffff]|\{(?=[{%#])"
    r"|\A[=!&*](?=\Z)|\A<(?=<\Z)"
)


def escaped(path: str) -> str:
    r"""Return a path with what cannot be carried as ``\x7b``, ``\u2028`` or ``\U0001f600``; a backslash is ``\x5c``."""
    return UNCARRIED.sub(lambda found: _escape(ord(found.group())), path)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def event(cluster_id: int, project: str, changes: list[Change], tries: int = 0) -> dict[str, Any]:
    """Return the event of a project's changes, which are sorted by host; another try is another event."""
    hosts = [change.host for change in changes]
    made_of = [cluster_id, project, [[change.host, change.revision] for change in changes]]
    made_of += [tries] if tries else []
    return {
        "watcher": {
            "project": project,
            "hosts": hosts,
            "revision": max(change.revision for change in changes),
            "replayed": any(change.replayed for change in changes),
            "changes": [_described(change) for change in changes],
        },
        "meta": {"hosts": list(hosts), "uuid": str(uuid.uuid5(NAMESPACE, json.dumps(made_of)))},
    }


def _described(change: Change) -> dict[str, Any]:
    """Return a change as events show it."""
    said: dict[str, Any] = {
        "host": change.host,
        "revision": change.revision,
        "kind": "changed" if change.mark[0] else "removed",
        "policy_changed": change.policy_changed,
        **({"values_changed": True} if change.values_changed else {}),
        "files": [{"path": escaped(path), "action": change.files[path]} for path in sorted(change.files)],
    }
    return {**said, "files_cut": change.files_cut} if change.files_cut else said
