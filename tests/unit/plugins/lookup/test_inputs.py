# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs of a build as the roles see them."""

from __future__ import annotations

import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs


def test_every_input_is_there_with_what_it_comes_to() -> None:
    variables = {
        **role_variables.of("image"),
        "inventory_hostname": "web-1",
        "image_source": {"type": "tar"},
        "image_packages": "auto",
        "image_root": "/a/fact",
    }
    template = trust_as_template("{{ lookup('sealedroot.image.inputs', '__image_packages') }}")
    found = Templar(loader=DataLoader(), variables=variables).template(template)
    assert set(found) == {*_inputs.inputs(), "__image_packages"}
    assert (found["image_name"], found["image_hostname"]) == ("web-1", "web-1")
    assert (found["image_packages"], found["__image_packages"]) == ("auto", ["auto"])
