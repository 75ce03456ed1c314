# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of ``check`` that need no etcd; the rest is in the integration tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.checkup import refusal, unfit_certificates
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeniedError, UnavailableError
from ansible_collections.watcher.config.plugins.module_utils._core.finding import FAIL
from ansible_collections.watcher.config.tests.certificates import Authority
from ansible_collections.watcher.config.tests.unit.memory_store import MemoryStore

KEY = "/watcher.agents/web01"


def test_a_write_that_is_only_asked_about() -> None:
    """Nothing is written, whether the key is there or not."""
    store = MemoryStore()
    assert refusal(store, KEY) == ""
    store.put(KEY, b"1")
    assert refusal(store, KEY) == ""
    assert (store.get(KEY)[0].value, store.revision) == (b"1", store.put("x") - 1)  # type: ignore[union-attr]


def test_a_write_that_would_be_refused() -> None:
    """It says why; a store that goes away meanwhile is another matter."""
    store = MemoryStore()
    store.fail(DeniedError("no"))
    assert refusal(store, KEY) == "no"
    store.fail(UnavailableError("away"))
    with pytest.raises(UnavailableError):
        refusal(store, KEY)


def test_certificates(tmp_path: Path) -> None:
    """Files that fit are not worth a line."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    fitting = connection(ca_cert=authority.certificate, client_cert=certificate, client_key=key)
    assert unfit_certificates(fitting) is None
    assert unfit_certificates(Connection(("127.0.0.1:2379",))) is None


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_files_that_do_not_fit(content: str, tmp_path: Path) -> None:
    """What is no PEM file, and a key of another certificate, is told before anybody connects."""
    authority = Authority(tmp_path)
    certificate, _key = authority.issue("client")
    bad = tmp_path / "bad"
    bad.write_text(content)
    files = {"ca_cert": authority.certificate, "client_cert": certificate, "client_key": bad}
    finding = unfit_certificates(connection(**files))
    assert finding is not None
    assert (finding.level, finding.code, "no PEM file" in finding.text) == (FAIL, 2, True)


def connection(**files: Path) -> Connection:
    """Return a connection with TLS and these files."""
    paths: dict[str, Any] = {name: str(path) for name, path in files.items()}
    return Connection(("https://127.0.0.1:2379",), **paths)
