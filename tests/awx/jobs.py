# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of the stand-in: real runs of ansible-playbook, with the arguments and variables that AWX gives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.watcher.config.tests.awx.injectors import Injected, inject
from ansible_collections.watcher.config.tests.awx.launch import judge, offered, variables
from ansible_collections.watcher.config.tests.awx.tables import Tables

Answer = tuple[int, Any]
FIELDS = ("limit", "job_type", "job_tags", "skip_tags", "verbosity", "inventory", "scm_branch", "forks")
FOLDER = "AWX_PRIVATE_DATA_DIR"  # the variable that names a job's folder to its processes
DONE = ("successful", "failed", "error", "canceled")
FORBIDDEN: Answer = (403, {"detail": "You do not have permission to perform this action."})
NOT_FOUND: Answer = (404, {"detail": "Not found."})


@dataclass
class Job:
    """One job."""

    id: int
    template: dict[str, Any]
    user: dict[str, Any]
    fields: dict[str, Any]  # those of the template that a launch may replace, as they are for this job
    variables: dict[str, Any]
    labels: list[dict[str, Any]]
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    status: str = "pending"
    explanation: str = ""
    stdout: str = ""
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def shown(self) -> dict[str, Any]:
        """Return the job as the API shows it."""
        url = f"/api/v2/jobs/{self.id}/"
        template = {key: self.template[key] for key in ("id", "name", "description")}
        return {
            "id": self.id,
            "type": "job",
            "url": url,
            "related": {
                "stdout": f"{url}stdout/",
                "labels": f"{url}labels/",
                "cancel": f"{url}cancel/",
                "job_template": self.template["url"],
            },
            "summary_fields": {
                "job_template": template,
                "created_by": {"id": self.user["id"], "username": self.user["username"]},
                "labels": {
                    "count": len(self.labels),
                    "results": [{"id": label["id"], "name": label["name"]} for label in self.labels],
                },
            },
            "created": _time(self.created),
            "started": _time(self.started),
            "finished": _time(self.finished),
            "elapsed": (self.finished or time.time()) - self.started if self.started else 0.0,
            "name": self.template["name"],
            "description": self.template["description"],
            "unified_job_template": self.template["id"],
            "job_template": self.template["id"],
            "launch_type": "manual",
            "status": self.status,
            "failed": self.status in DONE[1:],
            "job_explanation": self.explanation,
            "job_args": json.dumps(self.arguments),
            "extra_vars": json.dumps(self.variables),
            "artifacts": {},
            "project": self.template["project"],
            "playbook": self.template["playbook"],
            "allow_simultaneous": self.template["allow_simultaneous"],
            **self.fields,
        }


class Jobs:
    """All jobs of a stand-in, and what starts them.

    ``environment`` is what the execution environment has, ``inventory`` the folder that every job's
    inventory is read from, ``checkout`` the project's folder: playbooks are paths in it.
    """

    def __init__(
        self, tables: Tables, folder: Path, inventory: Path, environment: Mapping[str, str], checkout: Path
    ) -> None:
        """Start nothing."""
        self.all: dict[int, Job] = {}
        self._tables = tables
        self._folder = folder
        self._inventory = inventory
        self._environment = dict(environment)
        self._checkout = checkout
        self._changed = threading.Condition(tables.lock)
        self._threads: list[threading.Thread] = []
        self._broken: list[tuple[str, str]] = []
        self._closed = False

    def break_next(self, status: str = "error", explanation: str = "The execution node is gone.") -> None:
        """Let the next job end with this status before its playbook begins."""
        with self._changed:
            self._broken.append((status, explanation))

    def wait(self, holds: Callable[[list[Job]], object], timeout: float) -> list[Job]:
        """Return the jobs, oldest first, once something holds of them; AssertionError with their output if not."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(list(self.all.values())), timeout):
                raise AssertionError("\n".join(f"{job.shown()}\n{job.stdout}" for job in self.all.values()))
            return list(self.all.values())

    def close(self) -> None:
        """Kill the playbooks that run, and wait for them."""
        with self._changed:
            self._closed = True
            for job in self.all.values():
                _kill(job, self._folder)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def asked(self, template_id: int, user: dict[str, Any]) -> Answer:
        """Answer GET of a launch."""
        template = self._tables.get("job_templates", template_id)
        if template is None:
            return NOT_FOUND
        if not self._may(user, template_id):
            return FORBIDDEN
        return 200, offered(template, self._tables.survey(template_id))

    def launch(self, template_id: int, body: dict[str, Any], user: dict[str, Any]) -> Answer:
        """Answer POST of a launch; its job begins at once, or after another one of its template."""
        with self._changed:
            template = self._tables.get("job_templates", template_id)
            if template is None:
                return NOT_FOUND
            if not self._may(user, template_id):
                return FORBIDDEN
            survey = self._tables.survey(template_id)
            kinds = ("credentials", "labels", "inventories")
            known = {kind: {each["id"] for each in self._tables.find(kind)} for kind in kinds}
            launch = judge(template, survey, known, body)
            if launch.errors:
                return 400, launch.errors
            labels = self._labels(launch.prompted.pop("labels", []))
            if not all(self._may_read(user, label) for label in labels):
                return FORBIDDEN
            labels = self._labels(self._tables.linked("job_templates", template_id, "labels")) + labels
            values = variables(template, survey, launch)
            launch.prompted.pop("extra_vars", None)
            fields = {**{name: template.get(name) for name in FIELDS}, **launch.prompted}
            job = Job(len(self.all) + 1, template, user, fields, values, labels)
            self.all[job.id] = job
            self._threads.append(threading.Thread(target=self._run, args=(job,), daemon=True))
            self._threads[-1].start()
            self._changed.notify_all()
            return 201, {"job": job.id, "ignored_fields": launch.ignored, **job.shown()}

    def rest(self, method: str, segments: list[str], query: dict[str, str], user: dict[str, Any]) -> Answer:
        """Answer a call below ``jobs/``."""
        with self._changed:
            if not segments:
                return self.listed(query, user) if method == "GET" else _not_allowed(method)
            job = self.all.get(int(segments[0])) if segments[0].isdigit() else None
            if job is None:
                return NOT_FOUND
            if not self._may_see(user, job):
                return FORBIDDEN
            if segments[1:] == ["cancel"] and method == "POST":
                return self._cancel(job)
            if method != "GET":
                return _not_allowed(method)
            if segments[1:] == ["stdout"]:
                output = {"range": {"start": 0, "end": len(job.stdout), "absolute_end": len(job.stdout)}}
                return 200, job.stdout if query.get("format") == "txt" else {**output, "content": job.stdout}
            if segments[1:] == ["labels"]:
                return 200, {"count": len(job.labels), "next": None, "previous": None, "results": job.labels}
            return NOT_FOUND if segments[1:] else (200, job.shown())

    def listed(self, query: dict[str, str], user: dict[str, Any], template_id: int | None = None) -> Answer:
        """Answer a list of jobs, of a template or of all; a filter that is not known is refused, as AWX does."""
        with self._changed:
            found = [job for job in self.all.values() if self._may_see(user, job)]
        if template_id is not None:
            found = [job for job in found if job.template["id"] == template_id]
        for name, value in query.items():
            if name == "id__in":
                if not all(part.isdigit() for part in value.split(",")):
                    return 400, {"detail": f"Field 'id' expected a number but got '{value}'."}
                found = [job for job in found if job.id in map(int, value.split(","))]
            elif name == "labels__name":
                found = [job for job in found if value in {label["name"] for label in job.labels}]
            elif name in ("status", "name"):
                found = [job for job in found if job.shown()[name] == value]
            elif name == "order_by":
                found.sort(key=lambda job: job.id, reverse=value.startswith("-"))
            elif name not in ("page", "page_size", "format"):
                return 400, {"detail": f"Job has no field named '{name}'"}
        size, page = int(query.get("page_size", 25)), int(query.get("page", 1))
        part = [job.shown() for job in found[(page - 1) * size : page * size]]
        more = f"/api/v2/jobs/?page={page + 1}" if page * size < len(found) else None
        return 200, {"count": len(found), "next": more, "previous": None, "results": part}

    def _may(self, user: dict[str, Any], template_id: int) -> bool:
        return self._tables.holds(user["id"], "execute_role", "job_templates", template_id)

    def _may_read(self, user: dict[str, Any], label: dict[str, Any]) -> bool:
        return self._tables.holds(user["id"], "read_role", "organizations", label["organization"])

    def _may_see(self, user: dict[str, Any], job: Job) -> bool:
        return job.user["id"] == user["id"] or self._may(user, job.template["id"])

    def _labels(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [label for label in (self._tables.get("labels", number) for number in numbers) if label]

    def _cancel(self, job: Job) -> Answer:
        if job.status in DONE:
            return 405, {"detail": 'Method "POST" not allowed.'}
        job.explanation = "The job was canceled."
        self._end(job, "canceled")
        _kill(job, self._folder)
        return 202, None

    def _run(self, job: Job) -> None:
        """Wait for the turn of a job, and run it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or job.status in DONE or self._has_turn(job))
            if self._closed or job.status in DONE:
                return
            job.started = time.time()
            if self._broken:
                status, job.explanation = self._broken.pop(0)
                self._end(job, status)
                return
            try:
                log = self._begin(job)
            except Exception as error:  # AWX ends a job so too when it cannot prepare it
                job.explanation = f"{type(error).__name__}: {error}"
                self._end(job, "error")
                return
        assert job.process is not None
        code = job.process.wait()
        with self._changed:
            job.stdout = log.read_text(encoding="utf-8", errors="replace")
            if job.status not in DONE:
                self._end(job, "failed" if code else "successful")

    def _begin(self, job: Job) -> Path:
        """Start the playbook of a job, and return the file that its output is in."""
        job.arguments, environment = self._command(job)
        log = self._folder / str(job.id) / "stdout"
        with log.open("wb") as output:
            job.process = subprocess.Popen(
                job.arguments,
                env=environment,
                cwd=self._checkout,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        job.status = "running"
        self._changed.notify_all()
        return log

    def _has_turn(self, job: Job) -> bool:
        """Tell whether no older job of the template is in its way."""
        older = [each for each in self.all.values() if each.template["id"] == job.template["id"] and each.id < job.id]
        return job.template["allow_simultaneous"] or all(each.status in DONE for each in older)

    def _end(self, job: Job, status: str) -> None:
        job.status, job.finished = status, time.time()
        self._changed.notify_all()

    def _command(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """Write the files of a job, and return its command and environment."""
        folder = self._folder / str(job.id)
        folder.mkdir(parents=True)
        injected = Injected()
        for number in self._tables.linked("job_templates", job.template["id"], "credentials"):
            credential = self._tables.get("credentials", number) or {}
            kind = self._tables.get("credential_types", credential["credential_type"]) or {}
            inject(injected, kind, self._tables.secret_inputs(number), folder)
        base = job.template.get("extra_vars") or "{}"
        trusted = yaml.safe_load(base) if isinstance(base, str) else base
        files = [_write(folder / "extravars", {**self._meta(job), **job.variables}, trusted)]
        if injected.variables:
            files.append(_write(folder / "injected", injected.variables, {}))
        command = ["ansible-playbook", "-u", "root", "-i", str(self._inventory)]
        if job.fields["job_type"] == "check":
            command.append("--check")
        for option, name in {"-l": "limit", "-t": "job_tags", "--skip-tags": "skip_tags"}.items():
            if job.fields[name]:
                command += [option, job.fields[name]]
        command += [part for path in files for part in ("-e", f"@{path}")]
        environment = {**self._environment, "JOB_ID": str(job.id), FOLDER: str(folder), **injected.environment}
        return [*command, job.template["playbook"]], environment

    def _meta(self, job: Job) -> dict[str, Any]:
        """Return the variables that AWX adds by itself; those of the launch come over them."""
        inventory = self._tables.get("inventories", job.fields["inventory"]) or {}
        values = {
            "job_id": job.id,
            "job_launch_type": "manual",
            "job_template_id": job.template["id"],
            "job_template_name": job.template["name"],
            "user_id": job.user["id"],
            "user_name": job.user["username"],
            "user_email": "",
            "user_first_name": "",
            "user_last_name": "",
            "inventory_id": inventory.get("id"),
            "inventory_name": inventory.get("name"),
            "project_revision": "",
            "execution_node": "localhost",
        }
        return {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in values.items()}


class _AsText(yaml.SafeDumper):
    """Marks every text as one that Ansible must not take for Jinja."""

    def represent_data(self, data: Any) -> yaml.Node:
        """Return the node of a value."""
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


def _write(path: Path, values: dict[str, Any], trusted: dict[str, Any]) -> Path:
    """Write variables; only those that the template itself sets may have Jinja in them."""
    parts = []
    for name, value in values.items():
        safe = name in trusted and trusted[name] == value
        parts.append(yaml.dump({name: value}, Dumper=yaml.SafeDumper if safe else _AsText, allow_unicode=True))
    path.write_text("".join(parts), encoding="utf-8")
    return path


def _time(at: float | None) -> str | None:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z") if at else None


def _kill(job: Job, folder: Path) -> None:
    """Kill all processes of a job: ansible-playbook's workers are in sessions of their own."""
    mark = f"{FOLDER}={folder}/{job.id}".encode()
    while job.process is not None:
        found = [path for path in Path("/proc").glob("[0-9]*/environ") if mark in _read(path).split(b"\0")]
        for path in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def _read(path: Path) -> bytes:
    """Return the content of a file; nothing when it went away."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _not_allowed(method: str) -> Answer:
    return 405, {"detail": f'Method "{method}" not allowed.'}
