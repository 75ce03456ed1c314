# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test in .cache/copy, with everything it makes kept under .cache.

- ansible-test wants a real folder ansible_collections/NS/NAME: a copy is made.
- It fetches get-pip.py over the network: a stand-in that runs pip
  out of its wheel (from the package index) is put where it looks first.
- It dies on pyenv's shims of Pythons that are not active: only Pythons that
  start are put on its PATH, and few of them, as each costs its time.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import collection_tree

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "home"
PYTHONS = ROOT / ".cache" / "pythons"
# Beside the one that runs this: the oldest of hosts, and the newest that each ansible-core in use runs on.
VERSIONS = ["3.9", "3.13"]
GET_PIP = '''"""Stand-in for get-pip.py: runs pip out of its wheel."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "{wheel}"))
from pip._internal.cli.main import main
drop = ("--no-setuptools", "--no-wheel")
sys.exit(main(["install", "--upgrade"] + [a for a in sys.argv[1:] if a not in drop]))
'''


def put_get_pip() -> None:
    """Put the stand-in for get-pip.py in ansible-test's cache."""
    spec = importlib.util.find_spec("ansible_test")
    assert spec is not None and spec.submodule_search_locations
    source = Path(next(iter(spec.submodule_search_locations)), "_internal", "python_requirements.py")
    found = re.search(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8"))
    if not found:
        print("ansible-test's version of pip not found; leaving it to get pip itself", file=sys.stderr)
        return
    version = found.group(1)
    cache = HOME / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    wheel = f"pip-{version}-py3-none-any.whl"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache)]
    subprocess.run([*command, f"pip=={version}"], check=True)
    script.write_text(GET_PIP.format(wheel=wheel), encoding="utf-8")


def find_pythons() -> None:
    """Link each Python that starts."""
    shutil.rmtree(PYTHONS, ignore_errors=True)
    PYTHONS.mkdir(parents=True)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    here = str(Path(sys.executable).parent)
    search = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != here)
    for version in VERSIONS:
        name = f"python{version}"
        places = [*sorted(pyenv.glob(f"{version}.*/bin/{name}")), shutil.which(name, path=search)]
        for place in places:
            if place and not subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode:
                (PYTHONS / name).symlink_to(place)
                break


def main() -> int:
    """Run ansible-test with the arguments given."""
    collection_tree.copy()
    cache = os.environ.get("PIP_CACHE_DIR") or str(Path.home() / ".cache" / "pip")
    find_pythons()
    put_get_pip()
    path = [p for p in os.environ["PATH"].split(os.pathsep) if not p.endswith("/shims")]
    env = {
        **os.environ,
        "HOME": str(HOME),
        "PIP_CACHE_DIR": cache,
        "PIP_QUIET": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(PYTHONS), *path]),
    }
    command = [str(Path(sys.executable).with_name("ansible-test")), *sys.argv[1:]]
    skipped = False
    with subprocess.Popen(
        command, cwd=collection_tree.place("copy"), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            skipped = skipped or "All targets skipped" in line
    return process.returncode or int(skipped)


if __name__ == "__main__":
    sys.exit(main())
