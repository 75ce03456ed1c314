# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs together in the collection agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

# What README calls it -> where such plugins are.
KINDS = {
    "module": ROOT / "plugins" / "modules",
    "lookup": ROOT / "plugins" / "lookup",
    "inventory": ROOT / "plugins" / "inventory",
    "event source": ROOT / "extensions" / "eda" / "plugins" / "event_source",
}


def load(path: str) -> Any:
    """Return what a YAML file says."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def requirements(path: str) -> list[str]:
    """Return the lines of a requirements file that are no comments."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def names(folder: Path, pattern: str = "[a-z]*.py") -> list[str]:
    """Return the names of what is in a folder, in order."""
    return sorted(path.stem for path in folder.glob(pattern))


def has_test(kind: str, name: str) -> bool:
    """Return whether some test file is there for a plugin."""
    for path in (ROOT / "tests").rglob(f"test_*{name}*.py"):
        if path.stem == f"test_{name}" and (kind == "module" or KINDS[kind].name in path.parts):
            return True
        if path.stem == f"test_{KINDS[kind].name}_{name}":
            return True
    return False


def test_version_is_released() -> None:
    """The version of galaxy.yml has a release in the changelog."""
    assert load("galaxy.yml")["version"] in load("changelogs/changelog.yaml")["releases"]


def test_requirements_agree() -> None:
    """Controller, execution environment and unit tests ask for the same packages; the tests for three more."""
    wanted = requirements("requirements.txt")
    assert requirements("meta/ee-requirements.txt") == wanted
    more = ["cryptography", "jinja2>=3.1", "prometheus_client==0.26.0"]
    assert requirements("tests/unit/requirements.txt") == sorted([*wanted, *more])


def test_action_group_is_complete() -> None:
    """Each module takes its defaults from the group "tree"."""
    assert set(names(KINDS["module"])) <= set(load("meta/runtime.yml")["action_groups"]["tree"])


def test_each_plugin_has_a_test() -> None:
    """Each plugin has a test file: test_NAME.py in a folder named after its kind, or test_KIND_NAME.py."""
    assert [f"{kind} {name}" for kind in KINDS for name in names(KINDS[kind]) if not has_test(kind, name)] == []


def test_readme_names_everything() -> None:
    """Each plugin, role, playbook and rulebook is named in README.md, on a line that says what it is."""
    wanted = [(kind, f"watcher.config.{name}") for kind in KINDS for name in names(KINDS[kind])]
    wanted += [("role", f"watcher.config.{name}") for name in names(ROOT / "roles", "[a-z]*")]
    wanted += [("playbook", f"{name}.yml") for name in names(ROOT / "playbooks", "[a-z]*.yml")]
    wanted += [("rulebook", f"{name}.yml") for name in names(ROOT / "extensions" / "eda" / "rulebooks", "[a-z]*.yml")]
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [item for item in wanted if not any(item[0] in line.lower() and item[1] in line for line in lines)] == []
