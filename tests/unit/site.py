# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a folder: state, deploy path, backups, and a log that commands write to."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.apply import deploy, deploy_part
from ansible_collections.watcher.config.plugins.module_utils._core.ledger import State
from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Ledger, Outcome, Project
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules


def tree(folder: Path) -> dict[str, Any]:
    """Return all that is below a folder: content and mode of files, targets of links, modes of folders."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = mode
        elif path.is_file():
            found[name] = (path.read_bytes(), mode)
        else:
            found[name] = "special"
    return found


def forked(act: Callable[[], object]) -> int:
    """Let another process act, and return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            act()
            code = 0
        finally:
            os._exit(code)  # no second pytest
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def unprivileged(act: Callable[[], object]) -> None:
    """Act as a user who is not root: as nobody, in another process, when this one is root."""
    if os.geteuid() != 0:
        act()
        return

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        act()

    assert forked(become_nobody) == 0


def let_in(folder: Path) -> None:
    """Let other users through to a folder of a test, past pytest's own folders, which are root's alone."""
    for path in (folder, *folder.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o711)


class Site:
    """Deploys projects of host web01 below a folder."""

    def __init__(self, folder: Path) -> None:
        """Use the folder."""
        self.folder = folder
        self.root = folder / "deploy"
        self.backups = folder / "backups"
        self.log = folder / "log"
        self.state = State(str(folder / "state"))
        self.revision = 10

    def policy(self, **fields: Any) -> Policy:
        """Return a policy that deploys to ``root``, with these of the contract's fields."""
        return Policy.from_data({"deployPath": str(self.root), **fields}, "test")

    def project(
        self, files: Mapping[str, bytes] | None, *, name: str = "a.com", revision: int = 0, **fields: Any
    ) -> Project:
        """Return the tree's word at the next revision; without files the project is gone."""
        self.revision = revision or self.revision + 1
        if files is None:
            return Project("web01", name, self.revision, 1)
        wanted = {path: File.of(content) for path, content in files.items()}
        return Project("web01", name, self.revision, 1, self.policy(**fields), files=wanted, newest=self.revision)

    def deploy(
        self,
        files: Mapping[str, bytes] | None,
        *,
        name: str = "a.com",
        revision: int = 0,
        evidence: Evidence | None = None,
        check: bool = False,
        diff: bool = False,
        rules: Rules | None = None,
        remember: bool = False,
        retry: bool = False,
        **fields: Any,
    ) -> Outcome:
        """Deploy these files by a policy with these fields."""
        project = self.project(files, name=name, revision=revision, **fields)
        options: dict[str, Any] = {"check": check, "diff": diff, "rules": rules, "remember": remember, "retry": retry}
        return deploy(project, self.state, evidence=evidence, **options)

    def part(
        self,
        files: Mapping[str, bytes],
        gone: Collection[str] = (),
        *,
        name: str = "a.com",
        revision: int = 0,
        rules: Rules | None = None,
        remember: bool = False,
        **fields: Any,
    ) -> Outcome | None:
        """Deploy only these changed files, and the removal of those that are gone."""
        project = self.project(files, name=name, revision=revision, **fields)
        return deploy_part(project, {*files, *gone}, self.state, rules=rules, remember=remember)

    def ledger(self, name: str = "a.com") -> Ledger:
        """Return what the host remembers."""
        return self.state.load("web01", name)

    def logged(self) -> list[str]:
        """Return the lines that commands wrote, and forget them."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def say(self, text: str) -> str:
        """Return a command that writes a line of the log; the shell expands it."""
        return f'echo "{text}" >>{self.log}'

    def temporaries(self) -> list[Path]:
        """Return the temporary files that are left anywhere."""
        return [path for path in self.folder.rglob("*") if ".watcher-" in path.name or path.name == "staged"]

    def saved(self) -> dict[str, bytes]:
        """Return the backups by the path that they are of and their revision."""
        found = {}
        for path in sorted(self.backups.rglob("*_watcherbackup_*")):
            name, _unused, rest = str(path.relative_to(self.backups)).rpartition("_watcherbackup_")
            found[f"{name}@{rest.rpartition('_')[2]}"] = path.read_bytes()
        return found
