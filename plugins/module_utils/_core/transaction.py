# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan on disk: stage, back up, swap, and the way back from each."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Callable, TypeVar

from . import backup, disk, journal, likeness
from .errors import DeployError
from .failpoints import reach
from .journal import doing
from .keys import MAX_SEGMENT
from .model import File, Move, Place, Project, sha256
from .plan import Plan
from .policy import Policy
from .steps import Attributes, Step

_AT_ONCE = 64  # files that are open at the same time
_RACES = 5  # times that a folder may vanish under a deployment

_Result = TypeVar("_Result")


class Transaction:
    """Carries out the steps of a plan so that they can be undone until `finish`."""

    def __init__(
        self,
        policy: Policy,
        attributes: Attributes,
        revision: int,
        steps: Sequence[Step],
        folders: Iterable[Place],
        when: datetime,
    ) -> None:
        """Prepare; nothing is touched yet. ``folders`` are ours already, ``when`` goes into the names of backups.

        Raise DeployError when the disk cannot be looked at.
        """
        self._policy, self._attributes, self._revision, self._when = policy, attributes, revision, when
        self._steps = {step.place: step for step in steps}
        self._folders = list(folders)
        self._made: set[Place] = set()
        self._gone: set[Place] = set()
        self.backups: dict[Place, str] = {}
        self.notes: list[str] = []  # what went another way than it should
        self.staged = False  # whether all new contents lie beside their targets
        self.swapped = 0  # files that were changed
        with doing("cannot look at the deploy path"):
            self.moves = journal.prepare(steps, self._folders, policy.backup_dir)

    def stage(self) -> None:
        """Make the new folders, and write every new content beside its target, durably, under a temporary name."""
        for move in list(itertools.takewhile(lambda move: move.kind == "mkdir", self.moves)):
            self._make(move)
        writes = [move for move in self.moves if move.kind in ("create", "set")]
        for start in range(0, len(writes), _AT_ONCE):
            self._write(writes[start : start + _AT_ONCE])
        self.staged = True
        reach("stage.done")

    def _write(self, moves: Sequence[Move]) -> None:
        """Write contents first and sync them then: the disk has less to do when it may take several at once."""
        with contextlib.ExitStack() as files:
            opened = []
            for move in moves:
                with doing(f"cannot write {move.root}/{move.path}"):
                    opened.append(self._lasting(move, partial(self._create, move)))
                files.callback(os.close, opened[-1])
            for move, file in zip(moves, opened):
                with doing(f"cannot write {move.root}/{move.path}"):
                    os.fsync(file)
                reach("stage.synced")

    def _create(self, move: Move) -> int:
        step = self._steps[move.place]
        with disk.folder(move.root, move.base) as fd:
            owner = self._owner(step)
            name = move.path.rpartition("/")[2]
            if step.found.kind == "file":
                owner = replace(owner, extended=likeness.attributes(fd, name))
            if step.kind != "mode":
                return disk.create(fd, move.new, step.content, owner)
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            file = disk.create(fd, move.new, _content(step), owner)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # nothing was modified
            return file

    def _lasting(self, move: Move, act: Callable[[], _Result]) -> _Result:
        """Act in a folder that another project of the host may just remove, for it is empty until this is done."""
        for _unused in range(_RACES):
            try:
                return act()
            except FileNotFoundError:
                inside = f"{move.base}/x" if move.base and move.kind != "mkdir" else move.path or "x"
                gone = [place for place in disk.missing_folders((move.root, inside), set()) if place != move.place]
                if not gone:
                    raise
                with contextlib.suppress(FileNotFoundError):
                    self._made.update(place for place in gone if disk.make_folder(place, self._folder_owner()))
                self.moves[:0] = [Move("mkdir", *place) for place in gone]
        return act()

    def _make(self, move: Move) -> None:
        with doing(f"cannot make folder {'/'.join(move.place)}"):
            if self._lasting(move, partial(disk.make_folder, move.place, self._folder_owner())):
                self._made.add(move.place)

    def _folder_owner(self) -> disk.Owner:
        return disk.Owner(self._attributes.uid, self._attributes.gid, self._policy.dir_mode)

    def _owner(self, step: Step) -> disk.Owner:
        """Return what the new file gets: the policy's word, else what the replaced file had.

        The set-id bits go, as with any change of a file by others than root: they were given to another content.
        """
        wanted, there = self._attributes, step.found
        before = disk.Owner(mode=disk.FILE_MODE)
        if there.kind == "file":
            before = likeness.owner(there.uid, there.gid, there.mode & ~likeness.SET_ID)
        return disk.Owner(
            before.uid if wanted.uid is None else wanted.uid,
            before.gid if wanted.gid is None else wanted.gid,
            before.mode if wanted.mode is None else wanted.mode,
        )

    def back_up(self) -> None:
        """Copy every file that will be replaced or deleted, where the policy names a folder for it."""
        replaced = [step for step in self._steps.values() if step.replaces]
        for step, move in zip(replaced, [move for move in self.moves if move.kind == "backup"]):
            with doing(f"cannot back up {step.root}/{step.path} to {move.root}"):
                self.backups[step.place] = backup.make(step.place, move.root, move.new, self._when, self._revision)
            reach("backup.made")
        reach("backup.done")

    def swap(self) -> None:
        """Put the new files in place and take the deleted ones away; each path at once."""
        moves = list(itertools.dropwhile(lambda move: move.kind in ("mkdir", "backup"), self.moves))
        self._set_aside([move for move in moves if move.kind == "set"])
        self._sync([move for move in moves if move.new])  # what lies beside its target stays there, and what is aside
        for move in moves:
            with doing(f"cannot change {move.root}/{move.path}"):
                self._swap(move)
            self.swapped += move.kind in ("create", "set", "delete")
            reach("swap.move")
        self._sync(moves)
        reach("swap.done")

    def _set_aside(self, moves: Sequence[Move]) -> None:
        """Give the old files second names."""
        for move in moves:
            with doing(f"cannot set {move.root}/{move.path} aside"), disk.parent(move.place) as (fd, name):
                likeness.set_aside(fd, name, move.old)
            reach("swap.aside")

    def _sync(self, moves: Sequence[Move]) -> None:
        """Make durable what the folders of moves hold."""
        for place in journal.touched(moves):
            with doing(f"cannot write folder {'/'.join(place)}"):
                disk.sync_folder(place)
            reach("swap.synced")

    def _swap(self, move: Move) -> None:
        if move.kind == "mkdir":
            self._make(move)
        else:
            with disk.folders(move.place, move.base) as (fd, name, base):
                if move.kind == "rmdir":
                    os.rmdir(name, dir_fd=fd)
                    self._gone.add(move.place)
                elif move.kind == "delete":
                    _take_away(fd, name, base, move.old)
                else:
                    self._put(move, fd, name, base)

    def _put(self, move: Move, fd: int, name: str, base: int) -> None:
        try:
            os.rename(move.new, name, src_dir_fd=base, dst_dir_fd=fd)
        except OSError as error:
            if error.errno != errno.EBUSY or move.kind != "set":
                raise
            likeness.part(fd, name, base, move.old)
            # The old content lies aside. Without a new file beside it, that is where undoing looks for it.
            disk.remove(base, move.new)
            os.fsync(base)
            reach("place.begun")
            step = self._steps[move.place]
            likeness.overwrite(fd, name, _content(step), self._owner(step))
            self.notes.append(
                f"{move.root}/{move.path} is a mount point: written in place, so a reader may have seen half of it"
            )

    def undo(self) -> list[str]:
        """Bring everything back as it was before `stage`; return what could not be, as sentences."""
        problems = journal.undo([move for move in self.moves if move.kind != "mkdir" or move.place in self._made])
        # Where old files may be missing, their backups may be the last that there is of them.
        for path in () if journal.lost(problems) else self.backups.values():
            with contextlib.suppress(OSError):
                backup.drop(self._policy.backup_dir, os.path.relpath(path, self._policy.backup_dir))
            reach("undo.dropped")
        return problems

    @property
    def folders(self) -> list[Place]:
        """Return the folders that this product made, now and before, and that did not give way to a file."""
        return sorted({*self._folders, *self._made} - self._gone)

    def finish(self, keep: str) -> list[Place]:
        """Drop what undoing would have needed; return which of our folders are still there.

        ``keep`` is a deploy path that stays, empty or not. What cannot be cleaned up here harms nothing; it is
        in ``moves`` afterwards.
        """
        self.moves = journal.clean(move for move in self.moves if move.kind != "backup")  # whose are gone by now
        reach("finish.cleaned")
        paths = [path for _unused, path in self.backups]
        backup.prune(self._policy.backup_dir, paths, self._policy.keep_backups, self.backups.values())
        reach("finish.pruned")
        return journal.sweep(self.folders, keep)


def _content(step: Step) -> bytes:
    """Return what a file shall hold: what it holds, where only its attributes change.

    It is written anew all the same: a local user could put another name of anybody's file there in between, which
    would get the attributes then.
    """
    if step.kind != "mode":
        return step.content
    content = disk.read(step.place)
    if sha256(content) != step.found.digest:
        raise DeployError(f"{step.root}/{step.path} has changed meanwhile; deploy again")
    return content


def _take_away(fd: int, name: str, base: int, old: str) -> None:
    try:
        os.rename(name, old, src_dir_fd=fd, dst_dir_fd=base)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise OSError(errno.EBUSY, "it is a mount point, which cannot be removed; unmount it first") from error


def feasible(plan: Plan, project: Project) -> Plan:
    """Return the plan, or a failed one when a file's name leaves no room for what its backup adds to it."""
    for step in plan.steps if plan.policy and plan.policy.backup_dir else ():
        name = backup.backup_path(step.path, datetime.now(), project.revision).rpartition("/")[2]
        size = len(name.encode("utf-8"))
        if step.replaces and size > MAX_SEGMENT:
            why = (
                f"{step.root}/{step.path} cannot be backed up: the name of its backup would have {size} bytes, and"
                f" {MAX_SEGMENT} is the most; publish it by a shorter name, or without backupDir"
            )
            return Plan("failed", f"{project.where}: {why}")
    return plan


@contextlib.contextmanager
def staged(folder: str, root: str, files: Mapping[str, File | None]) -> Iterator[str]:
    """Yield a folder that holds the complete project as it would be; unchanged files come from the disk.

    The content of a file that is None, or has none, is what is there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with doing(f"cannot stage the project in {folder}"):
            os.makedirs(folder, mode=0o700)
            for path, file in files.items():
                sent = file.content if file is not None else None
                content = disk.read((root, path)) if sent is None else sent
                disk.make_folders((folder, path), disk.Owner())
                with open(os.path.join(folder, path), "xb") as stream:
                    stream.write(content)
                reach("check.file")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
