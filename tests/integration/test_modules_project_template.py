# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module project with ``template``: one source, another content for each host."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.tests.ansible_site import BIN, Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

HOSTS = ["web01", "web02"]


@pytest.fixture
def two(etcd: EtcdServer, tmp_path: Path) -> Site:
    """Return a controller with two hosts that have variables of their own, and an empty tree."""
    etcd.etcdctl("del", "--prefix", "/")
    site = Site(tmp_path, etcd.endpoint, HOSTS)
    for host, number in zip(HOSTS, (8001, 8002)):
        variables(site, host, number=number, same="{{ number + 1000 }}")
    return site


def variables(site: Site, host: str, **values: Any) -> None:
    """Give a host its variables."""
    (site.inventory / "host_vars").mkdir(exist_ok=True)
    (site.inventory / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(values), encoding="utf-8")


def source(site: Site, files: dict[str, str], folder: str = "templates/site") -> None:
    """Write a folder of files beside the playbook."""
    for name, content in files.items():
        path = site.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())


def play(site: Site, *tasks: dict[str, Any], **more: Any) -> str:
    """Write a playbook that runs a task, or project with these options for both hosts."""
    options = {"project": "a.com", "hosts": HOSTS, "policy": {"deployPath": "/srv"}, "template": True, **more}
    interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    found = [*tasks, {"watcher.config.project": options}]
    return site.write(
        "play.yml", [{"hosts": "localhost", "gather_facts": False, "vars": {**interpreter, "all": "p"}, "tasks": found}]
    )


def published(etcd: EtcdServer, host: str) -> dict[str, str]:
    """Return a host's files as the tree has them."""
    base = f"/watcher/{host}/a.com/config.d/"
    keys = etcd.etcdctl("get", "--prefix", base, "--keys-only").split()
    return {key[len(base) :]: etcd.etcdctl("get", "--print-value-only", key)[:-1] for key in keys}


def revision(etcd: EtcdServer) -> int:
    """Return the store's revision."""
    return int(json.loads(etcd.etcdctl("get", "/", "-w", "json"))["header"]["revision"])


def test_the_cycle(two: Site, etcd: EtcdServer) -> None:
    """Each host gets what its variables make of one source; a second run and check mode write nothing."""
    source(
        two, {"a.conf.j2": "{{ inventory_hostname }} {{ number }} {{ same }} {{ all }}\n", "ssl/b": "{{ as it is }}"}
    )
    playbook = play(two, src="site")
    done = two.play(playbook, "--check", "--diff")
    assert "+web01 8001 9001 p" in done.stdout and "+web02 8002 9002 p" in done.stdout, done.stdout + done.stderr
    assert published(etcd, "web01") == {}
    assert two.ran(playbook)["localhost"]["changed"] == 1
    assert published(etcd, "web01") == {"a.conf": "web01 8001 9001 p\n", "ssl/b": "{{ as it is }}"}
    assert published(etcd, "web02") == {"a.conf": "web02 8002 9002 p\n", "ssl/b": "{{ as it is }}"}
    before = revision(etcd)
    assert two.ran(playbook)["localhost"]["changed"] == 0
    variables(two, "web02", number=1, same=2)
    assert two.ran(playbook, "--check")["localhost"]["changed"] == 1
    assert revision(etcd) == before
    assert two.ran(playbook)["localhost"]["changed"] == 1
    assert revision(etcd) == before + 1  # one transaction, for the one host that changed
    assert published(etcd, "web02")["a.conf"] == "web02 1 2 p\n"
    assert two.ran(play(two, src="site", state="absent"))["localhost"]["changed"] == 1
    assert published(etcd, "web01") == published(etcd, "web02") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\n{% if number == 8002 %}\n{{ gone }}\n{% endif %}\n", "a.j2, line 3: 'gone' is undefined"),
        ("one\n\n{{ {}.gone.number }}\n{{ number }}", "a.j2, line 3: object of type 'dict' has no attribute 'gone'"),
        ("{{ nothing_here }}{{ number }}\n{{ nothing_here }}", "a.j2, lines 1, 2: 'nothing_here' is undefined"),
        ("one\n{% for %}\n", "a.j2, line 2: Expected an expression"),
        ("one\n{{ number | no_such_filter }}\n", "a.j2, line 2: No filter named 'no_such_filter'"),
        ("one\n\n{{ number // 0 }}\n", "a.j2, line 3: integer division or modulo by zero"),
        ("one\n{% include 'inc' %}\n", "templates/inc, line 1: division by zero"),
    ],
)
def test_one_bad_host_stops_all(two: Site, etcd: EtcdServer, text: str, said: str) -> None:
    """What cannot be rendered names host, file and line, and nothing is published for any host."""
    source(two, {"a.j2": text})
    source(two, {"inc": "{{ 1 / 0 }}"}, "templates")
    done = two.play(play(two, src="site"))
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2 and said in output, output
    assert ("host web02" if "8002" in text else "host web01") in output
    assert etcd.etcdctl("get", "--prefix", "/", "--keys-only").strip() == ""


def test_files_and_rendering_twice(two: Site, etcd: EtcdServer) -> None:
    """A source of files is rendered under the path given; x.j2.j2 leaves x.j2 for the host; content stays."""
    source(two, {"x.j2.j2": "{{ number }} {% raw %}{{ getv('number') }}{% endraw %}\n", "over.j2": "?"})
    source(two, {"one.j2": "number {{ number }}\n", "plain": "{{ number }}"}, "files")
    files = [
        {"path": "named.conf", "src": "one.j2"},
        {"path": "plain.j2", "src": "plain"},
        {"path": "over", "content": "{{ 1 + 1 }}"},
        {"path": "data", "content": {"a": 1}},
    ]
    two.ran(play(two, src="site", files=files, policy={"deployPath": "/srv", "render": True}, purge=True))
    assert published(etcd, "web02") == {
        "x.j2": "8002 {{ getv('number') }}\n",
        "named.conf": "number 8002\n",
        "plain.j2": "{{ number }}",
        "over": "2",
        "data": '{"a": 1}',
    }
    source(two, {"named.j2": "", "named": ""})
    done = two.play(play(two, src="site"))
    assert done.returncode == 2 and "src has 'named' and 'named.j2'" in done.stdout + done.stderr


def test_what_a_template_sees(two: Site, etcd: EtcdServer) -> None:
    """Own facts and variables, not those of the host that the task runs for; loops, vaults, lookups, macros."""
    (two.folder / "secret").write_text("pass")
    source(two, {"macros": "{% macro twice(x) %}{{ x * 2 }}{% endmacro %}"}, "templates")
    text = (
        "{% import 'macros' as m %}\n{{ fact | default('none') }} {{ hostvars.localhost.fact }} {{ item }}"
        " {{ lookup('file', 'text') }} {{ m.twice(number) }} {{ hostvars.localhost.said.stdout }} {{ ansible_managed }}"
    )
    source(two, {"a.j2": text})
    source(two, {"text": "from a file, {{ number }}"}, "files")
    vault = [str(BIN / "ansible-vault"), "encrypt", "--vault-password-file", "secret", "templates/site/a.j2"]
    subprocess.run(vault, cwd=two.folder, env=two.environment, check=True, capture_output=True)
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": {"fact": "of localhost"}},
        {"ansible.builtin.command": "echo '{{ '{{' }} number }}'", "register": "said", "changed_when": False},
    ]
    playbook = play(two, *tasks, src="site", project="{{ item }}")
    text = Path(playbook).read_text() + "    loop: [a.com]\n"
    Path(playbook).write_text(text)
    two.ran(playbook, "--vault-password-file", "secret")
    assert published(etcd, "web02")["a"] == (
        "none of localhost a.com from a file, {{ number }} 16004 {{ number }} Ansible managed"
    )


def test_it_renders_as_template_does(two: Site, etcd: EtcdServer) -> None:
    """To the byte what ansible.builtin.template writes: newlines, blocks, backslashes, whole values, unicode."""
    texts = {
        "lines.j2": "a\r\nb\n{% if true %}\n  c\n{% endif %}\n\n",
        "last.j2": "no newline {{ number }}",
        "value.j2": "{{ [1, {'a': None}] }}",
        "alone.j2": "{{ number }}\n",
        "empty.j2": "{{ none }}",
        "odd.j2": "\\n \\\\ \u00fc \U0001f600 {{ '\\\\n' }}\n",
        "header.j2": "#jinja2: trim_blocks:False\n{% if true %}\nx\n{% endif %}\n",
    }
    source(two, texts)
    copy = {"ansible.builtin.template": {"src": "site/{{ item }}", "dest": f"{two.folder}/{{{{ item }}}}"}}
    tasks = {**copy, "loop": list(texts), "vars": {"number": 8001}}
    two.ran(play(two, tasks, src="site"))
    expected = {name[:-3]: (two.folder / name).read_bytes().decode() for name in texts}
    assert published(etcd, "web01") == expected
    assert expected["lines"] == "a\nb\n  c\n\n"


def test_from_each_host(two: Site, etcd: EtcdServer) -> None:
    """A play on the hosts themselves may publish for each by delegation, under the same rules."""
    source(two, {"a.j2": "is {{ number }}\n"})
    options = {"project": "a.com", "host": "{{ inventory_hostname }}", "src": "site", "template": True}
    task = {"watcher.config.project": {**options, "policy": {"deployPath": "/srv"}}, "delegate_to": "localhost"}
    two.ran(two.write("each.yml", [{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    assert [published(etcd, host)["a"] for host in HOSTS] == ["is 8001\n", "is 8002\n"]


def test_a_host_without_variables(two: Site, etcd: EtcdServer) -> None:
    """A host that the inventory lacks is refused by name, though not when nothing is rendered for it."""
    source(two, {"a.j2": "{{ number }}\n"})
    source(two, {"b": "b"}, "files")
    done = two.play(play(two, src="site", hosts=["web01", "web03"]))
    assert done.returncode == 2 and "host web03 is not in the inventory" in done.stdout + done.stderr
    assert etcd.etcdctl("get", "--prefix", "/", "--keys-only").strip() == ""
    two.ran(play(two, src="b", hosts=["web03"]))
    assert published(etcd, "web03") == {"b": "b"}


def test_secrets_are_not_shown(two: Site) -> None:
    """A rendered file with no_log is in no difference and in no invocation."""
    variables(two, "web01", number="hunter2")
    source(two, {"one.j2": "{{ number }}\n"}, "templates")
    files = [{"path": "secret", "src": "one.j2", "no_log": True}]
    done = two.play(play(two, files=files), "--diff", "-vvv")
    assert done.returncode == 0 and "[hidden, changed]" in done.stdout and "hunter2" not in done.stdout
