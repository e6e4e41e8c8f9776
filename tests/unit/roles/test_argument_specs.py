# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every input is specified once, with its default, and no role has another name for one."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

ROLES = pathlib.Path(__file__).resolve().parents[3] / "roles"
# Inputs of their own: of an image that was made earlier, of a running machine, and of an end by force.
OWN = {"audit", "boot_test", "rotate", "teardown"}
# A build has to be given a root, and adds to this while it goes on.
NO_DEFAULT, NO_INPUT = {"image_source"}, {"image_reached"}


def options(name: str) -> dict[str, t.Any]:
    path = ROLES / name / "meta/argument_specs.yml"
    # Of each role has one entry point a specification; that of the inputs is not one that core checks.
    ((point, found),) = yaml.safe_load(path.read_text())["argument_specs"].items()
    assert point == ("inputs" if name == "image" else "main")
    return dict(found["options"])


def defaults(name: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = yaml.safe_load((ROLES / name / "defaults/main.yml").read_text())
    return found


def test_each_input_has_a_default_and_is_documented_with_it() -> None:
    specified, given = options("image"), defaults("image")
    assert set(specified) - NO_DEFAULT == set(given) - NO_INPUT
    plain = {name: value for name, value in given.items() if "{{" not in str(value)}
    assert {name: specified[name].get("default") for name in set(plain) - NO_INPUT} == {
        name: value for name, value in plain.items() if name not in NO_INPUT
    }


@pytest.mark.parametrize("name", sorted(OWN))
def test_an_input_of_one_role_is_documented_there(name: str) -> None:
    """With its default; one that is computed is said in words."""
    specified, given = options(name), defaults(name)
    assert set(specified) == set(given)
    for option, value in given.items():
        if "{{" in str(value):
            assert "default" not in specified[option]
            assert "by default" in str(specified[option]["description"]).lower()
        else:
            assert specified[option]["default"] == value


def test_no_other_role_has_inputs() -> None:
    found = {path.parts[-3] for path in ROLES.glob("*/defaults/main.yml")}
    assert found == OWN | {"image"}
    found = {path.parts[-3] for path in ROLES.glob("*/meta/argument_specs.yml")}
    assert found == OWN | {"image"}


def test_every_role_sees_the_inputs() -> None:
    for path in ROLES.glob("*/meta/main.yml"):
        role = path.parts[-3]
        needed = "family" if role.startswith("family_") else "image"
        wanted = [] if role == "image" else [{"role": f"sealedroot.image.{needed}"}]
        assert yaml.safe_load(path.read_text())["dependencies"] == wanted


# Why a fact may be missing: a dry run knows no root yet, a build that failed early has no lease, and an image that was
# made earlier has no build.
MAY_BE_MISSING = {"plan": "image_root_tar", "teardown": "image_lease", "audit": "image_sealed"}


def test_a_fact_that_is_missing_is_an_error() -> None:
    """Or one that is renamed would leave a manifest empty, and a check without what it compares with."""
    for path in ROLES.rglob("*"):
        if path.suffix in (".yml", ".j2"):
            guard = r"\b(image_\w+)[\w.\[\]')]* (?:\| d(?:efault)?\(|is (?:not )?defined)"
            guarded = set(re.findall(guard, path.read_text()))
            assert guarded & _inputs.facts() <= {MAY_BE_MISSING.get(path.parts[-3])}, path


def test_all_of_it_is_short() -> None:
    paths = [*ROLES.glob("*/meta/argument_specs.yml"), *ROLES.glob("*/defaults/main.yml")]
    assert sum(len(path.read_text().splitlines()) for path in paths) < 450
