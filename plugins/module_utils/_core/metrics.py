# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus may see of an agent: on a loopback port, or in a file for node_exporter.

Off by default; prometheus_client is imported only when it is on. What goes wrong with port or
file is logged and tried again: no deployment waits for its figures.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from .errors import InvalidError
from .ini import parse_listen
from .model import Outcome

logger = logging.getLogger(__name__)

EVERY = 15.0  # seconds between two textfiles, and between attempts at a port that is taken
CLIENT_TIMEOUT = 2.0  # seconds that one client may take to ask and to read
CLOSE_TIMEOUT = 1.0  # seconds
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
STATES = ("deployed", "rolledBack", "failed", "removed")  # of deployments; there from the start, at 0


@dataclass(frozen=True)
class Facts:
    """What is so when somebody asks; ``watch_age`` is in seconds, None before the first proof of life."""

    seen: int = 0  # revision
    watch_age: float | None = None
    lags: Mapping[str, int] = field(default_factory=dict)  # project -> revisions
    projects: Mapping[str, int] = field(default_factory=dict)  # state -> how many
    spool: int = 0  # callbacks that wait
    callbacks_sent: int = 0
    callbacks_dropped: int = 0
    heartbeat_failures: int = 0


class Metrics:
    """Counts what it is told, and serves it with what ``facts`` says at that time; does nothing when off.

    ``address`` is where it listens, once it does.
    """

    def __init__(
        self,
        facts: Callable[[], Facts],
        *,
        host: str,
        version: str,
        listen: str = "",
        textfile: str = "",
        every: float = EVERY,
    ) -> None:
        """Raise InvalidError for an address that others reach, or when prometheus_client is missing."""
        self.address: tuple[str, int] | None = None
        self._listen = parse_listen(listen) if listen else None
        self._textfile = textfile
        self._every = every
        self._problems: dict[str, str] = {}  # what -> sentence
        self._server: _Server | None = None
        self._figures = _Figures(_client(), facts, host, version) if listen or textfile else None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher-metrics", daemon=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each thing that does not work now."""
        return tuple(self._problems.values())

    def start(self) -> None:
        """Serve until `close`; log in one sentence what cannot be served yet."""
        if self._figures is not None:
            self._try_all()
            self._thread.start()

    def close(self) -> None:
        """End it, from any thread; a textfile that nobody writes any more would lie, so it goes."""
        self._closed.set()
        if self._server is not None:
            self._server.wake()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT)

    def deployed(self, outcome: Outcome, seconds: float) -> None:
        """Count a deployment that took so many seconds."""
        if self._figures is not None:
            self._figures.deployments.labels(outcome.state).inc()
            self._figures.seconds.observe(seconds)

    def retried(self) -> None:
        """Count one more attempt at a deployment that had failed."""
        if self._figures is not None:
            self._figures.retries.inc()

    def _run(self) -> None:
        due = time.monotonic() + self._every
        while not self._closed.is_set():
            pause = due - time.monotonic()
            if pause <= 0:
                self._try_all()
                due = time.monotonic() + self._every
            elif self._server is not None:
                self._server.timeout = pause if self._textfile else None
                self._server.handle_request()
            else:
                self._closed.wait(pause)
        self._end()

    def _end(self) -> None:
        if self._server is not None:
            self._server.server_close()
        for name in (self._textfile, self._textfile + ".new") if self._textfile else ():
            with contextlib.suppress(OSError):
                os.unlink(name)

    def _try_all(self) -> None:
        if self._listen and self._server is None:
            self._try("listen {}:{}".format(*self._listen), self._bind)
        if self._textfile:
            self._try(f"textfile {self._textfile}", self._write)

    def _try(self, what: str, action: Callable[[], None]) -> None:
        """Carry out the action; log a failure once when it begins and once when it ends."""
        try:
            action()
        except Exception as error:  # whatever it is: the figures of an agent that works must not end
            problem = f"metrics: {what} cannot be used: {getattr(error, 'strerror', None) or error}"
            if what not in self._problems:
                logger.error("%s; trying again every %g s", problem, self._every)
            self._problems[what] = problem
        else:
            if self._problems.pop(what, ""):
                logger.info("metrics: %s works now", what)

    def _bind(self) -> None:
        if not self._listen or not self._figures:
            return
        self._server = _Server(self._listen, self._figures.handler)
        self.address = (self._listen[0], self._server.server_address[1])

    def _write(self) -> None:
        """Replace the textfile as a whole; others than its owner may read it, for node_exporter is another user."""
        if not self._figures:
            return
        text = self._figures.text()
        temporary = self._textfile + ".new"  # node_exporter reads *.prom only
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # of an agent that was killed, or a trap: what is opened below is always new
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(text)
        os.replace(temporary, self._textfile)


class _Server(socketserver.TCPServer):
    """One request at a time, each with a time limit, without looking up names as HTTPServer does."""

    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], handler: type[Any]) -> None:
        self._said = ""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def wake(self) -> None:
        """End a `handle_request` that waits."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say once what went wrong, instead of each time with a traceback; clients that hang up are no trouble."""
        error = sys.exc_info()[1]
        if str(error) != self._said and not isinstance(error, OSError):
            self._said = str(error)
            logger.error("metrics: a request was not answered: %s", error, exc_info=True)


class _Figures:
    """The registry: what is counted here, and the facts as of each scrape."""

    def __init__(self, client: Any, facts: Callable[[], Facts], host: str, version: str) -> None:
        client.disable_created_metrics()  # a second series for each counter, which nothing here needs
        self._client = client
        self._facts = facts
        self._registry = client.CollectorRegistry()
        self.deployments = client.Counter(
            "watcher_deployments", "Deployments by outcome.", ["state"], registry=self._registry
        )
        for state in STATES:
            self.deployments.labels(state)
        self.seconds = client.Histogram(
            "watcher_deployment_seconds", "How long deployments took.", buckets=BUCKETS, registry=self._registry
        )
        self.retries = client.Counter(
            "watcher_retries", "Attempts at deployments that had failed before.", registry=self._registry
        )
        client.Info("watcher", "This agent.", registry=self._registry).info({"version": version, "host": host})
        self._registry.register(self)
        handler = client.MetricsHandler.factory(self._registry)
        self.handler: type[Any] = type("_Handler", (handler,), {"timeout": CLIENT_TIMEOUT})

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        text: bytes = self._client.generate_latest(self._registry)
        return text

    def collect(self) -> Iterator[Any]:
        """Yield what is so now."""
        now = self._facts()
        age = float("inf") if now.watch_age is None else now.watch_age
        gauge, counter = self._client.core.GaugeMetricFamily, self._client.core.CounterMetricFamily
        yield gauge("watcher_seen_revision", "Newest etcd revision that the watch handed on.", value=now.seen)
        yield gauge("watcher_watch_age_seconds", "Time since the watch was last proven alive.", value=age)
        yield gauge("watcher_callback_spool", "Callbacks that wait to be taken.", value=now.spool)
        yield _labelled(gauge, "watcher_revision_lag", "Revisions that a project is behind.", "project", now.lags)
        yield _labelled(gauge, "watcher_projects", "Projects of this host by state.", "state", now.projects)
        callbacks = {"sent": now.callbacks_sent, "dropped": now.callbacks_dropped}
        yield _labelled(counter, "watcher_callbacks", "Callbacks taken, and given up.", "result", callbacks)
        yield counter("watcher_heartbeat_failures", "Heartbeats that were not taken.", value=now.heartbeat_failures)


def _labelled(kind: Any, name: str, help_text: str, label: str, values: Mapping[str, int]) -> Any:
    family = kind(name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _client() -> Any:
    """Return prometheus_client; raise InvalidError when it is missing."""
    try:
        import prometheus_client.core
    except ImportError as error:
        raise InvalidError(
            f"metrics: the Python package prometheus_client cannot be used by {sys.executable or 'this Python'}"
            f" ({error}): install it there, or leave listen and textfile empty"
        ) from error
    return prometheus_client
