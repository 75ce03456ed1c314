# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports inside the library point one way, and out of it only where agreed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_core"

# File -> the files of the library that it may import, each of which stands above it.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "clock": set(),
    "exits": set(),
    # what is in the tree
    "keys": {"errors"},
    "policy": {"errors", "keys"},
    "digest": set(),
    "model": {"errors", "policy", "digest"},
    "store": {"errors", "keys", "model"},
    "snapshot": {"errors", "keys", "policy", "model", "store"},
    "values": {"keys"},
    "budget": {"values"},
    "sandbox": {"errors", "values", "budget"},
    "render": {"errors", "keys", "policy", "model", "snapshot", "sandbox", "values"},
    # the store on etcd
    "connection": {"errors", "keys"},
    "wire": {"errors"},
    "channels": {"errors", "connection", "wire"},
    "diagnosis": {"errors", "connection", "channels"},
    "client": {"errors", "connection", "wire", "channels", "diagnosis"},
    "etcd_watch": {"errors", "store", "wire", "channels", "diagnosis", "client"},
    "etcd": {"errors", "keys", "store", "connection", "wire", "client", "etcd_watch"},
    # publish -> tree (publishing stands below: it shows differences)
    "publish": {"errors", "keys", "policy", "model", "store", "render"},
    "evidence": {"errors", "keys", "store", "render"},
    "reading": {"errors", "keys", "model", "store", "snapshot"},
    # plan -> apply: without the store
    "failpoints": set(),
    "steps": {"errors", "model"},
    "plan": {"errors", "policy", "model", "steps"},
    "xattrs": set(),
    "disk": {"xattrs", "errors", "model", "failpoints"},
    "likeness": {"disk", "xattrs", "failpoints"},
    "backup": {"errors", "keys", "model", "disk", "failpoints", "likeness"},
    "diff": {"model", "steps", "disk"},
    "publishing": {"errors", "keys", "policy", "model", "store", "render", "publish", "diff"},
    "journal": {"errors", "model", "steps", "disk", "failpoints", "likeness"},
    "records": {"errors", "model"},
    "book": {"errors", "model", "disk", "records", "failpoints"},
    "ledger": {"errors", "model", "book"},
    "sight": {"errors", "policy", "model", "steps", "plan", "disk", "ledger"},
    "transaction": {
        "errors",
        "keys",
        "policy",
        "model",
        "steps",
        "plan",
        "disk",
        "backup",
        "journal",
        "failpoints",
        "likeness",
    },
    "command": {"errors", "model"},
    "rules": {"errors", "policy", "command"},
    "hooks": {"errors", "policy", "model", "journal", "transaction", "command", "rules", "failpoints"},
    "recovery": {"errors", "model", "journal", "hooks", "failpoints"},
    "outcomes": {"clock", "errors", "policy", "model", "steps", "plan", "disk", "diff", "hooks"},
    "deployment": {
        "errors",
        "policy",
        "model",
        "steps",
        "plan",
        "journal",
        "ledger",
        "sight",
        "transaction",
        "command",
        "rules",
        "hooks",
        "outcomes",
        "failpoints",
        "recovery",
    },
    "apply": {"policy", "model", "plan", "disk", "ledger", "rules", "outcomes", "deployment"},
    "restore": {
        "errors",
        "keys",
        "policy",
        "digest",
        "model",
        "plan",
        "backup",
        "ledger",
        "rules",
        "outcomes",
        "deployment",
    },
    # report
    "presence": {"clock", "errors", "keys", "store"},
    "spool": {"errors", "model", "disk"},
    "heartbeat": {"spool"},
    "notify": set(),
    "ini": {"errors", "policy"},
    "metrics": {"errors", "model", "ini"},
    "sender": {"spool"},
    "report": {"clock", "errors", "keys", "model", "store"},
    "overview": {"keys", "model", "store", "snapshot", "report"},
    "restored": {"backup", "errors", "keys", "policy", "model", "store", "publish", "restore", "spool", "report"},
    # tree -> reflector -> events
    "reflector": {"errors", "store"},
    "prefixes": {"keys", "store", "values", "reflector"},
    "changes": {"render", "prefixes"},
    "tracker": {"errors", "keys", "policy", "store", "reflector", "prefixes", "changes"},
    "payload": {"changes"},
    "groups": {"changes", "reflector"},
    "events": {"reflector", "prefixes", "changes", "groups", "payload"},
    "position": {"errors", "disk", "reflector", "prefixes", "changes"},
    "source_options": {"errors", "keys", "connection", "tracker", "events"},
    "statuses": {"keys", "store", "report"},
    "source": {
        "errors",
        "keys",
        "store",
        "reflector",
        "prefixes",
        "changes",
        "tracker",
        "events",
        "position",
        "source_options",
        "statuses",
    },
    # several event sources, one of which hands on events
    "lock": {"errors", "keys", "store"},
    "shared_position": {"errors", "keys", "store", "reflector", "prefixes", "changes", "tracker", "position"},
    "standby": {
        "__init__",
        "clock",
        "errors",
        "keys",
        "connection",
        "store",
        "reflector",
        "source_options",
        "source",
        "lock",
        "shared_position",
    },
    "fleet": {"errors", "keys", "policy", "snapshot", "store", "overview", "tracker"},
    # a deployment by a playbook: the controller's half, what travels, the host's half
    "parcel": {"errors", "keys", "policy", "model", "plan"},
    "watches": {"errors", "store", "values", "reflector"},
    "rendering": {"errors", "keys", "model", "store", "render", "values", "watches"},
    "controller": {
        "rendering",
        "errors",
        "keys",
        "model",
        "store",
        "snapshot",
        "evidence",
        "plan",
        "outcomes",
        "spool",
        "report",
        "parcel",
    },
    "result": {"controller", "diff", "keys", "model", "publish"},
    "host": {"apply", "errors", "ledger", "model", "parcel", "policy", "restore", "rules"},
    # a deployment by the agent of the host: tree -> mirror -> lanes -> report
    "image": {"model", "policy", "store", "snapshot", "digest"},
    "mirror": {"keys", "model", "store", "snapshot", "reflector", "image"},
    "copies": {"model"},
    "lane": {
        "render",
        "values",
        "watches",
        "errors",
        "keys",
        "policy",
        "model",
        "store",
        "evidence",
        "plan",
        "ledger",
        "apply",
        "rules",
        "mirror",
        "copies",
    },
    "settings": {"errors", "keys", "connection", "ledger", "rules", "ini"},
    "logs": {"errors", "settings"},
    "pool": set(),
    "reporter": {"errors", "keys", "model", "store", "report"},
    "outlet": {"errors", "keys", "model", "store", "ledger", "report", "reporter", "sender", "spool"},
    "wishes": {"errors", "keys"},
    "work": {"clock", "errors", "lane", "metrics", "mirror", "model", "outcomes", "outlet", "wishes"},
    "alone": {"errors"},
    "memory": set(),
    "agent": {
        "work",
        "wishes",
        "memory",
        "snapshot",
        "__init__",
        "alone",
        "connection",
        "errors",
        "etcd",
        "heartbeat",
        "keys",
        "lane",
        "ledger",
        "metrics",
        "mirror",
        "model",
        "notify",
        "outlet",
        "pool",
        "presence",
        "reflector",
        "settings",
        "store",
    },
    # the command line of a host
    "finding": {"exits", "keys"},
    "probes": {"connection", "diagnosis", "errors", "etcd"},
    "standing": {"alone", "book", "clock", "errors", "ledger", "model", "overview", "plan"},
    "preview": {"errors", "keys", "lane", "ledger", "mirror", "model", "plan", "policy", "settings", "store"},
    "checkup": {
        "connection",
        "diagnosis",
        "errors",
        "etcd",
        "exits",
        "finding",
        "keys",
        "preview",
        "probes",
        "settings",
        "snapshot",
        "store",
    },
    "outside": {"checkup", "finding", "keys", "probes", "store"},
    "room": {"finding"},
    "doctor": {
        "checkup",
        "errors",
        "etcd",
        "finding",
        "keys",
        "ledger",
        "outside",
        "policy",
        "probes",
        "room",
        "settings",
        "snapshot",
        "spool",
        "standing",
        "store",
    },
    "console": {"agent", "logs", "settings", "wire"},
    "retrying": {"console", "errors", "exits", "keys", "ledger", "settings", "standing", "wishes"},
    "restoring": {
        "__init__",
        "console",
        "etcd",
        "exits",
        "host",
        "keys",
        "ledger",
        "model",
        "overview",
        "policy",
        "preview",
        "restore",
        "restored",
        "settings",
        "spool",
    },
    "commands": {
        "agent",
        "checkup",
        "console",
        "doctor",
        "etcd",
        "exits",
        "finding",
        "keys",
        "ledger",
        "preview",
        "restoring",
        "retrying",
        "settings",
        "standing",
        "wishes",
    },
    "cli": {"__init__", "commands", "errors", "exits"},
}

# File -> the packages from outside that it may import, in a function or guarded:
# a host of the deploy module has none of them.
THIRD_PARTY: dict[str, set[str]] = {
    "metrics": {"prometheus_client"},
    "sandbox": {"jinja2"},
    "wire": {"etcd3", "google", "grpc"},
}

FILES = sorted(path.stem for path in CORE.glob("*.py"))


def imports(name: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield each import statement of a file, and whether importing the file can do without it."""
    tree = ast.parse((CORE / f"{name}.py").read_text(encoding="utf-8"))
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, optional = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, optional
        optional = (
            optional
            or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            or (isinstance(node, ast.Try) and any("ImportError" in ast.dump(handler) for handler in node.handlers))
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        )
        waiting += [(child, optional) for child in ast.iter_child_nodes(node)]


def inside(name: str) -> set[str]:
    """Return the files of the library that a file imports."""
    found = set()
    for node, _optional in imports(name):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno} imports from above the library"
            names = {alias.name if alias.name in FILES else "__init__" for alias in node.names}
            found |= {node.module.split(".")[0]} if node.module else names
    return found


def outside(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the packages from outside the standard library that a file imports, and whether optionally."""
    for node, optional in imports(name):
        if isinstance(node, ast.ImportFrom):
            modules = [] if node.level else [node.module or ""]
        else:
            modules = [alias.name for alias in node.names]
        for package in {module.split(".")[0] for module in modules}:
            if package not in sys.stdlib_module_names:
                yield package, optional


def test_table_points_one_way() -> None:
    """Each row may use only rows above it, so no circle can be agreed."""
    above: set[str] = set()
    for name, allowed in ALLOWED.items():
        assert allowed <= above, f"{name} may not use what stands below it"
        above.add(name)


@pytest.mark.parametrize("name", FILES)
def test_inside(name: str) -> None:
    """A file imports only those files of the library that the table allows it."""
    assert name in ALLOWED, "a new file needs a row in ALLOWED"
    assert inside(name) - ALLOWED[name] == set()


@pytest.mark.parametrize("name", FILES)
def test_outside(name: str) -> None:
    """Nothing from outside the standard library is needed to import a file, and Ansible never is."""
    for package, optional in outside(name):
        assert package in THIRD_PARTY.get(name, set())
        assert optional, f"{package} must be imported in a function or guarded"


def test_no_import_is_hidden() -> None:
    """Only what may import packages from outside uses importlib, which the other tests cannot look behind."""
    text = {name: (CORE / f"{name}.py").read_text(encoding="utf-8") for name in FILES}
    assert {name for name in FILES if "importlib" in text[name] or "__import__" in text[name]} <= set(THIRD_PARTY)


def test_table_has_no_stale_row() -> None:
    """Each row is about a file that there is."""
    assert set(ALLOWED) - set(FILES) == set()
