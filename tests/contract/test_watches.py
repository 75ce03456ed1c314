# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store keeps, whichever it is: watching."""

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import CompactedError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.store import Event, Store, Write
from ansible_collections.watcher.config.tests.contract.fixtures import Subject, batches, events, put


def test_watch_yields_events_in_order(store: Store) -> None:
    """Puts and deletes below the prefix, with their revisions, and nothing else."""
    start = store.get("/w/a")[1] + 1
    with store.watch("/w/", start) as watch:
        first = put(store, ("/w/a", b"1"))
        put(store, ("/x", b"not below the prefix"))
        second = store.commit(Write(deletes=("/w/a",)))
        assert events(watch, 2) == [Event(b"/w/a", b"1", first), Event(b"/w/a", b"", second, deleted=True)]


def test_watch_keeps_a_transaction_together(store: Store) -> None:
    """All its events are in one batch; those of a prefix deleted are one for each key."""
    put(store, ("/w/a/1", b""), ("/w/a/2", b""), ("/w/b", b""))
    start = store.get("/w/a")[1] + 1
    with store.watch("/w/", start) as watch:
        revision = store.commit(Write(puts=(("/w/c", b"c"),), deletes=("/w/b",), delete_prefixes=("/w/a/",)))
        batch = next(batches(watch))
    assert batch.revision == revision
    found = {(event.key, event.deleted) for event in batch.events}
    assert found == {(b"/w/a/1", True), (b"/w/a/2", True), (b"/w/b", True), (b"/w/c", False)}


def test_watch_replays_the_past(store: Store) -> None:
    """From the start revision on, that one included."""
    put(store, ("/w/a", b"1"))
    start = put(store, ("/w/b", b"2"))
    last = store.commit(Write(puts=(("/w/c", b"3"),), deletes=("/w/a",)))
    with store.watch("/w/", start) as watch:
        found = events(watch, 3)
    assert [event.revision for event in found] == [start, last, last]
    assert found[0] == Event(b"/w/b", b"2", start)
    with store.watch("/w/", last) as watch:
        assert {event.revision for event in events(watch, 2)} == {last}


def test_watch_goes_on_where_another_ended(store: Store) -> None:
    """No event is lost or repeated between two watches."""
    next_revision, seen = store.get("/w/a")[1] + 1, []
    for number in range(5):
        put(store, (f"/w/{number}", b""), (f"/w/{number}/more", b""))
        with store.watch("/w/", next_revision) as watch:
            found = events(watch, 2)
        seen += [event.key.decode() for event in found]
        next_revision = found[-1].revision + 1
    assert seen == [f"/w/{number}{more}" for number in range(5) for more in ("", "/more")]


def test_watch_never_tears_a_revision(store: Store) -> None:
    """A catch-up of 24 MiB comes in pieces, each of whole revisions."""
    value = b"x" * (1 << 19)
    start = put(store, ("/w/0/a", value), ("/w/0/b", value))
    for number in range(1, 24):
        put(store, (f"/w/{number}/a", value), (f"/w/{number}/b", value))
    expected = [key for number in range(24) for key in (f"/w/{number}/a", f"/w/{number}/b")]
    seen: list[Event] = []
    with store.watch("/w/", start) as watch:
        for batch in batches(watch):
            revisions = [event.revision for event in batch.events]
            assert all(revisions.count(revision) == 2 for revision in revisions)
            seen += batch.events
            if len(seen) >= len(expected):
                break
    assert [event.key.decode() for event in seen] == expected


def test_watch_from_a_compacted_revision(subject: Subject) -> None:
    """Its history is gone: list again."""
    start = put(subject.store, ("/w/a", b"1"))
    put(subject.store, ("/w/a", b"2"))
    now = put(subject.store, ("/w/a", b"3"))
    subject.compact(now)
    with pytest.raises(CompactedError), subject.store.watch("/w/", start) as watch:
        next(batches(watch))
    with subject.store.watch("/w/", now + 1) as watch:
        put(subject.store, ("/w/a", b"4"))
        assert events(watch, 1)[0].value == b"4"


def test_watch_from_a_compacted_revision_never_loses_a_deletion(subject: Subject) -> None:
    """Either the deletion comes, or CompactedError does; old etcds would send neither."""
    start = put(subject.store, ("/w/a", b"1")) + 1
    deleted = subject.store.commit(Write(deletes=("/w/a",)))
    assert deleted == start
    subject.compact(deleted)
    put(subject.store, ("/w/b", b"2"))
    try:
        with subject.store.watch("/w/", start) as watch:
            found = events(watch, 2)
    except CompactedError:
        return
    assert found[0] == Event(b"/w/a", b"", deleted, deleted=True)


def test_watch_from_the_future(store: Store) -> None:
    """The next revision may be waited for; one after that is another store's."""
    now = put(store, ("/w/a", b"1"))
    with store.watch("/w/", now + 1) as watch:
        put(store, ("/w/a", b"2"))
        assert events(watch, 1)[0].value == b"2"
    with pytest.raises(CompactedError), store.watch("/w/", now + 3) as watch:
        next(batches(watch))


def test_watch_of_a_wiped_store(subject: Subject) -> None:
    """A store that lost its data is noticed, not waited for."""
    start = [put(subject.store, ("/w/a", b"1")) for _unused in range(5)][-1] + 1
    subject.wipe()
    with pytest.raises(CompactedError), subject.store.watch("/w/", start) as watch:
        next(batches(watch))


def test_close_ends_a_watch_at_once(store: Store) -> None:
    """From another thread, while the iterator waits; without an error, and without a thread left."""
    threads = set(threading.enumerate())
    with store.watch("/w/", store.get("/w/a")[1] + 1) as watch:
        closer = threading.Timer(0.2, watch.close)
        began = time.monotonic()
        closer.start()
        assert list(batches(watch)) == []
        assert 0.2 <= time.monotonic() - began < 1.0
        closer.join()
        watch.close()
    assert list(watch) == []
    assert [thread for thread in threading.enumerate() if thread not in threads and thread.name == "etcd-watch"] == []


def test_close_of_the_store_ends_its_watches(store: Store) -> None:
    """As `close` of the watch does."""
    with store.watch("/w/", store.get("/w/a")[1] + 1) as watch:
        closer = threading.Timer(0.2, store.close)
        closer.start()
        assert list(batches(watch)) == []
        closer.join()


def test_a_cut_watch_breaks(subject: Subject) -> None:
    """What came before the cut was yielded, and UnavailableError says that there is no more."""
    with subject.store.watch("/w/", subject.store.get("/w/a")[1] + 1) as watch:
        put(subject.store, ("/w/a", b"1"))
        found = batches(watch)
        assert next(found).events[0].value == b"1"
        subject.cut()
        with pytest.raises(UnavailableError):
            next(found)


def test_several_watches_and_threads(store: Store) -> None:
    """Watches of one store do not disturb each other, nor do threads that write."""
    start, seen = store.get("/w/a")[1] + 1, {}

    def follow(prefix: str) -> None:
        with store.watch(prefix, start) as watch:
            seen[prefix] = [event.key.decode() for event in events(watch, 50)]

    def write(prefix: str) -> None:
        for number in range(50):
            put(store, (f"{prefix}{number}", b""))

    prefixes = [f"/w/{letter}/" for letter in "abcd"]
    workers = [threading.Thread(target=work, args=(prefix,)) for prefix in prefixes for work in (follow, write)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert seen == {prefix: [f"{prefix}{number}" for number in range(50)] for prefix in prefixes}
