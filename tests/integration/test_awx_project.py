# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkout as AWX uses it as a project: its collection from collections/requirements.yml, playbooks by path."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ansible_collections.watcher.config.tests.ansible_site import BIN, Site, recap
from ansible_collections.watcher.config.tests.checkout import Checkout, files


class Project:
    """A checkout and the collection that AWX has installed from it."""

    def __init__(self, site: Site) -> None:
        """Install as AWX's project updates do it: in the project's folder, the file by its whole path."""
        self.site = site
        self.checkout = Checkout(site.folder)
        self._litter()
        self.collections = self.checkout.install("-r", str(self.checkout.root / "collections" / "requirements.yml"))

    def _litter(self) -> None:
        """Add what people who work in a checkout have there."""
        for name in (".venv/lib/thing.py", ".cache/link/thing.py", "context/_build/thing.py"):
            path = self.checkout.root / name
            path.parent.mkdir(parents=True)
            path.write_text("raise SystemExit\n")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible in the project, as a job does; the caller looks at the return code."""
        environment = {**self.site.environment, "ANSIBLE_COLLECTIONS_PATH": str(self.collections)}
        return subprocess.run(
            [str(BIN / program), "-i", "inventory/watcher.yml", *arguments],
            env=environment,
            cwd=self.checkout.root,
            capture_output=True,
            text=True,
            timeout=self.site.patience,
            check=False,
        )

    def ran(self, program: str, *arguments: str) -> str:
        """Run a program of Ansible, demand success and return what it printed."""
        done = self.run(program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def variables(self, **more: object) -> list[str]:
        """Return the arguments that hand on variables, those of a host on this machine among them."""
        base = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "watcher_state_dir": str(self.site.folder / "state"),
            "watcher_config": str(self.site.folder / "watcher.ini"),  # not this machine's
        }
        return ["-e", json.dumps({**base, **more})]


@pytest.fixture
def project(site: Site) -> Project:
    """Return a project and an empty tree."""
    return Project(site)


def test_installed_offline(project: Project) -> None:
    """The collection installs itself without a network, and takes nothing along that git does not list."""
    installed = files(project.collections)
    assert "plugins/inventory/tree.py" in installed
    assert not [name for name in installed if name.startswith((".", "context/", "collections/", "inventory/"))]
    assert not [name for name in installed if "thing.py" in name]


def test_from_publish_to_status(project: Project) -> None:
    """Publish, inventory, deploy and status by path, with the inventory that AWX reads."""
    content = [{"path": "ngx.conf", "content": "one\n"}]
    publish = project.variables(
        watcher_project="a.com", watcher_hosts=["web01"], watcher_policy=project.site.policy(), watcher_files=content
    )
    project.ran("ansible-playbook", "playbooks/publish.yml", *publish)
    assert "--web01" in project.ran("ansible-inventory", "--graph")

    told = project.ran("ansible-playbook", "playbooks/deploy.yml", "-l", "web01", *project.variables())
    assert recap(told)["web01"]["changed"] == 1
    assert (project.site.out() / "ngx.conf").read_text() == "one\n"
    assert "deployed" in project.ran("ansible-playbook", "playbooks/status.yml", *project.variables())
