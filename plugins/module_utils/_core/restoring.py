# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands ``backups`` and ``restore``; an agent may serve the host meanwhile, and the tree may be away."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial

from . import VERSION
from .console import say
from .exits import ILL, WELL
from .host import backups_of
from .ledger import SPOOL, State
from .model import Outcome
from .overview import aligned
from .restore import Restored, fetched
from .restore import restore as put_back
from .settings import Settings

HEADER = ("PROJECT", "FILE", "TIME", "REVISION", "BYTES", "BACKUP")
COLUMNS = ("project", "file", "time", "revision", "size", "name")  # what is below them


def backups(options: argparse.Namespace) -> int:
    """List the backups of the host, of a project or of a file."""
    settings = Settings.load(options.config)
    state = State(settings.state_dir)
    project, file = (*options.names, "", "")[:2]
    found = backups_of(state, settings.host, [project] if project else None, file)
    if options.json:
        say(json.dumps({"host": settings.host, "backups": found}, indent=2))
        return WELL
    rows = [[str(item[name]) for name in COLUMNS] for item in found]
    for line in aligned([HEADER, *rows]) if rows else [f"host {settings.host}: there are no such backups"]:
        say(line)
    return WELL


def restore(options: argparse.Namespace) -> int:
    """Put a backup back, or publish it."""
    settings = Settings.load(options.config)
    state = State(settings.state_dir)
    project, file, name = (*options.names, "")[:3]
    if options.publish:
        return _publish(settings, state, project, file, name)
    restored = put_back(state, settings.host, project, file, name, rules=settings.rules, remember=True)
    outcome = restored.outcome
    say(f"{project}: {_told(outcome, file)}; backup {restored.backup.name}{_message(outcome)}")
    for problem in _tell(settings, state, restored):
        say(problem)
    return ILL if outcome.failed else WELL


def _told(outcome: Outcome, file: str) -> str:
    """Return what was done in few words."""
    at = f"{outcome.state} at revision {outcome.wanted_revision}"
    if not outcome.ran and not outcome.failed:
        return f"{at}, nothing to do: {file} is what the backup holds"
    return at + "".join(f": {change.action} {change.path}" for change in outcome.changes)


def _message(outcome: Outcome) -> str:
    from .preview import brief

    said = brief(outcome)
    return f"; {said}" if said else ""


def _tell(settings: Settings, state: State, restored: Restored) -> list[str]:
    """Tell others; the agent, should one run, does not know of it."""
    outcome = restored.outcome
    if not outcome.ran and not outcome.failed and not restored.standing:
        return []
    from .etcd import connect
    from .keys import Tree
    from .restored import tell
    from .spool import Spool

    store = connect(settings.connection)
    try:
        tree, spool = Tree(settings.connection.prefix), Spool(os.path.join(settings.state_dir, SPOOL))
        told = partial(state.told, outcome.project, outcome)
        return tell(store, tree, restored, spool, by="agent", version=VERSION, told=told)
    finally:
        store.close()


def _publish(settings: Settings, state: State, project: str, file: str, name: str) -> int:
    """Write the content of a backup into the tree."""
    from .etcd import connect
    from .keys import Tree
    from .policy import MAX_VALUE
    from .restored import publish_backup

    backup, content = fetched(state, settings.host, project, file, name, MAX_VALUE)
    store = connect(settings.connection)
    try:
        tree = Tree(settings.connection.prefix)
        published = publish_backup(store, tree, settings.host, project, file, content)
    finally:
        store.close()
    word = "published" if published.changed else "is what the tree holds already,"
    say(f"{project}: {file} {word} at revision {published.revision}; backup {backup.name}")
    return WELL
