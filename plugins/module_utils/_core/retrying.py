# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``watcher retry``: try what failed now, by the agent where one runs, else as ``watcher once`` does."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterable, Sequence

from .console import agent_of, say, settings_of
from .errors import DeployError, InvalidError
from .exits import ILL, WELL
from .keys import check_name
from .ledger import State
from .settings import Settings
from .standing import Standing, agent, standings
from .wishes import SIGNAL, Wishes, listens

FAILED = ("failed", "rolledBack", "deploying", "interrupted", "owed", "pending", "unreadable")  # a try may mend them
TICK = 0.05  # seconds between two looks whether the agent has tried


def retry(options: argparse.Namespace) -> int:
    """Try the named projects, or all that failed, and say what came of it; return the exit code.

    Raise InvalidError for a project that nobody knows, DeployError when the agent cannot be asked, and
    UnavailableError when there is no agent and etcd is away.
    """
    names = sorted({check_name("project", name) for name in options.names})
    settings = settings_of(options)
    before = _standings(settings)
    pid = agent(settings.state_dir)
    if pid is None:
        raise DeployError(f"whether an agent serves {settings.state_dir} cannot be told; run this as root")
    chosen = [name for name in names or before if name not in before or before[name].state in FAILED]
    unknown = [name for name in chosen if name not in before]
    if unknown and pid:
        _refuse(settings, unknown)
    if chosen and pid:
        _ask(settings, chosen, pid)
    elif chosen:
        _try(settings, chosen)
    return _said(settings, before, names or chosen, chosen)


def _standings(settings: Settings) -> dict[str, Standing]:
    return {project.project: project for project in standings(State(settings.state_dir), settings.host)}


def _refuse(settings: Settings, unknown: Iterable[str]) -> None:
    raise InvalidError(
        f"host {settings.host} has no project {', '.join(unknown)}; `watcher status` lists those that it has"
    )


def _ask(settings: Settings, names: Sequence[str], pid: int) -> None:
    """Have the agent try projects, and return when it has."""
    if not listens(pid):
        raise DeployError(
            f"process {pid}, which holds {settings.state_dir}, takes no wishes: wait for the end of the command that"
            " it runs, or restart the agent if it is of an older version"
        )
    files = Wishes(settings.state_dir).ask(names)
    try:
        os.kill(pid, SIGNAL)
        while any(os.path.exists(file) for file in files):
            if agent(settings.state_dir) != pid:
                raise DeployError(f"the agent (process {pid}) has ended meanwhile; its next start tries everything")
            time.sleep(TICK)
    except (PermissionError, ProcessLookupError) as error:
        raise DeployError(f"the agent (process {pid}) cannot be asked: {error.strerror}; run this as root") from error
    finally:
        for file in files:
            with contextlib.suppress(OSError):  # the agent has removed it
                os.unlink(file)


def _try(settings: Settings, names: Sequence[str]) -> None:
    """Try projects without an agent."""
    alone = agent_of(settings)
    try:
        outcomes = alone.once(names)
    finally:
        alone.close()
    known = {outcome.project for outcome in outcomes if outcome.state != "unknown"}
    unknown = [name for name in names if name not in known]
    if unknown:
        _refuse(settings, unknown)


def _said(settings: Settings, before: dict[str, Standing], names: Sequence[str], tried: Sequence[str]) -> int:
    """Say how projects stand now; return the exit code."""
    if not names:
        say(f"host {settings.host}: no project has failed; there is nothing to try")
        return WELL
    after = _standings(settings)
    code = WELL
    for name in names:
        project = after.get(name, Standing(name, "empty"))
        said = "" if name in tried else ", nothing to try" if project.settled else ", which a try does not change"
        if name in tried and project == before.get(name):
            said = ", not tried: the log says why"
        if not project.settled:
            code = ILL
            said += f"; attempts: {project.attempts}" if project.attempts else ""
            said += f"; next try {project.due}" if project.due else ""
            said += f"; {project.msg}" if project.msg else ""
        say(f"{name}: {project.state} at revision {project.revision}{said}")
    return code
