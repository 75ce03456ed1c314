# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A publish as a user asks for it: contents and sources, many hosts, and what to show of it."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .diff import text
from .errors import InvalidError
from .keys import Tree, check_name, shown
from .policy import MAX_VALUE
from .publish import Edit, Publication, Wanted, publish, validate
from .store import Store


@dataclass(frozen=True)
class Request:
    """The options of the ``project`` module, as it documents them."""

    project: str
    hosts: Sequence[str]
    state: str = "present"
    policy: Mapping[str, Any] | None = None
    files: Sequence[Mapping[str, Any]] | None = None
    src: str | None = None
    purge: bool = False
    check: bool = False
    diff: bool = False

    def wanted(self) -> Wanted | None:
        """Return what shall be published, None to withdraw; raise InvalidError for what cannot be read."""
        if self.state == "absent":
            return None
        files = _read_source(self.src) if self.src else {}
        given = [item["path"] for item in self.files or ()]
        twice = next((path for path in given if given.count(path) > 1), None)
        if twice is not None:
            raise InvalidError(f"project {self.project}: files names {twice!r} twice; leave one of them out")
        for item in self.files or ():
            files[item["path"]] = _content(item)
        return Wanted(self.policy, files, self.purge)

    @property
    def hidden(self) -> frozenset[str]:
        """Return the paths whose contents no difference may show."""
        return frozenset(item["path"] for item in self.files or () if item.get("no_log"))


def _content(item: Mapping[str, Any]) -> bytes:
    path = item["path"]
    if item.get("src") is not None:
        return _read(item["src"])
    content: str = item["content"]
    if item.get("encoding") != "base64":
        try:
            return content.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidError(f"file {path!r}: content is not text that can be written ({error})") from error
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError(f"file {path!r}: content is not base64 ({error})") from error


def _read(path: str) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):
        raise InvalidError(f"src {path!r} is not a regular file")
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_VALUE + 1)
    except OSError as error:
        raise InvalidError(f"src {path!r} cannot be read: {error.strerror}") from error
    if len(content) > MAX_VALUE:
        raise InvalidError(f"src {path!r} has more than {MAX_VALUE} bytes, which is what one file may have")
    return content


def _unreadable(error: OSError) -> None:
    """Stop: with ``purge``, what cannot be read would be removed."""
    raise InvalidError(f"src {error.filename!r} cannot be read: {error.strerror}") from error


def _read_source(source: str) -> dict[str, bytes]:
    """Return the files of a folder by their path below it, or the one file by its name.

    A link to a file is followed, one to a folder refused: it may lead anywhere, or in a circle.
    """
    if not os.path.isdir(source):
        return {os.path.basename(source): _read(source)}
    files = {}
    for folder, folders, names in os.walk(source, onerror=_unreadable, followlinks=False):
        for path in (os.path.join(folder, name) for name in folders):
            if os.path.islink(path):
                raise InvalidError(
                    f"src {path!r} is a link to a folder, which is not followed; publish the folder itself"
                )
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, source)] = _read(path)
    if not files:
        raise InvalidError(f"src {source!r} is a folder without files")
    return files


def publish_for_hosts(store: Store, tree: Tree, request: Request) -> dict[str, Any]:
    """Publish or withdraw for each host of the request and return the ``project`` module's result.

    Everything is checked before anything is written. Raise InvalidError or StoreError.
    """
    wanted = request.wanted()
    hosts = [check_name("host", host) for host in dict.fromkeys(request.hosts)]
    if not hosts:
        raise InvalidError(f"project {request.project}: hosts is empty; name at least one host of the tree")
    check_name("project", request.project)
    if wanted is not None:
        validate(wanted, f"project {request.project}")
    done = {host: publish(store, tree, host, request.project, wanted, check=request.check) for host in hosts}
    result: dict[str, Any] = {
        "changed": any(publication.changed for publication in done.values()),
        "hosts": [_summary(host, publication) for host, publication in done.items()],
    }
    if request.diff:
        result["diff"] = _differences(tree, request, done)
    return result


def _summary(host: str, publication: Publication) -> dict[str, Any]:
    edits = publication.edits
    return {
        "host": host,
        "changed": publication.changed,
        "revision": publication.revision,
        "created": [shown(edit.key) for edit in edits if edit.before is None],
        "updated": [shown(edit.key) for edit in edits if edit.before is not None and edit.after is not None],
        "deleted": [shown(edit.key) for edit in edits if edit.after is None],
    }


def _differences(tree: Tree, request: Request, done: Mapping[str, Publication]) -> list[dict[str, str]]:
    """Return each difference once, however many hosts it is the same for."""
    same: dict[tuple[str, bytes | None, bytes | None], list[str]] = {}
    for host, publication in done.items():
        base = tree.project(host, request.project)
        for edit in publication.edits:
            same.setdefault((edit.key[len(base) :], edit.before, edit.after), []).append(edit.key)
    return [_difference(Edit(*change), keys, request.hidden) for change, keys in same.items()]


def _difference(edit: Edit, keys: Sequence[str], hidden: frozenset[str]) -> dict[str, str]:
    first = shown(keys[0])
    title = first if len(keys) == 1 else f"{first} and {len(keys) - 1} more hosts"
    if edit.key.partition("config.d/")[2] in hidden:
        before, after = "[hidden]\n" if edit.before else "", "[hidden, changed]\n" if edit.after is not None else ""
    else:
        before, after = text(edit.before), text(edit.after)
    return {"before_header": title, "after_header": title, "before": before, "after": after}
