# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller with the collection awx.awx that sets a stand-in of AWX up."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.tests.ansible_site import ROOT, Site, recap
from ansible_collections.watcher.config.tests.awx.client import Client
from ansible_collections.watcher.config.tests.awx.server import AwxServer
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

PLAYBOOK = "watcher.config.awx"


@functools.cache
def collections() -> str:
    """Return the folder that has awx.awx, which is fetched once."""
    tool = str(ROOT / "tools" / "awx_collection.py")
    return subprocess.run([sys.executable, tool], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class SetUp(Site):
    """Runs the playbook awx against a stand-in whose jobs get everything about etcd from the credential."""

    patience = 300.0  # seconds; a run starts some 15 modules

    def __init__(self, folder: Path, etcd: EtcdServer, **variables: Any) -> None:
        """Start nothing; ``variables`` are those of the playbook."""
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, "", ["web01"])
        self.awx = AwxServer(folder / "awx", inventory=self.inventory, environment=self.environment)
        self.with_awx = True
        self.first: dict[str, int] = {}  # the recap of the first run
        self.output = ""  # all that it said
        self.variables = {
            "awx_project_url": "https://git.example.com/watcher.git",
            "awx_execution_environment_image": "registry.example.com/watcher-ee:1",
            "watcher_endpoints": [etcd.endpoint],
            **variables,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a controller that knows where AWX is; once its folder has awx.awx, that too."""
        given = super().environment
        if "awx" in self.__dict__:
            more = {"CONTROLLER_HOST": self.awx.url, "CONTROLLER_OAUTH_TOKEN": self.awx.token}
            path = [given["ANSIBLE_COLLECTIONS_PATH"], *([collections()] if self.with_awx else [])]
            given |= {**more, "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(path)}
        return given

    def set_up(self, *arguments: str, **variables: Any) -> dict[str, int]:
        """Run the playbook, demand success and return localhost's recap."""
        return recap(self.said(*arguments, **variables))["localhost"]

    def said(self, *arguments: str, **variables: Any) -> str:
        """Run the playbook, demand success and return all that it said."""
        done = self.play(PLAYBOOK, *arguments, **{**self.variables, **variables})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refused(self, *arguments: str, **variables: Any) -> str:
        """Run the playbook, demand that it fails and return all that it said."""
        done = self.play(PLAYBOOK, *arguments, **{**self.variables, **variables})
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def machine(self, name: str) -> None:
        """Make a credential by which jobs get in to hosts."""
        tables = self.awx.tables
        kind = tables.one("credential_types", name="Machine")["id"]
        organization = tables.one("organizations", name="Default")["id"]
        tables.add("credentials", name=name, organization=organization, credential_type=kind)

    def client(self, user: str) -> Client:
        """Return a user's client."""
        return Client(self.awx.url, self.awx.token_of(user))

    def launch(self, user: str, template: str, **body: Any) -> tuple[dict[str, Any], str]:
        """Launch a job template; return the answer once the job has succeeded, and the job's output."""
        client = self.client(user)
        number = self.awx.tables.one("job_templates", name=template)["id"]
        status, answer = client.call("POST", f"job_templates/{number}/launch/", body)
        assert status == 201, answer
        ended = client.ended(answer)
        output = client.call("GET", f"jobs/{answer['id']}/stdout/?format=txt")[1]
        assert ended["status"] == "successful", f"{ended}\n{output}"
        return answer, output
