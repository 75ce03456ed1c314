# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What deployments that cannot half-happen cost, one large publish, and templates.

The peer of the first is the agent as it was before, from the history of the checkout; both run at the
same time and take turns.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from functools import partial
from pathlib import Path

from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Project
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.publish import Wanted, publish
from ansible_collections.watcher.config.plugins.module_utils._core.render import Renderer
from ansible_collections.watcher.config.plugins.module_utils._core.store import Write
from ansible_collections.watcher.config.plugins.module_utils._core.values import Values

from . import ROOT
from .agent_ground import Host, writer
from .agent_latency import ROUNDS, WARM_UP, rounds
from .figures import Figure
from .ground import Ground, say
from .landing import Landing
from .measure import timed

# The last commit whose agent had no failpoints, no kept attributes of files and no templates.
BEFORE = os.environ.get("WATCHER_BENCH_BEFORE", "e961d4327d59306c7440ef041b3bf05ed68086f5")
CORE = "plugins/module_utils/_core"
MORE: dict[str, tuple[int, dict[str, str] | None]] = {
    "1 key": (1, {}),
    "1,000 keys": (1000, {}),
    "1 key, commands and backups": (1, None),
}
AT_MOST = 1.3  # times the agent before
FILES, ON_DISK = 500, 1.5  # files of one publish, and seconds
TEMPLATES, RENDERED = 1000, 2.0  # and seconds
TRIES = 5
TEMPLATE = """\
upstream {{ project }}_NUMBER {
{% for pair in gets("/services/web/*") %}
    server {{ pair.value }};
{% endfor %}
    keepalive {{ getv("keepalive", "16") }};
}
"""


def measure() -> list[Figure]:
    """Return the figures."""
    with Ground() as ground:
        return [*beside_before(ground), *publishes(ground), *templates(), *changes(ground)]


def beside_before(ground: Ground) -> list[Figure]:
    """Return put to disk of the agent, beside that of the agent before."""
    old = ground.folder / "before"
    if not unpack(old):
        say(f"agent: the checkout has no commit {BEFORE}: the agent before cannot be measured")
        return []
    with writer(ground) as process, contextlib.ExitStack() as stack:
        turns = {}
        for number, (name, (keys, more)) in enumerate(MORE.items()):
            for which, core in (("now", None), ("before", old / CORE)):
                host = Host(
                    ground, f"{which}{number}", keys, more=commands(ground) if more is None else more, core=core
                )
                host.policies()
                host.publish(b"first")
                stack.callback(host.agent.kill)
                host.agent.start()
                host.deployed(b"first")
                turns[f"{which}, {name}"] = (host.key(0), Landing(host.path(0)))
                stack.callback(turns[f"{which}, {name}"][1].close)
        rounds(process, turns, WARM_UP)
        say(f"agent: {ROUNDS} rounds of {len(turns)} puts, the agent now and before")
        samples = rounds(process, turns, ROUNDS)
    what = "agent: put to file on disk"
    return [
        Figure(
            f"{what}, {name}",
            samples[f"now, {name}"],
            peer="the agent before",
            peer_samples=samples[f"before, {name}"],
            at_most=AT_MOST,
        )
        for name in MORE
    ]


def unpack(folder: Path) -> bool:
    """Unpack the agent before; return whether the checkout has it."""
    command = ["git", "archive", "--format=tar", BEFORE, CORE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return True


def commands(ground: Ground) -> dict[str, str]:
    """Return a policy that makes use of all that a deployment can do."""
    return {"backupDir": str(ground.folder / "backups"), "checkCmd": "true", "beforeCmd": "true", "afterCmd": "true"}


def publishes(ground: Ground) -> list[Figure]:
    """Return how long a publish of many files takes until they are on the disk, and the publisher's part of it."""
    host = Host(ground, "large", FILES)
    whole, written = [], []
    say(f"agent: {TRIES} publishes of {FILES} files")
    with host.agent:
        for number in range(TRIES + 1):
            content = b"%d" % number
            wanted = Wanted({"deployPath": str(host.path(0).parent)}, {file: content for _name, file in host.files})

            def go(wanted: Wanted = wanted, content: bytes = content) -> None:
                name = host.files[0][0]
                written.append(timed(lambda: publish(ground.store, ground.tree, host.name, name, wanted)))
                host.deployed(content)

            whole.append(timed(go))
    what = f"agent: publish of {FILES} files, first transaction to all on disk"
    return [
        Figure(f"{what}, all new", whole[:1], limit=ON_DISK, at_most=1),
        Figure(f"{what}, all changed", whole[1:], limit=ON_DISK, at_most=1),
        Figure("agent: of that, writing into the tree", written),
    ]


def templates() -> list[Figure]:
    """Return how long templates take to render."""
    policy = Policy("/srv", render=True, watch=("/services",))
    files = {f"{number}.conf.j2": File.of(source(number)) for number in range(TEMPLATES)}
    project = Project("web01", "a.com", 1, 1, policy, files=files)
    own = "/watcher/web01/a.com/vars/"
    values = Values(own, policy.watch, {f"/services/web/{number}": b"10.0.0.1:80" for number in range(10)})
    warm = Renderer()
    warm.render(project, values)
    say(f"templates: {2 * TRIES} times {TEMPLATES} templates")
    what = f"templates: {TEMPLATES} of six lines and ten values"
    new = [timed(lambda: Renderer().render(project, values)) for _unused in range(TRIES)]
    known = [timed(lambda: warm.render(project, values)) for _unused in range(TRIES)]
    return [
        Figure(f"{what}, new", new, limit=RENDERED, at_most=1),
        Figure(f"{what}, known already", known, limit=RENDERED, at_most=1),
    ]


def source(number: int) -> bytes:
    """Return one template."""
    return TEMPLATE.replace("NUMBER", str(number)).encode()


def changes(ground: Ground) -> list[Figure]:
    """Return how long a change of a value takes until all files that depend on it are on the disk."""
    host = Host(ground, "values", TEMPLATES)
    name = host.files[0][0]
    policy = {"deployPath": str(host.path(0).parent), "render": True, "watch": ["/services"]}
    publish(
        ground.store,
        ground.tree,
        host.name,
        name,
        Wanted(policy, {f"{file}.j2": b"{{ getv('/services/web/1') }}" for _name, file in host.files}),
    )
    say(f"agent: {TRIES} changes of a value that {TEMPLATES} templates read")
    with host.agent:
        samples = [timed(partial(change, ground, host, b"10.0.0.%d:80" % number)) for number in range(TRIES + 1)]
    what = "agent: put of a value to all files on disk"
    one = Host(ground, "value", 1)
    policy = {**policy, "deployPath": str(one.path(0).parent)}
    publish(ground.store, ground.tree, one.name, name, Wanted(policy, {"f00000.j2": b"{{ getv('/services/web/1') }}"}))
    with one.agent:
        single = [timed(partial(change, ground, one, b"10.0.1.%d:80" % number)) for number in range(4 * TRIES)]
    return [Figure(f"{what}, {TEMPLATES} templates", samples[1:]), Figure(f"{what}, 1 template", single[1:])]


def change(ground: Ground, host: Host, content: bytes) -> None:
    """Put the value, and return once all files of the host hold it."""
    ground.store.commit(Write(puts=(("/services/web/1", content),)))
    host.deployed(content)
