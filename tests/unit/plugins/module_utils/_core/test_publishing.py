# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing as the module asks for it."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.keys import Tree
from ansible_collections.watcher.config.plugins.module_utils._core.policy import MAX_VALUE
from ansible_collections.watcher.config.plugins.module_utils._core.publishing import (
    Request,
    pack,
    publish_for_hosts,
    read_contents,
)
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

POLICY = {"deployPath": "/srv"}


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty store."""
    return MemoryStore()


def ask(store: MemoryStore, **options: Any) -> dict[str, Any]:
    """Publish project a.com by these options."""
    defaults: dict[str, Any] = {"project": "a.com", "hosts": ["web01"], "policy": POLICY}
    return publish_for_hosts(store, Tree(), Request(**{**defaults, **options}))


def stored(store: MemoryStore, host: str = "web01") -> dict[str, bytes]:
    """Return the files of a host."""
    base = f"/watcher/{host}/a.com/config.d/"
    return {item.key.decode()[len(base) :]: item.value for item in store.list(base).items}


def test_contents(store: MemoryStore, tmp_path: Path) -> None:
    """Text, base64 and sources arrive as bytes."""
    (tmp_path / "s").write_bytes(b"\xff\0")
    coded = base64.b64encode(b"\xfe").decode() + "\n"
    files = [
        {"path": "text", "content": "\u00fc\r\n", "src": None},
        {"path": "raw", "content": "\udcff"},
        {"path": "coded", "content": coded, "encoding": "base64"},
        {"path": "src", "src": str(tmp_path / "s")},
        {"path": "empty", "content": ""},
    ]
    ask(store, files=files)
    expected = {"text": "\u00fc\r\n".encode(), "raw": b"\xff", "coded": b"\xfe", "src": b"\xff\0", "empty": b""}
    assert stored(store) == expected


def test_a_folder(store: MemoryStore, tmp_path: Path) -> None:
    """A folder's files go by their paths below it, hidden and linked ones too; files override them."""
    (tmp_path / "conf" / "d" / "e").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"linked")
    (tmp_path / "conf" / "a").write_bytes(b"a")
    (tmp_path / "conf" / "d" / "e" / ".hidden").write_bytes(b"h")
    (tmp_path / "conf" / "link").symlink_to(tmp_path / "outside")
    ask(store, src=str(tmp_path / "conf"), files=[{"path": "a", "content": "other"}])
    assert stored(store) == {"a": b"other", "d/e/.hidden": b"h", "link": b"linked"}
    ask(store, src=str(tmp_path / "outside"), purge=True)
    assert stored(store) == {"outside": b"linked"}


@pytest.mark.parametrize(
    "what", ["missing", "empty folder", "fifo", "fifo in a folder", "dangling link", "too big", "not UTF-8"]
)
def test_a_source_that_cannot_be_read(store: MemoryStore, tmp_path: Path, what: str) -> None:
    """Nothing is published when anything of the source cannot be, and nothing hangs."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "good").write_bytes(b"1")
    if what == "missing":
        source = tmp_path / "none"
    elif what == "empty folder":
        (source / "good").unlink()
    elif what == "fifo":
        source = tmp_path / "fifo"
        os.mkfifo(source)
    elif what == "fifo in a folder":
        os.mkfifo(source / "fifo")
    elif what == "dangling link":
        (source / "link").symlink_to(tmp_path / "none")
    elif what == "too big":
        (source / "big").write_bytes(b"x" * (MAX_VALUE + 1))
    else:
        Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_bytes(b"")
    with pytest.raises(InvalidError):
        ask(store, src=str(source), purge=True)
    assert store.revision == 1


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Be somebody whom a closed folder keeps out; root is nobody meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read(store: MemoryStore) -> None:
    """A sub-folder that is closed is an error: a purge would remove its files."""
    with tempfile.TemporaryDirectory() as source:
        Path(source).chmod(0o755)
        (Path(source) / "good").write_bytes(b"1")
        closed = Path(source) / "closed"
        closed.mkdir(mode=0)
        with ordinary_user(), pytest.raises(InvalidError, match="closed"):
            ask(store, src=source, purge=True)
        closed.chmod(0o700)
    assert store.revision == 1


@pytest.mark.parametrize(
    "options",
    [
        {"hosts": ["web01", "a/b"]},
        {"project": ".."},
        {"files": [{"path": "../x", "content": ""}]},
        {"files": [{"path": "a", "content": "\ud800"}]},
        {"files": [{"path": "a", "content": "a-b", "encoding": "base64"}]},
        {"files": [{"path": "a", "content": "=" * 5, "encoding": "base64"}]},
        {"policy": {"deployPath": "x"}},
        {"policy": None},
    ],
)
def test_checked_before_anything_is_written(store: MemoryStore, options: dict[str, Any]) -> None:
    """A mistake is found before the first host gets anything."""
    with pytest.raises(InvalidError):
        ask(store, **options)
    assert store.revision == 1


def test_hosts(store: MemoryStore) -> None:
    """Each host gets one transaction, once, and its part of the result."""
    result = ask(store, hosts=["web01", "web02", "web01"], files=[{"path": "a", "content": "1"}])
    assert store.revision == 3
    assert result["changed"]
    assert [host["host"] for host in result["hosts"]] == ["web01", "web02"]
    assert result["hosts"][1] == {
        "host": "web02",
        "changed": True,
        "revision": 3,
        "created": ["/watcher/web02/a.com/config", "/watcher/web02/a.com/config.d/a"],
        "updated": [],
        "deleted": [],
    }
    assert not ask(store, hosts=["web01", "web02"], files=[{"path": "a", "content": "1"}])["changed"]
    result = ask(store, state="absent", check=True)
    assert result["hosts"][0]["deleted"] == ["/watcher/web01/a.com/config", "/watcher/web01/a.com/config.d/a"]
    assert store.revision == 3
    assert ask(store, state="absent")["changed"]
    assert not ask(store, state="absent")["changed"]


def test_differences(store: MemoryStore) -> None:
    """The same difference of many hosts is shown once, and that of a secret file not at all."""
    hosts = ["web01", "web02", "web03"]
    files = [{"path": "a", "content": "new\n"}, {"path": "s", "content": "secret", "no_log": True}]
    ask(store, hosts=["web01"], files=[{"path": "a", "content": "old\n"}])
    result = ask(store, hosts=hosts, files=files, diff=True)
    shown = {(item["before_header"], item["before"], item["after"]) for item in result["diff"]}
    assert ("/watcher/web01/a.com/config.d/a", "old\n", "new\n") in shown
    assert ("/watcher/web02/a.com/config.d/a and 1 more hosts", "", "new\n") in shown
    assert ("/watcher/web01/a.com/config.d/s and 2 more hosts", "", "[hidden, changed]\n") in shown
    assert "secret" not in str(result)
    result = ask(store, hosts=["web01"], state="absent", files=files, diff=True)
    assert "secret" not in str(result)


def test_odd_keys_in_results(store: MemoryStore) -> None:
    """A key with control characters that is purged is shown on one line."""
    store.put("/watcher/web01/a.com/config.d/a\nb")
    result = ask(store, purge=True, files=[])
    assert result["hosts"][0]["deleted"] == ["/watcher/web01/a.com/config.d/a\\nb"]


def templates(tmp_path: Path, **options: Any) -> Request:
    """Return a request for a folder with a template and a file, for two hosts."""
    (tmp_path / "site" / "d").mkdir(parents=True)
    (tmp_path / "site" / "d" / "a.conf.j2").write_bytes(b"a")
    (tmp_path / "site" / "b.conf").write_bytes(b"b")
    defaults = {"project": "a.com", "hosts": ["web01", "web02"], "policy": POLICY, "src": str(tmp_path / "site")}
    return Request(**{**defaults, "template": True, **options})


def rendered(host: str) -> Callable[[str], bytes]:
    """Return a renderer that tells what it was asked for."""
    return lambda file: f"{host} {Path(file).name}".encode()


def test_templates(store: MemoryStore, tmp_path: Path) -> None:
    """Each host gets what was rendered for it, without the suffix, and the other files as they are."""
    files = [
        {"path": "named.j2", "src": str(tmp_path / "site" / "d" / "a.conf.j2")},
        {"path": "plain.j2", "src": str(tmp_path / "site" / "b.conf")},
        {"path": "text.j2", "content": "{{ text }}"},
    ]
    request = templates(tmp_path, files=files)
    contents = request.rendered(rendered)
    assert contents["web02"] == {
        "d/a.conf": b"web02 a.conf.j2",
        "b.conf": b"b",
        "named.j2": b"web02 a.conf.j2",
        "plain.j2": b"b",
        "text.j2": b"{{ text }}",
    }
    (tmp_path / "sent").write_bytes(pack(contents))
    assert read_contents(str(tmp_path / "sent")) == contents
    (tmp_path / "sent").write_bytes(pack(contents)[:-8])
    with pytest.raises(InvalidError, match="sent, cannot be read"):
        read_contents(str(tmp_path / "sent"))
    result = publish_for_hosts(store, Tree(), replace(request, contents=contents))
    assert (store.revision, result["changed"]) == (3, True)
    assert (stored(store), stored(store, "web02")) == (contents["web01"], contents["web02"])
    assert not publish_for_hosts(store, Tree(), replace(request, contents=contents))["changed"]
    assert publish_for_hosts(store, Tree(), replace(request, state="absent"))["changed"]


def test_templates_are_packed_once(tmp_path: Path) -> None:
    """What is the same for a hundred hosts travels once."""
    big = os.urandom(100_000)
    hosts = {f"web{number}": {"a": big, "b": big} for number in range(100)}
    assert len(pack(hosts)) < 300_000


def test_templates_that_meet(tmp_path: Path) -> None:
    """A file and a template of one name are refused, unless files says what is meant by it."""
    request = templates(tmp_path)
    (tmp_path / "site" / "b.conf.j2").write_bytes(b"b")
    with pytest.raises(InvalidError, match=r"src has 'b.conf' and 'b.conf.j2'"):
        request.rendered(rendered)
    (tmp_path / "site" / "b.conf").unlink()
    request = replace(request, files=[{"path": "b.conf", "content": "said"}])
    assert request.rendered(rendered)["web01"]["b.conf"] == b"said"


def test_one_bad_host_stops_all(store: MemoryStore, tmp_path: Path) -> None:
    """What one host could not deploy is published for none, and the message names the host."""
    contents = {"web01": {"a": b""}, "web02": {"a": b"x" * (MAX_VALUE + 1)}}
    with pytest.raises(InvalidError, match=r"host web02, project a\.com: file 'a' has 1048577 bytes"):
        publish_for_hosts(store, Tree(), templates(tmp_path, contents=contents))
    request = replace(templates(tmp_path / "more"), policy={**POLICY, "render": True})
    contents = {"web01": {"a.j2": b""}, "web02": {"a.j2": b"{% for %}"}}
    with pytest.raises(InvalidError, match=r"host web02, project a\.com, template a\.j2, line 1: Expected"):
        publish_for_hosts(store, Tree(), replace(request, contents=contents))
    assert store.revision == 1


def test_templates_without_a_controller(store: MemoryStore, tmp_path: Path) -> None:
    """The module alone cannot render, and says so."""
    with pytest.raises(InvalidError, match="without its action plugin"):
        publish_for_hosts(store, Tree(), templates(tmp_path))
