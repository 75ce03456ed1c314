# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What templates see of the tree, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.values import (
    MAX_DIGITS,
    Functions,
    Pair,
    Refused,
    Values,
    by_name,
    folder,
    is_watched,
)

OWN = "/watcher/web01/a.com/vars/"
ITEMS = {
    OWN + "port": b"80",
    OWN + "db": b'{"host": "db1", "ports": [1, 2]}',
    OWN + "deep/er/x": b"y",
    OWN + "deep/z": b"",
    OWN + "odd [1] *?\u00fc\n": b"odd",
    OWN + "latin": b"\xfc",
    "/services/web/1": b"10.0.0.1:80",
    "/services/web/10": b"10.0.0.10:80",
    "/services/web/2": b"10.0.0.2:80",
    "/services/db/1": b"10.0.0.3:5432",
    "/services/db": b"cluster",
    "/services": b"the folder itself",
    "/services2/web/1": b"no",
    "/a*/x": b"star",
    "/ab/x": b"no",
    "/watcher/web01/a.com/varsity": b"no",
    "/watcher/web01/b.com/vars/port": b"no",
}
VALUES = Values(OWN, ("/services/", "/a*"), ITEMS)


@pytest.fixture
def functions() -> Functions:
    """Return what a template may call."""
    return Functions(VALUES)


@pytest.mark.parametrize(
    ("key", "prefix", "watched"),
    [
        ("/services/web/1", "/services", True),
        ("/services/web/1", "/services/", True),
        ("/services/", "/services", True),
        ("/services", "/services", False),
        ("/services2/web", "/services", False),
        ("/services2/web", "/services/", False),
        ("/serv", "/services", False),
        ("/services/web/1", "/services/web/1", False),
    ],
)
def test_a_prefix_means_what_is_below_it(key: str, prefix: str, watched: bool) -> None:
    """Segment by segment, with or without a slash at its end."""
    assert is_watched(key, prefix) == watched
    assert key.startswith(folder(prefix)) == watched


def test_keys_that_are_no_text() -> None:
    """No template can name them."""
    assert by_name([(b"/a", b"1"), (b"/\xff", b"2"), ("/\u00fc".encode(), b"\xff")]) == {"/a": b"1", "/\u00fc": b"\xff"}


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (("getv", "port"), "80"),
        (("getv", OWN + "port"), "80"),
        (("getv", "port", "x"), "80"),
        (("getv", "deep/er/x"), "y"),
        (("getv", "deep/z", "x"), ""),
        (("getv", "no", "x"), "x"),
        (("getv", "no", None), None),
        (("getv", "deep", "a folder has no value"), "a folder has no value"),
        (("getv", "odd [1] *?\u00fc\n"), "odd"),
        (("getv", "/services/db"), "cluster"),
        (("getv", "/services", "not below"), "not below"),
        (("getv", "/a*/x"), "star"),
        (("exists", "port"), True),
        (("exists", "deep"), False),
        (("exists", "/services/web/1"), True),
        (("exists", "/services/web/3"), False),
        (("json", "db"), {"host": "db1", "ports": [1, 2]}),
        (("json", "port"), 80),
        (("gets", "/services/web/*"), [("1", "10.0.0.1:80"), ("10", "10.0.0.10:80"), ("2", "10.0.0.2:80")]),
        (("getvs", "/services/web/*"), ["10.0.0.1:80", "10.0.0.10:80", "10.0.0.2:80"]),
        (("getvs", "/services/web/?"), ["10.0.0.1:80", "10.0.0.2:80"]),
        (("getvs", "/services/web/[12]"), ["10.0.0.1:80", "10.0.0.2:80"]),
        (("getvs", "/services/web/[!2]*"), ["10.0.0.1:80", "10.0.0.10:80"]),
        (("getvs", "/services/web/[2-9]0"), []),
        (("getvs", "/services/*/1"), ["10.0.0.3:5432", "10.0.0.1:80"]),
        (("getvs", "/services/*"), ["cluster"]),
        (("getvs", "/services/web/1"), ["10.0.0.1:80"]),
        (("getvs", "/services/web"), []),
        (("getvs", "/services/WEB/*"), []),
        (("getvs", "deep/*"), [""]),
        (("getvs", "deep/*/*"), ["y"]),
        (("getvs", "p*"), ["80"]),
        (("getvs", "odd [[]1] [*][?]*"), ["odd"]),
        (("getvs", "["), []),
        (("getvs", "/a*/*"), ["star"]),
        (("ls", "/services"), ["db", "web"]),
        (("ls", "/services/"), ["db", "web"]),
        (("ls", "/services/web"), ["1", "10", "2"]),
        (("ls", "/services/web/1"), []),
        (("ls", "deep"), ["er", "z"]),
        (("ls", OWN), ["db", "deep", "latin", "odd [1] *?\u00fc\n", "port"]),
        (("ls", OWN.rstrip("/")), ["db", "deep", "latin", "odd [1] *?\u00fc\n", "port"]),
        (("ls", "/a*"), ["x"]),
        (("ls", "nowhere"), []),
        (("lsdir", "/services"), ["db", "web"]),
        (("lsdir", "/services/web"), []),
        (("lsdir", "deep"), ["er"]),
        (("lsdir", OWN), ["deep"]),
    ],
)
def test_functions(functions: Functions, call: tuple[Any, ...], found: Any) -> None:
    """Each finds what is there, sorted by key."""
    name, *arguments = call
    result = functions.named()[name](*arguments)
    if name == "gets":
        assert all(isinstance(pair, Pair) for pair in result)
        result = [(key.rpartition("/")[2], value) for key, value in result]
    assert result == found


def test_watched_by_text_only() -> None:
    """A pattern below a prefix that looks like a pattern finds nothing that this prefix does not name."""
    assert Functions(Values(OWN, ("/a[b]",), {"/ab/x": b"1", "/a[b]/x": b"2"})).getvs("/a[b]/*") == []


@pytest.mark.parametrize("name", ["getv", "exists", "json", "gets", "getvs", "ls", "lsdir"])
@pytest.mark.parametrize(
    "key",
    [
        "/services2/web/1",
        "/services2",
        "/serv",
        "/",
        "/*",
        "/*/web/1",
        "/service?/web/1",
        "//services/web/1",
        "/watcher/web01/a.com/varsity",
        "/watcher/web01/b.com/vars/port",
        "/watcher/web01/a.com",
        "/ab/x",
    ],
)
def test_outside(functions: Functions, name: str, key: str) -> None:
    """What neither is the project's own nor watched is refused, with the field that would allow it."""
    with pytest.raises(Refused) as caught:
        functions.named()[name](key)
    assert str(caught.value) == (
        f"key {key!r} is outside of what the project sees, {OWN} and /services/, /a*;"
        " add its prefix to the policy field watch"
    )


def test_outside_without_watch() -> None:
    """Nobody is told of prefixes that there are none of."""
    with pytest.raises(Refused, match=f"sees, {OWN}; add its prefix"):
        Functions(Values(OWN)).exists("/x")


@pytest.mark.parametrize("key", ["", 5, None, ["port"], b"port"])
def test_no_key(functions: Functions, key: Any) -> None:
    """A key is text."""
    for name, function in functions.named().items():
        with pytest.raises(Refused, match="is no key"):
            function(key)
            pytest.fail(name)


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("getv", "no", f"key '{OWN}no' is not in the tree; put it there, or give getv a default"),
        ("getv", "deep", f"key '{OWN}deep' is not in the tree"),
        ("json", "no", f"key '{OWN}no' is not in the tree"),
        ("getv", "latin", f"the value of key '{OWN}latin' is not UTF-8 text"),
        ("gets", "*", f"the value of key '{OWN}latin' is not UTF-8 text"),
        ("getvs", "l*", f"the value of key '{OWN}latin' is not UTF-8 text"),
        ("json", "latin", f"the value of key '{OWN}latin' is not UTF-8 text"),
        ("json", "/services/db", "the value of key '/services/db' is not JSON"),
        ("gets", "x[9-1]", f"pattern '{OWN}x[9-1]': the range 9-1 is empty"),
        ("getv", "a\nb", f"key '{OWN}a\\\\nb' is not in the tree"),
    ],
)
def test_what_is_not_there(functions: Functions, name: str, key: str, words: str) -> None:
    """Each message names the key."""
    with pytest.raises(Refused) as caught:
        functions.named()[name](key)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"NaN", b"-Infinity", b"[" * 100_000, b"1" * (MAX_DIGITS + 1), b"{'a': 1}", b'"\n"']
)
def test_no_json(value: bytes) -> None:
    """What is not JSON, or is it in some Pythons only, is refused."""
    with pytest.raises(Refused, match=r"the value of key '/watcher/web01/a\.com/vars/x' is not JSON"):
        Functions(Values(OWN, (), {OWN + "x": value})).json("x")


def test_a_long_number() -> None:
    """A number as long as all Pythons take it is one."""
    assert Functions(Values(OWN, (), {OWN + "x": b"9" * MAX_DIGITS})).json("x") == 10**MAX_DIGITS - 1


def test_a_hostile_pattern() -> None:
    """A pattern of many stars does not try each way to match."""
    functions = Functions(Values(OWN, (), {OWN + "a" * 5000: b""}))
    assert functions.getvs("*a" * 200 + "*b") == []


def test_what_is_looked_at_has_a_price() -> None:
    """A search costs as much as it finds, not as much as there is."""
    spent: list[int] = []
    functions = Functions(VALUES, spent.append)
    functions.getvs("/services/web/*")
    first = len(spent)
    functions.getvs("/services/web/*")
    assert (first, len(spent) - first) == (2 + 3, 1 + 3)
