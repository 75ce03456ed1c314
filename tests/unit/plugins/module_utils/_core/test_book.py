# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files of a ledger: what is written when, and what is read after a death at any point."""

from __future__ import annotations

import errno
import functools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import book as module
from ansible_collections.watcher.config.plugins.module_utils._core.book import Book
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.model import Ledger, Owned
from ansible_collections.watcher.config.plugins.module_utils._core.records import encoded
from ansible_collections.watcher.config.tests.unit.countdown import Countdown, refuse
from ansible_collections.watcher.config.tests.unit.site import forked

FIRST = Ledger("web01", "a.com", files={("/srv", f"f{number}"): Owned(f"sha256:{number}") for number in range(5)})


def later(number: int) -> Ledger:
    """Return the ledger after some changes."""
    return replace(FIRST, files={**FIRST.files, ("/srv", f"g{number}"): Owned("sha256:g")}, revision=number)


def written(folder: Path, count: int = 5) -> Book:
    """Return the book of a ledger with so many changes."""
    book = Book(str(folder))
    for number in range(count):
        book.save(None, later(number) if number else FIRST)
    return book


def read(folder: Path) -> Ledger | None:
    """Return what another process reads."""
    return Book(str(folder)).ledger()


@pytest.mark.parametrize("count", [1, 2000])
def test_a_change_is_a_line(tmp_path: Path, count: int) -> None:
    """The base is written once; every change after that is a short line, however many files there are."""
    book = Book(str(tmp_path))
    assert book.ledger() is None
    ledger = replace(FIRST, files={("/srv", f"d/f{number}"): Owned("sha256:1") for number in range(count)})
    book.save(None, ledger)
    base = (tmp_path / "ledger.json").read_bytes()
    for revision in (1, 2, 3):
        part = book.part(["d/f0"])
        assert part is not None
        book.save(part, replace(part, files={("/srv", "d/f0"): Owned(f"sha256:{revision}")}, revision=revision))
    assert (tmp_path / "ledger.json").read_bytes() == base
    lines = (tmp_path / "ledger.log").read_bytes().splitlines()
    assert (len(lines), lines[-1]) == (4, b'{"revision": 3, "set": {"/srv": {"d/f0": {"digest": "sha256:3"}}}}')
    changed = replace(ledger, files={**ledger.files, ("/srv", "d/f0"): Owned("sha256:3")}, revision=3)
    assert book.ledger() == read(tmp_path) == changed


def test_nothing_to_write(tmp_path: Path) -> None:
    """An equal ledger is not written."""
    book = written(tmp_path)
    log = (tmp_path / "ledger.log").read_bytes()
    book.save(None, later(4))
    book.save(later(4), later(4))
    assert (tmp_path / "ledger.log").read_bytes() == log


def test_a_base_that_was_never_complete(tmp_path: Path) -> None:
    """What a process left that was killed while it wrote a new base goes when the next one writes."""
    written(tmp_path)
    (tmp_path / "ledger.json.new").write_text("{")
    Book(str(tmp_path)).save(None, later(6))
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.json", "ledger.log"}
    assert read(tmp_path) == later(6)


def test_a_torn_line(tmp_path: Path) -> None:
    """Wherever the log was cut off, the changes before that count, and the next ones follow them."""
    written(tmp_path)
    log = (tmp_path / "ledger.log").read_bytes()
    ends = [index + 1 for index, byte in enumerate(log) if byte == ord("\n")]
    for cut in range(len(log) + 1):
        (tmp_path / "ledger.log").write_bytes(log[:cut])
        count = sum(end <= cut for end in ends)
        before = later(count - 1) if count > 1 else FIRST
        if count > 1:  # all changes up to the last whole line
            before = replace(before, files={**FIRST.files, ("/srv", f"g{count - 1}"): Owned("sha256:g")})
        book = Book(str(tmp_path))
        assert book.ledger() == before
        book.save(None, replace(before, attempts=3))
        assert read(tmp_path) == replace(before, attempts=3)


@pytest.mark.parametrize("tail", [b"\0" * 200, b"\0" * 200 + b"\n", b'{"revision": 9', b'{"revis\n'])
def test_a_torn_tail(tmp_path: Path, tail: bytes) -> None:
    """What a power loss leaves of the last line is no change, and does not spoil the next one."""
    written(tmp_path)
    with (tmp_path / "ledger.log").open("ab") as log:
        log.write(tail)
    book = Book(str(tmp_path))
    assert book.ledger() == later(4)
    book.save(None, replace(later(4), attempts=3))
    assert read(tmp_path) == replace(later(4), attempts=3)


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"revision": "x"}', '{"journal": [["set"]]}'])
def test_a_damaged_line(tmp_path: Path, line: str) -> None:
    """A line in the middle that is no change makes the ledger unreadable, and the log is named."""
    written(tmp_path)
    lines = (tmp_path / "ledger.log").read_text().splitlines()
    (tmp_path / "ledger.log").write_text("\n".join([*lines[:2], line, *lines[2:], ""]))
    with pytest.raises(DeployError, match=r"ledger\.log cannot be read: .*remove ledger\.json beside it to start anew"):
        read(tmp_path)
    (tmp_path / "ledger.json").unlink()
    assert read(tmp_path) is None


def test_the_log_of_another_base(tmp_path: Path) -> None:
    """A ledger that an older version wrote, or that was restored from a backup, is not continued by a log beside it."""
    written(tmp_path)
    old = {name: value for name, value in encoded(later(9)).items() if name not in ("observed", "staged", "problem")}
    (tmp_path / "ledger.json").write_text(json.dumps(old))
    book = Book(str(tmp_path))
    ledger = replace(later(9), observed=9, staged=0)
    assert book.ledger() == ledger
    book.save(None, replace(ledger, attempts=1))
    book.save(None, replace(ledger, attempts=2))
    assert read(tmp_path) == replace(ledger, attempts=2)


def test_another_process_writes(tmp_path: Path) -> None:
    """What others wrote, to either file, is seen at once."""
    one, other = written(tmp_path), Book(str(tmp_path))
    for number in range(5, 15):
        one.save(None, later(number))
        assert other.ledger() == later(number)
        one, other = other, one
    (tmp_path / "ledger.log").unlink()
    (tmp_path / "ledger.json").unlink()
    assert one.ledger() is None
    one.save(None, FIRST)
    assert other.ledger() == FIRST


def test_a_long_log_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that has outgrown its base becomes part of it, rather while nobody waits for it."""
    monkeypatch.setattr(module, "LOG_ROOM", 1000)
    book = Book(str(tmp_path))
    bases, longest = set[bytes](), 0
    for number in range(100):
        book.save(None, later(number), durable=number % 3 < 2)
        assert read(tmp_path) == book.ledger() == later(number)
        base = (tmp_path / "ledger.json").read_bytes()
        if base not in bases:
            assert number % 3 == 2 or not bases
        bases.add(base)
        log = tmp_path / "ledger.log"
        longest = max(longest, len(log.read_bytes()) if log.exists() else 0)
    assert 3 < len(bases) < 30
    assert longest < 2500
    for number in range(100, 200):
        book.save(None, later(number))
    assert len((tmp_path / "ledger.log").read_bytes()) < 3000


def changes(book: Book, log: list[int]) -> None:
    """Write some changes and list those that were."""
    for number in range(1, 16):
        book.save(None, later(number), durable=number % 3 < 2)
        log.append(number)


def test_every_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk refuses, memory and disk agree on what was there before, and the next change follows it."""
    monkeypatch.setattr(module, "LOG_ROOM", 300)
    for count in range(1, 99):
        folder = tmp_path / str(count)
        folder.mkdir()
        book = written(folder, 2)
        log = [1]
        with monkeypatch.context() as patch:
            countdown = Countdown(patch, count, refuse)
            try:
                changes(book, log)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                assert book.ledger() in (later(log[-1]), later(log[-1] + 1))  # a new base that was not synced is there
            else:
                break
        assert read(folder) == book.ledger()
        book.save(None, later(20))
        assert read(folder) == later(20)
    assert countdown.count > 0
    assert {"pwrite", "fdatasync", "ftruncate", "replace", "fsync"} <= set(countdown.made)


def test_every_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the process is killed, the ledger is the one before a change or the one after it."""
    monkeypatch.setattr(module, "LOG_ROOM", 300)
    for count in range(1, 99):
        folder = tmp_path / str(count)
        folder.mkdir()
        written(folder, 2)
        status = forked(functools.partial(dying, monkeypatch, folder, count))
        ledger = read(folder)
        assert ledger is not None
        reached = int((folder / "reached").read_text())
        assert ledger in (later(reached), later(reached + 1))
        Book(str(folder)).save(None, later(20))
        assert read(folder) == later(20)
        if status == 0:
            break
    assert status == 0
    assert count > 15


def dying(monkeypatch: pytest.MonkeyPatch, folder: Path, count: int) -> None:
    """Write changes in a process that dies at one of its calls."""

    class Reached(list[int]):
        def append(self, number: int) -> None:
            (folder / "reached").write_text(str(number))

    Reached().append(1)
    Countdown(monkeypatch, count, lambda: os._exit(9))
    changes(Book(str(folder)), Reached())


def test_what_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that shall be durable is synced before it is done, another one is not, and a short write is an error."""
    book = written(tmp_path)
    with monkeypatch.context() as patch:
        made = Countdown(patch, 0, refuse).made
        book.save(None, later(5))
        assert made == ["pwrite", "fdatasync"]
        book.save(None, later(6), durable=False)
        assert made[2:] == ["pwrite"]
    half = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: half(fd, data[:7], offset))
    with pytest.raises(OSError, match="No space left"):
        book.save(None, later(7))
    monkeypatch.setattr(os, "pwrite", half)
    assert read(tmp_path) == book.ledger() == later(6)


def test_a_ledger_that_may_not_be_read(tmp_path: Path) -> None:
    """A file that cannot be opened is named, and no file is no ledger."""
    (tmp_path / "ledger.json").mkdir()
    with pytest.raises(DeployError, match=r"ledger\.json cannot be read: Is a directory; restore it, or remove it"):
        read(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    assert read(tmp_path / "file") is None
    assert read(tmp_path / "none") is None


def test_having(tmp_path: Path) -> None:
    """Absolute paths are found below the folder that a deploy path leads to, claimed ones too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    book = Book(str(tmp_path))
    root = str(tmp_path / "link")
    book.save(None, replace(FIRST, files={(root, "d/f"): Owned("sha256:1")}, claims=((root, "new"), ("/", "etc/x"))))
    paths = [f"{tmp_path}/{path}" for path in ("real/d/f", "real/new", "real/d", "link/d/f", "realm/d/f")]
    assert book.having([*paths, "/etc/x", "/etc/y"]) == {*paths[:2], "/etc/x"}
    assert Book(str(tmp_path / "none")).having(paths) == set()


def test_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread waits for what a deploy path leads to, others read and write the ledger."""
    book = written(tmp_path, 1)
    hanging, go_on = threading.Event(), threading.Event()

    def realpath(path: str) -> str:
        hanging.set()
        assert go_on.wait(10)
        return path

    monkeypatch.setattr(os.path, "realpath", realpath)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(book.having, ["/srv/f0", "/srv/none"])
        try:
            assert hanging.wait(10)
            pool.submit(book.save, None, later(7)).result(10)
        finally:
            go_on.set()
        assert waiting.result(10) == {"/srv/f0"}
    assert read(tmp_path) == later(7)
