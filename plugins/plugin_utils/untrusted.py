# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from the tree, marked so that Ansible never takes it for a template, whatever its version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible import template

Mark = Callable[[str], str]
HARMLESS = "0123456789.:+-TZ"  # what versions and times are made of


def _unmarked(text: str) -> str:
    return text


def _marks() -> tuple[Mark, Mark]:
    """Return what marks text of ours, and what marks text of others."""
    if hasattr(template, "trust_as_template"):  # ansible-core 2.19 and newer: text is a template only if it is trusted
        return template.trust_as_template, _unmarked
    from ansible.utils.unsafe_proxy import wrap_var

    return _unmarked, wrap_var


TRUSTED, UNTRUSTED = _marks()


class Marker:
    """Marks the texts in dictionaries, all but those that mean nothing to a template, whoever wrote them.

    Those are the texts of ``own``, and what has only the characters of versions and times: a reader
    of `ansible-inventory --list` sees them as they are.
    """

    def __init__(self, own: Iterable[str]) -> None:
        """Take texts that are ours."""
        self._own = {text: TRUSTED(text) for text in own}

    def text(self, text: str) -> str:
        """Return a text marked."""
        found = self._own.get(text)
        if found is None:
            found = UNTRUSTED(text) if text.strip(HARMLESS) else TRUSTED(text)
        return found

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new dictionary with its texts marked; its other values are no collections."""
        return {name: self.text(value) if isinstance(value, str) else value for name, value in data.items()}
