# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that are nearly inputs."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.filter.misspelled import FilterModule
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

MISSPELLED = FilterModule().filters()["misspelled"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("image_sizes", "image_size"),
        ("image_filesytem", "image_filesystem"),
        ("image_packges", "image_packages"),
        ("image_recovery_pasphrase", "image_recovery_passphrase"),
        ("image_secureboot", "image_secure_boot"),
        ("image_format", "image_formats"),
        ("image_boot_tests", "image_boot_test"),
        ("image_host_agent", "image_host_agents"),
    ],
)
def test_a_name_that_is_nearly_an_input(name: str, nearest: str) -> None:
    assert MISSPELLED([name, "inventory_hostname"]) == {name: nearest}


@pytest.mark.parametrize(
    "name",
    [
        # Of a person's own.
        *("image_registry", "image_owner", "image_", "images", "my_image_sise"),
        # Facts, and what is said to the connection.
        *("image_keys", "image_root", "image_root_uuid", "image_grows", "image_network"),
        *_inputs.inputs(),
    ],
)
def test_a_name_that_is_none(name: str) -> None:
    assert MISSPELLED([name]) == {}


def test_inputs_are_not_taken_for_each_other() -> None:
    """Or a right name would be refused where another one is near."""
    for name in _inputs.inputs():
        others = [it for it in _inputs.inputs() if it != name]
        assert _inputs.misspelled([name], [*others, name], set()) == {}
