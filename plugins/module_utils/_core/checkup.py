# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``check``: whether the INI file, etcd and the tree fit together, and what is wrong where they do not."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from .connection import Connection
from .diagnosis import tls_context
from .errors import ConflictError, StoreError, UnavailableError, WatcherError
from .etcd import connect
from .exits import AWAY, ILL, WRONG
from .finding import FAIL, OK, WARN, Finding
from .keys import Tree
from .preview import previews
from .probes import Probe, probe_all
from .settings import Settings
from .snapshot import strays
from .store import Guard, Listing, Store, Write

NEVER = (1 << 63) - 1  # a revision that no key will ever have
SOME_PROJECT = "check"  # whose status is asked about where the tree has no project


def check(settings: Settings) -> Iterator[Finding]:
    """Yield what is right and wrong; what depends on something that is wrong is left out."""
    yield Finding(OK, "configuration", f"{settings.path} is valid, this is host {settings.host}")
    for warning in settings.warnings:
        yield Finding(WARN, "configuration", warning)
    unfit = unfit_certificates(settings.connection)
    if unfit is not None:
        yield unfit
        return
    tree = Tree(settings.connection.prefix)
    probes = probe_all(settings.connection, tree.host(settings.host))
    for probe in probes:
        yield endpoint_finding(probe)
    if any(probe.problem is None for probe in probes):
        yield from _tree(settings, tree)
    else:  # one that only refuses is not away
        away = all(isinstance(probe.problem, UnavailableError) for probe in probes)
        yield Finding(FAIL, "etcd", "no endpoint serves this host", AWAY if away else ILL)


def unfit_certificates(connection: Connection) -> Finding | None:
    """Return what is wrong with the files that TLS needs; None when nothing is. That they can be read is known."""
    try:
        if any(server.tls for server in connection.servers):
            tls_context(connection)
    except WatcherError as error:
        return Finding(FAIL, "configuration", f"section [etcd], {error}", WRONG)
    return None


def endpoint_finding(probe: Probe) -> Finding:
    """Return what a probe of an endpoint means."""
    if probe.problem is not None:
        return Finding(FAIL, "etcd", str(probe.problem))
    version = f", version {probe.version}" if probe.version else ""
    return Finding(OK, "etcd", f"{probe.endpoint} answers within {probe.latency * 1000:.1f} ms{version}")


def _tree(settings: Settings, tree: Tree) -> Iterator[Finding]:
    """Yield what is to be said of the host's keys."""
    store = connect(settings.connection)
    try:
        prefix = tree.host(settings.host)
        listing = store.list(prefix)
        yield Finding(OK, "tree", f"{prefix} has {len(listing.items)} keys at revision {listing.revision}")
        for reason in strays(tree, (item.key for item in listing.items)).values():
            yield Finding(FAIL, "tree", f"{reason}; it is not deployed")
        names = yield from _projects(settings, store, listing)
        status = tree.status(settings.host, names[0] if names else SOME_PROJECT)
        for key in (status, tree.agent(settings.host)):
            problem = refusal(store, key)
            yield Finding(FAIL, "tree", problem) if problem else Finding(OK, "tree", f"{key} may be written")
    except StoreError as error:
        yield Finding(FAIL, "tree", str(error), AWAY if isinstance(error, UnavailableError) else ILL)
    except WatcherError as error:
        yield Finding(FAIL, "state folder", str(error))
    finally:
        store.close()


def _projects(settings: Settings, store: Store, listing: Listing) -> Generator[Finding, None, list[str]]:
    """Yield what would come of each project; return their names."""
    names = []
    for preview in previews(settings, store, listing):
        names.append(preview.project)
        yield Finding(OK if preview.good else FAIL, f"project {preview.project}", str(preview))
        if preview.policy is not None and preview.policy.watch and not preview.policy.render:
            why = "policy field watch has no effect for this host without render: true; leave it out, or add that"
            yield Finding(WARN, f"project {preview.project}", why)
    return names


def refusal(store: Store, key: str) -> str:
    """Return why etcd does not take a write of this key, empty when it would; nothing is written to find out.

    etcd asks for permissions and room before it looks at the guard, which never holds. Raise UnavailableError.
    """
    try:
        store.commit(Write(puts=((key, b""),), guards=(Guard(key, NEVER, exact=True),)))
    except ConflictError:
        return ""
    except UnavailableError:
        raise
    except StoreError as error:
        return str(error)
    return f"{key} was written although it must not be: this is not an etcd"  # the guard held
