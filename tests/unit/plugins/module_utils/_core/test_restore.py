# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup that is put back: what changes, what it means for later deployments, what is refused."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError, InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Ledger, Owned
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.restore import (
    Restored,
    fetched,
    listed,
    projects_with_backups,
    restore,
)
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.tests.unit.site import Site, tree

ONE = {"x": b"1", "y": b"1"}
TWO = {"x": b"2", "y": b"1"}
NOTE = "host web01, project a.com: 1 files (such as 'x') are from a backup until they are published again"


class Host(Site):
    """A host whose policies keep backups and log what afterCmd sees, unless they say otherwise."""

    def policy(self, **fields: Any) -> Policy:
        """Return such a policy."""
        after = self.say("after $WATCHER_REVISION $WATCHER_CHANGED")
        return super().policy(**{"backupDir": str(self.backups), "afterCmd": after, **fields})


@pytest.fixture
def site(tmp_path: Path) -> Host:
    """Return a host on which x was 1 and is 2, at revision 12."""
    site = Host(tmp_path)
    for files in (ONE, TWO):
        assert site.deploy(files).state == "deployed"
    site.logged()
    return site


def put_back(site: Host, file: str = "x", name: str = "", **options: Any) -> Restored:
    """Restore a file of a.com, and demand that the answer survives its way to the controller."""
    restored = restore(site.state, "web01", "a.com", file, name, **options)
    data = restored.to_json()
    assert Restored.from_json(json.loads(json.dumps(data)), "web01", "a.com").to_json() == data
    return restored


def x(site: Host) -> str:
    """Return what x holds."""
    return (site.root / "x").read_text()


def owned(site: Host, path: str = "x") -> Owned | None:
    """Return what the host remembers of a file."""
    return site.ledger().files.get((str(site.root), path))


ORIGINAL, OTHER = Owned(File.of(b"2").digest), File.of(b"1").digest


# What a restore does


def test_restore(site: Host) -> None:
    """The file has the backup's content, what was there is a backup now, afterCmd has run, and others are told."""
    done = put_back(site)
    assert (x(site), site.logged()) == ("1", ["after 12 x"])
    assert (done.outcome.state, done.outcome.wanted_revision, done.outcome.revision) == ("deployed", 12, 12)
    assert (done.outcome.msg, done.standing, done.backup.revision) == (NOTE, True, 12)
    assert [(change.path, change.action) for change in done.outcome.changes] == [("x", "set")]
    assert [item.revision for item in listed(site.state, "web01", "a.com", "x")] == [12, 12]
    assert owned(site) == replace(ORIGINAL, restored=OTHER)
    project = site.project(TWO, revision=13)
    assert (done.outcome.digest, done.outcome.files) == (project.digest, 2)
    assert site.temporaries() == []


def test_restore_twice_goes_back(site: Host) -> None:
    """The newest backup is what was replaced last: a second restore undoes the first, and nothing is left of it."""
    put_back(site)
    done = put_back(site)
    assert (x(site), owned(site), done.outcome.msg) == ("2", ORIGINAL, "")


def test_a_named_backup(site: Host) -> None:
    """The one that is named is taken, by its path below the folder or as a whole."""
    site.deploy({**TWO, "x": b"3"})
    newest, oldest = listed(site.state, "web01", "a.com", "x")
    put_back(site, name=oldest.name)
    assert x(site) == "1"
    put_back(site, name=f"{site.backups}/{newest.name}")
    assert x(site) == "2"


def test_only_that_file_is_touched(site: Host) -> None:
    """Whatever others look like, by hand or held, they stay, and the host remembers of them what it did."""
    (site.root / "y").write_text("drifted")
    put_back(site)
    assert (x(site), (site.root / "y").read_text()) == ("1", "drifted")
    assert owned(site, "y") == Owned(File.of(b"1").digest)
    (site.root / "y").unlink()
    put_back(site)
    assert not (site.root / "y").exists()
    assert owned(site, "y") == Owned(File.of(b"1").digest)


def test_check_sees_the_whole_project(site: Host) -> None:
    """checkCmd gets all files, the restored one as it would be; where it fails nothing changes."""
    site.deploy(TWO, checkCmd="cat %s/x %s/y; false")
    site.deploy(TWO, checkCmd="true")
    site.logged()
    site.deploy({**TWO, "x": b"3"}, checkCmd='test "$(cat %s/x %s/y)" != 21')
    before, ledger = tree(site.root), site.ledger()
    done = put_back(site)
    assert (done.outcome.state, done.standing) == ("failed", False)
    assert "checkCmd failed with exit status 1" in done.outcome.msg
    assert (tree(site.root), site.ledger()) == (before, ledger)


def test_check_mode(site: Host) -> None:
    """It says what would change and changes nothing."""
    before = tree(site.folder)
    done = put_back(site, check=True, diff=True)
    assert (done.outcome.ran, [change.path for change in done.outcome.changes]) == (True, ["x"])
    assert [(entry["before"], entry["after"]) for entry in done.outcome.diff] == [("2", "1")]
    assert tree(site.folder) == before


def test_failure_rolls_back(site: Host) -> None:
    """When afterCmd fails, the file is what it was, and nothing is remembered as a failure that is tried again."""
    site.deploy(TWO, afterCmd=f"grep -q 2 {site.root}/x")
    ledger = site.ledger()
    done = put_back(site)
    assert (x(site), done.outcome.state, done.standing) == ("2", "rolledBack", False)
    assert site.ledger() == ledger
    assert site.temporaries() == []


def test_failure_whose_way_back_fails(site: Host) -> None:
    """When afterCmd fails for the old file as well, it is owed, and that is how the project stands."""
    site.deploy(TWO, afterCmd=f"test ! -e {site.folder}/bad")
    (site.folder / "bad").touch()
    done = put_back(site)
    assert (x(site), done.outcome.state, done.standing) == ("2", "rolledBack", True)
    assert (site.ledger().owed, site.ledger().trouble) == (["x"], "rolledBack")
    (site.folder / "bad").unlink()
    assert site.deploy(TWO, afterCmd=f"test ! -e {site.folder}/bad").ran
    assert (site.ledger().owed, site.ledger().trouble) == (None, "")


def test_failure_that_stays(site: Host) -> None:
    """With onFailure keep the file stays and its commands are owed, which is how the project stands."""
    site.deploy(TWO, afterCmd=f"grep -q 2 {site.root}/x", onFailure="keep")
    done = put_back(site)
    assert (x(site), done.outcome.state, done.standing) == ("1", "failed", True)
    assert (site.ledger().owed, site.ledger().trouble) == (["x"], "failed")
    assert owned(site) == replace(ORIGINAL, restored=OTHER)


def test_the_last_note_cannot_be_written(site: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is back, so that is what is told, be the disk full by then."""
    site.deploy({**TWO, "x": b"3"}, beforeCmd="false")
    save = State.save

    def full(self: State, after: Ledger, before: Ledger | None = None, *, durable: bool = True) -> None:
        if after.trouble and not after.journal:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, after, before, durable=durable)

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", full)
        done = put_back(site)
    assert (done.outcome.state, x(site)) == ("deployed", "1")


def test_rules_of_the_host(site: Host) -> None:
    """What this host does not allow is not done for a restore, either."""
    done = put_back(site, rules=Rules(roots=(str(site.folder),), commands=("true",)))
    assert done.outcome.state == "failed"
    assert "policy field afterCmd asks for" in done.outcome.msg
    assert (x(site), site.logged()) == ("2", [])


def test_outcome_is_remembered_for_its_callback(site: Host) -> None:
    """Should this process end now, the agent tells what came of it."""
    site.deploy(TWO, callback="http://127.0.0.1:1/")
    assert site.ledger().untold is None
    done = put_back(site, remember=True)
    untold = site.ledger().untold
    assert untold is not None
    assert {**untold, "digest": done.outcome.digest, "files": 2} == done.outcome.to_json()


# What it means for later deployments


def test_it_stays(site: Host) -> None:
    """A deployment that wants what it wanted before leaves the file alone, and says so each time."""
    put_back(site)
    site.logged()
    for _unused in range(2):
        outcome = site.deploy(TWO)
        assert (x(site), outcome.state, outcome.ran, outcome.changes, outcome.msg) == ("1", "deployed", False, [], NOTE)
    assert outcome.digest == site.project(TWO).digest
    assert site.logged() == []


def test_it_stays_with_a_manifest(site: Host) -> None:
    """The manifest is about the tree, which has not changed."""
    put_back(site)
    manifest = {path: File.of(content).digest for path, content in TWO.items()}
    policy, before = replace(site.policy(), files=manifest), tree(site.root)
    outcome = deploy(replace(site.project(TWO), policy=policy), site.state)
    assert (outcome.state, outcome.msg, x(site)) == ("deployed", NOTE, "1")
    for files in (ONE, {**TWO, "y": b"9"}, {"x": b"2"}):
        outcome = deploy(replace(site.project(files), policy=policy), site.state)
        assert (outcome.state, tree(site.root)) == ("waiting", before)


def test_it_stays_beside_other_changes(site: Host) -> None:
    """Another file of the project changes; checkCmd sees the restored one as it is."""
    put_back(site)
    outcome = site.deploy({"x": b"2", "y": b"9"}, checkCmd='test "$(cat %s/x %s/y)" = 19')
    assert (outcome.state, outcome.msg, [change.path for change in outcome.changes]) == ("deployed", NOTE, ["y"])
    assert (x(site), owned(site)) == ("1", replace(ORIGINAL, restored=OTHER))


def test_it_stays_beside_a_part(site: Host) -> None:
    """A part of the project tells of it, too, and repairs nothing."""
    put_back(site)
    outcome = site.part({"y": b"9"})
    assert outcome is not None
    assert (outcome.msg, x(site), owned(site)) == (NOTE, "1", replace(ORIGINAL, restored=OTHER))
    (site.root / "x").write_text("drifted")
    outcome = site.part({"y": b"10"})
    assert outcome is not None
    assert (outcome.state, outcome.msg, [change.path for change in outcome.changes]) == ("deployed", "", ["y"])
    assert (x(site), owned(site)) == ("drifted", replace(ORIGINAL, restored=OTHER))


@pytest.mark.parametrize("way", [Host.deploy, Host.part])
def test_a_newer_publish_replaces_it(way: Any, site: Host) -> None:
    """It is backed up like any other content, and nobody speaks of it any more."""
    put_back(site)
    outcome = way(site, {**TWO, "x": b"3"})
    assert (x(site), outcome.state, outcome.msg) == ("3", "deployed", "")
    assert owned(site) == Owned(File.of(b"3").digest)
    assert site.saved()["x@13"] == b"1"


def test_publishing_its_content(site: Host) -> None:
    """Then it is what the tree says, and no file changes."""
    put_back(site)
    outcome = site.deploy(ONE)
    assert (outcome.changes, outcome.msg, owned(site)) == ([], "", Owned(OTHER))


@pytest.mark.parametrize("content", [b"by hand", b"2", None])
def test_a_drifted_one_is_repaired(content: bytes | None, site: Host) -> None:
    """What is neither the tree's content nor the backup's gives way to the tree's."""
    put_back(site)
    (site.root / "x").unlink()
    if content is not None:
        (site.root / "x").write_bytes(content)
    outcome = site.deploy(TWO)
    assert (x(site), outcome.state, outcome.msg, owned(site)) == ("2", "deployed", "", ORIGINAL)


def test_its_mode_is_the_policys(site: Host) -> None:
    """A new policy's mode is given to it, and it stays."""
    put_back(site)
    outcome = site.deploy(TWO, mode="0600")
    assert (x(site), (site.root / "x").stat().st_mode & 0o777) == ("1", 0o600)
    assert (outcome.msg, owned(site)) == (NOTE, replace(ORIGINAL, restored=OTHER))


def test_other_names_of_it(site: Host) -> None:
    """A mode is not for them: a new file with the content of the backup takes its place."""
    put_back(site)
    os.link(site.root / "x", site.folder / "other")
    assert (site.deploy(TWO).msg, x(site)) == (NOTE, "1")
    outcome = site.deploy(TWO, mode="0600")
    assert (outcome.state, outcome.needs, outcome.msg, x(site)) == ("deployed", [], NOTE, "1")
    assert (site.folder / "other").read_text() == "1"


def test_it_goes_with_its_key(site: Host) -> None:
    """A file whose key is deleted, or whose project is withdrawn, is removed and backed up, restored or not."""
    put_back(site)
    site.deploy({"y": b"1"})
    assert (list(tree(site.root)), owned(site)) == (["y"], None)
    site.deploy(TWO)
    put_back(site)
    assert site.deploy(None).state == "removed"
    assert not site.root.exists()


def test_it_is_kept_where_the_store_lacks_it(site: Host) -> None:
    """A store that was replaced has no word on it: it is held and still known as a backup."""
    put_back(site)
    outcome = deploy(replace(site.project({"y": b"1"}), cluster_id=2), site.state)
    assert (x(site), owned(site)) == ("1", replace(ORIGINAL, held=True, restored=OTHER))
    assert NOTE.partition(": ")[2] in outcome.msg
    with pytest.raises(InvalidError, match="'x' is held"):
        put_back(site)


def test_files_that_are_held_are_not_counted(site: Host) -> None:
    """The status says how many files the tree has, and their digest."""
    project = replace(site.project({"x": b"2"}), cluster_id=2)
    assert deploy(project, site.state).state == "deployed"
    outcome = put_back(site).outcome
    assert (outcome.files, outcome.digest) == (1, project.digest)


# The trouble of others


def test_a_newer_failure_is_not_forgotten(site: Host) -> None:
    """A publish that does not succeed goes on waiting; what is told of the restore replaces no status of it."""
    outcome = site.deploy({**TWO, "y": b"bad"}, beforeCmd="false")
    trouble = site.ledger()
    assert (outcome.state, trouble.attempts) == ("failed", 1)
    done = put_back(site)
    assert (x(site), done.outcome.state, done.standing) == ("1", "deployed", False)
    ledger = site.ledger()
    assert (ledger.trouble, ledger.problem, ledger.attempts, ledger.since, ledger.observed) == (
        trouble.trouble,
        trouble.problem,
        1,
        trouble.since,
        trouble.observed,
    )


def test_owed_commands_are_paid(site: Host) -> None:
    """Where only the commands of this revision had failed, all is well once they succeed."""
    site.deploy({**TWO, "y": b"9"}, afterCmd=f"grep -q 1 {site.root}/x", onFailure="keep")
    assert site.ledger().owed == ["y"]
    done = put_back(site)
    assert (done.outcome.state, done.standing) == ("deployed", True)
    assert (site.ledger().owed, site.ledger().trouble, site.ledger().attempts) == (None, "", 0)


# Files that the tree does not have


def test_a_deleted_file(site: Host) -> None:
    """It comes back, is not ours, and no deployment looks at it."""
    site.deploy({"y": b"1"})
    done = put_back(site)
    said = "host web01, project a.com: 'x' is not in the tree: it stays until it is removed by hand"
    assert (x(site), done.outcome.msg, done.standing, owned(site)) == ("2", said, False, None)
    outcome = site.deploy({"y": b"2"})
    assert (x(site), outcome.msg, outcome.files) == ("2", "", 1)


def test_a_file_of_another_project(site: Host) -> None:
    """What is another project's by now is not replaced."""
    site.deploy({"y": b"1"})
    site.deploy({"x": b"theirs"}, name="b.com")
    done = put_back(site)
    assert (x(site), done.outcome.state) == ("theirs", "failed")
    assert "belongs to project b.com" in done.outcome.msg


def test_a_project_that_was_withdrawn(site: Host) -> None:
    """Its files can be put back by its last known policy."""
    site.deploy(None)
    done = put_back(site)
    assert (x(site), done.standing, site.ledger().files) == ("2", False, {})


# Nothing to do


def test_the_same_content(site: Host) -> None:
    """No file changes and no command runs."""
    put_back(site)
    site.logged()
    newest, oldest = listed(site.state, "web01", "a.com", "x")
    done = put_back(site, name=oldest.name)
    assert (done.outcome.ran, done.outcome.changes, done.outcome.msg) == (False, [], NOTE)
    assert site.logged() == []
    assert newest.name != oldest.name


def test_what_was_done_by_hand_is_taken_over(site: Host) -> None:
    """A file that somebody has copied back by hand is known as restored from then on."""
    (site.root / "x").write_bytes(b"1")
    done = put_back(site)
    assert (done.outcome.ran, owned(site)) == (False, replace(ORIGINAL, restored=OTHER))
    site.deploy(TWO)
    assert x(site) == "1"


# Lists


def test_a_folder_of_its_own(site: Host) -> None:
    """All backups of the project are listed, of files that are gone, too."""
    site.deploy({"y": b"2"})
    assert [(item.file, item.revision) for item in listed(site.state, "web01", "a.com")] == [
        ("x", 13),
        ("x", 12),
        ("y", 13),
    ]
    assert projects_with_backups(site.state, "web01") == ["a.com"]


def test_a_shared_folder(site: Host) -> None:
    """A project lists only what it has deployed, and any file that is named."""
    for number in (1, 2):
        site.deploy({"z": str(number).encode()}, name="b.com", backupDir=f"{site.backups}/")
    assert {item.file for item in listed(site.state, "web01", "a.com")} == {"x"}
    assert {item.file for item in listed(site.state, "web01", "b.com")} == {"z"}
    site.deploy({"y": b"1"})
    assert listed(site.state, "web01", "a.com") == []
    assert [item.revision for item in listed(site.state, "web01", "a.com", "x")] == [15, 12]


def test_retention_where_projects_share_a_folder(site: Host) -> None:
    """Each file keeps its number of backups; other files in the same folder keep theirs."""
    for number in range(5):
        site.deploy({"x": b"x%d" % number, "y": b"1"}, keepBackups=2)
        site.deploy({"z": b"z%d" % number}, name="b.com", backupDir=str(site.backups), keepBackups=3)
    count = {file: len(listed(site.state, "web01", "a.com", file)) for file in ("x", "y", "z")}
    assert count == {"x": 2, "y": 0, "z": 3}


# What is refused


@pytest.mark.parametrize(
    ("project", "file", "name", "says"),
    [
        ("c.com", "x", "", "host web01, project c.com: this host has never deployed it"),
        ("../x", "x", "", "a project is one segment"),
        ("a.com", "none", "", "there is no backup of 'none' in"),
        ("a.com", "y", "", "there is no backup of 'y' in"),
        ("a.com", "../x", "", "it has a segment . or .."),
        ("a.com", "x", "y", "'y' is no backup of 'x'; the newest of 1 is 'x_watcherbackup_"),
    ],
)
def test_unknown_names(project: str, file: str, name: str, says: str, site: Host) -> None:
    """They are named, and nothing is made for them."""
    before = tree(site.folder)
    with pytest.raises(InvalidError) as error:
        restore(site.state, "web01", project, file, name)
    assert says in str(error.value)
    assert tree(site.folder) == before


def test_no_backup_folder(site: Host) -> None:
    """A project that keeps no backups says so."""
    site.deploy({"z": b"1"}, name="b.com", backupDir="")
    with pytest.raises(DeployError, match="the policy has no backupDir"):
        listed(site.state, "web01", "b.com")
    assert projects_with_backups(site.state, "web01") == ["a.com"]


def test_a_link(site: Host) -> None:
    """A backup that is a link is shown and not put back."""
    (site.root / "x").unlink()
    (site.root / "x").symlink_to("y")
    site.deploy(TWO)
    (link, _older) = listed(site.state, "web01", "a.com", "x")
    assert link.kind == "link"
    with pytest.raises(InvalidError, match="is a symbolic link"):
        put_back(site)


def test_fetched_with_a_limit(site: Host) -> None:
    """A content that the tree would not take is not even read."""
    assert fetched(site.state, "web01", "a.com", "x", limit=1)[1] == b"1"
    with pytest.raises(InvalidError, match="has 1 bytes, allowed are 0"):
        fetched(site.state, "web01", "a.com", "x", limit=0)
