# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a credential brings into a job: environment variables, files and extra variables, rendered as AWX does."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass
class Injected:
    """What the credentials of a job bring."""

    environment: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)


def inject(into: Injected, kind: dict[str, Any], inputs: dict[str, Any], folder: Path) -> None:
    """Add what a credential of a custom type brings; its files go below the folder.

    An input that is empty is undefined in the templates, and a boolean that is missing is false. Undefined
    renders as nothing, so ``{{ ca_cert }}`` of a credential without one is an empty file that is there.
    """
    sandbox = ImmutableSandboxedEnvironment()
    tower = SimpleNamespace(filename=None)
    names: dict[str, Any] = {"tower": tower}
    for asked in kind["inputs"].get("fields", []):
        value = inputs.get(asked["id"], False if asked.get("type") == "boolean" else "")
        if isinstance(value, bool) or value:
            names[asked["id"]] = value
    for label, template in kind["injectors"].get("file", {}).items():
        handle, path = tempfile.mkstemp(dir=folder)
        os.write(handle, sandbox.from_string(template).render(**names).encode())
        os.close(handle)
        _unused, dot, name = label.partition(".")
        if dot:
            tower.filename = tower.filename or SimpleNamespace()
            setattr(tower.filename, name, path)
        else:
            tower.filename = path
    for name, template in kind["injectors"].get("env", {}).items():
        into.environment[name] = sandbox.from_string(template).render(**names)
    into.variables.update(_rendered(kind["injectors"].get("extra_vars", {}), sandbox, names))


def _rendered(node: Any, sandbox: ImmutableSandboxedEnvironment, names: dict[str, Any]) -> Any:
    """Render all texts of extra variables."""
    if isinstance(node, dict):
        return {_rendered(key, sandbox, names): _rendered(value, sandbox, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_rendered(each, sandbox, names) for each in node]
    return sandbox.from_string(node).render(**names) if isinstance(node, str) else node
