# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every shape of change is killed at every step of its deployment, and of the recovery from that.

The process that deploys really dies, by SIGKILL. What the next one finds is then carried on by the same
deployment, by one whose beforeCmd fails, or by one that this host's rules refuse. Afterwards there is exactly the
old set, or exactly the new set with its commands run, and nothing else; and all that follows works.

WATCHER_LONG=1 carries all cases of small changes on in all of these ways, and kills all shapes with 500 files, too.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.watcher.config.tests.faults.ground import THENS, Ground, Shape, recorded
from ansible_collections.watcher.config.tests.mounts import mount
from ansible_collections.watcher.config.tests.unit.countdown import never_wait

ROOT = os.geteuid() == 0
LONG = bool(os.environ.get("WATCHER_LONG"))
MANY = 500  # files of the big shapes
WORKERS = 2  # processes that share the cases of a shape
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
MEMORY = Path("/dev/shm")  # noqa: S108 (a file system in memory; what is on it has a folder of its own)
# Where the first kill of two finds a deployment, as far as the shape comes there.
FIRST = ("stage.done", "swap.move", "place.filled", "swap.done", "undo.move", "again.done", "kept.recorded")
RECOVERED = "recover.recorded"

Case = tuple[tuple[str, int], ...]  # points, and which time of coming there is the last


def files(count: int, text: str) -> dict[str, bytes]:
    """Return that many files in some folders, or the one."""
    names = [f"d{number % 5}/f{number}" for number in range(count)] if count > 1 else ["f"]
    return {name: f"{text} {name}\n".encode() for name in names}


def below(folder: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files in new folders, each where one of these is."""
    return {f"{path}/{folder}": content for path, content in contents.items()}


def shapes(count: int) -> Iterator[tuple[str, Shape]]:
    """Yield the shapes of change of that many files, with their names."""
    stay = {"stay": b"stays\n"}
    old, new = files(count, "old"), files(count, "newer")
    was, wanted = {**stay, **old}, {**stay, **new}
    check = {"checkCmd": "test -f %s/stay"}
    loose = {"mode": "0644", **({"owner": "0", "group": "0"} if ROOT else {})}
    tight = {"mode": "0600", **({"owner": "1", "group": "2"} if ROOT else {})}
    more_old = {**was, "gone": b"gone\n", "swap/a/b": b"inner\n", "turn": b"turn\n"}
    more_new = {**wanted, "fresh/x": b"fresh\n", "swap": b"newer\n", "turn/y/z": b"turned\n"}
    leaves = below("deep/leaf", new)
    bad = "! grep -rqs newer ."  # an afterCmd that fails with the new files
    yield "new", Shape(stay, wanted, after=check)
    yield "changed", Shape(was, wanted, after=check)
    yield "changed, as a part", Shape(was, wanted, part=True)
    yield "deleted", Shape(was, stay)
    yield "withdrawn", Shape(old, None, fate="removed")
    yield "moved deployPath", Shape(was, wanted, elsewhere=True)
    yield "mode and owner only", Shape(was, was, before=loose, after=tight)
    yield "new nested folders", Shape(stay, {**stay, **leaves}, after={"dirMode": "0750"})
    yield "removed nested folders", Shape({**stay, **leaves}, stay)
    yield "file to folder", Shape(was, {**stay, **leaves})
    yield "folder to file", Shape({**stay, **leaves}, wanted)
    yield "all at once", Shape(more_old, more_new, before=loose, after={**check, **tight, "dirMode": "0711"})
    yield "failing checkCmd", Shape(was, wanted, after={"checkCmd": "false"}, fate="failed")
    yield "failing beforeCmd", Shape(was, wanted, after={"beforeCmd": "false"}, fate="failed")
    yield "failing afterCmd", Shape(more_old, more_new, before=loose, after=tight, fate="rolledBack", more=bad)
    if ROOT:
        bound, written = {"bound": b"old and longer\n"}, {"bound": b"newer\n"}
        both = ({**was, **bound}, {**wanted, **written})
        yield "mounted file", Shape(*both, mounted="bound")
        yield "mounted file, failing afterCmd", Shape(*both, fate="rolledBack", more=bad, mounted="bound")


SMALL, BIG = dict(shapes(1)), dict(shapes(MANY))
USUAL = (
    "new",
    "changed",
    "deleted",
    "moved deployPath",
    "mode and owner only",
    "new nested folders",
    "failing afterCmd",
)
ROWS: dict[str, tuple[int, int]] = {}  # the points and cases of each table row whose test has passed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for no disk, for a process that dies does not take the system's memory with it; make forks cheap."""
    never_wait(monkeypatch)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder, in memory where there is such a thing."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as path:
        yield Path(path)


def hits(trace: Sequence[str], *, every: bool) -> list[tuple[str, int]]:
    """Return at which times of coming to each point to kill: at each, or at the first, the middle and the last."""
    return [
        (point, hit)
        for point, count in Counter(trace).items()
        for hit in (range(1, count + 1) if every else sorted({1, (count + 1) // 2, count}))
    ]


def once(ground: Ground, *, every: bool) -> list[Case]:
    """Return the cases of one kill."""
    return [(kill,) for kill in hits(ground.trace, every=every)]


def twice(ground: Ground) -> list[Case]:
    """Return the cases of a kill, and one more during the recovery from that."""
    cases: list[Case] = []
    counts = Counter(ground.trace)
    for first in [(point, (counts[point] + 1) // 2) for point in FIRST if counts[point]]:
        ground.fresh()
        site = ground.killed(*first)
        trace: list[str] = []
        recorded(partial(ground.deploy_new, site), trace)
        cases += [(first, second) for second in hits(trace[: trace.index(RECOVERED) + 1], every=True)]
    return cases


def thens(number: int, shape: Shape, big: bool) -> Sequence[str]:
    """Return how to carry on the case of that number: in several ways, or in turns."""
    ways = THENS if shape.new is not None else ("same", "refused")  # one that is gone has no new beforeCmd
    if big:
        return (ways[number % len(ways)],)
    return ways if LONG else (ways[0], ways[1 + number % (len(ways) - 1)])


def judged(ground: Ground, cases: Sequence[tuple[Case, str]]) -> list[str]:
    """Carry cases out; return what is wrong, as sentences."""
    wrong = []
    for case, then in cases:
        try:
            site = ground.fresh()
            for kill in case:
                site = ground.killed(*kill)
            ground.carried_on(site, then)
        except AssertionError as error:
            at = ", then at ".join(f"{point} number {hit}" for point, hit in case)
            line = traceback.extract_tb(error.__traceback__)[-1].line
            wrong.append(f"killed at {at}, carried on with {then}: {line}: {error}")
    return wrong


def work(shape: Shape, find: Callable[[Ground], list[Case]], big: bool, folder: Path, number: int) -> list[str]:
    """Do a worker's share of the cases; return how many points and cases there are, and what is wrong."""
    if shape.mounted:
        keep_mounts()
    ground = Ground(folder, shape, brief=len({*shape.old, *(shape.new or ())}) >= MANY)
    cases = find(ground)
    todo = [(case, then) for position, case in enumerate(cases) for then in thens(position, shape, big)]
    points = {kill[0] for case in cases for kill in case}
    return [f"{len(points)} {len(todo)}", *judged(ground, todo[number::WORKERS])]


def keep_mounts() -> None:
    """Give this process mounts of its own, which end with it."""
    assert ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS) == 0, os.strerror(ctypes.get_errno())
    mount("--make-rprivate", "/")


def shared(folder: Path, act: Callable[[Path, int], list[str]]) -> tuple[int, int]:
    """Let some processes act, each with a folder and a number; return how many points and cases they had."""
    children = []
    for number in range(WORKERS):
        own = folder / str(number)
        own.mkdir()
        child = os.fork()
        if child == 0:
            try:
                said = "\n".join(act(own, number))
            except BaseException:
                said = f"0 0\n{traceback.format_exc()}"
            (folder / f"{number}.txt").write_text(said)
            os._exit(0)  # no second pytest
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    found = [(folder / f"{number}.txt").read_text().splitlines() for number in range(WORKERS)]
    wrong = [line for lines in found for line in lines[1:]]
    assert not wrong, "\n".join([f"{len(wrong)} of {found[0][0]} points and cases are wrong:", *wrong])
    points, cases = found[0][0].split()
    return int(points), int(cases)


@pytest.mark.parametrize("name", SMALL)
def test_each_step(folder: Path, name: str) -> None:
    """A deployment of a file, or a few, is killed each time that it comes to any point."""
    ROWS[name] = shared(folder, partial(work, SMALL[name], partial(once, every=True), False))


@pytest.mark.parametrize("name", BIG if LONG else USUAL)
def test_each_step_of_many(folder: Path, name: str) -> None:
    """A deployment of 500 files is killed at each point: the first time, the last, and in the middle."""
    ROWS[f"{name}, {MANY} files"] = shared(folder, partial(work, BIG[name], partial(once, every=False), True))


@pytest.mark.parametrize("name", SMALL)
def test_each_step_of_the_recovery(folder: Path, name: str) -> None:
    """What recovers from a kill is killed itself, each time that it comes to any point."""
    ROWS[f"{name}, recovery"] = shared(folder, partial(work, SMALL[name], twice, True))


@pytest.mark.skipif(not ROOT, reason="only root mounts")
def test_rollback_that_fails(folder: Path) -> None:
    """What cannot be brought back is said, loses nothing and is tried again, whoever is killed in it."""
    ROWS["failing afterCmd, failing rollback"] = shared(folder, stuck)


def stuck(folder: Path, number: int) -> list[str]:
    """Let a deploy path become read-only just before a rollback; do a worker's share of the kills in it."""
    keep_mounts()
    root, flag = folder / "host" / "deploy", folder / "flag"
    read_only = f"mount --bind {root} {root} && mount -o remount,ro,bind {root}"
    lock = f"if test -e {flag} && ! mountpoint -q {root}; then {read_only}; fi"
    shape = SMALL["failing afterCmd"]
    ground = Ground(folder, replace(shape, more=f"{{ {lock}; {shape.more}; }}"))
    flag.touch()
    trace: list[str] = []
    outcome = recorded(partial(ground.deploy_new, ground.fresh()), trace)
    assert outcome.state == "failed"
    assert "OLD FILES COULD NOT ALL BE RESTORED" in outcome.msg
    assert "Read-only file system" in outcome.msg
    cases = [kill for kill in hits(trace, every=True) if kill[0].startswith(("undo.", "again.", "failure."))]
    for point, hit in cases[number::WORKERS]:
        subprocess.run(["umount", "--quiet", root], check=False)
        flag.touch()
        ground.fresh()
        site = ground.killed(point, hit)
        for _unused in range(2):
            outcome = ground.deploy_new(site)
            assert outcome.state == "failed", outcome.msg
            assert "an interrupted deployment could not be undone" in outcome.msg
            ledger = site.ledger()
            assert ledger.problem == outcome.msg
            assert ledger.journal and ledger.owed
            ground.backed_up(site, shape.replaced())
        subprocess.run(["umount", root], check=True)
        flag.unlink()
        ground.carried_on(site, THENS[hit % len(THENS)])
    return [f"{len({point for point, _unused in cases})} {len(cases)}"]


def test_table(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    """Print what has been shown."""
    end = "AND THOSE THAT FAILED" if request.session.testsfailed else "all green"
    with capsys.disabled():
        print(f"\n{'change':<45}{'points':>8}{'cases':>8}")
        for name, (points, cases) in ROWS.items():
            print(f"{name:<45}{points:>8}{cases:>8}")
        print(f"{sum(cases for _unused, cases in ROWS.values())} cases, {end}")
