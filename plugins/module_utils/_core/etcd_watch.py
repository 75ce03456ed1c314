# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watch on etcd that never tears a revision, and breaks when the server falls silent."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import wire
from .channels import Link
from .client import CallFailed, Client, Metadata
from .diagnosis import Failure, unreachable
from .errors import CompactedError, StoreError
from .store import Batch, Event

PROGRESS = 5.0  # seconds between two requests for a sign of life
SILENCE = 10.0  # seconds without anything received that break the watch; 15 are promised
TICK = 2.5  # seconds after which a request is at latest sent that was due
DELETED = 1  # mvccpb.Event.DELETE


class Stream:
    """The call of a watch: requests go in, responses come out, silence and `close` end it.

    The caller's thread receives, so a slow caller holds the server back and fills no memory. A
    second thread asks for signs of life, and cancels the call when nothing comes for as long as
    the caller has patience.
    """

    def __init__(self, client: Client, link: Link, metadata: Metadata, create: Any) -> None:
        """Begin a call on a borrowed link, which is kept until `close`."""
        self.link = link
        self.patience = client.connection.timeout
        self._channels = client.channels
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests.put(create)
        self._call = link.method("Watch/Watch")(iter(self._requests.get, None), metadata=metadata)
        self._channels.keep(link)
        self._waiting: float | None = time.monotonic()  # since when the caller waits
        self._silent = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._guardian = threading.Thread(target=self._guard, name="etcd-watch", daemon=True)
        try:
            self._guardian.start()
        except RuntimeError as error:  # the system gives no more threads, for now
            self._hang_up()
            raise CallFailed("UNAVAILABLE", str(error)) from error

    @property
    def closed(self) -> bool:
        """Tell whether `close` was called."""
        return self._closed.is_set()

    def receive(self) -> Any:
        """Return the next response; raise CallFailed when the call ended."""
        self._waiting = time.monotonic()
        try:
            return next(self._call)
        except StopIteration:
            raise CallFailed("UNAVAILABLE", "it ended the watch") from None
        except wire.load_grpc().RpcError as error:
            if self._silent:
                raise CallFailed("DEADLINE_EXCEEDED", "") from error
            raise CallFailed(error.code().name, error.details() or "") from error
        finally:
            self._waiting = None

    def close(self) -> None:
        """End the call and the threads at once."""
        with self._lock:
            if self.closed:
                return
            self._closed.set()
        self._hang_up()
        self._guardian.join()

    def _hang_up(self) -> None:
        self._call.cancel()
        self._requests.put(None)  # ends the thread with which gRPC takes requests
        self._channels.release(self.link)

    def _guard(self) -> None:
        progress = wire.load().messages["WatchRequest"](progress_request={})
        asked = time.monotonic()
        while not self._closed.wait(self._pause()):
            now, waiting = time.monotonic(), self._waiting
            if waiting is None:
                continue
            if now - waiting >= self.patience:
                self._silent = True
                self._call.cancel()
                return
            if now - asked >= PROGRESS:
                asked = now
                self._requests.put(progress)

    def _pause(self) -> float:
        """Return the seconds until the guardian has to look again."""
        waiting = self._waiting
        return TICK if waiting is None else min(TICK, max(0.0, waiting + self.patience - time.monotonic()))


class EtcdWatch:
    """An iterator over batches of whole revisions, and a context manager that closes it."""

    def __init__(self, client: Client, stream: Stream, what: str, on_close: Callable[[EtcdWatch], None]) -> None:
        """Take over a stream and wait for etcd to create the watch; see `open`."""
        self._client, self._stream, self._what, self._on_close = client, stream, what, on_close
        self._batches: deque[Batch] = deque()
        self._torn: list[Event] = []
        self.revision = self._create()  # of the member that serves the watch
        stream.patience = SILENCE

    @classmethod
    def open(
        cls, client: Client, create: dict[str, Any], what: str, on_close: Callable[[EtcdWatch], None]
    ) -> EtcdWatch:
        """Return a watch created by the first endpoint that is able to.

        Raise DeniedError, UnavailableError and CompactedError.
        """
        request = wire.load().messages["WatchRequest"](create_request={**create, "fragment": True})

        def attempt(link: Link, metadata: Metadata, timeout: float) -> EtcdWatch:
            stream = Stream(client, link, metadata, request)
            stream.patience = timeout
            try:
                return cls(client, stream, what, on_close)
            except BaseException:
                stream.close()
                raise

        return client.run(attempt, what)

    def __iter__(self) -> EtcdWatch:
        """Return the watch: it can be read once."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch; raise UnavailableError, CompactedError or DeniedError when the watch breaks."""
        try:
            while not self._batches and not self._stream.closed:
                self._accept(self._stream.receive())
        except CallFailed as failed:
            if not self._stream.closed:
                raise self._broken(failed) from failed
        except StoreError:
            self.close()
            raise
        if self._stream.closed:
            raise StopIteration
        return self._batches.popleft()

    def __enter__(self) -> EtcdWatch:
        """Return the watch."""
        return self

    def __exit__(self, *unused: object) -> None:
        """Close the watch."""
        self.close()

    def close(self) -> None:
        """End the watch at once, from any thread."""
        self._stream.close()
        self._on_close(self)

    def _create(self) -> int:
        """Wait until etcd has created the watch; return the member's revision.

        etcd 3.4 and 3.5 answer a stale token and a lack of permission alike, so both are worth
        a new token.
        """
        response = self._stream.receive()
        self._check_history(response)
        if response.canceled or response.watch_id == -1:
            raise CallFailed("UNAUTHENTICATED", response.cancel_reason or "permission denied")
        return int(response.header.revision)

    def _check_history(self, response: Any) -> None:
        if response.compact_revision:
            raise CompactedError(
                f"{self._what} failed, for etcd at {self._stream.link.endpoint} has compacted all before revision"
                f" {response.compact_revision}: list again"
            )

    def _accept(self, response: Any) -> None:
        """Turn a response into a batch, keeping back a revision of which more is to come."""
        if response.canceled:
            self._check_history(response)
            raise CallFailed("UNAUTHENTICATED", response.cancel_reason)
        if not response.events:
            self._batches.append(Batch((), 0))
            return
        events = self._torn + [_event(event) for event in response.events]
        torn_revision = events[-1].revision if response.fragment else 0
        self._torn = [event for event in events if event.revision == torn_revision]
        whole = tuple(events[: len(events) - len(self._torn)])
        if whole:
            self._batches.append(Batch(whole, whole[-1].revision))

    def _broken(self, failed: CallFailed) -> StoreError:
        """Close the watch and return why it broke; the next call takes a new channel and token."""
        failure = Failure(self._stream.link.endpoint, failed.code, failed.details)
        if failed.code == "DEADLINE_EXCEEDED":
            failure = replace(failure, code="SILENT", details=f"it sent nothing for {SILENCE:g} s")
        if failure.stale_token:
            self._client.forget_token()
        self._client.channels.drop(self._stream.link)
        self.close()
        return unreachable([failure], f"{self._what} failed", self._client.connection)


def _event(event: Any) -> Event:
    return Event(event.kv.key, event.kv.value, event.kv.mod_revision, event.type == DELETED)
