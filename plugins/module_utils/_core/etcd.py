# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store protocol on etcd v3.4 and newer."""

from __future__ import annotations

import threading
from typing import Any

from . import wire
from .client import Client
from .connection import Connection
from .errors import CompactedError, ConflictError
from .etcd_watch import EtcdWatch
from .keys import shown
from .store import Guard, KeyValue, Listing, Store, Write

FIRST_PAGE = 16  # keys: 16 MiB if each has the largest value there is
PAGE_GROWTH = 8  # times the page before at most, for the next values may be larger
MAX_PAGE = 1000  # keys
PAGE_BYTES = 2 << 20  # what a page should have


def connect(connection: Connection) -> Store:
    """Return the etcd store of a connection; the first call connects."""
    return EtcdStore(connection)


class EtcdStore:
    """Store on etcd; may be shared by threads, and made before a fork but not used before it."""

    def __init__(self, connection: Connection) -> None:
        """Open nothing yet."""
        self._client = Client(connection)
        self._watches: set[EtcdWatch] = set()
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[KeyValue | None, int]:
        """Return the key, or None, and the store's revision."""
        page = self._range(f"reading {shown(key)}", key=key.encode())
        found = _key_values(page)
        return (found[0] if found else None), page.header.revision

    def list(self, prefix: str, *, keys_only: bool = False, revision: int = 0) -> Listing:
        """Return all keys that start with the prefix, at the revision (0: now), read in pages.

        Raise CompactedError when the revision is gone, also while the pages are read.
        """
        what = f"listing {shown(prefix)}"
        key, end = _range_of(prefix)
        fixed = {"range_end": end, "keys_only": keys_only}
        page = self._range(what, key=key, limit=FIRST_PAGE, revision=revision, **fixed)
        header, items, limit = page.header, _key_values(page), FIRST_PAGE
        while page.more:
            limit = _next_limit(limit, page)
            key = items[-1].key + b"\0"
            page = self._range(what, key=key, limit=limit, revision=revision or header.revision, **fixed)
            if page.header.cluster_id != header.cluster_id:
                raise CompactedError(f"{what} failed, for its endpoints belong to different clusters: correct them")
            items += _key_values(page)
        return Listing(tuple(items), revision or header.revision, header.cluster_id)

    def commit(self, write: Write) -> int:
        """Carry out the transaction and return its revision.

        Raise ConflictError when a guard does not hold, StoreError when it is too large or its lease
        gone, and UnavailableError when it is unknown whether it was carried out.
        """
        messages = wire.load().messages
        request = messages["TxnRequest"](
            compare=[_compare(guard) for guard in write.guards], success=_operations(messages, write)
        )
        response = self._client.unary("KV/Txn", request, _named(write), once=True)
        if not response.succeeded:
            seen = " or ".join(f"{shown(guard.prefix)} (seen at revision {guard.revision})" for guard in write.guards)
            raise ConflictError(f"{_named(write)} was not carried out, for {seen} has changed: read again")
        return int(response.header.revision)

    def grant(self, seconds: int) -> int:
        """Return a new lease that ends in so many seconds, or a little later, unless it is renewed.

        An answer that gets lost leaves a lease without keys behind, which ends by itself.
        """
        request = wire.load().messages["LeaseGrantRequest"](TTL=seconds)
        return int(self._client.unary("Lease/LeaseGrant", request, f"granting a lease of {seconds} s").ID)

    def renew(self, lease: int) -> int:
        """Let a lease begin anew and return the seconds it has then; 0 when it is gone."""
        request = wire.load().messages["LeaseKeepAliveRequest"](ID=lease)
        return int(self._client.unary("Lease/LeaseKeepAlive", request, f"renewing lease {lease:x}").TTL)

    def revoke(self, lease: int) -> None:
        """End a lease and delete the keys under it, in one revision; StoreError when it is gone already."""
        request = wire.load().messages["LeaseRevokeRequest"](ID=lease)
        self._client.unary("Lease/LeaseRevoke", request, f"revoking lease {lease:x}")

    def watch(self, prefix: str, start: int) -> EtcdWatch:
        """Return an open watch on all keys that start with the prefix, from revision ``start`` (0: from now).

        Raise CompactedError when ``start`` is gone or more than one ahead of the store,
        DeniedError and UnavailableError.
        """
        what = f"watching {shown(prefix)} from revision {start}"
        key, end = _range_of(prefix)
        bounds = {"key": key, "range_end": end}
        watch = EtcdWatch.open(self._client, {**bounds, "start_revision": start}, what, self._forget)
        with self._lock:
            self._watches.add(watch)
        try:
            if start > 1 and start != watch.revision + 1:
                self._check_history(what, bounds, start - 1)
        except BaseException:
            watch.close()
            raise
        return watch

    def close(self) -> None:
        """Close all connections and watches."""
        with self._lock:
            watches = tuple(self._watches)
        for watch in watches:
            watch.close()
        self._client.close()

    def _check_history(self, what: str, bounds: dict[str, bytes], last: int) -> None:
        """Raise CompactedError unless the store has the revision before the one a watch starts at.

        A linearizable read decides, for the member that serves the watch may lag behind. It fails
        also when the watch starts at the compacted revision itself: etcd takes such a watch, and
        before 3.4.36 and 3.5.18 leaves out the deletions of that revision.
        """
        self._range(what, **bounds, count_only=True, revision=last)

    def _forget(self, watch: EtcdWatch) -> None:
        with self._lock:
            self._watches.discard(watch)

    def _range(self, what: str, **fields: Any) -> Any:
        return self._client.unary("KV/Range", wire.load().messages["RangeRequest"](**fields), what)


def _range_of(prefix: str) -> tuple[bytes, bytes]:
    """Return key and range end, in etcd's meaning, of all keys that start with the prefix."""
    key = prefix.encode()
    stem = key.rstrip(b"\xff")
    return key or b"\0", stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


def _key_values(page: Any) -> list[KeyValue]:
    return [KeyValue(item.key, item.value, item.mod_revision, item.lease) for item in page.kvs]


def _next_limit(limit: int, page: Any) -> int:
    """Return how many keys to ask for so that a page has about `PAGE_BYTES`."""
    average: int = max(1, page.ByteSize() // len(page.kvs))
    return max(1, min(PAGE_BYTES // average, limit * PAGE_GROWTH, MAX_PAGE))


def _compare(guard: Guard) -> dict[str, Any]:
    """Return a guard as a Compare; etcd holds a range to be equal only if each of its keys is."""
    if guard.exact:
        return {"key": guard.prefix.encode(), "target": "MOD", "result": "EQUAL", "mod_revision": guard.revision}
    key, end = _range_of(guard.prefix)
    return {"key": key, "range_end": end, "target": "MOD", "result": "LESS", "mod_revision": guard.revision + 1}


def _operations(messages: dict[str, Any], write: Write) -> list[Any]:
    operation, delete, put = (messages[name] for name in ("RequestOp", "DeleteRangeRequest", "PutRequest"))
    ranges = [_range_of(prefix) for prefix in write.delete_prefixes] + [(key.encode(), b"") for key in write.deletes]
    deletes = [operation(request_delete_range=delete(key=key, range_end=end)) for key, end in ranges]
    return deletes + [
        operation(request_put=put(key=key.encode(), value=value, lease=write.lease)) for key, value in write.puts
    ]


def _named(write: Write) -> str:
    """Return a transaction for a message: its size and the first key of it."""
    keys = [key for key, _value in write.puts] + [*write.deletes, *write.delete_prefixes]
    size = sum(len(value) for _key, value in write.puts)
    place = f" on {shown(keys[0])}" if keys else ""
    return f"a transaction of {write.operations} operations and {size} bytes{place}"
