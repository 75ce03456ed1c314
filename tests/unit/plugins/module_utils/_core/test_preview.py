# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment would do, told without touching anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.model import FileChange, Outcome
from ansible_collections.watcher.config.plugins.module_utils._core.preview import Preview, files, previews
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Endpoints, Settings
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore
from ansible_collections.watcher.config.tests.unit.site import Site, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host in a folder."""
    return Site(tmp_path)


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty tree."""
    return MemoryStore()


def publish(store: MemoryStore, site: Site, name: str, contents: dict[str, str], **fields: Any) -> None:
    """Publish a project for the host."""
    root = f"/watcher/web01/{name}"
    policy = json.dumps({"deployPath": str(site.root), **fields}).encode()
    puts = [(f"{root}/config.d/{path}", content.encode()) for path, content in contents.items()]
    store.commit(Write(puts=((f"{root}/config", policy), *puts)))


def told(store: MemoryStore, site: Site, rules: Rules | None = None) -> dict[str, Preview]:
    """Return what would be done, and demand that nothing was."""
    settings = Settings(
        path="/etc/watcher/watcher.ini",
        host="web01",
        force=True,
        state_dir=site.state.path,
        resync=300.0,
        connection=Connection(),
        logs=None,
        heartbeat=None,
        rules=rules or Rules(),
        metrics=Endpoints(),
    )
    before, revision = tree(site.folder), store.revision
    found = previews(settings, store, store.list("/watcher/web01/"))
    assert (tree(site.folder), store.revision) == (before, revision)
    return {preview.project: preview for preview in found}


def test_a_first_deployment(store: MemoryStore, site: Site) -> None:
    """It names the files and the commands, in their order."""
    publish(store, site, "a.com", {"x": "1", "y": "2"}, afterCmd="after", checkCmd="check %s")
    preview = told(store, site)["a.com"]
    assert preview.good
    assert preview.commands == ["check %s", "after"]
    assert str(preview) == (
        f"would be deployed at revision {store.revision}: create x, create y; would run 'check %s'; would run 'after'"
    )


def test_nothing_to_do(store: MemoryStore, site: Site) -> None:
    """What is right already needs no command."""
    publish(store, site, "a.com", {"x": "1"}, afterCmd="true")
    site.deploy({"x": b"1"}, afterCmd="true", revision=store.revision)
    preview = told(store, site)["a.com"]
    assert (preview.good, preview.commands) == (True, [])
    assert str(preview) == f"is up to date at revision {store.revision}"


def test_a_project_that_is_gone(store: MemoryStore, site: Site) -> None:
    """It is removed by the policy that is remembered."""
    store.put("/watcher/web02/a.com/config", b"{}")
    site.deploy({"x": b"1"}, afterCmd="true", revision=1)
    preview = told(store, site)["a.com"]
    assert str(preview) == f"would be removed at revision {store.revision}: delete x; would run 'true'"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (Rules(("/srv",), None), "would fail at revision 2; policy field deployPath asks for"),
        (Rules(None, ("true",)), "would fail at revision 2; policy field afterCmd asks for 'reboot'"),
    ],
)
def test_what_the_host_refuses(rules: Rules, says: str, store: MemoryStore, site: Site) -> None:
    """It says what was asked for; no command is told that would not run."""
    publish(store, site, "a.com", {"x": "1"}, afterCmd="reboot")
    preview = told(store, site, rules)["a.com"]
    assert not preview.good
    assert str(preview).startswith(says)
    assert "would run" not in str(preview)


def test_others_are_told_all_the_same(store: MemoryStore, site: Site) -> None:
    """A bad policy, a bad key and a ledger that cannot be read are each of their own project."""
    site.deploy({"x": b"0"}, revision=1)
    publish(store, site, "a.com", {"x": "1", "../y": "1"})
    publish(store, site, "b.com", {"z": "1"})
    publish(store, site, "c.com", {}, deployPath="relative")
    broken = Path(site.state.path) / "b.com"
    broken.mkdir(parents=True)
    (broken / "ledger.json").write_text("{")
    found = told(store, site)
    assert [preview.good for preview in found.values()] == [False] * 3
    assert str(found["a.com"]).startswith(f"would be deployed at revision {store.revision}: set x; ")
    assert "'../y'" in str(found["a.com"])
    assert "ledger.json" in str(found["b.com"])
    assert "deployPath" in str(found["c.com"])


def test_templates(store: MemoryStore, site: Site) -> None:
    """They are rendered with what is there now, and it is told what is wrong with them."""
    publish(store, site, "a.com", {"x.j2": "{{ getv('/s/a') }}"}, render=True, watch=["/s"])
    preview = told(store, site)["a.com"]
    assert not preview.good
    assert str(preview).startswith("would fail at revision 2; ")
    assert "template x.j2, line 1: key '/s/a' is not in the tree" in str(preview)
    revision = store.put("/s/a", b"1")
    preview = told(store, site)["a.com"]
    assert (preview.good, str(preview)) == (True, f"would be deployed at revision {revision}: create x")


def test_many_files() -> None:
    """A line has an end."""
    changes = [FileChange(str(number), "set") for number in range(12)]
    outcome = Outcome("web01", "a.com", "deployed", 1, 1, "", 12, changes=changes)
    assert files(outcome) == ": " + ", ".join(f"set {number}" for number in range(10)) + " and 2 more"
