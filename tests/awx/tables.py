# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWX's objects in memory, behind its generic REST rules: lists with filters, creation, change, association, roles.

Stricter than AWX in one thing: a field that does not exist is refused, where AWX drops it without a word.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from . import rules
from .rules import Refused
from .schema import KINDS, MANAGED_TYPES, Field

VERSION = "24.6.1"
PLAYBOOK = re.compile(r"^\s*?-?\s*?(?:hosts|(?:ansible\.builtin\.)?import_playbook):", re.MULTILINE)
PAGE_SIZE, MAX_PAGE_SIZE = 25, 200
OPERATORS = ("exact", "iexact", "in", "contains", "icontains", "startswith", "isnull")
FORBIDDEN = {"detail": "You do not have permission to perform this action."}
NOT_FOUND = {"detail": "Not found."}
SECRET = "$encrypted$"
# Lists of people that are a role's members, by other names.
ROLE_LISTS = {
    ("teams", "users"): "member_role",
    ("organizations", "users"): "member_role",
    ("organizations", "admins"): "admin_role",
}
Answer = tuple[int, Any]
Row = dict[str, Any]


class Tables:
    """The objects of one AWX; all methods may be called from any thread."""

    def __init__(self) -> None:
        """Have what each fresh AWX has."""
        self.lock = threading.RLock()
        self.playbooks: list[str] = []  # paths in the project; every project has the same
        self._rows: dict[str, dict[int, Row]] = {kind: {} for kind in KINDS}
        self._links: dict[tuple[str, int, str], list[int]] = {}
        self._surveys: dict[int, Row] = {}
        self._last = 0
        self.add("users", username="admin", is_superuser=True)
        organization = self.add("organizations", name="Default", description="The default organization")["id"]
        self.add("execution_environments", name="AWX EE (latest)", image="awx-ee:latest", managed=True)
        types = {}
        for name, kind, namespace, fields, secrets in MANAGED_TYPES:
            inputs = [{"id": each, "label": each, "type": "string", "secret": each in secrets} for each in fields]
            types[kind] = self.add(
                "credential_types", name=name, kind=kind, namespace=namespace, managed=True, inputs={"fields": inputs}
            )["id"]
        galaxy = self.add("credentials", name="Ansible Galaxy", credential_type=types["galaxy"], managed=True)["id"]
        self.link("organizations", organization, "galaxy_credentials", galaxy)

    # What the server and the tests use.

    def scan(self, checkout: Path) -> None:
        """Let the projects have the playbooks of a checkout."""
        self.playbooks = playbooks(checkout)

    def add(self, segment: str, /, **fields: Any) -> Row:
        """Add an object, as nobody in particular; values are checked, AWX's further rules are not."""
        with self.lock:
            values = self._values(segment, {}, fields, everything=True)
            return self._shown(segment, self._store(segment, values))

    def get(self, kind: str, number: int) -> Row | None:
        """Return an object as GET shows it, or None."""
        with self.lock:
            row = self._rows[kind].get(int(number))
            return self._shown(kind, row) if row else None

    def find(self, segment: str, /, **fields: Any) -> list[Row]:
        """Return all objects of a segment with these values, as GET shows them."""
        with self.lock:
            return [
                self._shown(segment, row)
                for row in self._rows[segment].values()
                if all(row[name] == value for name, value in fields.items())
            ]

    def one(self, segment: str, /, **fields: Any) -> Row:
        """Return the one object of a segment with these values; AssertionError when there is not exactly one."""
        found = self.find(segment, **fields)
        assert len(found) == 1, f"{len(found)} {segment} with {fields}"
        return found[0]

    def linked(self, kind: str, number: int, relation: str) -> list[int]:
        """Return the ids of what is associated with an object, in the order of association."""
        with self.lock:
            return list(self._links.get(self._key(kind, number, relation), []))

    def link(self, kind: str, number: int, relation: str, other: int) -> None:
        """Associate an object with another one, without checks."""
        with self.lock:
            known = self._links.setdefault(self._key(kind, number, relation), [])
            if other not in known:
                known.append(other)

    def survey(self, template: int) -> Row:
        """Return a job template's survey; empty where there is none."""
        with self.lock:
            return copy.deepcopy(self._surveys.get(int(template), {}))

    def password(self, user: int) -> str:
        """Return a user's password."""
        with self.lock:
            return str(self._rows["users"][user]["password"])

    def secret_inputs(self, credential: int) -> dict[str, Any]:
        """Return a credential's inputs, secrets in clear."""
        with self.lock:
            return copy.deepcopy(self._rows["credentials"][int(credential)]["inputs"])

    def holds(self, user: int, role: str, kind: str, number: int) -> bool:
        """Return whether a user has a role of an object: as superuser, in person, by a team or by another role."""
        with self.lock:
            if self._rows["users"][user]["is_superuser"]:
                return True
            row = self._rows[kind].get(int(number))
            if row is None:
                return False
            having = [role, "admin_role"] if role != "read_role" else list(KINDS[kind].roles)
            if any(self._has(user, each, kind, row["id"]) for each in having):
                return True
            organization = row.get("organization") if kind != "organizations" else None
            if organization is None:
                return False
            wanted = ["admin_role", *(["execute_role"] if kind == "job_templates" and role == "execute_role" else [])]
            return any(self._has(user, each, "organizations", organization) for each in wanted)

    def rest(self, method: str, segments: list[str], query: Mapping[str, str], body: Any, user: Row) -> Answer:
        """Return status and body of a request below ``/api/v2/`` by a user who has proved to be that user."""
        with self.lock:
            try:
                return self._route(method, [each for each in segments if each], query, body, user)
            except Refused as refused:
                return refused.status, refused.body

    # Requests.

    def _route(self, method: str, segments: list[str], query: Mapping[str, str], body: Any, user: Row) -> Answer:
        fixed = {
            "ping": {"version": VERSION, "active_node": "awx", "instances": [], "ha": False},
            "config": {"version": VERSION, "license_info": {"license_type": "open", "product_name": "AWX"}},
        }
        if segments and segments[0] in fixed and method == "GET":
            return 200, fixed[segments[0]]
        if segments == ["me"] and method == "GET":
            return 200, _page([self._shown("users", self._rows["users"][user["id"]])], {}, "/api/v2/me/")
        if segments == ["unified_job_templates"] and method == "GET":
            return 200, self._templates(query, user)
        if not segments or segments[0] not in KINDS:
            return 404, NOT_FOUND
        if method in ("POST", "PUT", "PATCH") and not isinstance(body, dict):
            return 400, {"detail": "JSON parse error - not a JSON object"}
        kind = segments[0]
        if len(segments) == 1:
            return self._collection(method, kind, query, body, user)
        row = self._rows[kind].get(int(segments[1])) if segments[1].isdecimal() else None
        if row is None:
            return 404, NOT_FOUND
        if len(segments) == 2:
            return self._object(method, kind, row, body, user)
        return self._below(method, kind, row, segments[2], query, body, user)

    def _collection(self, method: str, kind: str, query: Mapping[str, str], body: Row, user: Row) -> Answer:
        if method == "GET":
            rows = [row for row in self._rows[kind].values() if self._may_read(user, kind, row)]
            found = [self._shown(kind, row) for row in rows if self._matches(kind, row, query)]
            return 200, _page(found, query, f"/api/v2/{kind}/")
        if method != "POST" or kind in ("roles", "project_updates"):
            return 405, {"detail": f'Method "{method}" not allowed.'}
        return 201, self._create(kind, body, user)

    def _templates(self, query: Mapping[str, str], user: Row) -> Row:
        """Return a page of everything that can be launched or updated."""
        found = []
        for kind in ("projects", "job_templates"):
            rows = [row for row in self._rows[kind].values() if self._may_read(user, kind, row)]
            found += [self._shown(kind, row) for row in rows if self._matches(kind, row, query)]
        return _page(found, query, "/api/v2/unified_job_templates/")

    def _create(self, kind: str, body: Row, user: Row) -> Row:
        values = self._values(kind, {}, body)
        self._check(kind, values, None)
        if not self._may_write(user, kind, values):
            raise Refused(FORBIDDEN, 403)
        row = self._store(kind, values)
        started = self._update_project(row) if kind == "projects" and row["scm_type"] else None
        shown = self._shown(kind, row)
        if started:
            shown["summary_fields"]["current_update"] = started
        return shown

    def _object(self, method: str, kind: str, row: Row, body: Row, user: Row) -> Answer:
        if not self._may_read(user, kind, row) or (method != "GET" and not self._may_write(user, kind, row)):
            return 403, FORBIDDEN
        if method == "GET":
            return 200, self._shown(kind, row)
        if method == "DELETE":
            self._delete(kind, row)
            return 204, None
        if method not in ("PATCH", "PUT"):
            return 405, {"detail": f'Method "{method}" not allowed.'}
        values = self._values(kind, row, body)
        self._check(kind, values, row)
        old = dict(row)
        row.update(values)
        shown = self._shown(kind, row)
        if kind == "projects" and any(old[name] != row[name] for name in row if name.startswith("scm_")):
            shown["summary_fields"]["current_update"] = self._update_project(row)
        return 200, shown

    def _below(
        self, method: str, kind: str, row: Row, name: str, query: Mapping[str, str], body: Row, user: Row
    ) -> Answer:
        """Answer a request for what belongs to an object."""
        if method == "GET" and not self._may_read(user, kind, row):
            return 403, FORBIDDEN
        if method != "GET" and not self._may_write(user, kind, row):
            return 403, FORBIDDEN
        here = f"/api/v2/{kind}/{row['id']}/{name}/"
        if (kind, name) == ("job_templates", "survey_spec"):
            return self._survey(method, row, body)
        if (kind, name, method) == ("projects", "update", "POST"):
            return 202, self._update_project(row)
        if name == "object_roles" and method == "GET":
            roles = [each for each in self._rows["roles"].values() if _content(each) == (kind, row["id"])]
            return 200, _page([self._shown("roles", each) for each in roles], query, here)
        other = KINDS[kind].relations.get(name)
        if other is None:
            return 404, NOT_FOUND
        if method == "GET":
            numbers = self.linked(kind, row["id"], name)
            return 200, _page([self._shown(other, self._rows[other][each]) for each in numbers], query, here)
        if method != "POST":
            return 405, {"detail": f'Method "{method}" not allowed.'}
        return self._associate(kind, row, name, other, body, user)

    def _associate(self, kind: str, row: Row, name: str, other: str, body: Row, user: Row) -> Answer:
        if "id" not in body:
            if name != "labels":
                return 400, {"msg": '"id" field is missing.'}
            same = self.find("labels", name=body.get("name"), organization=body.get("organization"))
            made = same[0] if same else self._create("labels", body, user)
            self.link(kind, row["id"], name, made["id"])
            return 201, made
        number = int(body["id"])
        if number not in self._rows[other]:
            return 400, {"msg": "Object with that id does not exist."}
        if body.get("disassociate"):
            self._links[self._key(kind, row["id"], name)] = [
                each for each in self.linked(kind, row["id"], name) if each != number
            ]
            return 204, None
        self._check_association(kind, row, name, self._rows[other][number])
        self.link(kind, row["id"], name, number)
        return 204, None

    def _survey(self, method: str, row: Row, body: Row) -> Answer:
        if method == "GET":
            return 200, self.survey(row["id"])
        if method == "DELETE":
            self._surveys.pop(row["id"], None)
            return 200, {}
        rules.survey(body)
        self._surveys[row["id"]] = copy.deepcopy(body)
        return 200, {}

    # Rules.

    def _values(self, kind: str, old: Row, given: Row, *, everything: bool = False) -> Row:
        """Return an object's fields after a request; ``everything``: also those that requests cannot set."""
        fields = KINDS[kind].fields
        unknown = sorted(set(given) - {*fields, "name"})
        if unknown:
            raise Refused({unknown[0]: ["There is no such field."]})
        values: Row = {}
        for name, rule in fields.items():
            if name in given and (rule.editable or everything):
                values[name] = rules.checked(name, rule, copy.deepcopy(given[name]), self.get)
            elif name in old:
                values[name] = old[name]
            elif rule.required:
                raise Refused({name: ["This field is required."]})
            else:
                values[name] = {} if rule.kind == "data" else rule.default
        if kind == "credentials":
            kept = old.get("inputs", {})
            values["inputs"] = {
                name: kept[name] if value == SECRET and name in kept else value
                for name, value in values["inputs"].items()
            }
        if kind == "job_templates" and values["project"]:
            values["organization"] = self._rows["projects"][values["project"]]["organization"]
        return values

    def _check(self, kind: str, values: Row, old: Row | None) -> None:
        """Check what depends on more than one field; raise Refused."""
        self._check_unique(kind, values, old)
        if kind == "credential_types":
            if old and old["managed"]:
                raise Refused(FORBIDDEN, 403)
            rules.credential_type(values)
            used = old and any(each["credential_type"] == old["id"] for each in self._rows["credentials"].values())
            if old and used and values["inputs"] != old["inputs"]:
                said = "Modifications to inputs are not allowed for credential types that are in use"
                raise Refused({"detail": said}, 403)
        elif kind == "credentials":
            if old is None and not any(values[name] for name in ("organization", "user", "team")):
                raise Refused({"detail": ["Missing 'user', 'team', or 'organization'."]})
            typed = self._rows["credential_types"][values["credential_type"]]
            rules.credential_inputs(values["inputs"], typed, new=old is None)
        elif kind == "projects":
            rules.project(values)
        elif kind == "inventories":
            rules.variables("variables", values["variables"])
        elif kind == "inventory_sources":
            rules.inventory_source(values, self.get)
        elif kind == "job_templates":
            rules.job_template(values, self.playbooks)

    def _check_unique(self, kind: str, values: Row, old: Row | None) -> None:
        unique = KINDS[kind].unique
        for row in self._rows[kind].values():
            if unique and row is not old and all(row[name] == values[name] for name in unique):
                label = KINDS[kind].type.replace("_", " ").capitalize()
                raise Refused({"__all__": [f"{label} with this ({', '.join(unique)}) combination already exists."]})

    def _check_association(self, kind: str, row: Row, name: str, other: Row) -> None:
        if (kind, name) == ("job_templates", "credentials"):
            types = self._rows["credential_types"]
            there = [self._rows["credentials"][each] for each in self.linked(kind, row["id"], name)]
            rules.template_credential(
                types[other["credential_type"]],
                [types[each["credential_type"]] for each in there if each is not other],
            )
        if (kind, name) == ("organizations", "galaxy_credentials"):
            found = self._rows["credential_types"][other["credential_type"]]
            if found["kind"] != "galaxy":
                raise Refused({"msg": f"Credential must be a Galaxy credential, not {found['name']}."})
        if (kind, name) == ("roles", "teams"):
            where, number = _content(row)
            if where == "organizations" and row["role_field"] in ("member_role", "admin_role"):
                raise Refused(
                    {"msg": "You cannot assign an Organization participation role as a child role for a Team."}
                )
            if where == "credentials" and self._rows[where][number]["organization"] != other["organization"]:
                raise Refused(
                    {
                        "msg": "You cannot grant credential access to a team when the Organization field isn't set, or"
                        " belongs to a different organization"
                    }
                )

    # Rights.

    def _may_read(self, user: Row, kind: str, row: Row) -> bool:
        number = user["id"]
        if self._rows["users"][number]["is_superuser"] or kind in ("credential_types", "execution_environments"):
            return True
        if kind == "labels":
            templates = (each for each in self._rows["job_templates"] if row["id"] in self.linked(*_labels(each)))
            return self.holds(number, "read_role", "organizations", row["organization"]) or any(
                self.holds(number, "read_role", "job_templates", each) for each in templates
            )
        if kind == "users":
            return bool(row["id"] == number)
        return bool(KINDS[kind].roles) and self.holds(number, "read_role", kind, row["id"])

    def _may_write(self, user: Row, kind: str, row: Row) -> bool:
        number = user["id"]
        if self._rows["users"][number]["is_superuser"]:
            return True
        if kind == "labels":
            return self.holds(number, "member_role", "organizations", row["organization"])
        organization = row.get("id") if kind == "organizations" else row.get("organization")
        return organization is not None and self.holds(number, "admin_role", "organizations", organization)

    def _has(self, user: int, role: str, kind: str, number: int) -> bool:
        """Return whether a user has just that role, in person or by a team."""
        known = self._role(kind, number, role)
        if known is None:
            return False
        if user in self._links.get(("roles", known, "users"), []):
            return True
        return any(
            self._has(user, each, "teams", team)
            for team in self._links.get(("roles", known, "teams"), [])
            for each in ("member_role", "admin_role")
        )

    def _role(self, kind: str, number: int, role: str) -> int | None:
        wanted = kind, int(number), role
        found = (row["id"] for row in self._rows["roles"].values() if (*_content(row), row["role_field"]) == wanted)
        return next(found, None)

    # Storage.

    def _key(self, kind: str, number: int, relation: str) -> tuple[str, int, str]:
        role = ROLE_LISTS.get((kind, relation))
        if role is None:
            return kind, int(number), relation
        known = self._role(kind, number, role)
        assert known is not None, f"{kind} {number} has no {role}"
        return "roles", known, "users"

    def _store(self, kind: str, values: Row) -> Row:
        self._last += 1
        now = datetime.now(timezone.utc).isoformat()
        row = {"id": self._last, **values, "created": now, "modified": now}
        self._rows[kind][row["id"]] = row
        for role in KINDS[kind].roles:
            label = role.removesuffix("_role").replace("_", " ").title()
            values = {"name": label, "role_field": role, "content_kind": kind, "content_id": row["id"]}
            self._store("roles", values)
        return row

    def _delete(self, kind: str, row: Row) -> None:
        del self._rows[kind][row["id"]]
        self._links = {key: [each for each in found if each != row["id"]] for key, found in self._links.items()}
        for role in [each for each in self._rows["roles"].values() if _content(each) == (kind, row["id"])]:
            del self._rows["roles"][role["id"]]

    def _update_project(self, project: Row) -> Row:
        """Fetch a project, which takes no time here, and return the update."""
        project.update(status="successful", scm_revision="0" * 40)
        values = {"name": project["name"], "project": project["id"], "scm_revision": project["scm_revision"]}
        update = self.add(
            "project_updates", **values, status="successful", finished=datetime.now(timezone.utc).isoformat()
        )
        return update

    def _shown(self, kind: str, row: Row) -> Row:
        """Return an object as GET shows it."""
        about, here = KINDS[kind], f"/api/v2/{kind}/{row['id']}/"
        linked = {name: rule for name, rule in about.fields.items() if rule.links and row[name] is not None}
        related = {
            **{name: f"/api/v2/{rule.kind}/{row[name]}/" for name, rule in linked.items()},
            **{name: f"{here}{name}/" for name in about.relations},
        }
        summary: Row = {name: self._summary(rule, row[name]) for name, rule in linked.items()}
        if about.roles:
            summary["object_roles"] = {role: self._role_summary(kind, row["id"], role) for role in about.roles}
        if kind == "job_templates":
            related |= {name: f"{here}{name}/" for name in ("launch", "survey_spec", "jobs")}
            labels = [self._rows["labels"][each] for each in self.linked(*_labels(row["id"]))]
            summary["labels"] = {
                "count": len(labels),
                "results": [{"id": each["id"], "name": each["name"]} for each in labels],
            }
        if kind == "projects":
            related["update"] = f"{here}update/"
        if kind == "roles":
            content_kind, number = _content(row)
            content = self._rows[content_kind].get(number, {})
            summary |= {"resource_name": content.get("name"), "resource_type": KINDS[content_kind].type}
        own = copy.deepcopy({name: value for name, value in row.items() if name != "password"})
        if kind == "credentials":
            own["inputs"] = self._hidden(row)
        return {"type": about.type, "url": here, "related": related, "summary_fields": summary, **own}

    def _summary(self, rule: Field, number: int) -> Row:
        row = self._rows[rule.kind].get(number, {})
        return {name: row[name] for name in ("id", "name", "username", "description") if name in row}

    def _role_summary(self, kind: str, number: int, role: str) -> Row:
        known = self._role(kind, number, role)
        assert known is not None
        return {"id": known, "name": self._rows["roles"][known]["name"], "description": ""}

    def _hidden(self, row: Row) -> Row:
        fields = self._rows["credential_types"][row["credential_type"]]["inputs"].get("fields", [])
        secret = {each["id"] for each in fields if each.get("secret")}
        return {name: SECRET if name in secret and value else value for name, value in row["inputs"].items()}

    # Filters.

    def _matches(self, kind: str, row: Row, query: Mapping[str, str]) -> bool:
        own = {name: value for name, value in query.items() if name not in ("page", "page_size", "order_by", "format")}
        either = {name.removeprefix("or__"): value for name, value in own.items() if name.startswith("or__")}
        every = {name: value for name, value in own.items() if not name.startswith("or__")}
        return all(self._match(kind, row, name, value) for name, value in every.items()) and (
            not either or any(self._match(kind, row, name, value) for name, value in either.items())
        )

    def _match(self, kind: str, row: Row, name: str, value: str) -> bool:
        path = name.split("__")
        operator = path.pop() if path[-1] in OPERATORS else "exact"
        return any(_compare(found, operator, value) for found in self._reach(kind, row, path))

    def _reach(self, kind: str, row: Row, path: list[str]) -> Iterator[Any]:
        """Yield the values that a filter's path leads to."""
        name, rest = path[0], path[1:]
        fields, relations = KINDS[kind].fields, KINDS[kind].relations
        if name in relations:
            for each in self.linked(kind, row["id"], name):
                yield from self._reach(relations[name], self._rows[relations[name]][each], rest or ["id"])
        elif name in fields and fields[name].links and rest:
            if row[name] is not None:
                yield from self._reach(fields[name].kind, self._rows[fields[name].kind][row[name]], rest)
        elif not rest and (name in fields or name in ("id", "created", "modified")) and name != "password":
            yield row[name]
        else:
            raise Refused({"detail": f"{KINDS[kind].type} has no field named '{name}'"})


def playbooks(checkout: Path) -> list[str]:
    """Return the paths below a checkout that AWX takes for playbooks."""
    found = []
    for path in sorted([*checkout.rglob("*.yml"), *checkout.rglob("*.yaml")]):
        parts = path.relative_to(checkout).parts
        hidden = any(part.startswith(".") or part in ("roles", "tasks", "group_vars", "host_vars") for part in parts)
        if not hidden and PLAYBOOK.search(path.read_text(encoding="utf-8", errors="replace")):
            found.append("/".join(parts))
    return found


def _content(role: Row) -> tuple[str, int]:
    return role["content_kind"], role["content_id"]


def _labels(template: int) -> tuple[str, int, str]:
    return "job_templates", template, "labels"


def _compare(found: Any, operator: str, wanted: str) -> bool:
    if operator == "isnull":
        return (found is None) == (wanted.lower() in ("true", "1"))
    text = str(found).lower() if isinstance(found, bool) else str(found)
    if isinstance(found, bool):
        wanted = {"1": "true", "0": "false"}.get(wanted, wanted.lower())
    if operator == "in":
        return text in wanted.split(",")
    if operator in ("iexact", "icontains"):
        text, wanted = text.lower(), wanted.lower()
    if operator in ("contains", "icontains"):
        return wanted in text
    return text.startswith(wanted) if operator == "startswith" else text == wanted


def _page(rows: list[Row], query: Mapping[str, str], here: str) -> Row:
    """Return one page of a list; raise Refused for a page that there is not."""
    order = query.get("order_by", "id")
    rows = sorted(rows, key=lambda row: row.get(order.lstrip("-"), 0), reverse=order.startswith("-"))
    size = min(int(query.get("page_size", PAGE_SIZE)), MAX_PAGE_SIZE)
    page = int(query.get("page", 1))
    if page < 1 or (page > 1 and (page - 1) * size >= len(rows)):
        raise Refused({"detail": "Invalid page."}, 404)

    def url(number: int) -> str | None:
        there = number >= 1 and (number - 1) * size < len(rows)
        return f"{here}?{urlencode({**query, 'page': number})}" if there else None

    return {
        "count": len(rows),
        "next": url(page + 1),
        "previous": url(page - 1),
        "results": rows[(page - 1) * size : page * size],
    }
