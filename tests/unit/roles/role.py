# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role as its files say it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]


def role_docs() -> ModuleType:
    """Return tools/role_docs.py."""
    spec = importlib.util.spec_from_file_location("role_docs", ROOT / "tools" / "role_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Role:
    """One role of the collection."""

    def __init__(self, name: str) -> None:
        """Read nothing yet."""
        self.folder = ROOT / "roles" / name

    def load(self, path: str) -> Any:
        """Return what a YAML file of the role says."""
        return yaml.safe_load((self.folder / path).read_text(encoding="utf-8"))

    def defaults(self) -> dict[str, Any]:
        """Return the defaults that are documented."""
        options = self.load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        return {name: option["default"] for name, option in options.items()}

    def readme(self) -> str:
        """Return README.md."""
        return (self.folder / "README.md").read_text(encoding="utf-8")

    def table(self) -> str:
        """Return the table that README.md shall have, with the lines around it."""
        docs = role_docs()
        return str(docs.BEGIN + docs.table(self.folder) + docs.END)

    def unpinned(self, name: str) -> list[str]:
        """Return the lines of a file of requirements that do not say one version."""
        lines = (self.folder / "files" / name).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not line.startswith("#") and "==" not in line]

    def rendered(self, template: str, **variables: Any) -> str:
        """Return what a template of the role becomes for host web01."""
        return str(self._template((self.folder / "templates" / template).read_text(encoding="utf-8"), variables))

    def value(self, name: str, **variables: Any) -> Any:
        """Return a variable of the role for host web01."""
        return self._template(f"{{{{ {name} }}}}", variables)

    def _template(self, text: str, more: dict[str, Any]) -> Any:
        loader = DataLoader()
        loader.set_basedir(str(self.folder / "files"))  # where the lookup of files begins
        values = {"inventory_hostname": "web01", "role_path": str(self.folder), "ansible_managed": "managed"}
        for name in ("defaults", "vars"):
            values |= loader.load_from_file(str(self.folder / name / "main.yml"), trusted_as_template=True)
        return Templar(loader=loader, variables={**values, **more}).template(trust_as_template(text))
