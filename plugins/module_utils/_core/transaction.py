# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan on disk: stage, back up, swap, and the way back from each."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from . import backup, disk
from .errors import DeployError
from .model import File, Place
from .plan import Attributes, Step
from .policy import Policy


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn an OSError into a DeployError that says what was being done."""
    try:
        yield
    except OSError as error:
        path = f" ({error.filename})" if isinstance(error.filename, str) and error.filename not in what else ""
        raise DeployError(f"{what}: {error.strerror or error}{path}") from error


class Transaction:
    """Carries out steps so that each can be undone until `finish`."""

    def __init__(self, policy: Policy, attributes: Attributes, revision: int, when: datetime) -> None:
        """Prepare; nothing is touched yet. ``when`` goes into the names of backups."""
        self._policy = policy
        self._attributes = attributes
        self._revision = revision
        self._when = when
        self._folder_owner = disk.Owner(attributes.uid, attributes.gid, policy.dir_mode)
        self._staged: dict[Place, str] = {}
        self._swapped: list[tuple[Step, str]] = []
        self.made: list[Place] = []
        self.backups: dict[Place, str] = {}

    def stage(self, steps: Iterable[Step]) -> None:
        """Write every new content beside its target, durably, under a temporary name."""
        for step in steps:
            if step.file is None or step.kind == "mode":
                continue
            assert step.file.content is not None  # the plan asked for it
            with doing(f"cannot write {step.root}/{step.path}"):
                self.made += disk.make_folders(step.place, self._folder_owner)
                with disk.parent(step.place) as (fd, _):
                    name = disk.temporary()
                    self._staged[step.place] = name
                    disk.write(fd, name, step.file.content, self._owner(step))

    def _owner(self, step: Step) -> disk.Owner:
        """Return what the new file gets: the policy's word, else what the replaced file had."""
        wanted, there = self._attributes, step.found
        inherit = there.kind == "file"
        mine = inherit and os.geteuid() == 0  # only root may give files away
        return disk.Owner(
            there.uid if wanted.uid is None and mine else wanted.uid,
            there.gid if wanted.gid is None and mine else wanted.gid,
            (there.mode if inherit else disk.FILE_MODE) if wanted.mode is None else wanted.mode,
        )

    def back_up(self, steps: Iterable[Step]) -> None:
        """Copy every file that will be replaced or deleted, where the policy names a folder for it."""
        if not self._policy.backup_dir:
            return
        for step in steps:
            if step.kind in ("set", "delete"):
                with doing(f"cannot back up {step.root}/{step.path} to {self._policy.backup_dir}"):
                    path = backup.backup_path(step.path, self._when, self._revision)
                    made = backup.make(step.place, self._policy.backup_dir, path, disk.Owner())
                    self.backups[step.place] = made

    def swap(self, steps: Iterable[Step]) -> None:
        """Put the new files in place and take the deleted ones away; each path at once."""
        touched: dict[Place, None] = {}
        for step in steps:
            with doing(f"cannot change {step.root}/{step.path}"), disk.parent(step.place) as (fd, name):
                self._swap(step, fd, name)
            touched[(step.root, step.path.rpartition("/")[0])] = None
        for place in touched:
            with doing(f"cannot write folder {'/'.join(place)}"), disk.folder(*place) as fd:
                os.fsync(fd)

    def _swap(self, step: Step, fd: int, name: str) -> None:
        aside = disk.temporary()
        if step.kind == "mode":
            self._swapped.append((step, ""))
            with self._open(fd, name) as file:
                self._owner(step).give(file)
            return
        if step.kind != "create":
            disk.set_aside(fd, name, aside)
        self._swapped.append((step, aside))
        if step.kind == "delete":
            os.unlink(name, dir_fd=fd)
        else:
            os.rename(self._staged[step.place], name, src_dir_fd=fd, dst_dir_fd=fd)
            del self._staged[step.place]

    @staticmethod
    @contextlib.contextmanager
    def _open(folder_fd: int, name: str) -> Iterator[int]:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def undo(self) -> list[str]:
        """Bring everything back as it was before `stage`; return what could not be, as sentences."""
        problems: list[str] = []
        for step, aside in reversed(self._swapped):
            try:
                with doing(f"cannot restore {step.root}/{step.path}"), disk.parent(step.place) as (fd, name):
                    self._restore(step, fd, name, aside)
            except DeployError as error:
                problems.append(str(error))
        self._swapped.clear()
        for path in self.backups.values():
            with contextlib.suppress(OSError):
                backup.drop(self._policy.backup_dir, os.path.relpath(path, self._policy.backup_dir))
        self.backups.clear()
        self._clean()
        for place in reversed(self.made):
            with contextlib.suppress(OSError):
                disk.remove_folder(place)
        self.made.clear()
        return problems

    def _restore(self, step: Step, fd: int, name: str, aside: str) -> None:
        if step.kind == "create":
            disk.remove(fd, name)
        elif step.kind == "mode":
            with self._open(fd, name) as file:
                disk.Owner(step.found.uid, step.found.gid, step.found.mode).give(file)
        else:
            os.rename(aside, name, src_dir_fd=fd, dst_dir_fd=fd)
        os.fsync(fd)

    def finish(self, folders: Iterable[Place], keep: str) -> list[Place]:
        """Drop what undoing would have needed; return which of our folders are still there.

        Folders that this product made are removed when they are empty, but not the deploy path
        ``keep``. What cannot be cleaned up here harms nothing and is left.
        """
        for step, aside in self._swapped:
            if aside:
                with contextlib.suppress(OSError), disk.parent(step.place) as (fd, _):
                    disk.remove(fd, aside)
            if step.place in self.backups:
                with contextlib.suppress(OSError):
                    backup.prune(self._policy.backup_dir, step.path, self._policy.keep_backups)
        self._swapped.clear()
        self._clean()
        left = sorted({*folders, *self.made}, key=lambda place: len("/".join(place)), reverse=True)
        return sorted(place for place in left if place == (keep, "") or not _remove_quietly(place))

    def _clean(self) -> None:
        """Remove temporary files that never came to their place."""
        for place, name in self._staged.items():
            with contextlib.suppress(OSError), disk.parent(place) as (fd, _):
                disk.remove(fd, name)
        self._staged.clear()


def _remove_quietly(place: Place) -> bool:
    try:
        return disk.remove_folder(place)
    except OSError:
        return False


@contextlib.contextmanager
def staged(folder: str, root: str, files: Mapping[str, File]) -> Iterator[str]:
    """Yield a folder that holds the complete project as it would be; unchanged files come from the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with doing(f"cannot stage the project in {folder}"):
            os.makedirs(folder, mode=0o700)
            for path, file in files.items():
                content = disk.read((root, path)) if file.content is None else file.content
                disk.make_folders((folder, path), disk.Owner())
                with open(os.path.join(folder, path), "xb") as stream:
                    stream.write(content)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
