# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where log lines go: standard error, which is the journal's under systemd, and a file that is rotated."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import time
from typing import Any

from .errors import InvalidError
from .settings import Logs

SIZE = 10 * 1024 * 1024  # bytes of a log file before it is rotated
OLD = 7  # rotated files that are kept
MODE = 0o640
PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # of syslog, which the journal reads


def setup(logs: Logs | None, *, stderr: bool = True) -> None:
    """Send the log of this process where it belongs; raise InvalidError when the file cannot be written."""
    root = logging.getLogger()
    level = logs.level if logs is not None else "info"
    file = _file(logs) if logs is not None and logs.folder else None
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    if stderr:
        standard = _Standard(sys.stderr)
        standard.setFormatter(_Journal() if _is_journal() else _Dated())
        root.addHandler(standard)
    if file is not None:
        file.setFormatter(_Dated())
        root.addHandler(file)


def _file(logs: Logs) -> logging.Handler:
    path = os.path.join(os.path.abspath(logs.folder), logs.filename + ".log")
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        return _File(path, maxBytes=SIZE, backupCount=OLD)
    except OSError as error:
        raise InvalidError(
            f"the log file {path} (path and filename in [logs]) cannot be written: {error.strerror}; allowed is a"
            " folder that this user may make or write in"
        ) from error


def _is_journal() -> bool:
    """Return whether standard error goes to the journal, which has times of its own."""
    with contextlib.suppress(OSError, ValueError):
        status = os.fstat(sys.stderr.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


class _Dated(logging.Formatter):
    """Lines that begin with the time, in UTC, and the level."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime


class _Journal(logging.Formatter):
    """Lines each of which begins with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{PRIORITY.get(record.levelname, 5)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines() or [""])


class _Standard(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.9 cannot subscribe it
    """Standard error; when it cannot be written, lines are lost and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:  # the name that logging calls
        """Say nothing: there is nowhere to say it."""


class _File(logging.handlers.RotatingFileHandler):
    """A rotated file that only its owner and group read; when it cannot be written, that is said once."""

    _failed = False  # this line
    _trouble = False  # the line before

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=_opener)

    def doRollover(self) -> None:  # the name that logging calls
        """Rotate; where that fails, the file just grows."""
        try:
            super().doRollover()
        except OSError:
            self._drop()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._failed = False
        super().emit(record)
        if self._trouble and not self._failed:
            _say(f"the log file {self.baseFilename} can be written again")
        self._trouble = self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # the name that logging calls
        """Say once why, and open the file anew for the next line."""
        self._failed = True
        if not self._trouble:
            _say(f"the log file {self.baseFilename} cannot be written, which is tried on: {sys.exc_info()[1]}")
        self._drop()

    def _drop(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, MODE)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
