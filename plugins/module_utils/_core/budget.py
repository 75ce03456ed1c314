# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much work the templates of a project may make.

Work is counted, not timed, so that a template that is too much is too much everywhere: characters that are made
count one each, steps of loops and calls `STEP`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, MappingView
from functools import wraps
from typing import Any

from .values import STEP, Refused

MAX_WORK = 128 << 20  # for all templates of a project together: 1 million steps, seconds, or 128 MiB
MAX_BITS = 4096  # of a whole number
MAX_TEXT = 8 << 20  # characters of what a filter or method takes; some need many times as much memory for a while
NODE = 8  # what a part of a loop or macro costs each time: an element of a list takes 8 bytes
# What makes more than it gets: the one times the other counts.
GROWING = frozenset(
    (
        "batch",
        "center",
        "expandtabs",
        "format",
        "indent",
        "join",
        "ljust",
        "replace",
        "rjust",
        "round",
        "slice",
        "tojson",
        "wordwrap",
        "zfill",
    )
)
# What takes generators; to others one is an object, whose text is another one each time.
LAZY = frozenset(
    (
        "batch",
        "d",
        "default",
        "first",
        "groupby",
        "join",
        "list",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "slice",
        "sort",
        "sum",
        "tojson",
        "unique",
    )
)


class Budget:
    """What the templates of one project may still do."""

    def __init__(self) -> None:
        """Begin with `MAX_WORK`."""
        self._left = MAX_WORK

    def spend(self, cost: int) -> None:
        """Take from it; raise Refused when it is used up."""
        self._left -= cost
        if self._left < 0:
            raise Refused("it makes too much work: loops without end, or text beyond measure")

    def weigh(self, value: Any, *, strict: bool = False) -> int:
        """Return about how many characters a value has as text, and spend the walk through it.

        Raise Refused for what has no text, or one that is another each time; when ``strict``, jinja2's
        UndefinedError for what is not there, also inside of a list, where jinja2 would not look.
        """
        if strict and hasattr(type(value), "_undefined_message"):
            str(value)
        if isinstance(value, str):
            return len(value)
        if isinstance(value, int):
            return value.bit_length() // 3 + 1
        if value is None or isinstance(value, float) or hasattr(type(value), "_undefined_message"):
            return 8
        if isinstance(value, (list, tuple, dict, range, MappingView)):
            self.spend(STEP * len(value))
            parts: Any = value.items() if isinstance(value, dict) else value
            return 2 + sum(2 + self.weigh(part, strict=strict) for part in parts)
        if isinstance(value, Iterator):
            raise Refused("a generator is used as text; add |list or |join to it")
        if callable(value):
            raise Refused("a function is used as text; call it, with parentheses")
        raise Refused(f"a {type(value).__name__} is used as text")

    def printable(self, value: Any) -> Any:
        """Return a value that is printed."""
        self.spend(STEP + self.weigh(value, strict=True))
        if isinstance(value, str) and not value.isascii() and re.search(r"[\ud800-\udfff]", value):
            raise Refused("a text has half of a character, a surrogate, which is not UTF-8")
        return value

    def weighed(self, value: Any) -> Any:
        """Return an operand of a comparison, of ``~`` or of a slice."""
        if not isinstance(value, Iterator):
            self.spend(self.weigh(value, strict=True))
        return value

    def each(self, items: Iterable[Any], test: int = 0) -> Iterator[Any]:
        """Yield items, each for a price; ``test`` are the parts of the condition that each is put to."""
        for item in items:
            self.spend(STEP + NODE * test)
            yield item

    def walk(self, parts: int) -> None:
        """Spend what it costs to go through a loop or macro once that has so many parts."""
        self.spend(NODE * parts)

    def concat(self, parts: Iterable[str]) -> str:
        """Return the text of a macro or block."""
        texts = list(parts)
        self.spend(sum(map(len, texts)))
        return "".join(texts)

    def pay(self, name: str, value: Any, others: Iterable[Any]) -> None:
        """Spend what a filter, test or method costs at most, except for what it makes."""
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise Refused(f"a text has {len(value)} characters, {name} takes {MAX_TEXT}")
        factor = 1
        for other in others:
            is_number = isinstance(other, int)
            factor += abs(other) if is_number and name in GROWING else self.weigh(other)
            if isinstance(value, str) and isinstance(other, str):  # Python 3.9 may compare each with each to find one
                self.spend(len(value) * len(other) // 128)
        if name == "format":
            factor += sum(map(int, re.findall(r"\d{1,9}", value if isinstance(value, str) else "")))
        before = self._left
        weight = 1 + self.weigh(value)
        walked = (before - self._left) // STEP
        self.spend(STEP + (weight * factor if name in GROWING else weight + factor))
        if name == "sum" and any(isinstance(other, (list, tuple)) for other in others):
            self.spend(len(value) * walked // 32)  # each list is added to a copy of those before
        elif name == "striptags" and isinstance(value, str):  # older versions search each tag's end up to the very end
            self.spend(len(value) * value.count("<") // 8)
        elif name == "wordwrap" and isinstance(value, str):  # a long word is copied for each line that it becomes
            self.spend(max(map(len, re.findall(r"[^ \t\n\x0b\x0c\r]+", value)), default=0) ** 2 // 1024)
        elif name == "round" and factor > MAX_BITS // 4:
            raise Refused(f"a number would have more than {MAX_BITS} bits")

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a filter that has its price."""
        passed = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            value = args[passed]
            if isinstance(value, Iterator):
                if name not in LAZY:
                    self.weigh(value)  # which refuses it
                value = self.each(value)
                if name in GROWING or name == "sum":
                    value = list(value)
            if not isinstance(value, Iterator):
                self.pay(name, value, [*args[passed + 1 :], *kwargs.values()])
            if name == "int" and isinstance(value, str) and len(value) > MAX_BITS // 4:
                raise Refused(f"a number has {len(value)} digits")
            return self.made(function(*args[:passed], value, *args[passed + 1 :], **kwargs))

        return guarded

    def checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a test that has its price."""

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for value in (*args, *kwargs.values()):
                if isinstance(value, (str, list, tuple, dict)):
                    self.spend(self.weigh(value))
            return function(*args, **kwargs)

        return checked

    def made(self, value: Any) -> Any:
        """Return what was made, and spend its size."""
        if isinstance(value, (str, list, tuple, dict)):
            self.spend(self.weigh(value))
        return value

    def operate(self, operator: str, left: Any, right: Any) -> None:
        """Spend what an operation makes; raise Refused for numbers beyond measure."""
        numbers = isinstance(left, int) and isinstance(right, int)
        if numbers and operator in ("*", "**"):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise Refused(f"a number would have more than {MAX_BITS} bits")
        elif operator == "%" and isinstance(left, str):
            self.pay("format", left, right if isinstance(right, tuple) else (right,))
        elif operator in ("*", "+") and not numbers:
            pairs = ((left, right), (right, left))
            sizes = [_size(value) * (other if isinstance(other, int) else 1) for value, other in pairs]
            self.spend(sum(max(size, 0) for size in sizes))
        self.spend(STEP)


def _size(value: Any) -> int:
    """Return what a copy of a value costs; those of lists share what is in them."""
    if isinstance(value, str):
        return len(value)
    return NODE * len(value) if isinstance(value, (list, tuple)) else 0
