# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service tells systemd: that it is ready, what it does, that it lives (sd_notify)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

logger = logging.getLogger(__name__)

TIMEOUT = 0.5  # seconds that one message may wait for room in systemd's queue
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Speaks to systemd's socket; does nothing where there is none.

    ``period`` is how many seconds may lie between two `alive`: half of what systemd waits;
    None when it does not.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None, pid: int | None = None) -> None:
        """Take systemd's variables out of the environment: commands that are run later shall not speak for us."""
        environment = os.environ if environment is None else environment
        address, usec, owner = (environment.pop(name, "") for name in VARIABLES)
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._status = ""
        self._said = False
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(TIMEOUT)
        mine = owner in ("", str(pid or os.getpid()))
        watched = self._socket is not None and mine and usec.isdecimal() and int(usec) > 0
        self.period: float | None = int(usec) / 2_000_000 if watched else None

    def ready(self, text: str) -> None:
        """Say that the start is over, and what goes on."""
        self._status = text
        self._send(f"READY=1\nSTATUS={_line(text)}")

    def status(self, text: str) -> None:
        """Say what goes on, where that is news."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        if self.period is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        """Send one message; one that cannot be sent is logged, the first time."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode("utf-8", "backslashreplace"), self._address)
            self._said = False
        except OSError as error:
            if not self._said:
                logger.warning("systemd cannot be told %s: %s", message.partition("\n")[0], error)
            self._said = True


def _line(text: str) -> str:
    """Return the text as one line, for each line is a message of its own."""
    return " ".join(text.split())
