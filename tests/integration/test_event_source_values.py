# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source on real etcd: what templates read changes, in the project or below a prefix that it watches."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.prefixes import MAX_PREFIXES
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer
from ansible_collections.watcher.config.tests.source_run import Running, Tree, eventually, run, source


def values_changed(revision: int, project: str = "a.com", host: str = "web01") -> dict[str, Any]:
    """Return a change of nothing but values."""
    return {
        "project": project,
        "replayed": False,
        "host": host,
        "revision": revision,
        "kind": "changed",
        "policy_changed": False,
        "values_changed": True,
        "files": [],
    }


async def published(running: Running, tree: Tree, owner: str = "web01/a.com", **policy: Any) -> None:
    """Publish a project and take its event."""
    revision = await asyncio.to_thread(tree.publish, owner, **policy)
    change = await running.change(tree)
    assert (change["files"], change["revision"]) == ([{"path": "x.j2", "action": "set"}], revision)
    assert "values_changed" not in change


async def done_with(position: Path, *projects: str) -> None:
    """Return once it is saved that the last events of these projects have their outcomes."""

    def saved() -> bool:
        marks = json.loads(position.read_text())["projects"] if position.exists() else {}
        return all(keys > 0 for project in projects for keys, _newest in marks.get(project, {"": (0, 0)}).values())

    await eventually(saved, f"{projects} done with")


def test_own_values(tree: Tree, tmp_path: Path) -> None:
    """A value set and deleted is a change of a project that renders, and of no other."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await published(running, tree)
            await published(running, tree, "web01/plain", render=False)
            await asyncio.to_thread(tree.put, "web01/plain/vars/port", "web01/nobody/vars/port")
            revision = await asyncio.to_thread(tree.put, "web01/a.com/vars/port")
            assert await running.change(tree) == values_changed(revision)
            revision = await asyncio.to_thread(tree.delete, "web01/a.com/vars/port")
            assert await running.change(tree) == values_changed(revision)
            revision = await asyncio.to_thread(tree.put, "web01/a.com/vars/port", "web01/a.com/config.d/y")
            expected = {**values_changed(revision), "files": [{"path": "y", "action": "set"}]}
            assert await running.change(tree) == expected

    run(scenario)


def test_a_lease_ends(tree: Tree, tmp_path: Path) -> None:
    """A service that is registered, and one that is gone with its lease, change all who watch, as one event."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await published(running, tree, "web01/a.com", watch=["/services/app"])
            await published(running, tree, "web02/a.com", watch=["/services/app/"])
            await published(running, tree, "web02/b.com", watch=["/services/app2"])
            lease = await asyncio.to_thread(tree.store.grant, 1)
            revision = await asyncio.to_thread(lambda: tree.set("/services/app/1", "/services/app/2", lease=lease))
            for newest in (revision, 0):  # the second is that of the end, which comes by itself
                event = await running.event()
                assert (event["watcher"]["project"], event["meta"]["hosts"]) == ("a.com", ["web01", "web02"])
                seen = event["watcher"]["revision"]
                assert seen == newest or (seen > revision and not newest)
                changes = [{"project": "a.com", "replayed": False, **each} for each in event["watcher"]["changes"]]
                assert changes == [values_changed(seen, host=host) for host in ("web01", "web02")]
                await asyncio.to_thread(tree.report, event)
            assert (await asyncio.to_thread(tree.store.get, "/services/app/1"))[0] is None

    run(scenario)


def test_a_policy_decides(tree: Tree, tmp_path: Path) -> None:
    """A prefix is followed from the revision of the policy that names it until nobody does."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await published(running, tree, watch=["/one"])
            await published(running, tree, watch=["/two"])
            await asyncio.to_thread(tree.set, "/one/key")
            revision = await asyncio.to_thread(tree.set, "/two/key")
            assert await running.change(tree) == values_changed(revision)
            await published(running, tree, watch=["/two"], render=False)
            await asyncio.to_thread(tree.set, "/two/key")
            await published(running, tree, watch=["/one", "/two"])
            revision = await asyncio.to_thread(tree.set, "/one/key", "/two/key")
            assert await running.change(tree) == values_changed(revision)
            await asyncio.to_thread(tree.delete, "web01/a.com/config.d/x.j2")
            await running.change(tree)
            await asyncio.to_thread(tree.set, "/one/key")
            await running.watching(tree)  # nothing came before

    run(scenario)


def test_a_change_right_after_the_policy(tree: Tree, tmp_path: Path) -> None:
    """Between a policy and the first listing of what it watches nothing is lost."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await running.watching(tree)
            last: dict[str, int] = {}

            def publish() -> None:
                for number in range(20):
                    tree.publish("web01/a.com", watch=[f"/new{number}"])
                    last["revision"] = tree.set(f"/new{number}/key")

            await asyncio.to_thread(publish)
            seen = 0
            while seen < last["revision"]:
                seen = (await running.change(tree))["revision"]

    run(scenario)


def test_a_restart_between(tree: Tree, tmp_path: Path) -> None:
    """What changed meanwhile is an event, and nothing else is."""

    async def scenario() -> None:
        position = tmp_path / "position"
        async with source(tree.server, position) as running:
            await published(running, tree, "web01/a.com", watch=["/one"])
            await published(running, tree, "web01/b.com", watch=["/two"])
            revision = await asyncio.to_thread(tree.set, "/one/key", "/two/key")
            changes = [await running.change(tree), await running.change(tree)]
            assert sorted(changes, key=str) == [values_changed(revision, project) for project in ("a.com", "b.com")]
            await done_with(position, "a.com", "b.com")
        await asyncio.to_thread(tree.set, "/other/key")
        async with source(tree.server, position) as running:
            await running.watching(tree)  # nothing came before
            await done_with(position, "ready")
        revision = await asyncio.to_thread(tree.delete_whole, "/one/key")
        async with source(tree.server, position) as running:
            assert await running.change(tree) == values_changed(revision)
            await running.watching(tree)

    run(scenario)


def test_an_end_before_the_outcome(tree: Tree, tmp_path: Path) -> None:
    """An event that was handed on and not reported is repeated by a restart, as a replay."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            await published(running, tree, watch=["/one"])
            await published(running, tree, "web01/b.com", watch=["/one"])
            revision = await asyncio.to_thread(tree.set, "/one/key")
            first = await running.event()
            assert first["watcher"]["project"] == "a.com"
            assert (await running.change(tree))["project"] == "b.com"
            await done_with(tmp_path / "position", "b.com")
        async with source(tree.server, tmp_path / "position") as running:
            again = await running.event()
            assert (again["watcher"]["project"], again["watcher"]["revision"]) == ("a.com", revision)
            assert again["watcher"]["replayed"]
            assert again["meta"]["uuid"] == first["meta"]["uuid"]
            await asyncio.to_thread(tree.report, again)
            await running.watching(tree)

    run(scenario)


def test_what_deployments_write_is_no_value(tree: Tree, tmp_path: Path) -> None:
    """Who watches all there is gets no event for the status that the last one led to."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position", prefix="/all/watcher") as running:
            root, policy = "/all/watcher/web01/a.com/", b'{"deployPath": "/srv", "render": true, "watch": ["/all"]}'
            puts = ((f"{root}config", policy), (f"{root}config.d/x.j2", b""))
            first = await asyncio.to_thread(tree.store.commit, Write(puts=puts))
            assert (await running.event())["watcher"]["revision"] == first

            def report(revision: int) -> None:
                status = f'{{"wantedRevision": {revision}}}'.encode()
                places = "/all/watcher.status/web01/a.com", "/all/watcher.agents/web01"
                tree.store.commit(Write(puts=tuple((place, status) for place in places)))

            await asyncio.to_thread(report, first)
            second = await asyncio.to_thread(tree.set, "/all/key")
            assert (await running.event())["watcher"]["revision"] == second
            await asyncio.to_thread(report, second)
            third = await asyncio.to_thread(tree.set, "/all/key")
            assert (await running.event())["watcher"]["revision"] == third

    run(scenario)


def test_too_many_prefixes(tree: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So many are followed and the rest is told; one that gets its turn late may have missed something."""

    async def scenario() -> None:
        async with source(tree.server, tmp_path / "position") as running:
            for start in range(0, MAX_PREFIXES, 8):
                watch = [f"/p{number}" for number in range(start, start + 8)]
                await published(running, tree, f"web01/p{start}", watch=watch)
            with caplog.at_level(logging.WARNING):
                await published(running, tree, "web01/last", watch=["/last"])
                await eventually(lambda: "project last: a change below /last/" in caplog.text, "a warning")
            await asyncio.to_thread(tree.set, "/last/key")
            await asyncio.to_thread(tree.delete, "web01/p0/config")
            changes = [await running.change(tree), await running.change(tree)]
            assert {each["project"]: "values_changed" in each for each in changes} == {"p0": False, "last": True}
            revision = await asyncio.to_thread(tree.set, "/last/key")
            assert await running.change(tree) == values_changed(revision, "last")

    run(scenario)


def test_a_prefix_that_may_not_be_read(tmp_path: Path) -> None:
    """It ends nothing, and is followed from when the right is granted."""

    async def scenario(server: EtcdServer) -> None:
        root = Tree(server)
        root.publish("web01/a.com", watch=["/secret"])
        root.store.close()
        server.enable_auth()
        server.add_user("source", "pw", "/watcher/", "/watcher.status/")
        async with source(server, tmp_path / "position", username="source", password="pw", hold=0) as running:
            assert (await running.event())["watcher"]["replayed"]
            await asyncio.to_thread(server.etcdctl, "put", "/watcher/web01/a.com/vars/x", "1")
            assert (await running.event())["watcher"]["changes"][0]["values_changed"]
            grant = ("role", "grant-permission", "source", "--prefix=true", "read", "/secret/")
            await asyncio.to_thread(server.etcdctl, *grant)
            await asyncio.to_thread(server.etcdctl, "put", "/secret/key", "1")
            assert (await running.event())["watcher"]["changes"][0]["values_changed"]

    with EtcdServer() as server:
        run(lambda: scenario(server))
