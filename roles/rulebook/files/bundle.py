# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print files as the role sends them: JSON of paths and contents (Base64). It runs on the controller.

Arguments are a folder, what goes in front of the paths, and the names in the folder that count; all without any.
"""

from __future__ import annotations

import base64
import json
import os
import sys


def paths(folder: str, names: list[str]) -> list[str]:
    """Return the files, relative to the folder, without what Python and git keep there; links are followed."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in parents(parent, folder):
            sys.exit(f"{parent} is a link to a folder that it is in: remove it")
        top = os.path.relpath(parent, folder)
        wanted = set(names if names and top == os.curdir else folders + files)
        folders[:] = [name for name in folders if name in wanted and name not in ("__pycache__", ".git")]
        found += [os.path.normpath(os.path.join(top, name)) for name in files if name in wanted]
    return sorted(found)


def parents(path: str, folder: str) -> set[str]:
    """Return the folders above a path, down from a folder, without links."""
    found = set()
    while path != folder:
        path = os.path.dirname(path)
        found.add(os.path.realpath(path))
    return found


def main(folder: str, front: str, *names: str) -> None:
    """Print it, the same for the same files."""
    contents, folder = {}, os.path.realpath(folder)
    for path in paths(folder, list(names)):
        try:
            with open(os.path.join(folder, path), "rb") as stream:
                contents[front + path] = base64.b64encode(stream.read()).decode()
        except OSError as error:
            sys.exit(f"{error.filename} cannot be sent: {error.strerror}")
    print(json.dumps(contents))


if __name__ == "__main__":
    main(*sys.argv[1:])
