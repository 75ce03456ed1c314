# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watched prefixes: who asks for them is told of each change, and of nothing else; a store that fails harms nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from functools import partial

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import watches as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    DeployError,
    InvalidError,
    StoreError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.reflector import Reflector
from ansible_collections.watcher.config.plugins.module_utils._core.store import KeyValue, Write
from ansible_collections.watcher.config.plugins.module_utils._core.watches import Contents, Watches
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

BOUND = 10.0  # seconds for one condition
FOREVER = 10**6  # failures
DENIED, AWAY = DeniedError("permission denied"), UnavailableError("nothing is listening")
S = ("/s/",)


class Follower:
    """Somebody who is told, and what he was told."""

    def __init__(self, store: MemoryStore) -> None:
        """Follow a store."""
        self.store, self.watches = store, Watches(store, ("/s/quiet/",))
        self.told: list[tuple[set[str], int]] = []
        self.replaced = 0
        self._lock = threading.Condition()
        self.watches.start(self._tell, self._doubt)

    def _tell(self, names: Collection[str], revision: int) -> None:
        with self._lock:
            self.told.append((set(names), revision))
            self._lock.notify_all()

    def _doubt(self) -> None:
        with self._lock:
            self.replaced += 1
            self._lock.notify_all()

    def until(self, told: int, replaced: int = 0) -> None:
        """Wait until so much was told, and no more."""
        with self._lock:
            self._lock.wait_for(lambda: len(self.told) >= told and self.replaced >= replaced, BOUND)
            assert (len(self.told), self.replaced) == (told, replaced)

    def seen(self, revision: int) -> None:
        """Wait until a revision was handed on, be it told or not."""
        reflector = self.watches._sources["/s/"].reflector
        for _unused in range(1000):
            if reflector.revision == revision:
                return
            threading.Event().wait(BOUND / 1000)
        raise AssertionError("it did not come")

    def values(self, project: str = "p", prefixes: Collection[str] = S) -> dict[str, bytes]:
        """Return what a project sees."""
        return self.watches.values(project, tuple(prefixes))[0]

    def refused(self, project: str = "p", prefixes: Collection[str] = S) -> str:
        """Return why a project sees nothing."""
        with pytest.raises(DeployError) as error:
            self.values(project, prefixes)
        return str(error.value)


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with two services, and one that has nothing to do with them."""
    store = MemoryStore()
    store.commit(Write(puts=(("/s/a", b"1"), ("/s/b", b"1"), ("/s2/a", b"x"))))
    return store


@pytest.fixture
def follower(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    """Return a follower with hardly a pause anywhere."""
    for name in ("PAUSE", "LARGE_PAUSE"):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(module, "Reflector", partial(Reflector, pause=0.01, jitter=lambda: 0.0))
    follower = Follower(store)
    yield follower
    follower.watches.close()


def test_read_when_asked_for(store: MemoryStore) -> None:
    """Before the start nothing is followed: each answer is what is there then."""
    watches = Watches(store)
    assert watches.values("p", ("/s",)) == ({"/s/a": b"1", "/s/b": b"1"}, 2)
    store.put("/s/a", b"2")
    assert watches.values("p", ("/s/", "/none")) == ({"/s/a": b"2", "/s/b": b"1"}, 3)
    assert watches.values("p", ()) == ({}, 0)
    store.fail(AWAY)
    with pytest.raises(DeployError, match="/s/, which the policy watches, cannot be read: nothing is listening"):
        watches.values("p", ("/s/",))
    assert store.calls["watch"] == 0


def test_followed(follower: Follower, store: MemoryStore) -> None:
    """A change is told at once, with its revision; it is read once."""
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}
    put = store.put("/s/c", b"3")
    follower.until(1)
    assert follower.watches.values("p", S) == ({"/s/a": b"1", "/s/b": b"1", "/s/c": b"3"}, put)
    gone = store.delete("/s/a")
    follower.until(2)
    assert follower.watches.values("p", ("/s",)) == ({"/s/b": b"1", "/s/c": b"3"}, gone)
    assert follower.told == [({"p"}, put), ({"p"}, gone)]
    assert store.calls["list"] == 1


def test_what_changes_nothing(follower: Follower, store: MemoryStore) -> None:
    """The same value again, as registries put it all the time, what is elsewhere, and what deployments write."""
    follower.values()
    store.put("/s2/a", b"2")
    follower.seen(store.put("/s/a", b"1"))
    follower.seen(store.put("/s/quiet/a", b"2"))
    last = store.put("/s/a", b"2")
    follower.until(1)
    assert follower.told == [({"p"}, last)]
    assert follower.values() == {"/s/a": b"2", "/s/b": b"1", "/s/quiet/a": b"2"}


def test_who_is_told(follower: Follower, store: MemoryStore) -> None:
    """All that watch the prefix now; a prefix that nobody watches any more is let go."""
    follower.values("p")
    follower.values("q", ("/s", "/s2"))
    follower.values("r", ("/s2",))
    store.put("/s/a", b"2")
    follower.until(1)
    assert follower.values("p", ()) == {}
    store.put("/s/a", b"3")
    follower.until(2)
    store.put("/s2/a", b"3")
    follower.until(3)
    assert [names for names, _revision in follower.told] == [{"p", "q"}, {"q"}, {"q", "r"}]
    assert len(store.watches) == 2
    assert follower.values("q", ("/s2/",)) == {"/s2/a": b"3"}
    assert [watch._prefix for watch in store.watches] == [b"/s2/"]
    follower.values("q", ())
    follower.values("r", ())
    assert not store.watches
    assert follower.values() == {"/s/a": b"3", "/s/b": b"1"}


@pytest.mark.parametrize("error", [DENIED, AWAY], ids=["denied", "away"])
def test_a_prefix_that_cannot_be_read(follower: Follower, store: MemoryStore, error: StoreError) -> None:
    """It is named; as soon as it can be read, who asked is told without asking again."""
    store.fail(error, FOREVER)
    assert follower.refused() == f"the values below /s/, which the policy watches, cannot be read: {error}"
    store.fail_no_more()
    follower.until(1)
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}


def test_an_outage(follower: Follower, store: MemoryStore) -> None:
    """What was known holds meanwhile; what changed is told afterwards."""
    follower.values()
    with store.changed:
        store.cut()
        store.fail(AWAY, FOREVER)
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}
    store.fail_no_more()
    store.delete("/s/a")
    follower.until(1)
    assert follower.values() == {"/s/b": b"1"}


@pytest.mark.parametrize("changed", [True, False])
def test_a_history_that_is_gone(follower: Follower, store: MemoryStore, changed: bool) -> None:
    """A listing tells what has changed, deletions too; when nothing has, nobody is told."""
    follower.values()
    with store.changed:
        store.cut()
        store.delete("/s/a" if changed else "/s2/a")
        store.put("/other")
        store.compact()
    if changed:
        follower.until(1)
        assert follower.watches.values("p", S) == ({"/s/b": b"1"}, store.revision)
    last = store.put("/s/b", b"2")
    follower.until(1 + changed)
    assert follower.told[-1] == ({"p"}, last)


@pytest.mark.parametrize("same_cluster", [True, False])
def test_another_store(follower: Follower, store: MemoryStore, same_cluster: bool) -> None:
    """What it lacks was not deleted: it stays until the projects of that store are known, and is read anew then."""
    follower.values()
    with store.changed:
        store.replace(same_cluster=same_cluster)
        store.put("/s/c", b"1")
    follower.until(0, replaced=1)
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}
    follower.seen(store.put("/s/d", b"1"))
    assert (follower.values(), follower.told) == ({"/s/a": b"1", "/s/b": b"1"}, [])
    follower.watches.forget()
    assert follower.values() == {"/s/c": b"1", "/s/d": b"1"}
    follower.until(1, replaced=1)
    store.put("/s/d", b"2")
    follower.until(2, replaced=1)


def test_another_store_that_is_known_already(follower: Follower, store: MemoryStore) -> None:
    """Who forgot first need not be told."""
    follower.values()
    with store.changed:
        store.replace()
        store.put("/s/c", b"1")
        follower.watches.forget()
    assert follower.values() == {"/s/c": b"1"}
    follower.until(1)


def test_forgetting(follower: Follower, store: MemoryStore) -> None:
    """Everything is read again; when it is the same, nobody is told."""
    follower.values()
    follower.watches.forget()
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}
    assert store.calls["list"] >= 2
    store.put("/s/a", b"2")
    follower.until(1)


def test_too_many(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one too many is named; there is room again when another one is let go."""
    monkeypatch.setattr(module, "MAX_PREFIXES", 2)
    follower.values("p", ("/s/", "/s2/"))
    assert follower.refused("q", ("/s/", "/more")).startswith("/more/ is one prefix too many: ")
    follower.values("p")
    assert follower.values("q", ("/s/", "/more")) == follower.values("p")


def test_too_large(follower: Follower, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused and let go of; once it is small enough, who asked is told."""
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    follower.values()
    store.put("/s/c", b"123456789")
    follower.until(1)
    assert follower.refused().startswith(
        "the values below /s/, which the policy watches, have 11 bytes, allowed are 10;"
    )
    contents = follower.watches._sources["/s/"].contents
    assert contents is not None and not contents.items
    with pytest.raises(DeployError, match="have 11 bytes"):
        Watches(store).values("p", S)
    store.delete("/s/a")
    follower.until(2)
    assert follower.values() == {"/s/b": b"1", "/s/c": b"123456789"}
    follower.values("p", ())
    store.put("/s/a", b"1")
    assert "have 11 bytes" in follower.refused()


def test_the_end(follower: Follower, store: MemoryStore) -> None:
    """All threads end, and none is begun."""
    follower.values("p", ("/s/", "/s2/"))
    follower.watches.close()
    for thread in [thread for thread in threading.enumerate() if thread.name == "watcher-values"]:
        thread.join(BOUND)
        assert not thread.is_alive()
    with pytest.raises(UnavailableError, match="the agent ends"):  # which is no failure of the project
        follower.values()


def test_the_end_while_somebody_waits(follower: Follower, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the first listing is not told that it cannot be read."""
    monkeypatch.setattr(Watches, "_take_listing", lambda self, source, listing: self.close())
    with pytest.raises(UnavailableError, match="the agent ends"):
        follower.values()
    assert store.calls["list"] == 1


def test_some_are_read_anew(follower: Follower, store: MemoryStore) -> None:
    """Those that are named, and what has changed meanwhile is told."""
    follower.values("p", ("/s/", "/s2/"))
    before = store.calls["list"]
    assert not Watches(store).forget(("/s",)) and not follower.watches.forget(("/none",))
    assert follower.watches.forget(("/s", "/none"))
    assert follower.values("p", ("/s/", "/s2/")) == {"/s/a": b"1", "/s/b": b"1", "/s2/a": b"x"}
    assert store.calls["list"] > before
    with store.changed:
        store.replace()
    follower.until(0, replaced=2)
    assert not follower.watches.forget(("/s",))  # what the other store lacks was not deleted
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}


def test_no_thread(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system gives none it is said, and tried again when it is asked for again."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert follower.refused() == "the values below /s/ cannot be followed: can't start new thread"
    assert follower.values() == {"/s/a": b"1", "/s/b": b"1"}


def test_a_defect_ends_nothing(follower: Follower, store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and everything is read again."""
    follower.values()
    tell, follower.watches._changed = follower.watches._changed, lambda names, revision: names[revision]  # type: ignore[index]
    with caplog.at_level(logging.ERROR):
        store.put("/s/a", b"2")
        for _unused in range(1000):
            if "an error of this program" in caplog.text:
                break
            threading.Event().wait(BOUND / 1000)
    follower.watches._changed = tell
    assert "an error of this program" in caplog.text
    for _unused in range(1000):  # what was not told before is told now
        if follower.told:
            break
        threading.Event().wait(BOUND / 1000)
    assert follower.told
    store.put("/s/a", b"3")
    follower.until(2)
    assert follower.values() == {"/s/a": b"3", "/s/b": b"1"}


def test_what_keeps_failing_is_said_once(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a certificate file that is being replaced, of which the reflector knows nothing."""
    tries = threading.Semaphore(0)

    def stream(_reflector: Reflector) -> Iterator[object]:
        tries.release()
        raise InvalidError("the file is empty")

    monkeypatch.setattr(Reflector, "stream", stream)
    with caplog.at_level(logging.WARNING):
        follower.values()
        for _unused in range(5):
            assert tries.acquire(timeout=BOUND)
    assert [record.getMessage() for record in caplog.records] == ["/s/: the file is empty; trying again"]


def test_keys_that_are_no_text() -> None:
    """No template can name them."""
    items = (KeyValue(b"/s/\xff", b"1", 3), KeyValue(b"/s/\xc3\xa9", b"1", 2))
    contents = Contents("/s/", items)
    assert (contents.items, contents.newest) == ({"/s/\u00e9": b"1"}, 2)
