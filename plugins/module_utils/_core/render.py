# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: files of a project that end in ``.j2``, rendered with values of the tree (contract, section 2).

The same on a host and on a controller, to the byte (see `sandbox` for what they may do and how they are read).
A template may include, import and extend others of its project, by their paths below ``config.d/``; one that
others include is deployed, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .errors import DeployError, InvalidError
from .keys import check_path, shown
from .model import File, Project, sha256
from .policy import SUFFIX
from .sandbox import Codes, environment
from .snapshot import above
from .values import Refused, Values

MAX_RENDERED = 8 << 20  # bytes of one file; a value of the tree has 1 MiB at most
MAX_CHECKED = 10_000  # templates whose syntax is known to be good
_good: set[tuple[str, str]] = set()  # those, by path and digest: a publish for many hosts checks each once
MAX_REASON = 500  # characters of what jinja2 says; a template may put a megabyte into it


class Renderer:
    """Renders templates; keeps what it has compiled. Shared by threads."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._codes = Codes()

    def render(self, project: Project, values: Values) -> Project:
        """Return the project with its templates rendered; as it is when its policy does not ask for that.

        A project that differs from the manifest of its policy stays as it is: not all of it may be there yet.
        Raise DeployError that names host, project, file and line.
        """
        policy = project.policy
        if policy is None or not policy.render or project.unmatched:
            return project
        sources = {path: _source(project, path, file) for path, file in project.files.items() if is_template(path)}
        files = {path: file for path, file in project.files.items() if path not in sources}
        files.update(self._rendered(project, sources, values))
        return replace(
            project,
            policy=policy if policy.files is None else replace(policy, files=_digests(files)),
            files=files,
            kept=frozenset(target(path) for path in project.kept),
            published=project.digest,
        )

    def _rendered(self, project: Project, sources: Mapping[str, str], values: Values) -> dict[str, File]:
        if not sources or project.policy is None:
            return {}
        targets = _targets(project, sources)
        context = {"host": project.host, "project": project.name, "policy": project.policy.to_data()}
        try:
            sandbox = environment(sources, values, self._codes)
        except DeployError as error:
            raise DeployError(f"{project.where}, template {min(sources)}: {error}") from None
        return {targets[path]: File.of(_content(project, sandbox, path, context)) for path in sorted(sources)}


def rendered(renderer: Renderer, project: Project, values: Values) -> Project:
    """Return the project with its templates rendered, or with ``render_error``: why they cannot be."""
    try:
        return renderer.render(project, values)
    except DeployError as error:
        return replace(project, render_error=str(error))


def check_syntax(path: str, content: bytes) -> None:
    """Raise InvalidError, which names template and line, for what no host could render, whatever its values are.

    Where jinja2 is missing nothing is checked: hosts need it, who publishes does not.
    """
    name = (path, sha256(content))
    if name in _good:
        return
    try:
        sandbox = environment({path: content.decode("utf-8")}, Values("/"), Codes())
        sandbox.get_template(path)
    except UnicodeDecodeError as error:
        raise InvalidError(f"template {path}: it is not UTF-8 text ({error.reason})") from None
    except DeployError:
        return
    except Exception as error:  # whatever a template brings about is the template's
        _file, line = _place(error, sandbox, path)
        raise InvalidError(f"template {path}, line {line}: {_reason(error, sandbox)}") from error
    if len(_good) >= MAX_CHECKED:
        _good.clear()
    _good.add(name)


def is_template(path: str) -> bool:
    """Return whether a file of a project whose policy says ``render`` is a template."""
    return path.endswith(SUFFIX)


def target(path: str) -> str:
    """Return the path that a file of a project whose policy says ``render`` is deployed to."""
    return path[: -len(SUFFIX)] if is_template(path) else path


def _digests(files: Mapping[str, File]) -> dict[str, str]:
    return {path: file.digest for path, file in files.items()}


def _source(project: Project, path: str, file: File) -> str:
    if file.content is None:
        raise DeployError(f"{project.where}, template {path}: its content is not at hand")
    try:
        return file.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeployError(f"{project.where}, template {path}: it is not UTF-8 text ({error.reason})") from None


def _targets(project: Project, sources: Iterable[str]) -> dict[str, str]:
    """Return where each template is deployed; raise DeployError where that cannot be."""
    takers: dict[str, str] = {}  # paths and folders that are needed, with the file that needs them
    for path in project.files:
        for folder in above(target(path)):
            takers.setdefault(folder, path)
    plain = {path: path for path in project.files if not is_template(path)}
    found = {}
    for path in sorted(sources):
        found[path] = target(path)
        where = f"{project.where}, template {path}"
        try:
            check_path(found[path])
        except InvalidError as error:
            raise DeployError(f"{where}: without {SUFFIX}, {error}") from None
        twins = [plain.get(found[path]), takers.get(found[path]), *map(plain.get, above(found[path]))]
        for twin in filter(None, twins):
            raise DeployError(f"{where}: it would be deployed as {found[path]}, which {twin} is in the way of")
    return found


def _content(project: Project, sandbox: Any, path: str, context: Mapping[str, Any]) -> bytes:
    content = bytearray()
    try:
        template = sandbox.get_template(path)
        for part in template.root_render_func(template.new_context(dict(context))):
            content += part.encode("utf-8")
            if len(content) > MAX_RENDERED:
                raise Refused(f"it becomes larger than {MAX_RENDERED} bytes")
    except Exception as error:  # whatever a template brings about is the template's
        file, line = _place(error, sandbox, path)
        raise DeployError(f"{project.where}, template {file}, line {line}: {_reason(error, sandbox)}") from error
    return bytes(content)


def _place(error: Exception, sandbox: Any, path: str) -> tuple[str, int]:
    """Return the template and the line that an error comes from, which may be an included one's."""
    if isinstance(error, sandbox.syntax_error):
        return getattr(error, "name", None) or path, int(getattr(error, "lineno", 1))
    place = (path, 1)
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            place = (template.name, template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return place


def _reason(error: Exception, sandbox: Any) -> str:
    """Return what is wrong, in one line."""
    if isinstance(error, sandbox.not_found):
        return f"template {shown(str(error))[:MAX_REASON]!r} is not in the project"
    if isinstance(error, RecursionError):
        return "it calls or includes itself without end, or is nested too deeply"
    text = " ".join(shown(str(error)[:MAX_REASON]).split())
    if isinstance(error, (Refused, sandbox.template_error)) and text:
        return text
    return f"{text} ({type(error).__name__})" if text else type(error).__name__
