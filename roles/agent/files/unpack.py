# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack the library: arguments are a JSON file of names and texts, and the new folder to make."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import sys


def main(bundle: str, folder: str) -> None:
    """Make the folder, complete and durable or not at all."""
    new = folder + ".new"
    package = os.path.join(new, "watcher")
    shutil.rmtree(new, ignore_errors=True)
    os.umask(0o022)
    os.makedirs(package)
    with open(bundle, encoding="utf-8") as stream:
        texts: dict[str, str] = json.load(stream)
    for name, text in texts.items():
        with open(os.path.join(package, name), "x", encoding="utf-8") as stream:
            stream.write(text)
    # Now, for the service may not be able to write here.
    compileall.compile_dir(package, quiet=1, ddir=os.path.join(folder, "watcher"))
    os.sync()
    os.rename(new, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
