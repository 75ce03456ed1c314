# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that flow through: what is wanted, what is on disk, what we own, what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .digest import TreeDigest
from .errors import InvalidError
from .policy import Policy


def sha256(content: bytes) -> str:
    """Return the digest of a content as manifests and statuses spell it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    """Return the hex digest that Watcher's callback carries; it protects nothing."""
    return hashlib.new("md5", content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class File:
    """A wanted file; ``content`` is None where only its digest has travelled so far."""

    digest: str
    size: int
    content: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, content: bytes) -> File:
        """Return the file of a content."""
        return cls(sha256(content), len(content), content)


@dataclass(frozen=True)
class Project:
    """What the tree says of one project on one host, at one revision of one store.

    ``policy`` is None where its key is missing (``policy_error`` empty) or breaks the contract.
    ``newest`` is the newest revision at which one of the keys present was modified.
    ``rejected`` maps keys that break the contract to the reason; ``kept`` are the file paths
    among them: a bad value is no wish to remove the good file that was there. ``variables`` are the
    keys and values for its templates. Once those are rendered, ``published`` is the digest of the files
    as they are in the tree, and ``render_error`` says why they cannot be rendered. ``restored``: the
    files that are a backup's, each with the digest of the tree's own, empty where the tree has no such file.
    """

    host: str
    name: str
    revision: int
    cluster_id: int
    policy: Policy | None = None
    policy_error: str = ""
    files: Mapping[str, File] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    ignored: int = 0
    newest: int = 0
    variables: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    published: str = ""
    render_error: str = ""
    restored: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Return how messages name this project."""
        return f"host {self.host}, project {self.name}"

    @property
    def exists(self) -> bool:
        """Return whether the tree holds any key of the project that is ours."""
        return bool(self.policy or self.policy_error or self.files or self.rejected)

    @property
    def digest(self) -> str:
        """Return a digest of all wanted files (see `TreeDigest`)."""
        return self.published or TreeDigest({path: file.digest for path, file in self.files.items()}).value()

    @property
    def unmatched(self) -> str:
        """Return how the tree differs from the policy's manifest; empty when it does not, or has none."""
        if self.policy is None or self.policy.files is None:
            return ""
        manifest = self.policy.files
        wrong = [path for path in manifest if path not in self.files or self.files[path].digest != manifest[path]]
        surplus = [path for path in self.files if path not in manifest]
        if not wrong and not surplus:
            return ""
        return (
            f"the tree differs from the manifest in the policy (field files): {len(wrong)} of {len(manifest)} files are"
            f" missing or different and {len(surplus)} are too many (such as {min(wrong + surplus)!r})"
        )


@dataclass(frozen=True)
class Found:
    """What is at a path of the disk: ``kind`` is absent, file, link, folder, blocked or other.

    ``blocked`` is a path below something, at the path ``above``, that is not a folder.
    """

    kind: str = "absent"
    digest: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    reason: str = ""  # why the path cannot be used, such as a symbolic link on the way
    above: str = ""


@dataclass(frozen=True)
class Owned:
    """A file that we deployed: ``held`` when it is missing from a store that was replaced.

    ``restored`` is the digest of a backup that an operator put in its place.
    """

    digest: str
    held: bool = False
    restored: str = ""


Place = tuple[str, str]  # a deploy path and a file's path below it


@dataclass(frozen=True)
class Move:
    """A change of a path, and what undoing it takes: ``create``, ``set``, ``delete``, ``mkdir``, ``rmdir``, ``backup``.

    ``new`` and ``old`` are the names, in the folder ``base`` below the root, of the new content until it
    is in place and of the old file afterwards. ``digest`` is of the new content; the rest was there before.
    """

    kind: str
    root: str
    path: str
    base: str = ""
    new: str = ""
    old: str = ""
    digest: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0

    @property
    def place(self) -> Place:
        """Return the deploy path and the path below it."""
        return self.root, self.path


@dataclass(frozen=True)
class Ledger:
    """What a host remembers of a project; kept in its state folder.

    ``revision`` and ``cluster_id`` are those of the last state that was planned in full.
    ``owed`` says that the commands of the files on disk have not succeeded yet; ``settled`` is
    the revision whose files are on disk with their commands run. ``claims`` are the paths that a
    deployment that was begun will own. ``journal`` are its moves, to be undone if it was killed;
    ``done``: it ended well, and at most temporary files of it are left. ``observed`` is the newest
    revision that was begun, or turned down; ``staged`` the newest whose new contents lay complete on
    this host. ``problem`` is what keeps the disk from what the tree says, ``trouble`` the state that
    it led to, ``since`` when that began (a timestamp), ``attempts`` how often it failed, ``due`` when it is
    tried again (a timestamp). ``untold`` is the outcome, as JSON data, whose callback was not handed over yet.
    """

    host: str
    project: str
    cluster_id: int = 0
    revision: int = 0
    settled: int = 0
    policy: Mapping[str, Any] | None = None
    files: Mapping[Place, Owned] = field(default_factory=dict)
    claims: Sequence[Place] = ()
    folders: Sequence[Place] = ()
    owed: Sequence[str] | None = None
    attempts: int = 0
    journal: Sequence[Move] = ()
    done: bool = False
    observed: int = 0
    staged: int = 0
    problem: str = ""
    since: str = ""
    untold: Mapping[str, Any] | None = None
    trouble: str = ""
    due: str = ""

    def well(self) -> Ledger:
        """Return it without trouble."""
        return replace(self, trouble="", problem="", since="", due="", attempts=0)

    @property
    def open(self) -> bool:
        """Return whether the host has something of the project: files, or a deployment that did not end well."""
        return bool(self.files or self.journal or self.owed is not None)


@dataclass(frozen=True)
class CommandResult:
    """What became of a command; ``problem`` is empty when it succeeded or was not configured.

    ``code`` is its exit status, a signal's number negative; None when it was not configured or not started.
    """

    out: str = ""
    problem: str = ""
    code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the command's part of a callback, in Watcher's four fields."""
        return {"success": not self.problem, "out": self.out, "err": self.problem or None, "msg": self.problem}


@dataclass(frozen=True)
class FileChange:
    """A file that a deployment changed: ``action`` is create, set or delete."""

    path: str
    action: str
    md5: str = ""
    backup: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the file's part of a callback."""
        return {"path": self.path, "action": self.action, "md5": self.md5, "backup": self.backup}


@dataclass(frozen=True)
class Outcome:
    """What came of one deployment.

    ``state`` is ``deployed``, ``rolledBack``, ``failed`` or ``removed`` (contract, section 4),
    ``held`` or ``waiting`` where nothing was begun, or ``unknown`` for a project that neither
    the tree nor the host knows. ``ran`` says that something was attempted: only then is a
    callback due. ``needs`` are paths whose contents have to be sent before it can go on;
    ``asks`` are the missing paths whose removal needs evidence from the tree's history after
    the revision ``since``. ``attempts`` is how often it was tried since the project changed, and ``due``
    when it is tried again (a timestamp), empty when whoever deployed does not try again.
    """

    host: str
    project: str
    state: str
    revision: int  # whose files are on disk with their commands run
    wanted_revision: int
    digest: str
    files: int
    msg: str = ""
    ran: bool = False
    changes: Sequence[FileChange] = ()
    before: CommandResult = CommandResult()
    after: CommandResult = CommandResult()
    check: CommandResult = CommandResult()
    deploy_path: str = ""
    callback: str = ""
    started: str = ""
    finished: str = ""
    attempts: int = 1
    due: str = ""
    notes: Sequence[str] = ()
    needs: Sequence[str] = ()
    asks: Sequence[str] = ()
    since: int = 0
    diff: Sequence[Mapping[str, str]] = ()

    @property
    def failed(self) -> bool:
        """Return whether somebody should look at it."""
        return self.state in ("failed", "rolledBack")

    @property
    def settled(self) -> bool:
        """Return whether it leaves nothing to do."""
        return self.state in ("deployed", "removed", "unknown")

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON data, to cross from a host to the controller."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data.update({name: dict(vars(data[name])) for name in ("before", "after", "check")})
        data["changes"] = [change.to_json() for change in self.changes]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Return the outcome that `to_json` wrote; raise InvalidError for anything else."""
        try:
            values = dict(data)
            for name in ("before", "after", "check"):
                values[name] = CommandResult(**values[name])
            values["changes"] = tuple(FileChange(**change) for change in values["changes"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"the host's answer is not an outcome of this version ({error!r})") from error
