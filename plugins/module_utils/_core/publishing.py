# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A publish as a user asks for it: contents and sources, many hosts, and what to show of it."""

from __future__ import annotations

import base64
import binascii
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from .diff import text
from .errors import InvalidError
from .keys import Tree, check_name, shown
from .policy import MAX_VALUE, SUFFIX
from .publish import Edit, Publication, Wanted, publish, validate
from .render import is_template, target
from .store import Store


@dataclass(frozen=True)
class Template:
    """A file whose content is another one for each host."""

    file: str


Content = Union[bytes, Template]
Contents = Mapping[str, Mapping[str, bytes]]  # of a project's files, by host and path


@dataclass(frozen=True)
class Request:
    """The options of the ``project`` module, as it documents them; ``contents`` are its ``contents_file``'s."""

    project: str
    hosts: Sequence[str]
    state: str = "present"
    policy: Mapping[str, Any] | None = None
    files: Sequence[Mapping[str, Any]] | None = None
    src: str | None = None
    purge: bool = False
    template: bool = False
    check: bool = False
    diff: bool = False
    contents: Contents | None = None

    def wanted(self) -> dict[str, Wanted | None]:
        """Return what shall be published for each host, None to withdraw.

        Raise InvalidError for what cannot be read, and for hosts or a project that cannot be.
        """
        contents = self.contents
        if contents is None:
            if self.template and self.state == "present":
                raise InvalidError("watcher.config.project came without its action plugin; call it from a playbook")
            contents = self.rendered(_no_template)
        check_name("project", self.project)
        wish = {host: Wanted(self.policy, files, self.purge) for host, files in contents.items()}
        return dict.fromkeys(wish) if self.state == "absent" else {**wish}

    def rendered(self, renderer: Callable[[str], Callable[[str], bytes]]) -> Contents:
        """Return the contents for each host; ``renderer(host)(file)`` renders a template.

        Raise InvalidError for what cannot be read, and for hosts that cannot be.
        """
        files = self._files() if self.state == "present" else {}
        hosts = [check_name("host", host) for host in dict.fromkeys(self.hosts)]
        if not hosts:
            raise InvalidError(f"project {self.project}: hosts is empty; name at least one host of the tree")
        templates = {path: content.file for path, content in files.items() if isinstance(content, Template)}
        plain = {path: content for path, content in files.items() if not isinstance(content, Template)}
        if not templates:
            return dict.fromkeys(hosts, plain)
        found = {}
        for host in hosts:
            render = renderer(host)
            found[host] = {**plain, **{path: render(file) for path, file in templates.items()}}
        return found

    def _files(self) -> dict[str, Content]:
        files: dict[str, Content] = {}
        for path, file in _source(self.src) if self.src else ():
            template = self.template and is_template(path)
            name = target(path) if template else path
            if name in files:
                raise InvalidError(
                    f"project {self.project}: src has {name!r} and {name + SUFFIX!r}, which is published under the"
                    " same name; rename one of them"
                )
            files[name] = Template(file) if template else _read(file)
        given = [item["path"] for item in self.files or ()]
        twice = next((path for path in given if given.count(path) > 1), None)
        if twice is not None:
            raise InvalidError(f"project {self.project}: files names {twice!r} twice; leave one of them out")
        for item in self.files or ():
            template = self.template and item.get("src") is not None and is_template(item["src"])
            files[item["path"]] = Template(item["src"]) if template else _content(item)
        return files

    @property
    def hidden(self) -> frozenset[str]:
        """Return the paths whose contents no difference may show."""
        return frozenset(item["path"] for item in self.files or () if item.get("no_log"))


def pack(contents: Contents) -> bytes:
    """Return contents as one text, each of them once, however many hosts it is the same for."""
    numbers: dict[bytes, int] = {}
    hosts = {
        host: {path: numbers.setdefault(content, len(numbers)) for path, content in files.items()}
        for host, files in contents.items()
    }
    data = {"hosts": hosts, "contents": [base64.b64encode(content).decode("ascii") for content in numbers]}
    return base64.b64encode(zlib.compress(json.dumps(data).encode("utf-8"), 1))


def read_contents(path: str) -> Contents:
    """Return the contents that `pack` packed, from a file; raise InvalidError when it is damaged."""
    try:
        with open(path, "rb") as stream:
            raw = json.loads(zlib.decompress(base64.b64decode(stream.read())))
        contents = [base64.b64decode(content) for content in raw["contents"]]
        hosts = raw["hosts"].items()
        return {host: {path: contents[number] for path, number in files.items()} for host, files in hosts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, zlib.error) as error:
        raise InvalidError(f"contents_file {path!r}, which the controller sent, cannot be read: {error!r}") from error


def _no_template(host: str) -> Callable[[str], bytes]:
    raise AssertionError(f"host {host}: a template where there are none")


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


def _source(source: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder and their paths below it, or the one file and its name.

    A link to a file is followed, one to a folder refused: it may lead anywhere, or in a circle.
    """
    if not os.path.isdir(source):
        yield os.path.basename(source), source
        return
    empty = True
    for folder, folders, names in os.walk(source, onerror=_unreadable, followlinks=False):
        for path in (os.path.join(folder, name) for name in folders):
            if os.path.islink(path):
                raise InvalidError(
                    f"src {path!r} is a link to a folder, which is not followed; publish the folder itself"
                )
        for name in names:
            path = os.path.join(folder, name)
            empty = False
            yield os.path.relpath(path, source), path
    if empty:
        raise InvalidError(f"src {source!r} is a folder without files")


def publish_for_hosts(store: Store, tree: Tree, request: Request) -> dict[str, Any]:
    """Publish or withdraw for each host of the request and return the ``project`` module's result.

    Everything is checked before anything is written. Raise InvalidError or StoreError.
    """
    wishes = request.wanted()
    for host, wanted in wishes.items():
        if wanted is not None:
            validate(wanted, f"host {host}, project {request.project}")
        if not request.template:
            break  # the others get the same
    done = {
        host: publish(store, tree, host, request.project, wanted, check=request.check)
        for host, wanted in wishes.items()
    }
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
