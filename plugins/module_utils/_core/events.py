# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes -> events (contract, section 9): when one is due, what it says, and how far all are done with (pure)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .changes import OWED, UNKNOWN, Change, Mark
from .groups import Group, Handed
from .payload import event
from .prefixes import Owner
from .reflector import Position

logger = logging.getLogger(__name__)

MAX_WAIT = 2.0  # seconds that a first change waits for more, however many keep coming
GRACE = 15.0  # seconds that hosts without any status keep a place at work; a run that finds no host takes one
MAX_PAUSE = 3600.0  # seconds until an event without outcome, or with a failure, is handed on again
MAX_LIMIT = 100_000  # bytes of host names: Linux takes 131,072 for one argument, and a run's limit is one


class Events:
    """Collects changes and gives out events.

    One project's changes are one event once none came for ``batch`` seconds. At most ``parallel``
    projects are handed on and not done with, and of a project only one event: what changes
    meanwhile is collected. An event is done with when all its hosts have reported (with ``hold`` 0:
    at once). When none of them has for ``hold`` seconds, the silent ones no longer hold their
    project up; they and those that failed are handed on again, with growing pauses, until they
    succeed or change. With ``skip_reported`` hosts that have reported a change already are in no event.
    """

    def __init__(
        self,
        *,
        batch: float = 0.2,
        parallel: int = 4,
        hold: float = 60.0,
        position: Position | None = None,
        known: Mapping[Owner, Mark] | None = None,
        skip_reported: bool = False,
    ) -> None:
        """Start from a position and what was known there, None and nothing for a first start."""
        self.position = position
        self.unsaved = False  # whether `saved` has something new
        self._batch = batch
        self._parallel = parallel
        self._hold = hold
        self._known = dict(known or {})
        self._turn = 0
        self._waiting: dict[str, Group] = {}
        self._handed: dict[str, Handed] = {}
        self._statuses: dict[Owner, int] = {}
        self._failures: dict[Owner, int] = {}  # the store's revision at which a failure was reported
        self._skip_reported = skip_reported
        self._blind = False

    def add(self, changes: Iterable[Change], now: float) -> None:
        """Collect the changes; `reach` says when a position's changes are complete."""
        groups: dict[str, Group] = {}
        for change in changes:
            if change.project not in groups:
                groups[change.project] = self._group(change.project, now)
            groups[change.project].add(change, now)
            self._note((change.project, change.host), change.mark)

    def _group(self, project: str, now: float) -> Group:
        """Return the group that takes changes of a project from here on."""
        group = self._waiting.get(project)
        if group is None:
            group = self._waiting[project] = Group(now, now, self._turn, self.position)
        elif not group.fresh:  # what is tried again needs no position; from here on one is needed
            group.turn, group.before = self._turn, self.position
        return group

    def know(self, known: Mapping[Owner, Mark]) -> None:
        """Take what is there as of the position from the store itself: it knows better than what was saved."""
        self._known = dict(known)

    def _note(self, owner: Owner, mark: Mark) -> None:
        if mark[0]:
            self._known[owner] = mark
        else:
            self._known.pop(owner, None)

    def reach(self, position: Position) -> None:
        """Note that all changes up to the position are collected."""
        self.position = position
        self._turn += 1
        self.unsaved = True

    def take(self, now: float) -> dict[str, Any] | None:
        """Return the next event that is due, or None; `handed` has to follow."""
        self._expire(now)
        if self._busy(now) >= self._parallel:
            return None
        for project in [name for name, due in self._due() if due <= now]:
            if not self._skip_reported or self._skip(project, now):
                return self._event(project)
        return None

    def _skip(self, project: str, now: float) -> bool:
        """Leave out who has reported the change, to somebody else; return whether the event is due all the same."""
        group = self._waiting[project]
        reported = [
            host
            for host, change in group.changes.items()
            if host not in group.owed and self._statuses.get((project, host), 0) >= change.revision
        ]
        failed = frozenset(host for host in reported if (project, host) in self._failures)
        for host in reported:
            if host not in failed:
                self._forgive(project, group, host)
        if not failed or len(failed) < len(group.changes):
            return bool(group.changes)
        pause = self._pause(group.tries)
        group.owed, group.tries, group.rest, self.unsaved = failed, group.tries + 1, now + pause, True
        self._say(project, (), failed, pause)
        return False

    def handed(self, project: str, now: float) -> None:
        """Note that the project's event was taken."""
        handed = self._handed[project]
        handed.until = now + self._hold
        strangers = all((project, host) not in self._statuses for host in handed.waiting)
        silent = all(host in handed.group.owed and (project, host) not in self._failures for host in handed.waiting)
        handed.counts = now if silent else now + (GRACE if strangers else self._hold)
        self._settle(project, now)

    def _busy(self, now: float) -> int:
        """Return how many projects are at work, as far as one can tell.

        One whose hosts were silent before, or never reported anything and still have not, may be
        of hosts that no inventory knows: it must not keep others waiting.
        """
        return sum(handed.until is None or now < handed.counts for handed in self._handed.values())

    def wait(self, now: float) -> float | None:
        """Return in how many seconds `take` may have something, None for not without another change."""
        times = [handed.until for handed in self._handed.values() if handed.until is not None]
        if self._busy(now) < self._parallel:
            times += [due for _project, due in self._due()]
        else:
            times += [handed.counts for handed in self._handed.values() if handed.counts > now]
        return max(0.0, min(times) - now) if times else None

    def status(
        self, host: str, project: str, wanted: int, now: float, *, failed: bool = False, written: int = 0
    ) -> None:
        """Note what a host reports: the revision that it tried last, 0 for nothing.

        ``failed``: it is for us to try again; ``written`` is the store's revision of such a report, by which it
        is known when it is read once more, and told from one that came before the event.
        """
        owner = (project, host)
        self._statuses[owner] = wanted
        is_news = not failed or self._failures.get(owner) != written
        if failed:
            self._failures[owner] = written
        else:
            self._failures.pop(owner, None)
        handed = self._handed.get(project)
        if handed and is_news:
            self._reported(handed, host, wanted, now, written if failed else None)
            self._settle(project, now)
        group = self._waiting.get(project)
        if group and not failed and host in group.owed and group.changes[host].revision <= wanted:
            self._forgive(project, group, host)

    def _reported(self, handed: Handed, host: str, wanted: int, now: float, failure: int | None) -> None:
        change = handed.group.changes.get(host)
        if change is None or change.revision > wanted or (failure is not None and failure <= handed.since):
            return
        if failure is None:
            handed.failed.discard(host)
        else:
            handed.failed.add(host)
        if handed.waiting.pop(host, None) is not None and handed.until is not None:  # the run goes on
            handed.until = handed.counts = now + self._hold

    def _forgive(self, project: str, group: Group, host: str) -> None:
        """Drop a host that has reported."""
        del group.changes[host]
        group.owed -= {host}
        self.unsaved = True
        if not group.changes:
            del self._waiting[project]

    def go_blind(self) -> None:
        """Take the time for the outcome from now on: nobody can say who has reported."""
        self._blind = True

    def forget_statuses(self) -> None:
        """Forget what hosts reported, for all that holds follows."""
        self._statuses.clear()

    def saved(self) -> tuple[Position, dict[Owner, Mark]] | None:
        """Return from where, and with what known, nothing is lost that is not done with; None for the beginning.

        A host that never reports does not hold the position back: it is known as owed. So is one whose
        change is in no order with the position.
        """
        self.unsaved = False
        groups = [*self._waiting.values(), *(handed.group for handed in self._handed.values())]
        fresh = (group for group in groups if group.fresh)
        oldest = min(fresh, key=lambda group: group.turn, default=None)
        position = oldest.before if oldest else self.position
        if position is None:
            return None
        marks = {
            (change.project, host): (OWED[0], change.revision) if change.beside or host in group.owed else UNKNOWN
            for group in groups
            for host, change in group.changes.items()
        }
        return position, {**self._known, **marks}

    def _due(self) -> Iterator[tuple[str, float]]:
        """Yield the projects that may be handed on and when, in the order of their first changes."""
        for project, group in self._waiting.items():
            if project not in self._handed:
                yield project, max(group.rest, min(group.last + self._batch, group.first + MAX_WAIT))

    def _event(self, project: str) -> dict[str, Any]:
        """Return the event of a project, and wait for its hosts."""
        group = self._split(project)
        waiting = {
            host: change.revision
            for host, change in group.changes.items()
            if self._statuses.get((project, host), 0) < change.revision or (project, host) in self._failures
        }
        self._handed[project] = Handed(group, waiting, self.position.revision if self.position else 0)
        cluster_id = self.position.cluster_id if self.position else 0
        return event(cluster_id, project, [group.changes[host] for host in sorted(group.changes)], group.tries)

    def _split(self, project: str) -> Group:
        """Take the changes of a project, as many hosts as one run can be limited to; the rest waits on.

        What was handed on before comes last, so that it keeps nothing waiting for ever.
        """
        group = self._waiting.pop(project)
        room = MAX_LIMIT
        taken = replace(group, changes={})
        for host in sorted(group.changes, key=lambda host: (host in group.owed, host)):
            room -= len(host) + 1
            if room >= 0:
                taken.changes[host] = group.changes.pop(host)
        if group.changes:
            self._waiting[project] = group
        return taken

    def _settle(self, project: str, now: float) -> None:
        """Forget an event that was taken and is done with; who failed is tried again."""
        handed = self._handed[project]
        if handed.until is not None and (not handed.waiting or not self._hold):
            del self._handed[project]
            self.unsaved = True
            if handed.failed and self._hold:
                self._again(project, handed, now, self._pause(handed.group.tries))

    def _expire(self, now: float) -> None:
        for project, handed in list(self._handed.items()):
            if handed.until is not None and handed.until <= now:
                del self._handed[project]
                self.unsaved = True
                if not self._blind:
                    pause = self._pause(handed.group.tries) - self._hold  # that long it was waited for already
                    self._again(project, handed, handed.until, pause)

    def _pause(self, tries: int) -> float:
        return min(MAX_PAUSE, self._hold * 2.0 ** min(tries, 12))

    def _again(self, project: str, handed: Handed, now: float, pause: float) -> None:
        """Let the hosts that did not report, or failed, wait for another turn, with what has changed since."""
        group, newer = handed.group, self._waiting.get(project)
        changes = {host: group.changes[host] for host in (*handed.waiting, *handed.failed)}
        again = replace(group, changes=changes, owed=frozenset(changes), tries=group.tries + 1, rest=now + pause)
        if newer is not None:
            again = replace(newer, changes=changes, owed=again.owed | newer.owed, tries=1)
            for change in newer.changes.values():
                again.add(change, newer.last)
        self._waiting[project] = again
        self._say(project, handed.waiting, handed.failed, max(0.0, again.rest - now))

    def _say(self, project: str, silent: Iterable[str], failed: Iterable[str], pause: float) -> None:
        if silent:
            logger.warning("%s: no outcome in %g s from %s; again in %g s", project, self._hold, _some(silent), pause)
        if failed:
            logger.warning("%s: failed on %s; again in %g s", project, _some(failed), pause)


def _some(hosts: Iterable[str]) -> str:
    """Return the first names, and how many there are more."""
    names = sorted(hosts)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
