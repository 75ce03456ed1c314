# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted versus stored -> transactions (pure), and carrying them out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import ConflictError, InvalidError, StoreError, UnavailableError
from .keys import Tree, check_path, is_path
from .model import sha256
from .policy import MAX_VALUE, Policy, encode
from .render import check_syntax, is_template, target
from .store import Guard, Listing, Store, Write

MAX_OPERATIONS = 128  # etcd's default limit for one transaction
MAX_BYTES = 1_400_000  # etcd's default is 1.5 MiB for a request; the rest is left for its framing
OVERHEAD = 64  # bytes of framing for one key
TRIES = 5  # reads and commits until somebody else's changes in between are given up on


@dataclass(frozen=True)
class Wanted:
    """What the tree shall say of a project: ``policy`` None keeps the stored one.

    With ``purge`` the given files are all there are.
    """

    policy: Mapping[str, Any] | None
    files: Mapping[str, bytes]
    purge: bool = False


@dataclass(frozen=True)
class Edit:
    """One key that changes: ``before`` or ``after`` is None where it does not exist."""

    key: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True)
class Publication:
    """The transactions that publish or withdraw a project; none when the tree is right already."""

    writes: tuple[Write, ...] = ()
    edits: tuple[Edit, ...] = ()
    revision: int = 0  # of the listing, or of the last commit once carried out

    @property
    def changed(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.writes)


def validate(wanted: Wanted, where: str) -> None:
    """Raise InvalidError, beginning with ``where``, for anything that hosts would refuse."""
    if wanted.policy is not None:
        Policy.from_data(dict(wanted.policy), where)
        if wanted.policy.get("files") is not None:
            raise InvalidError(f"{where}: policy field files is written by the publisher itself; leave it out")
    for path, content in wanted.files.items():
        try:
            check_path(path)
        except InvalidError as error:
            raise InvalidError(f"{where}: {error}") from error
        if len(content) > MAX_VALUE:
            raise InvalidError(f"{where}: file {path!r} has {len(content)} bytes, allowed are {MAX_VALUE}")
    _refuse_shadows(wanted.files, where)
    if wanted.policy is not None and wanted.policy.get("render"):
        _check_templates(wanted.files, where)


def _check_templates(files: Mapping[str, bytes], where: str) -> None:
    for path in sorted(filter(is_template, files)):
        try:
            check_syntax(path, files[path])
        except InvalidError as error:
            raise InvalidError(f"{where}, {error}") from error
        if target(path) in files:
            raise InvalidError(
                f"{where}: template {path!r} would be deployed as {target(path)!r}, which is a file, too; rename one"
            )


def _refuse_shadows(paths: Iterable[str], where: str) -> None:
    known = set(paths)
    for path in sorted(known):
        above = path.rpartition("/")[0]
        while above:
            if above in known:
                raise InvalidError(f"{where}: {above!r} is a file and, in {path!r}, a folder; rename one of them")
            above = above.rpartition("/")[0]


class _Stored:
    """What the tree holds of a project."""

    def __init__(self, tree: Tree, host: str, project: str, listing: Listing) -> None:
        self.revision = listing.revision
        self.policy: bytes | None = None
        self.files: dict[str, bytes] = {}
        self.bad: dict[str, bytes] = {}  # files whose path breaks the contract: hosts do not see them
        policy_key, files_root = tree.policy(host, project), tree.project(host, project) + "config.d/"
        for item in listing.items:
            try:
                key = item.key.decode("utf-8")
            except UnicodeDecodeError:
                continue  # hosts report it; it goes when the project is withdrawn
            if key == policy_key:
                self.policy = item.value
            elif key.startswith(files_root):
                path = key[len(files_root) :]
                (self.files if is_path(path) else self.bad)[path] = item.value

    def policy_data(self, where: str) -> dict[str, Any] | None:
        """Return the stored policy as it is spelled, without its manifest; None when there is none.

        Raise InvalidError when it is not valid.
        """
        if self.policy is None:
            return None
        Policy.parse(self.policy, where)
        return {name: value for name, value in json.loads(self.policy).items() if name != "files"}

    @property
    def has_manifest(self) -> bool:
        """Return whether deployments wait for the stored policy's manifest."""
        try:
            return self.policy is not None and Policy.parse(self.policy, "").files is not None
        except InvalidError:
            return False


def plan_publish(tree: Tree, host: str, project: str, wanted: Wanted, listing: Listing) -> Publication:
    """Return what publishing takes, for a listing of the project's keys with values.

    Raise InvalidError for what hosts would refuse, naming host and project.
    """
    where = f"host {host}, project {project}"
    validate(wanted, where)
    stored = _Stored(tree, host, project, listing)
    policy = dict(wanted.policy) if wanted.policy is not None else stored.policy_data(where)
    if policy is None:
        raise InvalidError(f"{where}: the tree has no policy for it yet; give policy with at least deployPath")
    tree.check_watch(policy.get("watch", ()), where)
    files = dict(wanted.files) if wanted.purge else {**stored.files, **wanted.files}
    _refuse_shadows(files, where)
    if policy.get("render"):
        _check_templates(files, where)
    base = tree.project(host, project) + "config.d/"
    edits = [
        Edit(base + path, stored.files.get(path), files.get(path))
        for path in sorted({*files, *stored.files})
        if stored.files.get(path) != files.get(path)
    ]
    edits += [Edit(base + path, content, None) for path, content in stored.bad.items() if wanted.purge]
    key = tree.policy(host, project)
    chunks = _chunks(_with_policy(Edit(key, stored.policy, _same_or_new(policy, wanted, stored)), edits))
    if stored.has_manifest or len(chunks) > 1:
        manifest = {path: sha256(content) for path, content in files.items()}
        value = encode({**policy, "files": manifest})
        if len(value) > MAX_VALUE:
            raise InvalidError(
                f"{where}: the policy with its manifest of {len(files)} files has {len(value)} bytes, allowed are"
                f" {MAX_VALUE}; split the project"
            )
        # It goes first: from then on hosts wait for the last transaction.
        chunks = _chunks(_with_policy(Edit(key, stored.policy, value), edits))
    changes = [edit for chunk in chunks for edit in chunk]
    shown = tuple(edit for edit in changes if edit.before != edit.after)
    return Publication(tuple(_write(chunk) for chunk in chunks), shown, listing.revision)


def _same_or_new(policy: Mapping[str, Any], wanted: Wanted, stored: _Stored) -> bytes:
    """Return the policy's value; one that was not given stays as it is to the byte."""
    if wanted.policy is None and stored.policy is not None:
        return stored.policy
    return encode(policy)


def _with_policy(policy: Edit, edits: list[Edit]) -> list[Edit]:
    """Return the edits, with the policy's first if it changes or files are removed.

    A removal without its policy in the same revision looks like an accident to hosts.
    """
    removes = any(edit.after is None for edit in edits)
    return [policy, *edits] if removes or policy.before != policy.after else edits


def _chunks(edits: list[Edit]) -> list[list[Edit]]:
    """Split edits into transactions that etcd takes."""
    chunks: list[list[Edit]] = []
    size = 0
    for edit in edits:
        cost = len(edit.key.encode()) + len(edit.after or b"") + OVERHEAD
        if not chunks or size + cost > MAX_BYTES or len(chunks[-1]) >= MAX_OPERATIONS:
            chunks.append([])
            size = 0
        chunks[-1].append(edit)
        size += cost
    return chunks


def _write(chunk: list[Edit]) -> Write:
    puts = tuple((edit.key, edit.after) for edit in chunk if edit.after is not None)
    return Write(puts, tuple(edit.key for edit in chunk if edit.after is None))


def plan_withdraw(tree: Tree, host: str, project: str, listing: Listing) -> Publication:
    """Return what removing the policy and all files takes; other keys below the project stay."""
    stored = _Stored(tree, host, project, listing)
    base = tree.project(host, project) + "config.d/"
    edits = [Edit(base + path, content, None) for path, content in sorted({**stored.files, **stored.bad}.items())]
    policy = tree.policy(host, project)
    if stored.policy is not None:
        edits.insert(0, Edit(policy, stored.policy, None))
    if not edits:
        return Publication(revision=listing.revision)
    return Publication((Write(deletes=(policy,), delete_prefixes=(base,)),), tuple(edits))


def publish(
    store: Store, tree: Tree, host: str, project: str, wanted: Wanted | None, *, check: bool = False
) -> Publication:
    """Publish a project for one host, or withdraw it (``wanted`` None); return what that took.

    With ``check`` nothing is written. Idempotent: a tree that is right already is not written.
    Raise InvalidError or StoreError; ConflictError when others keep changing the project meanwhile.
    """
    first: Publication | None = None
    for _unused in range(TRIES):
        listing = store.list(tree.project(host, project))
        plan = (
            plan_withdraw(tree, host, project, listing)
            if wanted is None
            else plan_publish(tree, host, project, wanted, listing)
        )
        first = first or plan
        if check or not plan.writes:
            return replace(first, revision=plan.revision)
        try:
            prefix, policy = tree.project(host, project), tree.policy(host, project)
            return replace(first, revision=_commit(store, plan, listing, prefix, policy))
        except (ConflictError, UnavailableError) as error:
            last: StoreError = error  # read again: it may even have been carried out
    raise last


def _commit(store: Store, plan: Publication, listing: Listing, prefix: str, policy: str) -> int:
    """Carry the transactions out, unless others change the project in between.

    A key that is gone has no revision to compare. A withdrawal is seen all the same, by the policy.
    """
    revision = listing.revision
    of_policy = next((item.revision for item in listing.items if item.key == policy.encode()), 0)
    for write in plan.writes:
        guards = (Guard(prefix, revision), Guard(policy, of_policy, exact=True))
        revision = store.commit(replace(write, guards=guards))
        if any(key == policy for key, _value in write.puts):
            of_policy = revision
    return revision
