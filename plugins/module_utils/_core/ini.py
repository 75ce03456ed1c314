# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An INI file, read strictly: what is not known, stands twice or has a wrong value is an error that says where.

``;`` and ``#`` begin a comment at the start of a line and after white space. A line that begins with white
space belongs to the value above it.
"""

from __future__ import annotations

import configparser
import contextlib
import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Callable, TypeVar

from .errors import InvalidError
from .policy import is_url, normal_path

Value = TypeVar("Value")
SECRETS = ("password",)
LISTEN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})")
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
MAX_SHOWN = 200  # characters of a wrong value


class Ini:
    """The sections of a file; an empty value counts as not given, as the old daemon had it."""

    def __init__(self, path: str, parser: configparser.ConfigParser, mode: int) -> None:
        """Take a parsed file; see `read`."""
        self.path, self.mode = path, mode
        self._parser = parser

    @classmethod
    def read(cls, path: str, names: Mapping[str, Sequence[str]]) -> Ini:
        """Return a file that has these sections and names only; raise InvalidError."""
        # Nothing is a default of all sections: [DEFAULT] is an unknown section like others.
        parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";", "#"), default_section="")
        try:
            with open(path, encoding="utf-8-sig") as stream:
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
                parser.read_file(stream, path)
        except OSError as error:
            raise InvalidError(
                f"{path} cannot be read: {error.strerror}; it must be an INI file that this user may read"
            ) from error
        except UnicodeDecodeError as error:
            raise InvalidError(f"{path} cannot be read: it is not UTF-8 text") from error
        except configparser.Error as error:
            raise InvalidError(f"{path} is not an INI file: {_without_values(error)}") from None  # it quotes the line
        for section in parser.sections():
            if section not in names:
                allowed = ", ".join(f"[{name}]" for name in names)
                raise InvalidError(f"{path}: unknown section [{section}]; allowed are {allowed}")
            for name in parser[section]:
                if name not in names[section]:
                    allowed = ", ".join(names[section])
                    raise InvalidError(f"{path}: section [{section}], unknown name {name!r}; allowed are {allowed}")
        return cls(path, parser, mode)

    def has(self, section: str, name: str | None = None) -> bool:
        """Return whether the file has a section, or a name in it, be it empty."""
        return self._parser.has_section(section) if name is None else self._parser.has_option(section, name)

    def get(self, section: str, name: str, default: Value, read: Callable[[str], Value]) -> Value:
        """Return what ``read`` makes of a value, the default where none is given.

        ``read`` raises ValueError with what is allowed, which comes out as InvalidError.
        """
        text = self._text(section, name).strip()
        if not text:
            return default
        if "\n" in text:
            raise InvalidError(
                f"{self.path}: section [{section}], {name} has {len(text.splitlines())} lines; allowed is one, and"
                " a line that is not meant to belong to it must not begin with white space"
            )
        return self._made(section, name, text, lambda: read(text))

    def listed(self, section: str, name: str, default: Value, read: Callable[[Sequence[str]], Value]) -> Value:
        """Return what ``read`` makes of a list, the default where that is empty; see `get`.

        With more than the line that the name is in, commas belong to the items, which are one a line.
        """
        text = self._text(section, name)
        parts = [part.strip() for part in (text.split("\n") if "\n" in text.rstrip() else text.split(","))]
        items = [part for part in parts if part]
        return self._made(section, name, ", ".join(items), lambda: read(items)) if items else default

    def _text(self, section: str, name: str) -> str:
        return self._parser.get(section, name, fallback="")

    def _made(self, section: str, name: str, text: str, make: Callable[[], Value]) -> Value:
        try:
            if "\0" in text:
                raise ValueError("text without NUL characters")
            return make()
        except ValueError as error:
            found = "not right" if name in SECRETS else repr(_shown(text))
            raise InvalidError(f"{self.path}: section [{section}], {name} is {found}; allowed is {error}") from None


def _shown(text: str) -> str:
    """Return a value for a message: not too much of it, and without what stands before the host of a URL."""
    text = re.sub(r"//[^/?#\s]*@", "//***@", text)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _without_values(error: configparser.Error) -> str:
    """Return what is wrong with a file without quoting a line of it, which may hold a secret."""
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: section [{error.section}] has {error.option!r} twice"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: section [{error.section}] stands there twice"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} comes before any section"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} is neither '[section]' nor 'name = value'"
    return type(error).__name__


def yes_or_no(text: str) -> bool:
    """Return a boolean."""
    if text.lower() not in YES + NO:
        raise ValueError("true or false")
    return text.lower() in YES


def number(least: float, most: float, unit: str) -> Callable[[str], float]:
    """Return what reads a number between two bounds."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"a number of {unit} from {least:g} to {most:g}")
        return float(text)

    return read


def choice(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of some words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text.lower()

    return read


def absolute(text: str) -> str:
    """Return an absolute path without . and .. in it."""
    path = normal_path(text)
    if path is None:
        raise ValueError("an absolute path without . or .. segments, such as /srv")
    return path


def readable(text: str) -> str:
    """Return the path of a file that can be read."""
    try:
        with open(text, "rb") as stream:
            stream.read(1)
    except OSError as error:
        raise ValueError(f"a file that can be read, and this one cannot: {error.strerror}") from error
    return text


def url(text: str) -> str:
    """Return an http or https URL."""
    if not is_url(text):
        raise ValueError("an http:// or https:// URL, such as http://127.0.0.1:9091")
    return text


def parse_listen(text: str) -> tuple[str, int]:
    """Return the address and port to listen on; raise InvalidError unless it is this host's own."""
    found = LISTEN.fullmatch(text)
    host = found[1].strip("[]") if found else ""
    if found and int(found[2]) < 65536:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
            if address.is_loopback:
                return str(address), int(found[2])
    raise InvalidError(f"it must be a loopback address and a port, such as 127.0.0.1:9101 or [::1]:9101, not {text!r}")
