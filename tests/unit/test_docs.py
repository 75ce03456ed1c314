# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.watcher.config.plugins.module_utils._core.metrics import Facts, Metrics
from ansible_collections.watcher.config.plugins.module_utils._core.settings import NAMES, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "docsite" / "rst" / "agent.rst"


def rows(section: str) -> list[list[str]]:
    """Return the cells of the table of a section of the page, without its head."""
    parts = re.split(r"^(.+)\n-{3,}\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: list[list[str]] = []
    for line in parts[parts.index(section) + 1].splitlines():
        cell = re.fullmatch(r"   (\*| ) -( .*)?", line)
        if cell and cell[1] == "*":
            found.append([])
        if cell:
            found[-1].append((cell[2] or "").strip().strip("`"))
    return found[1:]


def test_ini_table() -> None:
    """Each name of each section is there, in the order of the program, and nothing else."""
    listed: list[tuple[str, str]] = []
    for section, name, *_rest in rows("The INI file"):
        listed.append((section.strip("[]") or listed[-1][0], name))
    assert listed == [(section, name) for section, names in NAMES.items() for name in names]


def test_ini_defaults(tmp_path: Path) -> None:
    """An INI file that says all defaults of the table gives the settings of an empty one."""
    told = []
    for section, name, default, _meaning in rows("The INI file"):
        if section:
            told.append(section)
        if re.fullmatch(r"[a-z0-9./:]+", default) and default not in ("none", "off"):
            told.append(f"{name} = {default}")
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.write_text("\n".join(told))
    empty.write_text("\n".join(f"[{name}]" for name in NAMES))
    assert len(told) >= 16
    first, second = (Settings.load(str(path)) for path in (full, empty))
    names = ("host", "force", "state_dir", "resync", "connection", "logs", "heartbeat", "metrics")
    assert [getattr(first, name) for name in names] == [getattr(second, name) for name in names]
    assert (first.rules.roots, first.rules.commands, first.rules.run_as) == ((), (), "")


def test_pages_are_listed() -> None:
    """Each page is in the table of contents, once."""
    sections = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text(encoding="utf-8"))["sections"]
    listed = [page for section in sections for page in section["toctree"]]
    assert sorted(listed) == sorted(path.stem for path in PAGE.parent.glob("*.rst"))


def test_metrics_table(tmp_path: Path) -> None:
    """Each metric is there with its type, and nothing else."""
    file = tmp_path / "watcher.prom"
    facts = Facts(lags={"a.com": 1}, projects={"deployed": 1})
    metrics = Metrics(lambda: facts, host="web01", version="1", textfile=str(file))
    metrics.start()
    text = file.read_text(encoding="utf-8")
    metrics.close()
    listed = {(re.sub(r"\{.*", "", name), kind) for name, kind, _meaning in rows("Metrics")}
    assert listed == set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("role", "important"),
    [
        ("agent", {"agent_endpoints", "agent_deploy_roots", "agent_commands"}),
        ("rulebook", {"rulebook_name", "rulebook_standby"}),
    ],
)
def test_variables_of_roles(role: str, important: set[str]) -> None:
    """Each variable of a role that README.md and the pages name is one."""
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *PAGE.parent.glob("*.rst"))]
    named = {name for text in texts for name in re.findall(rf"\b{role}_[a-z_]+(?!\.|/|\w)", text)}
    assert important <= named <= set(options)


def test_variables_of_awx() -> None:
    """The page names each variable that the playbook awx.yml reads, and no other."""
    playbooks = ROOT / "playbooks"
    files = [
        playbooks / "awx.yml",
        *(playbooks / "vars").glob("awx*.yml"),
        *(playbooks / "tasks" / "awx").glob("*.yml"),
    ]
    read = {name for path in files for name in re.findall(r"\bawx_[a-z_]+", path.read_text(encoding="utf-8"))}
    page = (PAGE.parent / "awx.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"\bawx_[a-z_]+", page)) == read
    assert len(files) > 2
