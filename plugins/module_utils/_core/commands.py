# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of the command line do; each returns its exit code and raises WatcherError."""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Callable

from . import standing
from .console import agent_of, say, settings_of
from .exits import ILL, KILLED, WELL
from .finding import Finding, exit_code
from .ledger import State
from .settings import Settings
from .wishes import SIGNAL as RETRY

if TYPE_CHECKING:  # what few commands need is loaded by them: status is asked for often
    from .agent import Agent

logger = logging.getLogger(__name__)


def _run(options: argparse.Namespace) -> int:
    agent = agent_of(settings_of(options), dry_run=options.dry_run)
    stop = threading.Event()
    try:
        _heed_signals(agent, stop)
        return agent.run(stop)
    finally:
        agent.close()


def _heed_signals(agent: Agent, stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT set ``stop``, and end the process the second time.

    SIGHUP compares everything; SIGUSR1 tries what `watcher retry` has asked for.
    A thread acts on them: a handler may interrupt the very code whose locks it would need.
    """
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    wishes: dict[int, Callable[[], None]] = {signal.SIGHUP: agent.compare, RETRY: agent.retry}

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.put(number)  # which may be done at any point of a program

    def act() -> None:
        while True:
            number = arrived.get()
            if number in wishes:
                try:
                    wishes[number]()
                except Exception:  # whatever it is: who asks for the end must still be heard
                    logger.exception("an error of this program; nothing was done")
            elif stop.is_set():
                os._exit(KILLED + number)
            else:
                stop.set()

    threading.Thread(target=act, name="watcher-signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, *wishes):
        signal.signal(number, note)


def _once(options: argparse.Namespace) -> int:
    if options.dry_run:
        return _previews(settings_of(options))
    agent = agent_of(settings_of(options), dry_run=options.dry_run)
    try:
        outcomes = agent.once()
    finally:
        agent.close()
    from .preview import brief, files

    for outcome in outcomes:
        where = f"{outcome.project}: {outcome.state} at revision {outcome.wanted_revision}"
        said = brief(outcome)
        say(where + files(outcome) + (f"; {said}" if said else ""))
    return WELL if all(outcome.settled for outcome in outcomes) else ILL


def _previews(settings: Settings) -> int:
    """Say what a deployment of each project would do."""
    from .etcd import connect
    from .keys import Tree
    from .preview import previews

    store = connect(settings.connection)
    try:
        listing = store.list(Tree(settings.connection.prefix).host(settings.host))
        found = previews(settings, store, listing)
    finally:
        store.close()
    for preview in found:
        say(f"{preview.project}: {preview}")
    return WELL if all(preview.good for preview in found) else ILL


def _check(options: argparse.Namespace) -> int:
    from .checkup import check

    return exit_code(_said(check(Settings.load(options.config))))


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import Doctor

    findings = _said(Doctor(Settings.load(options.config)).examine())
    return ILL if exit_code(findings) else WELL


def _said(findings: Iterable[Finding]) -> list[Finding]:
    """Print findings as they come, and return them."""
    found = []
    for finding in findings:
        say(str(finding))
        found.append(finding)
    return found


def _status(options: argparse.Namespace) -> int:
    settings = Settings.load(options.config)
    state = State(settings.state_dir)
    projects = standing.standings(state, settings.host)
    pid, callbacks = standing.agent(settings.state_dir), standing.callbacks(settings.state_dir)
    if options.json:
        data = {
            "host": settings.host,
            "stateDir": settings.state_dir,
            "agent": pid,
            "callbacks": callbacks,
            "projects": [project.to_json() for project in projects],
        }
        say(json.dumps(data, indent=2))
    else:
        say(standing.headline(settings.host, settings.state_dir, pid, projects, callbacks))
        for line in standing.table(projects) if projects else ():
            say(line)
    return WELL if all(project.settled for project in projects) else ILL


def _retry(options: argparse.Namespace) -> int:
    from .retrying import retry

    return retry(options)


def _backups(options: argparse.Namespace) -> int:
    from .restoring import backups

    return backups(options)


def _restore(options: argparse.Namespace) -> int:
    from .restoring import restore

    return restore(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {  # by the names that the command line has
    "run": _run,
    "once": _once,
    "retry": _retry,
    "check": _check,
    "status": _status,
    "doctor": _doctor,
    "backups": _backups,
    "restore": _restore,
}
