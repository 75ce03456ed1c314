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


def test_environments_agree() -> None:
    """Both images are made alike, of the versions that are tested here."""
    execution, decision = load("execution-environment.yml"), load("decision-environment.yml")
    same = ("version", "images", "additional_build_files")
    assert [execution[name] for name in same] == [decision[name] for name in same]
    parts = ("python_interpreter", "ansible_core", "ansible_runner", "galaxy")
    first, second = execution["dependencies"], decision["dependencies"]
    assert [first[name] for name in parts] == [second[name] for name in parts]
    tested = {line.partition(" ;")[0] for line in requirements("requirements-run.txt")}
    assert {first["ansible_core"]["package_pip"], *second["python"]} <= tested


def test_environments_have_the_collection() -> None:
    """Each file and folder that is sent is there, and what is sent is where the requirements look for it."""
    sent = load("execution-environment.yml")["additional_build_files"]
    assert [item["src"] for item in sent if not (ROOT / item["src"]).exists()] == []
    (collection,) = load("execution-environment.yml")["dependencies"]["galaxy"]["collections"]
    assert {item["dest"].split("/")[0] for item in sent} == {collection["source"]}


def test_project_of_awx() -> None:
    """A project takes the collection from the checkout, and its inventory is the plugin of this collection."""
    assert load("collections/requirements.yml") == {"collections": [{"source": ".", "type": "dir"}]}
    namespace, name, plugin = load("inventory/watcher.yml")["plugin"].split(".")
    galaxy = load("galaxy.yml")
    assert [namespace, name] == [galaxy["namespace"], galaxy["name"]]
    assert plugin in names(KINDS["inventory"])


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
