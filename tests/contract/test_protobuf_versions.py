# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store works with each major version of protobuf, and old and new gRPC, with nothing set for it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import ansible_collections.watcher.config as collection
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {  # protobuf: grpcio of about the same time, the oldest with a wheel for Python 3.11 first
    "3.20.3": "1.51.3",
    "4.25.8": "1.62.3",
    "5.29.5": "1.68.1",
    "6.33.0": "1.76.0",
    "7.36.2": "1.85.1",
}
SMOKE = """
import sys
import google.protobuf
from ansible_collections.watcher.config.plugins.module_utils._core import connection, errors, etcd, store

etcd_store = etcd.connect(connection.Connection((sys.argv[1],)))
first = etcd_store.commit(store.Write(puts=tuple((f"/w/{n:03}", b"x" * 1000) for n in range(100))))
guards = (store.Guard("/w/", first), store.Guard("/w/000", first, exact=True))
last = etcd_store.commit(store.Write(puts=(("/w/a", b"1"),), delete_prefixes=("/w/0",), guards=guards))
try:
    etcd_store.commit(store.Write(puts=(("/w/a", b"2"),), guards=guards))
except errors.ConflictError:
    pass
else:
    sys.exit("no conflict")
assert [item.key for item in etcd_store.list("/w/").items] == [b"/w/a"]
assert len(etcd_store.list("/w/", revision=first).items) == 100
with etcd_store.watch("/w/", first) as watch:
    seen = 0
    for batch in watch:
        seen += len(batch.events)
        if batch.revision == last:
            break
assert seen == 201, seen
try:
    etcd_store.watch("/w/", last + 9)
except errors.CompactedError:
    pass
else:
    sys.exit("no CompactedError")
etcd_store.close()
print(google.protobuf.__version__)
"""


def environment(protobuf: str, grpcio: str) -> Path:
    """Return the Python of a virtual environment with these versions; kept between runs."""
    folder = ROOT / ".cache" / "protobuf" / f"{protobuf.partition('.')[0]}-py{sys.version_info[0]}{sys.version_info[1]}"
    python, wanted = folder / "bin" / "python", ["etcd3==0.12.0", f"protobuf=={protobuf}", f"grpcio=={grpcio}"]
    done = folder / "done"
    if not done.is_file() or done.read_text() != " ".join(wanted):
        venv.create(folder, clear=True)
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", str(python), "install"]
        subprocess.run([*pip, *wanted], check=True, timeout=300)
        done.write_text(" ".join(wanted))
    return python


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="these versions were chosen for Python 3.11")
@pytest.mark.parametrize("protobuf", VERSIONS)
def test_reads_writes_and_watches(protobuf: str) -> None:
    """A smoke test of all calls, in an environment of its own."""
    tree = Path(next(iter(collection.__path__))).parents[2]
    script = f"import sys; sys.path.insert(0, {str(tree)!r})\n{SMOKE}"
    with EtcdServer() as server:
        command = [str(environment(protobuf, VERSIONS[protobuf])), "-W", "error", "-c", script, server.endpoint]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={})
    assert (done.returncode, done.stdout.strip()) == (0, protobuf), done.stderr
