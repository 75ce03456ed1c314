# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that templates see outside of their projects: those below the prefixes that policies watch.

An agent follows each prefix as long as a project asks for it, with a thread each, so that a change is there
when it happens and costs one event. Without an agent a prefix is read when it is asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Callable

from .errors import DeployError, StoreError, UnavailableError, WatcherError
from .reflector import Reflector, Replaced
from .store import Batch, Event, KeyValue, Listing, Store
from .values import folder

logger = logging.getLogger(__name__)

MAX_PREFIXES = 64  # different ones that one host follows: each is a watch and three threads
MAX_BYTES = 64 << 20  # of the values below one prefix: a template makes files, not databases
PAUSE = 2.0  # seconds between two attempts to read a prefix that is refused
LARGE_PAUSE = 30.0  # seconds between two attempts to read a prefix that has too much
FIRST_WAIT = 60.0  # seconds that a deployment waits for the first listing; all calls have shorter limits
TICK = 0.1  # seconds between two looks whether that failed

Told = Callable[[Collection[str], int], None]

NEW, KNOWN, DOUBTED, LARGE = "new", "known", "doubted", "large"


class Contents:
    """The keys and values below a prefix that are text, and the revision of the last change of one.

    Keys that begin with one of ``quiet`` are seen, and their changes count for nothing.
    """

    def __init__(self, prefix: str, items: Iterable[KeyValue] = (), quiet: tuple[str, ...] = ()) -> None:
        """Take what a listing has."""
        self.items: dict[str, bytes] = {}
        self.newest = self.size = 0
        self._prefix, self._quiet = prefix, quiet
        for item in items:
            self.take(Event(item.key, item.value, item.revision))

    def take(self, event: Event) -> bool:
        """Take an event; return whether something changed by it."""
        try:
            key = event.key.decode("utf-8")
        except UnicodeDecodeError:  # no template can name it
            return False
        old = self.items.pop(key, None)
        new = None if event.deleted else event.value
        if new is not None:
            self.items[key] = new
        self.size += len(new or b"") - len(old or b"")
        if old == new or key.startswith(self._quiet):
            return False
        self.newest = max(self.newest, event.revision)
        return True

    def check(self) -> None:
        """Raise DeployError when they are too much."""
        if self.size > MAX_BYTES:
            raise DeployError(
                f"the values below {self._prefix}, which the policy watches, have {self.size} bytes, allowed are"
                f" {MAX_BYTES}; watch a prefix with less below it"
            )


def listed(store: Store, prefix: str, quiet: tuple[str, ...], revision: int = 0) -> Contents:
    """Return what is below a prefix, at the revision (0: now); raise DeployError that names the prefix."""
    try:
        return Contents(prefix, store.list(prefix, revision=revision).items, quiet)
    except StoreError as error:
        raise DeployError(f"the values below {prefix}, which the policy watches, cannot be read: {error}") from error


class _Source:
    """A prefix that is followed; whoever uses it holds a lock."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = prefix
        self.reflector = Reflector(store, prefix)
        self.contents: Contents | None = None
        self.state = NEW
        self.failed = False  # whether it was refused before it was ever listed
        self.asked = False  # whether somebody was told something else than what follows
        self.closed = threading.Event()

    @property
    def is_silent(self) -> bool:
        """Return whether nothing is known yet and nothing has failed."""
        return self.state == NEW and not (self.failed or self.reflector.failures or self.closed.is_set())

    def close(self) -> None:
        """End its thread."""
        self.closed.set()
        self.reflector.close()


class Watches:
    """The watched values of a host's projects; shared by threads."""

    def __init__(self, store: Store, quiet: tuple[str, ...] = ()) -> None:
        """Read prefixes when they are asked for, until `start`.

        Below ``quiet`` are what deployments write themselves: each change of it must not be one more.
        """
        self._store, self._quiet = store, quiet
        self._changed: Told | None = None
        self._replaced: Callable[[], None] | None = None
        self._wanted: dict[str, Sequence[str]] = {}  # by project
        self._sources: dict[str, _Source] = {}  # by prefix
        self._lock = threading.Condition()
        self._closed = False

    def start(self, changed: Told, replaced: Callable[[], None]) -> None:
        """Follow from now on what is asked for.

        ``changed`` is called with the projects concerned and the revision, ``replaced`` when the store proves to be
        another one: then `forget` has to follow once the projects themselves are known anew. Both from any thread.
        """
        self._changed, self._replaced = changed, replaced

    def close(self) -> None:
        """End all threads, and wait for none."""
        with self._lock:
            self._closed = True
            sources, self._sources = list(self._sources.values()), {}
            self._lock.notify_all()
        for source in sources:
            source.close()

    def values(self, project: str, prefixes: Sequence[str]) -> tuple[dict[str, bytes], int]:
        """Return what is below the prefixes, which from now on are all that a project asks for.

        And the revision of the last change, 0 when there is nothing. Raise DeployError that names the prefix, and
        UnavailableError after `close`.
        """
        prefixes = tuple(map(folder, prefixes))
        items: dict[str, bytes] = {}
        newest = 0
        followed = self._follow(project, prefixes)
        for prefix in prefixes:
            found, changed = self._known(prefix) if followed else self._read(prefix)
            items.update(found)
            newest = max(newest, changed)
        return items, newest

    def forget(self, prefixes: Sequence[str] | None = None) -> bool:
        """Read these prefixes, by default all, again before they are used; return whether there are any."""
        with self._lock:
            sources = list(self._sources.values())
            if prefixes is not None:  # all means those in doubt, too: the projects of that store are known by now
                chosen = set(map(folder, prefixes))
                sources = [each for each in sources if each.prefix in chosen and each.state != DOUBTED]
            for source in sources:
                source.state = NEW
        for source in sources:
            source.reflector.restart()
        return bool(sources)

    # Who asks

    def _follow(self, project: str, prefixes: Sequence[str]) -> bool:
        """See to it that these are followed for the project, and no others; return False when nothing is followed."""
        with self._lock:
            if self._changed is None:
                return False
            if prefixes:
                self._wanted[project] = prefixes
            elif self._wanted.pop(project, None) is None:
                return True
            needed = {prefix for each in self._wanted.values() for prefix in each}
            for prefix in self._sources.keys() - needed:
                self._sources.pop(prefix).close()
            for prefix in prefixes:
                self._add(prefix)
        return True

    def _add(self, prefix: str) -> None:
        if prefix in self._sources:
            return
        self._check_open(prefix)
        if len(self._sources) >= MAX_PREFIXES:
            raise DeployError(
                f"{prefix} is one prefix too many: the policies of this host watch more than {MAX_PREFIXES} different"
                " ones; watch one that covers several"
            )
        source = _Source(self._store, prefix)
        try:
            threading.Thread(target=self._run, args=(source,), name="watcher-values", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads, for now
            raise DeployError(f"the values below {prefix} cannot be followed: {error}") from error
        self._sources[prefix] = source

    def _check_open(self, prefix: str) -> None:
        if self._closed:
            raise UnavailableError(f"the values below {prefix} are not read any more: the agent ends")

    def _known(self, prefix: str) -> tuple[dict[str, bytes], int]:
        """Return a copy of what is known below a prefix; what is not known yet is waited for, then read."""
        with self._lock:
            source = self._sources.get(prefix)
            for _unused in range(int(FIRST_WAIT / TICK)):
                if source is None or not source.is_silent:
                    break
                self._lock.wait(TICK)
            self._check_open(prefix)
            if source is not None and source.contents is not None and source.state != NEW:
                source.contents.check()
                return dict(source.contents.items), source.contents.newest
            if source is not None:
                source.asked = True
        return self._read(prefix)

    def _read(self, prefix: str) -> tuple[dict[str, bytes], int]:
        contents = listed(self._store, prefix, self._quiet)
        contents.check()
        return contents.items, contents.newest

    # A prefix's thread

    def _run(self, source: _Source) -> None:
        while not source.closed.is_set():
            try:
                for item in source.reflector.stream():
                    self._take(source, item)
                    del item  # a listing of many values must not wait here for the next event
            except WatcherError as error:  # of the very first attempt: later ones the reflector repeats itself
                level = logging.DEBUG if source.failed else logging.ERROR
                logger.log(level, "%s: %s; trying again", source.prefix, error)
                source.failed = True
            except Exception:
                logger.exception("%s: an error of this program; everything is read again", source.prefix)
                source.asked = True  # somebody may not have been told
                source.reflector.restart()
            source.closed.wait(PAUSE)

    def _take(self, source: _Source, item: Listing | Batch) -> None:
        if isinstance(item, Listing):
            changed = self._take_listing(source, item)
        elif source.state == LARGE:
            source.closed.wait(LARGE_PAUSE)
            source.reflector.restart()
            return
        else:
            changed = self._take_batch(source, item)
        with self._lock:
            names = {name for name, prefixes in self._wanted.items() if source.prefix in prefixes}
            newest = source.contents.newest if source.contents else 0
            closed = self._closed
        if changed and names and self._changed is not None and not closed:
            self._changed(names, newest)

    def _take_listing(self, source: _Source, listing: Listing) -> bool:
        """Take what there is; return whether somebody has seen something else.

        In another store nothing was deleted: what it lacks stays known until the projects of that store are known.
        """
        with self._lock:
            doubted = isinstance(listing, Replaced) and source.state != NEW
            if doubted:
                source.state = DOUBTED
        if doubted and self._replaced is not None:
            self._replaced()
            return False
        contents = Contents(source.prefix, listing.items, self._quiet)
        with self._lock:
            before, source.contents = source.contents, contents
            differs = before is not None and before.items != contents.items
            if differs:  # it may be by a deletion, which no listing dates
                contents.newest = listing.revision
            changed = differs or source.asked
            source.asked, source.failed, source.state = False, False, KNOWN
            self._weigh(source)
            self._lock.notify_all()
        return changed

    def _take_batch(self, source: _Source, batch: Batch) -> bool:
        with self._lock:
            if source.state != KNOWN or source.contents is None:
                return False
            changed = [source.contents.take(event) for event in batch.events]
            self._weigh(source)
        return any(changed)

    def _weigh(self, source: _Source) -> None:
        """Let go of values that are too many."""
        if source.contents is not None and source.contents.size > MAX_BYTES:
            source.state = LARGE
            source.contents.items.clear()
