# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in of AWX 24.6.1: small, and strict where a wrong job template would be found out late."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ansible_collections.watcher.config.tests.awx.jobs import NOT_FOUND, Answer, Jobs
from ansible_collections.watcher.config.tests.awx.tables import VERSION, Tables

ROOT = Path(__file__).resolve().parents[2]
API = "/api/v2/"
WHO = "Authentication credentials were not provided. To establish a login session, visit /api/login/."


@dataclass(frozen=True)
class Request:
    """One request that was answered."""

    method: str
    path: str
    body: dict[str, Any]
    user: str
    status: int
    answer: Any
    at: float


class AwxServer:
    """A stand-in of AWX on a free port of the loopback; a context manager.

    ``inventory`` and ``environment`` are those of its jobs, ``checkout`` is the folder that stands for
    every project. ``token`` is the administrator's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inventory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        checkout: Path = ROOT,
    ) -> None:
        """Make the tables; listen to nobody yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tables = Tables()
        self.tables.scan(checkout)
        self.jobs = Jobs(self.tables, folder / "jobs", inventory or folder, environment or {}, checkout)
        self.requests: list[Request] = []
        self._faults: list[tuple[int, str, str]] = []
        self._tokens: dict[str, tuple[int, str]] = {}  # text: id, user's name
        self._waiting = self._bound(0)
        self.port = int(self._waiting.getsockname()[1])
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.token = self.token_of("admin")

    @property
    def url(self) -> str:
        """Return the address, as clients take it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> AwxServer:
        """Serve."""
        self._serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Serve no more, and kill what runs."""
        self._leave()
        self._waiting.close()
        self.jobs.close()

    def add_user(self, name: str, password: str = "", **fields: Any) -> dict[str, Any]:
        """Add a user without any right."""
        return self.tables.add("users", username=name, password=password, **fields)

    def token_of(self, name: str) -> str:
        """Return a new token of a user."""
        token = secrets.token_hex(15)
        self._tokens[token] = (len(self._tokens) + 1, name)
        return token

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections for the time of the block; jobs go on."""
        self._leave()
        try:
            yield
        finally:
            self._serve()

    @contextlib.contextmanager
    def answering(self, status: int, method: str = "", path: str = API) -> Iterator[None]:
        """Answer this status to requests whose path ends like this, or to all, for the time of the block."""
        fault = (status, method, path)
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)

    def launches(self) -> list[Request]:
        """Return the launches, the refused ones too."""
        return [each for each in self.requests if each.method == "POST" and each.path.endswith("/launch/")]

    def answer(self, method: str, path: str, body: Any, authorization: str) -> Answer:
        """Answer a request, and keep it."""
        parts = urlsplit(path)
        user = self._user(authorization)
        status, answer = self._answer(method, parts.path, dict(parse_qsl(parts.query)), body, user)
        name = user["username"] if user else ""
        self.requests.append(Request(method, parts.path, body, name, status, answer, time.time()))
        return status, answer

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any, user: dict[str, Any] | None) -> Answer:
        for status, wanted, end in self._faults:
            if wanted in ("", method) and (end == API or path.endswith(end)):
                return status, {"detail": f"A fault of the test: {status}."}
        if not path.startswith(API) or not path.endswith("/"):
            return NOT_FOUND
        segments = path[len(API) :].split("/")[:-1]
        if user is None and segments != ["ping"]:
            return 401, {"detail": WHO}
        if not isinstance(body, dict):
            return 400, {"detail": "JSON parse error - not a JSON object"}
        return self._routed(method, segments, query, body, user or {})

    def _routed(
        self, method: str, segments: list[str], query: dict[str, str], body: dict[str, Any], user: dict[str, Any]
    ) -> Answer:
        if segments[:1] == ["jobs"]:
            return self.jobs.rest(method, segments[1:], query, user)
        if segments[:1] == ["tokens"]:
            return self._token(method, segments[1:], user)
        if segments[:1] == ["job_templates"] and len(segments) == 3 and segments[1].isdigit():
            number = int(segments[1])
            if segments[2] == "launch" and method == "POST":
                return self.jobs.launch(number, body, user)
            if segments[2] == "launch":
                return self.jobs.asked(number, user)
            if segments[2] == "jobs":
                return self.jobs.listed(query, user, number)
        status, answer = self.tables.rest(method, segments, query, body, user)
        return status, answer

    def _token(self, method: str, segments: list[str], user: dict[str, Any]) -> Answer:
        if method == "POST" and not segments:
            token = self.token_of(user["username"])
            number = self._tokens[token][0]
            return 201, {"id": number, "token": token, "url": f"{API}tokens/{number}/", "user": user["id"]}
        for token, (number, _unused) in list(self._tokens.items()):
            if method == "DELETE" and segments == [str(number)]:
                del self._tokens[token]
                return 204, None
        return NOT_FOUND

    def _user(self, authorization: str) -> dict[str, Any] | None:
        """Return whom a request is from; None for nobody."""
        kind, _unused, text = authorization.partition(" ")
        if kind == "Bearer" and text in self._tokens:
            return self.tables.one("users", username=self._tokens[text][1])
        if kind == "Basic":
            with contextlib.suppress(ValueError):
                name, _unused, password = base64.b64decode(text).decode().partition(":")
                for user in self.tables.find("users", username=name):
                    return user if password and self.tables.password(user["id"]) == password else None
        return None

    def _bound(self, port: int) -> socket.socket:
        """Return a socket that has the port and refuses connections until it listens."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _serve(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self), bind_and_activate=False)
        server.socket.close()
        server.socket = self._waiting
        server.server_activate()
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _leave(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._waiting = self._bound(self.port)


def _handler(awx: AwxServer) -> type[BaseHTTPRequestHandler]:
    """Return the handler of one server's requests."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            """Answer one request, of any method."""
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                body = json.loads(raw) if raw.strip() else {}
            except ValueError:
                body = None
            status, answer = awx.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
            text = isinstance(answer, str)
            data = b"" if answer is None else answer.encode() if text else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8" if text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", VERSION)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_one

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    return Handler
