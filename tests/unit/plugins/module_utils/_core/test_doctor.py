# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``doctor`` finds on a host, with etcd away; what it finds in etcd is in the integration tests."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import standing
from ansible_collections.watcher.config.plugins.module_utils._core.alone import alone
from ansible_collections.watcher.config.plugins.module_utils._core.doctor import Doctor
from ansible_collections.watcher.config.plugins.module_utils._core.finding import FAIL, OK, WARN, Finding
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import SPOOL
from ansible_collections.watcher.config.plugins.module_utils._core.room import user
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Settings
from ansible_collections.watcher.config.plugins.module_utils._core.spool import Spool
from ansible_collections.watcher.config.tests.certificates import Authority
from ansible_collections.watcher.config.tests.unit.site import Site, tree

URL = "http://user:secret@127.0.0.1:1/cb"


class Host:
    """A host whose etcd is away."""

    def __init__(self, folder: Path, port: int) -> None:
        """Have an INI file in which nothing is wrong."""
        self.site = Site(folder)
        self.config = folder / "watcher.ini"
        self.state = folder / "state"
        self.sections: dict[str, dict[str, Any]] = {
            "local": {"hostname": "web01", "state_dir": self.state},
            "etcd": {"endpoints": f"127.0.0.1:{port}", "timeout": 1},
            "security": {"deploy_roots": folder},
        }

    def findings(self, what: str, **sections: dict[str, Any]) -> list[Finding]:
        """Return what is found of one kind, with these sections, and demand that looking changed nothing."""
        lines = []
        for section, values in {**self.sections, **sections}.items():
            lines += [f"[{section}]", *(f"{name} = {value}" for name, value in values.items())]
        self.config.touch(0o600)
        self.config.write_text("\n".join(lines))
        before = tree(self.config.parent)
        found = list(Doctor(Settings.load(str(self.config))).examine())
        assert tree(self.config.parent) == before
        return [finding for finding in found if finding.what == what]

    def finding(self, what: str, **sections: dict[str, Any]) -> tuple[str, str]:
        """Return level and text of the only finding of a kind."""
        (found,) = self.findings(what, **sections)
        return found.level, found.text


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a host."""
    with socket.socket() as nobody:  # a port that is taken, and refuses
        nobody.bind(("127.0.0.1", 0))
        yield Host(tmp_path, nobody.getsockname()[1])


def test_configuration(host: Host) -> None:
    """A valid file is named, with the host that it makes this."""
    assert host.findings("configuration")[0].text == f"{host.config} is valid, this is host web01"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else(host: Host) -> None:
    """An INI file of another user decides nothing."""
    host.config.touch()
    os.chown(host.config, 4321, -1)
    found = host.findings("configuration")[-1]
    assert (found.level, "belongs to 4321: chown root" in found.text) == (FAIL, True)


def test_a_file_of_the_old_daemon(host: Host) -> None:
    """What the program warns of at each start is told."""
    del host.sections["security"]
    assert [finding.level for finding in host.findings("configuration")] == [OK, WARN]
    assert host.finding("deploy roots") == (OK, "policies may deploy anywhere")


def test_a_key_that_others_read(host: Host, tmp_path: Path) -> None:
    """The key of the client certificate is its owner's only."""
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("client")
    etcd = {"endpoints": "https://127.0.0.1:1", "client_cert": certificate, "client_key": key}
    key.chmod(0o600)
    assert FAIL not in [finding.level for finding in host.findings("configuration", etcd=etcd)]
    key.chmod(0o644)
    found = host.findings("configuration", etcd=etcd)[-1]
    assert (found.level, f"chmod 0600 {key}" in found.text) == (FAIL, True)


def test_run_as(host: Host) -> None:
    """Who commands run as."""
    assert host.finding("run_as") == (OK, f"commands run as {user(os.geteuid())}")
    if os.geteuid() == 0:
        assert host.finding("run_as", security={"run_as": "nobody"}) == (OK, "commands run as nobody")
    else:
        assert host.finding("run_as", security={"run_as": "root"})[0] == FAIL


def test_the_agent(host: Host) -> None:
    """None is a failure."""
    level, text = host.finding("agent")
    assert (level, "systemctl start watcher" in text) == (FAIL, True)
    with alone(str(host.state)):
        assert host.finding("agent") == (OK, f"process {os.getpid()} serves {host.state}")


def test_an_agent_that_ends(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are told as this process sees them where the agent has ended since it was found."""
    host.findings("log", logs={"path": "relative/"})
    with subprocess.Popen(["sleep", "60"], cwd="/") as agent:
        monkeypatch.setattr(standing, "agent", lambda _folder: agent.pid)
        doctor = Doctor(Settings.load(str(host.config)))
        agent.kill()
    found = {finding.what: finding.text for finding in doctor.examine()}
    assert found["state folder"].startswith(f"{host.state} is missing and will be made in {host.config.parent}, ")
    assert found["deploy root"].startswith(f"{host.config.parent}, ")
    assert found["log"].startswith(f"{os.getcwd()}/relative is missing and will be made in {os.getcwd()}, ")


def test_etcd_that_is_away(host: Host) -> None:
    """Each endpoint by itself, and the rest is looked at all the same."""
    port = host.sections["etcd"]["endpoints"]
    found = host.findings("etcd", etcd={"endpoints": f"{port}, localhost:{port.partition(':')[2]}", "timeout": 1})
    assert [finding.level for finding in found] == [FAIL, FAIL]
    assert f"http://{port}" in found[0].text
    assert host.finding("callbacks")[0] == OK


def test_a_certificate_that_is_none(host: Host, tmp_path: Path) -> None:
    """It is told, and nobody connects with what is left."""
    (tmp_path / "ca").write_text("no certificate")
    etcd = {"endpoints": "https://127.0.0.1:1", "ca_cert": tmp_path / "ca"}
    assert host.findings("configuration", etcd=etcd)[-1].level == FAIL
    assert host.findings("etcd", etcd=etcd) == []


def test_the_state_folder(host: Host) -> None:
    """It is missing, then good, then open to others, then no folder."""
    assert "will be made" in host.finding("state folder")[1]
    host.state.mkdir(0o700)
    assert host.finding("state folder")[0] == OK
    host.state.chmod(0o755)
    assert [finding.level for finding in host.findings("state folder")] == [WARN, OK]
    host.state.rmdir()
    host.state.write_text("")
    assert FAIL in [finding.level for finding in host.findings("state folder")]


def test_projects(host: Host) -> None:
    """Those that are not settled have a line each, with since when and how often; the others are counted."""
    host.site.deploy({"x": b"1"}, name="good")
    host.site.deploy({"y": b"1"}, name="bad", beforeCmd="echo no good; exit 1")
    host.site.deploy({f"f{number}": b"" for number in range(20)}, name="mass")
    host.site.deploy({}, name="mass")
    bad = host.findings("project bad")[0]
    assert bad.level == FAIL
    assert "attempts: 1; revision 12 is seen, 0 applied; beforeCmd failed" in bad.text
    assert host.findings("project mass")[0].level == WARN
    assert host.finding("projects") == (OK, "1 of 3 that this host remembers are settled")
    (host.state / "bad" / "ledger.json").write_text("{")
    assert "unreadable; " in host.findings("project bad")[0].text


def test_places(host: Host, tmp_path: Path) -> None:
    """Deploy roots, and the folders of each project, are looked at once each."""
    host.site.deploy({"x": b"1"}, backupDir=str(host.site.backups))
    assert [finding.text.split(", ")[0].split(" ")[0] for finding in host.findings("project a.com")] == [
        str(host.site.backups),
        str(host.site.root),
    ]
    (tmp_path / "file").touch()
    assert host.finding("deploy root", security={"deploy_roots": tmp_path / "file"})[0] == FAIL
    level, text = host.finding("deploy roots", security={})
    assert (level, "name some in [security]" in text) == (WARN, True)


def test_callbacks(host: Host) -> None:
    """They are counted, with the age of the oldest and what the receiver said last; no secret of a URL is told."""
    folder = str(host.state / SPOOL)
    then = time.time() - 7260
    assert Spool(folder, send=lambda *_unused: "answer 503", clock=lambda: then).deliver(URL, {"id": "1"})
    Spool(folder).put(URL, {"id": "2"})
    level, text = host.finding("callbacks")
    assert (level, text) == (WARN, "2 wait, the oldest for 2.0 hours; http://127.0.0.1:1/cb said: answer 503")


def test_a_young_callback_and_a_bad_one(host: Host) -> None:
    """A callback on its way is no trouble; a file that is none is."""
    folder = host.state / SPOOL
    Spool(str(folder)).put(URL, {"id": "1"})
    level, text = host.finding("callbacks")
    assert (level, re.sub(r"\d", "0", text)) == (OK, "0 wait, the oldest for 0 s")
    (folder / "1.json.bad").write_text("{")
    (folder / "2.json").write_text(json.dumps({"url": 1}))
    (folder / "3.json").symlink_to("taken meanwhile")
    found = host.findings("callbacks")
    assert [finding.level for finding in found] == [WARN, OK]
    assert found[0].text.startswith("2 files of ")


def test_the_log(host: Host, tmp_path: Path) -> None:
    """Its folder has to be writable; a relative one is below the working directory."""
    assert host.finding("log") == (OK, "goes to standard error only")
    assert host.finding("log", logs={"path": tmp_path / "logs"})[0] == OK
    assert f"{os.getcwd()}/relative is missing" in host.finding("log", logs={"path": "relative/"})[1]
    (tmp_path / "file").touch()
    assert host.finding("log", logs={"path": tmp_path / "file"})[0] == FAIL
