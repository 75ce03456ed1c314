# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of AWX that a wrong job template breaks, in the stand-in and in a real AWX.

The real one is used when ``AWX_URL`` and ``AWX_TOKEN`` (an administrator's) are in the environment.
``AWX_PROJECT`` names a project on it that is a checkout of this repository; the default is the one that
the playbook ``awx.yml`` makes. All that the tests make has a random suffix and is removed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ansible_collections.watcher.config.tests.ansible_site import Site
from ansible_collections.watcher.config.tests.awx.client import Client
from ansible_collections.watcher.config.tests.awx.server import AwxServer

NO_AWX = "no real AWX: AWX_URL and AWX_TOKEN are not in the environment"
EVENT = {"watcher": {"project": "a.com", "hosts": ["web01"], "revision": 7}}
VARIABLES = {"watcher_project": "a.com", "watcher_revision": 7, "ansible_eda": {"event": EVENT}}
ALL_ON = {"ask_limit_on_launch": True, "ask_variables_on_launch": True, "ask_labels_on_launch": True}
SURVEY = {
    "name": "",
    "description": "",
    "spec": [
        {"type": "text", "question_name": "Project", "variable": "watcher_project", "required": True},
        {"type": "integer", "question_name": "Retries", "variable": "retries", "required": False, "default": 3},
        {
            "type": "multiplechoice",
            "question_name": "State",
            "variable": "watcher_state",
            "required": False,
            "choices": "present\nabsent",
        },
    ],
}


class Ground:
    """An AWX with an organization, an inventory with one host, and a project that is this repository."""

    def __init__(self, client: Client, project: int | None = None) -> None:
        """Make the organization, the inventory, and the project unless it is there."""
        self.client = client
        self.organization = client.make("organizations", "Watcher test")["id"]
        fields = {"organization": self.organization, "scm_type": "git", "scm_url": "https://git.example.com/watcher"}
        self.project = project or client.make("projects", "Watcher test", **fields)["id"]
        self.inventory = client.make("inventories", "Watcher test", organization=self.organization)["id"]
        host = {"name": "web01", "variables": json.dumps({"ansible_connection": "local"})}
        status, answer = client.call("POST", f"inventories/{self.inventory}/hosts/", host)
        assert status in (201, 404), answer  # the stand-in has no hosts: its inventory is a folder

    def template(self, **fields: Any) -> dict[str, Any]:
        """Make a job template of the playbook deploy.yml."""
        given = {"inventory": self.inventory, "project": self.project, "playbook": "playbooks/deploy.yml", **fields}
        return self.client.make("job_templates", "Watcher test", **given)

    def label(self, name: str) -> int:
        """Make a label."""
        return int(self.client.make("labels", name, organization=self.organization)["id"])

    def quoted(self, name: str) -> str:
        """Return the name that something was made with, for a query."""
        return quote(self.client.name(name))

    def launch(self, template: dict[str, Any], **body: Any) -> tuple[int, Any]:
        """Launch a template as ansible-rulebook does."""
        return self.client.call("POST", template["related"]["launch"], body)

    def launched(self, template: dict[str, Any], **body: Any) -> dict[str, Any]:
        """Launch a template, demand that it is taken, and return the job."""
        status, answer = self.launch(template, **body)
        assert status == 201, answer
        job: dict[str, Any] = answer
        return job

    def user(self, *roles: tuple[dict[str, Any], str]) -> Client:
        """Make a user who has roles of objects, and return that user's client."""
        name, password = self.client.name("watcher").replace(" ", "-"), "Watcher-test-1!"
        user = self.client.add("users", username=name, password=password)
        for thing, role in roles:
            number = thing["summary_fields"]["object_roles"][role]["id"]
            status, answer = self.client.call("POST", f"roles/{number}/users/", {"id": user["id"]})
            assert status == 204, answer
        return Client(self.client.url, user=name, password=password)


@pytest.fixture(params=["stand-in", "real"])
def awx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """Return each AWX."""
    if request.param == "real":
        url, token = os.environ.get("AWX_URL"), os.environ.get("AWX_TOKEN")
        if not url or not token:
            pytest.skip(NO_AWX)
        client = Client(url, token)
        name = os.environ.get("AWX_PROJECT", "Watcher")
        found = client.get(f"projects/?name={quote(name)}")["results"]
        assert found, f"the AWX has no project named {name!r}; AWX_PROJECT names another one"
        try:
            yield Ground(client, found[0]["id"])
        finally:
            client.clean()
        return
    site = Site(tmp_path, "", ["web01"])
    with AwxServer(tmp_path / "awx", inventory=site.inventory, environment=site.environment) as server:
        yield Ground(Client(server.url, server.token))


def test_nobody_is_let_in_without_a_token(awx: Ground) -> None:
    """A call without a token, or with a wrong one, is answered 401."""
    url = awx.client.url
    for client in (Client(url), Client(url, "no-token"), Client(url, user="a", password="b")):
        assert client.call("GET", "config/")[0] == 401
        assert client.call("POST", "labels/", {"name": "x", "organization": awx.organization})[0] == 401
    assert awx.client.get("config/")["version"]


def test_what_is_prompted_for_is_used(awx: Ground) -> None:
    """With all prompts on nothing is ignored, and the job has limit, variables and label of the launch."""
    template, label = awx.template(**ALL_ON), awx.label("watcher")
    job = awx.launched(template, limit="web01", extra_vars=VARIABLES, labels=[label])
    assert job["ignored_fields"] == {}
    assert job["limit"] == "web01"
    assert json.loads(job["extra_vars"]) == VARIABLES
    found = awx.client.get(f"{template['url']}jobs/?labels__name={awx.quoted('watcher')}")
    assert [each["id"] for each in found["results"]] == [job["id"]]
    assert awx.client.get(f"{template['url']}jobs/?labels__name=another")["count"] == 0


@pytest.mark.parametrize(
    ("off", "field", "ignored"),
    [
        ("ask_limit_on_launch", "limit", "web01"),
        ("ask_variables_on_launch", "extra_vars", VARIABLES),
        ("ask_labels_on_launch", "labels", None),
    ],
)
def test_what_is_not_prompted_for_is_dropped(awx: Ground, off: str, field: str, ignored: Any) -> None:
    """The launch is taken all the same, and the job has the template's: for the limit that is all hosts."""
    template, label = awx.template(**{**ALL_ON, off: False}), awx.label("watcher")
    job = awx.launched(template, limit="web01", extra_vars=VARIABLES, labels=[label])
    assert job["ignored_fields"] == {field: ignored or [label]}
    assert job["limit"] == ("" if field == "limit" else "web01")
    assert json.loads(job["extra_vars"]) == ({} if field == "extra_vars" else VARIABLES)
    labels = awx.client.get(f"jobs/{job['id']}/")["summary_fields"]["labels"]["results"]
    assert [each["id"] for each in labels] == ([] if field == "labels" else [label])


def test_what_the_template_says_anyway_is_not_ignored(awx: Ground) -> None:
    """A value that is the template's own is neither taken nor ignored."""
    template = awx.template(limit="web01", extra_vars=json.dumps({"watcher_project": "a.com"}))
    job = awx.launched(template, limit="web01", extra_vars={"watcher_project": "a.com"})
    assert job["ignored_fields"] == {}
    assert job["limit"] == "web01"
    job = awx.launched(template, limit="all", extra_vars={"watcher_project": "b.com"})
    assert job["ignored_fields"] == {"limit": "all", "extra_vars": {"watcher_project": "b.com"}}
    assert json.loads(job["extra_vars"]) == {"watcher_project": "a.com"}


def test_a_survey_lets_its_own_variables_through(awx: Ground) -> None:
    """With variables not prompted for, the survey's are taken, its defaults used, and all others ignored."""
    template = awx.template(survey_enabled=True)
    status, answer = awx.client.call("POST", f"{template['url']}survey_spec/", SURVEY)
    assert status == 200, answer
    job = awx.launched(template, extra_vars=VARIABLES)
    rest = {name: value for name, value in VARIABLES.items() if name != "watcher_project"}
    assert job["ignored_fields"] == {"extra_vars": rest}
    assert json.loads(job["extra_vars"]) == {"watcher_project": "a.com", "retries": 3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "'watcher_project' value missing"),
        ({"watcher_project": 7}, "Value 7 for 'watcher_project' expected to be a string."),
        ({"watcher_project": "a.com", "retries": "3"}, "Value 3 for 'retries' expected to be an integer."),
        ({"watcher_project": "a.com", "watcher_state": "gone"}, "Value gone for 'watcher_state' expected to be one of"),
    ],
)
def test_a_wrong_answer_to_a_survey_is_refused(awx: Ground, given: dict[str, Any], said: str) -> None:
    """A required value that is missing, or a value of a wrong type, is answered 400."""
    template = awx.template(survey_enabled=True, ask_variables_on_launch=True)
    assert awx.client.call("POST", f"{template['url']}survey_spec/", SURVEY)[0] == 200
    status, answer = awx.launch(template, extra_vars=given)
    assert status == 400
    assert len(answer["variables_needed_to_start"]) == 1
    assert answer["variables_needed_to_start"][0].startswith(said)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": ["web01", "web02"]}, "limit"),
        ({"labels": [987654321]}, "labels"),
        ({"labels": "watcher"}, "labels"),
        ({"inventory": 987654321}, "inventory"),
        ({"extra_vars": ["a"]}, "extra_vars"),
        ({"extra_vars": "{{ no yaml"}, "extra_vars"),
    ],
)
@pytest.mark.parametrize("prompts", [True, False])
def test_a_field_of_a_wrong_type_is_refused(awx: Ground, body: dict[str, Any], field: str, prompts: bool) -> None:
    """It is answered 400, also when the template does not prompt for the field."""
    switches = dict.fromkeys((*ALL_ON, "ask_inventory_on_launch"), prompts)
    status, answer = awx.launch(awx.template(**switches), **body)
    assert status == 400
    assert list(answer) == [field]


def test_a_launch_says_what_it_asks_for(awx: Ground) -> None:
    """GET of a launch tells which prompts are on and which variables are needed."""
    template = awx.template(ask_limit_on_launch=True, survey_enabled=True)
    assert awx.client.call("POST", f"{template['url']}survey_spec/", SURVEY)[0] == 200
    said = awx.client.get(template["related"]["launch"])
    assert said["ask_limit_on_launch"] is True
    assert said["ask_variables_on_launch"] is False
    assert said["variables_needed_to_start"] == ["watcher_project"]
    assert said["can_start_without_user_input"] is False


def test_a_template_is_found_as_the_rulebook_looks_for_it(awx: Ground) -> None:
    """The list of templates has what ansible-rulebook reads, and only what the user may see."""
    template = awx.template(ask_limit_on_launch=True)
    query = f"unified_job_templates/?name={awx.quoted('Watcher test')}"
    (found,) = (each for each in awx.client.get(query)["results"] if each["type"] == "job_template")
    assert found["related"]["launch"] == template["related"]["launch"]
    assert found["ask_limit_on_launch"] is True
    for prompt in ("inventory", "variables", "labels"):
        assert found[f"ask_{prompt}_on_launch"] is False
    assert awx.user().get(query)["count"] == 0


def test_who_may_not_launch(awx: Ground) -> None:
    """A user without a role of the template is refused."""
    template = awx.template(**ALL_ON)
    assert awx.user().call("POST", template["related"]["launch"], {"limit": "web01"})[0] == 403


def test_what_execute_is_good_for(awx: Ground) -> None:
    """Execute on the template is enough to launch and to watch the job; for a label it is not."""
    template, label = awx.template(**ALL_ON), awx.label("watcher")
    user = awx.user((template, "execute_role"))
    status, job = user.call("POST", template["related"]["launch"], {"limit": "web01", "extra_vars": VARIABLES})
    assert status == 201
    assert job["ignored_fields"] == {}
    assert user.get(f"jobs/?id__in={job['id']}&page_size=1")["count"] == 1
    assert user.get(f"organizations/?name={awx.quoted('Watcher test')}")["count"] == 0
    assert user.call("POST", template["related"]["launch"], {"labels": [label]})[0] == 403
    assert user.call("POST", "labels/", {"name": "mine", "organization": awx.organization})[0] == 403


def test_a_member_of_the_organization_has_labels(awx: Ground) -> None:
    """Execute on the template and membership of its organization are enough for the whole of the rulebook."""
    template = awx.template(**ALL_ON)
    organization = awx.client.get(f"organizations/{awx.organization}/")
    user = awx.user((template, "execute_role"), (organization, "member_role"))
    fields = {"name": awx.client.name("mine"), "organization": awx.organization}
    status, label = user.call("POST", "labels/", fields)
    assert status == 201
    status, again = user.call("POST", "labels/", fields)
    assert status == 400
    assert "already exists" in str(again)
    status, job = user.call("POST", template["related"]["launch"], {"limit": "web01", "labels": [label["id"]]})
    assert status == 201
    assert job["ignored_fields"] == {}


@pytest.mark.parametrize("playbook", ["watcher.config.deploy", "deploy.yml", "playbooks/none.yml"])
def test_a_playbook_is_a_path_in_the_project(awx: Ground, playbook: str) -> None:
    """A job template of a playbook by its name in the collection is refused."""
    fields = {"name": awx.client.name("x"), "inventory": awx.inventory, "project": awx.project, "playbook": playbook}
    status, answer = awx.client.call("POST", "job_templates/", fields)
    assert status == 400
    assert list(answer) == ["playbook"]


def test_inputs_of_a_credential_type_in_use_stay(awx: Ground) -> None:
    """Once a credential has the type, its fields cannot be changed; all else can."""
    fields = [{"id": "a", "label": "A", "type": "string"}]
    kind = awx.client.make("credential_types", "Watcher test", kind="cloud", inputs={"fields": fields}, injectors={})
    given = {"organization": awx.organization, "credential_type": kind["id"], "inputs": {"a": "x"}}
    awx.client.make("credentials", "Watcher test", **given)
    more = [*fields, {"id": "b", "label": "B", "type": "string"}]
    status, answer = awx.client.call("PATCH", kind["url"], {"inputs": {"fields": more}})
    assert (status, "in use" in str(answer)) == (403, True), answer
    assert awx.client.call("PATCH", kind["url"], {"inputs": {"fields": fields}, "description": "x"})[0] == 200


def test_jinja_in_variables_stays_text(awx: Ground) -> None:
    """A launch cannot bring Jinja: the playbook has the braces as they are."""
    job = awx.launched(awx.template(**ALL_ON), limit="web01", extra_vars={"watcher_project": "{{ 7 * 7 }}"})
    ended = awx.client.ended(job)
    _status, output = awx.client.call("GET", f"jobs/{job['id']}/stdout/?format=txt")
    assert "project '{{ 7 * 7 }}': a project is one segment of" in output, output
    assert ended["status"] == "failed"
    assert ended["failed"] is True


def test_jobs_of_a_template_wait_for_each_other(awx: Ground) -> None:
    """Without allow_simultaneous the second job begins after the first one's end."""
    template = awx.template(**ALL_ON)
    body = {"limit": "web01", "extra_vars": {"watcher_project": "{{ 7 * 7 }}"}}
    jobs = [awx.launched(template, **body) for _unused in range(2)]
    first, second = (awx.client.ended(job) for job in jobs)
    assert first["finished"] <= second["started"]


def test_a_job_can_be_canceled(awx: Ground) -> None:
    """A canceled job has ended, and is canceled only once."""
    job = awx.launched(awx.template(**ALL_ON), limit="web01", extra_vars=VARIABLES)
    assert awx.client.call("POST", f"jobs/{job['id']}/cancel/", {})[0] == 202
    assert awx.client.ended(job)["status"] == "canceled"
    assert awx.client.call("POST", f"jobs/{job['id']}/cancel/", {})[0] == 405
