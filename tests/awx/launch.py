# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX 24.6.1 takes of a launch, what it ignores, and what it refuses.

The rule that surprises: a field that the template does not prompt for is neither used nor refused. It
is named in ``ignored_fields`` of an answer that is 201 all the same, and the job has the template's value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

# The fields of a launch, each with the template's switch that lets it through.
PROMPTS = {
    "credentials": "ask_credential_on_launch",
    "diff_mode": "ask_diff_mode_on_launch",
    "execution_environment": "ask_execution_environment_on_launch",
    "forks": "ask_forks_on_launch",
    "inventory": "ask_inventory_on_launch",
    "job_tags": "ask_tags_on_launch",
    "job_type": "ask_job_type_on_launch",
    "labels": "ask_labels_on_launch",
    "limit": "ask_limit_on_launch",
    "scm_branch": "ask_scm_branch_on_launch",
    "skip_tags": "ask_skip_tags_on_launch",
    "timeout": "ask_timeout_on_launch",
    "verbosity": "ask_verbosity_on_launch",
}
TEXTS = ("job_tags", "job_type", "limit", "scm_branch", "skip_tags")
NUMBERS = ("execution_environment", "forks", "inventory", "timeout", "verbosity")
LISTS = ("credentials", "labels")


@dataclass
class Launch:
    """What became of the fields of a launch."""

    prompted: dict[str, Any] = field(default_factory=dict)  # used instead of the template's
    ignored: dict[str, Any] = field(default_factory=dict)  # neither used nor refused
    errors: dict[str, Any] = field(default_factory=dict)  # any of them: 400


def judge(template: dict[str, Any], survey: dict[str, Any], known: dict[str, set[int]], body: dict[str, Any]) -> Launch:
    """Sort the fields of a launch; ``known`` are the ids that exist, of credentials, labels and inventories."""
    launch = Launch()
    for name, switch in PROMPTS.items():
        if name in body:
            launch.errors.update(_wrong(name, body[name], known))
            _sort(launch, name, body[name], template, switch)
    given, error = _parsed(body.get("extra_vars", {}))
    if error:
        launch.errors["extra_vars"] = [error]
    _sort_variables(launch, given, template, survey)
    missing = [name for name in ("inventory", "project") if not (template.get(name) or launch.prompted.get(name))]
    if missing:
        launch.errors["resources_needed_to_start"] = [
            f"Job Template {name} is missing or undefined." for name in missing
        ]
    return launch


def questions(template: dict[str, Any], survey: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the questions of the survey; none when it is switched off."""
    return list(survey.get("spec", [])) if template.get("survey_enabled") else []


def offered(template: dict[str, Any], survey: dict[str, Any]) -> dict[str, Any]:
    """Return what GET of a launch says."""
    needed = [question["variable"] for question in questions(template, survey) if question["required"]]
    switches = {switch: template.get(switch, False) for switch in (*PROMPTS.values(), "ask_variables_on_launch")}
    return {
        "can_start_without_user_input": not (needed or any(switches.values())),
        "passwords_needed_to_start": [],
        **switches,
        "survey_enabled": bool(template.get("survey_enabled")),
        "variables_needed_to_start": needed,
        "credential_needed_to_start": False,
        "inventory_needed_to_start": not template.get("inventory"),
        "job_template_data": {key: template[key] for key in ("name", "id", "description")},
        "defaults": {name: template.get(name) for name in ("extra_vars", "limit", "job_tags", "inventory", "job_type")},
    }


def variables(template: dict[str, Any], survey: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """Return the variables of the job: the template's, over them the survey's defaults, over them the launch's."""
    base, _unused = _parsed(template.get("extra_vars") or {})
    defaults = {
        question["variable"]: question["default"]
        for question in questions(template, survey)
        if question.get("default") not in (None, "") and not _wrong_answer(question, question["default"])
    }
    return {**base, **defaults, **launch.prompted.get("extra_vars", {})}


def _sort(launch: Launch, name: str, value: Any, template: dict[str, Any], switch: str) -> None:
    """Take or ignore a field; one that says what the template says anyway is neither."""
    if name in LISTS:
        if not isinstance(value, list):
            return
        before = template.get("summary_fields", {}).get(name, [])
        items = before.get("results", []) if isinstance(before, dict) else before
        value = [number for number in value if number not in {item["id"] for item in items}]
        if not value:
            return
    elif value == template.get(name):
        return
    (launch.prompted if template.get(switch) else launch.ignored)[name] = value


def _sort_variables(launch: Launch, given: dict[str, Any], template: dict[str, Any], survey: dict[str, Any]) -> None:
    """Take the survey's variables, and the others only where variables are prompted for."""
    rest = dict(given)
    accepted, problems = {}, []
    for question in questions(template, survey):
        name = question["variable"]
        if name not in given:
            if question["required"]:
                problems.append(f"'{name}' value missing")
            continue
        value = rest.pop(name)
        wrong = _wrong_answer(question, value)
        if wrong:
            problems.append(wrong)
        else:
            accepted[name] = value
    if problems:
        launch.errors["variables_needed_to_start"] = problems
    if template.get("ask_variables_on_launch"):
        accepted.update(rest)
        rest = {}
    base, _unused = _parsed(template.get("extra_vars") or {})
    rest = {name: value for name, value in rest.items() if base.get(name, rest) != value}
    if accepted:
        launch.prompted["extra_vars"] = accepted
    if rest:
        launch.ignored["extra_vars"] = rest


def _wrong_answer(question: dict[str, Any], value: Any) -> str:
    """Return what is wrong with an answer to a question of the survey, or nothing."""
    name, kind = question["variable"], question["type"]
    if kind in ("text", "textarea", "password"):
        if not isinstance(value, str):
            return f"Value {value} for '{name}' expected to be a string."
        low, high = question.get("min"), question.get("max")
        if low not in ("", None) and len(value) < int(str(low)):
            return f"'{name}' value {value} is too small (length is {len(value)} must be at least {low})."
        if high not in ("", None) and len(value) > int(str(high)):
            return f"'{name}' value {value} is too large (must be no more than {high})."
    elif kind == "integer" and (not isinstance(value, int) or isinstance(value, bool)):
        return f"Value {value} for '{name}' expected to be an integer."
    elif kind == "float" and not isinstance(value, (int, float)):
        return f"Value {value} for '{name}' expected to be a numeric type."
    elif kind in ("multiplechoice", "multiselect"):
        choices = question["choices"]
        choices = choices.splitlines() if isinstance(choices, str) else choices
        if kind == "multiselect" and not isinstance(value, list):
            return f"'{name}' value is expected to be a list."
        for each in value if kind == "multiselect" else [value]:
            if each not in choices:
                return f"Value {each} for '{name}' expected to be one of {choices}."
    return ""


def _wrong(name: str, value: Any, known: dict[str, set[int]]) -> dict[str, list[str]]:
    """Return what is wrong with the type of a field, or nothing; it counts also when the field is ignored."""
    if name in LISTS:
        if not isinstance(value, list):
            return {name: [f'Expected a list of items but got type "{type(value).__name__}".']}
        unknown = [number for number in value if number not in known[name]]
        return {name: [f'Invalid pk "{unknown[0]}" - object does not exist.']} if unknown else {}
    if name in TEXTS and not isinstance(value, str):
        return {name: ["Not a valid string."]}
    if name in NUMBERS and (not isinstance(value, int) or isinstance(value, bool)):
        return {name: ["A valid integer is required."]}
    if name == "inventory" and value not in known["inventories"]:
        return {name: [f'Invalid pk "{value}" - object does not exist.']}
    return {}


def _parsed(given: Any) -> tuple[dict[str, Any], str]:
    """Return variables, which may be a text of JSON or YAML, and what is wrong with them."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except ValueError:
            try:
                given = yaml.safe_load(given)
            except yaml.YAMLError as error:
                return {}, f"Cannot parse as JSON (error: no JSON) or YAML (error: {error})."
    if given is None:
        return {}, ""
    if not isinstance(given, dict):
        return {}, f"Input type `{type(given).__name__}` is not a dictionary"
    return given, ""
