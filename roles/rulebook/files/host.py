# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what only this role has to know of a host, as JSON: where its Java is, and the group of a user.

Arguments are the user and the Java home that was named, which may be empty.
"""

import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys

OLDEST = 17  # what the rule engine asks for


def home(java: str) -> str:
    """Return the Java home of a program, empty when it is none that serves."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
    found = re.search(r'version "(\d+)', said)
    return os.path.dirname(os.path.dirname(os.path.realpath(java))) if found and int(found[1]) >= OLDEST else ""


def group(user: str) -> str:
    """Return the user's group, empty when there is no such user."""
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        return ""


user, named = sys.argv[1:]
java = os.path.join(named, "bin", "java") if named else shutil.which("java")
print(json.dumps({"java_home": home(java) if java else "", "group": group(user)}))
