# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-builder makes of both definitions what an image is built from, with the requirements of meta/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.tests.ansible_site import ROOT
from ansible_collections.watcher.config.tests.checkout import INSIDE, Checkout, files

PARTS = ("plugins/", "playbooks/", "roles/", "extensions/", "meta/")
STEPS = "Containerfile"
KINDS = {"python": "ee-requirements.txt", "system": "ee-bindep.txt"}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a fresh checkout."""
    return Checkout(tmp_path)


def required(kind: str) -> list[str]:
    """Return what meta/ requires, as ansible-builder tells it."""
    lines = (ROOT / "meta" / KINDS[kind]).read_text(encoding="utf-8").splitlines()
    return [f"{line}  # from collection watcher.config" for line in lines if not line.startswith("#")]


def introspect(checkout: Checkout, collections: Path, *arguments: str) -> dict[str, list[str]]:
    """Return what ansible-builder finds to be installed."""
    printed = checkout.run("ansible-builder", "introspect", str(collections), *arguments)
    told: dict[str, list[str]] = yaml.safe_load(printed)
    return told


@pytest.mark.parametrize("name", ["execution", "decision"])
def test_definitions(checkout: Checkout, name: str) -> None:
    """A definition becomes a build context; its collection installs offline as the Containerfile does it."""
    definition = f"{name}-environment.yml"
    context = checkout.folder / "context"
    checkout.run(
        "ansible-builder", "create", "-f", definition, "-c", str(context), "--output-filename", "Containerfile"
    )
    steps = (context / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^RUN .*ansible-galaxy collection install .*-r requirements\.yml", steps, re.MULTILINE)
    sent = context / "_build"
    collections = checkout.install("-r", "requirements.yml", cwd=sent)

    arguments, wanted = [], {}
    extra: dict[str, Any] = yaml.safe_load((ROOT / definition).read_text(encoding="utf-8"))["dependencies"]
    for kind, option, file in (
        ("python", "--user-pip", "requirements.txt"),
        ("system", "--user-bindep", "bindep.txt"),
    ):
        if kind in extra:
            assert f"{option}={file}" in steps
            arguments += [option, str(sent / file)]
        wanted[kind] = required(kind) + [f"{line}  # from collection user" for line in extra.get(kind, [])]
    assert introspect(checkout, collections, *arguments) == wanted
    packages = {"execution": [], "decision": ["ansible-rulebook==1.3.2", "java-17-openjdk-headless [platform:rpm]"]}
    told = [line.partition("  #")[0] for lines in wanted.values() for line in lines]
    assert set(packages[name]) <= set(told)


def test_built_collection(checkout: Checkout) -> None:
    """The built collection says what it requires, and has nothing of what only a checkout is for."""
    collections = checkout.install(str(checkout.build()))
    assert introspect(checkout, collections) == {kind: required(kind) for kind in KINDS}
    assert {"MANIFEST.json", "README.md", "meta/ee-requirements.txt", "plugins/lookup/tree.py"} <= files(collections)
    inside = {path.name for path in (collections / INSIDE).iterdir()}
    of_a_checkout = {"Makefile", "collections", "decision-environment.yml", "execution-environment.yml", "inventory"}
    assert of_a_checkout <= {path.name for path in checkout.root.iterdir()}
    assert not of_a_checkout & inside


def test_same_files(checkout: Checkout) -> None:
    """An environment's collection has each plugin, playbook, role and rulebook of the built one."""
    built = files(checkout.install(str(checkout.build())))
    context = checkout.folder / "context"
    checkout.run("ansible-builder", "create", "-c", str(context))
    checkout.install("-r", "requirements.yml", "--force", cwd=context / "_build")
    sent = files(checkout.folder / "collections")
    assert {name for name in built if name.startswith(PARTS)} == {name for name in sent if name.startswith(PARTS)}
    assert any(name.startswith("extensions/eda/rulebooks/") for name in sent)
