# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host decides: what a policy may deploy to and run here (contract, section 7, ``[security]``)."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import NoReturn

from .command import Account
from .errors import DeployError
from .policy import Policy

SET_ID = 0o6000


@dataclass(frozen=True)
class Rules:
    """What a host allows; None is anything.

    Folders are compared after resolving links, at the time of `check`. What is between the deploy
    path and a file is not looked at here: `disk` follows no link there. A local user who may write
    in a folder *above* a deploy path can still put a link in its place after the check, so roots
    belong below folders of root's own.
    """

    roots: tuple[str, ...] | None = None
    commands: tuple[str, ...] | None = None
    run_as: str = ""  # a user's name or number; empty: the one that we are
    source: str = ""  # the file that says so

    def check(self, policy: Policy, where: str) -> None:
        """Raise DeployError, beginning with ``where``, that says what a policy asks for and what is allowed."""
        for name, path in (("deployPath", policy.deploy_path), ("backupDir", policy.backup_dir)):
            if path:
                self._check_path(name, path, where)
        if self.roots is not None and policy.mode is not None and policy.mode & SET_ID:
            asked = f"policy field mode asks for {policy.mode:04o}"
            self._refuse(where, f"{asked}, which sets the user or group id", "deploy_roots", ("modes up to 1777",))
        for name, command in policy.commands.items():
            if self.commands is not None and command.strip() and command.strip() not in self.commands:
                self._refuse(where, f"policy field {name} asks for {command.strip()!r}", "commands", self.commands)

    def _check_path(self, name: str, path: str, where: str) -> None:
        if self.roots is None:
            return
        real = os.path.realpath(path)
        if not any(is_below(real, os.path.realpath(root)) for root in self.roots):
            led = f", which leads to {real!r}" if real != path else ""
            allowed = tuple(f"{root} and below" for root in self.roots)
            self._refuse(where, f"policy field {name} asks for {path!r}{led}", "deploy_roots", allowed)

    def _refuse(self, where: str, asked: str, name: str, allowed: tuple[str, ...]) -> NoReturn:
        source = f" of {self.source}" if self.source else ""
        raise DeployError(
            f"{where}: {asked}; this host allows {', '.join(allowed) or 'none'} ({name} in [security]{source})"
        )

    def account(self) -> Account | None:
        """Return whom commands run as; None when that is who we are.

        Raise DeployError when this host has no such user, or when we may not become it.
        """
        if not self.run_as:
            return None
        user = find_user(self.run_as)
        source = f" in [security] of {self.source}" if self.source else " in [security]"
        if user is None:
            raise DeployError(f"this host has no user {self.run_as!r} (run_as{source}): add the user or name another")
        if user.pw_uid == os.geteuid():
            return None
        if os.geteuid() != 0:
            mine = find_user(str(os.geteuid()))
            raise DeployError(
                f"commands are to run as {self.run_as!r} (run_as{source}), which only root can arrange:"
                f" run this as root or as {self.run_as!r}, not as {mine.pw_name if mine else os.geteuid()!r}"
            )
        groups = tuple(os.getgrouplist(user.pw_name, user.pw_gid))
        return Account(user.pw_name, user.pw_uid, user.pw_gid, groups, user.pw_dir or "/", user.pw_shell or "/bin/sh")


def is_below(path: str, root: str) -> bool:
    """Return whether a path is a root or below it, by their names."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def find_user(name: str) -> pwd.struct_passwd | None:
    """Return the user with a name or number; None when this host has none."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None
