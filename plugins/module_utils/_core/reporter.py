# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread that writes the statuses of a host's projects; of each project only the newest waits."""

from __future__ import annotations

import logging
import random
import threading
from typing import Callable

from .errors import ConflictError, StoreError, UnavailableError
from .keys import Tree
from .model import Outcome
from .report import status_body, tells_nothing_new, write_status
from .store import Store

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds after a failure, and half of it at most at random
LOOK = 0.25  # seconds between two looks whether a store that is away answers others again


class Reporter:
    """Writes what it is given until the store has taken it."""

    def __init__(self, store: Store, tree: Tree, version: str, *, away: Callable[[], bool] = bool) -> None:
        """Start nothing yet; while ``away`` says that the store does not answer, it is not asked."""
        self._away = away
        self._store, self._tree, self._version = store, tree, version
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[Outcome, int]] = {}
        self._known: dict[str, dict[str, object]] = {}  # what this has written last
        self._writing = ""  # the project whose status is being written
        self._closed = False
        self._said = ""
        self._refused: dict[str, str] = {}  # why, by project
        self._thread = threading.Thread(target=self._run, name="watcher-statuses", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, outcome: Outcome, newest: int) -> None:
        """Have a status written; ``newest`` is the revision of the project's last change in the tree."""
        if outcome.state == "unknown":
            return
        with self._changed:
            waiting, known = self._waiting.get(outcome.project), self._known.get(outcome.project)
            if waiting is not None:  # what was done says more than that it is done
                known = self._body(waiting[0]) if waiting[0].ran else None
            elif self._writing == outcome.project:
                known = None
            if known and not outcome.ran and tells_nothing_new(known, self._body(outcome), newest):
                return
            self._waiting[outcome.project] = (outcome, newest)
            self._changed.notify_all()

    def forget(self) -> None:
        """Ask the store again what it has: it may be another one."""
        with self._changed:
            self._known.clear()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written; return False when the seconds are over before."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout)

    def close(self) -> None:
        """End the thread; what is not written yet is compared anew by the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _body(self, outcome: Outcome) -> dict[str, object]:
        return status_body(outcome, "agent", self._version)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = ""
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                name = next(iter(self._waiting))
                outcome, newest = self._waiting.pop(name)
                self._writing = name
            if not self._write(outcome, newest):
                with self._changed:
                    self._waiting.setdefault(name, (outcome, newest))
                    self._rest(refused=name in self._refused)

    def _rest(self, *, refused: bool) -> None:
        """Pause after a failure; after a refusal only until there is one that may fare better."""
        pause = PAUSE * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        self._changed.wait_for(lambda: self._closed or (refused and self._has_others()), pause)
        while self._away() and not self._closed:
            self._changed.wait(LOOK)

    def _has_others(self) -> bool:
        """Return whether a status waits that was not refused before."""
        return any(name not in self._refused for name in self._waiting)

    def _write(self, outcome: Outcome, newest: int) -> bool:
        """Write a status; return False when it has to be tried again."""
        try:
            write_status(self._store, self._tree, outcome, "agent", self._version, newest)
        except (UnavailableError, ConflictError) as error:
            self._say(f"statuses cannot be written: {error}", logging.WARNING)
            return False
        except StoreError as error:
            if not self._closed:  # else it is the end of this program that ended the call
                self._refuse(outcome.project, str(error))
            return False
        except Exception:  # a defect must not take the statuses of all others with it
            logger.exception("project %s: an error of this program; its status is not written", outcome.project)
            return True
        with self._changed:
            self._known[outcome.project] = self._body(outcome)
        self._refused.pop(outcome.project, None)
        self._say("", logging.INFO)
        return True

    def _say(self, text: str, level: int) -> None:
        """Log an outage once when it begins, and its end."""
        if text != self._said:
            logger.log(level, "%s", text or "statuses can be written again")
        self._said = text

    def _refuse(self, project: str, why: str) -> None:
        """Log once why a status, and many more perhaps, is refused."""
        if why not in self._refused.values():
            logger.error("project %s: the status cannot be written: %s; trying again", project, why)
        self._refused[project] = why
