# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of work on a project of an agent: settle it, tell of it, and say when it is due again.

That is what the ledger says. Where nothing came to be written there, failures are counted here.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from .clock import moment, timestamp
from .errors import WatcherError
from .lane import Lanes
from .metrics import Metrics
from .mirror import Mirror
from .model import Outcome
from .outcomes import JITTER, LONGEST_PAUSE, pause
from .outlet import Outlet
from .wishes import Wishes

logger = logging.getLogger(__name__)

STALE_PAUSE = 1.0  # seconds until the tree's news, which somebody else deployed already, should have arrived here


class Work:
    """What an agent's pool does with a name; of one name there is one run at a time.

    Until ``listed`` is set, projects are repaired from what the host remembers.
    """

    def __init__(
        self,
        lanes: Lanes,
        outlet: Outlet,
        metrics: Metrics,
        mirror: Mirror,
        listed: threading.Event,
        wishes: Wishes,
        *,
        dry_run: bool,
    ) -> None:
        """Have done nothing yet. With ``dry_run`` nothing is touched and nobody told, but for the log."""
        self._wishes = wishes
        lanes.retrying = not dry_run
        self._lanes, self._outlet, self._metrics, self._mirror = lanes, outlet, metrics, mirror
        self._listed, self._dry_run = listed, dry_run
        self._outcomes: dict[str, Outcome] = {}  # the last one of each project
        self._tries: dict[str, int] = {}  # failures of each project, in a row, that its ledger does not know

    def outcomes(self) -> list[Outcome]:
        """Return the last outcome of each project, by name."""
        found = dict(self._outcomes)
        return [found[name] for name in sorted(found)]

    def lags(self) -> dict[str, int]:
        """Return by how many revisions each project lags; 0 where what is applied is as new as its last change."""
        applied = {outcome.project: outcome.revision for outcome in self.outcomes()}
        return {name: max(0, newest - applied.get(name, 0)) for name, newest in self._mirror.newest().items()}

    def once(self) -> None:
        """Plan no further tries: somebody waits for an answer."""
        self._lanes.retrying = False

    def run(self, name: str) -> float | None:
        """Look after one project; return the seconds until it has to be looked after again."""
        with self._wishes.answering(name):
            return self._run(name)

    def _run(self, name: str) -> float | None:
        began = time.monotonic()
        try:
            outcome = self._settle(name)
        except WatcherError as error:
            logger.error("project %s: %s", name, error)
            if not self._lanes.retrying:
                self._outcomes[name] = Outcome(self._mirror.host, name, "failed", 0, 0, "", 0, str(error))
            return self._pause(name)
        if outcome is None:
            return None
        before = self._outcomes.get(name)
        outcome = _counted(outcome, before)
        # What an agent remembers for years leaves out what may be thousands of files.
        self._outcomes[name] = replace(outcome, changes=()) if self._lanes.retrying else outcome
        seconds = time.monotonic() - began
        if (outcome.ran or outcome.failed) and not self._dry_run:
            self._metrics.deployed(outcome, seconds)
            if outcome.attempts > 1:
                self._metrics.retried()
        self._outlet.tell(outcome, self._mirror.newest_of(name), before, seconds, silent=self._dry_run)
        if outcome.state == "stale":
            return STALE_PAUSE
        if outcome.failed:
            return self._pause(name, outcome)
        self._tries.pop(name, None)
        if self._lanes.retrying and outcome.state in ("removed", "unknown"):  # names come and go over the years
            del self._outcomes[name]
        return None

    def _settle(self, name: str) -> Outcome | None:
        if self._dry_run:
            return self._lanes.preview(name)
        return self._lanes.run(name) if self._listed.is_set() else self._lanes.repair(name)

    def _pause(self, name: str, outcome: Outcome | None = None) -> float | None:
        """Return the seconds until the next try of a project that failed."""
        if not self._lanes.retrying:
            return None
        if outcome is not None and outcome.due:
            self._tries.pop(name, None)
            seconds = moment(outcome.due) - time.time()
            return max(0.0, min(seconds, LONGEST_PAUSE * JITTER[1]))  # whatever the clock has been set to since
        self._tries[name] = self._tries.get(name, 0) + 1
        return pause(self._tries[name])


def _counted(outcome: Outcome, before: Outcome | None) -> Outcome:
    """Return a failure as one more than the one before, also where the ledger could not be written to count it."""
    if before is None or not (outcome.due and before.failed) or before.wanted_revision != outcome.wanted_revision:
        return outcome
    if outcome.attempts > before.attempts:
        return outcome
    attempts = before.attempts + 1
    return replace(outcome, attempts=attempts, due=timestamp(time.time() + pause(attempts)))
