# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory tree, through ansible-inventory and ansible-playbook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.tests.ansible_site import BIN, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, etcd_35

PLUGIN = "watcher.config.tree"
CONFIG = '{"deployPath": "/srv"}'
STATUS = {"state": "deployed", "revision": 9999, "wantedRevision": 9999, "files": 1, "by": "agent", "version": "1.2.3"}
TRICKS = [
    "{{ 1 + 1 }}",
    "{{ lookup('pipe', 'touch {mark}') }}",
    "{% for x in range(9) %}{{ x }}{% endfor %}",
    "{# gone #}here",
    "#jinja2: variable_start_string:'[%'\n[% 1 + 1 %]",
    "!unsafe '{{ 1 + 1 }}'",
    "!!python/object/apply:os.system ['touch {mark}']",
    "&a *a <<: [",
    "lookup('pipe', 'touch {mark}')",
]


class Inventory:
    """A controller whose only inventory is the tree."""

    def __init__(self, site: Site, etcd: EtcdServer) -> None:
        """Write an inventory file that says nothing but the plugin's name."""
        self.site, self.etcd = site, etcd
        self.more = dict[str, str]()  # of the environment
        self.write()

    def write(self, **options: Any) -> None:
        """Write the inventory file with options."""
        site_file = self.site.folder / "watcher.yml"
        site_file.write_text(json.dumps({"plugin": PLUGIN, **options}), encoding="utf-8")  # JSON is YAML

    def publish(self, owner: str, *files: str, **status: Any) -> None:
        """Publish a project such as web01/a.com, and what its host says of it, if that is anything."""
        self.etcd.etcdctl("put", f"/watcher/{owner}/config", CONFIG)
        for file in files:
            self.etcdctl_put(f"/watcher/{owner}/config.d/{file}", "1")
        if status:
            self.etcdctl_put(f"/watcher.status/{owner}", json.dumps({**STATUS, **status}))

    def etcdctl_put(self, key: str, value: str) -> None:
        """Put a key; its value may look like an option."""
        self.etcd.etcdctl("put", key, stdin=value)

    def run(self, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible on the inventory file, after another source if there is one."""
        sources = [f"--inventory={source}" for source in (before, "watcher.yml") if source]
        return subprocess.run(
            [str(BIN / arguments[0]), *sources, *arguments[1:]],
            env={**self.site.environment, **self.more},
            cwd=self.site.folder,
            capture_output=True,
            text=True,
            timeout=self.site.patience,
            check=False,
        )

    def said(self, *arguments: str) -> str:
        """Return what ansible-inventory prints; it must succeed without a warning."""
        done = self.run("ansible-inventory", *arguments)
        assert done.returncode == 0 and "WARNING" not in done.stderr, done.stdout + done.stderr
        return done.stdout

    def listed(self, *arguments: str) -> dict[str, Any]:
        """Return what ansible-inventory --list says."""
        found: dict[str, Any] = json.loads(self.said("--list", *arguments))
        return found

    def hosts(self, *arguments: str) -> list[str]:
        """Return the names of the hosts."""
        return sorted(self.listed(*arguments)["_meta"]["hostvars"])


@pytest.fixture
def inventory(site: Site, etcd: EtcdServer) -> Inventory:
    """Return the inventory of an empty tree."""
    return Inventory(site, etcd)


def plain(value: Any) -> Any:
    """Return a value without the marks of what is no template."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if "__ansible_unsafe" in value else {k: plain(v) for k, v in value.items()}
    return value


def test_graph_and_variables(inventory: Inventory) -> None:
    """Hosts are grouped by project, by state and by their agents, and know their projects."""
    inventory.publish("web01/a.com", "x", msg="fine")
    inventory.publish("web02/a.com", "x", state="failed", by="playbook")
    inventory.publish("web02/b-c")
    inventory.etcdctl_put("/watcher.agents/web03", '{"version": "1.2.3", "pid": 7, "started": "s", "revision": 5}')
    assert inventory.said("--graph").splitlines() == [
        "@all:",
        "  |--@ungrouped:",
        "  |--@watcher_failed:",
        "  |  |--web02",
        "  |--@watcher_lagging:",
        "  |--@watcher_in_sync:",
        "  |  |--web01",
        "  |  |--web03",
        "  |--@watcher_agent_alive:",
        "  |  |--web03",
        "  |--@watcher_agent_gone:",
        "  |  |--web01",
        "  |--@watcher_project_a_com:",
        "  |  |--web01",
        "  |  |--web02",
        "  |--@watcher_project_b_c:",
        "  |  |--web02",
    ]
    variables = plain(inventory.listed()["_meta"]["hostvars"])
    newest = variables["web01"]["watcher_projects"]["a.com"].pop("newest")
    assert newest > 0
    assert variables["web01"] == {
        "watcher_state": "in_sync",
        "watcher_projects": {
            "a.com": {
                "state": "in_sync",
                "files": 1,
                "revision": 9999,
                "wanted_revision": 9999,
                "attempts": 0,
                "msg": "fine",
                "by": "agent",
                "version": "1.2.3",
                "finished_at": "",
            }
        },
    }
    agent = {"version": "1.2.3", "pid": 7, "started": "s", "revision": 5}
    assert variables["web03"] == {"watcher_state": "in_sync", "watcher_projects": {}, "watcher_agent": agent}
    assert plain(json.loads(inventory.said("--host", "web03"))) == variables["web03"]


def test_text_of_others_stays_text(inventory: Inventory) -> None:
    """Templates and YAML tricks in a status or an agent's words are shown as they are, wherever they are used."""
    mark = inventory.site.folder / "mark"
    tricks = [trick.replace("{mark}", str(mark)) for trick in TRICKS]
    for number, trick in enumerate(tricks):
        fields = dict.fromkeys(("msg", "by", "version", "finishedAt", "nextTry"), trick)
        inventory.publish(f"web{number}/a.com", "x", **fields)
        words = json.dumps(dict.fromkeys(("hostname", "version", "started"), trick))
        inventory.etcdctl_put(f"/watcher.agents/web{number}", words)
    shown = [trick.replace("\n", "\\n") for trick in tricks]
    for arguments in (["--list", "--yaml"], ["--list", "--export"], ["--graph", "--vars"], ["--host", "web3"]):
        assert "gone" in inventory.said(*arguments)
    variables = inventory.listed()["_meta"]["hostvars"]
    for number, trick in enumerate(shown):
        said = variables[f"web{number}"]
        for name in ("msg", "by", "version", "finished_at", "next_try"):
            assert said["watcher_projects"]["a.com"][name] == {"__ansible_unsafe": trick}
        assert said["watcher_agent"]["version"] == said["watcher_agent"]["started"] == {"__ansible_unsafe": trick}

    inventory.write(compose={"composed": "watcher_agent.version", "all_of_it": "watcher_projects"})
    project = "watcher_projects['a.com']"
    texts = [f"{project}.{name}" for name in ("msg", "by", "version", "finished_at", "next_try")]
    texts += ["watcher_agent.version", "watcher_agent.started", "composed", "all_of_it['a.com'].msg"]
    answer = "{{ {" + ", ".join(f"'{number}': {text}" for number, text in enumerate(texts)) + "} | to_json }}"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": sys.executable, "again": "{{ watcher_agent.version }}"},
        "tasks": [
            {"ansible.builtin.debug": {"var": "watcher_projects"}},
            {"ansible.builtin.debug": {"msg": "{{ again }}"}},
            {
                "ansible.builtin.copy": {
                    "content": answer,
                    "dest": f"{inventory.site.folder}/{{{{ inventory_hostname }}}}.json",
                    "mode": "0600",
                }
            },
        ],
    }
    done = inventory.run("ansible-playbook", inventory.site.write("show.yml", [play]))
    assert done.returncode == 0, done.stdout + done.stderr
    for number, trick in enumerate(shown):
        answered = json.loads((inventory.site.folder / f"web{number}.json").read_text())
        assert list(answered.values()) == [trick] * len(texts)
    assert not mark.exists()


def test_constructed(inventory: Inventory) -> None:
    """compose, groups and keyed_groups see the variables."""
    inventory.publish("web01/a.com", "x")
    inventory.publish("web02/b.com", "x", nextTry="soon", state="failed")
    inventory.etcdctl_put("/watcher.agents/web01", '{"version": "1.2.3"}')
    inventory.write(
        compose={"ansible_host": "inventory_hostname ~ '.example.com'"},
        groups={"retrying": "watcher_projects.values() | selectattr('next_try', 'defined') | length > 0"},
        keyed_groups=[
            {"prefix": "agent", "key": "watcher_agent.version"},
            {"prefix": "has", "key": "watcher_projects | list"},
        ],
    )
    found = inventory.listed()
    members = {name: found[name]["hosts"] for name in found if name.startswith(("agent_", "has_", "retrying"))}
    assert members == {"agent_1_2_3": ["web01"], "has_a_com": ["web01"], "has_b_com": ["web02"], "retrying": ["web02"]}
    hosts = plain(found["_meta"]["hostvars"])
    assert [hosts[name]["ansible_host"] for name in sorted(hosts)] == ["web01.example.com", "web02.example.com"]
    inventory.write(strict=True, compose={"x": "watcher_agent.version"})
    done = inventory.run("ansible-inventory", "--list")
    assert "Could not set x for host web02" in " ".join(done.stderr.split()), done.stderr


def test_refresh(inventory: Inventory) -> None:
    """A host that is put is there the next time, also within a playbook that refreshes its inventory."""
    inventory.publish("web01/a.com")
    assert inventory.hosts() == ["web01"]
    etcdctl = str(etcd_35().with_name("etcdctl"))
    tasks = [
        {"ansible.builtin.command": {"argv": [etcdctl, "put", "/watcher/web02/a.com/config", CONFIG]}},
        {"ansible.builtin.meta": "refresh_inventory"},
    ]
    show = [{"ansible.builtin.debug": {"msg": "seen {{ inventory_hostname }} {{ watcher_state }}"}}]
    common = {"gather_facts": False, "connection": "local", "vars": {"ansible_python_interpreter": sys.executable}}
    plays = [{"hosts": "web01", "tasks": tasks, **common}, {"hosts": "watcher_lagging", "tasks": show, **common}]
    done = inventory.run("ansible-playbook", inventory.site.write("refresh.yml", plays))
    assert done.returncode == 0 and "seen web02 lagging" in done.stdout, done.stdout + done.stderr
    assert inventory.hosts() == ["web01", "web02"]


def test_cache(inventory: Inventory, tmp_path: Path) -> None:
    """With a cache the second run does not need etcd; --flush-cache and another tree do."""
    with EtcdServer() as etcd:
        inventory.etcd, inventory.more = etcd, {"ETCDCTL_ENDPOINTS": etcd.endpoint}
        inventory.publish("web01/a.com", msg="{{ 1 + 1 }}")
        inventory.write(cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(tmp_path / "cache"))
        first = inventory.listed()
        inventory.publish("web02/a.com")
        assert inventory.listed() == first
        assert inventory.hosts("--flush-cache") == ["web01", "web02"] == inventory.hosts()
        etcd.kill()
        again = inventory.listed()
        assert sorted(again["_meta"]["hostvars"]) == ["web01", "web02"]
        msg = again["_meta"]["hostvars"]["web01"]["watcher_projects"]["a.com"]["msg"]
        assert msg == {"__ansible_unsafe": "{{ 1 + 1 }}"}
        for more in ({"WATCHER_PREFIX": "/other"}, {"ETCDCTL_ENDPOINTS": "127.0.0.1:1"}):
            inventory.more = {"ETCDCTL_ENDPOINTS": etcd.endpoint, **more}
            assert "web01" not in inventory.run("ansible-inventory", "--list").stdout


def test_options_from_everywhere(inventory: Inventory, etcd: EtcdServer) -> None:
    """The file beats -e, which beats the environment and ansible.cfg; a template and a vault serve as well."""
    etcd.etcdctl("put", "/other/web09/a.com/config", CONFIG)
    inventory.more["ETCDCTL_ENDPOINTS"] = "127.0.0.1:1"
    inventory.write(prefix="/other", endpoints=[etcd.endpoint], timeout=4)
    assert inventory.hosts("-e", "watcher_prefix=/none") == ["web09"]
    inventory.write(endpoints="{{ lookup('ansible.builtin.env', 'PLACES') }}", prefix="{{ where | default('/other') }}")
    inventory.more["PLACES"] = f"{etcd.endpoint},{etcd.endpoint}"
    assert inventory.hosts() == ["web09"]
    etcd.etcdctl("put", "/third/web03/a.com/config", CONFIG)
    assert inventory.hosts("-e", "where=/third") == ["web03"]
    inventory.write(endpoints=["{{ lookup('ansible.builtin.env', 'PLACES').split(',')[0] }}"], prefix="/other")
    assert inventory.hosts() == ["web09"]
    inventory.write()
    assert inventory.hosts("-e", "watcher_prefix=/other", "-e", f"watcher_endpoints={etcd.endpoint}") == ["web09"]
    inventory.more, inventory.site.endpoint = {}, ""
    (inventory.site.folder / "ansible.cfg").write_text(f"[watcher]\nendpoints = {etcd.endpoint}\nprefix = /other\n")
    assert inventory.hosts() == ["web09"]


def test_password(inventory: Inventory) -> None:
    """It may be vaulted, or a template."""
    with EtcdServer() as etcd:
        inventory.etcd, inventory.more = etcd, {"ETCDCTL_ENDPOINTS": etcd.endpoint, "SECRET": "pass"}
        inventory.publish("web01/a.com")
        etcd.enable_auth()
        etcd.add_user("reader", "pass", "/watcher")
        (inventory.site.folder / "vault").write_text("key")
        vaulted = subprocess.run(
            [str(BIN / "ansible-vault"), "encrypt_string", "--vault-password-file", "vault", "pass"],
            env=inventory.site.environment,
            cwd=inventory.site.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        common = f"plugin: {PLUGIN}\nusername: reader\npassword: "
        file = inventory.site.folder / "watcher.yml"
        file.write_text(f"{common}{vaulted}")
        assert inventory.hosts("--vault-password-file", "vault") == ["web01"]
        file.write_text(f"{common}\"{{{{ lookup('ansible.builtin.env', 'SECRET') }}}}\"\n")
        assert inventory.hosts() == ["web01"]
        file.write_text(f"{common}notit\n")
        done = inventory.run("ansible-inventory", "--list")
        assert "user name or password is wrong" in done.stderr and "notit" not in done.stdout + done.stderr, done.stderr


def test_tls(inventory: Inventory) -> None:
    """Certificates in the file are used."""
    with EtcdServer(mutual=True) as etcd:
        inventory.etcd = etcd
        inventory.publish("web01/a.com")
        paths = {"ca_cert": etcd.authority.certificate, "client_cert": etcd.client_cert, "client_key": etcd.client_key}
        options = {name: str(path) for name, path in paths.items()}
        options["ca_cert"] = f"{{{{ '{options['ca_cert']}' }}}}"
        inventory.write(endpoints=[etcd.endpoint], **options)
        assert inventory.hosts() == ["web01"]


def test_a_tree_without_hosts(inventory: Inventory) -> None:
    """It is an inventory without hosts and a warning, also where AWX makes a failure of whatever was not read."""
    inventory.more["ANSIBLE_INVENTORY_UNPARSED_FAILED"] = "true"
    done = inventory.run("ansible-inventory", "--list")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["_meta"]["hostvars"] == {}
    assert "/watcher has no hosts: publish a project" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoints": ["127.0.0.1:1"], "timeout": 1}, "127.0.0.1:1"),
        ({"prefix": "watcher"}, "prefix 'watcher': it must start with /"),
        ({"username": "x"}, "username is set and password is not"),
        ({"prefix": "{{ nothing }}"}, "'nothing' is undefined"),
    ],
)
def test_errors(inventory: Inventory, options: dict[str, Any], said: str) -> None:
    """What is wrong is said in one sentence, and the other sources are read all the same."""
    inventory.write(**options)
    done = inventory.run("ansible-inventory", "--list", before="other,")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr
    assert list(json.loads(done.stdout)["ungrouped"]["hosts"]) == ["other"]


def test_names_that_ansible_misreads(inventory: Inventory) -> None:
    """Hosts named like groups, or like what Ansible has other plans for, are left out, with a warning each kind."""
    inventory.publish("web01/a.com")
    for name in ("all", "localhost", "-x", "watcher_lagging", "watcher_project_a_com", "mine"):
        inventory.publish(f"{name}/a.com")
    (inventory.site.folder / "mine.yml").write_text("mine: {hosts: {web05: }}\n")
    done = inventory.run("ansible-inventory", "--list", before="mine.yml")
    found = json.loads(done.stdout)
    assert sorted(found["_meta"]["hostvars"]) == found["watcher_project_a_com"]["hosts"] == ["web01"], done.stdout
    said = " ".join(done.stderr.split())
    assert "3 hosts are left out, for Ansible would misread their names; rename them: -x, all, localhost" in said
    taken = "mine, watcher_lagging, watcher_project_a_com"
    assert f"3 hosts are left out, for groups are named so; rename them: {taken}" in said


def test_other_files_are_not_ours(inventory: Inventory) -> None:
    """A file is ours by the end of its name."""
    inventory.publish("web01/a.com")
    text = (inventory.site.folder / "watcher.yml").read_text()
    for name, ours in (("a.watcher.yaml", True), ("other.yml", False)):
        (inventory.site.folder / name).write_text(text)
        done = subprocess.run(
            [str(BIN / "ansible-inventory"), "-i", name, "--list"],
            env=inventory.site.environment,
            cwd=inventory.site.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("web01" in done.stdout) is ours
