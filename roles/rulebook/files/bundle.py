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
    """Return the files, relative to the folder, without what Python and git keep there."""
    found = []
    for parent, folders, files in os.walk(folder):
        top = os.path.relpath(parent, folder)
        folders[:] = [name for name in folders if name not in ("__pycache__", ".git")]
        found += [os.path.normpath(os.path.join(top, name)) for name in files]
    return sorted(path for path in found if not names or path.split(os.sep)[0] in names)


def main(folder: str, front: str, *names: str) -> None:
    """Print it, the same for the same files."""
    contents = {}
    for path in paths(folder, list(names)):
        with open(os.path.join(folder, path), "rb") as stream:
            contents[front + path] = base64.b64encode(stream.read()).decode()
    print(json.dumps(contents))


if __name__ == "__main__":
    main(*sys.argv[1:])
