# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks: a spool on disk, and sending from it until the receiver answers 2xx.

One file a callback. Whoever deploys puts the callback in and goes on; any process of the same
machine may send. A lock keeps two senders from posting the same file at once.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import json
import os
import random
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Callable

from . import disk

FIRST_PAUSE = 5.0  # seconds until the second attempt; doubled each time
LONGEST_PAUSE = 3600.0  # seconds
KEEP = 86400.0  # seconds until a callback that nobody takes is dropped
POST_TIMEOUT = 5.0  # seconds for one attempt
_URL = "%!#$&'()*+,/:;=?@[]~"  # characters with a meaning in a URL; all others but letters and digits are quoted


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body: it is a failure instead."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def post(url: str, body: bytes, timeout: float = POST_TIMEOUT) -> str:
    """Post a JSON body; return why it failed, empty for any 2xx answer. The URL has passed the policy's check."""
    try:
        request = _request(url, body)
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=timeout) as answer:
            return "" if 200 <= answer.status < 300 else f"answer {answer.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"answer {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error) or type(error).__name__)


def _request(url: str, body: bytes) -> urllib.request.Request:
    """Return the request; user and password of the URL go into its header, as Watcher's did."""
    parts = urllib.parse.urlsplit(url)
    login, at, _host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json"}
    if at:
        user, _unused, password = map(urllib.parse.unquote, login.partition(":"))
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return urllib.request.Request(  # noqa: S310 (the policy's check lets http and https through only)
        urllib.parse.quote(anonymous(url), safe=_URL), body, headers, method="POST"
    )


def anonymous(url: str) -> str:
    """Return a URL without user and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@dataclass
class Letter:
    """A callback in the spool; times are Unix seconds."""

    url: str
    body: dict[str, Any]
    written: float
    due: float
    attempts: int = 0
    problem: str = ""

    @classmethod
    def parse(cls, text: str) -> Letter:
        """Return the letter of a file; raise ValueError or TypeError for anything else."""
        letter = cls(**json.loads(text))
        if not isinstance(letter.url, str) or not isinstance(letter.body, dict):
            raise TypeError("url and body are of other types")
        letter.written, letter.due, letter.attempts = float(letter.written), float(letter.due), int(letter.attempts)
        return letter


@dataclass
class Report:
    """What one round of sending came to; ``problems`` are sentences."""

    sent: int = 0
    left: int = 0
    dropped: int = 0
    problems: tuple[str, ...] = ()


class Spool:
    """A folder of callbacks that have not been taken yet."""

    def __init__(
        self,
        folder: str,
        *,
        send: Callable[[str, bytes], str] = post,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Use the folder; it is made, readable by its owner only, with the first callback."""
        self._folder, self._send, self._clock, self._jitter = folder, send, clock, jitter

    def put(self, url: str, body: dict[str, Any], *, pause: float = 0.0) -> str:
        """Store a callback, durably, due after ``pause`` seconds, and return its file's name.

        OSError when the disk refuses.
        """
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        now = self._clock()
        name = f"{int(now * 1000):015d}-{secrets.token_hex(4)}.json"
        self._write(name, Letter(url, body, now, now + pause))
        return name

    def deliver(self, url: str, body: dict[str, Any]) -> str:
        """Store a callback and try it at once; return why it was not taken, empty when it was.

        For senders that do not wait: other senders leave it alone meanwhile.
        """
        name = self.put(url, body, pause=POST_TIMEOUT + FIRST_PAUSE)
        letter = self._read(name)
        report = Report()
        if letter is not None:
            self._attempt(name, letter, report)
        return "; ".join(report.problems)

    def _write(self, name: str, letter: Letter) -> None:
        temporary = os.path.join(self._folder, name + ".new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as stream:
            json.dump(letter.__dict__, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, os.path.join(self._folder, name))
        disk.sync(self._folder)

    def _read(self, name: str) -> Letter | None:
        try:
            with open(os.path.join(self._folder, name), encoding="utf-8") as stream:
                return Letter.parse(stream.read())
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError):
            os.replace(os.path.join(self._folder, name), os.path.join(self._folder, name + ".bad"))
            return None

    def names(self) -> list[str]:
        """Return the files of the spool, oldest first."""
        try:
            return sorted(name for name in os.listdir(self._folder) if name.endswith(".json"))
        except FileNotFoundError:
            return []

    def send_due(self, budget: float = float("inf"), silent: Collection[str] = ()) -> Report:
        """Try each callback whose pause is over, for ``budget`` seconds; nothing while another sender is at it.

        A receiver that did not answer once, be it before (``silent``), is not asked again in the same round.
        OSError from the disk.
        """
        report = Report()
        if not self.names():
            return report
        end = self._clock() + budget
        silent = set(silent)
        with self._turn() as mine:
            for name in self.names() if mine else ():
                letter = self._read(name)
                if letter is None or not self._is_due(letter) or letter.url in silent:
                    continue
                if self._clock() >= end:
                    break
                if not self._attempt(name, letter, report):
                    silent.add(letter.url)
        report.left = len(self.names())
        return report

    def _is_due(self, letter: Letter) -> bool:
        """Return whether the pause is over; one longer than there are comes from a clock that was set back."""
        return not 0 < letter.due - self._clock() <= 2 * LONGEST_PAUSE

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        fd = os.open(os.path.join(self._folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a command that is just being started has the file open, too
            os.close(fd)

    def _attempt(self, name: str, letter: Letter, report: Report) -> bool:
        problem = self._send(letter.url, json.dumps(letter.body).encode())
        if not problem:
            self._drop(name)
            report.sent += 1
            return True
        what = f"callback {letter.body.get('id')} to {anonymous(letter.url)}: {problem}"
        if self._clock() - letter.written > KEEP:
            self._drop(name)
            report.dropped += 1
            report.problems += (f"{what}; given up after a day and {letter.attempts + 1} attempts",)
            return False
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**letter.attempts) * self._jitter(0.8, 1.2)
        letter.attempts += 1
        letter.due, letter.problem = self._clock() + pause, problem
        self._write(name, letter)
        report.problems += (f"{what}; next attempt in {pause:.0f} s",)
        return False

    def _drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another sender may have been as slow
            os.unlink(os.path.join(self._folder, name))
