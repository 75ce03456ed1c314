# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How INI files are read: comments, lists, and what a message about a broken file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.ini import Ini, absolute, number, url, yes_or_no
from ansible_collections.watcher.config.tests.unit.site import unprivileged

NAMES = {"one": ("name", "other", "password", "list"), "two": ("name",)}


def ini(folder: Path, text: str | bytes) -> Ini:
    """Read this text as a file."""
    path = folder / "test.ini"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Ini.read(str(path), NAMES)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("name = plain", "plain"),
        ("name=plain", "plain"),
        ("name: plain", "plain"),
        ("NAME = plain", "plain"),
        ("  name = plain  ", "plain"),
        ("name = a ; comment", "a"),
        ("name = a\t# comment", "a"),
        ("name = a;b#c", "a;b#c"),
        ("name = a = b: c", "a = b: c"),
        ("name = 100 % ${x} %(y)s", "100 % ${x} %(y)s"),
        ("name = ; comment", "default"),
        ("name =    # comment; another", "default"),
        ("name =", "default"),
        ("# name = a\n; name = b", "default"),
        ("name = a\n\n\nother = b", "a"),
        ("\r\nname = a\r\n", "a"),
    ],
)
def test_values(tmp_path: Path, line: str, value: str) -> None:
    """A value is what stands before a comment, and an empty one counts as not given."""
    assert ini(tmp_path, f"[one]\n{line}\n").get("one", "name", "default", str) == value


def test_sections(tmp_path: Path) -> None:
    """A section may be missing, have a comment, or be indented; a byte order mark does no harm."""
    read = ini(tmp_path, "\ufeff  [one] ; comment\n    name = a\n    other = b\n")
    assert read.get("one", "name", "", str) + read.get("one", "other", "", str) == "ab"
    assert read.get("two", "name", "default", str) == "default"
    assert [read.has("one"), read.has("two")] == [True, False]
    assert [read.has("one", "name"), read.has("one", "list"), read.has("two", "name")] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("list = a", ["a"]),
        ("list = a, b c ,d", ["a", "b c", "d"]),
        ("list = a,, b,", ["a", "b"]),
        ("list = a, b ; comment, c", ["a", "b"]),
        ("list = a\n  b, c\n", ["a", "b, c"]),
        ("list =\n  b, c\n", ["b, c"]),
        ("list = # these:\n  # not this\n  b, c ; comment\n\n  d = e\n", ["b, c", "d = e"]),
        ("list = ,", None),
        ("list =", None),
        ("list =\n\nother = a", None),
    ],
)
def test_lists(tmp_path: Path, text: str, items: list[str] | None) -> None:
    """Items are separated by commas, or stand one a line, where commas belong to them."""
    assert ini(tmp_path, f"[one]\n{text}\n").listed("one", "list", None, list) == items


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[one]\nname = a\npassword hunter2\n", "is not an INI file: line 3 is neither '[section]' nor 'name = value'"),
        ("password = hunter2\n[one]\n", "is not an INI file: line 1 comes before any section"),
        ("[one]\npassword = a\npassword = hunter2\n", "line 3: section [one] has 'password' twice"),
        ("[one]\n[two]\n[one]\npassword = hunter2\n", "line 3: section [one] stands there twice"),
        ("[three]\npassword = hunter2\n", "unknown section [three]; allowed are [one], [two]"),
        ("[DEFAULT]\npassword = hunter2\n", "unknown section [DEFAULT]; allowed are [one], [two]"),
        ("[two]\npassword = hunter2\n", "section [two], unknown name 'password'; allowed are name"),
        (b"[one]\npassword = hunter2\xff\n", "cannot be read: it is not UTF-8 text"),
    ],
)
def test_broken_files(tmp_path: Path, text: str | bytes, said: str) -> None:
    """The message says where, and quotes no line that may hold a secret."""
    with pytest.raises(InvalidError) as caught:
        ini(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/test.ini") and said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)


def test_unreadable_files(tmp_path: Path) -> None:
    """What is no file, or is missing, is named with the reason."""
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(InvalidError, match=f"^{path} cannot be read: {why}; "):
            Ini.read(str(path), NAMES)


def test_forbidden_files(tmp_path: Path) -> None:
    """A file that others own is named with the reason."""
    ini(tmp_path, "[one]\n")
    (tmp_path / "test.ini").chmod(0)

    def act() -> None:
        with pytest.raises(InvalidError, match="cannot be read: Permission denied; "):
            Ini.read(str(tmp_path / "test.ini"), NAMES)

    unprivileged(act)


def wrong(_text: str) -> str:
    """Allow nothing."""
    raise ValueError("nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = a", "name is 'a'; allowed is nothing"),
        ("name = it's\a", r"""name is "it's\x07"; allowed is nothing"""),
        ("name = http://user:hunter2@host/x", "name is 'http://***@host/x'; allowed is nothing"),
        (f"name = {'x' * 300}", f"name is '{'x' * 200}...'; allowed is nothing"),
        ("password = hunter2", "password is not right; allowed is nothing"),
        ("name = a\0b", r"name is 'a\x00b'; allowed is text without NUL characters"),
        ("name = a\n  other = b", "name has 2 lines; allowed is one, and a line that"),
        ("password = a\n  hunter2", "password has 2 lines; allowed is one, and a line that"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, said: str) -> None:
    """The message names file, section, name, value and what is allowed, and never a secret."""
    name = text.partition(" ")[0]
    with pytest.raises(InvalidError) as caught:
        ini(tmp_path, f"[one]\n{text}\n").get("one", name, "", wrong)
    assert str(caught.value).startswith(f"{tmp_path}/test.ini: section [one], {said}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["true", "YES", "On", "1", "false", "No", "OFF", "0"])
def test_yes_or_no(text: str) -> None:
    """Both have four spellings, in any case."""
    assert yes_or_no(text) is (text.lower() in ("true", "yes", "on", "1"))


@pytest.mark.parametrize("text", ["", "0", "0.5", "11", "-5", "+5", "1e1", "1_0", "nan", "inf", "0x5", "5s", "\u0665"])
def test_numbers_out_of_range(text: str) -> None:
    """Only plain decimal numbers between the bounds are numbers."""
    assert [number(1, 10, "seconds")(good) for good in ("1", "2.5", "010", "10")] == [1, 2.5, 10, 10]
    with pytest.raises(ValueError, match=r"^a number of seconds from 1 to 10$"):
        number(1, 10, "seconds")(text)


def test_absolute_paths() -> None:
    """Slashes are tidied up; what is relative, or climbs, is refused."""
    assert [absolute(text) for text in ("/", "//srv//www/", "/a b/..c")] == ["/", "/srv/www", "/a b/..c"]
    for text in ("srv", "", "/srv/../etc", "/./srv", "/a\x1b"):
        with pytest.raises(ValueError, match="an absolute path"):
            absolute(text)


@pytest.mark.parametrize("text", ["ftp://a", "http://", "a.b", "http://a b", "http://a:0", "http://a:x", "http://[a"])
def test_wrong_urls(text: str) -> None:
    """Only http and https URLs with a host are URLs."""
    assert url("https://a:8443/b?c") == "https://a:8443/b?c"
    with pytest.raises(ValueError, match="an http:// or https:// URL"):
        url(text)
