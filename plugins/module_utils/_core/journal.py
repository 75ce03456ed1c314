# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of a plan on disk, and the way back from each.

They are written into the ledger before the first is made. So what a process that was killed left
half done is undone by the next one, from the same list and by the same function as after a failure.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence

from . import disk, likeness
from .errors import DeployError
from .failpoints import reach
from .model import Move, Place
from .steps import Step

_LITTER = "cannot remove "
_LOST = "AND THE OLD FILES COULD NOT ALL BE RESTORED"


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn an OSError into a DeployError that says what was being done."""
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        path = "" if name in what or name.startswith(disk.TEMPORARY) else f" ({name})"
        raise DeployError(f"{what}: {error.strerror or error}{path}") from error


def prepare(steps: Sequence[Step], folders: Iterable[Place], backup_dir: str) -> list[Move]:
    """Return the moves of a plan in the order to make them: new folders, backups, then what the plan says.

    ``folders`` are those that this product made; only these give way to a file. Raise OSError
    when the disk cannot be looked at.
    """
    begin, known = disk.temporary(), set[Place]()
    first: list[Move] = []
    moves: list[Move] = []
    for number, step in enumerate(steps):
        if step.kind == "create" and step.found.kind == "blocked":
            moves += [Move("mkdir", *place) for place in _below(step) if place not in known]
            known.update(_below(step))
        elif step.kind == "create":
            first += [Move("mkdir", *place) for place in disk.missing_folders(step.place, known)]
            moves += _cleared(step, folders) if step.found.kind == "folder" else []
        moves.append(_move(step, f"{begin}-{number}"))
    backups = [
        Move("backup", backup_dir, step.path, step.path.rpartition("/")[0], f"{begin}-{number}b")
        for number, step in enumerate(steps)
        if backup_dir and step.replaces
    ]
    return first + backups + moves


def _below(step: Step) -> list[Place]:
    """Return the folders that a step needs once the file above it is away, outermost first."""
    parts = step.path.split("/")
    start = len(step.found.above.split("/"))
    return [(step.root, "/".join(parts[:count])) for count in range(start, len(parts))]


def _cleared(step: Step, folders: Iterable[Place]) -> list[Move]:
    """Return the removal of our folders where a file shall be, innermost first."""
    ours = [place for place in folders if place[0] == step.root and f"{place[1]}/".startswith(f"{step.path}/")]
    found = [(place, disk.inspect(place)) for place in sorted(ours, reverse=True)]
    return [
        Move("rmdir", *place, mode=there.mode, uid=there.uid, gid=there.gid)
        for place, there in found
        if there.kind == "folder"
    ]


def _move(step: Step, name: str) -> Move:
    there = step.found
    kind = "set" if step.kind == "mode" else step.kind  # by a new file, too
    return Move(
        kind,
        step.root,
        step.path,
        step.base,
        name + "n" if kind in ("create", "set") else "",
        name + "o" if kind in ("set", "delete") else "",
        step.file.digest if step.file is not None else "",
        there.mode,
        there.uid,
        there.gid,
    )


def touched(moves: Iterable[Move]) -> list[Place]:
    """Return the folders whose entries moves of files change."""
    places = {(move.root, folder): None for move in moves for folder in (move.path.rpartition("/")[0], move.base)}
    return list(places)


def undo(moves: Sequence[Move]) -> list[str]:
    """Bring everything back, durably, as it was before the first move; return what could not be, as sentences.

    How far the moves had come shows on the disk: a new file that still has its temporary name never
    came to its place.
    """
    problems = []
    for move in reversed(moves):
        try:
            gone = contextlib.suppress(FileNotFoundError)  # nothing is there that could come back
            with doing(f"cannot restore {move.root}/{move.path}"), gone:
                _undo(move)
        except DeployError as error:
            problems.append(str(error))
        reach("undo.move")
    for place in touched(moves) if not problems else ():
        try:
            with doing(f"cannot write folder {'/'.join(place)}"):
                disk.sync_folder(place)
        except DeployError as error:
            problems.append(str(error))
        reach("undo.synced")
    return problems


def lost(problems: Sequence[str]) -> bool:
    """Return whether old files may be missing after `undo` had these problems, not only too much be there."""
    return not all(problem.startswith(_LITTER) for problem in problems)


def told(problems: Sequence[str]) -> str:
    """Return what to say of the problems of `undo`."""
    what = _LOST if lost(problems) else "and not all that was new could be removed"
    return f"{what}, which the next try does first: {'; '.join(problems)}"


def _undo(move: Move) -> None:
    before = disk.Owner(move.uid, move.gid, move.mode)
    if move.kind == "mkdir":
        with doing(f"{_LITTER}folder {'/'.join(move.place)}"):
            disk.remove_folder(move.place)
    elif move.kind == "rmdir":
        if not disk.make_folder(move.place, before):
            disk.give_folder(move.place, before)  # whoever made it may have been killed before it gave these
    else:
        with disk.folder(move.root, move.base) as base:
            if move.new and disk.exists(base, move.new):
                with doing(f"{_LITTER}the temporary files of {move.root}/{move.path}"):
                    for name in filter(None, (move.old, move.new)):  # the new one last: it tells how far the move came
                        disk.remove(base, name)
                        reach("undo.removed")
            elif move.old and disk.exists(base, move.old):  # a read-only disk would not say that there is nothing
                _bring_back(base, move)
            elif move.kind == "create" and disk.inspect(move.place).digest == move.digest:
                with disk.parent(move.place) as (fd, name):
                    disk.remove(fd, name)


def _bring_back(base: int, move: Move) -> None:
    with disk.parent(move.place) as (fd, name):
        try:
            os.rename(move.old, name, src_dir_fd=base, dst_dir_fd=fd)
        except OSError as error:
            if error.errno != errno.EBUSY:  # which is of a file that was written in place
                raise
            likeness.put_back(base, move.old, fd, name)
        reach("undo.renamed")
        disk.remove(base, move.old)  # it is still there if both were names of the same file


def clean(moves: Iterable[Move]) -> list[Move]:
    """Remove the temporary files of moves that stay, durably; return the moves of those that cannot be removed now."""
    named = [move for move in moves if move.new or move.old]
    left = [move for move in named if not _clean(move)]
    for place in touched(named):
        with contextlib.suppress(OSError):  # a disk that takes no more has said so before
            disk.sync_folder(place)
        reach("clean.synced")
    return left


def _clean(move: Move) -> bool:
    try:
        with disk.folder(move.root, move.base) as base:
            for name in filter(None, (move.new, move.old)):
                disk.remove(base, name)
                reach("clean.removed")
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True


def sweep(folders: Iterable[Place], keep: str) -> list[Place]:
    """Remove those folders that are empty, but not the deploy path ``keep``; return those that are left."""
    innermost_first = sorted(folders, key=lambda place: len("/".join(place)), reverse=True)
    return sorted(place for place in innermost_first if place == (keep, "") or not _remove_quietly(place))


def _remove_quietly(place: Place) -> bool:
    try:
        return disk.remove_folder(place)
    except OSError:
        return False
