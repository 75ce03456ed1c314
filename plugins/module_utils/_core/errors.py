# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, as far as a caller acts differently.

::

    WatcherError            the message is one sentence for the user
    ├── InvalidError        a policy, key, option or value breaks the contract: the user mends it
    ├── DeployError         a step of a deployment failed: the old files stay or come back
    └── StoreError          etcd refused or did not answer, for good (too large, package missing)
        ├── UnavailableError   nothing listening, frozen, no leader: try again later
        ├── CompactedError     the history asked for is gone, or is another store's: list again
        │   └── RewoundError   the same, and the store went back or is another one: nothing was deleted in it
        ├── ConflictError      a transaction's condition did not hold: read again
        └── DeniedError        password, certificate or permission: somebody has to act
"""

from __future__ import annotations


class WatcherError(Exception):
    """Base of all errors of this package; ``str()`` of it is fit for a user."""


class InvalidError(WatcherError):
    """Something the user or the tree says breaks the contract."""


class DeployError(WatcherError):
    """A step of a deployment failed."""


class StoreError(WatcherError):
    """The store refused a request."""


class UnavailableError(StoreError):
    """The store cannot be reached now; the same call may succeed later."""


class CompactedError(StoreError):
    """The store no longer has, or never had, the history asked for."""


class RewoundError(CompactedError):
    """The store has not come yet to a revision that it, or the one in its place, had before."""


class ConflictError(StoreError):
    """A transaction's condition did not hold; nothing was written."""


class DeniedError(StoreError):
    """The store, or TLS, turned this client away."""


def reason(error: BaseException) -> str:
    """Return what to say of an error of this tree, of the operating system or of a file name's spelling."""
    if isinstance(error, OSError):
        return f"{error.strerror} ({error.filename})"
    if isinstance(error, UnicodeError):  # a locale that is not UTF-8
        return f"this host cannot spell a file name: {error}"
    return str(error)
