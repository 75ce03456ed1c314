# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus gets, scraped over HTTP and from a file, read with Prometheus' own parser."""

from __future__ import annotations

import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from ansible_collections.watcher.config.plugins.module_utils._core import metrics as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.ini import parse_listen
from ansible_collections.watcher.config.plugins.module_utils._core.metrics import Facts, Metrics
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome
from ansible_collections.watcher.config.tests.agent_run import eventually

BOUND = 5.0  # seconds for one condition
FACTS = Facts(
    seen=1834,
    watch_age=2.5,
    lags={"a.com": 0, "b.com": 3},
    projects={"deployed": 1, "failed": 1},
    spool=4,
    callbacks_sent=5,
    callbacks_dropped=6,
    heartbeat_failures=7,
)
Open = Callable[..., Metrics]

soon = partial(eventually, bound=BOUND)


@pytest.fixture
def started() -> Iterator[Open]:
    """Return a function that starts metrics, closed after the test."""
    running: list[Metrics] = []

    def start(facts: Callable[[], Facts] = lambda: FACTS, **options: Any) -> Metrics:
        running.append(Metrics(facts, host="web01", version="1.2.3", **options))
        running[-1].start()
        return running[-1]

    yield start
    for metrics in running:
        metrics.close()


def scrape(metrics: Metrics, accept: str = "text/plain") -> str:
    """Return what Prometheus gets."""
    assert metrics.address, metrics.problems
    host, port = metrics.address
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=BOUND) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[str, float]:
    """Return the value of each series."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def outcome(state: str) -> Outcome:
    """Return an outcome."""
    return Outcome("web01", "a.com", state, 5, 5, "", 1)


def test_all_names(started: Open) -> None:
    """Each figure by its name and labels; counters are there from the start, and no series is there twice."""
    metrics = started(listen="127.0.0.1:0")
    metrics.deployed(outcome("deployed"), 0.002)
    metrics.deployed(outcome("deployed"), 45.0)
    metrics.deployed(outcome("rolledBack"), 100.0)
    metrics.retried()
    found = samples(scrape(metrics))
    buckets = {name: value for name, value in found.items() if "_bucket" in name}
    assert {name: value for name, value in found.items() if name not in buckets} == {
        "watcher_info{host=web01,version=1.2.3}": 1,
        "watcher_seen_revision": 1834,
        "watcher_watch_age_seconds": 2.5,
        "watcher_revision_lag{project=a.com}": 0,
        "watcher_revision_lag{project=b.com}": 3,
        "watcher_projects{state=deployed}": 1,
        "watcher_projects{state=failed}": 1,
        "watcher_deployments_total{state=deployed}": 2,
        "watcher_deployments_total{state=rolledBack}": 1,
        "watcher_deployments_total{state=failed}": 0,
        "watcher_deployments_total{state=removed}": 0,
        "watcher_deployment_seconds_count": 3,
        "watcher_deployment_seconds_sum": 145.002,
        "watcher_retries_total": 1,
        "watcher_callback_spool": 4,
        "watcher_callbacks_total{result=sent}": 5,
        "watcher_callbacks_total{result=dropped}": 6,
        "watcher_heartbeat_failures_total": 7,
    }
    bounds = [float(name.partition("le=")[2].rstrip("}")) for name in buckets]
    assert bounds == [*module.BUCKETS, float("inf")] and (bounds[0], bounds[-2]) == (0.001, 60.0)
    assert list(buckets.values()) == [0.0, *[1.0] * 13, 2.0, 3.0]


def test_the_facts_are_those_of_the_scrape(started: Open) -> None:
    """They are asked for at each one, once, and not before."""
    asked: list[int] = []

    def facts() -> Facts:
        asked.append(len(asked))
        return Facts(seen=len(asked))

    metrics = started(facts, listen="127.0.0.1:0")
    assert asked == []
    assert [samples(scrape(metrics))["watcher_seen_revision"] for _number in range(3)] == [1, 2, 3]


def test_a_watch_that_never_lived(started: Open) -> None:
    """An alert on its age has to fire."""
    metrics = started(Facts, listen="127.0.0.1:0")
    assert samples(scrape(metrics))["watcher_watch_age_seconds"] == float("inf")


def test_open_metrics(started: Open) -> None:
    """What a newer Prometheus asks for."""
    text = scrape(started(listen="127.0.0.1:0"), "application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n") and "watcher_seen_revision 1834" in text


def test_ipv6(started: Open) -> None:
    """The other loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    assert samples(scrape(started(listen="[::1]:0")))["watcher_seen_revision"] == 1834


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9101", ("127.0.0.1", 9101)),
        ("127.1.2.3:1", ("127.1.2.3", 1)),
        ("localhost:9101", ("127.0.0.1", 9101)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_what_may_be_listened_on(text: str, parsed: tuple[str, int]) -> None:
    """Addresses that nobody else reaches."""
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:9101",
        "10.0.0.1:9101",
        "[::]:9101",
        "[fe80::1]:9101",
        ":9101",
        "9101",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "::1:9101",
        "web01:9101",
        "127.0.0.1:9101\n",
    ],
)
def test_what_may_not_be_listened_on(text: str) -> None:
    """The value and what is allowed are named."""
    with pytest.raises(InvalidError) as caught:
        Metrics(Facts, host="web01", version="1", listen=text)
    assert repr(text) in str(caught.value) and "127.0.0.1:9101" in str(caught.value)


def test_a_taken_port(started: Open, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, in one sentence; when it is free it is used."""
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tries: list[int] = []
        metrics = started(listen=f"127.0.0.1:{port}", every=0.05)
        problem = f"metrics: listen 127.0.0.1:{port} cannot be used: Address already in use"
        assert metrics.problems == (problem,)
        bind = metrics._bind

        def counted() -> None:
            tries.append(1)
            bind()

        metrics._bind = counted  # type: ignore[method-assign]
        soon(lambda: len(tries) >= 3, "it tries three times")
    soon(lambda: not metrics.problems, "the port works")
    assert samples(scrape(metrics))["watcher_seen_revision"] == 1834
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", f"{problem}; trying again every 0.05 s"),
        ("INFO", f"metrics: listen 127.0.0.1:{port} works now"),
    ]


def test_a_textfile(started: Open, tmp_path: Path) -> None:
    """It is there at once, for all to read, and gone in the end; figures that change get into it."""
    path = tmp_path / "watcher.prom"
    old = os.umask(0o077)
    try:
        metrics = started(textfile=str(path), every=0.02)
        assert samples(path.read_text())["watcher_seen_revision"] == 1834
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        metrics.retried()
        soon(lambda: samples(path.read_text())["watcher_retries_total"] == 1, "the retry is in the file")
    finally:
        os.umask(old)
    metrics.close()
    assert list(tmp_path.iterdir()) == []


def test_a_textfile_is_never_half_there(started: Open, tmp_path: Path) -> None:
    """Whoever reads it while it is replaced reads one or the other."""
    path = tmp_path / "watcher.prom"
    started(lambda: Facts(lags={f"p{number}": number for number in range(500)}), textfile=str(path), every=0.001)
    files = set()
    for _number in range(2000):
        text = path.read_bytes()
        files.add(path.stat().st_ino)
        assert text.count(b"watcher_revision_lag{") == 500 and text.endswith(b"\n")
        if len(files) > 5:
            break
    assert len(files) > 1, "the file was never replaced"


def test_a_folder_that_is_missing(started: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, in one sentence, and used as soon as it is there."""
    path = tmp_path / "later" / "watcher.prom"
    metrics = started(textfile=str(path), every=0.02)
    assert metrics.problems == (f"metrics: textfile {path} cannot be used: No such file or directory",)
    assert [record.message for record in caplog.records] == [f"{metrics.problems[0]}; trying again every 0.02 s"]
    path.parent.mkdir()
    soon(path.exists, "the file is there")
    soon(lambda: not metrics.problems, "the problem is over")


def test_a_trap_in_a_folder_of_others(started: Open, tmp_path: Path) -> None:
    """A link where the new file is to be is not followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "watcher.prom"
    (tmp_path / "watcher.prom.new").symlink_to(victim)
    started(textfile=str(path))
    assert victim.read_text() == "precious"
    assert samples(path.read_text())["watcher_seen_revision"] == 1834


def test_both(started: Open, tmp_path: Path) -> None:
    """One thread serves the port and writes the file."""
    path = tmp_path / "watcher.prom"
    before = set(threading.enumerate())
    metrics = started(listen="127.0.0.1:0", textfile=str(path), every=0.05)
    first = path.stat().st_ino
    assert samples(scrape(metrics))["watcher_seen_revision"] == 1834
    soon(lambda: path.stat().st_ino != first, "the file is replaced")
    assert set(threading.enumerate()) - before == {metrics._thread}


def test_facts_that_fail(started: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of the program is said once for each way out, and does not end them."""
    broken = True

    def facts() -> Facts:
        return 1 / 0 if broken else FACTS  # type: ignore[return-value]

    metrics = started(facts, listen="127.0.0.1:0", textfile=str(tmp_path / "watcher.prom"), every=0.02)
    for _number in range(3):
        with pytest.raises(OSError):
            scrape(metrics)
    assert sum("a request was not answered: division by zero" in record.message for record in caplog.records) == 1
    assert sum("textfile" in record.message for record in caplog.records) == 1
    broken = False
    assert samples(scrape(metrics))["watcher_seen_revision"] == 1834
    soon(lambda: not metrics.problems, "the problem is over")


def test_a_client_that_says_nothing(started: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the next one up for a bounded time."""
    monkeypatch.setattr(module, "CLIENT_TIMEOUT", 0.2)
    metrics = started(listen="127.0.0.1:0")
    assert metrics.address
    with socket.create_connection(metrics.address):
        began = time.monotonic()
        scrape(metrics)
        assert 0.1 < time.monotonic() - began < 2


def test_close_frees_the_port(started: Open) -> None:
    """At once, from a wait without end; and again when called twice."""
    metrics = started(listen="127.0.0.1:0")
    scrape(metrics)
    assert metrics.address
    time.sleep(0.05)  # until it waits again; were that too short, close would only be easier
    began = time.monotonic()
    metrics.close()
    metrics.close()
    assert time.monotonic() - began < 3
    with socket.create_server(metrics.address):
        pass
    assert not metrics._thread.is_alive()


def test_off(started: Open) -> None:
    """No thread, no package, no harm."""
    before = set(threading.enumerate())
    metrics = started()
    metrics.deployed(outcome("deployed"), 1.0)
    metrics.retried()
    assert not set(threading.enumerate()) - before
    assert (metrics.address, metrics.problems) == (None, ())
    metrics.close()


SCRIPT = f"""
import sys
sys.path[:] = {sys.path!r}
from ansible_collections.watcher.config.plugins.module_utils._core.metrics import Facts, Metrics
Metrics(Facts, host="web01", version="1").start()
print("prometheus_client" in sys.modules)
sys.modules["prometheus_client"] = None
try:
    Metrics(Facts, host="web01", version="1", listen="127.0.0.1:9101")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_the_package() -> None:
    """It is not loaded when off, and named when it is missing."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30)
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert second.startswith("InvalidError metrics: the Python package prometheus_client cannot be used by ")
