# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's part of the tree in memory, and what of each project has not been settled on the disk yet.

An event costs the same however many keys there are. Contents are dropped once they are on the
disk, so a mirror of 10,000 files is some megabytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .image import Image
from .keys import Tree
from .model import Project
from .reflector import Replaced
from .snapshot import Draft, Reading, read_key
from .store import Batch, Event, KeyValue, Listing


@dataclass(frozen=True)
class Task:
    """What is to be settled of one project.

    ``paths`` are the files that changed, and ``project`` holds only those of them that are in
    the tree; None: the whole project is to be compared, as one with templates always is. ``vouched`` are
    deleted files whose deletion came in one revision with the policy. ``digest`` and ``files`` are of the
    whole project.
    """

    project: Project
    paths: frozenset[str] | None
    vouched: frozenset[str]
    digest: str
    files: int
    ticket: int  # changes that come later have a higher one
    replaced: bool = False  # whether the store was replaced, or went back, since the project was settled


class Mirror:
    """The projects of one host; shared by threads."""

    def __init__(self, tree: Tree, host: str) -> None:
        """Know nothing yet."""
        self.revision = self.cluster_id = 0
        self.host = host
        self._tree = tree
        self._images: dict[str, Image] = {}
        self._ticket = 0
        self._lock = threading.Lock()

    def take_listing(self, listing: Listing, remembered: Iterable[str] = ()) -> set[str]:
        """Replace everything; return the projects to look at: all of them, and those ``remembered`` by the host."""
        with self._lock:
            self._ticket += 1
            replaced = isinstance(listing, Replaced) or self._went_back(listing)
            before, self._images = self._images, {}
            self.revision, self.cluster_id = listing.revision, listing.cluster_id
            for item in listing.items:
                name = self._project(item.key)
                if name is not None:
                    self._set(name, item)
            images = [*before.items(), *self._images.items()]
            names = {name for name, image in images if not image.idle} | set(remembered)
            for name in names:
                image = self._image(name)
                image.whole, image.at = self._ticket, listing.revision
                if replaced or (name in before and before[name].replaced):
                    image.replaced = self._ticket
            return names

    def take_batch(self, batch: Batch) -> set[str]:
        """Take events; return the projects that changed."""
        names: set[str] = set()
        with self._lock:
            self._ticket += 1
            self.revision = max(self.revision, batch.revision)
            deleted: dict[tuple[str, str], int] = {}  # at which revision
            policies: set[tuple[str, int]] = set()  # projects and revisions that wrote or removed their policy
            for event in batch.events:
                name = self._project(event.key)
                reading = self._event(name, event) if name is not None else None
                if name is None or reading is None:
                    continue
                path = reading.path
                if reading.value is not None:
                    image = self._images[name]
                    if image.renders:
                        names.add(name)
                    if image.idle and not image.readings:  # nobody will settle it
                        del self._images[name]
                    continue
                names.add(name)
                if reading.is_policy:
                    policies.add((name, event.revision))
                elif event.deleted:
                    deleted[name, path] = event.revision
                else:
                    deleted.pop((name, path), None)
            for (name, path), revision in deleted.items():
                if (name, revision) in policies:
                    self._images[name].vouched[path] = self._ticket
        return names

    def compare(self) -> set[str]:
        """Wish for a comparison of every project as a whole; return their names."""
        with self._lock:
            self._ticket += 1
            names = {name for name, image in self._images.items() if not image.idle}
            for name in names:
                self._images[name].whole = self._ticket
            return names

    def touch(self, names: Iterable[str], revision: int) -> None:
        """Wish for a comparison of these, because what their templates see elsewhere changed at a revision (0: not)."""
        with self._lock:
            self._ticket += 1
            for name in self._images.keys() & names:
                image = self._images[name]
                image.whole = self._ticket
                image.at, image.newest = max(image.at, revision), max(image.newest, revision)

    def task(self, name: str, *, whole: bool = False) -> Task | None:
        """Return what is to be settled of a project; None when nothing is."""
        with self._lock:
            image = self._images.get(name)
            if image is None or not (image.whole or image.changed or whole):
                return None
            vouched = frozenset(image.vouched)
            if whole or image.whole or image.bad or image.shadowed or image.policy is None or image.renders:
                project = self._whole(name, image)
                digest = project.digest if image.shadowed else image.digest.value()
                return Task(project, None, vouched, digest, len(project.files), self._ticket, bool(image.replaced))
            files = {path: image.file(path) for path in image.changed}
            project = Project(
                self.host,
                name,
                image.at,
                self.cluster_id,
                image.policy,
                files={path: file for path, file in files.items() if file is not None},
                newest=image.newest,
            )
            paths = frozenset(image.changed)
            return Task(project, paths, vouched, image.digest.value(), len(image.keys), self._ticket)

    def settled(self, task: Task) -> None:
        """Forget what a task has settled, and the contents of its files."""
        with self._lock:
            image = self._images.get(task.project.name)
            if image is None:
                return
            for path in list(image.changed) if task.paths is None else task.paths:
                if image.changed.get(path, task.ticket) <= task.ticket:
                    image.changed.pop(path, None)
            for path in task.vouched if task.paths is None else task.vouched & task.paths:
                if image.vouched.get(path, 0) <= task.ticket:
                    image.vouched.pop(path, None)
            if image.whole <= task.ticket:
                image.whole = 0
            for path, file in task.project.files.items():
                if image.file(path) is file and file.content is not None:
                    reading, revision = image.readings[image.keys[path]]
                    image.readings[image.keys[path]] = (replace(reading, file=replace(file, content=None)), revision)
            if image.idle and not image.readings:
                del self._images[task.project.name]

    def heeded(self, task: Task) -> None:
        """Forget that the store was replaced: the host has written down what that means for a project."""
        with self._lock:
            image = self._images.get(task.project.name)
            if image is not None and image.replaced <= task.ticket:
                image.replaced = 0

    def newest(self) -> dict[str, int]:
        """Return the revision of each project's last change."""
        with self._lock:
            return {name: image.newest for name, image in self._images.items() if image.exists}

    def newest_of(self, name: str) -> int:
        """Return the revision of a project's last change; 0 for one that is not in the tree."""
        with self._lock:
            image = self._images.get(name)
            return image.newest if image is not None and image.exists else 0

    def confirm(self, name: str, listing: Listing) -> bool:
        """Return whether a listing of a project's keys has just what is known; it is known as of then from now on."""
        listed = {item.key: item.revision for item in listing.items if self._is_ours(item.key)}
        with self._lock:
            image = self._image(name)
            if listed != {key: revision for key, (_reading, revision) in image.readings.items()}:
                return False
            image.at = max(image.at, listing.revision)
            return True

    def suspects(self, listing: Listing) -> set[tuple[bytes, int]]:
        """Return the keys in which a listing of keys differs from what is known.

        Each with the revision that it says, negative for the known one of a key that it lacks. Their events
        may be on the way: what is suspect once more a while later was missed.
        """
        listed = {(item.key, item.revision) for item in listing.items}
        with self._lock:
            known = {(key, at) for image in self._images.values() for key, (_reading, at) in image.readings.items()}
        newer, there = {key for key, at in known if at > listing.revision}, {key for key, _at in listed}
        missed = {(key, at) for key, at in listed - known if key not in newer and self._is_ours(key)}
        return missed | {(key, -at) for key, at in known - listed if at <= listing.revision and key not in there}

    def _went_back(self, listing: Listing) -> bool:
        """Return whether a key was written earlier than it was known to be: no store does that by itself."""
        known = {key: at for image in self._images.values() for key, (_reading, at) in image.readings.items()}
        return any(item.revision < known.get(item.key, 0) for item in listing.items)

    def _is_ours(self, key: bytes) -> bool:
        name = self._project(key)
        return name is not None and read_key(self._tree, KeyValue(key, b"", 0), (self.host, name)) is not None

    def _project(self, key: bytes) -> str | None:
        """Return the project of this host that a key is below."""
        owner = self._tree.owner(key)
        return owner[1] if owner is not None and owner[0] == self.host else None

    def _whole(self, name: str, image: Image) -> Project:
        draft = Draft(self.host, name)
        for key, (reading, revision) in image.readings.items():
            draft.add(key, reading, revision)
        project = draft.done(self._tree, image.at, self.cluster_id)
        image.shadowed = len(project.files) < len(image.keys)
        return replace(project, newest=max(project.newest, image.newest))  # which may be a deletion

    def _image(self, name: str) -> Image:
        image = self._images.get(name)
        if image is None:
            image = self._images[name] = Image()
        return image

    def _set(self, name: str, item: KeyValue) -> Reading | None:
        """Take a key; return what it says, None when it is not ours."""
        reading = read_key(self._tree, item, (self.host, name))
        if reading is not None:
            self._image(name).set(item, reading)
        return reading

    def _event(self, name: str, event: Event) -> Reading | None:
        """Take an event; return what its key says, or said before it was deleted, None when it is not ours."""
        if event.deleted:
            reading = self._images[name].drop(event.key) if name in self._images else None
        else:
            reading = self._set(name, KeyValue(event.key, event.value, event.revision))
        if reading is None:
            return None
        image = self._image(name)
        image.at = max(image.at, event.revision)
        if reading.value is not None and not image.renders:
            return reading
        image.newest = max(image.newest, event.revision)
        if reading.file is not None:
            image.changed[reading.path] = self._ticket
        else:
            image.whole = self._ticket
        return reading
