# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook awx with the real collection awx.awx, against the stand-in of AWX."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.plugins.module_utils._core.source_options import SourceOptions
from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.awx.playbook import SetUp
from ansible_collections.watcher.config.tests.etcd_server import ROOT_PASSWORD, EtcdServer

TEMPLATES = {
    "Watcher Deploy": "playbooks/deploy.yml",
    "Watcher Publish": "playbooks/publish.yml",
    "Watcher Status": "playbooks/status.yml",
    "Watcher Agent": "playbooks/agent.yml",
}
# What AWX injects for a credential that has endpoints only.
EMPTY = dict.fromkeys(
    ("ETCDCTL_USER", "ETCDCTL_PASSWORD", "ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY", "WATCHER_PREFIX"), ""
)
NAMES = (
    *("awx_organization", "awx_credential_type", "awx_credential", "awx_execution_environment", "awx_project"),
    *("awx_inventory", "awx_inventory_source", "awx_deploy", "awx_publish", "awx_status", "awx_agent", "awx_team"),
)
KINDS = (
    *("organizations", "credential_types", "credentials", "execution_environments", "projects", "inventories"),
    *("inventory_sources", "job_templates", "teams"),
)


@pytest.fixture(scope="module")
def made(etcd: EtcdServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetUp]:
    """Set an AWX up with all defaults and the user op in the team."""
    site = SetUp(tmp_path_factory.mktemp("made"), etcd, awx_users=["op"])
    with site.awx:
        site.awx.add_user("op", "op's password")
        site.first = site.set_up()
        yield site


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetUp]:
    """Set an AWX up under other names, for an etcd with mutual TLS and a password."""
    with EtcdServer(mutual=True) as etcd:
        etcd.enable_auth()
        site = SetUp(
            tmp_path_factory.mktemp("tls"),
            etcd,
            watcher_username="root",
            watcher_password=ROOT_PASSWORD,
            watcher_prefix="/other",
            watcher_ca_cert=str(etcd.authority.certificate),
            watcher_client_cert=str(etcd.client_cert),
            watcher_client_key=str(etcd.client_key),
            awx_machine_credential="ssh key",
            **{name: f"other {name}" for name in NAMES},
        )
        with site.awx:
            # The address and who we are as variables, which go before the environment.
            site.variables |= {"awx_host": site.awx.url, "awx_username": "boss", "awx_password": "boss's password"}
            site.awx.add_user("boss", "boss's password", is_superuser=True)
            site.machine("ssh key")
            site.output = site.said("-vvv", "--diff")
            yield site


def changes(site: SetUp, since: int) -> list[tuple[str, str]]:
    """Return what was written to AWX since so many requests."""
    return [
        (each.method, each.path)
        for each in site.awx.requests[since:]
        if each.method != "GET" and "/tokens/" not in each.path
    ]


@pytest.mark.slow
def test_the_second_run_changes_nothing(made: SetUp) -> None:
    """The first run changes; the second one, in check mode or not, changes nothing and writes nothing at all."""
    assert (made.first["changed"], made.first["failed"]) == (12, 0)
    before = len(made.awx.requests)
    assert made.set_up()["changed"] == 0
    assert made.set_up("--check")["changed"] == 0
    assert changes(made, before) == []


def test_templates_prompt(made: SetUp) -> None:
    """All four templates prompt for limit, variables and labels, and have playbook, inventory, image and credential."""
    tables = made.awx.tables
    credential = tables.one("credentials", name="Watcher etcd")["id"]
    assert {each["name"]: each["playbook"] for each in tables.find("job_templates")} == TEMPLATES
    for each in tables.find("job_templates"):
        prompts = [name for name, value in each.items() if name.startswith("ask_") and value]
        assert sorted(prompts) == ["ask_labels_on_launch", "ask_limit_on_launch", "ask_variables_on_launch"]
        assert each["allow_simultaneous"] is True
        assert each["survey_enabled"] is (each["name"] == "Watcher Publish")
        assert each["inventory"] == tables.one("inventories", name="Watcher tree")["id"]
        assert each["execution_environment"] == tables.one("execution_environments", name="Watcher")["id"]
        assert tables.linked("job_templates", each["id"], "credentials") == [credential]


def test_survey(made: SetUp) -> None:
    """The survey of Publish asks for what the playbook takes; only Publish has one."""
    surveys = {each["name"]: made.awx.tables.survey(each["id"]) for each in made.awx.tables.find("job_templates")}
    assert [name for name, survey in surveys.items() if survey] == ["Watcher Publish"]
    questions = {each["variable"]: each["required"] for each in surveys["Watcher Publish"]["spec"]}
    assert questions == {
        **dict.fromkeys(("watcher_project", "watcher_hosts", "watcher_state", "watcher_purge"), True),
        **dict.fromkeys(("watcher_policy", "watcher_files", "watcher_src"), False),
    }


def test_credential(made: SetUp, etcd: EtcdServer) -> None:
    """The credential has what was given and no empty field; its type names no file that would be empty."""
    credential = made.awx.tables.one("credentials", name="Watcher etcd")
    assert credential["inputs"] == {"endpoints": etcd.endpoint}
    kind = made.awx.tables.one("credential_types", name="Watcher etcd")
    assert kind["kind"] == "cloud"
    assert sorted(kind["injectors"]["env"]) == sorted([*EMPTY, "ETCDCTL_ENDPOINTS"])
    assert kind["injectors"]["env"]["ETCDCTL_ENDPOINTS"] == "{{ endpoints }}"
    assert kind["injectors"]["file"]["template.client_key"] == "{{ client_key }}"
    assert [each["id"] for each in kind["inputs"]["fields"] if each.get("secret")] == ["password", "client_key"]


def test_inventory(made: SetUp) -> None:
    """The inventory's source is the tree, refreshed at each launch, with the collection on its path."""
    source = made.awx.tables.one("inventory_sources", name="Watcher tree")
    assert (source["source"], source["source_path"]) == ("scm", "inventory/watcher.yml")
    path = json.loads(source["source_vars"])["ANSIBLE_COLLECTIONS_PATH"]
    assert path.split(":")[0] == "/runner/requirements_collections"
    assert (source["overwrite"], source["update_on_launch"], source["update_cache_timeout"]) == (True, True, 0)
    assert source["credential"] == made.awx.tables.one("credentials", name="Watcher etcd")["id"]
    assert source["source_project"] == made.awx.tables.one("projects", name="Watcher")["id"]


def test_organization_fetches_collections(made: SetUp) -> None:
    """The organization has the Galaxy credential without which AWX skips a project's collections."""
    tables = made.awx.tables
    organization = tables.one("organizations", name="Watcher")["id"]
    galaxy = tables.one("credentials", name="Ansible Galaxy")["id"]
    assert tables.linked("organizations", organization, "galaxy_credentials") == [galaxy]
    assert tables.one("projects", name="Watcher")["status"] == "successful"


def test_team_has_the_least_rights(made: SetUp) -> None:
    """The team may launch the four templates and do nothing else; its user is a member of team and organization."""
    tables = made.awx.tables
    team = tables.one("teams", name="Watcher operators")["id"]
    user = tables.one("users", username="op")["id"]

    def held(by: str, number: int) -> list[tuple[str, str]]:
        roles = [each for each in tables.find("roles") if number in tables.linked("roles", each["id"], by)]
        return sorted((role["summary_fields"]["resource_name"], role["role_field"]) for role in roles)

    assert held("teams", team) == sorted((name, "execute_role") for name in TEMPLATES)
    assert held("users", user) == [("Watcher", "member_role"), ("Watcher operators", "member_role")]


def test_launch_by_the_team(made: SetUp, etcd: EtcdServer) -> None:
    """The team's user launches Deploy with limit, variables and labels; nothing is ignored, the file is there."""
    etcd.etcdctl("del", "--prefix", "/")
    etcd.etcdctl("put", "/watcher/web01/a.com/config", json.dumps(made.policy()))
    etcd.etcdctl("put", "/watcher/web01/a.com/config.d/ngx.conf", "one\n")
    organization = made.awx.tables.one("organizations", name="Watcher")["id"]
    label = made.client("op").add("labels", name="watcher", organization=organization)
    answer, _output = made.launch(
        *("op", "Watcher Deploy"), limit="web01", extra_vars={"watcher_project": "a.com"}, labels=[label["id"]]
    )
    assert answer["ignored_fields"] == {}
    assert (answer["limit"], [each["name"] for each in answer["summary_fields"]["labels"]["results"]]) == (
        "web01",
        ["watcher"],
    )
    assert (made.out() / "ngx.conf").read_text() == "one\n"


def test_publish_by_survey(made: SetUp, etcd: EtcdServer) -> None:
    """Text answers of the survey publish: several hosts, a policy and files in YAML; Jinja in them stays text."""
    etcd.etcdctl("del", "--prefix", "/")
    answers = {
        "watcher_project": "a.com",
        "watcher_hosts": "web01, web02\nweb03",
        "watcher_policy": f"deployPath: {made.out()}\nbackupDir: ''\n",
        "watcher_files": "- path: a.conf\n  content: 'x {{ nope }}'\n",
        "watcher_state": "present",
        "watcher_purge": "no",
    }
    made.launch("op", "Watcher Publish", extra_vars={**answers, "watcher_src": ""})
    for host in ("web01", "web02", "web03"):
        assert etcd.etcdctl("get", "--print-value-only", f"/watcher/{host}/a.com/config.d/a.conf") == "x {{ nope }}\n"
    _answer, output = made.launch("op", "Watcher Status", extra_vars={"watcher_hosts": ["web02"]})
    assert "a.com" in output
    # Questions that nobody answered are empty text, which is not set.
    made.launch("op", "Watcher Publish", extra_vars={**answers, "watcher_policy": "", "watcher_files": ""})
    assert json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher/web01/a.com/config"))["backupDir"] == ""


def test_survey_wants_its_answers(made: SetUp) -> None:
    """A launch of Publish without a required answer is refused by AWX."""
    number = made.awx.tables.one("job_templates", name="Watcher Publish")["id"]
    body = {"extra_vars": {"watcher_hosts": "web01"}}
    status, answer = made.client("op").call("POST", f"job_templates/{number}/launch/", body)
    assert status == 400
    assert "watcher_project" in json.dumps(answer)


@pytest.mark.parametrize("files", [[], [{"path": "b.conf", "content": "b"}]])
def test_lists_are_published_as_before(site: Site, etcd: EtcdServer, files: list[dict[str, str]]) -> None:
    """Lists and mappings mean what they always did, an empty list of files with purge removes them all."""
    site.publish()
    site.publish(watcher_files=files, watcher_purge=True)
    found = etcd.etcdctl("get", "--prefix", "--keys-only", "/watcher/web01/a.com/config.d/").split()
    assert found == [f"/watcher/web01/a.com/config.d/{each['path']}" for each in files]


@pytest.mark.parametrize(
    ("playbook", "given", "said"),
    [
        ("publish", {"watcher_project": 1.1, "watcher_hosts": "web01"}, "1.1"),
        ("publish", {"watcher_project": False, "watcher_hosts": 7}, "False, 7"),
        ("status", {"watcher_project": 1.1}, "1.1"),
        ("status", {"watcher_hosts": ["web01", 7]}, "7"),
    ],
)
def test_numbers_for_names_are_refused(
    site: Site, etcd: EtcdServer, playbook: str, given: dict[str, Any], said: str
) -> None:
    """A survey's 1.10 arrives as the number 1.1; it is neither published under another name nor looked for."""
    etcd.etcdctl("del", "--prefix", "/")
    done = site.play(f"watcher.config.{playbook}", watcher_policy="{}", **given)
    assert done.returncode != 0
    assert f"{said} in watcher_project or watcher_hosts is no text any more" in " ".join(done.stdout.split())
    assert etcd.etcdctl("get", "--prefix", "--keys-only", "/") == ""


def test_hosts_as_text(site: Site, etcd: EtcdServer) -> None:
    """Publish and status take hosts as a text, and a comma keeps one host from becoming a number."""
    etcd.etcdctl("del", "--prefix", "/")
    site.publish(watcher_hosts="007,")
    assert json.loads(etcd.etcdctl("get", "--print-value-only", "/watcher/007/a.com/config"))
    site.publish(watcher_hosts="web01 web02")
    said = site.play("watcher.config.status", watcher_hosts="007, web02", watcher_project="").stdout
    assert [host in said for host in ("007 ", "web01 ", "web02 ")] == [True, False, True], said


def test_other_names(tls: SetUp) -> None:
    """All names are variables: nothing is called as by default."""
    for kind in KINDS:
        assert not [each["name"] for each in tls.awx.tables.find(kind) if each["name"].startswith("Watcher")], kind
    names = {each["name"] for kind in KINDS for each in tls.awx.tables.find(kind)}
    assert {f"other {name}" for name in NAMES} <= names


def test_machine_credential(tls: SetUp) -> None:
    """The job templates that work on hosts have it, the others have not."""
    tables = tls.awx.tables
    credential = tables.one("credentials", name="ssh key")["id"]
    having = [
        each["name"]
        for each in tables.find("job_templates")
        if credential in tables.linked("job_templates", each["id"], "credentials")
    ]
    assert sorted(having) == ["other awx_agent", "other awx_deploy"]


def test_certificates_reach_the_jobs(tls: SetUp) -> None:
    """A job reaches an etcd that wants a certificate, a user and a password, all from the credential."""
    _answer, output = tls.launch(
        *("boss", "other awx_publish"),
        extra_vars={
            **{"watcher_project": "a.com", "watcher_hosts": "web01", "watcher_policy": "deployPath: /srv/x"},
            **{"watcher_state": "present", "watcher_purge": "no"},
        },
    )
    assert "changed=1" in output
    _answer, output = tls.launch("boss", "other awx_status", limit="")
    assert "a.com" in output


def test_secrets_stay_secret(tls: SetUp) -> None:
    """No secret is in the output, however much is asked for, nor in what AWX shows."""
    shown = tls.awx.tables.one("credentials", name="other awx_credential")["inputs"]
    assert (shown["password"], shown["client_key"]) == ("$encrypted$", "$encrypted$")
    assert shown["prefix"] == "/other"
    # The middle of the key: its first and last lines are those of any key.
    key = Path(tls.variables["watcher_client_key"]).read_text(encoding="utf-8").splitlines()[1]
    for secret in (ROOT_PASSWORD, "boss's password", key):
        assert secret not in tls.output


@pytest.mark.slow
def test_new_secret_is_written_when_asked(tls: SetUp) -> None:
    """A changed password alone changes nothing, for AWX never shows it; awx_update_secrets writes it."""
    number = tls.awx.tables.one("credentials", name="other awx_credential")["id"]
    assert tls.set_up(watcher_password="new")["changed"] == 0
    assert tls.awx.tables.secret_inputs(number)["password"] == ROOT_PASSWORD
    assert tls.set_up(watcher_password="new", awx_update_secrets=True)["changed"] == 1
    assert tls.awx.tables.secret_inputs(number)["password"] == "new"


def test_check_mode_of_a_fresh_awx(etcd: EtcdServer, tmp_path: Path) -> None:
    """In check mode on a fresh AWX, the run says where it stops and writes nothing."""
    site = SetUp(tmp_path, etcd)
    with site.awx:
        output = site.said("--check")
        assert "Watcher etcd would be made or changed; the rest can be compared after that." in output
        assert changes(site, 0) == []


def test_without_the_collection(etcd: EtcdServer, tmp_path: Path) -> None:
    """Without awx.awx, one sentence says how to get it; nothing is asked of AWX."""
    site = SetUp(tmp_path, etcd)
    site.with_awx = False
    with site.awx:
        said = site.refused()
        assert "This playbook needs the collection awx.awx, which is not on ANSIBLE_COLLECTIONS_PATH" in said
        assert "couldn't resolve" not in said
        assert site.awx.requests == []


def test_without_variables(etcd: EtcdServer, tmp_path: Path) -> None:
    """All variables that are missing are named at once."""
    site = SetUp(tmp_path, etcd, awx_project_url="", watcher_endpoints=[])
    with site.awx:
        said = site.refused()
        assert "Not set: awx_project_url, the address of a git repository" in said
        assert "; watcher_endpoints, the list" in said
        assert "awx_execution_environment_image, the" not in said


def test_awx_away_or_refusing(etcd: EtcdServer, tmp_path: Path) -> None:
    """An AWX that is away, and a token that is none, end the run at its first task with what is wrong and where."""
    site = SetUp(tmp_path, etcd)
    with site.awx:
        said = site.refused(awx_token="nobody's")
        assert "Invalid authentication credentials for /api/v2/credential_types/" in said
        site.awx.add_user("op", "op's password")
        said = site.refused(awx_token=site.awx.token_of("op"))
        assert "You don't have permission to POST to /api/v2/credential_types/" in said
        with site.awx.away():
            said = site.refused()
        assert f"{site.awx.url}/api/v2/credential_types/" in said
        assert "Connection refused" in said
        assert "Traceback" not in said


def test_stand_in_refuses_what_awx_refuses(etcd: EtcdServer, tmp_path: Path) -> None:
    """Definitions that a real AWX refuses fail against the stand-in, too."""
    template = {"name": "T", "project": "P", "inventory": "I", "organization": "Default"}
    env = {"kind": "cloud", "inputs": {"fields": [{"id": "a", "label": "A"}]}}
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "Playbook not found": ("job_template", {**template, "playbook": "watcher.config.deploy"}),
        "ANSIBLE_COLLECTIONS_PATH may affect": (
            "credential_type",
            {"name": "A", **env, "injectors": {"env": {"ANSIBLE_COLLECTIONS_PATH": "x"}}},
        ),
        "uses an undefined field": ("credential_type", {"name": "B", **env, "injectors": {"env": {"B": "{{ b }}"}}}),
        "Additional properties": ("credential", {**_credential(), "inputs": {"nope": "x"}}),
        "Project required": ("inventory_source", {"name": "S", "inventory": "I", "source": "scm", "source_path": "x"}),
        "Organization participation": ("role", {"team": "T", "role": "member", "organization": "Default"}),
    }
    site = SetUp(tmp_path, etcd)
    with site.awx:
        default = site.awx.tables.one("organizations", name="Default")["id"]
        site.awx.tables.add("projects", name="P", organization=default, scm_type="git", scm_url="x")
        site.awx.tables.add("inventories", name="I", organization=default)
        site.awx.tables.add("teams", name="T", organization=default)
        before = {kind: len(site.awx.tables.find(kind)) for kind in KINDS}
        tasks: list[dict[str, Any]] = []
        for module, arguments in wrong.values():
            tasks.append({f"awx.awx.{module}": arguments, "register": f"said_{len(tasks)}", "ignore_errors": True})
        play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
        path = tmp_path / "wrong.yml"
        # Only the module may render this.
        path.write_text(yaml.safe_dump([play], sort_keys=False).replace("'{{ b }}'", "!unsafe '{{ b }}'"))
        said = site.play(str(path))
        assert said.stdout.count("...ignoring") == len(wrong), said.stdout + said.stderr
        for message in wrong:
            assert message in said.stdout, message
        assert {kind: len(site.awx.tables.find(kind)) for kind in KINDS} == before


class Emptied(Site):
    """A controller with the variables of a credential that has endpoints only."""

    @property
    def environment(self) -> dict[str, str]:
        """Return its environment."""
        return {**super().environment, **EMPTY}


def test_empty_variables_are_not_set(etcd: EtcdServer, tmp_path: Path) -> None:
    """Every door takes the empty variables that AWX injects for empty fields as not set."""
    etcd.etcdctl("del", "--prefix", "/")
    site = Emptied(tmp_path, etcd.endpoint, ["web01"])
    site.publish()
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"watcher.config.project_info": {}, "register": "info"},
            {"ansible.builtin.debug": {"msg": "module {{ info.table }}"}},
            {
                "ansible.builtin.debug": {
                    "msg": "lookup {{ lookup('watcher.config.tree', 'web01/a.com/config.d/ngx.conf') }}"
                }
            },
        ],
    }
    play["vars"] = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    path = site.write("doors.yml", [play])
    (site.inventory / "watcher.yml").write_text("plugin: watcher.config.tree\n", encoding="utf-8")
    done = site.play(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lookup one" in done.stdout
    assert "Failed to parse" not in done.stderr
    assert site.ran("watcher.config.deploy", "--limit", "web01")["web01"]["changed"] == 1
    options = SourceOptions.parse({}, {"ETCDCTL_ENDPOINTS": site.endpoint, **EMPTY})
    assert (options.connection.prefix, options.connection.ca_cert) == ("/watcher", None)


def _credential() -> dict[str, Any]:
    return {"name": "C", "organization": "Default", "credential_type": "Machine"}
