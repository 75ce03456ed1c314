# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped rulebook for AWX, from etcdctl to the file on the host: real etcd, ansible-rulebook and playbook."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.tests.ansible_site import BIN, Site
from ansible_collections.watcher.config.tests.awx.client import Client
from ansible_collections.watcher.config.tests.awx.jobs import Job
from ansible_collections.watcher.config.tests.awx.server import AwxServer
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

pytestmark = [pytest.mark.rulebook, pytest.mark.slow]

BOUND = 240.0  # seconds that anything may take at most; a job takes two, on a busy machine more
HOSTS = ["web01", "web02", "web03"]
EDA = "Activated by Event-Driven Ansible"  # the label that ansible-rulebook adds by itself
GIT = {"scm_type": "git", "scm_url": "https://git.example.com/watcher"}
PROMPTS = ("ask_limit_on_launch", "ask_variables_on_launch", "ask_labels_on_launch")


class Ground:
    """A tree, three hosts, an AWX with the job template Watcher Deploy, and a user who may launch it."""

    def __init__(self, folder: Path, etcd: EtcdServer) -> None:
        """Make what `awx.yml` would make, in as few words as possible."""
        etcd.etcdctl("del", "--prefix", "/")
        self.etcd = etcd
        self.store = connect(Connection((etcd.endpoint,)))
        self.site = Site(folder, "", HOSTS)  # where etcd is comes from the credential
        self.awx = AwxServer(folder / "awx", inventory=self.site.inventory, environment=self.site.environment)
        self.log = folder / "rulebook.log"
        self.process: subprocess.Popen[bytes] | None = None
        tables = self.awx.tables
        organization = tables.add("organizations", name="Watcher")["id"]
        kind = tables.add(
            "credential_types",
            name="Watcher etcd",
            kind="cloud",
            inputs={"fields": [{"id": "endpoints", "type": "string", "label": "Endpoints"}]},
            injectors={"env": {"ETCDCTL_ENDPOINTS": "{{ endpoints }}"}},
        )["id"]
        inputs = {"endpoints": etcd.endpoint}
        credential = tables.add(
            "credentials", name="Watcher etcd", organization=organization, credential_type=kind, inputs=inputs
        )["id"]
        self.template = tables.add(
            "job_templates",
            name="Watcher Deploy",
            inventory=tables.add("inventories", name="Watcher tree", organization=organization)["id"],
            project=tables.add("projects", name="Watcher", organization=organization, **GIT)["id"],
            playbook="playbooks/deploy.yml",
            allow_simultaneous=True,
            **dict.fromkeys(PROMPTS, True),
        )["id"]
        tables.link("job_templates", self.template, "credentials", credential)
        self.user = self.awx.add_user("eda")
        for kind_of, number, role in (
            ("job_templates", self.template, "execute_role"),
            ("organizations", organization, "member_role"),
        ):
            thing = tables.get(kind_of, number)
            assert thing is not None
            tables.link("roles", thing["summary_fields"]["object_roles"][role]["id"], "users", self.user["id"])

    def prompt(self, **switches: bool) -> None:
        """Switch prompts of the job template."""
        admin = self.awx.tables.find("users", username="admin")[0]
        status, answer = self.awx.tables.rest("PATCH", ["job_templates", str(self.template)], {}, switches, admin)
        assert status == 200, answer

    def txn(self, project: str, *hosts: str, content: str = "one", **policy: Any) -> None:
        """Publish a project by one transaction of etcdctl."""
        lines = []
        for host in hosts:
            root = f"/watcher/{host}/{project}"
            lines.append(f"put {root}/config {json.dumps(json.dumps(self.policy(host, project, **policy)))}")
            lines.append(f"put {root}/config.d/x.conf {content}")
        self.etcd.etcdctl("txn", stdin="\n" + "\n".join(lines) + "\n\n\n")

    def policy(self, host: str, project: str, **more: Any) -> dict[str, Any]:
        """Return the policy of a project, which has a folder of its own."""
        return {"deployPath": str(self.site.folder / host / project), **more}

    def put(self, project: str, host: str, content: str) -> None:
        """Set one file by etcdctl."""
        self.etcd.etcdctl("put", f"/watcher/{host}/{project}/config.d/x.conf", content)

    def waiting(self, gate: Path) -> str:
        """Return a command that waits until a file is there."""
        return f"while [ ! -e {gate} ]; do sleep 0.05; done"

    def disk(self, project: str, host: str) -> str:
        """Return what is on a host's disk; nothing when nothing is."""
        path = self.site.folder / host / project / "x.conf"
        return path.read_text() if path.exists() else ""

    def status(self, project: str, host: str) -> dict[str, Any]:
        """Return the status of a project on a host; empty when there is none."""
        item, _unused = self.store.get(f"/watcher.status/{host}/{project}")
        return dict(json.loads(item.value)) if item else {}

    def said(self) -> str:
        """Return the rulebook's log."""
        return self.log.read_text(errors="replace")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds; fail with the log and the jobs when it does not in time."""
        deadline = time.monotonic() + BOUND
        while not holds():
            jobs = "\n".join(f"{job.id} {job.status} {job.stdout}" for job in self.awx.jobs.all.values())
            told = f"{what}\n{self.said()[-8000:]}\n{jobs[-8000:]}"
            assert self.process is None or self.process.poll() is None, f"ansible-rulebook ended: {told}"
            assert time.monotonic() < deadline, f"not in time: {told}"
            time.sleep(0.02)

    def until_said(self, text: str, start: int = 0) -> None:
        """Wait until the rulebook's log has a text, behind its first characters."""
        self.until(lambda: text in self.said()[start:], f"the log should say {text!r}")

    def until_deployed(self, project: str, host: str, content: str = "one") -> None:
        """Wait until the content is on a host's disk, and etcd says so."""
        self.until(lambda: self.disk(project, host) == content, f"{project} on {host}")
        self.until(lambda: self.status(project, host).get("state") == "deployed", f"status of {project} on {host}")

    def jobs(self, project: str) -> list[Job]:
        """Return the jobs of a project, oldest first."""
        return [job for job in self.awx.jobs.all.values() if job.variables.get("watcher_project") == project]

    @contextlib.contextmanager
    def rulebook(self, **variables: Any) -> Iterator[None]:
        """Run ansible-rulebook with the shipped rulebook, and demand a clean end."""
        path = self.site.folder / "vars.yml"
        path.write_text(yaml.safe_dump({"watcher_endpoints": [self.etcd.endpoint], **variables}), encoding="utf-8")
        environment = {
            **self.site.environment,
            "JAVA_TOOL_OPTIONS": "-Xrs",
            "EDA_CONTROLLER_URL": self.awx.url,
            "EDA_CONTROLLER_TOKEN": self.awx.token_of("eda"),
            "EDA_CONTROLLER_RETRY_ATTEMPTS": "1",
            "EDA_JOB_TEMPLATE_REFRESH_DELAY": "0.2",  # seconds; 10 by itself
        }
        with self.log.open("ab") as log:
            process = self.process = subprocess.Popen(
                [str(BIN / "ansible-rulebook"), "-r", "watcher.config.awx", "--vars", str(path)],
                env=environment,
                cwd=self.site.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield
            assert process.poll() is None, self.said()
            process.terminate()
            assert process.wait(BOUND) == 0, self.said()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def ground(tmp_path: Path, etcd: EtcdServer) -> Iterator[Ground]:
    """Return the ground, with AWX serving."""
    ground = Ground(tmp_path, etcd)
    with ground.awx:
        yield ground
    ground.store.close()


def test_a_put_becomes_one_job(ground: Ground) -> None:
    """One launch with the hosts of the event as limit, the project and the labels; file and status follow."""
    with ground.rulebook():
        ground.txn("1.10", "web01", "web02")
        for host in ("web01", "web02"):
            ground.until_deployed("1.10", host)
        ground.put("1.10", "web02", "two")
        ground.until_deployed("1.10", "web02", "two")
        ground.awx.jobs.wait(lambda jobs: jobs[-1].status == "successful", BOUND)
    first, second = ground.awx.launches()
    assert [first.status, second.status] == [201, 201]
    assert [first.user, second.user] == ["eda", "eda"]
    assert first.answer["ignored_fields"] == second.answer["ignored_fields"] == {}
    assert sorted(first.body["limit"].split(",")) == ["web01", "web02"]
    assert second.body["limit"] == "web02"
    names = {label["name"] for label in ground.awx.tables.find("labels") if label["id"] in second.body["labels"]}
    assert names == {EDA, "watcher"}
    given = second.body["extra_vars"]
    assert set(given) == {"watcher_project", "watcher_revision", "watcher_launched_for", "ansible_eda"}
    assert (given["watcher_project"], given["watcher_launched_for"]) == ("1.10", "1.10 on web02")
    event = given["ansible_eda"]["event"]["watcher"]
    assert (event["project"], event["hosts"], event["revision"]) == ("1.10", ["web02"], given["watcher_revision"])
    status = ground.status("1.10", "web02")
    assert (status["revision"], status["by"]) == (given["watcher_revision"], "playbook")
    assert ground.disk("1.10", "web01") == "one"
    assert [job.status for job in ground.jobs("1.10")] == ["successful", "successful"]


@pytest.mark.parametrize(
    ("off", "named"),
    [
        (PROMPTS[:1], ["Limit", "ask_limit_on_launch"]),
        (PROMPTS[1:2], ["Variables", "ask_variables_on_launch"]),
        (PROMPTS[:2], ["Limit", "ask_limit_on_launch"]),
    ],
)
def test_a_prompt_that_is_off_fails_the_job(ground: Ground, off: tuple[str, ...], named: list[str]) -> None:
    """Nothing is deployed anywhere, the job says which prompt is missing, and once it is on all is caught up."""
    ground.prompt(**dict.fromkeys(off, False))
    ground.store.commit(
        Write(
            puts=tuple(
                item
                for host in HOSTS
                for item in (
                    (f"/watcher/{host}/b.com/config", json.dumps(ground.policy(host, "b.com")).encode()),
                    (f"/watcher/{host}/b.com/config.d/x.conf", b"one"),
                )
            )
        )
    )
    with ground.rulebook(watcher_hold=2, watcher_hosts=["web01"]):
        (job, *_more) = ground.awx.jobs.wait(lambda jobs: jobs and jobs[0].status == "failed", BOUND)
        assert "Watcher Deploy" in job.stdout
        for text in named:
            assert text in job.stdout
        assert [ground.disk("b.com", host) for host in HOSTS] == ["", "", ""]
        assert [ground.status("b.com", host) for host in HOSTS] == [{}, {}, {}]
        ground.until_said("Job template 'Watcher Deploy' failed")
        ground.prompt(**dict.fromkeys(off, True))
        ground.until_deployed("b.com", "web01")
    assert [ground.disk("b.com", host) for host in HOSTS] == ["one", "", ""]


def test_labels_that_are_not_prompted_for(ground: Ground) -> None:
    """The job runs without labels, and the rulebook names the prompt."""
    ground.prompt(ask_labels_on_launch=False)
    with ground.rulebook():
        ground.txn("a.com", "web01")
        ground.until_deployed("a.com", "web01")
        ground.until_said("enable Prompt on launch for Labels")
    (launch,) = ground.awx.launches()
    assert "labels" not in launch.body


def test_awx_away_or_refusing(ground: Ground) -> None:
    """Each time it is said, and the change is deployed once AWX does its work again."""
    faults: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[None]], str]] = {
        "away.com": (ground.awx.away, "Cannot connect to host"),
        "s503.com": (lambda: ground.awx.answering(503), "503, message="),
        "s401.com": (lambda: ground.awx.answering(401), "401, message="),
        "s403.com": (lambda: ground.awx.answering(403, "POST", "/launch/"), "403, message="),
        "s400.com": (lambda: ground.awx.answering(400, "POST", "/launch/"), "400, message="),
        "s502.com": (lambda: ground.awx.answering(502, "POST", "/launch/"), "502, message="),
    }
    with ground.rulebook(watcher_hold=1):
        ground.txn("ready.com", "web01")
        ground.until_deployed("ready.com", "web01")
        for project, (fault, said) in faults.items():
            before = len(ground.said())
            with fault():
                ground.txn(project, "web01")
                ground.until_said(said, before)
                assert ground.disk(project, "web01") == ""
            ground.until_deployed(project, "web01")
        assert all(ground.disk(project, "web01") == "one" for project in faults)


def test_a_job_that_fails(ground: Ground) -> None:
    """Whether before its playbook, in the deployment, or canceled by somebody: it is said, and tried again."""

    def said(job: Job, status: str) -> None:
        ground.until_said(f"Job template 'Watcher Deploy' {status} (job_id: {job.id})")

    def settles(project: str, *expected: str) -> None:
        ground.until_deployed(project, "web01")
        ground.until(lambda: ground.jobs(project)[-1].status == "successful", "the last try")
        assert [job.status for job in ground.jobs(project)][: len(expected)] == list(expected)

    gate = ground.site.folder / "gate"
    with ground.rulebook(watcher_hold=3):
        ground.awx.jobs.break_next("error")
        ground.txn("node.com", "web01")
        settles("node.com", "error", "successful")
        said(ground.jobs("node.com")[0], "error")

        ground.txn("cmd.com", "web01", beforeCmd=f"test -e {gate}")
        ground.until(lambda: len(ground.jobs("cmd.com")) > 1, "a second try")
        said(ground.jobs("cmd.com")[0], "failed")
        assert ground.status("cmd.com", "web01")["state"] == "failed"
        assert ground.disk("cmd.com", "web01") == ""
        gate.touch()
        settles("cmd.com", "failed")

        gate.unlink()
        ground.txn("slow.com", "web01", beforeCmd=ground.waiting(gate), cmdTimeout=int(BOUND))
        ground.until(lambda: [job.status for job in ground.jobs("slow.com")] == ["running"], "the job runs")
        job = ground.jobs("slow.com")[0]
        assert Client(ground.awx.url, ground.awx.token).call("POST", f"jobs/{job.id}/cancel/", {})[0] == 202
        gate.touch()
        settles("slow.com", "canceled")
        said(job, "was canceled")


def test_awx_away_at_the_start(ground: Ground) -> None:
    """ansible-rulebook says so and ends with 1, for what runs it to start it again; nothing is lost."""
    ground.txn("a.com", "web01")
    with ground.awx.away(), pytest.raises(AssertionError, match="ended"), ground.rulebook():
        ground.until(lambda: False, "it ends")
    assert "Cannot connect to host" in ground.said()
    with ground.awx.answering(401), pytest.raises(AssertionError, match="ended"), ground.rulebook():
        ground.until(lambda: False, "it ends")
    assert "401" in ground.said()
    with ground.rulebook():
        ground.until_deployed("a.com", "web01")


def test_jobs_of_a_project_do_not_overlap(ground: Ground) -> None:
    """Changes during a job become one more after it, and other projects do not wait."""
    gate = ground.site.folder / "gate"
    with ground.rulebook():
        ground.txn("a.com", "web01", beforeCmd=ground.waiting(gate), cmdTimeout=int(BOUND))
        ground.until(lambda: [job.status for job in ground.jobs("a.com")] == ["running"], "the first job runs")
        ground.put("a.com", "web01", "two")
        ground.put("a.com", "web01", "three")
        ground.txn("b.com", "web01", "web02")
        ground.until_deployed("b.com", "web02")
        assert [job.status for job in ground.jobs("a.com")] == ["running"]
        gate.touch()
        ground.until_deployed("a.com", "web01", "three")
        ground.until(lambda: ground.jobs("a.com")[-1].status == "successful", "the last job ends")
    jobs = ground.jobs("a.com")
    assert [job.status for job in jobs] == ["successful"] * len(jobs)
    for earlier, later in zip(jobs, jobs[1:], strict=False):
        assert earlier.finished is not None
        assert later.started is not None
        assert earlier.finished <= later.started
    assert len(jobs) <= 3
    (other,) = ground.jobs("b.com")
    assert other.finished is not None
    assert jobs[0].finished is not None
    assert other.finished < jobs[0].finished
