# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages come out of the etcd3 package, and nobody else in the process notices."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import wire
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

CORE = "ansible_collections.watcher.config.plugins.module_utils._core"
BLOCK = """
    import importlib.abc
    class Block(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in {names!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}")
    sys.meta_path.insert(0, Block())
"""
OPEN = f"""
    from {CORE} import connection, errors, etcd
    store = etcd.connect(connection.Connection((sys.argv[1],), timeout=1))
"""


def run(script: str, endpoint: str = "127.0.0.1:1", *, warnings: str = "error", **environment: str) -> str:
    """Run a script in a fresh Python, with the paths of this one; return what it prints."""
    path = f"import sys\nsys.path[:] = {sys.path!r}\n"
    command = [sys.executable, "-W", warnings, "-c", path + textwrap.dedent(script), endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "distribution"), [("etcd3", "etcd3"), ("grpc", "grpcio"), ("google.protobuf", "protobuf")]
)
def test_a_missing_package(name: str, distribution: str) -> None:
    """The files import without it; the first call says which package is missing, and where."""
    script = (
        BLOCK.format(names=(name,)) + OPEN + "    try: store.get('/w/a')\n    except errors.StoreError as e: print(e)\n"
    )
    message = run(script)
    assert f"The Python package {distribution} cannot be used by {sys.executable}" in message
    assert "pip install etcd3 grpcio protobuf" in message
    assert message.count("\n") == 1


def test_nothing_is_loaded_before_the_first_call() -> None:
    """A module that turns out not to need etcd does not pay for it."""
    loaded = "    print([name for name in sys.modules if name.partition('.')[0] in ('grpc', 'google', 'etcd3')])\n"
    assert run(OPEN + loaded) == "[]\n"


def test_other_users_of_protobuf_and_etcd3_notice_nothing(server: EtcdServer) -> None:
    """No module, no descriptor, no variable of ours is where others look."""
    script = """
    import os
    before = dict(os.environ)
    print(store.get('/w/a'))
    from google.protobuf import descriptor_pool
    try: descriptor_pool.Default().FindFileByName('rpc.proto')
    except KeyError: print('default pool is clean')
    print([name for name in sys.modules if name.partition('.')[0] == 'etcd3'], os.environ == before)
    """
    assert run(OPEN + script, server.endpoint) == "(None, 1)\ndefault pool is clean\n[] True\n"


def test_two_threads_load_grpc_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither takes the other's variables away, and none of them is left."""
    both = threading.Barrier(2)

    def meet(found: Any) -> Any:
        """Hand on what was found once the other thread has come as far, unless that has to wait."""
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return found

    class Environment(dict[str, str]):
        def keys(self) -> Any:
            return meet(dict(self).keys())

    environment = Environment(PATH="/bin")
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(wire, "module", lambda *names: meet(names))
    monkeypatch.delitem(sys.modules, "grpc", raising=False)
    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(lambda _: wire.load_grpc(), range(2)))
    assert loaded == [("grpc", "grpcio")] * 2
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_etcd3_itself_works_beside_it(server: EtcdServer, first: str) -> None:
    """Whichever comes first, where the package's own client is made to work at all."""
    theirs = f"    import etcd3\n    etcd3.client(port={server.port}).put('/w/a', 'theirs')\n"
    ours = "    print(store.get('/w/a')[1] > 0)\n"
    calls = theirs + ours if first == "theirs" else ours + theirs + ours
    printed = run(OPEN + calls, server.endpoint, warnings="ignore", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    assert set(printed.split()) == {"True"}


@pytest.mark.parametrize("call", ["store.get('/w/a')", "store.watch('/w/', 0)"])
def test_grpc_keeps_quiet(server: EtcdServer, call: str) -> None:
    """All that standard error gets is what we write there."""
    script = f"""
    from pathlib import Path
    from ansible_collections.watcher.config.tests.certificates import Authority
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(Path(folder)).certificate
        store = etcd.connect(connection.Connection(('https://{server.address}',), ca_cert=str(ca)))
        try: {call}
        except errors.DeniedError as e: print(e, file=sys.stderr)
    """
    path = f"import sys\nsys.path[:] = {sys.path!r}\n" + textwrap.dedent(OPEN + script)
    done = subprocess.run([sys.executable, "-c", path, "127.0.0.1:1"], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1, done.stderr


def test_the_messages_are_those_of_etcd_3_4() -> None:
    """The fields that the package is too old for are there, and the bytes are etcd's."""
    messages = wire.load().messages
    assert messages["WatchRequest"](progress_request={}).SerializeToString() == b"\x1a\x00"
    create = messages["WatchCreateRequest"](fragment=True, watch_id=7)
    assert create.SerializeToString() == b"\x38\x07\x40\x01"
    assert messages["WatchResponse"].FromString(b"\x38\x01").fragment is True
    assert messages["Compare"](range_end=b"b").SerializeToString() == b"\x82\x04\x01b"


def test_a_request_is_one_of_its_kinds() -> None:
    """The field added to the request of a watch replaces the others of its oneof."""
    request = wire.load().messages["WatchRequest"](create_request={"key": b"a"})
    request.progress_request.SetInParent()
    assert request.WhichOneof("request_union") == "progress_request"
