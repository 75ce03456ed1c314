# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels from the controller to a host: projects, and those contents that the host needs."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InvalidError
from .keys import check_name, check_path
from .model import File, Project, sha256
from .plan import Evidence
from .policy import DIGEST, Policy


@dataclass(frozen=True)
class Parcel:
    """The tree's word on the projects of one host, at one revision.

    ``names`` are the projects that it speaks of; None means all: a project that the host has
    and the parcel lacks is then gone from the tree.
    """

    host: str
    revision: int
    cluster_id: int
    projects: Sequence[Project] = ()
    names: Sequence[str] | None = None
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    confirmed: bool = False  # an operator said that what is missing shall go

    def evidence_of(self, project: str) -> Evidence:
        """Return what is known about a project's missing files."""
        return replace(self.evidence.get(project, Evidence()), confirmed=self.confirmed)

    def speaks_of(self, project: str) -> bool:
        """Return whether the parcel says something of a project, be it that it is gone."""
        return self.names is None or project in self.names


def pack(parcel: Parcel) -> bytes:
    """Return a parcel as one opaque text, so that nothing of it shows in a log by chance."""
    data = {
        "host": parcel.host,
        "revision": parcel.revision,
        "cluster": parcel.cluster_id,
        "names": parcel.names,
        "projects": [_project_data(project) for project in parcel.projects],
        "evidence": {
            name: [sorted(evidence.with_policy), evidence.reread] for name, evidence in parcel.evidence.items()
        },
        "confirmed": parcel.confirmed,
    }
    return base64.b64encode(zlib.compress(json.dumps(data).encode("utf-8"), 1))


def _project_data(project: Project) -> dict[str, Any]:
    policy = project.policy
    return {
        "name": project.name,
        "policy": None if policy is None else {**policy.to_data(), **_manifest(policy)},
        "policy_error": project.policy_error,
        "files": {path: _file_data(file) for path, file in project.files.items()},
        "rejected": dict(project.rejected),
        "kept": sorted(project.kept),
        "newest": project.newest,
        "published": project.published,
        "render_error": project.render_error,
    }


def _manifest(policy: Policy) -> dict[str, Any]:
    return {} if policy.files is None else {"files": dict(policy.files)}


def _file_data(file: File) -> list[Any]:
    content = None if file.content is None else base64.b64encode(file.content).decode("ascii")
    return [file.digest, file.size, content]


def unpack(data: bytes) -> Parcel:
    """Return the parcel; raise InvalidError when it is damaged or breaks the contract."""
    try:
        raw = json.loads(zlib.decompress(base64.b64decode(data, validate=True)))
        origin = (check_name("host", raw["host"]), int(raw["revision"]), int(raw["cluster"]))
        projects = [_project(origin, item) for item in raw["projects"]]
        evidence = {
            name: Evidence(with_policy=frozenset(paths), reread=reread)
            for name, (paths, reread) in raw["evidence"].items()
        }
        return Parcel(*origin, projects, raw["names"], evidence, raw["confirmed"])
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise InvalidError(f"what the controller sent is damaged or of another version: {error!r}") from error


def _project(origin: tuple[str, int, int], raw: Mapping[str, Any]) -> Project:
    host, revision, cluster_id = origin
    name = check_name("project", raw["name"])
    policy = raw["policy"]
    return Project(
        host,
        name,
        revision,
        cluster_id,
        None if policy is None else Policy.from_data(policy, f"host {host}, project {name}"),
        raw["policy_error"],
        {check_path(path): _file(path, *item) for path, item in raw["files"].items()},
        raw["rejected"],
        frozenset(raw["kept"]),
        newest=int(raw["newest"]),
        published=_published(raw["published"]),
        render_error=_text(raw["render_error"]),
    )


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _published(digest: str) -> str:
    if _text(digest) and not DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest")
    return digest


def _file(path: str, digest: str, size: int, encoded: str | None) -> File:
    content = None if encoded is None else base64.b64decode(encoded)
    if content is not None and sha256(content) != digest:
        raise ValueError(f"file {path!r} arrived with another content")
    return File(digest, size, content)
