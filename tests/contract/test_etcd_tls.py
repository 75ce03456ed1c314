# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: what works, and one clear sentence for each way in which it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    InvalidError,
    UnavailableError,
)
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import EtcdStore
from ansible_collections.watcher.config.tests.certificates import Authority
from ansible_collections.watcher.config.tests.contract.fixtures import events, put
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer, free_ports

Open = Callable[..., EtcdStore]


@pytest.fixture
def tls(etcd_binary: Path) -> Iterator[EtcdServer]:
    """Run an etcd that serves TLS only."""
    with EtcdServer(etcd_binary, tls=True) as server:
        yield server


@pytest.fixture
def mutual(etcd_binary: Path) -> Iterator[EtcdServer]:
    """Run an etcd that wants a certificate of its clients."""
    with EtcdServer(etcd_binary, mutual=True) as server:
        yield server


def check(store: EtcdStore) -> None:
    """Read, write and watch."""
    revision = put(store, ("/w/a", b"1"))
    assert len(store.list("/w/").items) == 1
    with store.watch("/w/", revision) as watch:
        assert events(watch, 1)[0].revision == revision


def denied(store: EtcdStore) -> str:
    """Return the one message with which all calls are turned away."""
    messages = set()
    for call in (lambda: store.get("/w/a"), lambda: put(store, ("/w/a", b"")), lambda: store.watch("/w/a", 0)):
        with pytest.raises(DeniedError) as caught:
            call()
        messages.add(str(caught.value).partition("failed: ")[2])
    (message,) = messages
    return message


def test_tls(opened: Open, tls: EtcdServer) -> None:
    """The certificate of the authority is enough."""
    check(opened(tls.endpoint, ca_cert=tls.authority.certificate))


def test_mutual_tls(opened: Open, mutual: EtcdServer) -> None:
    """With a client certificate of the same authority."""
    files = {"client_cert": mutual.client_cert, "client_key": mutual.client_key}
    check(opened(mutual.endpoint, ca_cert=mutual.authority.certificate, **files))


def test_an_authority_that_the_system_trusts(opened: Open, tls: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ca_cert the system's list counts, as for etcdctl."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.certificate))
    check(opened(tls.endpoint))


def test_an_unknown_authority(opened: Open, tls: EtcdServer, tmp_path: Path) -> None:
    """The server's certificate is of another authority than ca_cert, or than the system's."""
    other = Authority(tmp_path, "other")
    for options in ({"ca_cert": other.certificate}, {}):
        message = denied(opened(tls.endpoint, **options))
        assert tls.endpoint in message
        assert "certificate is refused" in message
        assert "ca_cert" in message


def test_a_certificate_for_another_name(opened: Open, tls: EtcdServer) -> None:
    """127.0.0.1 is in the certificate, localhost is not."""
    message = denied(opened(f"https://localhost:{tls.port}", ca_cert=tls.authority.certificate))
    assert "not valid for 'localhost'" in message


def test_an_expired_certificate(opened: Open, etcd_binary: Path) -> None:
    """The message says so."""
    server = EtcdServer(etcd_binary, tls=True)
    server.authority.issue("server", valid_for=-1)
    with server:
        assert "certificate has expired" in denied(opened(server.endpoint, ca_cert=server.authority.certificate))


def test_a_client_certificate_is_missing(opened: Open, mutual: EtcdServer) -> None:
    """The message names the options to set."""
    message = denied(opened(mutual.endpoint, ca_cert=mutual.authority.certificate))
    assert "wants a client certificate" in message
    assert "client_cert and client_key" in message


def test_a_foreign_client_certificate(opened: Open, mutual: EtcdServer, tmp_path: Path) -> None:
    """One of another authority is refused by the server."""
    certificate, key = Authority(tmp_path, "other").issue("client")
    options = {"ca_cert": mutual.authority.certificate, "client_cert": certificate, "client_key": key}
    assert "refuses client_cert" in denied(opened(mutual.endpoint, **options))


def test_a_client_key_of_another_certificate(opened: Open, mutual: EtcdServer) -> None:
    """The two files do not fit."""
    _certificate, key = mutual.authority.issue("another")
    options = {"ca_cert": mutual.authority.certificate, "client_cert": mutual.client_cert, "client_key": key}
    assert "do not fit" in denied(opened(mutual.endpoint, **options))


def test_a_file_that_is_no_certificate(opened: Open, tls: EtcdServer, tmp_path: Path) -> None:
    """The option is named."""
    (tmp_path / "ca").write_text("nothing of the kind")
    assert "ca_cert" in denied(opened(tls.endpoint, ca_cert=tmp_path / "ca"))


def test_a_file_that_is_not_there(opened: Open, tls: EtcdServer, tmp_path: Path) -> None:
    """Option and path are named."""
    with pytest.raises(InvalidError, match=rf"ca_cert: {tmp_path}/ca cannot be read \(No such file"):
        opened(tls.endpoint, ca_cert=tmp_path / "ca").get("/w/a")


def test_no_tls_to_a_server_that_wants_it(opened: Open, tls: EtcdServer, mutual: EtcdServer) -> None:
    """The user is told to write https, whether or not the server wants a certificate too."""
    for server in (tls, mutual):
        assert f"it speaks TLS: write https://{server.address}" in denied(opened(server.address))


def test_tls_to_a_server_without_it(opened: Open, server: EtcdServer) -> None:
    """There is no silent fall-back; the user is told what the server speaks."""
    message = denied(opened(f"https://{server.address}"))
    assert f"https://{server.address} (it does not speak TLS" in message


def test_nothing_listening_is_not_taken_for_tls(opened: Open, tls: EtcdServer) -> None:
    """Neither where nothing ever listened, nor where the server just died or froze."""
    store = opened(tls.endpoint, f"https://127.0.0.1:{free_ports(1)[0]}", ca_cert=tls.authority.certificate, timeout=1)
    check(store)
    tls.freeze()
    with pytest.raises(UnavailableError, match=rf"{tls.address} \(no answer within 1 s\).*nothing listens there"):
        store.get("/w/a")
    tls.kill()
    with pytest.raises(UnavailableError, match=rf"{tls.address} \(nothing listens there\)"):
        store.get("/w/a")


def test_a_refused_endpoint_among_others(opened: Open, tls: EtcdServer, server: EtcdServer) -> None:
    """It is passed over; the error of both is one to try again, and names both reasons."""
    store = opened(f"https://{server.address}", tls.endpoint, ca_cert=tls.authority.certificate)
    check(store)
    tls.kill()
    with pytest.raises(UnavailableError):
        store.get("/w/a")
    with pytest.raises(UnavailableError, match=r"nothing listens there.*does not speak TLS"):
        store.get("/w/a")


def test_a_renewed_certificate(opened: Open, mutual: EtcdServer) -> None:
    """Files are read again for each new connection, so no restart is needed when they change."""
    certificate, key = Authority(mutual.folder / "other", "other").issue("agent")
    options = {"ca_cert": mutual.authority.certificate, "client_cert": certificate, "client_key": key}
    store = opened(mutual.endpoint, **options)
    denied(store)
    certificate.write_bytes(mutual.client_cert.read_bytes())
    key.write_bytes(mutual.client_key.read_bytes())
    check(store)
