# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``doctor``: everything that an operator would look at first, each line with what to do about it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence

from . import outside, standing
from .checkup import unfit_certificates
from .errors import DeployError, StoreError, WatcherError
from .etcd import connect
from .finding import FAIL, OK, WARN, Finding
from .keys import Tree
from .ledger import SPOOL, State
from .policy import Policy
from .probes import probe_all
from .room import look_at, user
from .settings import Settings
from .snapshot import projects
from .spool import Letter, anonymous
from .standing import Standing

OLD_CALLBACK = 600.0  # seconds after which a callback that nobody takes is a warning
HOURS, MINUTES = 3600.0, 60.0


class Doctor:
    """Looks at one host, as the agent there sees it where one runs."""

    def __init__(self, settings: Settings) -> None:
        """Look at nothing yet but for the agent."""
        self._settings = settings
        self._pid = standing.agent(settings.state_dir)
        root = f"/proc/{self._pid}/root"
        self._view = root if self._pid and os.access(f"{root}/", os.X_OK) else ""
        self._policies: Mapping[str, Policy] = {}  # of the tree, by project

    def examine(self) -> Iterator[Finding]:
        """Yield what is right and wrong, as much of it as possible also while etcd is away and no agent runs."""
        yield from self._configuration()
        yield self._agent()
        yield from self._etcd()
        yield from self._state_folder()
        yield from self._projects()
        yield from self._callbacks()
        yield self._log()

    def _configuration(self) -> Iterator[Finding]:
        """Yield what is to be said of the INI file and of what it names."""
        settings = self._settings
        yield Finding(OK, "configuration", f"{settings.path} is valid, this is host {settings.host}")
        for warning in settings.warnings:
            yield Finding(WARN, "configuration", warning)
        yield from _kept(settings.path, "decides what runs on this host", 0)  # its mode is worth a warning above
        if settings.connection.client_key:
            yield from _kept(settings.connection.client_key, "is secret", 0o077)
        try:
            account = settings.rules.account()
            name = account.name if account is not None else user(os.geteuid())
            yield Finding(OK, "run_as", f"commands run as {name}")
        except WatcherError as error:
            yield Finding(FAIL, "run_as", str(error))

    def _agent(self) -> Finding:
        folder = self._settings.state_dir
        if self._pid is None:
            return Finding(WARN, "agent", f"whether one serves {folder} cannot be told: run this as root")
        if not self._pid:
            return Finding(FAIL, "agent", f"none serves {folder}: start it, such as with: systemctl start watcher")
        return Finding(OK, "agent", f"process {self._pid} serves {folder}")

    def _etcd(self) -> Iterator[Finding]:
        """Yield what is to be said of the connection, and take the policies of the tree."""
        settings = self._settings
        unfit = unfit_certificates(settings.connection)
        if unfit is not None:
            yield unfit
            return
        tree = Tree(settings.connection.prefix)
        prefix = tree.host(settings.host)
        probes = probe_all(settings.connection, prefix)
        yield from outside.endpoints(probes)
        yield from outside.clock(probes)
        if all(probe.problem for probe in probes):
            return
        store = connect(settings.connection)
        try:
            found = projects(tree, store.list(prefix)).items()
            self._policies = {name: project.policy for (_host, name), project in found if project.policy}
            yield outside.registration(store, tree.agent(settings.host), self._pid)
        except StoreError as error:
            yield Finding(FAIL, "etcd", str(error))
        finally:
            store.close()

    def _state_folder(self) -> Iterator[Finding]:
        folder = self._settings.state_dir
        try:
            status = os.stat(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            yield Finding(FAIL, "state folder", f"{folder} cannot be looked at: {error.strerror}")
            return
        else:
            mode, owner = stat.S_IMODE(status.st_mode), user(status.st_uid)
            if mode & 0o077:
                yield Finding(WARN, "state folder", f"{folder} has mode {mode:04o}: chmod 0700 {folder}")
            if status.st_uid != os.geteuid():
                yield Finding(WARN, "state folder", f"{folder} belongs to {owner}: run this and the agent as {owner}")
        yield look_at("state folder", folder, self._view)

    def _projects(self) -> Iterator[Finding]:
        """Yield how each project stands, and what is to be said of the folders that deployments write to."""
        try:
            known = standing.standings(State(self._settings.state_dir), self._settings.host)
        except DeployError as error:
            yield Finding(FAIL, "state folder", str(error))
            known = []
        yield from map(_stands, (project for project in known if not project.settled))
        settled = sum(project.settled for project in known)
        if settled:
            yield Finding(OK, "projects", f"{settled} of {len(known)} that this host remembers are settled")
        yield from self._roots()
        yield from self._places(known)

    def _roots(self) -> Iterator[Finding]:
        roots = self._settings.rules.roots
        if roots is None:
            yield Finding(OK, "deploy roots", "policies may deploy anywhere")
        elif not roots:
            yield Finding(WARN, "deploy roots", "there are none, so nothing is deployed: name some in [security]")
        for root in roots or ():
            yield look_at("deploy root", root, self._view)

    def _places(self, known: Sequence[Standing]) -> Iterator[Finding]:
        """Yield what is to be said of the folders of projects, by this host's memory and by the tree."""
        troubled = {project.project for project in known if not project.settled}
        places = {path: project.project for project in known for path in (project.deploy_path, project.backup_dir)}
        for name, policy in self._policies.items():
            try:
                self._settings.rules.check(policy, f"host {self._settings.host}, project {name}")
            except DeployError as error:
                if name not in troubled:
                    yield Finding(FAIL, f"project {name}", str(error))  # no agent has come to it yet
            else:
                places.update(dict.fromkeys((policy.deploy_path, policy.backup_dir), name))
        for path, name in sorted(places.items()):
            if path:
                yield look_at(f"project {name}", path, self._view)

    def _callbacks(self) -> Iterator[Finding]:
        """Yield what waits to be taken; nothing of it is touched."""
        folder = os.path.join(self._settings.state_dir, SPOOL)
        try:
            letters, bad = _letters(folder)
        except FileNotFoundError:
            letters, bad = [], 0
        except OSError as error:
            yield Finding(FAIL, "callbacks", f"{folder} cannot be read: {error.strerror}")
            return
        if bad:
            yield Finding(WARN, "callbacks", f"{bad} files of {folder} are none: remove them")
        yield _waiting(letters)

    def _log(self) -> Finding:
        logs = self._settings.logs
        if logs is None or not logs.folder:
            return Finding(OK, "log", "goes to standard error only")
        try:  # a relative path is the agent's
            base = os.readlink(f"/proc/{self._pid}/cwd") if self._view else os.getcwd()
        except OSError:  # it has just ended
            base = os.getcwd()
        return look_at("log", os.path.normpath(os.path.join(os.path.realpath(base), logs.folder)), self._view)


def _kept(path: str, why: str, mask: int) -> Iterator[Finding]:
    """Yield what is wrong with owner and mode of a file that was there a moment ago."""
    try:
        status = os.stat(path)
    except OSError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & mask:
        yield Finding(FAIL, "configuration", f"{path} {why} and has mode {mode:04o}: chmod {mode & ~mask:04o} {path}")
    if status.st_uid not in (0, os.geteuid()):
        yield Finding(FAIL, "configuration", f"{path} {why} and belongs to {user(status.st_uid)}: chown root {path}")


def _stands(project: Standing) -> Finding:
    level = FAIL if project.state in ("failed", "unreadable") else WARN
    since = f" since {project.since}" if project.since else ""
    tries = f", attempts: {project.attempts}" if project.attempts else ""
    revisions = f"revision {project.observed} is seen, {project.revision} applied"
    text = f"{project.state}{since}{tries}; {revisions}" if project.state != "unreadable" else project.state
    return Finding(level, f"project {project.project}", f"{text}; {project.msg}" if project.msg else text)


def _letters(folder: str) -> tuple[list[Letter], int]:
    """Return the callbacks of a spool, and how many of its files are none."""
    letters, bad = [], 0
    for name in sorted(name for name in os.listdir(folder) if name.endswith((".json", ".bad"))):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as stream:
                letters.append(Letter.parse(stream.read()))
        except FileNotFoundError:  # it was taken meanwhile
            continue
        except (ValueError, TypeError, RecursionError):
            bad += 1
    return letters, bad


def _waiting(letters: Sequence[Letter]) -> Finding:
    """Return what is to be said of callbacks that nobody has taken yet."""
    letters = [letter for letter in letters if letter.url]
    if not letters:
        return Finding(OK, "callbacks", "none waits to be taken")
    oldest = min(letters, key=lambda letter: letter.written)
    age = max(0.0, time.time() - oldest.written)
    last = max(letters, key=lambda letter: (bool(letter.problem), letter.written))
    why = f"; {anonymous(last.url)} said: {last.problem}" if last.problem else ""
    text = f"{len(letters)} wait, the oldest for {_span(age)}{why}"
    return Finding(WARN if age > OLD_CALLBACK else OK, "callbacks", text)


def _span(seconds: float) -> str:
    if seconds >= HOURS:
        return f"{seconds / HOURS:.1f} hours"
    return f"{seconds / MINUTES:.0f} minutes" if seconds >= MINUTES else f"{seconds:.0f} s"
