# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every role says which arguments it takes."""

from __future__ import annotations

import pathlib

import pytest
import yaml

ROLES = pathlib.Path(__file__).resolve().parents[3] / "roles"
# The arguments of preflight are those of the image, which every role takes its own from.
NAMES = sorted(path.name for path in ROLES.iterdir() if path.name != "preflight")


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_has_a_default_and_is_documented(name: str) -> None:
    specs = yaml.safe_load((ROLES / name / "meta/argument_specs.yml").read_text())
    defaults = yaml.safe_load((ROLES / name / "defaults/main.yml").read_text())
    for spec in specs["argument_specs"].values():
        assert set(spec["options"]) == set(defaults)
