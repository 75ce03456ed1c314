# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of a plan on disk, and the way back from each.

They are written into the ledger before the first is made. So what a process that was killed left
half done is undone by the next one, from the same list and by the same function as after a failure.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

from . import disk
from .errors import DeployError
from .model import Move, Place
from .steps import Step


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
        if backup_dir and step.kind in ("set", "delete")
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
    return Move(
        step.kind,
        step.root,
        step.path,
        step.base,
        name + "n" if step.kind in ("create", "set") else "",
        name + "o" if step.kind in ("set", "delete") else "",
        step.file.digest if step.file is not None else "",
        there.mode,
        there.uid,
        there.gid,
    )


def undo(moves: Sequence[Move]) -> list[str]:
    """Bring everything back as it was before the first move; return what could not be, as sentences.

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
    return problems


def _undo(move: Move) -> None:
    before = disk.Owner(move.uid, move.gid, move.mode)
    if move.kind == "mkdir":
        disk.remove_folder(move.place)
    elif move.kind == "rmdir":
        disk.make_folder(move.place, before)
    elif move.kind == "mode":
        disk.give(move.place, before)
    else:
        with disk.folder(move.root, move.base) as base:
            if move.new and disk.exists(base, move.new):
                for name in filter(None, (move.old, move.new)):  # the new one last: it tells how far the move came
                    disk.remove(base, name)
            elif move.old:
                _bring_back(base, move)
            elif move.kind == "create" and disk.inspect(move.place).digest == move.digest:
                with disk.parent(move.place) as (fd, name):
                    disk.remove(fd, name)
                    os.fsync(fd)


def _bring_back(base: int, move: Move) -> None:
    with disk.parent(move.place) as (fd, name):
        os.rename(move.old, name, src_dir_fd=base, dst_dir_fd=fd)
        os.fsync(fd)
    os.fsync(base)


def clean(moves: Iterable[Move]) -> list[Move]:
    """Remove the temporary files of moves that stay; return the moves of those that cannot be removed now."""
    return [move for move in moves if (move.new or move.old) and not _clean(move)]


def _clean(move: Move) -> bool:
    try:
        with disk.folder(move.root, move.base) as base:
            for name in filter(None, (move.new, move.old)):
                disk.remove(base, name)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True
