# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All projects of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.host import deploy_all
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.tests.unit.site import Site, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty host."""
    return Site(tmp_path)


def test_what_the_host_allows(site: Site) -> None:
    """It holds for each project, also for those that are gone from the tree."""
    site.deploy({"gone": b"1"}, name="gone.com", afterCmd="true")
    bad, good = site.project({"bad": b"1"}, name="bad.com", beforeCmd="true"), site.project({"a": b"1"})
    parcel = Parcel("web01", site.revision, 1, [good, bad])
    for check in (True, False):
        outcomes = deploy_all(parcel, site.state, rules=Rules((str(site.root),), ()), check=check)
        assert [outcome.state for outcome in outcomes] == ["deployed", "failed", "failed"]
        assert all("this host allows none" in outcome.msg for outcome in outcomes[1:])
    assert set(tree(site.root)) == {"a", "gone"}


def test_damaged_and_gone_from_the_tree(site: Site) -> None:
    """Nobody forgets a project of which only an unreadable ledger is left."""
    site.deploy({"a": b"1"})
    (Path(site.state.folder("a.com")) / "ledger.json").write_text("{")
    outcomes = deploy_all(Parcel("web01", 20, 1), site.state)
    assert [outcome.state for outcome in outcomes] == ["failed"]
    assert (site.root / "a").exists()


def test_deploy_all(site: Site) -> None:
    """Projects do not wait for each other, one that fails does not hold up the rest, gone ones are removed."""
    site.deploy({"gone": b"1"}, name="gone.com")
    bad = site.project({"bad": b"1"}, name="bad.com", beforeCmd="false")
    good = site.project({"good": b"1"}, name="good.com")
    outcomes = deploy_all(Parcel("web01", site.revision, 1, [good, bad]), site.state)
    assert [(outcome.project, outcome.state) for outcome in outcomes] == [
        ("bad.com", "failed"),
        ("gone.com", "removed"),
        ("good.com", "deployed"),
    ]
    assert set(tree(site.root)) == {"good"}
    assert deploy_all(Parcel("web01", 30, 1, [], names=["other.com"]), site.state) == []
    outcomes = deploy_all(Parcel("web01", 30, 1, [], names=["good.com"]), site.state)
    assert [outcome.state for outcome in outcomes] == ["removed"]
