# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files that shells, locales and file systems stumble over."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import apply
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import check_path
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence
from ansible_collections.watcher.config.tests.unit.site import Site, tree

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
NAMES = [
    "with space",
    " spaces around ",
    'it\'s "quoted"',
    "-rf",
    "--",
    "$(reboot);`reboot`&|<>*?[a]{b}\\",
    "%s",
    "~",
    "...",
    ".hidden",
    ".watcher-looks like ours",
    COMPOSED,
    DECOMPOSED,
    "\U0001f980",
    "-/ /'/\u00fc",
]
ADDED = len("_watcherbackup_2026-01-31_23:59:59_") + len("11")  # bytes, at revision 11


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a host."""
    return Site(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {path: found[0] for path, found in tree(folder).items() if isinstance(found, tuple)}


def test_odd_names(site: Site) -> None:
    """They are deployed, checked, changed, backed up, restored and removed like others; commands see them as such."""
    old = {name: f"old {name}".encode() for name in NAMES}
    new = {name: f"new {name}".encode() for name in NAMES}
    check = f"cd %s && find . -type f | wc -l | grep -qx {len(NAMES)}"
    fields: dict[str, Any] = {"backupDir": str(site.backups), "checkCmd": check}
    assert site.deploy(old, **fields).state == "deployed"
    assert contents(site.root) == old
    assert site.deploy(new, afterCmd="false", **fields).state == "rolledBack"
    assert contents(site.root) == old
    outcome = site.deploy(new, afterCmd=f'printf %s "$WATCHER_CHANGED" >{site.log}', **fields)
    assert outcome.state == "deployed"
    assert site.log.read_text() == "\n".join(sorted(NAMES))
    assert contents(site.root) == new
    assert site.saved() == {f"{name}@13": content for name, content in old.items()}
    assert site.deploy(None, evidence=Evidence(confirmed=True)).state == "removed"
    assert not site.root.exists()


def test_two_spellings_of_one_word(site: Site) -> None:
    """What looks the same is another file when its bytes are others."""
    site.deploy({COMPOSED: b"1", DECOMPOSED: b"2"})
    assert len(os.listdir(site.root)) == 2
    site.deploy({DECOMPOSED: b"2"})
    assert [os.fsencode(name) for name in os.listdir(site.root)] == [DECOMPOSED.encode()]


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", "a\x85b", "a\u2028b", "a\ud800b", "x" * 256, "\u00fc" * 128])
def test_names_that_no_key_may_have(name: str) -> None:
    """What cannot be a line of its own, or the name of a file, is refused where the key is read."""
    with pytest.raises(InvalidError, match=r"cannot be deployed|is UTF-8 text"):
        check_path(name)


@pytest.mark.parametrize("deep", ["", "d/"])
def test_a_name_without_room_for_a_backup(site: Site, deep: str) -> None:
    """It is refused before anything is done, also in check mode, and tells why and what to do."""
    long = deep + "\u00fc" * 127 + "x"
    other: dict[str, Any] = {"backupDir": str(site.backups), "beforeCmd": site.say("before")}
    assert site.deploy({long: b"old", "f": b"old"}, **other).state == "deployed"
    assert site.logged() == ["before"]
    before = tree(site.root)
    for files in ({long: b"new", "f": b"new"}, {"f": b"new"}, None):
        for check in (True, False):
            outcome = site.deploy(files, check=check, **other)
            assert (outcome.state, outcome.ran) == ("failed", False)
            assert f"{site.root}/{long} cannot be backed up" in outcome.msg
            assert "would have 292 bytes, and 255 is the most" in outcome.msg
            assert "without backupDir" in outcome.msg
    assert (tree(site.root), site.saved(), site.logged()) == (before, {}, [])
    assert site.deploy({long: b"old", "f": b"new"}, **other).state == "deployed"
    assert site.deploy({"f": b"new"}).state == "deployed"
    assert contents(site.root) == {"f": b"new"}


def test_the_longest_name_with_a_backup(site: Site) -> None:
    """It is the contract's suffix that limits it."""
    long = "x" * (255 - ADDED)
    assert site.deploy({long: b"old"}, revision=10, backupDir=str(site.backups)).state == "deployed"
    assert site.deploy({long: b"new"}, revision=11, backupDir=str(site.backups)).state == "deployed"
    assert [len(path.name) for path in site.backups.iterdir()] == [255]
    outcome = site.deploy({long: b"newer"}, revision=100, backupDir=str(site.backups))
    assert (outcome.state, outcome.ran, "would have 256 bytes" in outcome.msg) == ("failed", False, True)


SCRIPT = """
import sys
from _core.apply import deploy
from _core.ledger import State
from _core.model import File, Project
from _core.policy import Policy

root, state = sys.argv[1:]
files = {"caf\\u00e9": File.of(b"1"), "plain": File.of(b"1")}
policy = Policy.from_data({"deployPath": root}, "test")
outcome = deploy(Project("web01", "a.com", 11, 1, policy, files=files, newest=11), State(state))
print(outcome.state, ascii(outcome.msg))
"""


@pytest.mark.parametrize(("utf8", "state"), [("", "deployed"), ("0", "failed")])
def test_a_locale_that_is_not_utf_8(site: Site, utf8: str, state: str) -> None:
    """The usual C locale is no obstacle; where names really cannot be spelled, nothing is done, and it is said."""
    library = Path(apply.__file__).resolve().parents[1]
    environment = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(library),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if utf8:
        environment["PYTHONUTF8"] = utf8
    command = [sys.executable, "-c", SCRIPT, str(site.root), str(site.folder / "state")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(state), done.stdout + done.stderr
    if state == "failed":
        assert "its locale is not UTF-8; run it with LC_ALL=C.UTF-8" in done.stdout
        assert not site.root.exists()
    else:
        assert contents(site.root) == {COMPOSED: b"1", "plain": b"1"}
