# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what only this role has to know of a host, as JSON: where its Java is, and the group of a user.

Arguments are the user and the Java home that was named, which may be empty.
"""

import glob
import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys

OLDEST = 17  # what the rule engine asks for


def serves(java: str) -> bool:
    """Return whether a program is a Java that is new enough."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r'version "(\d+)', said)
    return found is not None and int(found[1]) >= OLDEST


def home(java: str) -> str:
    """Return the Java home of a program by a name that lasts: a folder may have the version in its name, a link not."""
    real = os.path.dirname(os.path.dirname(os.path.realpath(java)))
    beside = glob.glob(os.path.join(glob.escape(os.path.dirname(real)), "*"))
    names = [path for path in beside if os.path.realpath(path) == real]
    return min(names or [real], key=lambda path: (len(path), path))


def group(user: str) -> str:
    """Return the user's group, empty when there is no such user."""
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        return ""


user, named = sys.argv[1:]
java = os.path.join(named, "bin", "java") if named else shutil.which("java")
java_home = home(java) if java and serves(java) else ""
if java_home and os.path.isdir(os.path.join(named, "lib", "server")):
    java_home = named  # and not /usr, where only the program is
print(json.dumps({"java_home": java_home, "group": group(user)}))
