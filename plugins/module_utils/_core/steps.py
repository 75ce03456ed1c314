# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single steps of a plan, and their order (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import DeployError
from .model import File, Found, Place


@dataclass(frozen=True)
class Attributes:
    """Mode, user id and group id that the policy asks for; None where it says nothing."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    def fit(self, found: Found) -> bool:
        """Return whether a file on disk has them."""
        pairs = ((self.mode, found.mode), (self.uid, found.uid), (self.gid, found.gid))
        return all(wanted is None or wanted == present for wanted, present in pairs)


@dataclass(frozen=True)
class Step:
    """One change of one path: ``create``, ``set``, ``mode`` (attributes only) or ``delete``.

    ``base`` is the folder below the root that is there before and after the deployment: temporary
    files live in it. It is the file's own, unless a file gives way to a folder or a folder to a file.
    """

    kind: str
    root: str
    path: str
    found: Found
    file: File | None = None
    base: str = ""

    @property
    def place(self) -> Place:
        """Return the deploy path and the path below it."""
        return self.root, self.path

    @property
    def replaces(self) -> bool:
        """Return whether a content goes, of which there may be a backup."""
        return self.kind in ("set", "delete")

    @property
    def content(self) -> bytes:
        """Return what the file shall hold; raise DeployError when that was not sent."""
        if self.file is None or self.file.content is None:
            raise DeployError(f"the content of {self.root}/{self.path} was not sent")
        return self.file.content


def steps_of(
    wanted: Mapping[Place, File], gone: list[Place], found: Mapping[Place, Found], attributes: Attributes
) -> tuple[Step, ...]:
    """Return the steps in their order: what is in the way of a new file goes first, all else last."""
    writes = [step for place, file in sorted(wanted.items()) for step in _write(place, file, found[place], attributes)]
    cleared = {step.place for step in writes if step.found.kind == "folder"}
    blockers = {(step.root, step.found.above) for step in writes if step.found.kind == "blocked"}
    first: list[Step] = []
    last: list[Step] = []
    for place in sorted(gone):
        if found[place].kind in ("file", "link"):
            top = next((above for above in _above(place) if above in cleared), None)
            step = Step("delete", *place, found[place], base=_folder(top[1] if top else place[1]))
            (first if top or place in blockers else last).append(step)
    return (*first, *writes, *last)


def _write(place: Place, file: File, there: Found, attributes: Attributes) -> list[Step]:
    if there.kind == "file" and there.digest == file.digest:
        return [] if attributes.fit(there) else [Step("mode", *place, there, file, _folder(place[1]))]
    kind = "set" if there.kind in ("file", "link") else "create"
    return [Step(kind, *place, there, file, _folder(there.above or place[1]))]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _above(place: Place) -> list[Place]:
    """Return the places above a place, outermost first."""
    parts = place[1].split("/")
    return [(place[0], "/".join(parts[:count])) for count in range(1, len(parts))]
