# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The product at work, in a folder of its own: etcd, ansible-rulebook, two projects on one host.

Publishes with the playbook and, as a user of the old daemon would, with etcdctl; shows each file
landing, a change, a removal with its backup, and the callbacks. Ends with 0 only if all of it
happened, and stops whatever it started.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".cache" / "link"))

from ansible_collections.watcher.config.tests.ansible_site import Receiver, Site  # noqa: E402
from ansible_collections.watcher.config.tests.etcd_server import EtcdServer  # noqa: E402

PATIENCE = 60.0  # seconds for one step; a slow machine needs most of it for Java's first start


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


def publish(site: Site, project: str, files: dict[str, str], callback: str) -> None:
    """Publish a project with the playbook."""
    done = site.play(
        "watcher.config.publish",
        watcher_project=project,
        watcher_hosts=["web01"],
        watcher_policy={**site.policy(callback=callback), "deployPath": str(site.folder / "web01" / project)},
        watcher_files=[{"path": path, "content": content} for path, content in files.items()],
    )
    if done.returncode:
        raise Failure(f"publish.yml failed:\n{done.stdout}{done.stderr}")


def show(folder: Path, etcd: EtcdServer, receiver: Receiver) -> None:
    """Tell the story."""
    site = Site(folder, etcd.endpoint, ["web01"])
    ngx, redis = folder / "web01" / "a.com" / "ngx.conf", folder / "web01" / "b.com" / "redis.conf"
    line = Timeline()
    line.act(f"etcd is up at {etcd.endpoint}; ansible-rulebook -r watcher.config.deploy starts")
    with site.rulebook() as process:

        def landed(path: Path, content: str) -> None:
            holds = f"{path.relative_to(folder)} holds {content!r}"
            wait_for(holds, lambda: path.exists() and path.read_text() == content, process)
            line.see(holds)

        def called(count: int) -> dict[str, Any]:
            wait_for(f"callback {count}", lambda: len(receiver.bodies) >= count, process)
            body = receiver.bodies[count - 1]
            told = {name: body[name] for name in ("action", "code", "id", "state")}
            line.see(f"callback {json.dumps(told)} with {len(body['files'])} file(s)")
            return body

        line.act("publish.yml publishes a.com for web01")
        publish(site, "a.com", {"ngx.conf": "listen 80;", "ssl/opts.conf": "tls;"}, receiver.url)
        landed(ngx, "listen 80;")
        landed(ngx.parent / "ssl" / "opts.conf", "tls;")
        called(1)
        line.act("publish.yml publishes b.com for web01")
        publish(site, "b.com", {"redis.conf": "port 6379"}, receiver.url)
        landed(redis, "port 6379")
        called(2)
        line.act("etcdctl put changes a.com's ngx.conf, as with the old daemon")
        etcd.etcdctl("put", "/watcher/web01/a.com/config.d/ngx.conf", "listen 8080;")
        landed(ngx, "listen 8080;")
        called(3)
        line.act("etcdctl del removes it")
        etcd.etcdctl("del", "/watcher/web01/a.com/config.d/ngx.conf")
        wait_for("ngx.conf is gone", lambda: not ngx.exists(), process)
        line.see("web01/a.com/ngx.conf is gone")
        body = called(4)
        check(folder, body, receiver)
        for backup in sorted((folder / "web01" / "backup").iterdir()):
            line.see(f"backup {backup.name} holds {backup.read_text()!r}")
        line.act("status.yml says:")
        for row in table(site):
            print(f"{'':20}{row}")
        line.act("SIGTERM to ansible-rulebook")
    line.see("ansible-rulebook ended with 0")


def table(site: Site) -> list[str]:
    """Return the rows that status.yml shows; raise Failure when a project is missing."""
    output = site.play("watcher.config.status").stdout
    found: list[str] = json.loads("{" + output.partition("=> {")[2].partition("\n}")[0] + "}")["msg"]
    if len(found) != 3 or not all(" deployed " in row for row in found[1:]):
        raise Failure(f"status.yml does not show two deployed projects:\n{output}")
    return found


def check(folder: Path, body: dict[str, Any], receiver: Receiver) -> None:
    """Raise Failure unless the removal, its backup and the number of deployments are as promised."""
    if body["action"] != "delete" or body["state"] != "deployed":
        raise Failure(f"the last callback is not that of a removal: {body}")
    contents = [Path(file["backup"]).read_text() for file in body["files"]]
    if contents != ["listen 8080;"]:
        raise Failure(f"the backup of the removed file holds {contents}")
    ran = (folder / "web01" / "commands").read_text().split()
    if ran != ["before", "after"] * 4 or len(receiver.bodies) != 4:
        raise Failure(f"4 deployments were due, but these commands ran: {ran}")


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
        except (Failure, AssertionError, subprocess.SubprocessError, OSError) as error:
            log = folder / "rulebook.log"
            print(log.read_text(errors="replace")[-4000:] if log.exists() else "", file=sys.stderr)
            print(f"demo failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
