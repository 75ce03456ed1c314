# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host shows before a deployment: files on disk, users and groups."""

from __future__ import annotations

import grp
import pwd
import sys
from collections.abc import Iterable
from typing import Callable

from . import disk
from .errors import DeployError
from .ledger import absolute
from .model import Found, Ledger, Place, Project
from .plan import Sight, places
from .policy import Policy
from .steps import Attributes


def look(project: Project, ledger: Ledger) -> Sight:
    """Return what is at every place that matters; whose they are is not known yet. Raise OSError."""
    here = list(places(project, ledger))
    _spell(here)
    ours = len({root for root, _unused in here}) == 1 and all(place in ledger.files for place in here)
    # Of files below one path, none of them new, none can be another's: that needs no look at links.
    real = ["/".join(place) for place in here] if ours else absolute(here)
    return Sight({place: _inspect(place) for place in here}, dict(zip(here, real)), {})


def _inspect(place: Place) -> Found:
    try:
        return disk.inspect(place)
    except OSError as error:
        raise OSError(error.errno, f"cannot look at it: {error.strerror or error}", "/".join(place)) from error


def _spell(here: Iterable[Place]) -> None:
    """Raise DeployError when names would get other bytes on the disk than they have in the tree."""
    encoding = sys.getfilesystemencoding()
    for path in ("/".join(place) for place in here) if encoding != "utf-8" else ():
        if not path.isascii():
            raise DeployError(
                f"this process cannot spell {path!a}: its locale is not UTF-8; run it with LC_ALL=C.UTF-8"
            )


def attributes_of(policy: Policy) -> Attributes:
    """Return the mode and ids that a policy asks for; DeployError when the host has no such user or group."""
    return Attributes(
        policy.mode,
        _number(policy.owner, "owner", lambda name: pwd.getpwnam(name).pw_uid),
        _number(policy.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str, field: str, find: Callable[[str], int]) -> int | None:
    if not name:
        return None
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise DeployError(f"policy field {field} is {name!r}, which this host does not have") from None
