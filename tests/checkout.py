# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fresh checkout in a folder, and ansible-galaxy and ansible-builder in it, without any network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import collection_tree

from ansible_collections.watcher.config.tests.ansible_site import BIN

NOWHERE = "http://127.0.0.1:9"  # nobody listens there
INSIDE = Path("ansible_collections", "watcher", "config")


class Checkout:
    """The files that git lists, as somebody has them who clones the repository."""

    def __init__(self, folder: Path) -> None:
        """Copy them to ``folder/checkout``."""
        self.folder = folder
        self.root = folder / "checkout"
        collection_tree.put(self.root, collection_tree.listed())

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment without collections, in which each request to a network fails."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "HOME": str(self.folder),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_GALAXY_SERVER": NOWHERE,
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command in the checkout, or in ``cwd``, demand success and return what it printed."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=cwd or self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *what: str, cwd: Path | None = None) -> Path:
        """Install a collection with ansible-galaxy and return the folder that holds ``ansible_collections``."""
        into = self.folder / "collections"
        self.run("ansible-galaxy", "collection", "install", "-p", str(into), *what, cwd=cwd)
        return into

    def build(self) -> Path:
        """Build the collection and return the tarball."""
        self.run("ansible-galaxy", "collection", "build", "--output-path", str(self.folder))
        (tarball,) = self.folder.glob("watcher-config-*.tar.gz")
        return tarball


def files(collections: Path) -> set[str]:
    """Return the names of the files of the installed collection."""
    root = collections / INSIDE
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
