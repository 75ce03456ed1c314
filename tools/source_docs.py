# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/docsite/rst/event_sources.rst from the event sources' DOCUMENTATION.

ansible-doc has no plugin type for event sources, but reads them as modules with -M,
which is what galaxy-importer does. Exits with 1 where the page was out of date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "extensions" / "eda" / "plugins" / "event_source"
PAGE = ROOT / "docs" / "docsite" / "rst" / "event_sources.rst"


def paragraphs(text: Any) -> list[str]:
    """Return a description as a list."""
    return [text] if isinstance(text, str) else list(text or [])


def options(table: dict[str, Any], indent: str = "") -> list[str]:
    """Return the lines that document the options."""
    lines = []
    for name, spec in sorted(table.items()):
        kind = spec.get("type", "str")
        if spec.get("elements"):
            kind += f" of {spec['elements']}"
        facts = [kind, "required" if spec.get("required") else f"default: ``{spec.get('default')!r}``"]
        lines += [f"{indent}``{name}`` ({', '.join(facts)})"]
        lines += [f"{indent}  {p}\n" for p in paragraphs(spec["description"])]
        lines += options(spec.get("suboptions") or {}, indent + "  ")
    return lines


def main() -> int:
    """Write the page."""
    names = sorted(p.stem for p in SOURCES.glob("[a-z]*.py"))
    if not names:
        print(f"no event source in {SOURCES.relative_to(ROOT)}", file=sys.stderr)
        return 1
    command = [str(Path(sys.executable).with_name("ansible-doc")), "-M", str(SOURCES), "-j", *names]
    docs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    missing = [name for name in names if not docs.get(name, {}).get("doc")]
    if missing:
        print(f"no DOCUMENTATION that can be read: {', '.join(missing)}", file=sys.stderr)
        return 1
    lines = [".. _ansible_collections.watcher.config.docsite.event_sources:", ""]
    lines += ["Event sources", "=============", ""]
    for name in names:
        doc = docs[name]["doc"]
        title = f"watcher.config.{name}"
        lines += [title, "-" * len(title), "", doc["short_description"] + ".", ""]
        lines += [p + "\n" for p in paragraphs(doc["description"])]
        lines += ["**Options**", "", *options(doc.get("options") or {}), ""]
        lines += ["**Examples**", "", ".. code-block:: yaml", ""]
        lines += ["    " + line if line else "" for line in docs[name]["examples"].strip().splitlines()] + [""]
    text = "\n".join(lines).rstrip() + "\n"
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if text != old:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        print(f"{PAGE.relative_to(ROOT)} was out of date and is written anew", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
