# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why files are missing from the tree: what its history says about their removal."""

from __future__ import annotations

import threading
from collections.abc import Collection

from .errors import CompactedError, InvalidError, StoreError
from .keys import Tree
from .render import target
from .store import Batch, Store

WAIT = 5.0  # seconds for the history of one project to arrive


def removed_with_policy(
    store: Store, tree: Tree, host: str, project: str, since: int, paths: Collection[str]
) -> frozenset[str]:
    """Return those of the missing paths that went in a revision that also wrote or removed the policy.

    ``since`` is the revision that the host has. Empty when that history is gone or does not come
    in time: then nothing vouches for the removal. Raise StoreError when the store refuses.
    """
    prefix = tree.project(host, project)
    search = _Search(tree, host, project, paths)
    try:
        with store.watch(prefix, since + 1) as watch:
            timer = threading.Timer(WAIT, watch.close)
            timer.start()
            try:
                for batch in watch:
                    search.read(batch)
                    if search.complete:
                        break
            finally:
                timer.cancel()
    except CompactedError:
        return frozenset()
    except StoreError:
        if not search.complete:
            raise
    return search.vouched if search.complete else frozenset()


class _Search:
    """Reads batches until the removal of every path was seen."""

    def __init__(self, tree: Tree, host: str, project: str, paths: Collection[str]) -> None:
        self._tree = tree
        self._policy = tree.policy(host, project).encode()
        self._removed: dict[str, int] = {}
        self._policy_revisions: set[int] = set()
        self._paths = frozenset(paths)

    def read(self, batch: Batch) -> None:
        """Take one batch."""
        for event in batch.events:
            if event.key == self._policy:
                self._policy_revisions.add(event.revision)
                continue
            try:
                key = self._tree.parse(event.key)
            except InvalidError:
                continue
            path = key.path if key is not None else None
            if path is not None and path not in self._paths:  # a host knows what a template has made
                path = target(path)
            if path in self._paths:
                if event.deleted:
                    self._removed[path] = event.revision
                else:
                    self._removed.pop(path, None)

    @property
    def complete(self) -> bool:
        """Return whether the removal of every path was seen."""
        return len(self._removed) == len(self._paths)

    @property
    def vouched(self) -> frozenset[str]:
        """Return the paths that were removed together with a change of the policy."""
        return frozenset(path for path, revision in self._removed.items() if revision in self._policy_revisions)
