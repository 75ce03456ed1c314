# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what the role has to know of a host, as JSON. An old Python runs this too, to be told that it is one.

Arguments are the home of the agent, the folder of its configuration, its unit, and the deploy roots.
"""

import glob
import importlib.util
import json
import os
import sys


def names(folder: str) -> "list[str]":
    """Return what is in a folder; nothing when there is none."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


home, config, unit, *roots = sys.argv[1:]
found = {
    "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    "systemd": os.path.isdir("/run/systemd/system"),
    "can_make_environments": all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")),
    "home": names(home),
    "environments": glob.glob(home + "/venv-*/lib/python*/site-packages/watcher.pth"),
    "config": names(config),
    "unit": os.path.exists(unit),
    "missing_roots": [root for root in roots if not os.path.isdir(root)],
}
print(json.dumps(found))
