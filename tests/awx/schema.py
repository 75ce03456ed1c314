# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of AWX 24.6.1 that the collection deals with: their fields, defaults, roles and associations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Field:
    """One field: ``kind`` is text, flag, number, data (a JSON object) or the URL segment of what it links to."""

    kind: str = "text"
    default: Any = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    null: bool = False
    editable: bool = True  # a value for a field that is not is taken and dropped, as by AWX

    @property
    def links(self) -> bool:
        """Return whether the value is another object's id."""
        return self.kind not in ("text", "flag", "number", "data")


@dataclass(frozen=True)
class Kind:
    """One kind of object: what its ``type`` says, its fields, what is unique, who may do what, what it has many of."""

    type: str
    fields: dict[str, Field]
    unique: tuple[str, ...] = ("name",)
    roles: tuple[str, ...] = ()
    relations: dict[str, str] = field(default_factory=dict)  # name -> the kind of what is associated
    identity: str = "name"


NAME = Field(required=True)
TEXT = Field()
OFF = Field("flag", False)
ON = Field("flag", True)
ZERO = Field("number", 0)
READ_ONLY = Field(editable=False)
SET = "admin_role", "use_role", "read_role"


def link(kind: str, *, required: bool = False, editable: bool = True) -> Field:
    """Return a field with the id of an object of that kind."""
    return Field(kind, None, required=required, null=not required, editable=editable)


def choice(*choices: str, default: str = "", required: bool = False) -> Field:
    """Return a field with one of some words."""
    return Field(default=default, choices=choices, required=required)


PROMPTS = (
    *("scm_branch", "diff_mode", "variables", "limit", "tags", "skip_tags", "job_type", "verbosity", "inventory"),
    *("credential", "execution_environment", "labels", "forks", "job_slice_count", "timeout", "instance_groups"),
)

KINDS = {
    "organizations": Kind(
        "organization",
        {
            "name": NAME,
            "description": TEXT,
            "max_hosts": ZERO,
            "default_environment": link("execution_environments"),
        },
        roles=(
            *("admin_role", "execute_role", "project_admin_role", "inventory_admin_role", "credential_admin_role"),
            *("job_template_admin_role", "execution_environment_admin_role"),
            *("auditor_role", "member_role", "read_role", "approval_role"),
        ),
        relations={"galaxy_credentials": "credentials", "users": "users", "admins": "users"},
    ),
    "teams": Kind(
        "team",
        {"name": NAME, "description": TEXT, "organization": link("organizations", required=True)},
        unique=("organization", "name"),
        roles=("admin_role", "member_role", "read_role"),
        relations={"users": "users"},
    ),
    "users": Kind(
        "user",
        {
            "username": NAME,
            "first_name": TEXT,
            "last_name": TEXT,
            "email": TEXT,
            "password": TEXT,  # write-only
            "is_superuser": OFF,
            "is_system_auditor": OFF,
        },
        unique=("username",),
        identity="username",
    ),
    "credential_types": Kind(
        "credential_type",
        {
            "name": NAME,
            "description": TEXT,
            "kind": Field(required=True),
            "namespace": Field(default=None, null=True, editable=False),
            "managed": Field("flag", False, editable=False),
            "inputs": Field("data"),
            "injectors": Field("data"),
        },
        unique=("name", "kind"),
    ),
    "credentials": Kind(
        "credential",
        {
            "name": NAME,
            "description": TEXT,
            "organization": link("organizations"),
            "credential_type": link("credential_types", required=True),
            "managed": Field("flag", False, editable=False),
            "inputs": Field("data"),
            "user": link("users"),  # these two on creation only
            "team": link("teams"),
        },
        unique=("organization", "name", "credential_type"),
        roles=SET,
    ),
    "execution_environments": Kind(
        "execution_environment",
        {
            "name": NAME,
            "description": TEXT,
            "organization": link("organizations"),
            "image": Field(required=True),
            "managed": Field("flag", False, editable=False),
            "credential": link("credentials"),
            "pull": choice("always", "missing", "never"),
        },
    ),
    "projects": Kind(
        "project",
        {
            "name": NAME,
            "description": TEXT,
            "local_path": TEXT,
            "scm_type": choice("git", "svn", "insights", "archive"),
            "scm_url": TEXT,
            "scm_branch": TEXT,
            "scm_refspec": TEXT,
            "scm_clean": OFF,
            "scm_track_submodules": OFF,
            "scm_delete_on_update": OFF,
            "credential": link("credentials"),
            "timeout": ZERO,
            "scm_revision": READ_ONLY,
            "status": READ_ONLY,
            "organization": link("organizations"),
            "scm_update_on_launch": OFF,
            "scm_update_cache_timeout": ZERO,
            "allow_override": OFF,
            "default_environment": link("execution_environments"),
            "signature_validation_credential": link("credentials"),
        },
        unique=("organization", "name"),
        roles=("admin_role", "use_role", "update_role", "read_role"),
    ),
    "project_updates": Kind(
        "project_update",
        {
            "name": NAME,
            "project": link("projects"),
            "status": TEXT,
            "failed": OFF,
            "finished": TEXT,
            "scm_revision": TEXT,
        },
        unique=(),
    ),
    "inventories": Kind(
        "inventory",
        {
            "name": NAME,
            "description": TEXT,
            "organization": link("organizations", required=True),
            "kind": choice("smart", "constructed"),
            "host_filter": Field(default=None, null=True),
            "variables": TEXT,
            "prevent_instance_group_fallback": OFF,
        },
        unique=("organization", "name"),
        roles=("admin_role", "update_role", "adhoc_role", "use_role", "read_role"),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            "name": NAME,
            "description": TEXT,
            "source": choice("file", "constructed", "scm", "ec2", "gce", "openstack", "controller", required=True),
            "source_path": TEXT,
            "source_vars": TEXT,
            "scm_branch": TEXT,
            "credential": link("credentials"),
            "enabled_var": TEXT,
            "enabled_value": TEXT,
            "host_filter": TEXT,
            "overwrite": OFF,
            "overwrite_vars": OFF,
            "timeout": ZERO,
            "verbosity": Field("number", 1),
            "limit": TEXT,
            "execution_environment": link("execution_environments"),
            "inventory": link("inventories", required=True),
            "update_on_launch": OFF,
            "update_cache_timeout": ZERO,
            "source_project": link("projects"),
            "status": READ_ONLY,
        },
        unique=("inventory", "name"),
    ),
    "job_templates": Kind(
        "job_template",
        {
            "name": NAME,
            "description": TEXT,
            "job_type": choice("run", "check", default="run"),
            "inventory": link("inventories"),
            "project": link("projects"),
            "playbook": TEXT,
            "scm_branch": TEXT,
            "forks": ZERO,
            "limit": TEXT,
            "verbosity": ZERO,
            "extra_vars": TEXT,
            "job_tags": TEXT,
            "force_handlers": OFF,
            "skip_tags": TEXT,
            "start_at_task": TEXT,
            "timeout": ZERO,
            "use_fact_cache": OFF,
            "organization": link("organizations", editable=False),  # always its project's
            "execution_environment": link("execution_environments"),
            "host_config_key": TEXT,
            **{f"ask_{prompt}_on_launch": OFF for prompt in PROMPTS},
            "survey_enabled": OFF,
            "become_enabled": OFF,
            "diff_mode": OFF,
            "allow_simultaneous": OFF,
            "job_slice_count": Field("number", 1),
            "prevent_instance_group_fallback": OFF,
            "status": READ_ONLY,
        },
        unique=("organization", "name"),
        roles=("admin_role", "execute_role", "read_role"),
        relations={"credentials": "credentials", "labels": "labels"},
    ),
    "labels": Kind(
        "label",
        {"name": NAME, "organization": link("organizations", required=True)},
        unique=("organization", "name"),
    ),
    "roles": Kind(
        "role",
        {
            "name": TEXT,
            "role_field": TEXT,
            "content_kind": TEXT,  # ours: what AWX keeps in summary_fields
            "content_id": ZERO,
        },
        unique=(),
        relations={"users": "users", "teams": "teams"},
    ),
}

# What each fresh AWX has, as far as it matters here.
MANAGED_TYPES = (
    ("Machine", "ssh", "ssh", ("username", "password", "ssh_key_data"), ("password", "ssh_key_data")),
    ("Source Control", "scm", "scm", ("username", "password", "ssh_key_data"), ("password", "ssh_key_data")),
    ("Vault", "vault", "vault", ("vault_password", "vault_id"), ("vault_password",)),
    ("Container Registry", "registry", "registry", ("host", "username", "password"), ("password",)),
    ("Ansible Galaxy/Automation Hub API Token", "galaxy", "galaxy_api_token", ("url", "token"), ("token",)),
)
