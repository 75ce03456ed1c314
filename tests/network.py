# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad networks on loopback: somebody who takes connections and says nothing, and a cable that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType


class Listener:
    """Takes connections on a port (0: a free one), hands each to ``serve``, and ends them with the context."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        """Listen, with nobody to take connections yet."""
        self.count = 0
        self._serve = serve
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Listener:
        """Take connections."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all connections, and refuse new ones."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        for each in self._open:
            close(each)

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            self.count += 1
            self._open.append(connection)
            self._serve(connection)


def silence(connection: socket.socket) -> None:
    """Leave a connection open and say nothing."""


def close(connection: socket.socket) -> None:
    """End a connection for both sides."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Cable:
    """The way to a port of this machine; a context manager that begins joined."""

    def __init__(self, target: int) -> None:
        """Choose a port for this end."""
        self._target = target
        self._far: list[socket.socket] = []
        self._listener: Listener | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Return the address of this end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Cable:
        """Join it."""
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut it."""
        self.cut()

    def join(self) -> None:
        """Let connections through."""
        self._listener = Listener(self._connect, self.port).__enter__()
        self.port = self._listener.port

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._listener is not None:
            self._listener.__exit__(None, None, None)
            self._listener = None
        while self._far:
            close(self._far.pop())

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            close(near)
            return
        self._far.append(far)
        for ends in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    close(source)
    close(sink)
