# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host allows policies: folders with their links resolved, exact commands, an account."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules, is_below
from ansible_collections.watcher.config.tests.unit.site import Site, tree


def policy(**fields: Any) -> Policy:
    """Return a policy with these of the contract's fields."""
    return Policy.from_data({"deployPath": "/srv/www", **fields}, "test")


def refusal(rules: Rules, **fields: Any) -> str:
    """Return why a policy is refused, empty when it is not."""
    try:
        rules.check(policy(**fields), "host web01, project a.com")
    except DeployError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/srv", "/srv", True),
        ("/srv/a/b", "/srv", True),
        ("/srvx", "/srv", False),
        ("/", "/srv", False),
        ("/sr", "/srv", False),
        ("/srv", "/", True),
        ("/", "/", True),
    ],
)
def test_below(path: str, root: str, below: bool) -> None:
    """A folder is below itself, and a name that begins alike is another one."""
    assert is_below(path, root) is below


def test_anything() -> None:
    """Without limits everything is allowed, set-id modes too."""
    assert refusal(Rules(), deployPath="/etc", backupDir="/root", mode="4755", afterCmd="reboot") == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"deployPath": "/srv"}, ""),
        ({"deployPath": "/opt/a/b"}, ""),
        ({"backupDir": "/srv/backup"}, ""),
        ({"mode": "1777", "dirMode": "2755"}, ""),
        ({"deployPath": "/etc/nginx"}, "deployPath asks for '/etc/nginx'; this host allows /srv and below, /opt/a and"),
        ({"deployPath": "/opt"}, "deployPath asks for '/opt'; this host allows /srv and below, /opt/a and below"),
        ({"deployPath": "/srv2"}, "deployPath asks for '/srv2'; this host allows /srv and below, /opt/a and below"),
        ({"backupDir": "/root"}, "backupDir asks for '/root'; this host allows /srv and below, /opt/a and below"),
        ({"mode": "4755"}, "mode asks for 4755, which sets the user or group id; this host allows modes up to 1777"),
        ({"mode": "2755"}, "mode asks for 2755, which sets the user or group id; this host allows modes up to 1777"),
    ],
)
def test_folders(fields: dict[str, Any], said: str) -> None:
    """Deploy path and backups have to be in a root; the message says what is asked for and what is allowed."""
    found = refusal(Rules(("/srv", "/opt/a"), source="/etc/w.ini"), **fields)
    if said:
        assert found.startswith(f"host web01, project a.com: policy field {said}")
        assert found.endswith(" (deploy_roots in [security] of /etc/w.ini)")
    else:
        assert found == ""


def test_no_roots() -> None:
    """An empty list allows no folder at all."""
    assert refusal(Rules((), None)) == (
        "host web01, project a.com: policy field deployPath asks for '/srv/www'; this host allows none"
        " (deploy_roots in [security])"
    )


def test_links(tmp_path: Path) -> None:
    """Both sides are compared after resolving links, also those of folders that are not there yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "allowed").symlink_to("real")
    (tmp_path / "real" / "out").symlink_to("../outside")
    (tmp_path / "real" / "loop").symlink_to("loop")
    (tmp_path / "way-in").symlink_to("real")
    rules = Rules((f"{tmp_path}/allowed",))
    for inside in ("allowed", "allowed/new/folder", "real", "real/new", "way-in/x"):
        assert refusal(rules, deployPath=f"{tmp_path}/{inside}") == "", inside
    for outside in ("allowed/out", "allowed/out/new", "real/out", "outside"):
        assert "this host allows" in refusal(rules, deployPath=f"{tmp_path}/{outside}"), outside
    said = refusal(rules, deployPath=f"{tmp_path}/allowed/out/x")
    assert f"asks for '{tmp_path}/allowed/out/x', which leads to '{tmp_path}/outside/x'; this host allows" in said


@pytest.mark.parametrize(
    ("commands", "fields", "said"),
    [
        (("nginx -t",), {"checkCmd": "nginx -t"}, ""),
        (("nginx -t",), {"beforeCmd": "  nginx -t\n"}, ""),
        (("nginx -t -c %s",), {"checkCmd": "nginx -t -c %s"}, ""),
        ((), {"beforeCmd": " \n"}, ""),
        (None, {"afterCmd": "reboot"}, ""),
        (("nginx -t",), {"checkCmd": "nginx  -t"}, r"checkCmd asks for 'nginx  -t'; this host allows nginx -t"),
        (("true",), {"afterCmd": "true; reboot"}, "afterCmd asks for 'true; reboot'; this host allows true"),
        (("a", "b"), {"beforeCmd": "A"}, "beforeCmd asks for 'A'; this host allows a, b"),
        ((), {"afterCmd": "true\nid"}, r"afterCmd asks for 'true\nid'; this host allows none"),
    ],
)
def test_commands(commands: tuple[str, ...] | None, fields: dict[str, Any], said: str) -> None:
    """A command has to be in the list letter by letter, before %s is replaced."""
    where = "host web01, project a.com: policy field "
    assert refusal(Rules(None, commands), **fields) == (f"{where}{said} (commands in [security])" if said else "")


def test_nothing_of_a_refused_policy_is_carried_out(tmp_path: Path) -> None:
    """Neither files, folders nor commands; the old files stay, and what is allowed again is made up for."""
    site = Site(tmp_path)
    rules = Rules((f"{tmp_path}/deploy",), ("true",))
    assert site.deploy({"a": b"1"}, rules=rules, afterCmd="true").state == "deployed"
    before = tree(site.root)
    refused: list[dict[str, Any]] = [{"deployPath": f"{tmp_path}/other"}, {"beforeCmd": site.say("before")}]
    for fields in refused:
        for outcome in (site.deploy({"a": b"2"}, rules=rules, **fields), site.part({"a": b"2"}, rules=rules, **fields)):
            assert outcome is None or outcome.state == "failed"
        outcome = site.deploy({"a": b"2"}, rules=rules, **fields)
        assert "this host allows" in outcome.msg and outcome.msg.startswith("host web01, project a.com: policy field")
    assert (tree(site.root), site.logged(), (tmp_path / "other").exists()) == (before, [], False)
    assert site.ledger().problem
    assert site.deploy({"a": b"2"}, rules=rules, afterCmd="true").state == "deployed"
    assert (site.root / "a").read_bytes() == b"2"


def test_a_project_that_is_gone_is_judged_by_its_last_policy(tmp_path: Path) -> None:
    """A host that has been closed since does not run what it allowed once."""
    site = Site(tmp_path)
    site.deploy({"a": b"1"}, afterCmd=site.say("after"))
    site.logged()
    outcome = site.deploy(None, rules=Rules((f"{tmp_path}/deploy",), ()))
    assert (outcome.state, site.logged(), (site.root / "a").exists()) == ("failed", [], True)
    assert site.deploy(None, rules=Rules(None, None)).state == "removed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_deployment_by_an_account(tmp_path: Path) -> None:
    """Commands are another user's, files are ours, and what checkCmd was given is gone afterwards."""
    site = Site(tmp_path)
    command = "id -un; cat %s/a; echo $WATCHER_STAGED"
    outcome = site.deploy({"a": b"1\n"}, rules=Rules(run_as="nobody"), checkCmd=command, afterCmd="id -un")
    assert (outcome.state, outcome.after.out) == ("deployed", "nobody\n")
    user, content, folder = outcome.check.out.splitlines()
    assert (user, content, Path(folder).exists()) == ("nobody", "1", False)
    assert ((site.root / "a").stat().st_uid, site.temporaries()) == (0, [])
    outcome = site.deploy({"a": b"2"}, rules=Rules(run_as="no-such-user"), afterCmd="id -un")
    assert (outcome.state, (site.root / "a").read_bytes()) == ("failed", b"1\n")
    assert "host web01, project a.com: this host has no user 'no-such-user' (run_as in [security])" in outcome.msg
    assert site.deploy({"a": b"2"}, rules=Rules(run_as="no-such-user")).state == "deployed"


def test_account_of_ourselves() -> None:
    """Nothing has to be done to run commands as who we are, by name or number."""
    me = pwd.getpwuid(os.geteuid())
    assert Rules().account() is Rules(run_as=me.pw_name).account() is Rules(run_as=str(me.pw_uid)).account() is None


def test_account_that_is_missing() -> None:
    """A user whom the host does not have is named, with where that is said."""
    with pytest.raises(DeployError) as caught:
        Rules(run_as="no-such-user", source="/etc/w.ini").account()
    assert str(caught.value) == (
        "this host has no user 'no-such-user' (run_as in [security] of /etc/w.ini): add the user or name another"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_account_for_root() -> None:
    """Root may become anybody, with the groups that a login would give."""
    nobody = pwd.getpwnam("nobody")
    account = Rules(run_as="nobody").account()
    assert account is not None and account == Rules(run_as=str(nobody.pw_uid)).account()
    assert (account.name, account.uid, account.gid) == ("nobody", nobody.pw_uid, nobody.pw_gid)
    assert account.groups == tuple(os.getgrouplist("nobody", nobody.pw_gid))
    assert account.environment == {
        "HOME": nobody.pw_dir,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "SHELL": nobody.pw_shell,
    }


def test_account_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may run commands as somebody else."""
    uid = pwd.getpwnam("nobody").pw_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(DeployError) as caught:
        Rules(run_as="root").account()
    assert str(caught.value) == (
        "commands are to run as 'root' (run_as in [security]), which only root can arrange:"
        " run this as root or as 'root', not as 'nobody'"
    )
