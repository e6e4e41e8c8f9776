# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the family roles say of their families."""

from __future__ import annotations

import pathlib

import pytest
from ansible.errors import AnsibleError
from ansible_collections.sealedroot.image.plugins.lookup.families import ROLES, LookupModule


def test_every_family_role_is_found() -> None:
    names = {path.name for path in pathlib.Path(ROLES).glob("family_*")}
    assert {f"family_{family['name']}" for family in LookupModule().run([])} == names


def test_one_by_its_name() -> None:
    (family,) = LookupModule().run(["debian"])
    assert "ubuntu" in family["ids"]


def test_an_unknown_name() -> None:
    with pytest.raises(AnsibleError, match="no role is for the family beos"):
        LookupModule().run(["beos"])
