# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates and the values that they see, for tests of what renders them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.watcher.config.plugins.module_utils._core.model import File, Project
from ansible_collections.watcher.config.plugins.module_utils._core.policy import Policy
from ansible_collections.watcher.config.plugins.module_utils._core.render import Renderer, rendered
from ansible_collections.watcher.config.plugins.module_utils._core.values import Values

OWN = "/watcher/web01/a.com/vars/"
VALUES = Values(
    OWN,
    ("/services",),
    {
        OWN + "port": b"80",
        OWN + "db": b'{"z": 1, "a": [1, {"b": "c"}], "n": null, "t": true}',
        OWN + "latin": b"\xfc",
        "/services/web/1": b"10.0.0.1:80",
        "/services/web/2": b"10.0.0.2:80",
    },
)


def project(sources: Mapping[str, str | bytes], /, **policy: Any) -> Project:
    """Return a project with these files that asks for rendering."""
    fields = {"deployPath": "/srv", "render": True, "watch": ["/services"], **policy}
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in sources.items()}
    wanted = {path: File.of(content) for path, content in contents.items()}
    return Project("web01", "a.com", 20, 7, Policy.from_data(fields, "test"), files=wanted, newest=19)


def text(source: str, values: Values = VALUES, **others: str) -> str:
    """Return what a template makes; ``others`` are more templates of its project, by name."""
    done = Renderer().render(project({"x.j2": source, **{f"{name}.j2": body for name, body in others.items()}}), values)
    content = done.files["x"].content
    assert content is not None
    return content.decode()


def error(source: str | bytes, values: Values = VALUES, **others: str) -> str:
    """Return why a template cannot be rendered, without what all such messages begin with."""
    files = {"x.j2": source, **{f"{name}.j2": body for name, body in others.items()}}
    found = rendered(Renderer(), project(files), values).render_error
    assert found.startswith("host web01, project a.com, template ")
    assert len(found.splitlines()) == 1
    return found[len("host web01, project a.com, template ") :]
