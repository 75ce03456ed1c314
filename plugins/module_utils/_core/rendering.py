# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates of the projects that a controller deploys: rendered with values of the revision that it has read."""

from __future__ import annotations

from dataclasses import replace

from .errors import DeployError
from .keys import Tree
from .model import Project
from .render import Renderer, rendered
from .store import Store
from .values import Values, by_name, folder
from .watches import Contents, listed


class Rendering:
    """Renders projects of one revision; reads each prefix once, whichever of them watch it."""

    def __init__(self, store: Store, tree: Tree) -> None:
        """Read nothing yet."""
        self._store, self._tree = store, tree
        self._renderer = Renderer()
        self._known: dict[tuple[str, int], Contents] = {}

    def of(self, project: Project) -> Project:
        """Return the project as it is to be deployed; what is wrong with its templates is in ``render_error``."""
        policy = project.policy
        if policy is None or not policy.render or project.unmatched:
            return project
        items = by_name(project.variables.items())
        newest = project.newest
        try:
            for prefix in map(folder, policy.watch):
                contents = self._below(prefix, project.revision)
                items.update(contents.items)
                newest = max(newest, contents.newest)
        except DeployError as error:
            return replace(project, render_error=f"{project.where}: {error}")
        values = Values(self._tree.variables(project.host, project.name), policy.watch, items)
        return replace(rendered(self._renderer, project, values), newest=newest)

    def _below(self, prefix: str, revision: int) -> Contents:
        contents = self._known.get((prefix, revision))
        if contents is None:
            contents = listed(self._store, prefix, self._tree.reports, revision)
            self._known[prefix, revision] = contents
        contents.check()
        return contents
