# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys as an option of a module."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_entries
from ansible_collections.sealedroot.image.plugins.module_utils._luks.key_plan import WantedKey
from ansible_collections.sealedroot.image.plugins.modules import image_disk, keyfile_rotate


@pytest.mark.parametrize(
    ("key", "iterations"),
    [
        ({}, 1000),
        ({"passphrase": False}, 1000),
        ({"passphrase": True}, 600000),
        ({"passphrase": True, "iterations": 700000}, 700000),
    ],
)
def test_the_iterations_of_a_key(key: dict[str, t.Any], iterations: int) -> None:
    entry = {"slot": 3, "key_file": "/k", "iterations": None, "passphrase": False, **key}
    assert key_entries.wanted([entry]) == [WantedKey(3, "/k", iterations)]
    for module in (image_disk, keyfile_rotate):
        assert f"V({iterations})" in module.DOCUMENTATION or "iterations" in key
