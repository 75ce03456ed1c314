# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys: built and parsed in one place, hostile ones refused with their name."""

from __future__ import annotations

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import (
    Tree,
    TreeKey,
    check_name,
    check_path,
    check_prefix,
    is_path,
    shown,
)

TREE = Tree()


@pytest.mark.parametrize("prefix", ["/watcher", "/a/b", "/\u00fc"])
def test_good_prefixes(prefix: str) -> None:
    """A prefix is any path without empty segments."""
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix", ["", "/", "watcher", "/watcher/", "//a", "/a//b", "/a/../b", "/.", "/a\n", "/\ud800"]
)
def test_bad_prefixes(prefix: str) -> None:
    """Anything else is refused, on one line, with what is allowed."""
    with pytest.raises(InvalidError, match=r"^prefix .*it must start with /") as caught:
        Tree(prefix)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["web01", "a.com", "A_b-c.1", "...", "-", "x" * 255])
def test_good_names(name: str) -> None:
    """Hosts and projects are one plain segment."""
    assert check_name("host", name) == name
    assert TREE.owner(f"/watcher/{name}/{name}/x".encode()) == (name, name)


BAD_NAMES = ["", ".", "..", "a b", "a\n", "\n", "\u00fc", "a\0", "x" * 256, "\u0661", "a*", "\ud800", "a:b"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a/b"])
def test_bad_names(name: str) -> None:
    """All other names are refused."""
    with pytest.raises(InvalidError, match="a project is one segment"):
        check_name("project", name)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_in_keys(name: str) -> None:
    """They own no key, and a key with one is an error."""
    for key in (f"/watcher/{name}/p/config", f"/watcher/h/{name}/config"):
        raw = key.encode("utf-8", "surrogatepass")
        assert TREE.owner(raw) is None
        with pytest.raises(InvalidError):
            TREE.parse(raw)


GOOD_PATHS = ["ngx.conf", "ssl/opts.conf", "\u00fc/\u65e5", " ", "...", "a\\b", "-rf", "*", "x" * 255, "\u00fc" * 127]


@pytest.mark.parametrize("path", [*GOOD_PATHS, "/".join(["d" * 255] * 4), "~", "$(id)", "a..b", ".watcher-x", "%2e%2e"])
def test_good_paths(path: str) -> None:
    """A file's path is any text below config.d, up to 255 bytes a segment; keys go both ways."""
    assert check_path(path) == path
    assert TREE.parse(TREE.file("web01", "a.com", path).encode()) == TreeKey("web01", "a.com", path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty segment"),
        ("/etc/passwd", "empty segment"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("..", "segment . or .."),
        ("a/../../b", "segment . or .."),
        ("./a", "segment . or .."),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "control character"),
        ("x" * 256, "longer than 255 bytes"),
        ("\u00fc" * 128, "longer than 255 bytes"),
        ("/".join(["d" * 204] * 5) + "x", "longer than 1024 bytes"),
        ("a\ud800", "UTF-8 text"),
    ],
)
def test_bad_paths(path: str, why: str) -> None:
    """A path that could leave its folder, or that a disk refuses, is refused with the reason, on one line."""
    with pytest.raises(InvalidError, match=why) as caught:
        check_path(path)
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()
    assert not is_path(path)


def test_longest_path() -> None:
    """1,024 bytes are still good."""
    path = "/".join(["d" * 204] * 5)
    assert len(path) == 1024
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"/watcher/web01/a.com/config", TreeKey("web01", "a.com")),
        (b"/watcher/web01/a.com/config.d/x", TreeKey("web01", "a.com", "x")),
        (b"/watcher/web01/a.com/config.d/config", TreeKey("web01", "a.com", "config")),
        (b"/watcher/web01/a.com/config.d/config.d/x", TreeKey("web01", "a.com", "config.d/x")),
        (b"/watcher/config/config/config", TreeKey("config", "config")),
        (b"/watcher/web01/a.com/config.d", None),
        (b"/watcher/web01/a.com/config/", None),
        (b"/watcher/web01/a.com/config.dx/y", None),
        (b"/watcher/web01/a.com/other", None),
        (b"/watcher/web01/a.com", None),
        (b"/watcher/web01", None),
        (b"/watcher/", None),
        (b"/watcher", None),
        (b"/watcher.status/web01/a.com/config", None),
        (b"/watcherx/web01/a.com/config", None),
        (b"watcher/web01/a.com/config", None),
        (b"", None),
        (b"/watcher/we b/a.com/other", None),
    ],
)
def test_parse(key: bytes, expected: TreeKey | None) -> None:
    """A key is a policy, a file, or not ours."""
    assert TREE.parse(key) == expected
    if expected is not None:
        assert TREE.key(expected).encode() == key


@pytest.mark.parametrize(
    "key",
    [
        b"/watcher/web01/a.com/config.d/",
        b"/watcher/web01/a.com/config.d/../../../etc/shadow",
        b"/watcher/web01/a.com/config.d/\xff",
        b"/watcher/web01/a.com/config.d/a\0b",
        b"/watcher/we\xffb/a.com/config",
        b"/watcher/../a.com/config",
        b"/watcher//a.com/config",
        b"/watcher/web01//config.d/x",
        b"/watcher/web01/a\r\ncom/config",
        b"/watcher/web01/" + b"x" * 256 + b"/config",
    ],
)
def test_parse_refuses(key: bytes) -> None:
    """A key that looks like ours and breaks the rules is an error that names it, whatever bytes it holds."""
    with pytest.raises(InvalidError, match=r"^key /watcher/") as caught:
        TREE.parse(key)
    assert len(str(caught.value).splitlines()) == 1


def test_host_prefix_ends_with_a_slash() -> None:
    """web01 never matches web010."""
    assert not TREE.project("web010", "a.com").startswith(TREE.host("web01"))
    assert TREE.host("web01") == "/watcher/web01/"
    assert not TREE.status_root.startswith(TREE.root)
    assert not TREE.agent_root.startswith(TREE.root)
    assert not TREE.source_root.startswith(TREE.root)
    assert TREE.status("web01", "a.com") == "/watcher.status/web01/a.com"
    assert TREE.agent("web01") == "/watcher.agents/web01"
    assert TREE.source("pair", "lock") == "/watcher.sources/pair/lock"


@pytest.mark.parametrize(
    "build", [TREE.host, TREE.agent, lambda name: TREE.status(name, "p"), lambda name: TREE.policy("h", name)]
)
@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_builders_check(build: object, name: str) -> None:
    """No key is ever built from a name that breaks the rules."""
    with pytest.raises(InvalidError):
        build(name)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"/watcher/web01/a.com/", ("web01", "a.com")),
        (b"/watcher/web01/a.com/x/y", ("web01", "a.com")),
        (b"/watcher/web01/a.com", None),
        (b"/elsewhere/web01/a.com/config", None),
        (b"/watcherx/web01/a.com/config", None),
    ],
)
def test_owner(key: bytes, expected: tuple[str, str] | None) -> None:
    """A key belongs to a project only below the prefix."""
    assert TREE.owner(key) == expected


def test_owner_below_a_prefix_that_is_not_ascii() -> None:
    """Keys are bytes: their prefix is cut off in bytes."""
    tree = Tree("/w\u00e4chter")
    key = tree.policy("web01", "a.com").encode()
    assert tree.owner(key) == ("web01", "a.com")
    assert tree.parse(key) == TreeKey("web01", "a.com")
    assert tree.is_variable(tree.variables("web01", "a.com").encode() + b"x")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"/watcher/web01/a.com/vars/port", True),
        (b"/watcher/web01/a.com/vars/deep/er", True),
        (b"/watcher/web01/a.com/vars//", True),
        (b"/watcher/web01/a.com/vars/\xff", True),
        (b"/watcher/web01/a.com/vars/", False),
        (b"/watcher/web01/a.com/vars", False),
        (b"/watcher/web01/a.com/varsity/port", False),
        (b"/watcher/web01/a.com/config.d/vars/port", False),
        (b"/watcher/web01/a b/vars/port", False),
        (b"/elsewhere/web01/a.com/vars/port", False),
    ],
)
def test_values_for_templates(key: bytes, expected: bool) -> None:
    """They are below the folder vars of a project."""
    assert TREE.is_variable(key) == expected
    assert key.startswith(TREE.variables("web01", "a.com").encode()) or not expected


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [
        ("/services", True),
        ("/watcher", True),
        ("/watcher/web02/", True),
        ("/watcher.statuses", True),
        ("/watcher.agent", True),
        ("/watcher.status", False),
        ("/watcher.status/", False),
        ("/watcher.status/web02/b.com", False),
        ("/watcher.agents", False),
        ("/watcher.agents/web01", False),
        ("/watcher.sources/pair", False),
    ],
)
def test_what_a_policy_may_watch(prefix: str, allowed: bool) -> None:
    """Not what deployments write: each would ask for one more."""
    if allowed:
        TREE.check_watch(["/x", prefix], "where")
        return
    with pytest.raises(InvalidError) as caught:
        TREE.check_watch(["/x", prefix], "where")
    assert str(caught.value) == (
        f"where: policy field watch has {prefix}, which agents, deployments and sources write;"
        " allowed are prefixes elsewhere"
    )


@pytest.mark.parametrize("raw", [b"a\nb", b"\xff\xfe", "a\u2028b\u0085".encode(), "\ud800", "\x1b[31m"])
def test_shown(raw: bytes | str) -> None:
    """A key in a message is one line that can be written anywhere."""
    text = shown(raw)
    assert len(text.splitlines()) == 1
    assert text.encode().isascii()
    assert "\x1b" not in text
