# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the collections trees the tools want, from a checkout with any folder name.

link  .cache/link/ansible_collections/NS/NAME   a symlink: mypy, pytest, ansible-lint, ansible-doc
copy  .cache/copy/ansible_collections/NS/NAME   what git lists: ansible-test, build, docs
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def place(kind: str) -> Path:
    """Return the place of the collection in the tree of that kind."""
    galaxy = (ROOT / "galaxy.yml").read_text(encoding="utf-8")
    found: dict[str, str] = dict(re.findall(r"^(namespace|name): *(\S+)", galaxy, re.MULTILINE))
    return ROOT / ".cache" / kind / "ansible_collections" / found["namespace"] / found["name"]


def link() -> None:
    """Link the checkout into its tree."""
    path = place("link")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to("../../../..", target_is_directory=True)


def listed() -> set[str]:
    """Return the files that git lists, changed ones and new ones too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in names.split("\0") if name and (ROOT / name).exists()}


def put(path: Path, names: set[str]) -> None:
    """Copy these files of the checkout below a folder."""
    for name in names:
        new = path / name
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, new, follow_symlinks=False)


def copy() -> None:
    """Copy the files that git lists; keep tests/output.

    The copy is a git repository of its own: inside this one it would be a folder git
    ignores, and ansible-test then skips every file and reports success.
    """
    path = place("copy")
    if not (path / ".git").exists():
        subprocess.run(["git", "init", "-q", str(path)], check=True)
    names = listed()
    if path.exists():
        for old in sorted(path.rglob("*"), reverse=True):
            name = old.relative_to(path).as_posix()
            if name.split("/")[0] == ".git":
                continue
            if old.is_dir() and not old.is_symlink():
                if not any(old.iterdir()):
                    old.rmdir()
            elif name not in names and not name.startswith("tests/output/"):
                old.unlink()
    put(path, names)


if __name__ == "__main__":
    {"link": link, "copy": copy}[sys.argv[1]]()
