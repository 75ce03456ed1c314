# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One digest of all files of a project, which a changed file changes at a cost that does not grow with their number.

Files are sorted into 256 buckets by the first byte of their path's SHA-256. A bucket's digest is
that of its lines ``<digest>  <path>``, sorted; the value is the digest of all buckets' digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_BUCKETS = 256
_EMPTY = hashlib.sha256().digest()


class TreeDigest:
    """Collects the digests of files by their paths."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        """Start with these digests by path."""
        self._lines: list[dict[str, str]] = [{} for _unused in range(_BUCKETS)]
        self._digests = [_EMPTY] * _BUCKETS
        self._dirty: set[int] = set()
        for path, digest in (files or {}).items():
            self.set(path, digest)

    def set(self, path: str, digest: str) -> None:
        """Add a file, or change its digest."""
        bucket = _bucket(path)
        self._lines[bucket][path] = digest
        self._dirty.add(bucket)

    def drop(self, path: str) -> None:
        """Remove a file; one that is not there is fine."""
        bucket = _bucket(path)
        self._lines[bucket].pop(path, None)
        self._dirty.add(bucket)

    def value(self) -> str:
        """Return ``sha256:<64 hex digits>``, equal for equal files in whatever order they came."""
        for bucket in self._dirty:
            lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(self._lines[bucket].items()))
            self._digests[bucket] = hashlib.sha256(lines.encode("utf-8")).digest()
        self._dirty.clear()
        return "sha256:" + hashlib.sha256(b"".join(self._digests)).hexdigest()


def _bucket(path: str) -> int:
    return hashlib.sha256(path.encode("utf-8")).digest()[0]
