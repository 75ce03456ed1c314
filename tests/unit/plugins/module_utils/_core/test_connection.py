# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options: what is taken, and how what is not is named."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection, Endpoint
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("10.0.0.1:2379", Endpoint("10.0.0.1"), "http://10.0.0.1:2379"),
        ("etcd-1.example.com", Endpoint("etcd-1.example.com"), "http://etcd-1.example.com:2379"),
        ("http://10.0.0.1:4001", Endpoint("10.0.0.1", 4001), "http://10.0.0.1:4001"),
        ("https://etcd2.example.com", Endpoint("etcd2.example.com", tls=True), "https://etcd2.example.com:2379"),
        ("HTTPS://etcd2:1/", Endpoint("etcd2", 1, True), "https://etcd2:1"),
        ("[::1]:2379", Endpoint("::1"), "http://[::1]:2379"),
        ("https://[2001:DB8::0001]", Endpoint("2001:db8::1", tls=True), "https://[2001:db8::1]:2379"),
        (" 10.0.0.1:2379\n", Endpoint("10.0.0.1"), "http://10.0.0.1:2379"),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint, shown: str) -> None:
    """Each form is read, and shown in one way."""
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == shown
    assert Endpoint.parse(shown) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        ":2379",
        "host:",
        "host:0",
        "host:65536",
        "host:port",
        "ftp://host",
        "https:/host",
        "https://",
        "http://host/v3",
        "http://host?a=b",
        "http://bob:s3cret@host",
        "bob:s3cret@host:2379",
        "https://bob:a/s3cret@host",
        "::1",
        "[::1",
        "[nonsense]:2379",
        "a b",
        "host,other",
        "h\u00f6st",
    ],
)
def test_refused_endpoints(text: str) -> None:
    """The message names option, value and the forms allowed, on one line and without a password."""
    with pytest.raises(
        InvalidError, match=r"^endpoints: .* is not an endpoint, which is .*https://host:port$"
    ) as caught:
        Endpoint.parse(text)
    assert "s3cret" not in str(caught.value)


def options(**given: Any) -> Connection:
    """Return the connection of these options."""
    return Connection.from_options(given.get)


def test_defaults() -> None:
    """Nothing has to be set, and unset is None or empty."""
    unset = dict.fromkeys(("endpoints", "prefix", "username", "password", "ca_cert", "timeout"), "")
    for connection in (options(), options(**unset), Connection()):
        assert connection == Connection(("127.0.0.1:2379",), "/watcher", None, None, None, None, None, 5.0)


def test_all_options() -> None:
    """Each of them arrives."""
    connection = options(
        endpoints=["https://a", "https://b:1", "https://a:2379"],
        prefix="/other",
        username="bob",
        password="s3cret",
        ca_cert="/ca",
        client_cert="/cert",
        client_key="/key",
        timeout="2.5",
    )
    assert connection.servers == (Endpoint("a", tls=True), Endpoint("b", 1, True))
    assert (connection.prefix, connection.username, connection.password) == ("/other", "bob", "s3cret")
    assert (connection.ca_cert, connection.client_cert, connection.client_key) == ("/ca", "/cert", "/key")
    assert connection.timeout == 2.5


def test_endpoints_as_one_string() -> None:
    """The INI file and the environment have them so."""
    connection = options(endpoints="10.0.0.1:2379, https://etcd2.example.com:2379,")
    assert [str(server) for server in connection.servers] == ["http://10.0.0.1:2379", "https://etcd2.example.com:2379"]


def test_user_with_password() -> None:
    """ETCDCTL_USER may hold both, as for etcdctl; a password of its own counts more."""
    both = options(username="bob:pass:word")
    assert (both.username, both.password) == ("bob", "pass:word")
    apart = options(username="bob:by", password="word")
    assert (apart.username, apart.password) == ("bob:by", "word")


def test_the_password_is_not_shown() -> None:
    """Neither by repr nor by str."""
    connection = options(username="bob", password="s3cret")
    assert "s3cret" not in f"{connection!r} {connection}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoints": 7}, r"^endpoints: 7 is not a list of "),
        ({"endpoints": [7]}, r"^endpoints: \[7\] is not a list of "),
        ({"endpoints": "a, b c"}, r"^endpoints: 'b c' is not an endpoint"),
        ({"prefix": "watcher/"}, r"^prefix 'watcher/'"),
        ({"timeout": "soon"}, r"^timeout: 'soon' is not a number of seconds above 0 and up to 3600$"),
        ({"timeout": 0}, r"^timeout: 0"),
        ({"timeout": -1}, r"^timeout: -1"),
        ({"timeout": True}, r"^timeout: True"),
        ({"timeout": "nan"}, r"^timeout: 'nan'"),
        ({"timeout": "inf"}, r"^timeout: 'inf'"),
        ({"timeout": 3601}, r"^timeout: 3601"),
        ({"timeout": []}, r"^timeout: \[\]"),
        ({"username": "bob"}, r"^username is set and password is not"),
        ({"password": "s3cret"}, r"^password is set and username is not"),
        ({"ca_cert": "/ca"}, r"^ca_cert: '/ca' has no effect, .*https://.* \(found http://127.0.0.1:2379\)$"),
        ({"client_cert": "/c", "client_key": "/k", "endpoints": ["a", "b"]}, r"^client_cert: '/c' has no effect"),
        ({"client_cert": "/c", "endpoints": "https://a"}, r"^client_cert is set and client_key is not"),
        ({"client_key": "/k", "endpoints": "https://a"}, r"^client_key is set and client_cert is not"),
    ],
)
def test_refused_options(given: dict[str, Any], message: str) -> None:
    """Option, value and what is allowed are named; a password is not."""
    with pytest.raises(InvalidError, match=message) as caught:
        options(**given)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_certificates_with_one_endpoint_of_tls() -> None:
    """It is enough that one can use them."""
    assert options(endpoints="a, https://b", ca_cert="/ca").ca_cert == "/ca"


def test_no_endpoints() -> None:
    """An empty list from code is an error, not the default."""
    with pytest.raises(InvalidError, match=r"^endpoints: the list is empty"):
        Connection(())
