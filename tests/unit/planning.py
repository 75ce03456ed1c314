# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans from a few words: what is wanted, remembered and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    File,
    Found,
    Ledger,
    Owned,
    Place,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.plan import (
    Evidence,
    Plan,
    Sight,
    make_plan,
    places,
    renewed,
)
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.steps import Attributes

ROOT = "/srv"
ANY, NONE = Attributes(), Evidence()
MANY = [f"f{number:02}" for number in range(20)]


def digest(content: str) -> str:
    """Return the digest of a content."""
    return File.of(content.encode()).digest


def project(files: Mapping[str, str] | None, root: str = ROOT, **more: Any) -> Project:
    """Return a project at revision 20 with these contents; without files it is gone."""
    if files is None:
        return replace(Project("web01", "a.com", 20, 1), **more)
    policy = Policy.from_data({"deployPath": root}, "test")
    wanted = {path: File.of(content.encode()) for path, content in files.items()}
    return replace(Project("web01", "a.com", 20, 1, policy, files=wanted), **more)


def ledger(files: Mapping[str, str] | Sequence[str] = (), *, held: Sequence[str] = (), **more: Any) -> Ledger:
    """Return a ledger at revision 10 with these contents below ``ROOT``."""
    contents = files if isinstance(files, Mapping) else dict.fromkeys(files, "x")
    owned = {(ROOT, path): Owned(digest(content), path in held) for path, content in contents.items()}
    policy = {"deployPath": ROOT} if owned else None
    return replace(Ledger("web01", "a.com", 1, 10, 10, policy, owned), **more)


def plan(
    project: Project,
    ledger: Ledger,
    disk: Mapping[str, Found | str] | None = None,
    *,
    taken: Mapping[str, str] | None = None,
    attributes: Attributes = ANY,
    evidence: Evidence = NONE,
    real: Mapping[Place, str] | None = None,
) -> Plan:
    """Return the plan for a disk of absolute paths; without one, it holds what the ledger says."""
    ledger = renewed(project, ledger, evidence)
    if disk is None:
        disk = {"/".join(place): Found("file", owned.digest) for place, owned in ledger.files.items()}
    found: dict[Place, Found] = {}
    for place in places(project, ledger):
        there = disk.get("/".join(place), Found())
        found[place] = Found("file", digest(there)) if isinstance(there, str) else there
    paths = {place: (real or {}).get(place, "/".join(place)) for place in found}
    return make_plan(project, ledger, Sight(found, paths, taken or {}), attributes, evidence)


def steps(plan: Plan) -> list[str]:
    """Return the steps as words."""
    return [f"{step.kind} {step.path}" for step in plan.steps]
