# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call to etcd: the token it needs, the endpoints it may go to, the error it ends with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from . import wire
from .channels import Channels, Link
from .connection import Connection
from .diagnosis import Failure, unreachable

Answer = TypeVar("Answer")
Metadata = tuple[tuple[str, str], ...]
Attempt = Callable[[Link, Metadata, float], Answer]
MIN_TIMEOUT = 0.001  # seconds; gRPC takes 0 and less for an error of the caller
NO_AUTH = "authentication is not enabled"


class CallFailed(Exception):
    """A call that etcd ended, by its gRPC status name; raised where no gRPC error was."""

    def __init__(self, code: str, details: str) -> None:
        """Keep both as `Failure` has them."""
        super().__init__(code, details)
        self.code, self.details = code, details


class Client:
    """Makes calls with fail-over and a token that is renewed when etcd refuses it."""

    def __init__(self, connection: Connection) -> None:
        """Open nothing yet."""
        self.connection = connection
        self.channels = Channels(connection)
        self._token: str | None = None
        self._token_lock = threading.Lock()

    def unary(self, method: str, request: Any, what: str, *, once: bool = False) -> Any:
        """Return the response to a call such as ``KV/Range``; ``what`` names it in errors."""
        return self.run(
            lambda link, metadata, timeout: link.method(method)(request, timeout=timeout, metadata=metadata),
            what,
            once=once,
        )

    def run(self, attempt: Attempt[Answer], what: str, *, once: bool = False) -> Answer:
        """Return what ``attempt`` returns at the first endpoint that serves it.

        Each endpoint is tried at most once and has ``timeout`` seconds. With ``once`` the next is
        tried only when the request certainly never reached a server. Raise the error etcd
        answers with, or UnavailableError or DeniedError naming all endpoints tried.
        """
        failures, verdict = [], "failed"
        for endpoint in self.channels.order():
            with self.channels.borrow(endpoint) as link:
                outcome = self._try(link, attempt)
                if not isinstance(outcome, Failure):
                    self.channels.answered(endpoint)
                    return outcome
                refused = outcome.answer(what, self.connection)
                if refused:
                    raise refused
                self.channels.drop(link)
            failures.append(outcome)
            if once and not outcome.never_sent:
                verdict = "may or may not have been carried out"
                break
        self.channels.check()
        raise unreachable(failures, f"{what} {verdict}", self.connection)

    def forget_token(self) -> None:
        """Take a new token before the next call."""
        with self._token_lock:
            self._token = None

    def close(self) -> None:
        """Close all channels."""
        self.channels.close()

    def _try(self, link: Link, attempt: Attempt[Answer]) -> Answer | Failure:
        """Return the answer of one endpoint, with a second token if it refuses the first."""
        grpc = wire.load_grpc()
        deadline = time.monotonic() + self.connection.timeout
        for last in (False, True):
            token: str | None = None
            try:
                token = self._take_token(link, deadline)
                return attempt(link, _metadata(token), _left(deadline))
            except grpc.RpcError as error:
                failure = Failure(link.endpoint, error.code().name, error.details() or "")
            except CallFailed as error:
                failure = Failure(link.endpoint, error.code, error.details)
            except ValueError:
                self.channels.check()  # gRPC raises it for a channel closed meanwhile
                raise
            if last or token is None or not failure.stale_token:
                break
            self._drop_token(token)
        return failure

    def _take_token(self, link: Link, deadline: float) -> str | None:
        """Return the token of this client, a new one if there is none; None without a user.

        An empty token means that etcd has its authentication off.
        """
        if not self.connection.username:
            return None
        with self._token_lock:
            if self._token is None:
                self._token = self._authenticate(link, deadline)
            return self._token

    def _authenticate(self, link: Link, deadline: float) -> str:
        request = wire.load().messages["AuthenticateRequest"](
            name=self.connection.username, password=self.connection.password
        )
        try:
            response = link.method("Auth/Authenticate")(request, timeout=_left(deadline))
        except wire.load_grpc().RpcError as error:
            if NO_AUTH in (error.details() or ""):
                return ""
            raise
        return str(response.token)

    def _drop_token(self, token: str) -> None:
        with self._token_lock:
            if self._token == token:
                self._token = None


def _metadata(token: str | None) -> Metadata:
    """Return a call's metadata: a member without a leader has to say so instead of waiting for one."""
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token)) if token else leader


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), MIN_TIMEOUT)
