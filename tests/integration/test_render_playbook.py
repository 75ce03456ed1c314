# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates on the way from etcd to a host by a playbook: the controller renders, the host deploys."""

from __future__ import annotations

import json

import pytest

from ansible_collections.watcher.config.tests.agent_run import AgentRun
from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

DEPLOY = "watcher.config.deploy"
OWN = "/watcher/web01/a.com/vars"
TEMPLATE = """\
# {{ host }} {{ project }}
{% set db = json("db") %}
upstream app {
{% for service in gets("/services/app/*") %}
    server {{ service.value }};  # {{ service.key.split("/") | last }}
{% else %}
    server 127.0.0.1:1;
{% endfor %}
}
  {% if db.tls %}
listen {{ getv("port") }} ssl;
  {% endif %}
database {{ db.hosts | join(",") }};
"""
MADE = """\
# web01 a.com
upstream app {
    server 10.0.0.1:80;  # one
    server 10.0.0.2:80;  # two
}
  listen 443 ssl;
  database db1,db2;
"""


@pytest.fixture
def published(site: Site, etcd: EtcdServer) -> Site:
    """Return a site with a template published, and what it reads."""
    etcd.etcdctl("put", f"{OWN}/port", "443")
    etcd.etcdctl("put", f"{OWN}/db", '{"tls": true, "hosts": ["db1", "db2"]}')
    etcd.etcdctl("put", "/services/app/one", "10.0.0.1:80")
    etcd.etcdctl("put", "/services/app/two", "10.0.0.2:80")
    etcd.etcdctl("put", "/services2/app/three", "10.0.0.3:80")
    publish(site, TEMPLATE)
    return site


def publish(site: Site, template: str) -> None:
    """Publish the template, and a file beside it, from a folder: Ansible would render what a variable holds."""
    source = site.folder / "source"
    source.mkdir()
    (source / "ngx.conf.j2").write_text(template, encoding="utf-8")
    (source / "plain").write_text("{{ x }}\n", encoding="utf-8")
    site.publish(
        watcher_policy=site.policy(render=True, watch=["/services"]), watcher_src=f"{source}/", watcher_files=[]
    )


def test_from_values_to_files(published: Site, etcd: EtcdServer) -> None:
    """Variables, JSON and a prefix of services arrive as one file, whose changes are deployments."""
    site = published
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert {path.name: path.read_text() for path in site.out().iterdir()} == {"ngx.conf": MADE, "plain": "{{ x }}\n"}
    assert site.ran(DEPLOY)["web01"]["changed"] == 0
    etcd.etcdctl("del", "/services/app/two")
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert (site.out() / "ngx.conf").read_text() == MADE.replace("    server 10.0.0.2:80;  # two\n", "")
    assert site.commands() == ["before", "after"] * 2
    etcd.etcdctl("del", "--prefix", "/services/")
    site.ran(DEPLOY)
    assert "server 127.0.0.1:1;" in (site.out() / "ngx.conf").read_text()


def test_the_agent_makes_the_same(published: Site, etcd: EtcdServer) -> None:
    """A host's agent finds nothing to do after a playbook, and a playbook nothing after an agent."""
    site = published
    site.ran(DEPLOY)
    agent = AgentRun(site.folder / "web01", site.endpoint)
    assert agent.command("once").returncode == 0
    assert site.commands() == ["before", "after"]
    etcd.etcdctl("put", "/services/app/three", "10.0.0.3:80")
    done = agent.command("once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "server 10.0.0.3:80;  # three" in (site.out() / "ngx.conf").read_text()
    assert site.ran(DEPLOY)["web01"]["changed"] == 0
    assert site.commands() == ["before", "after"] * 2


def test_check_mode_and_diff(published: Site, etcd: EtcdServer) -> None:
    """They show what the template makes, and change nothing."""
    site = published
    done = site.play(DEPLOY, "--check", "--diff")
    assert done.returncode == 0 and "+    server 10.0.0.1:80;  # one" in done.stdout and "changed=1" in done.stdout
    assert not site.out().exists()
    site.ran(DEPLOY)
    etcd.etcdctl("put", f"{OWN}/port", "8443")
    done = site.play(DEPLOY, "--check", "--diff")
    assert "-  listen 443 ssl;" in done.stdout and "+  listen 8443 ssl;" in done.stdout
    assert (site.out() / "ngx.conf").read_text() == MADE


BAD = [
    ("a\n\n{{ nope }}\n", "x.j2, line 3: 'nope' is undefined"),
    ("a\n{{ json('db').nope }}\n", "x.j2, line 2: 'dict object' has no attribute 'nope'"),
    ("{{ getv('nope') }}\n", "x.j2, line 1: key '/watcher/web01/p2/vars/nope' is not in the tree"),
    ("\n{{ json('port') }}\n", "x.j2, line 2: key '/watcher/web01/p3/vars/port' is not in the tree"),
    ("{{ json('/services/app/one') }}\n", "x.j2, line 1: the value of key '/services/app/one' is not JSON"),
    ("{{ getv('/services2/app/three') }}", "x.j2, line 1: key '/services2/app/three' is outside of what the project"),
    ("x\n{% for %}\n", "x.j2, line 2: Expected an expression, got 'end of statement block'"),
    ("{{ ''.__class__.__mro__ }}", "x.j2, line 1: __class__ of a str is not in reach of templates"),
    ("{% include '/etc/passwd' %}", "x.j2, line 1: template '/etc/passwd' is not in the project"),
    ("{{ 'x' * 10 ** 10 }}", "x.j2, line 1: it makes too much work: loops without end, or text beyond measure"),
]


def test_errors(published: Site, etcd: EtcdServer) -> None:
    """Task and status name file, line and key; each old set stays, until the template is right; others are served."""
    site = published
    for number in range(len(BAD)):
        base = f"/watcher/web01/p{number}"
        folder, log = site.folder / "web01" / f"p{number}", site.folder / "web01" / f"log{number}"
        policy = {"deployPath": str(folder), "afterCmd": f"echo >>{log}", "render": True, "watch": ["/services/"]}
        etcd.etcdctl("put", f"{base}/config", json.dumps(policy))
        etcd.etcdctl("put", f"{base}/vars/db", "{}")
        etcd.etcdctl("put", f"{base}/config.d/x.j2", "old")
        etcd.etcdctl("put", f"{base}/config.d/plain", "old")

    def on_disk() -> list[dict[str, str]]:
        folders = [site.folder / "web01" / f"p{number}" for number in range(len(BAD))]
        return [{path.name: path.read_text() for path in folder.iterdir()} for folder in folders]

    site.ran(DEPLOY)
    assert on_disk() == [{"x": "old", "plain": "old"}] * len(BAD)
    for number, (template, _said) in enumerate(BAD):
        etcd.etcdctl("put", f"/watcher/web01/p{number}/config.d/plain", "new")
        etcd.etcdctl("put", f"/watcher/web01/p{number}/config.d/x.j2", template)
    etcd.etcdctl("put", f"{OWN}/port", "8443")
    done = site.play(DEPLOY)
    text = " ".join(done.stdout.split()).replace("\\", "")
    assert done.returncode == 2
    for number, (_template, said) in enumerate(BAD):
        message = f"host web01, project p{number}, template {said}"
        told = json.loads(etcd.etcdctl("get", "--print-value-only", f"/watcher.status/web01/p{number}"))
        assert (told["state"], told["msg"].startswith(message)) == ("failed", True), told
        assert message in text, text
        assert (site.folder / "web01" / f"log{number}").read_text() == "\n"
    assert on_disk() == [{"x": "old", "plain": "old"}] * len(BAD)
    assert "listen 8443 ssl;" in (site.out() / "ngx.conf").read_text()
    for number in range(len(BAD)):
        etcd.etcdctl("put", f"/watcher/web01/p{number}/config.d/x.j2", "right")
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert on_disk() == [{"x": "right", "plain": "new"}] * len(BAD)


def test_as_ansible_itself_renders(site: Site, etcd: EtcdServer) -> None:
    """Line ends and blanks are those of Ansible's template module: a template can move from one to the other."""
    source = (
        "a\r\n  {% if true %}\n  b\n    {% for x in [1, 2] %}\n{{ x }}\n    {% endfor %}\n  {% endif %}\n"
        "{# c #}\n{%- set y = 1 %}\n\t{{ y }}\n\n{% raw %}{{ z }}{% endraw %}\n<&>\u00fc\n\n"
    )
    template = site.folder / "template.j2"
    template.write_bytes(source.encode())
    theirs = site.folder / "theirs"
    copy = {"ansible.builtin.template": {"src": str(template), "dest": str(theirs)}}
    site.ran(site.write("template.yml", [{"hosts": "web01", "gather_facts": False, "tasks": [copy]}]))
    site.publish(watcher_policy=site.policy(render=True), watcher_files=[{"path": "template.j2", "src": str(template)}])
    site.ran(DEPLOY)
    assert (site.out() / "template").read_bytes() == theirs.read_bytes()


def test_a_thousand_templates(site: Site, etcd: EtcdServer) -> None:
    """Many are one deployment; the second run changes only what a value changed."""
    etcd.etcdctl("put", "/services/app/one", "10.0.0.1:80")
    source = site.folder / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"f{number:03}.j2").write_text(f"{number} {{{{ getvs('/services/app/*') | join }}}}")
    policy = site.policy(render=True, watch=["/services"])
    site.publish(watcher_policy=policy, watcher_src=f"{source}/", watcher_files=[])
    assert site.ran(DEPLOY)["web01"]["changed"] == 1
    assert len(list(site.out().iterdir())) == 1000
    assert (site.out() / "f999").read_text() == "999 10.0.0.1:80"
    assert site.ran(DEPLOY)["web01"]["changed"] == 0
    assert site.commands() == ["before", "after"]
