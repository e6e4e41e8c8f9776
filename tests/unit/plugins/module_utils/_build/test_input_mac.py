# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac

KEY = b"Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Rib28x"
SAME = {"root_password_hash": "$6$salt$hash", "customize": ["a" * 64, "b" * 64]}


def macs(key=KEY, image="web-1", **other):
    return input_mac.macs(key, image, **{**SAME, **other})


def test_the_same_inputs_have_the_same_macs():
    assert macs() == macs()
    assert input_mac.different(macs(), macs()) == []
    assert {len(mac) for mac in macs().values()} == {64}


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"root_password_hash": "$6$salt$hasj"}, ["root_password"]),
        ({"root_password_hash": ""}, ["root_password"]),
        ({"customize": ["a" * 64]}, ["customize"]),
        ({"customize": ["b" * 64, "a" * 64]}, ["customize"]),
        # Nothing is told without the key, and nothing about two images with one key.
        ({"key": KEY[:-1]}, ["boot_key", "root_password", "customize"]),
        ({"image": "web-2"}, ["boot_key", "root_password", "customize"]),
    ],
)
def test_what_differs_is_named(other, names):
    assert input_mac.different(macs(**other), macs()) == names


IMAGE = "6d1f5c0e-3c0b-4f0a-9d5c-0a6b3f6b1c2d"


def test_the_uuid_of_the_root_is_that_of_key_and_image():
    found = input_mac.root_uuid(KEY, IMAGE)
    assert str(uuid.UUID(found)) == found
    assert uuid.UUID(found).version == 4
    assert found == input_mac.root_uuid(KEY, IMAGE.upper())
    others = {input_mac.root_uuid(KEY[:-1], IMAGE), input_mac.root_uuid(KEY, IMAGE[:-1] + "e")}
    assert len({found, *others}) == 3
    # Nothing that is published says anything of it.
    assert found.replace("-", "")[:12] not in str(macs()) + str(macs(image=IMAGE))


def test_an_input_is_not_taken_for_another():
    assert len(set(macs(root_password_hash="", customize=[]).values())) == 3


@pytest.mark.parametrize("stored", [{}, {"root_password": None}, {"root_password": 1}])
def test_what_was_not_stored_is_different(stored):
    assert input_mac.different(macs(), stored) == ["boot_key", "root_password", "customize"]
