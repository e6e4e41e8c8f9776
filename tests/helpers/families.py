# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the family roles say of their families, as the role ``source`` reads it."""

from __future__ import annotations

import pathlib
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"


def families() -> dict[str, dict[str, t.Any]]:
    """Return every family by its name."""
    found: dict[str, dict[str, t.Any]] = {}
    for path in sorted(ROLES.glob("family_*/vars/family.yml")):
        (family,) = yaml.safe_load(path.read_text()).values()
        found[family["name"]] = family
    return found
