# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole deployments on a real disk with real commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.unit.site import Site, tree


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty host."""
    return Site(tmp_path)


def commands(site: Site) -> dict[str, Any]:
    """Return the three commands; each logs its name and what is in the file f, or staged for it."""
    return {
        "checkCmd": f'echo "check $(cat $WATCHER_STAGED/f) over $(cat {site.root}/f)" >>{site.log}',
        "beforeCmd": f'echo "before $(cat {site.root}/f)" >>{site.log}',
        "afterCmd": f'echo "after $(cat {site.root}/f)" >>{site.log}',
    }


def test_first_deployment(site: Site) -> None:
    """Files and folders are made with the usual modes, and the outcome says so."""
    outcome = site.deploy({"ngx.conf": b"1", "ssl/a/opts.conf": b"", "\u00fcml\u00e4ut": b"\xff\0"})
    assert tree(site.root) == {
        "ngx.conf": (b"1", 0o644),
        "ssl": 0o755,
        "ssl/a": 0o755,
        "ssl/a/opts.conf": (b"", 0o644),
        "\u00fcml\u00e4ut": (b"\xff\0", 0o644),
    }
    assert (outcome.state, outcome.revision, outcome.wanted_revision, outcome.files) == ("deployed", 11, 11, 3)
    assert {change.action for change in outcome.changes} == {"create"}
    assert outcome.ran
    assert site.temporaries() == []


def test_order(site: Site) -> None:
    """The check sees the staged files, before sees the old ones, after sees the new ones."""
    site.deploy({"f": b"old"})
    outcome = site.deploy({"f": b"new"}, **commands(site))
    assert outcome.state == "deployed"
    assert site.logged() == ["check new over old", "before old", "after new"]


@pytest.mark.parametrize("files", [{"f": b"1"}, {}])
def test_nothing_to_do(site: Site, files: dict[str, bytes]) -> None:
    """A deployment that changes nothing runs no command, and its outcome is no attempt; the revision moves on."""
    site.deploy(files)
    outcome = site.deploy(files, **commands(site))
    assert (outcome.state, outcome.ran, outcome.changes, outcome.revision) == ("deployed", False, [], 12)
    assert site.logged() == []


@pytest.mark.parametrize("field", ["checkCmd", "beforeCmd"])
def test_a_refusal_changes_nothing(site: Site, field: str) -> None:
    """When the check or the command before fails, all is as it was."""
    site.deploy({"f": b"old", "gone": b"x"})
    before = tree(site.root)
    fields = {**commands(site), field: "echo why; exit 3", "backupDir": str(site.backups)}
    outcome = site.deploy({"f": b"new", "d/n": b"new"}, **fields)
    assert outcome.state == "failed"
    assert outcome.msg == f"host web01, project a.com: {field} failed with exit status 3: why"
    assert (outcome.revision, outcome.wanted_revision, outcome.attempts) == (11, 12, 1)
    assert tree(site.root) == before
    assert not any(line.startswith("after") for line in site.logged())
    assert site.temporaries() == []
    assert site.saved() == {}
    assert site.deploy({"f": b"new"}, **fields, revision=site.revision).attempts == 2


def test_roll_back(site: Site) -> None:
    """When the command after fails the old files come back to the mode, and it runs once more on them."""
    site.deploy({"f": b"old", "gone": b"x", "sub/gone": b"y"}, mode="0640")
    before = tree(site.root)
    after = f"echo $WATCHER_REVISION $(cat {site.root}/f) >>{site.log}; grep -q old {site.root}/f"
    new = {"f": b"new", "d/n": b"new"}
    outcome = site.deploy(new, afterCmd=after, mode="0600", backupDir=str(site.backups))
    assert outcome.state == "rolledBack"
    assert outcome.msg == (
        "host web01, project a.com: afterCmd failed with exit status 1; the previous files are back"
        " (4 restored); afterCmd was run once more and it succeeded"
    )
    assert site.logged() == ["12 new", "11 old"]
    assert tree(site.root) == before
    assert site.temporaries() == []
    assert site.saved() == {}
    assert [change.backup for change in outcome.changes] == [None] * 4
    assert site.ledger().attempts == 1
    assert site.deploy(new, afterCmd=site.say("again")).state == "deployed"  # it was not forgotten
    assert (site.logged(), site.ledger().attempts) == (["again"], 0)


def test_keep_owes_the_commands(site: Site) -> None:
    """With onFailure keep the new files stay, and later deployments run the commands until they succeed."""
    fields: dict[str, Any] = {"onFailure": "keep", "beforeCmd": site.say("before $WATCHER_CHANGED")}
    site.deploy({"f": b"old"})
    outcome = site.deploy({"f": b"new"}, **fields, afterCmd="false")
    assert (outcome.state, outcome.revision) == ("failed", 11)
    assert "the new files stay" in outcome.msg
    assert (site.root / "f").read_bytes() == b"new"
    outcome = site.deploy({"f": b"new"}, **fields, afterCmd="false", revision=site.revision)
    assert (outcome.state, outcome.ran, outcome.attempts) == ("failed", True, 2)
    outcome = site.deploy({"f": b"new"}, **fields, afterCmd=site.say("after"))
    assert (outcome.state, outcome.revision, outcome.ran) == ("deployed", 13, True)
    assert site.logged() == ["before f", "before f", "before f", "after"]
    assert not site.deploy({"f": b"new"}, **fields, afterCmd=site.say("after")).ran


def test_withdrawn_with_commands_owed(site: Site) -> None:
    """The commands of a removal are owed, too, although nothing of the project is left."""
    site.deploy({"f": b"1"}, onFailure="keep", afterCmd=f"test -e {site.folder}/ok")
    (site.folder / "ok").touch()
    site.deploy({"f": b"1"}, onFailure="keep", afterCmd=f"test -e {site.folder}/ok")
    (site.folder / "ok").unlink()
    assert site.deploy(None).state == "failed"
    assert not site.root.exists()
    assert site.state.concerns("web01", "a.com")
    (site.folder / "ok").touch()
    assert site.deploy(None).state == "removed"
    assert not site.state.concerns("web01", "a.com")
    assert site.deploy(None).state == "unknown"


def test_staged_is_complete(site: Site) -> None:
    """The staged folder holds unchanged files, too, and %s stands for it."""
    site.deploy({"same": b"1", "d/same": b"2"})
    command = f"cd %s && test %s = $WATCHER_STAGED && find . -type f | sort >{site.log}"
    assert site.deploy({"same": b"1", "d/same": b"2", "new": b"3"}, checkCmd=command).state == "deployed"
    assert site.logged() == ["./d/same", "./new", "./same"]
    assert site.temporaries() == []


def test_environment(site: Site) -> None:
    """Commands see what the contract promises."""
    names = ("HOST", "PROJECT", "REVISION", "DEPLOY_PATH")
    text = " ".join(f"$WATCHER_{name}" for name in names)
    site.deploy({"a": b"", "gone": b""})
    site.deploy({"a": b"1", "b/c": b""}, afterCmd=f'{site.say(text)}; echo "$WATCHER_CHANGED" >>{site.log}')
    assert site.logged() == [f"web01 a.com 12 {site.root}", "a", "b/c", "gone"]


def test_foreign_files(site: Site) -> None:
    """An identical file is adopted untouched, another one is replaced like ours, after a backup."""
    site.root.mkdir()
    (site.root / "same").write_bytes(b"1")
    (site.root / "other").write_bytes(b"theirs")
    (site.root / "other").chmod(0o600)
    (site.root / "beside").write_bytes(b"theirs")
    inode = (site.root / "same").stat().st_ino
    outcome = site.deploy({"same": b"1", "other": b"ours"}, backupDir=str(site.backups))
    assert [(change.path, change.action) for change in outcome.changes] == [("other", "set")]
    assert (site.root / "same").stat().st_ino == inode
    assert tree(site.root)["other"] == (b"ours", 0o600)
    assert site.saved() == {"other@11": b"theirs"}
    assert outcome.changes[0].backup is not None
    assert Path(outcome.changes[0].backup).read_bytes() == b"theirs"
    site.deploy(None)
    assert tree(site.root) == {"beside": (b"theirs", 0o644)}


def test_deleted_keys(site: Site) -> None:
    """Files whose keys are gone are removed after a backup; folders that we made go when they are empty."""
    site.root.mkdir()
    (site.root / "theirs").mkdir()
    site.deploy({"a": b"1", "ours/x/b": b"2", "theirs/c": b"3", "mixed/d": b"4"}, backupDir=str(site.backups))
    (site.root / "mixed/foreign").write_bytes(b"f")
    outcome = site.deploy({"a": b"1"}, backupDir=str(site.backups))
    assert [change.action for change in outcome.changes] == ["delete"] * 3
    assert set(tree(site.root)) == {"a", "theirs", "mixed", "mixed/foreign"}
    assert site.saved() == {"mixed/d@12": b"4", "ours/x/b@12": b"2", "theirs/c@12": b"3"}
    (site.root / "mixed/foreign").unlink()
    site.deploy({"a": b"2"})
    assert set(tree(site.root)) == {"a", "theirs"}  # as soon as anything is deployed again
    site.deploy(None)
    assert set(tree(site.root)) == {"theirs"}


def test_deleted_without_backups(site: Site) -> None:
    """Without a backup folder a deleted file is just removed."""
    site.deploy({"a": b"1", "b": b"2"})
    assert [change.backup for change in site.deploy({"a": b"1"}).changes] == [None]
    assert set(tree(site.root)) == {"a"}


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_backups_kept(site: Site, keep: int) -> None:
    """Only the newest backups of a file are kept, 0 keeps all; those of other files do not count."""
    fields: dict[str, Any] = {"backupDir": str(site.backups), "keepBackups": keep}
    for number in range(6):
        site.deploy({"a": str(number).encode(), "a_watcherbackup": str(number // 5).encode()}, **fields)
    kept = [revision for revision in range(12, 17) if not keep or revision > 16 - keep]
    assert set(site.saved()) - {"a_watcherbackup@16"} == {f"a@{revision}" for revision in kept}
    assert "a_watcherbackup@16" in site.saved()


def test_a_backup_is_never_overwritten(site: Site) -> None:
    """Two projects that share a backup folder keep both files of one name and second."""
    for name in ("one", "two"):
        (site.folder / name).mkdir()
        (site.folder / name / "f").write_bytes(name.encode())
        fields: dict[str, Any] = {"deployPath": str(site.folder / name), "backupDir": str(site.backups)}
        site.deploy({"f": b"ours"}, name=name, revision=11, **fields)
    contents = sorted(path.read_bytes() for path in site.backups.iterdir())
    assert contents == [b"one", b"two"]


def test_moved(site: Site) -> None:
    """With another deployPath files move and the old place is cleaned."""
    site.deploy({"a": b"1", "d/b": b"2"}, backupDir=str(site.backups))
    new = site.folder / "new" / "place"
    outcome = site.deploy({"a": b"1", "d/b": b"3"}, deployPath=str(new), backupDir=str(site.backups))
    assert [(change.path, change.action) for change in outcome.changes] == [("a", "create"), ("d/b", "create")]
    assert set(tree(new)) == {"a", "d", "d/b"}
    assert not site.root.exists()
    assert site.saved() == {"a@12": b"1", "d/b@12": b"2"}
    site.deploy(None)
    assert not (site.folder / "new").exists()


def test_moved_to_another_name_of_the_same_folder(site: Site) -> None:
    """Neither a link to the folder nor one above it with longer paths makes a file its own obstacle."""
    site.deploy({"d/a": b"1"})
    (site.folder / "link").symlink_to(site.root)
    assert site.deploy({"d/a": b"1"}, deployPath=str(site.folder / "link")).changes == []
    assert set(tree(site.root)) == {"d", "d/a"}
    assert site.deploy({"a": b"1"}, deployPath=str(site.root / "d")).changes == []
    assert set(tree(site.root)) == {"d", "d/a"}
    assert site.deploy({"a": b"2", "b": b""}, deployPath=str(site.root / "d")).state == "deployed"
    assert set(tree(site.root)) == {"d", "d/a", "d/b"}


def test_drift_is_repaired(site: Site) -> None:
    """What the disk holds decides: changed, removed and re-moded files are put right."""
    files = {"a": b"1", "b": b"2", "c": b"3"}
    site.deploy(files, mode="0640")
    before = tree(site.root)
    (site.root / "a").write_bytes(b"x")
    (site.root / "b").unlink()
    (site.root / "c").chmod(0o666)
    outcome = site.deploy(files, mode="0640")
    assert [(change.path, change.action) for change in outcome.changes] == [("a", "set"), ("b", "create"), ("c", "set")]
    assert tree(site.root) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_modes(site: Site) -> None:
    """Owner, group and modes of the policy are set, on files and on folders that we make; 0 is a number, too."""
    site.root.mkdir()
    site.deploy({"d/a": b"1"}, owner="nobody", group="12345", mode="4750", dirMode="2710")
    status = (site.root / "d/a").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 12345, 0o4750)
    status = (site.root / "d").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 12345, 0o2710)
    assert (site.root.stat().st_uid, site.root.stat().st_mode & 0o7777) == (0, 0o755)
    assert site.deploy({"d/a": b"1"}, owner="root").changes[0].action == "set"
    assert (site.root / "d/a").stat().st_uid == 0
    os.chown(site.root / "d/a", 7, 8)
    (site.root / "d/a").chmod(0o4750)
    assert not site.deploy({"d/a": b"1"}).ran
    site.deploy({"d/a": b"2"})
    status = (site.root / "d/a").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o0750)  # set-id was for the old content
    site.deploy({"d/a": b"2"}, mode="0000")
    assert (site.root / "d/a").stat().st_mode & 0o7777 == 0


def test_unknown_owner(site: Site) -> None:
    """A user that the host does not have fails with the field and the name; files can still be removed."""
    outcome = site.deploy({"a": b"1"}, owner="nosuchuser")
    assert "policy field owner is 'nosuchuser', which this host does not have" in outcome.msg
    assert (outcome.state, outcome.ran) == ("failed", False)


def test_check_mode(site: Site) -> None:
    """A preview touches nothing, makes no state folder, and says what would be done."""
    site.root.mkdir()
    (site.root / "b").write_bytes(b"old\n")
    before = tree(site.folder)
    outcome = site.deploy({"a": b"1\n", "b": b"new\n"}, check=True, diff=True, **commands(site))
    assert [(change.path, change.action) for change in outcome.changes] == [("a", "create"), ("b", "set")]
    assert [(item["before"], item["after"]) for item in outcome.diff] == [("", "1\n"), ("old\n", "new\n")]
    assert tree(site.folder) == before
