# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment of each project of a host would do now; nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import WatcherError
from .keys import Tree
from .lane import Lanes
from .ledger import State
from .mirror import Mirror
from .model import Outcome
from .plan import RESTORED, acting_policy
from .policy import Policy
from .settings import Settings
from .store import Listing, Store

SHOWN = 10  # files of a project in its line
WOULD = {"failed": "would fail", "waiting": "would wait"}


@dataclass(frozen=True)
class Preview:
    """One project: what would come of it, and the commands that would run for that; ``problem``: why that is unknown.

    ``policy`` is the one that acts.
    """

    project: str
    outcome: Outcome | None = None
    policy: Policy | None = None
    problem: str = ""

    @property
    def good(self) -> bool:
        """Return whether nothing stands against it."""
        outcome = self.outcome
        if self.problem or outcome is None:
            return not self.problem
        said = outcome.notes or [outcome.msg or RESTORED]
        return outcome.settled and all(note.endswith(RESTORED) for note in said)

    @property
    def commands(self) -> list[str]:
        """Return the commands that would run."""
        if self.policy is None or self.outcome is None or not self.outcome.ran:
            return []
        return list(self.policy.commands.values())

    def __str__(self) -> str:
        """Return what would be done in one line, without the project's name."""
        outcome = self.outcome
        if self.problem or outcome is None:
            return self.problem or "nothing to do"
        if not outcome.ran and outcome.settled:
            return "; ".join(filter(None, [f"is up to date at revision {outcome.wanted_revision}", brief(outcome)]))
        words = f"{WOULD.get(outcome.state, 'would be ' + outcome.state)} at revision {outcome.wanted_revision}"
        commands = "; ".join(f"would run {command!r}" for command in self.commands)
        return "; ".join(filter(None, [words + files(outcome), commands, brief(outcome)]))


def brief(outcome: Outcome) -> str:
    """Return the message of an outcome for a line that names the project already."""
    return outcome.msg.removeprefix(f"host {outcome.host}, project {outcome.project}: ")


def files(outcome: Outcome) -> str:
    """Return the files that a deployment changes, for the end of a sentence."""
    shown = ", ".join(f"{change.action} {change.path}" for change in outcome.changes[:SHOWN])
    more = len(outcome.changes) - SHOWN
    return (f": {shown}" if shown else "") + (f" and {more} more" if more > 0 else "")


def previews(settings: Settings, store: Store, listing: Listing) -> list[Preview]:
    """Return what would be done for all projects of a listing of the host, and for those that the host remembers.

    Raise StoreError, and DeployError when the state folder cannot be read.
    """
    tree, state = Tree(settings.connection.prefix), State(settings.state_dir)
    mirror = Mirror(tree, settings.host)
    remembered = [name for name in state.projects() if state.concerns(settings.host, name)]
    names = mirror.take_listing(listing, remembered)
    lanes = Lanes(store, tree, settings.host, mirror, state, settings.rules, force=settings.force)
    return [_preview(lanes, mirror, state, settings.host, name) for name in sorted(names)]


def _preview(lanes: Lanes, mirror: Mirror, state: State, host: str, name: str) -> Preview:
    try:
        task = mirror.task(name, whole=True)  # before the preview, which settles it
        outcome = lanes.preview(name)
        policy = acting_policy(task.project, state.load(host, name)) if task is not None else None
    except WatcherError as error:
        return Preview(name, problem=str(error))
    return Preview(name, outcome, policy)
