# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels to a host: unchanged there, or refused."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.model import (
    CommandResult,
    File,
    FileChange,
    Outcome,
    Project,
)
from ansible_collections.watcher.config.plugins.module_utils._core.parcel import Parcel, pack, unpack
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy

DIGEST = "sha256:" + "0" * 64
POLICY = {
    "deployPath": "/srv",
    "mode": "0600",
    "onFailure": "keep",
    "watch": ["/x"],
    "cmdTimeout": 5,
    "files": {"a": DIGEST},
}
PROJECT = Project(
    "web01",
    "a.com",
    20,
    7,
    Policy.from_data(POLICY, ""),
    "",
    {"a": File.of(b"\xff\0"), "d/\u00fc": replace(File.of(b"big"), content=None)},
    {"/watcher/web01/a.com/config.d/\\xff": "bad"},
    frozenset(["big"]),
    newest=19,
    published=DIGEST,
    render_error="host web01, project a.com, template x",
)
PARCEL = Parcel(
    "web01",
    20,
    7,
    [PROJECT, Project("web01", "b.com", 20, 7, policy_error="broken"), Project("web01", "c", 20, 7, newest=3)],
    ["a.com", "b.com", "c", "gone"],
    {"a.com": Evidence(with_policy=frozenset(["x", "y"])), "b.com": Evidence(reread=True)},
    True,
)


@pytest.mark.parametrize("parcel", [PARCEL, replace(PARCEL, names=None), Parcel("web01", 1, 1, [])])
def test_round_trip(parcel: Parcel) -> None:
    """All of it arrives, in one line of plain characters."""
    packed = pack(parcel)
    assert unpack(packed) == parcel
    assert packed.isascii()
    assert b"\n" not in packed


def test_nothing_shows() -> None:
    """Contents are not readable by chance."""
    project = replace(PROJECT, files={"a": File.of(b"password" * 9)})
    assert b"password" not in pack(Parcel("web01", 1, 1, [project]))


def test_values_stay_at_home() -> None:
    """What templates read is not sent to hosts."""
    project = replace(PROJECT, variables={b"/watcher/web01/a.com/vars/x": b"secret"})
    assert b"secret" not in zlib.decompress(base64.b64decode(pack(Parcel("web01", 1, 1, [project]))))


def test_an_empty_manifest_arrives() -> None:
    """An empty manifest is not the same as none."""
    policy = Policy.from_data({"deployPath": "/srv", "files": {}}, "")
    parcel = Parcel("web01", 20, 7, [replace(PROJECT, policy=policy)])
    assert unpack(pack(parcel)).projects[0].policy == policy


def repacked(**changes: Any) -> bytes:
    """Return the parcel with other data."""
    data = json.loads(zlib.decompress(base64.b64decode(pack(PARCEL))))
    return base64.b64encode(zlib.compress(json.dumps({**data, **changes}).encode()))


def with_project(**changes: Any) -> bytes:
    """Return the parcel with another first project."""
    data = json.loads(zlib.decompress(base64.b64decode(pack(PARCEL))))
    return repacked(projects=[{**data["projects"][0], **changes}])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"x",
        b"\xff",
        pack(PARCEL)[:-8],
        b"AAAA" + pack(PARCEL),
        base64.b64encode(b"x"),
        base64.b64encode(zlib.compress(b"[]")),
        base64.b64encode(zlib.compress(b"{}")),
        base64.b64encode(zlib.compress(b"\xff")),
        repacked(host="a/b"),
        repacked(host=1),
        repacked(revision="x"),
        repacked(projects=1),
        repacked(projects=[1]),
        repacked(evidence=[]),
        repacked(evidence={"a": 1}),
        with_project(name=".."),
        with_project(policy={"deployPath": "x"}),
        with_project(files={"../../etc/passwd": [DIGEST, 0, None]}),
        with_project(files={"a": [DIGEST, 0, base64.b64encode(b"other").decode()]}),
        with_project(files={"a": [DIGEST]}),
        with_project(files=[]),
        with_project(kept=1),
        with_project(published="sha256:0"),
        with_project(published=None),
        with_project(render_error=None),
    ],
)
def test_damage(packed: bytes) -> None:
    """What is damaged or breaks the contract is refused as a whole."""
    with pytest.raises(InvalidError):
        unpack(packed)


def test_what_it_speaks_of() -> None:
    """Without names a parcel speaks of all projects; what an operator confirmed holds for each."""
    assert (PARCEL.speaks_of("gone"), PARCEL.speaks_of("other")) == (True, False)
    assert replace(PARCEL, names=None).speaks_of("other")
    assert PARCEL.evidence_of("a.com") == Evidence(True, frozenset(["x", "y"]))
    assert PARCEL.evidence_of("c") == Evidence(confirmed=True)


def test_outcome_round_trip() -> None:
    """An outcome comes back from a host as it was."""
    outcome = Outcome(
        "web01", "a.com", "failed", 1, 2, "sha256:0", 3, "m", True, (FileChange("a", "set", "1", "/b"),),
        CommandResult("o", "p", 3), CommandResult("q"), CommandResult(), "/srv", "http://x/", "t0", "t1", 4, "t2",
        ["n"], ["need"], ["ask"], 9, [{"before": "", "after": "x"}],
    )  # fmt: skip
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


@pytest.mark.parametrize("data", [{}, {"host": "web01"}, {**Outcome("h", "p", "s", 1, 1, "", 0).to_json(), "more": 1}])
def test_an_outcome_of_another_version(data: dict[str, Any]) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidError, match="not an outcome of this version"):
        Outcome.from_json(data)
