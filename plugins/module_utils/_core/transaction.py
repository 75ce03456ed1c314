# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan on disk: stage, back up, swap, and the way back from each."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Callable, TypeVar

from . import backup, disk, journal
from .journal import doing
from .model import File, Move, Place
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
        self.staged = False  # whether all new contents lie beside their targets
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

    def _create(self, move: Move) -> int:
        step = self._steps[move.place]
        with disk.folder(move.root, move.base) as fd:
            return disk.create(fd, move.new, step.content, self._owner(step))

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
        """Return what the new file gets: the policy's word, else what the replaced file had."""
        wanted, there = self._attributes, step.found
        inherit = there.kind == "file"
        mine = inherit and os.geteuid() == 0  # only root may give files away
        return disk.Owner(
            there.uid if wanted.uid is None and mine else wanted.uid,
            there.gid if wanted.gid is None and mine else wanted.gid,
            (there.mode if inherit else disk.FILE_MODE) if wanted.mode is None else wanted.mode,
        )

    def back_up(self) -> None:
        """Copy every file that will be replaced or deleted, where the policy names a folder for it."""
        replaced = [step for step in self._steps.values() if step.kind in ("set", "delete")]
        for step, move in zip(replaced, [move for move in self.moves if move.kind == "backup"]):
            with doing(f"cannot back up {step.root}/{step.path} to {move.root}"):
                self.backups[step.place] = backup.make(step.place, move.root, move.new, self._when, self._revision)

    def swap(self) -> None:
        """Put the new files in place and take the deleted ones away; each path at once."""
        touched: dict[Place, None] = {}
        for move in list(itertools.dropwhile(lambda move: move.kind in ("mkdir", "backup"), self.moves)):
            with doing(f"cannot change {move.root}/{move.path}"):
                self._swap(move)
            touched[(move.root, move.path.rpartition("/")[0])] = None
            touched[(move.root, move.base)] = None
        for place in touched:
            where = f"cannot write folder {'/'.join(place)}"
            with doing(where), contextlib.suppress(FileNotFoundError, NotADirectoryError), disk.folder(*place) as fd:
                os.fsync(fd)

    def _swap(self, move: Move) -> None:
        if move.kind == "mkdir":
            self._make(move)
        elif move.kind == "mode":
            disk.give(move.place, self._owner(self._steps[move.place]))
        else:
            with disk.folders(move.place, move.base) as (fd, name, base):
                if move.kind == "rmdir":
                    os.rmdir(name, dir_fd=fd)
                    self._gone.add(move.place)
                elif move.kind == "delete":
                    os.rename(name, move.old, src_dir_fd=fd, dst_dir_fd=base)
                else:
                    if move.kind == "set":
                        disk.set_aside(fd, name, move.old)
                    os.rename(move.new, name, src_dir_fd=base, dst_dir_fd=fd)

    def undo(self) -> list[str]:
        """Bring everything back as it was before `stage`; return what could not be, as sentences."""
        problems = journal.undo([move for move in self.moves if move.kind != "mkdir" or move.place in self._made])
        for path in self.backups.values():
            with contextlib.suppress(OSError):
                backup.drop(self._policy.backup_dir, os.path.relpath(path, self._policy.backup_dir))
        return problems

    @property
    def folders(self) -> list[Place]:
        """Return the folders that this product made, now and before, and that did not give way to a file."""
        return sorted({*self._folders, *self._made} - self._gone)

    def finish(self, keep: str) -> list[Place]:
        """Drop what undoing would have needed; return which of our folders are still there.

        Folders that this product made are removed when they are empty, but not the deploy path
        ``keep``. What cannot be cleaned up here harms nothing; it is in ``moves`` afterwards.
        """
        self.moves = journal.clean(self.moves)
        backup.prune(self._policy.backup_dir, [path for _unused, path in self.backups], self._policy.keep_backups)
        innermost_first = sorted(self.folders, key=lambda place: len("/".join(place)), reverse=True)
        return sorted(place for place in innermost_first if place == (keep, "") or not _remove_quietly(place))


def _remove_quietly(place: Place) -> bool:
    try:
        return disk.remove_folder(place)
    except OSError:
        return False


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
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
