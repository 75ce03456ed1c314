# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd hears, on a real socket."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.notify import TIMEOUT, Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Return a socket as systemd has it, bound to a path or an abstract name."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0watcher-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name)
        server.settimeout(2)
        yield server


def environment(systemd: socket.socket, **more: str) -> dict[str, str]:
    """Return the variables that systemd sets."""
    name = systemd.getsockname()
    address = "@" + name[1:].decode() if isinstance(name, bytes) else name
    return {"NOTIFY_SOCKET": address, **more}


def heard(systemd: socket.socket) -> list[str]:
    """Return all messages that were sent."""
    messages = []
    systemd.setblocking(False)
    while True:
        try:
            messages.append(systemd.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_a_life(systemd: socket.socket) -> None:
    """Ready, at work, alive, stopping; the same status again is no news."""
    notifier = Notifier(environment(systemd, WATCHDOG_USEC="60000000"))
    notifier.ready("watching at revision 7")
    notifier.status("watching at revision 7")
    notifier.status("watching at revision 8")
    notifier.status("watching at revision 8")
    notifier.alive()
    notifier.stopping()
    notifier.close()
    notifier.stopping()
    assert heard(systemd) == [
        "READY=1\nSTATUS=watching at revision 7",
        "STATUS=watching at revision 8",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_text_cannot_say_more(systemd: socket.socket) -> None:
    """A line break would begin another message; what is no text still gets there."""
    notifier = Notifier(environment(systemd))
    notifier.status("a\nMAINPID=1\r\n b\udcff")
    notifier.close()
    assert heard(systemd) == ["STATUS=a MAINPID=1 b\\udcff"]


def test_no_watchdog(systemd: socket.socket) -> None:
    """It is not fed where systemd does not wait for it."""
    notifier = Notifier(environment(systemd))
    assert notifier.period is None
    notifier.alive()
    notifier.close()
    assert heard(systemd) == []


@pytest.mark.parametrize(
    ("usec", "owner", "period"),
    [
        ("30000000", "", 15.0),
        ("30000000", "42", 15.0),
        ("30000000", "43", None),
        ("0", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_period(usec: str, owner: str, period: float | None) -> None:
    """Half of what systemd waits, if it waits for this very process."""
    variables = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": usec, "WATCHDOG_PID": owner}
    notifier = Notifier(variables, pid=42)
    notifier.close()
    assert notifier.period == period


@pytest.mark.parametrize("variables", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_systemd(variables: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing happens."""
    notifier = Notifier({"WATCHDOG_USEC": "5000000", **variables})
    for call in (notifier.alive, notifier.stopping, notifier.close):
        call()
    notifier.ready("x")
    notifier.status("y")
    assert notifier.period is None
    assert caplog.records == []


def test_children_do_not_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of a policy cannot report us ready or alive; all else stays in the environment."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"):
        monkeypatch.setenv(name, "/nowhere")
    Notifier().close()
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}.isdisjoint(os.environ)
    assert os.environ["JOURNAL_STREAM"] == "/nowhere"


def test_a_socket_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That is said once, and hurts nothing."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")})
    notifier.ready("x")
    notifier.status("y")
    notifier.stopping()
    notifier.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "systemd cannot be told READY=1: " in caplog.text


def test_a_systemd_that_does_not_read(systemd: socket.socket) -> None:
    """A full queue holds nobody up for long."""
    notifier = Notifier(environment(systemd))
    began = time.monotonic()
    for number in range(10_000):
        notifier.status(str(number))
        if notifier._said:
            break
    assert notifier._said, "the queue was never full"
    assert time.monotonic() - began < TIMEOUT + 1
    notifier.close()
