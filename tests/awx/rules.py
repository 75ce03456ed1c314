# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX refuses: wrong types, credential types whose injectors do not hold, playbooks that are not there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .schema import Field

Get = Callable[[str, int], "dict[str, Any] | None"]
IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
INPUT_KEYS = {
    "id",
    "label",
    "type",
    "format",
    "choices",
    "help_text",
    "multiline",
    "secret",
    "ask_at_runtime",
    "default",
}
BLOCKED_ENV = {"VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "INVENTORY_SOURCE_ID"}
BLOCKED_SOURCE_VARS = {"HOME", "USER", "_", "TERM", "PATH"}
SURVEY_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("text", "textarea", "password", "multiplechoice", "multiselect"), str),
    "integer": int,
    "float": float,
}


class Refused(Exception):
    """A request that is answered with an error; carries the status and the body."""

    def __init__(self, body: dict[str, Any], status: int = 400) -> None:
        """Keep what to answer."""
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


def checked(name: str, rule: Field, value: Any, get: Get) -> Any:
    """Return a field's value as AWX keeps it; raise Refused."""
    if value is None:
        if rule.required:
            raise Refused({name: ["This field may not be null."]})
        return None if rule.null else rule.default
    if rule.links:
        if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).isdecimal():
            raise Refused({name: [f"Incorrect type. Expected pk value, received {type(value).__name__}."]})
        if get(rule.kind, int(value)) is None:
            raise Refused({name: [f'Invalid pk "{value}" - object does not exist.']})
        return int(value)
    return _plain(name, rule, value)


def _plain(name: str, rule: Field, value: Any) -> Any:
    if rule.kind == "flag":
        if not isinstance(value, bool):
            raise Refused({name: ["Must be a valid boolean."]})
    elif rule.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused({name: ["A valid integer is required."]})
    elif rule.kind == "data":
        if not isinstance(value, dict):
            raise Refused({name: [f"{value!r} is not of type 'object'"]})
    elif not isinstance(value, str):
        raise Refused({name: ["Not a valid string."]})
    elif rule.required and not value:
        raise Refused({name: ["This field may not be blank."]})
    elif rule.choices and value and value not in rule.choices:
        raise Refused({name: [f'"{value}" is not a valid choice.']})
    return value


def credential_type(new: dict[str, Any]) -> None:
    """Check a custom credential type."""
    if new["kind"] not in ("cloud", "net"):
        raise Refused({"kind": [f"Must be 'cloud' or 'net', not {new['kind']}"]})
    _inputs(new["inputs"])
    _injectors(new["injectors"], [each["id"] for each in new["inputs"].get("fields", [])])


def _inputs(inputs: dict[str, Any]) -> None:
    unknown = sorted(set(inputs) - {"fields", "required"})
    if unknown:
        raise Refused({"inputs": [f"Additional properties are not allowed ({unknown[0]!r} was unexpected)"]})
    seen = set()
    for each in inputs.get("fields", []):
        wrong = sorted(set(each) - INPUT_KEYS)
        if wrong:
            raise Refused({"inputs": [f"Additional properties are not allowed ({wrong[0]!r} was unexpected)"]})
        for key in ("id", "label"):
            if not isinstance(each.get(key), str):
                raise Refused({"inputs": [f"{key!r} is a required property"]})
        if not IDENTIFIER.fullmatch(each["id"]) or each["id"] == "tower":
            raise Refused({"inputs": [f"{each['id']} is an invalid variable name"]})
        if each["id"] in seen:
            raise Refused({"inputs": [f"field IDs must be unique ({each['id']})"]})
        seen.add(each["id"])
        if each.setdefault("type", "string") not in ("string", "boolean"):
            raise Refused({"inputs": [f"{each['type']!r} is not one of ['string', 'boolean']"]})


class _Filename:
    """The files of a credential type, by their labels."""

    def __init__(self, labels: list[str]) -> None:
        for label in labels:
            setattr(self, label, "EXAMPLE_FILENAME")


class _Tower:
    """The namespace ``tower`` of an injector."""

    def __init__(self, files: list[str]) -> None:
        if files == ["template"]:
            self.filename: Any = "EXAMPLE_FILENAME"
        elif files:
            self.filename = _Filename([name.partition(".")[2] for name in files])


def _injectors(injectors: dict[str, Any], fields: list[str]) -> None:
    for kind, templates in injectors.items():
        if kind not in ("env", "file", "extra_vars") or not isinstance(templates, dict):
            raise Refused({"injectors": [f"Additional properties are not allowed ({kind!r} was unexpected)"]})
        for name, template in templates.items():
            _injector_name(kind, name)
            if not isinstance(template, str):
                raise Refused({"injectors": [f"{template!r} is not of type 'string'"]})
    files = list(injectors.get("file", {}))
    if "template" in files and len(files) > 1:
        raise Refused({"injectors": ["Must use multi-file syntax when injecting multiple files"]})
    names = {**dict.fromkeys(fields, "EXAMPLE"), "tower": _Tower(files)}
    for kind, templates in injectors.items():
        for name, template in templates.items():
            try:
                ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(names)
            except UndefinedError as error:
                raise Refused({"injectors": [f"{name} uses an undefined field ({error})"]}) from error
            except (SecurityError, TemplateSyntaxError) as error:
                raise Refused(
                    {"injectors": [f"Syntax error rendering template for {name} inside of {kind} ({error})"]}
                ) from error


def _injector_name(kind: str, name: str) -> None:
    if kind == "file" and not re.fullmatch(r"template(\.[a-zA-Z_][a-zA-Z0-9_]*)?", name):
        raise Refused({"injectors": [f"{name!r} does not match any of the regexes: '^template(\\\\.…)?$'"]})
    if kind == "env" and (name.startswith("ANSIBLE_") or name in BLOCKED_ENV):
        raise Refused(
            {
                "injectors": [
                    f"Environment variable {name} may affect Ansible configuration so its use is not allowed in"
                    " credentials."
                ]
            }
        )
    if kind != "file" and not IDENTIFIER.fullmatch(name):
        raise Refused({"injectors": [f"{name!r} does not match any of the regexes"]})


def credential_inputs(inputs: dict[str, Any], kind: dict[str, Any], *, new: bool) -> None:
    """Check a credential's inputs against its type."""
    fields = {each["id"]: each for each in kind["inputs"].get("fields", [])}
    for name, value in inputs.items():
        if name not in fields:
            raise Refused({"inputs": [f"Additional properties are not allowed ({name!r} was unexpected)"]})
        wanted = bool if fields[name].get("type") == "boolean" else str
        if not isinstance(value, wanted):
            raise Refused({"inputs": {name: [f"{value!r} is not of type {fields[name].get('type', 'string')!r}"]}})
        if new and fields[name].get("secret") and value == "$encrypted$":
            raise Refused({"inputs": [f"$encrypted$ is a reserved keyword, and cannot be used for {name}."]})


def project(new: dict[str, Any]) -> None:
    """Check a project."""
    if new["scm_type"] and not new["scm_url"] and new["scm_type"] != "insights":
        raise Refused({"scm_url": ["SCM URL is required."]})
    if not new["scm_type"] and not new["local_path"]:
        raise Refused({"local_path": ["Invalid path choice."]})


def inventory_source(new: dict[str, Any], get: Get) -> None:
    """Check an inventory source."""
    if new["source"] == "scm":
        if new["source_project"] is None:
            raise Refused({"source_project": ["Project required for scm type sources."]})
    else:
        given = [name for name in ("source_project", "source_path", "scm_branch") if new[name]]
        if given:
            raise Refused({"detail": [f"Cannot set {' '.join(given)} if not SCM type."]})
    source = get("projects", new["source_project"]) if new["source_project"] else None
    if new["scm_branch"] and source and not source["allow_override"]:
        raise Refused({"scm_branch": ["Project does not allow overriding branch."]})
    blocked = sorted(BLOCKED_SOURCE_VARS & set(variables("source_vars", new["source_vars"])))
    if blocked:
        raise Refused({"source_vars": [f"`{blocked[0]}` is a prohibited environment variable"]})
    credential = get("credentials", new["credential"]) if new["credential"] else None
    kind = get("credential_types", credential["credential_type"]) if credential else None
    if kind and kind["kind"] in ("ssh", "scm", "vault", "insights"):
        raise Refused(
            {
                "credential": [
                    "Credentials of type machine, source control, insights and vault are disallowed for custom"
                    " inventory sources."
                ]
            }
        )


def job_template(new: dict[str, Any], playbooks: list[str]) -> None:
    """Check a job template; ``playbooks`` are the paths in its project."""
    if new["inventory"] is None and not new["ask_inventory_on_launch"]:
        raise Refused({"inventory": ["You must either set a default value or ask to prompt on launch."]})
    if new["project"] is None:
        raise Refused({"project": ["Job Templates must have a project assigned."]})
    if not new["playbook"]:
        raise Refused({"playbook": ["Must select playbook for project."]})
    if new["playbook"] not in playbooks:
        raise Refused({"playbook": ["Playbook not found for project."]})
    variables("extra_vars", new["extra_vars"])


def template_credential(kind: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Check that a template may have a credential of this type beside those of ``others``."""
    if kind["id"] in [other["id"] for other in others] and kind["kind"] != "vault":
        raise Refused({"error": f"Cannot assign multiple {kind['name']} credentials."})
    if kind["kind"] not in ("ssh", "vault", "cloud", "net", "kubernetes"):
        raise Refused({"error": f"Cannot assign a Credential of kind `{kind['kind']}`."})


def variables(name: str, text: str) -> dict[str, Any]:
    """Return variables that were sent as JSON or YAML; raise Refused."""
    try:
        found = json.loads(text) if text.strip().startswith("{") else yaml.safe_load(text or "{}")
    except (ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict) and text.strip():
        raise Refused({name: ["Cannot parse as JSON or YAML."]})
    return found or {}


def survey(spec: dict[str, Any]) -> None:
    """Check a survey."""
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(name), kind):
            raise Refused({"error": f"Field '{name}' is missing from survey spec."})
    if not spec["spec"]:
        raise Refused({"error": "'spec' doesn't contain any items."})
    seen = set()
    for number, question in enumerate(spec["spec"]):
        for name in ("type", "question_name", "variable", "required"):
            if name not in question:
                raise Refused({"error": f"'{name}' missing from survey question {number}"})
            if not isinstance(question[name], bool if name == "required" else str):
                raise Refused({"error": f"'{name}' in survey question {number} has the wrong type."})
        if question["variable"] in seen:
            raise Refused({"error": f"'variable' '{question['variable']}' duplicated in survey question {number}."})
        seen.add(question["variable"])
        _question(number, question)


def _question(number: int, question: dict[str, Any]) -> None:
    kind, default = question["type"], question.get("default", "")
    if kind not in SURVEY_TYPES:
        raise Refused(
            {"error": f"'{kind}' in survey question {number} is not one of '{', '.join(SURVEY_TYPES)}' allowed types."}
        )
    if default != "" and not isinstance(default, SURVEY_TYPES[kind]):
        raise Refused({"error": f"Default value {default} in survey question {number} expected to be {kind}."})
    for limit in ("min", "max"):
        if question.get(limit) is not None and not isinstance(question[limit], int):
            raise Refused({"error": f"The {limit} limit in survey question {number} expected to be integer."})
    if kind in ("multiplechoice", "multiselect"):
        if "choices" not in question:
            raise Refused({"error": f"Survey question {number} of type {kind} must specify choices."})
        wanted = default.splitlines() if isinstance(default, str) else default
        if any(each not in question["choices"] for each in wanted):
            raise Refused({"error": "Default choice must be answered from the choices listed."})
