# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One digest of many files."""

from __future__ import annotations

import hashlib
import random

from ansible_collections.watcher.config.plugins.module_utils._core.digest import TreeDigest


def test_value() -> None:
    """It is the digest of 256 digests, each of the sorted lines of the paths that begin alike when hashed."""
    files = {"b": "sha256:2", "a/\u00fc": "sha256:1", "c": "sha256:3"}
    buckets: list[list[str]] = [[] for _unused in range(256)]
    for path in sorted(files):
        buckets[hashlib.sha256(path.encode()).digest()[0]].append(f"{files[path]}  {path}\n")
    digests = [hashlib.sha256("".join(lines).encode()).digest() for lines in buckets]
    assert TreeDigest(files).value() == "sha256:" + hashlib.sha256(b"".join(digests)).hexdigest()
    assert TreeDigest().value() != TreeDigest(files).value()


def test_changes_one_by_one() -> None:
    """Whatever came before, equal files have equal digests, and no others."""
    chance = random.Random(7)  # noqa: S311 (no secret)
    digest, files = TreeDigest(), dict[str, str]()
    seen = {digest.value(): dict[str, str]()}
    for number in range(600):
        path = f"f{chance.randrange(300)}"
        if chance.random() < 0.3:
            digest.drop(path)
            files.pop(path, None)
        else:
            digest.set(path, f"sha256:{number}")
            files[path] = f"sha256:{number}"
        assert seen.setdefault(digest.value(), dict(files)) == files
    assert len(seen) > 400
    assert digest.value() == TreeDigest(dict(reversed(files.items()))).value()
