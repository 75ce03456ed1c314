# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the contents that were deployed, beside the ledger.

With it a host repairs a file that drifted while etcd is away. It is a convenience, not a promise:
nothing is synced, and what does not match its digest is as good as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Collection

from .model import sha256

logger = logging.getLogger(__name__)


class Copies:
    """The copies of one host: a folder a project, and in it one content a path."""

    def __init__(self, state_dir: str) -> None:
        """Use the state folder."""
        self._state_dir = state_dir

    def put(self, project: str, path: str, content: bytes) -> None:
        """Keep the content of a file; a disk that refuses costs only the copy."""
        copy = self._path(project, path)
        if _read(copy) == content:
            return
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(copy), mode=0o700)  # the project's own folder is there since its first lock
            fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(content)
        except OSError as error:
            logger.debug("project %s: no copy of a content was kept: %s", project, error)

    def get(self, project: str, path: str, digest: str) -> bytes | None:
        """Return the content of a file, None when there is no good copy."""
        content = _read(self._path(project, path))
        return content if content is not None and sha256(content) == digest else None

    def drop(self, project: str, path: str) -> None:
        """Forget the content of a file."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(project, path))

    def prune(self, project: str, keep: Collection[str]) -> None:
        """Forget all contents but those of the files at these paths."""
        names = {os.path.basename(self._path(project, path)) for path in keep}
        folder = os.path.dirname(self._path(project, ""))
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if name not in names:
                    os.unlink(os.path.join(folder, name))
            if not names:
                os.rmdir(folder)

    def _path(self, project: str, path: str) -> str:
        return os.path.join(self._state_dir, project, "objects", hashlib.sha256(path.encode()).hexdigest())


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
