# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack files: arguments are a JSON file of their paths and contents (Base64), and the new folder to make.

The JSON file is removed. What begins with #! becomes a program.
"""

from __future__ import annotations

import base64
import compileall
import json
import os
import shutil
import sys


def main(bundle: str, folder: str) -> None:
    """Make the folder, complete and durable or not at all."""
    new = folder + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.umask(0o022)
    os.makedirs(new)
    with open(bundle, encoding="utf-8") as stream:
        contents: dict[str, str] = json.load(stream)
    for name, encoded in contents.items():
        content = base64.b64decode(encoded)
        path = os.path.join(new, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(content)
        if content.startswith(b"#!"):
            os.chmod(path, 0o755)  # noqa: S103 (a program that is no secret)
        elif name.endswith(".py"):  # compiled now, for the service may not be able to write here
            compileall.compile_file(path, quiet=1, ddir=os.path.dirname(os.path.join(folder, name)))
    os.sync()
    os.rename(new, folder)
    os.remove(bundle)


if __name__ == "__main__":
    main(*sys.argv[1:])
