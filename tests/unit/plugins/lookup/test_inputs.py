# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs of a build as the roles see them."""

from __future__ import annotations

import typing as t

import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

LOADER = DataLoader()


def found(**given: t.Any) -> dict[str, t.Any]:
    variables = {**role_variables.of("image"), "inventory_hostname": "web-1", **given}
    template = trust_as_template("{{ lookup('sealedroot.image.inputs', '__image_packages') }}")
    values: dict[str, t.Any] = Templar(loader=LOADER, variables=variables).template(template)
    return values


def test_every_input_is_there_with_what_it_comes_to() -> None:
    values = found(image_source={"type": "tar"}, image_packages="auto", image_root="/a/fact")
    assert set(values) == {*_inputs.inputs(), "__image_packages"}
    assert (values["image_name"], values["image_hostname"]) == ("web-1", "web-1")
    assert (values["image_packages"], values["__image_packages"]) == ("auto", ["auto"])


def test_what_nobody_gave_is_left_out() -> None:
    """As where a stage is called alone."""
    assert set(_inputs.inputs()) - set(found()) == {"image_source"}
