# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts with an etcd that they reach, and a controller with the role and the playbooks for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.agent_run import eventually
from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site
from ansible_collections.watcher.config.tests.etcd_server import ROOT_PASSWORD, EtcdServer

STATE = ROOT / ".cache" / "hosts"
WHEELS = ROOT / ".cache" / "wheels"
REQUIREMENTS = ROOT / "roles" / "agent" / "files" / "requirements.txt"
PACKAGES = "nginx-light"  # of the hosts, beside what hosts.sh needs itself
PATIENCE = 600  # seconds for one call of hosts.sh; the first one builds the image
PROMPT = 10.0  # seconds that a host has for a change, on a busy machine
PASSWORD = "the agents' password"


def tool(*arguments: str) -> str:
    """Run hosts.sh and return what it prints; fail with what it says."""
    command = [str(ROOT / "tests" / "hosts" / "hosts.sh"), "-d", str(STATE), *arguments]
    environment = {**os.environ, "HOSTS_PACKAGES": PACKAGES}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"hosts.sh {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Host:
    """One host."""

    def __init__(self, name: str, address: str) -> None:
        """Take a host that is up."""
        self.name, self.address = name, address
        self._root: Path | None = None

    def path(self, path: str) -> Path:
        """Return where a path of the running host is on this machine; no link on the way may be absolute."""
        if self._root is None or not self._root.exists():
            found = re.search(rf"^{self.name} .* init=(\d+)", tool("status"), re.MULTILINE)
            assert found, f"{self.name} is off"
            self._root = Path(f"/proc/{found[1]}/root")
        return self._root / path.lstrip("/")

    def disk(self, path: str) -> Path:
        """Return where a path, written since the host was made, is on this machine while the host is off."""
        folder = STATE / "hosts" / self.name
        return folder / ("root" if (folder / "copied").exists() else "upper") / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return the content of a file; nothing when there is none."""
        file = self.path(path)
        return file.read_text() if file.exists() else ""

    def log(self) -> list[tuple[str, int]]:
        """Return when the tests' command began and ended, as words and the revisions that it was run for."""
        return [(line.split()[0], int(line.split()[1])) for line in self.text("/srv/log").splitlines()]

    def run(self, command: str) -> str:
        """Run a command by ssh and return what it prints; fail with what it says."""
        return tool("ssh", self.name, command)

    def unit(self, name: str) -> str:
        """Return a property of the agent's unit."""
        return self.run(f"systemctl show --property={name} --value watcher").strip()

    def kill(self) -> None:
        """Take the power away."""
        tool("kill", self.name)
        self._root = None

    def start(self) -> None:
        """Give the power back, and return when the host is up."""
        tool("start", self.name)

    def cut(self) -> None:
        """Pull the network cable."""
        tool("cut", self.name)

    def join(self) -> None:
        """Plug the network cable in again."""
        tool("join", self.name)


class Fleet(Site):
    """All hosts, as their controller sees them. etcd demands certificates and passwords of everyone."""

    patience = 600.0  # a role comes with an environment to make

    def __init__(self, folder: Path, etcd: EtcdServer) -> None:
        """Take the hosts that are up into the inventory."""
        super().__init__(folder, etcd.endpoint, [])
        self.etcd = etcd
        (self.inventory / "hosts.yml").unlink()
        text = tool("inventory")
        (self.inventory / "hosts.ini").write_text(text, encoding="utf-8")
        self.hosts = [Host(*found) for found in re.findall(r"^(h\d+) ansible_host=(\S+)", text, re.MULTILINE)]
        connection = Connection(
            (etcd.endpoint,),
            username="root",
            password=ROOT_PASSWORD,
            ca_cert=str(etcd.authority.certificate),
            client_cert=str(etcd.client_cert),
            client_key=str(etcd.client_key),
        )
        self.store = connect(connection)
        self.tree = Tree()
        self.collections = folder / "collections"
        copy_collection(self.collections)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the controller, which is etcd's root."""
        return {
            **super().environment,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_PIPELINING": "1",
            "ETCDCTL_USER": f"root:{ROOT_PASSWORD}",
            "ETCDCTL_CACERT": str(self.etcd.authority.certificate),
            "ETCDCTL_CERT": str(self.etcd.client_cert),
            "ETCDCTL_KEY": str(self.etcd.client_key),
        }

    @property
    def names(self) -> list[str]:
        """Return the hosts' names."""
        return [host.name for host in self.hosts]

    def variables(self, **more: Any) -> dict[str, Any]:
        """Return the variables of the role."""
        machine = self.etcd.listen[0]
        return {
            "agent_endpoints": [f"https://{machine}:{self.etcd.port}"],
            "agent_username": "agent",
            "agent_password": PASSWORD,
            "agent_ca_cert": str(self.etcd.authority.certificate),
            "agent_client_cert": str(self.etcd.client_cert),
            "agent_client_key": str(self.etcd.client_key),
            "agent_deploy_roots": ["/etc/nginx/conf.d", "/srv/app", "/var/backups/watcher"],
            "agent_commands": ["nginx -t -q -c %s/a.com.check", "systemctl reload nginx", "/srv/after"],
            "agent_wheels": str(WHEELS),
            **more,
        }

    def role(self, *arguments: str, **more: Any) -> dict[str, dict[str, int]]:
        """Apply the role to all hosts by its playbook and return the recap."""
        return self.ran("watcher.config.agent", *arguments, **self.variables(**more))

    def put(self, project: str, files: Mapping[str, str], policy: Mapping[str, Any], *hosts: Host) -> dict[str, int]:
        """Publish files and policy to the hosts (all without any), a transaction each; return the revisions."""
        revisions = {}
        for name in [host.name for host in hosts] or self.names:
            puts = [(self.tree.policy(name, project), json.dumps(policy).encode())]
            puts += [(self.tree.file(name, project, path), text.encode()) for path, text in files.items()]
            revisions[name] = self.store.commit(Write(puts=tuple(puts)))
        return revisions

    def withdraw(self, project: str) -> None:
        """Remove a project from the tree, for all hosts."""
        self.store.commit(Write(delete_prefixes=tuple(self.tree.project(name, project) for name in self.names)))

    def status(self, host: Host, project: str) -> dict[str, Any]:
        """Return what a host says of a project; nothing when it has said nothing."""
        item, _revision = self.store.get(self.tree.status(host.name, project))
        return dict(json.loads(item.value)) if item else {}

    def agent(self, host: Host) -> dict[str, Any]:
        """Return what the live agent of a host says; nothing when there is none."""
        item, _revision = self.store.get(self.tree.agent(host.name))
        return dict(json.loads(item.value)) if item else {}

    def each(self, holds: Callable[[Host], object], what: str, bound: float = PROMPT) -> None:
        """Wait until something holds for every host."""
        for host in self.hosts:
            eventually(partial(holds, host), f"{host.name}: {what}", bound)

    def told(self, host: Host, project: str, state: str, revision: int, bound: float = PROMPT) -> dict[str, Any]:
        """Wait until a host says that a project came to a state with a revision, or a later one; return its words."""
        said: dict[str, Any] = {}

        def has() -> bool:
            nonlocal said
            said = self.status(host, project)
            return said.get("state") == state and said["wantedRevision"] >= revision

        try:
            eventually(has, f"{host.name} says {state} of {project} at revision {revision}", bound)
        except AssertionError as error:
            log = host.run("journalctl -u watcher -n 30 --no-pager -o cat")
            raise AssertionError(f"{error}\nit says {self.status(host, project)}\n{log}") from None
        return said


def copy_collection(folder: Path) -> None:
    """Copy what a controller needs, for this checkout may change meanwhile."""
    collection = folder / "ansible_collections" / "watcher" / "config"
    for part in ("extensions", "plugins", "roles", "playbooks", "meta"):
        shutil.copytree(ROOT / part, collection / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", collection)


def make_wheels(python: str, folder: Path = WHEELS, *requirements: Path) -> None:
    """Have the wheels of the requirements for that version of Python (such as 3.11) in a folder, kept between runs."""
    texts = [path.read_text() for path in requirements or (REQUIREMENTS,)]
    done, wanted = folder / "done", "\n".join([python, *texts])
    if done.exists() and done.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    found = [Requirement(line) for text in texts for line in text.splitlines() if not line.startswith("#")]
    lines = [
        f"{each.name}{each.specifier}"
        for each in found
        if not each.marker or each.marker.evaluate({"python_version": python})
    ]
    sources = [line for line in lines if line.startswith("etcd3=")]  # there is no wheel of it on the index
    platforms = [f"--platform=manylinux{which}_x86_64" for which in ("2014", "_2_17", "_2_28", "_2_34")]
    binary = ["--only-binary=:all:", f"--python-version={python}", *platforms]
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), *sources], check=True, timeout=300)
    others = [line for line in lines if line not in sources]
    subprocess.run([*pip, "download", "--no-deps", *binary, "-d", str(folder), *others], check=True, timeout=300)
    done.write_text(wanted)
