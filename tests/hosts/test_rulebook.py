# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role rulebook: a control host turns puts into playbook runs on another host, over ssh."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.ansible_site import ROOT
from ansible_collections.watcher.config.tests.hosts.fleet import STATE, Fleet, make_wheels

ROLE = ROOT / "roles" / "rulebook"
WHEELS = ROOT / ".cache" / "wheels-rulebook"
PASSWORD = 'rule\'s "$HOME" `id` \\pass'  # everything that a file of environment variables may get wrong
TOKEN = "a token of AWX"
POLICY = {"deployPath": "/srv/app/rulebook"}
RUN = 120.0  # seconds from a put to its outcome; 3 as a rule
BACK = 180.0  # seconds from the death of the service to its next outcome: a pause of 5 s, and Java's start
GONE = ["/opt/watcher-rulebook", "/etc/watcher-rulebook", "/etc/systemd/system/watcher-rulebook.service"]
UNIT = "watcher-rulebook"

Recap = dict[str, dict[str, int]]


class Control:
    """The controller of the role, with a control host and a host that it deploys to."""

    def __init__(self, fleet: Fleet) -> None:
        """Write the playbook and the inventory that the control hosts get."""
        self.fleet = fleet
        self.target, self.host = fleet.hosts
        self.inventory = fleet.folder / "rulebook" / "sent"
        (self.inventory / "group_vars").mkdir(parents=True)
        self.playbook = fleet.write("rulebook/play.yml", [{"hosts": "all", "roles": ["watcher.config.rulebook"]}])
        hosts = "".join(f"{host.name} ansible_host={host.address}\n" for host in fleet.hosts)
        (self.inventory / "hosts").write_text(hosts)
        common = {"ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3"}
        (self.inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(common))

    def variables(self, **more: Any) -> dict[str, Any]:
        """Return the variables of the role."""
        etcd = self.fleet.etcd
        return {
            "rulebook_endpoints": [f"https://{etcd.listen[0]}:{etcd.port}"],
            "rulebook_username": "rulebook",
            "rulebook_password": PASSWORD,
            "rulebook_ca_cert": str(etcd.authority.certificate),
            "rulebook_client_cert": str(etcd.client_cert),
            "rulebook_client_key": str(etcd.client_key),
            "rulebook_inventory": self.inventory.name,  # beside the playbook
            "rulebook_ssh_key": str(STATE / "ssh" / "id_ed25519"),
            "rulebook_known_hosts": str(STATE / "ssh" / "known_hosts"),
            "rulebook_environment": {"EDA_CONTROLLER_TOKEN": TOKEN},
            "rulebook_vars": {"watcher_hosts": [self.target.name], "watcher_batch": 0.1},
            "rulebook_wheels": str(WHEELS),
            **more,
        }

    def role(self, *arguments: str, limit: str = "", **more: Any) -> Recap:
        """Apply the role to the control host, or another limit, and return the recap."""
        return self.fleet.ran(self.playbook, "--limit", limit or self.host.name, *arguments, **self.variables(**more))

    def deployed(self, text: str, bound: float = RUN) -> dict[str, Any]:
        """Publish a file for the target, and return its status once the file is there."""
        revision = self.fleet.put("rulebook", {"a": text}, POLICY, self.target)[self.target.name]
        try:
            said = self.fleet.told(self.target, "rulebook", "deployed", revision, bound)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None
        assert self.target.text("/srv/app/rulebook/a") == text
        return said

    def journal(self) -> str:
        """Return what the service said."""
        return self.host.run(f"journalctl -u {UNIT} -n 200 --no-pager -o cat")

    def on_duty(self) -> str:
        """Return the control host whose service hands on events; nothing while none does."""
        item, _revision = self.fleet.store.get("/watcher.sources/main/lock")
        return str(json.loads(item.value)["hostname"]) if item else ""

    def shown(self, name: str) -> str:
        """Return a property of the unit."""
        return self.host.run(f"systemctl show --property={name} --value {UNIT}").strip()


@pytest.fixture(scope="module")
def control(fresh: Fleet) -> Iterator[Control]:
    """Return the hosts, without agents at work, and leave them as they were."""
    python = fresh.hosts[0].run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    make_wheels(python, WHEELS, ROLE / "files" / "requirements.txt", ROLE / "files" / "java.txt")
    fresh.etcd.add_user("rulebook", PASSWORD, "/watcher/", "/watcher.status/", "/watcher.sources/")
    agents = [host for host in fresh.hosts if host.text("/etc/systemd/system/watcher.service")]
    for host in agents:
        host.run("systemctl stop watcher")
    found = Control(fresh)
    yield found
    fresh.withdraw("rulebook")
    fresh.ran(found.playbook, rulebook_state="absent")
    for host in agents:
        host.run("systemctl start watcher")


@pytest.fixture(scope="module")
def runs(control: Control) -> dict[str, Recap]:
    """Apply the role: in check mode, for real, and again; return the three recaps."""
    runs = {"check": control.role("--check", "--diff")}
    assert [path for path in GONE if control.host.path(path).exists()] == []
    return {**runs, "first": control.role(), "second": control.role()}


@pytest.fixture
def served(control: Control, runs: dict[str, Recap]) -> Control:
    """Return the control host with the service at work."""
    assert runs["first"]
    return control


def changed(recap: Recap) -> list[int]:
    """Return how much changed on each host."""
    return [numbers["changed"] for numbers in recap.values()]


def test_first_runs(runs: dict[str, Recap]) -> None:
    """Check mode tells of changes and makes none, the first run makes them, the second has none."""
    assert all(changed(runs["check"]))
    assert all(changed(runs["first"]))
    assert changed(runs["second"]) == [0]


def test_put(served: Control) -> None:
    """A put for one host is a playbook run of the control host on that host, with the outcome in etcd."""
    start = time.monotonic()
    said = served.deployed("one\n")
    print(f"put on {served.target.name}: {time.monotonic() - start:.1f} s to the status of the playbook run")
    assert said["by"] != "agent"
    assert re.search(rf"PLAY RECAP .*\n{served.target.name} .*changed=1", served.journal().replace("\r", ""))


def test_secrets(served: Control) -> None:
    """Only root reads the secrets; they are nowhere in the unit, the journal and the file of variables."""
    folder = served.host.path("/etc/watcher-rulebook")
    for name, user in {"environment": "root", "client.key": UNIT, "ssh.key": UNIT}.items():
        status = (folder / name).stat()
        owner = served.host.run(f"stat -c %U /etc/watcher-rulebook/{name}").strip()
        assert (stat.S_IMODE(status.st_mode), owner) == (0o600, user), name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    shown = served.host.run(f"systemctl show {UNIT}; systemctl cat {UNIT}; journalctl --no-pager -o cat")
    said = [shown, (folder / "vars.yml").read_text(), served.host.run("ps axww -o args")]
    for secret in (PASSWORD, TOKEN):
        assert not any(secret in text for text in said)
        assert secret in served.host.path(f"/proc/{served.shown('MainPID')}/environ").read_text()


def test_killed(served: Control) -> None:
    """A service that is killed comes back by itself and goes on."""
    before = served.shown("MainPID")
    served.host.run(f"kill -KILL {before}")
    served.deployed("after a kill\n", BACK)
    assert served.shown("MainPID") not in (before, "0")


def test_stop(served: Control) -> None:
    """A stop in the middle of a playbook is clean, leaves no process, and the change is deployed after the start."""
    served.target.path("/srv/slow").touch()
    policy = {**POLICY, "afterCmd": "/srv/after", "cmdTimeout": 300}
    served.target.path("/srv/log").unlink(missing_ok=True)
    revision = served.fleet.put("rulebook", {"a": "slow\n"}, policy, served.target)[served.target.name]
    eventually(lambda: served.target.log() == [("begin", revision)], "the playbook is at work", RUN)
    processes = served.host.run("ps axww -o args")
    assert "ansible-playbook" in processes
    assert not any(secret in processes for secret in (PASSWORD, TOKEN))

    start = time.monotonic()
    served.host.run(f"systemctl stop {UNIT}")
    print(f"stopped in {time.monotonic() - start:.1f} s, with a playbook at work")
    assert (served.shown("Result"), served.shown("ExecMainStatus")) == ("success", "0")
    assert f"\n{UNIT} " not in served.host.run("ps axww -o user:20,args")

    served.target.path("/srv/slow").unlink()
    served.host.run(f"systemctl start {UNIT}")
    served.fleet.told(served.target, "rulebook", "deployed", revision, BACK)
    assert served.target.text("/srv/app/rulebook/a") == "slow\n"
    served.deployed("after a stop\n")


def test_change(served: Control) -> None:
    """What is changed arrives and restarts the service; what was removed from the inventory is gone."""
    before = served.shown("MainPID")
    (served.inventory / "more").write_text("web99\n")
    try:
        assert all(changed(served.role(rulebook_vars={"watcher_hosts": [served.target.name], "watcher_batch": 0})))
        assert served.host.text("/etc/watcher-rulebook/inventory/more") == "web99\n"
    finally:
        (served.inventory / "more").unlink()
    assert served.shown("MainPID") != before
    assert "watcher_batch: 0" in served.host.text("/etc/watcher-rulebook/vars.yml")
    assert all(changed(served.role()))
    folder = served.host.path("/etc/watcher-rulebook")
    assert not (folder / "inventory" / "more").exists()
    assert len(list(folder.glob("inventory-*"))) == 1
    served.deployed("after a change\n")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rulebook_password": "wrong"}, "user name"),
        ({"rulebook_endpoints": ["https://127.0.0.1:1"]}, "127.0.0.1:1"),
        ({"rulebook_python": "/usr/bin/python2"}, "none at /usr/bin/python2"),
        ({"rulebook_java_home": "/usr"}, "/usr/bin/java is no Java 17"),
        ({"rulebook_inventory": "/nowhere"}, "/nowhere is no folder there"),
        ({"rulebook_name": "watcher.config.awx"}, "rulebook_controller_url"),
        ({"rulebook_environment": {"A B": "x"}}, "A B cannot be in the environment"),
        ({"rulebook_user": "root\n"}, '"root\\n" is not a user'),
    ],
    ids=["password", "endpoint", "python", "java", "inventory", "awx", "environment", "user"],
)
def test_wrong(served: Control, wrong: dict[str, Any], said: str) -> None:
    """A wrong value is told in a sentence that names the host, without a traceback."""
    variables = served.variables(**wrong, rulebook_verify=8)
    done = served.fleet.play(served.playbook, "--limit", served.host.name, **variables)
    try:
        assert done.returncode != 0
        sentences = [line for line in done.stdout.splitlines() if f"{served.host.name}: " in line and said in line]
        assert sentences, done.stdout
        assert "Traceback" not in done.stdout and PASSWORD not in done.stdout
    finally:
        if "rulebook_password" in wrong or "rulebook_endpoints" in wrong:
            served.role()


def test_standby(served: Control) -> None:
    """Power goes on the control host at work: the other one, which stood by, takes over and deploys the next put."""
    names = {"watcher_hosts": [served.target.name, served.host.name]}
    # One after the other, so that it is known who is at work.
    served.role(rulebook_standby="main", rulebook_vars=names)
    eventually(lambda: served.on_duty() == served.host.name, "the first is at work", BACK)
    served.role(limit=served.target.name, rulebook_standby="main", rulebook_vars=names)
    served.deployed("by the first\n")
    assert served.on_duty() == served.host.name

    served.host.kill()
    start = time.monotonic()
    try:
        eventually(lambda: served.on_duty() == served.target.name, "the other one takes over", BACK)
        print(f"took over {time.monotonic() - start:.1f} s after the power went")
        served.deployed("by the second\n")
        print(f"the next put was deployed {time.monotonic() - start:.1f} s after the power went")
    finally:
        served.host.start()
    eventually(lambda: served.shown("ActiveState") == "active", "the first one is back", BACK)
    assert served.on_duty() == served.target.name


def test_removal(served: Control) -> None:
    """The service goes with all that was installed; what it remembers stays."""
    assert all(changed(served.role("--check", rulebook_state="absent")))
    assert served.shown("ActiveState") == "active"
    done = served.fleet.play(served.playbook, "--limit", served.host.name, rulebook_state="absent")
    assert done.returncode == 0, done.stdout
    assert "/var/lib/watcher-rulebook" in done.stdout
    assert [path for path in GONE if served.host.path(path).exists()] == []
    assert list(served.host.path("/var/lib/watcher-rulebook/watcher").glob("position-*.json"))
    assert served.host.run("systemctl is-system-running").strip() == "running"
    assert changed(served.role(rulebook_state="absent")) == [0]
