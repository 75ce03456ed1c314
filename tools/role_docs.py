# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the table of variables in each role's README.md from its meta/argument_specs.yml.

Exits with 1 where a table was out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN, END = "<!-- variables: made by tools/role_docs.py -->\n", "<!-- end of the variables -->\n"


def plain(text: str) -> str:
    """Return a description with Ansible's markup as Markdown."""
    return re.sub(r"\b[OVC]\(([^)]*)\)", r"`\1`", text)


def row(name: str, option: dict[str, Any]) -> str:
    """Return the line of one variable."""
    description = option["description"]
    texts = [description] if isinstance(description, str) else list(description)
    if option.get("choices"):
        texts.append(f"One of {', '.join(f'`{choice}`' for choice in option['choices'])}.")
    default = option.get("default")
    shown = default if isinstance(default, str) and default else json.dumps(default)
    return f"| `{name}` | {'required' if option.get('required') else f'`{shown}`'} | {plain(' '.join(texts))} |"


def table(role: Path) -> str:
    """Return the table of a role."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(row(name, option) for name, option in options.items()), ""])


def main() -> int:
    """Write the tables."""
    stale = 0
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        text = readme.read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        _old, end, after = rest.partition(END)
        if not begin or not end:
            print(f"{readme} lacks the lines around its table: {BEGIN}{END}", file=sys.stderr)
            return 1
        new = f"{before}{BEGIN}{table(role)}{END}{after}"
        if new != text:
            readme.write_text(new, encoding="utf-8")
            print(f"{readme.relative_to(ROLES.parent)} was out of date and is written anew", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
