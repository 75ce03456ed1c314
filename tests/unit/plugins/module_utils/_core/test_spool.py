# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The spool of callbacks, against a real receiver and with a fake clock."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import spool as module
from ansible_collections.watcher.config.plugins.module_utils._core.spool import (
    FIRST_PAUSE,
    KEEP,
    Spool,
    anonymous,
    post,
)

BODY = {"id": "web01/a.com@5", "msg": "\u00fc\udcff"}


class Receiver(HTTPServer):
    """Answers with the next of its codes, 200 when there are none left, and keeps what it was sent."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Answer)
        self.codes: list[int] = []
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/cb"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver

    def do_POST(self) -> None:
        """Answer."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), content))
        code = self.server.codes.pop(0) if self.server.codes else 200
        self.send_response(code)
        if 300 <= code < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver that is at work."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Clock:
    """Unix time that only tests move."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Spool:
    """Return an empty spool without chance."""
    return Spool(str(tmp_path / "spool"), clock=clock, jitter=lambda low, high: 1.0)


def test_delivered(spool: Spool, receiver: Receiver) -> None:
    """A callback is posted as JSON, once, and is gone then."""
    assert spool.deliver(receiver.url, BODY) == ""
    ((path, headers, content),) = receiver.posts
    assert (path, headers["Content-Type"], json.loads(content)) == ("/cb", "application/json", BODY)
    assert spool.names() == []


@pytest.mark.parametrize("code", [500, 404, 400, 301, 302, 303, 307, 308])
def test_refused_then_taken(spool: Spool, receiver: Receiver, clock: Clock, code: int) -> None:
    """Anything but 2xx is a failure; a redirect is not followed. It is sent again until it is taken."""
    receiver.codes = [code, 204]
    problem = spool.deliver(receiver.url, BODY)
    assert problem == f"callback web01/a.com@5 to {receiver.url}: answer {code}; next attempt in 5 s"
    assert len(receiver.posts) == 1
    assert spool.send_due().sent == 0
    clock.now += 6
    assert spool.send_due().sent == 1
    assert [post[0] for post in receiver.posts] == ["/cb", "/cb"]
    assert spool.names() == []


def test_nothing_listening(spool: Spool) -> None:
    """A refused connection is a failure with its reason, and the callback waits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "Connection refused" in spool.deliver(f"http://127.0.0.1:{port}/", BODY)
    assert len(spool.names()) == 1


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200"])
def test_nonsense(answer: bytes) -> None:
    """A receiver that speaks something else is a failure, or, where the code could be read, a success."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _unused = server.accept()
            with connection:
                seen = b""
                while not seen.endswith(b"{}"):  # closing with something unread would reset the connection
                    seen += connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        problem = post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}")
        thread.join()
    assert (problem == "") == (answer == b"HTTP/1.1 200")


def test_silence() -> None:
    """A receiver that does not answer in time is a failure."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "timed out" in post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", timeout=0.05)


def test_login_and_odd_characters(receiver: Receiver) -> None:
    """User and password of a URL become a header, as in Watcher; other characters are quoted."""
    url = receiver.url.replace("//", "//us%40er:p%3Aw@") + "/\u00fc?a=b&c=%20"
    assert post(url, b"{}") == ""
    ((path, headers, _unused),) = receiver.posts
    assert (path, headers["Authorization"]) == ("/cb/%C3%BC?a=b&c=%20", "Basic dXNAZXI6cDp3")
    assert anonymous(url) == receiver.url + "/\u00fc?a=b&c=%20"


def test_no_password_in_messages(spool: Spool) -> None:
    """What is logged does not hold the password."""
    assert "secret" not in spool.deliver("http://user:secret@127.0.0.1:1/", BODY)


def test_growing_pauses(tmp_path: Path, clock: Clock) -> None:
    """Pauses grow from 5 s to an hour, for a day; then the callback is dropped, and that is said."""
    times: list[float] = []

    def fail(url: str, body: bytes) -> str:
        times.append(clock.now)
        return "away"

    spool = Spool(str(tmp_path), clock=clock, send=fail, jitter=lambda low, high: 1.0)
    begun = clock.now
    spool.put("http://x/", BODY)
    dropped: tuple[str, ...] = ()
    while spool.names():
        report = spool.send_due()
        if report.dropped:
            dropped = report.problems
        clock.now = max([json.loads(path.read_text())["due"] for path in tmp_path.glob("*.json")], default=0.0)
    pauses = [round(later - earlier) for earlier, later in zip(times, times[1:])]
    assert pauses[:4] == [5, 10, 20, 40]
    assert max(pauses) == 3600
    assert pauses == sorted(pauses)
    assert KEEP <= times[-1] - begun <= KEEP + 3600
    assert dropped == (f"callback web01/a.com@5 to http://x/: away; given up after a day and {len(times)} attempts",)


def test_a_restart_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    """What waits is on disk: another process sends it, with the attempts so far."""
    folder = str(tmp_path / "spool")
    Spool(folder, clock=clock, send=lambda url, body: "away").deliver("http://x/", BODY)
    clock.now += 60
    report = Spool(folder, clock=clock, send=lambda url, body: "" if json.loads(body) == BODY else "other").send_due()
    assert (report.sent, report.left) == (1, 0)


def test_one_silent_receiver_does_not_hold_up_others(tmp_path: Path, clock: Clock) -> None:
    """It is asked once a round; the budget ends a round."""
    asked: list[str] = []

    def send(url: str, body: bytes) -> str:
        asked.append(url)
        clock.now += 5
        return "away" if "silent" in url else ""

    spool = Spool(str(tmp_path), clock=clock, send=send)
    for url in ("http://silent/", "http://silent/", "http://good/", "http://good/", "http://good/"):
        spool.put(url, BODY)
        clock.now += 0.001
    report = spool.send_due(budget=12)
    assert asked == ["http://silent/", "http://good/", "http://good/"]
    assert (report.sent, report.left) == (2, 3)


def test_two_senders(tmp_path: Path, clock: Clock) -> None:
    """While one sender is at it another one leaves the spool alone, so each callback is posted once."""
    entered, leave, sent = threading.Event(), threading.Event(), []

    def send(url: str, body: bytes) -> str:
        sent.append(url)
        entered.set()
        leave.wait(5)
        return ""

    spool = Spool(str(tmp_path), clock=clock, send=send)
    spool.put("http://x/", BODY)
    thread = threading.Thread(target=spool.send_due)
    thread.start()
    assert entered.wait(5)
    assert spool.send_due().sent == 0
    leave.set()
    thread.join()
    assert sent == ["http://x/"]
    assert spool.names() == []


def test_a_callback_that_another_sender_took(tmp_path: Path, clock: Clock) -> None:
    """A file that is gone after the answer is no error."""

    def send(url: str, body: bytes) -> str:
        for path in tmp_path.glob("*.json"):
            path.unlink()
        return ""

    assert Spool(str(tmp_path), clock=clock, send=send).deliver("http://x/", BODY) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"url": 1, "body": {}, "written": 1, "due": 1}',
        '{"url": "http://x/", "body": [], "written": 1, "due": 1}',
        '{"url": "http://x/", "body": {}, "written": "x", "due": 1}',
        '{"url": "http://x/", "body": {}, "written": 1, "due": null}',
        '{"url": "http://x/", "body": {}, "written": 1, "due": 1, "more": 1}',
    ],
)
def test_a_damaged_file(tmp_path: Path, clock: Clock, text: str) -> None:
    """A damaged file is put aside and holds up no other callback."""
    spool = Spool(str(tmp_path), clock=clock, send=lambda url, body: "")
    (tmp_path / "000000000000000-damaged.json").write_text(text)
    spool.put("http://x/", BODY)
    report = spool.send_due()
    assert (report.sent, report.left) == (1, 0)
    assert (tmp_path / "000000000000000-damaged.json.bad").exists()


def test_a_clock_that_was_set_back(tmp_path: Path, clock: Clock) -> None:
    """A callback that is due in some far future is sent now."""
    spool = Spool(str(tmp_path), clock=clock, send=lambda url, body: "")
    spool.put("http://x/", BODY)
    clock.now -= 1_000_000
    assert spool.send_due().sent == 1


def test_private(spool: Spool, tmp_path: Path) -> None:
    """Nobody else can read what waits."""
    spool.put("http://x/", BODY)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")} == {0}


def test_no_folder(tmp_path: Path) -> None:
    """A spool that was never used has nothing to send; one that cannot be made is an OSError."""
    assert Spool(str(tmp_path / "none")).send_due().left == 0
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Spool(str(tmp_path / "file" / "spool")).put("http://x/", BODY)
    assert FIRST_PAUSE < module.LONGEST_PAUSE < KEEP
    assert os.listdir(tmp_path) == ["file"]
