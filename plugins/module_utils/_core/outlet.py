# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent tells of its deployments: the log, callbacks, statuses. Nothing of it waits for the network."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import replace
from typing import Callable

from .errors import WatcherError
from .keys import Tree
from .ledger import SPOOL, State
from .model import Outcome
from .report import callback_body
from .reporter import Reporter
from .sender import Sender
from .spool import Spool
from .store import Store

logger = logging.getLogger(__name__)

FLUSH = 10.0  # seconds for statuses, and as many for callbacks, when somebody waits for the end
LAST_FLUSH = 2.0  # seconds for statuses at the end of an agent
SHOWN = 5  # files of a deployment in the log


class Outlet:
    """Between `start` and `close`, what was told is handed on."""

    def __init__(
        self, store: Store, tree: Tree, state: State, host: str, version: str, *, away: Callable[[], bool] = bool
    ) -> None:
        """Start nothing yet; ``away`` tells whether the store is known not to answer."""
        self._state, self._host = state, host
        self.spool = Spool(os.path.join(state.path, SPOOL))
        self.sender = Sender(self.spool)
        self._closing = contextlib.ExitStack()
        self._reporter = Reporter(store, tree, version, away=away)

    def start(self, *, sending: bool = True) -> None:
        """Start the threads, and spool the callbacks that the last process did not come to.

        Without ``sending``, callbacks are sent by `flush` only.
        """
        self._recover()
        self._reporter.start()
        if sending:
            self._closing.enter_context(self.sender)

    def close(self) -> None:
        """End the threads; what is not told yet is told by the next process."""
        self._reporter.flush(LAST_FLUSH)
        self._reporter.close()
        self._closing.close()

    def forget(self) -> None:
        """Take nothing for known by the store: it may be another one."""
        self._reporter.forget()

    def flush(self) -> None:
        """Wait, with a bound, until statuses are written; and send callbacks."""
        self._reporter.flush(FLUSH)
        try:
            for problem in self.spool.send_due(FLUSH).problems:
                logger.warning("%s", problem)
        except OSError as error:
            logger.error("callbacks that wait cannot be read: %s", error)

    def tell(self, outcome: Outcome, newest: int, before: Outcome | None, seconds: float, *, silent: bool) -> None:
        """Log an outcome that says something new and hand it to others; ``silent``: only log it."""
        repeated = before is not None and outcome.failed and _same(outcome, before)
        if outcome.ran or (outcome.msg and not repeated and (before is None or outcome.msg != before.msg)):
            _log(outcome, seconds, logging.DEBUG if repeated else logging.INFO, "would be " if silent else "")
        if silent:
            return
        self._reporter.take(replace(outcome, changes=()), newest)
        if outcome.callback and (outcome.ran or outcome.failed):
            self._spool(outcome, skip=repeated)

    def _spool(self, outcome: Outcome, *, skip: bool) -> None:
        """Store the callback, and let the ledger forget that it is owed; a failure that only repeats is not told."""
        try:
            if not skip:
                self.spool.put(outcome.callback, callback_body(outcome))
            self._state.told(outcome.project, outcome)
            self.sender.wake()
        except OSError as error:
            where = f"host {outcome.host}, project {outcome.project}"
            logger.error("%s: the callback could not be stored and waits for the next start: %s", where, error)

    def _recover(self) -> None:
        for name in self._state.projects():
            try:
                untold = self._state.load(self._host, name).untold
                if untold is not None:
                    self._spool(Outcome.from_json(untold), skip=False)
            except WatcherError as error:  # each deployment of that project says so, too
                logger.error("project %s: the callback of the last process cannot be read: %s", name, error)


def _same(outcome: Outcome, before: Outcome) -> bool:
    """Return whether a failure is the one before once more."""
    return (outcome.state, outcome.wanted_revision, outcome.msg) == (before.state, before.wanted_revision, before.msg)


def _log(outcome: Outcome, seconds: float, level: int, would: str) -> None:
    where = f"host {outcome.host}, project {outcome.project}, revision {outcome.wanted_revision}"
    files = ", ".join(f"{change.action} {change.path}" for change in outcome.changes[:SHOWN])
    more = len(outcome.changes) - SHOWN
    what = f"{would}{outcome.state} in {seconds * 1000:.1f} ms" + (f": {files}" if files else "")
    what += f" and {more} more" if more > 0 else ""
    what += f"; {_codes(outcome)}" if _codes(outcome) else ""
    if outcome.failed or outcome.state in ("held", "waiting"):
        level = max(level, logging.ERROR if outcome.failed else logging.WARNING) if level > logging.DEBUG else level
    logger.log(level, "%s: %s%s", where, what, f"; {outcome.msg}" if outcome.msg else "")


def _codes(outcome: Outcome) -> str:
    """Return how the commands ended that were run."""
    results = {"checkCmd": outcome.check, "beforeCmd": outcome.before, "afterCmd": outcome.after}
    codes = {name: result.code for name, result in results.items() if result.code is not None}
    return ", ".join(f"{name} {code}" for name, code in codes.items())
