# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The product at work, in a folder of its own: etcd, ansible-rulebook for host web01, an agent for host web02.

Publishes with the playbook and, as a user of the old daemon would, with etcdctl; shows each file
landing, one change that both hosts get, a removal with its backup, and the callbacks. Ends with 0
only if all of it happened, and stops whatever it started.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".cache" / "link"))

from ansible_collections.watcher.config.benchmarks.landing import Landing  # noqa: E402
from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection  # noqa: E402
from ansible_collections.watcher.config.plugins.module_utils._core.errors import WatcherError  # noqa: E402
from ansible_collections.watcher.config.plugins.module_utils._core.etcd import connect  # noqa: E402
from ansible_collections.watcher.config.plugins.module_utils._core.store import Store, Write  # noqa: E402
from ansible_collections.watcher.config.tests.agent_run import AgentRun  # noqa: E402
from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site  # noqa: E402
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer  # noqa: E402

PATIENCE = 180.0  # seconds for one step; a slow machine needs most of it for Java's first start
HOSTS = ("web01", "web02")
PUTS = 20  # of which the agent's median is told
PAUSE = 0.05  # seconds between them, in which the commands of the one before end


class Failure(Exception):
    """Something that the demo promises did not happen."""


class Timeline:
    """Says what happens, with the seconds since the start and since the last action."""

    def __init__(self) -> None:
        """Start the clock."""
        self._start = self._action = time.monotonic()

    def act(self, text: str) -> None:
        """Say what is done now."""
        self._action = time.monotonic()
        self._say("       ", text)

    def see(self, text: str) -> None:
        """Say what came of it, with the seconds that it took."""
        self._say(f"{time.monotonic() - self._action:+6.2f}s", f"  {text}")

    def _say(self, after: str, text: str) -> None:
        print(f"{time.monotonic() - self._start:7.2f}s {after}  {text}", flush=True)


def wait_for(what: str, condition: Callable[[], bool], rulebook: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the condition holds; raise Failure after `PATIENCE`, or when ansible-rulebook has ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if rulebook is not None and rulebook.poll() is not None:
            raise Failure(f"ansible-rulebook ended with {rulebook.returncode} while waiting for: {what}")
        if time.monotonic() > end:
            raise Failure(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.01)


def publish(site: Site, host: str, project: str, files: dict[str, str], callback: str) -> None:
    """Publish a project for a host with the playbook."""
    done = site.play(
        "watcher.config.publish",
        watcher_project=project,
        watcher_hosts=[host],
        watcher_policy={**site.policy(host, callback=callback), "deployPath": str(site.folder / host / project)},
        watcher_files=[{"path": path, "content": content} for path, content in files.items()],
    )
    if done.returncode:
        raise Failure(f"publish.yml failed:\n{done.stdout}{done.stderr}")


def put(store: Store, content: str, *hosts: str) -> int:
    """Set a.com's ngx.conf for the hosts in one transaction; return when, as `Landing` tells the time."""
    began = time.monotonic_ns()
    store.commit(Write(puts=tuple((f"/watcher/{host}/a.com/config.d/ngx.conf", content.encode()) for host in hosts)))
    return began


def milliseconds(landing: Landing, content: str, began: int) -> float:
    """Wait for the content and return how long that took since then."""
    return (landing.wait(content.encode(), PATIENCE) - began) / 1e6


class Show:
    """The story, on a site where ansible-rulebook and an agent run."""

    def __init__(self, site: Site, etcd: EtcdServer, receiver: Receiver, line: Timeline) -> None:
        """Tell nothing yet."""
        self.site, self.etcd, self.receiver, self.line = site, etcd, receiver, line
        self.process: subprocess.Popen[bytes] | None = None  # ansible-rulebook
        self.store = connect(Connection((etcd.endpoint,)))

    def tell(self) -> None:
        """Publish, change and remove files, for web01 and for web02."""
        folder, line, url = self.site.folder, self.line, self.receiver.url
        ngx, redis = folder / "web01" / "a.com" / "ngx.conf", folder / "web01" / "b.com" / "redis.conf"
        line.act("publish.yml publishes a.com for web02, which the agent serves")
        publish(self.site, "web02", "a.com", {"ngx.conf": "listen 80;"}, url)
        self.landed(folder / "web02" / "a.com" / "ngx.conf", "listen 80;")
        self.called("web02", 1)
        line.act("publish.yml publishes a.com for web01, which the rulebook serves")
        publish(self.site, "web01", "a.com", {"ngx.conf": "listen 80;", "ssl/opts.conf": "tls;"}, url)
        self.landed(ngx, "listen 80;")
        self.landed(ngx.parent / "ssl" / "opts.conf", "tls;")
        self.called("web01", 1)
        line.act("publish.yml publishes b.com for web01")
        publish(self.site, "web01", "b.com", {"redis.conf": "port 6379"}, url)
        self.landed(redis, "port 6379")
        self.called("web01", 2)
        self.compare(ngx)
        line.act("etcdctl del removes it from web01, as with the old daemon")
        self.etcd.etcdctl("del", "/watcher/web01/a.com/config.d/ngx.conf")
        wait_for("ngx.conf is gone", lambda: not ngx.exists(), self.process)
        line.see("web01/a.com/ngx.conf is gone")
        body = self.called("web01", 4)
        wait_for("the agent's callbacks", lambda: len(self.bodies("web02")) == 2 + PUTS)
        check(folder, body, {host: len(self.bodies(host)) for host in HOSTS})
        for backup in sorted((folder / "web01" / "backup").iterdir()):
            line.see(f"backup {backup.name} holds {backup.read_text()!r}")
        line.act("status.yml says:")
        for row in table(self.site):
            print(f"{'':20}{row}")

    def compare(self, ngx: Path) -> None:
        """Change the same file of both hosts at once, then often on the agent's."""
        landing = Landing(self.site.folder / "web02" / "a.com" / "ngx.conf")
        self.store.get("/watcher/web02/a.com/config")  # connects, which is not what is measured
        try:
            self.line.act("one put changes a.com's ngx.conf for web01 and for web02")
            took = milliseconds(landing, "listen 8080;", put(self.store, "listen 8080;", *HOSTS))
            self.line.see(f"web02/a.com/ngx.conf holds 'listen 8080;', by the agent: {took:.1f} ms after the put")
            self.landed(ngx, "listen 8080;", "by the rulebook")
            self.called("web01", 3)
            self.line.act(f"{PUTS} more puts for web02")
            every = []
            for number in range(PUTS):
                time.sleep(PAUSE)
                text = f"listen {8081 + number};"
                every.append(milliseconds(landing, text, put(self.store, text, "web02")))
            told = f"{statistics.median(every):.1f} ms after the put (median; {max(every):.1f} at most)"
            self.line.see(f"each on disk, after its beforeCmd, {told}")
        except TimeoutError as error:
            raise Failure(str(error)) from error
        finally:
            landing.close()

    def landed(self, path: Path, content: str, by: str = "") -> None:
        """Wait until a file holds the content; ``by`` says who wrote it."""
        holds = f"{path.relative_to(self.site.folder)} holds {content!r}"
        wait_for(holds, lambda: path.exists() and path.read_text() == content, self.process)
        self.line.see(f"{holds}, {by}" if by else holds)

    def bodies(self, host: str) -> list[dict[str, Any]]:
        """Return the callbacks of a host."""
        return [body for body in list(self.receiver.bodies) if body["host"] == host]

    def called(self, host: str, count: int) -> dict[str, Any]:
        """Wait for a callback of a host, counted from 1, and return it."""
        wait_for(f"callback {count} of {host}", lambda: len(self.bodies(host)) >= count, self.process)
        body = self.bodies(host)[count - 1]
        told = {name: body[name] for name in ("action", "code", "id", "state")}
        self.line.see(f"callback {json.dumps(told)} with {len(body['files'])} file(s)")
        return body


def show(folder: Path, etcd: EtcdServer, receiver: Receiver) -> None:
    """Start everything, tell the story, stop everything."""
    site = Site(folder, etcd.endpoint, ["web01"])
    (folder / "web02").mkdir()
    (folder / "rulebook.yml").write_text("watcher_hosts: [web01]\n", encoding="utf-8")
    line = Timeline()
    line.act(f"etcd is up at {etcd.endpoint}; ansible-rulebook -r watcher.config.deploy and the agent of web02 start")
    story = Show(site, etcd, receiver, line)
    with (
        contextlib.closing(story.store),
        site.rulebook("--vars", str(folder / "rulebook.yml")) as story.process,
        AgentRun(folder / "web02", etcd.endpoint, host="web02"),
    ):
        line.see("the agent is ready")
        story.tell()
        line.act("SIGTERM to both")
    line.see("agent and ansible-rulebook ended with 0")


def table(site: Site) -> list[str]:
    """Return the rows that status.yml shows; raise Failure when a project is missing."""
    output = site.play("watcher.config.status").stdout
    found: list[str] = json.loads("{" + output.partition("=> {")[2].partition("\n}")[0] + "}")["msg"]
    if len(found) != 4 or not all(" deployed " in row for row in found[1:]):
        raise Failure(f"status.yml does not show three deployed projects:\n{output}")
    return found


def check(folder: Path, body: dict[str, Any], callbacks: dict[str, int]) -> None:
    """Raise Failure unless the removal, its backup and the numbers of deployments are as promised."""
    if body["action"] != "delete" or body["state"] != "deployed":
        raise Failure(f"the last callback is not that of a removal: {body}")
    contents = [Path(file["backup"]).read_text() for file in body["files"]]
    if contents != ["listen 8080;"]:
        raise Failure(f"the backup of the removed file holds {contents}")
    for host, due in (("web01", 4), ("web02", 2 + PUTS)):
        ran = (folder / host / "commands").read_text().split()
        if ran != ["before", "after"] * due or callbacks[host] != due:
            told = f"{callbacks[host]} callbacks came, and these commands ran: {ran}"
            raise Failure(f"{host}: {due} deployments were due, but {told}")


def main() -> int:
    """Run the demo and return the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="watcher-demo-") as temporary:
        folder = Path(temporary)
        try:
            with EtcdServer() as etcd, Receiver().serving() as receiver:
                show(folder, etcd, receiver)
        except KeyboardInterrupt:
            print("stopped; everything that was started has ended", file=sys.stderr)
            return 130
        except (Failure, WatcherError, AssertionError, subprocess.SubprocessError, OSError) as error:
            for log in (folder / "rulebook.log", folder / "web02" / "agent.log"):
                print(log.read_text(errors="replace")[-4000:] if log.exists() else "", file=sys.stderr)
            print(f"demo failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
