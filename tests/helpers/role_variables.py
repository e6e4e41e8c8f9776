# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables that a role sees when nobody gives any: those of the role image, and its own."""

from __future__ import annotations

import pathlib
import typing as t

import yaml
from ansible.template import trust_as_template

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"


def trusted(value: t.Any) -> t.Any:
    """Mark every text in what a file of a role has as a template, as Ansible does."""
    if isinstance(value, dict):
        return {key: trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


def of(role: str) -> dict[str, t.Any]:
    """Return them, templates as they are written."""
    found: dict[str, t.Any] = {}
    for name in ("image", role):
        for part in ("defaults", "vars"):
            path = ROLES / name / part / "main.yml"
            if path.exists():
                found.update(trusted(yaml.safe_load(path.read_text())))
    return found
