# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files of a ledger: ``ledger.json``, and ``ledger.log`` with the changes since it was written.

So a change costs one line, however big the ledger is. The log's first line names the ``ledger.json``
that it continues; it means nothing beside another. Every other line is one change. The last line may
be torn: whoever wrote it was killed before anything was done because of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from . import disk
from .errors import DeployError, InvalidError
from .failpoints import reach
from .model import Ledger, Place
from .records import Page, decoded, difference, encoded

BASE = "ledger.json"
LOG = "ledger.log"
LOG_ROOM = 128 * 1024  # bytes of a log before it gives way to a new base, unless the base is bigger itself
READS = 20  # tries to read both files while somebody else keeps writing new ones
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class _Seen(NamedTuple):
    """What tells one state of a file from another; all zero for a file that is missing."""

    inode: int = 0
    size: int = 0
    changed: int = 0  # nanoseconds

    @classmethod
    def of(cls, status: os.stat_result) -> _Seen:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class Book:
    """A project's ledger on disk, and in memory as long as nobody else writes; shared by threads.

    Only who holds the project's lock may write. All methods raise DeployError when it cannot be read.
    """

    def __init__(self, folder: str) -> None:
        """Use the folder of a project, which need not be there yet."""
        self._folder = folder
        self._base, self._log = os.path.join(folder, BASE), os.path.join(folder, LOG)
        self._new = self._base + ".new"  # a base that is not complete
        self._guard = threading.Lock()
        self._page: Page | None = None
        self._news: list[
            dict[str, Any]
        ] = []  # written down, and not taken by the page yet: nobody has to wait for that
        self._token = ""  # which log continues the base
        self._end = 0  # bytes of the log that count
        self._seen = (_Seen(), _Seen())
        self._tidy = False  # whether what a process that was killed may have left is away

    def _forget(self) -> None:
        self._page, self._token, self._end, self._seen = None, "", 0, (_Seen(), _Seen())
        self._news.clear()

    def ledger(self) -> Ledger | None:
        """Return the whole ledger, None when there is none."""
        with self._guard:
            page = self._fresh()
            return page.ledger() if page else None

    def plain(self) -> Ledger | None:
        """Return the ledger without its files and folders, None when there is none."""
        with self._guard:
            page = self._fresh()
            return page.plain if page else None

    def part(self, paths: Iterable[str]) -> Ledger | None:
        """Return the ledger as far as it is about these paths (see `Page.part`), None when there is none."""
        with self._guard:
            page = self._fresh()
            return page.part(paths) if page else None

    def having(self, paths: Collection[str]) -> set[str]:
        """Return those of the absolute paths that the ledger owns or claims, links above deploy paths resolved."""
        with self._guard:
            page = self._fresh()
            roots = list(page.roots) if page else []
        places: dict[Place, str] = {}
        for root in roots:  # which may be on a disk that hangs: nobody waits for it here
            below = os.path.join(os.path.realpath(root), "")
            places.update(((root, path[len(below) :]), path) for path in paths if path.startswith(below))
        with self._guard:
            page = self._fresh()
            return {places[place] for place in page.having(places)} if page else set()

    def save(self, before: Ledger | None, after: Ledger, durable: bool = True) -> None:
        """Write down what has changed, durable before this returns if asked; OSError when the disk refuses.

        ``before`` is what a caller has read, None for whatever is there.
        """
        with self._guard:
            page = self._fresh() or Page(Ledger(after.host, after.project))
            change = difference(before or page.ledger(), after)
            try:
                self._save(page, change, durable)
            except BaseException:
                self._forget()
                raise

    def _save(self, page: Page, change: dict[str, Any], durable: bool) -> None:
        if not self._tidy:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._new)
            self._tidy = True
        if not change:
            return
        line = json.dumps(change).encode() + b"\n"
        # Nobody waits for what need not be durable: that is the time to write a new base.
        room = max(LOG_ROOM, self._seen[0].size) * (2 if durable else 1)
        if self._token and self._end + len(line) <= room:
            self._append(line, durable)
            self._news.append(change)
        else:
            page.take(change)
            self._rewrite(page)

    def _append(self, line: bytes, durable: bool) -> None:
        data = line if self._end else json.dumps({"log": self._token}).encode() + b"\n" + line
        fd = os.open(self._log, _WRITE, 0o600)
        try:
            if self._seen[1].size != self._end:  # a torn line, or the log of an older base
                os.ftruncate(fd, self._end)
            try:
                if os.pwrite(fd, data, self._end) != len(data):
                    raise OSError(None, "No space left on device", self._log)
                reach("ledger.written")
                if durable:
                    os.fdatasync(fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, self._end)
                raise
            status = os.fstat(fd)
        finally:
            os.close(fd)
        if not self._seen[1].inode:
            disk.sync(self._folder)
        self._end += len(data)
        self._seen = (self._seen[0], _Seen.of(status))

    def _rewrite(self, page: Page) -> None:
        """Write a new base, after which the log means nothing."""
        token = secrets.token_hex(8)
        with open(self._new, "w", encoding="utf-8", errors="backslashreplace") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(json.dumps({"log": token, **encoded(page.ledger())}, ensure_ascii=False))
            stream.flush()
            os.fsync(stream.fileno())
            seen = _Seen.of(os.fstat(stream.fileno()))
        reach("ledger.new")
        os.replace(self._new, self._base)
        reach("ledger.replaced")
        disk.sync(self._folder)
        self._page, self._token, self._end, self._seen = page, token, 0, (seen, self._seen[1])

    def _fresh(self) -> Page | None:
        """Return what the files say, from memory when they are what they were."""
        seen = (_look(self._base), _look(self._log))
        if seen != self._seen or not seen[0].inode:
            self._forget()
            self._read()
        while self._page is not None and self._news:
            self._page.take(self._news.pop(0))
        return self._page

    def _read(self) -> None:
        for _unused in range(READS):
            before = _look(self._base)
            base, log = _content(self._base), _content(self._log)
            seen = (_look(self._base), _look(self._log))
            if seen[0] == before:
                break
        else:
            raise DeployError(f"{self._base} cannot be read: somebody keeps changing it")
        if base is None:
            return
        try:
            data = json.loads(base)
            page, token = Page(decoded(data)), str(data.get("log", ""))
        except (ValueError, RecursionError, InvalidError) as error:
            raise _unreadable(self._base, str(error), "it") from error
        try:
            self._end = _replay(log or b"", token, page)
        except (ValueError, RecursionError, AttributeError, InvalidError) as error:
            raise _unreadable(self._log, str(error), f"{BASE} beside it") from error
        if seen[1].size != len(log or b""):  # somebody went on writing: it is read again the next time
            seen = (seen[0], _Seen())
        self._page, self._token, self._seen = page, token, seen


def _look(path: str) -> _Seen:
    try:
        return _Seen.of(os.stat(path))
    except OSError:  # whoever opens it will say what is wrong
        return _Seen()


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, str(error.strerror), "it") from error


def _unreadable(path: str, why: str, what: str) -> DeployError:
    return DeployError(f"{path} cannot be read: {why}; restore it, or remove {what} to start anew")


def _replay(log: bytes, token: str, page: Page) -> int:
    """Let a page take all changes of its log; return how many bytes of it count."""
    lines = log.splitlines(keepends=True) or [b""]
    end = 0
    for number, line in enumerate(lines):
        try:
            data = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            if number < len(lines) - 1:
                raise
            data = None
        if data is None or (number == 0 and (not token or data.get("log") != token)):
            break
        if number:
            page.take(data)
        end += len(line)
    return end if end > len(lines[0]) else 0
