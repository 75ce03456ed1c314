# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of the tree that the templates of a project see, and the functions that read them."""

from __future__ import annotations

import fnmatch
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Callable, NamedTuple

from .keys import shown

STEP = 128  # what one step of a loop costs, in characters made (see `budget`)
MAX_DIGITS = 1000  # of a number in JSON; newer Pythons refuse some thousands, older ones take them for hours


class Refused(Exception):
    """What is wrong with what a template does, as a sentence; the caller adds file and line."""


class Pair(NamedTuple):
    """A key and its value, as text."""

    key: str
    value: str


@dataclass(frozen=True)
class Values:
    """The values that the templates of a project see: those of ``items`` below ``own`` and below the watched prefixes.

    ``own`` ends with a slash; a prefix may.
    """

    own: str
    watched: tuple[str, ...] = ()
    items: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def sees(self, key: str) -> bool:
        """Return whether a key is one that the templates may read."""
        return key.startswith(self.own) or any(is_watched(key, prefix) for prefix in self.watched)

    def has(self, key: str) -> bool:
        """Return whether a key is there, for the templates."""
        return key in self.items and self.sees(key)

    def key(self, name: str) -> str:
        """Return the whole key of a name, which is below ``own`` unless it starts with a slash; Refused outside."""
        if not isinstance(name, str) or not name:
            raise Refused(f"{name!r} is no key: a key is text that is not empty")
        key = name if name.startswith("/") else self.own + name
        if not self.sees(f"{key}/"):  # with a slash: the folder itself may be listed
            among = f" and {', '.join(self.watched)}" if self.watched else ""
            raise Refused(
                f"key {shown(key)!r} is outside of what the project sees, {self.own}{among};"
                " add its prefix to the policy field watch"
            )
        return key

    def text(self, key: str) -> str:
        """Return a value as text; Refused when it is none."""
        try:
            return self.items[key].decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"the value of key {shown(key)!r} is not UTF-8 text") from None


def folder(prefix: str) -> str:
    """Return what all keys below a watched prefix start with."""
    return prefix.rstrip("/") + "/"


def is_watched(key: str, prefix: str) -> bool:
    """Return whether a key is below a watched prefix; ``/services`` has nothing to do with ``/services2``."""
    return key.startswith(folder(prefix))


def by_name(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """Return values by key as text, without the keys that are none: no template can name them."""
    named = {}
    for key, value in pairs:
        try:
            named[key.decode("utf-8")] = value
        except UnicodeDecodeError:
            continue
    return named


class Functions:
    """What templates may call; ``spend`` is told what each call costs."""

    def __init__(self, values: Values, spend: Callable[[int], None] = lambda cost: None) -> None:
        """Sort nothing until somebody looks for keys."""
        self._values = values
        self._spend = spend
        self._sorted: list[str] | None = None

    def named(self) -> dict[str, Any]:
        """Return the functions by the names that templates use."""
        return {name: getattr(self, name) for name in ("getv", "gets", "getvs", "ls", "lsdir", "exists", "json")}

    def getv(self, key: str, default: Any = Refused) -> Any:
        """Return the value of a key, or the default of one that is missing."""
        whole = self._values.key(key)
        if self._values.has(whole):
            return self._values.text(whole)
        if default is Refused:
            raise Refused(f"key {shown(whole)!r} is not in the tree; put it there, or give getv a default")
        return default

    def exists(self, key: str) -> bool:
        """Return whether a key is there."""
        return self._values.has(self._values.key(key))

    def json(self, key: str) -> Any:
        """Return the value of a key, decoded as JSON."""
        text = self.getv(key)
        try:
            return json.loads(text, parse_int=_number, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            whole = self._values.key(key)
            raise Refused(f"the value of key {shown(whole)!r} is not JSON ({error})") from None

    def gets(self, pattern: str) -> list[Pair]:
        """Return keys and values that match, in the order of the keys; ``*`` and ``?`` stand for no slash."""
        return [Pair(key, self._values.text(key)) for key in self._matching(pattern)]

    def getvs(self, pattern: str) -> list[str]:
        """Return the values that match, in the order of the keys."""
        return [self._values.text(key) for key in self._matching(pattern)]

    def ls(self, folder: str) -> list[str]:
        """Return the names right below a folder, sorted."""
        return sorted({name for name, _unused in self._below(folder)})

    def lsdir(self, folder: str) -> list[str]:
        """Return the names right below a folder that have something below them, sorted."""
        return sorted({name for name, rest in self._below(folder) if rest})

    def _matching(self, pattern: str) -> Iterator[str]:
        whole = self._values.key(pattern)
        self._spend(len(whole) ** 2 // 4)  # what it may take to read one: some brackets are looked at again and again
        literal = re.split(r"[*?[]", whole)[0]
        fits = _matcher(whole)
        return (key for key in self._starting(literal) if fits(key))

    def _below(self, name: str) -> Iterator[tuple[str, str]]:
        start = folder(self._values.key(name))
        for key in self._starting(start):
            child, slash, rest = key[len(start) :].partition("/")
            yield child, slash + rest

    def _starting(self, start: str) -> Iterator[str]:
        """Yield the keys that the templates may see and that start with a text, sorted."""
        if self._sorted is None:
            self._spend(len(self._values.items))
            self._sorted = sorted(self._values.items)
        for key in islice(self._sorted, bisect_left(self._sorted, start), None):
            if not key.startswith(start):
                return
            self._spend(STEP)
            if self._values.sees(key):
                yield key


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says whether a key matches a pattern, segment by segment."""
    for part in pattern.split("[")[1:]:
        for first, last in re.findall(r"(.)-(.)", part.partition("]")[0]):
            if first > last:  # Pythons differ on it
                raise Refused(f"pattern {shown(pattern)!r}: the range {first}-{last} is empty")
    checks = [re.compile(fnmatch.translate(segment)).match for segment in pattern.split("/")]

    def fits(key: str) -> bool:
        segments = key.split("/")
        return len(segments) == len(checks) and all(check(segment) for check, segment in zip(checks, segments))

    return fits


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
