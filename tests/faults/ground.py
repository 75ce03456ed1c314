# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which a change is carried out and killed again and again, and what must be true of it afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable

from ansible_collections.watcher.config.plugins.module_utils._core import failpoints
from ansible_collections.watcher.config.plugins.module_utils._core.model import Outcome, sha256
from ansible_collections.watcher.config.plugins.module_utils._core.plan import Evidence
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.tests.mounts import mount
from ansible_collections.watcher.config.tests.unit.site import Site, forked

OLD, NEW = 10, 20  # revisions
BACKUP = re.compile(r"(.+)_watcherbackup_[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}:[0-9]{2}:[0-9]{2}_[0-9]+")
STATE = {"ledger.json", "ledger.log", "lock"}  # all that a project's state folder holds
THENS = ("same", "failing", "refused")  # how it goes on after a kill
REFUSING = Rules(commands=())
MEANT = Evidence(confirmed=True)  # or else the removal of many files is held

Picture = dict[str, tuple[str, int, int, bytes]]  # what is at each path: type and mode, owner, group, content


@dataclass(frozen=True)
class Shape:
    """A change from one set of files to another, None for no project, and the policies that they come with.

    ``fate`` is the state that it ends in. ``more`` is what the new afterCmd does in the end. ``elsewhere``: to another
    deploy path. ``part``: only what changed is handed over, as the agent does it. ``mounted`` is the path of a file
    that is a mount point.
    """

    old: Mapping[str, bytes]
    new: Mapping[str, bytes] | None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    fate: str = "deployed"
    more: str = "true"
    elsewhere: bool = False
    part: bool = False
    mounted: str = ""

    @property
    def fails(self) -> bool:
        """Return whether the old files are there in the end."""
        return self.fate in ("failed", "rolledBack")

    def replaced(self) -> dict[str, bytes]:
        """Return what the files held that are replaced or deleted when all goes well."""
        new = self.new or {}
        return {path: content for path, content in self.old.items() if self.elsewhere or new.get(path) != content}


class Ground:
    """A host that can be put back to where it was before the change of a shape."""

    def __init__(self, folder: Path, shape: Shape, *, brief: bool = False) -> None:
        """Deploy the old files, and carry the change out once to see where it ends and what it comes to.

        ``brief``: whether the next change works is not looked at.
        """
        self.shape, self._brief = shape, brief
        self._folder, self._template, self._source = folder / "host", folder / "template", folder / "mounted"
        site = self.site()
        site.root.mkdir(parents=True)
        (site.root / "foreign").write_bytes(b"theirs\n")
        assert self.deploy_old(site, OLD).state == "deployed"
        self.old = self.picture()
        os.rename(self._folder, self._template)
        self.trace: list[str] = []
        outcome = recorded(partial(self.deploy_new, self.fresh()), self.trace)
        assert outcome.state == shape.fate, outcome.msg
        self.new = self.picture()
        assert (self.new == self.old) == shape.fails

    def site(self) -> Site:
        """Return the host as a new process sees it."""
        return Site(self._folder)

    def fresh(self) -> Site:
        """Return the host as it was before the change."""
        bound = self._folder / "deploy" / self.shape.mounted
        if self._folder.exists():
            if self.shape.mounted:
                subprocess.run(["umount", "--", bound], check=True)
            shutil.rmtree(self._folder)
        subprocess.run(["cp", "-a", "--", self._template, self._folder], check=True)
        if self.shape.mounted:
            shutil.copy2(bound, self._source)
            mount("--bind", str(self._source), str(bound))
        return self.site()

    def deploy_old(self, site: Site, revision: int, **more: bytes) -> Outcome:
        """Deploy the files that were there before, and these."""
        fields = {**commands(site), **self.shape.before}
        return site.deploy({**self.shape.old, **more}, revision=revision, evidence=MEANT, **fields)

    def deploy_new(self, site: Site, revision: int = NEW, rules: Rules | None = None, **fields: Any) -> Outcome:
        """Carry the change out."""
        fields = {**self._fields(site), **fields}
        new, old = self.shape.new, self.shape.old
        if self.shape.part and new is not None and revision == NEW:
            changed = {path: content for path, content in new.items() if old.get(path) != content}
            outcome = site.part(changed, sorted(old.keys() - new.keys()), revision=revision, rules=rules, **fields)
            if outcome is not None:
                return outcome
        return site.deploy(new, revision=revision, rules=rules, evidence=MEANT, **fields)

    def deploy_next(self, site: Site, revision: int, **more: bytes) -> Outcome:
        """Deploy the new files, and these."""
        return site.deploy({**(self.shape.new or {}), **more}, revision=revision, evidence=MEANT, **self._fields(site))

    def _fields(self, site: Site) -> dict[str, Any]:
        fields = {**commands(site, self.shape.more), **self.shape.before, **self.shape.after}
        return {**fields, "deployPath": str(site.folder / "moved")} if self.shape.elsewhere else fields

    def picture(self) -> Picture:
        """Return all that is in the deploy paths."""
        found: Picture = {}
        for name in ("deploy", "moved"):
            for path in sorted((self._folder / name).rglob("*")):
                facts = path.lstat()
                content = path.read_bytes() if path.is_file() else b""
                found[str(path.relative_to(self._folder))] = (oct(facts.st_mode), facts.st_uid, facts.st_gid, content)
        return found

    def killed(self, point: str, hit: int) -> Site:
        """Let a process carry the change out, and kill it when it comes to a point for the nth time."""
        assert forked(partial(die, point, hit, partial(self.deploy_new, self.site()))) == -signal.SIGKILL
        return self.site()

    def carried_on(self, site: Site, then: str) -> None:
        """Recover in one of the `THENS`, and demand all that must be true afterwards."""
        ledger = site.ledger()
        kept = ledger.revision == NEW  # it is written down that the new files stay
        begun = bool(ledger.journal) and not kept  # so somebody may have seen new files
        if then == "same":
            outcome = self.deploy_new(site)
            assert outcome.state == self.shape.fate or (kept and outcome.state == "unknown"), outcome.msg
        elif then == "failing":
            outcome = self.deploy_new(site, beforeCmd="echo >&2 no; exit 1")
            assert outcome.failed != kept, outcome.msg
        else:
            outcome = self.deploy_new(site, rules=REFUSING)
            assert outcome.failed, outcome.state
            assert "policy field" in outcome.msg
        is_new = (then == "same" or kept) and not self.shape.fails
        assert self.picture() == (self.new if is_new else self.old)
        self._clean(site)
        self.backed_up(site, self.shape.replaced() if is_new else {})
        if then == "same" and not self.shape.fails:
            assert listed(site) == self._listing("moved" if self.shape.elsewhere else "deploy")
            self._settled(site, self.deploy_new, self.deploy_next, self.new)
        else:
            assert site.ledger().owed is not None or not begun or then == "same", "commands are not owed"
            self._settled(site, self.deploy_old, self.deploy_old, self.old)

    def _settled(
        self, site: Site, act: Callable[..., Outcome], further: Callable[..., Outcome], wanted: Picture
    ) -> None:
        """Demand that all is well with a set, that nothing is done twice, and that the next change works."""
        owed = site.ledger().owed is not None
        forget(site)
        outcome = act(site, NEW + 1)
        assert outcome.settled, outcome.msg
        assert outcome.ran or not owed, "commands that were owed did not run"
        assert bool(listed(site)) == outcome.ran
        assert self.picture() == wanted
        if self._brief:
            self._remembered(site, wanted)
            return
        forget(site)
        outcome = act(site, NEW + 2)
        assert outcome.settled, outcome.msg
        assert not outcome.ran
        assert not listed(site) and not Path(f"{site.log}.before").exists(), "commands ran for nothing"
        self._remembered(site, wanted)
        assert further(site, NEW + 3, next=b"next\n").state == "deployed"
        found = self.picture()
        assert [found.pop(path)[3] for path in list(found) if path.endswith("/next")] == [b"next\n"]
        assert found == wanted
        self._clean(site)
        self.backed_up(site, {})

    def _listing(self, folder: str) -> set[str]:
        """Return what afterCmd has to see."""
        found = ((path.partition("/"), facts) for path, facts in self.new.items())
        return {
            f"{path} {facts[0][-4:].lstrip('0')} {len(facts[3])}"
            for (root, _unused, path), facts in found
            if root == folder and facts[0].startswith("0o100")
        }

    def _clean(self, site: Site) -> None:
        assert site.temporaries() == []
        assert {path.name for path in Path(site.state.folder("a.com")).iterdir()} <= STATE

    def backed_up(self, site: Site, wanted: Mapping[str, bytes]) -> None:
        """Demand that all backups are whole, and that these contents are among them."""
        found: dict[str, set[bytes]] = {}
        for file in site.backups.rglob("*"):
            if not file.is_dir():
                match = BACKUP.fullmatch(str(file.relative_to(site.backups)))
                assert match, file
                found.setdefault(match[1], set()).add(file.read_bytes())
        for path, contents in found.items():
            assert contents <= {self.shape.old.get(path), (self.shape.new or {}).get(path)}, path
        assert [path for path, content in wanted.items() if content not in found.get(path, ())] == []

    def _remembered(self, site: Site, wanted: Picture) -> None:
        """Demand that the ledger says what there is, and nothing else."""
        ledger = site.ledger()
        assert (ledger.journal, ledger.claims, ledger.owed, ledger.done, ledger.problem) == ((), (), None, False, "")
        files = {
            str(site.folder / path): sha256(facts[3])
            for path, facts in wanted.items()
            if facts[0].startswith("0o100") and not path.endswith("/foreign")
        }
        assert {"/".join(place): owned.digest for place, owned in ledger.files.items()} == files
        assert all(os.path.isdir("/".join(place)) for place in ledger.folders)


def commands(site: Site, more: str = "true") -> dict[str, Any]:
    """Return a policy whose commands leave traces: afterCmd, which does more in the end, lists what it sees."""
    listing = f"find . -type f ! -name '.watcher-*' -printf '%P %m %s\\n' >{site.log}"
    return {
        "backupDir": str(site.backups),
        "beforeCmd": f"echo >>{site.log}.before",
        "afterCmd": f"cd $WATCHER_DEPLOY_PATH && {listing} && {more}",
    }


def listed(site: Site) -> set[str]:
    """Return what afterCmd has seen the last time."""
    return set(site.log.read_text().splitlines()) if site.log.exists() else set()


def forget(site: Site) -> None:
    """Remove the traces of commands."""
    for path in (site.log, Path(f"{site.log}.before")):
        path.unlink(missing_ok=True)


def recorded(act: Callable[[], Outcome], trace: list[str]) -> Outcome:
    """Act, and note all points that this comes to."""
    failpoints.armed = trace.append
    try:
        return act()
    finally:
        failpoints.armed = None


def die(point: str, hit: int, act: Callable[[], Outcome]) -> None:
    """Act until the point is reached for the nth time."""
    left = hit

    def kill(name: str) -> None:
        nonlocal left
        left -= name == point
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.armed = kill
    act()
