# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy: every field, good and bad."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.policy import (
    MAX_VALUE,
    MAX_WATCHED,
    Policy,
    encode,
)

WHERE = "host web01, project a.com, key config"


def parse(**fields: Any) -> Policy:
    """Return the policy with these fields beside deployPath."""
    return Policy.parse(json.dumps({"deployPath": "/srv", **fields}).encode(), WHERE)


def test_the_old_daemons_policy() -> None:
    """A policy of Watcher, empty fields and all, is valid word for word."""
    value = b"""{
      "deployPath": "/etc/nginx/conf.d/", "backupDir": "", "beforeCmd": "nginx -t",
      "afterCmd": "nginx -s reload", "callback": "http://127.0.0.1:9091/cb?x=1"
    }"""
    policy = Policy.parse(value, WHERE)
    assert (policy.deploy_path, policy.backup_dir, policy.before_cmd) == ("/etc/nginx/conf.d", "", "nginx -t")
    assert (policy.after_cmd, policy.callback) == ("nginx -s reload", "http://127.0.0.1:9091/cb?x=1")
    assert (policy.cmd_timeout, policy.on_failure, policy.keep_backups, policy.files) == (30, "rollback", 10, None)
    assert parse(backupDir="", beforeCmd="", afterCmd="", callback="") == Policy("/srv")
    assert parse(backupDir=None, beforeCmd=None, afterCmd=None, callback=None) == Policy("/srv")


def test_commands() -> None:
    """Those that there are, as they run; white space is a command of its own."""
    assert parse().commands == {}
    policy = parse(afterCmd="c", beforeCmd=" ", checkCmd="a")
    assert list(policy.commands.items()) == [("checkCmd", "a"), ("beforeCmd", " "), ("afterCmd", "c")]
    assert parse(beforeCmd="", afterCmd="c").commands == {"afterCmd": "c"}


DIGEST = "sha256:" + "0" * 64
GOOD: list[tuple[str, Any, Any]] = [
    ("deployPath", "/", "/"),
    ("deployPath", "/a//b/", "/a/b"),
    ("deployPath", "/\u00fc b", "/\u00fc b"),
    ("backupDir", "/b/", "/b"),
    ("beforeCmd", "a\nb\t'$x'", "a\nb\t'$x'"),
    ("checkCmd", "nginx -t -p %s", "nginx -t -p %s"),
    ("callback", "https://user:pw@[::1]:8443/x", "https://user:pw@[::1]:8443/x"),
    ("mode", "0644", 0o644),
    ("mode", "644", 0o644),
    ("mode", "0000", 0),
    ("dirMode", "02750", 0o2750),
    ("owner", "www-data", "www-data"),
    ("owner", "0", "0"),
    ("group", "svc$", "svc$"),
    ("cmdTimeout", 0.5, 0.5),
    ("cmdTimeout", 86400, 86400.0),
    ("onFailure", "keep", "keep"),
    ("keepBackups", 0, 0),
    ("render", True, True),
    ("watch", ["/x", "/y/"], ("/x", "/y/")),
    ("watch", [f"/{number}" for number in range(MAX_WATCHED)], tuple(f"/{number}" for number in range(MAX_WATCHED))),
    ("files", {}, {}),
    ("files", {"a/b": DIGEST}, {"a/b": DIGEST}),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_good(name: str, value: Any, expected: Any) -> None:
    """Each field takes what the contract says, and goes through JSON and back."""
    policy = parse(**{name: value})
    attribute = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    assert getattr(policy, attribute) == expected
    manifest = {} if policy.files is None else {"files": policy.files}
    assert Policy.from_data({**policy.to_data(), **manifest}, WHERE) == policy
    assert "files" not in policy.to_data()
    hash(policy)


PATHS = ["", "srv", "./srv", "~/srv", "/a/../b", "/a/.", "/a\0b", "/a\nb", "/\ud800", 1, None, True, ["/srv"], {}]
TEXTS = ["a\0b", "\ud800", 1, True, ["true"], {"a": 1}]
BAD: list[tuple[str, list[Any], str]] = [
    ("deployPath", PATHS, "an absolute path without . or .. segments"),
    ("backupDir", [value for value in PATHS[1:] if value is not None], "an absolute path"),
    ("beforeCmd", TEXTS, "text without NUL"),
    ("afterCmd", TEXTS, "text without NUL"),
    ("checkCmd", [*TEXTS, None], "text without NUL"),
    (
        "callback",
        ["ftp://x", "file:///etc/passwd", "http://", "x", "//x", "http://a b", "http://a\n", "http://a:x", "http://a:0",
         "http://a:99999", "http://[", "http:///x", 1, []],
        "an http:// or https:// URL, or empty",
    ),
    ("mode", [420, "rw", "8", "0888", "12345", "0644 ", "+x", "\u0660644", None, 6.0, ["0644"], ""], "octal digits"),
    ("dirMode", [755, "u=rwx", None, True], "octal digits"),
    ("owner", [0, None, "a b", "a\n", "-x", "root;id", "../x", True, ["x"]], "a name or number in quotes"),
    ("group", [0, "\u00fc"], "a name or number in quotes"),
    ("cmdTimeout", [0, -1, "30", None, True, 86401, [30]], "seconds, more than 0"),
    ("onFailure", ["", "Rollback", None, True, [], {}], "rollback or keep"),
    ("keepBackups", [-1, 1.0, "1", None, True], "a whole number"),
    ("render", [0, "true", None], "true or false"),
    (
        "watch",
        ["/x", [1], ["x"], [""], ["/"], ["//"], ["/a//"], ["/a", "/a/../b"], ["/a\n"], {}, None,
         [f"/{number}" for number in range(MAX_WATCHED + 1)]],
        "a list of at most 16 key prefixes, such as /services",
    ),
    (
        "files",
        [[], None, "x", {"../x": DIGEST}, {"": DIGEST}, {"a": 1}, {"a": "sha256:0"}, {"a": DIGEST.upper()},
         {"a": DIGEST + "\n"}],
        "an object of file paths and digests",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "allowed"), [(name, value, allowed) for name, values, allowed in BAD for value in values]
)
def test_bad(name: str, value: Any, allowed: str) -> None:
    """Each wrong value is refused on one short line: where, the field, what was found, what is allowed."""
    with pytest.raises(InvalidError) as caught:
        parse(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: policy field {name} is {json.dumps(value)[:70]}")
    assert f"allowed is {allowed}" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{", "not JSON"),
        (b'{"deployPath": "/a"} x', "not JSON"),
        (b"{'deployPath': '/a'}", "not JSON"),
        ('\ufeff{"deployPath": "/a"}'.encode(), "not JSON"),
        ('{"deployPath": "/a"}'.encode("utf-16"), "not JSON"),
        (b'{"deployPath": "/a", "deployPath": "/b"}', 'field "deployPath" stands there twice'),
        (b'{"deployPath": "/a", "files": {"a": 1, "a": 2}}', 'field "a" stands there twice'),
        (b'{"deployPath": "/a", "cmdTimeout": NaN}', "NaN is not JSON"),
        (b'{"deployPath": "/a", "cmdTimeout": Infinity}', "Infinity is not JSON"),
        (b'{"deployPath": "/a", "cmdTimeout": 1e999}', "cmdTimeout"),
        (b'{"deployPath": "/a", "keepBackups": 1e3}', "keepBackups"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the policy is []; allowed is an object"),
        (b"null", "the policy is null"),
        (b'"x"', 'the policy is "x"'),
        (b"{}", "policy field deployPath is missing"),
        (b'{"deploypath": "/b"}', 'unknown policy field "deploypath"; allowed are deployPath, backupDir'),
        (b'{"deployPath": "/a", "before_cmd": ""}', 'unknown policy field "before_cmd"'),
        (b'{"deployPath": "/a", "\\ud800\\n": ""}', 'unknown policy field "\\ud800\\n"'),
        (b" " * MAX_VALUE + b"{}", "allowed are 1048576"),
        (b'{"deployPath": "' + b"x" * 900_000 + b'"}', 'policy field deployPath is "xxxx'),
        (b'{"' + b"x" * 900_000 + b'": 1}', 'unknown policy field "xxxx'),
        (b'{"x": 1, "' + b"x" * 400_000 + b'": 1, "' + b"x" * 400_000 + b'": 1}', 'field "xxxx'),
    ],
)  # fmt: skip
def test_not_a_policy(value: bytes, words: str) -> None:
    """Whatever stands in the key, the message is short, one line, and can be written anywhere."""
    with pytest.raises(InvalidError) as caught:
        Policy.parse(value, WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: ")
    assert words in message
    assert len(message) < 500
    assert len(message.splitlines()) == 1
    message.encode()


@pytest.mark.parametrize("depth", [10, 300, 500, 900, 950, 970, 980, 990, 1000, 3000, 100_000])
def test_deep_nesting(depth: int) -> None:
    """However deep a value is nested, it is refused, not a crash."""
    value = b'{"deployPath": ' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(InvalidError):
        Policy.parse(value, WHERE)


def test_many_fields() -> None:
    """A policy of nothing but fields is refused at once."""
    pairs = ", ".join(f'"{number:x}": 0' for number in range(80_000))
    begun = time.monotonic()
    with pytest.raises(InvalidError, match="stands there twice"):
        Policy.parse(f'{{{pairs}, "1": 0}}'.encode(), WHERE)
    assert time.monotonic() - begun < 30  # one look at each pair of fields would take minutes


def test_encode() -> None:
    """Equal policies are equal bytes, whatever the order of their fields."""
    assert encode({"b": 1, "a": "\u00fc"}) == encode({"a": "\u00fc", "b": 1}) == '{"a": "\u00fc", "b": 1}'.encode()
