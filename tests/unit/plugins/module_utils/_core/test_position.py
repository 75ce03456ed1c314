# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that remembers how far a stream was read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.position import PositionFile
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Position

POSITION = Position(2**64 - 1, 2**40, b"/watcher/web01/a.com/config.d/\xff\xf0\x9f\x98\x80", 2**40)
TOTALS = {"/services": (3, 2**41), "/leer/\xe4": (-1, 0)}
KNOWN = {("a.com", "web01"): (3, 4), ("a.com", "web02"): (0, 0), ("b.com", "web01"): (1, 2)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path in a folder that is not there yet."""
    return tmp_path / "watcher" / "position.json"


def test_it_comes_back_as_it_was(path: Path) -> None:
    """Numbers of 64 bits and keys that are no text included; nobody else may read it."""
    PositionFile(str(path)).save(POSITION, KNOWN, TOTALS)
    assert PositionFile(str(path)).load() == (POSITION, KNOWN, TOTALS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["position.json"]


def test_no_file_no_position(path: Path) -> None:
    """A first start begins with nothing, and an empty path always does."""
    assert PositionFile(str(path)).load() == (None, {}, {})
    nowhere = PositionFile("")
    nowhere.save(POSITION, KNOWN, TOTALS)
    assert nowhere.load() == (None, {}, {})


def test_a_file_of_an_earlier_version_is_used(path: Path) -> None:
    """It knows of no prefixes."""
    file = PositionFile(str(path))
    file.save(POSITION, KNOWN, TOTALS)
    data = json.loads(path.read_text())
    del data["watched"]
    path.write_text(json.dumps(data))
    assert file.load() == (POSITION, KNOWN, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 2}',
        '{"version": 1, "cluster_id": "x", "revision": 1, "key": "", "written": 0, "projects": {}}',
        '{"version": 1, "cluster_id": 1, "revision": 1, "key": "", "written": 0, "projects": {"a": {"b": 3}}}',
        '{"version": 1, "cluster_id": 1, "revision": 1, "key": "", "written": 0, "projects": []}',
        '{"version": 1, "cluster_id": 1, "revision": -1, "key": "", "written": 0, "projects": {}}',
        '{"version": 1, "cluster_id": 1, "revision": Infinity, "key": "", "written": 0, "projects": {}}',
        '{"version": 1, "cluster_id": 1, "revision": 1, "key": "", "written": 0, "projects": {}, "watched": {"/s": 3}}',
        "\udcff",
    ],
)
def test_a_file_that_is_not_ours_is_told_and_not_used(path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """It leads to a replay, not to an end."""
    file = PositionFile(str(path))
    path.write_text(text, errors="surrogateescape")
    assert file.load() == (None, {}, {})
    assert str(path) in caplog.text


def test_a_file_that_cannot_be_written_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The source goes on without it, and the old file stays."""
    file = PositionFile(str(path))
    file.save(POSITION, KNOWN, TOTALS)
    path.with_name("position.json.new").mkdir()
    file.save(POSITION._replace(revision=1), {}, {})
    assert "was not written" in caplog.text
    assert json.loads(path.read_text())["revision"] == 2**40


def test_a_link_in_the_way_is_not_followed(path: Path, tmp_path: Path) -> None:
    """What somebody else put there is not written through."""
    file = PositionFile(str(path))
    (tmp_path / "precious").write_text("mine")
    path.with_name("position.json.new").symlink_to(tmp_path / "precious")
    file.save(POSITION, KNOWN, TOTALS)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("where", ["file/position.json", "folder"])
def test_an_impossible_place_is_refused(tmp_path: Path, where: str) -> None:
    """The start says so, with the option's name."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidError, match=r"^position_file: "):
        PositionFile(str(tmp_path / where))
