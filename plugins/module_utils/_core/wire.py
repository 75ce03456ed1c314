# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's messages and methods, taken out of the etcd3 package without importing it.

The ``*_pb2.py`` files of etcd3 0.12.0 raise TypeError under protobuf 4 and newer. What they hold
is still right: each has its file's serialized descriptor as a literal. It is read from the
source text, completed with the fields of etcd 3.4 that the package is too old for, and put into
a descriptor pool of our own, so it can neither clash with another etcd client in the process nor
be seen by one. The package's gRPC stubs import those broken files by name; serving them would
mean to put ours into ``sys.modules`` for everyone, so the calls are built from the service
descriptors in the same files instead.

Works with protobuf 3.20 and newer.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import StoreError

PACKAGE = "etcdserverpb"
FILES = ("kv", "auth", "rpc")  # in the order they depend on each other
LITERAL = re.compile(r"""(?:serialized_pb=_b|AddSerializedFile)\(b?('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")\)""")
INT64, BOOL, MESSAGE, BYTES = 3, 8, 11, 12  # FieldDescriptorProto.Type
# Streams that are called for one response to one request, which on the wire is what a plain call is.
ONE_ANSWER = ("Lease/LeaseKeepAlive",)
# message, field, number, type, what the package may lack; all of them are of etcd 3.4
ADDED_FIELDS = (
    ("WatchRequest", "progress_request", 3, MESSAGE),
    ("WatchCreateRequest", "watch_id", 7, INT64),
    ("WatchCreateRequest", "fragment", 8, BOOL),
    ("WatchResponse", "fragment", 7, BOOL),
    ("Compare", "range_end", 64, BYTES),
)
_LOADING = threading.Lock()


@dataclass(frozen=True)
class Method:
    """One gRPC method: its path and the classes of what it takes and returns."""

    path: str
    request: Any
    response: Any
    streaming: bool

    def on(self, channel: Any) -> Any:
        """Return the callable of this method on a gRPC channel."""
        build = channel.stream_stream if self.streaming else channel.unary_unary
        return build(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )


@dataclass(frozen=True)
class Wire:
    """The message classes by name (``RangeRequest``) and the methods by name (``KV/Range``)."""

    messages: dict[str, Any]
    methods: dict[str, Method]


def module(name: str, distribution: str) -> Any:
    """Return the module; raise StoreError saying which distribution to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(distribution, error) from error


def load_grpc(*, forks: bool = False) -> Any:
    """Return gRPC, which keeps its own lines off standard error: the errors raised here say more.

    ``forks`` is for a process that starts other programs while it uses gRPC: gRPC's fork handlers,
    made for children that go on using it, abort some of those that do not (6 of 400, grpcio 1.85).
    Neither holds where another user of gRPC was first, or where the user has set the variable.
    """
    settings = {"GRPC_VERBOSITY": "NONE", **({"GRPC_ENABLE_FORK_SUPPORT": "false"} if forks else {})}
    with _LOADING:  # several endpoints are tried in threads of their own
        mine = {} if "grpc" in sys.modules else {name: settings[name] for name in settings.keys() - os.environ.keys()}
        os.environ.update(mine)  # read during the import only; children shall not inherit them
        try:
            return module("grpc", "grpcio")
        finally:
            for name in mine:
                del os.environ[name]


@lru_cache(maxsize=1)
def load() -> Wire:
    """Return etcd's messages and methods (about 5 ms, once a process).

    Raise StoreError when etcd3 or protobuf is missing.
    """
    folder = _folder()
    descriptors = module("google.protobuf.descriptor_pb2", "protobuf")
    pool = module("google.protobuf.descriptor_pool", "protobuf").DescriptorPool()
    file = None
    for name in FILES:
        file = descriptors.FileDescriptorProto.FromString(_literal(folder / f"{name}_pb2.py"))
        if name == "rpc":
            _complete(file)
        pool.AddSerializedFile(file.SerializeToString())
    return _wire(pool, file)


def _missing(distribution: str, error: object) -> StoreError:
    return StoreError(
        f"The Python package {distribution} cannot be used by {sys.executable or 'this Python'} ({error}):"
        f" install it there, such as with: pip install etcd3 grpcio protobuf"
    )


def _folder() -> Path:
    """Return the folder of etcd3's generated files; finding a top-level package does not run it."""
    try:
        spec = importlib.util.find_spec("etcd3")
    except (ImportError, ValueError) as error:
        raise _missing("etcd3", error) from error
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise _missing("etcd3", "No module named 'etcd3'")
    return Path(next(iter(places))) / "etcdrpc"


def _literal(path: Path) -> bytes:
    """Return the serialized descriptor in a generated file, read as text.

    Only the literal is handed to ``ast``: parsing the 4,800 lines around it takes 30 ms.
    """
    try:
        found = LITERAL.search(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _missing("etcd3", error) from error
    if not found:
        raise _missing("etcd3", f"{path.name} holds no descriptor")
    return str(ast.literal_eval(found[1])).encode("latin-1")


def _complete(file: Any) -> None:
    """Add the fields of etcd 3.4 to the descriptor of rpc.proto, where the package lacks them."""
    messages = {message.name: message for message in file.message_type}
    if "WatchProgressRequest" not in messages:
        file.message_type.add(name="WatchProgressRequest")
    for message, name, number, kind in ADDED_FIELDS:
        if any(field.name == name for field in messages[message].field):
            continue
        field = messages[message].field.add(name=name, number=number, type=kind, label=1)
        if kind == MESSAGE:
            field.type_name = f".{PACKAGE}.WatchProgressRequest"
            field.oneof_index = 0


def _wire(pool: Any, file: Any) -> Wire:
    names = [message.name for message in file.message_type]
    messages = {name: _message_class(pool, f"{PACKAGE}.{name}") for name in names}
    methods = {
        f"{service.name}/{method.name}": Method(
            f"/{PACKAGE}.{service.name}/{method.name}",
            messages[method.input_type.rpartition(".")[2]],
            messages[method.output_type.rpartition(".")[2]],
            method.client_streaming and f"{service.name}/{method.name}" not in ONE_ANSWER,
        )
        for service in file.service
        for method in service.method
        if method.client_streaming == method.server_streaming
    }
    return Wire(messages, methods)


def _message_class(pool: Any, name: str) -> Any:
    factory = module("google.protobuf.message_factory", "protobuf")
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(factory, "GetMessageClass"):
        return factory.GetMessageClass(descriptor)
    return factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3.20
