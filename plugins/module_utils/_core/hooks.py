# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three commands of a policy, with the environment that the contract promises them."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence

from . import command
from .command import Account
from .errors import DeployError
from .failpoints import reach
from .journal import doing
from .model import CommandResult, Project
from .policy import Policy
from .transaction import staged

MAX_CHANGED = 96 * 1024  # bytes of WATCHER_CHANGED; Linux takes 128 KiB for one variable
SHARED = "/run/watcher"  # for what is staged for an account that cannot enter the state folder; only root writes there


class Hooks:
    """Runs the commands of one deployment and keeps what became of each first run."""

    def __init__(
        self, project: Project, policy: Policy, changed: Sequence[str], account: Account | None = None
    ) -> None:
        """``changed`` are the paths of the deployment, of its removed files too; ``account`` runs the commands."""
        self._project, self._policy, self._account = project, policy, account
        self._environment = {
            "WATCHER_HOST": project.host,
            "WATCHER_PROJECT": project.name,
            "WATCHER_REVISION": str(project.revision),
            "WATCHER_DEPLOY_PATH": policy.deploy_path,
            "WATCHER_CHANGED": _lines(changed),
        }
        self.check = self.before = self.after = CommandResult()

    def run_check(self, folder: str, kept: Iterable[str]) -> None:
        """Stage the project in a folder, with the files that are kept, and run checkCmd on it.

        The folder is another one when an account runs the commands. DeployError when that fails.
        """
        if self._policy.check_cmd and self._project.exists:
            files = {**dict.fromkeys(kept), **self._project.files}
            folder = folder if self._account is None else _shared(folder)
            with staged(folder, self._policy.deploy_path, files):
                if self._account is not None:
                    _hand_over(folder, self._account)
                line = self._policy.check_cmd.replace("%s", shlex.quote(folder))
                reach("check.staged")
                self.check = self._run("checkCmd", line, {"WATCHER_STAGED": folder})
                reach("check.ran")
            _demand(self.check)

    def run_before(self) -> None:
        """Run beforeCmd; DeployError when it fails."""
        self.before = self._run("beforeCmd", self._policy.before_cmd, {})
        _demand(self.before)

    def run_after(self) -> None:
        """Run afterCmd; DeployError when it fails."""
        self.after = self._run("afterCmd", self._policy.after_cmd, {})
        _demand(self.after)

    def run_after_again(self, revision: int) -> CommandResult:
        """Run afterCmd for the files of an older revision that came back."""
        return self._run("afterCmd", self._policy.after_cmd, {"WATCHER_REVISION": str(revision)})

    def _run(self, name: str, line: str, more: Mapping[str, str]) -> CommandResult:
        environment = {**self._environment, **more}
        return command.run(name, line, self._policy.cmd_timeout, environment, self._account)


def _demand(result: CommandResult) -> None:
    if result.problem:
        raise DeployError(result.problem)


def unstage(folder: str) -> None:
    """Remove what a process that was killed has left of a folder for checkCmd, wherever it was staged."""
    for path in (folder, _twin(folder)):
        shutil.rmtree(path, ignore_errors=True)


def _twin(folder: str) -> str:
    return f"{SHARED}/{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}"


def _shared(folder: str) -> str:
    """Return the folder to use instead of one that only root can reach.

    It is the same one each time, so that what a process that was killed has left there is found.
    """
    with doing(f"cannot make folder {SHARED}"):
        os.makedirs(SHARED, exist_ok=True)
        os.chmod(SHARED, 0o711)  # noqa: S103 (to be passed through, not listed)
    return _twin(folder)


def _hand_over(folder: str, account: Account) -> None:
    """Make a folder an account's; the outermost comes last, so that nobody is in it while the rest is done."""
    with doing(f"cannot give {folder} to user {account.name}"):
        for above, _folders, files in os.walk(folder, topdown=False):
            for path in [os.path.join(above, name) for name in files] + [above]:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _lines(paths: Sequence[str]) -> str:
    """Return as many paths as fit into a variable, one a line."""
    text = "\n".join(paths).encode("utf-8")
    return (text if len(text) <= MAX_CHANGED else text[:MAX_CHANGED].rpartition(b"\n")[0]).decode("utf-8")
