# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the manifest records of the inputs, and what becomes of an image that is there already."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils._output_plan import (
    SPARE_BYTES,
    Output,
    plan,
    recorded,
)

GIVEN: dict[str, t.Any] = {
    "image_architecture": "x86_64",
    "image_authorized_keys": [],
    "image_boot_key": "",
    "image_boot_test": "yes",
    "image_customize": [{"role": "web"}],
    "image_debug_console": False,
    "image_filesystem": "ext4",
    "image_filesystem_features": [],
    "image_formats": ["qcow2"],
    "image_grow": "auto",
    "image_host_agents": ["b", "a"],
    "image_hostname": "web-1",
    "image_kernel_cmdline": "quiet",
    "image_luks": {},
    "image_recovery_passphrase": "",
    "image_root_password_hash": "",
    "image_secure_boot": False,
    "image_size": "4GiB",
    "image_source": {"type": "url", "url": "https://me:secret@example.org/"},
    "image_source_date_epoch": 0,
    "image_uuid": "",
    "__image_packages": ["auto"],
    "__image_selinux": "auto",
}
SECRETS = {
    "image_boot_key": "secret",
    "image_recovery_passphrase": "secret",
    "image_root_password_hash": "secret",
}


def test_what_is_recorded() -> None:
    found = recorded(GIVEN)
    assert found["size"] == 4 << 30
    assert found["source"] == {"type": "url"}
    assert (found["customize"], found["host_agents"]) == (1, ["a", "b"])
    assert (found["boot_tested"], found["debug_console"]) == (True, False)
    assert (found["recovery"], found["root_password"]) == ("generated", "left")
    assert not {"boot_key", "source_date_epoch", "uuid"} & set(found)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("given", "found"), [(True, "true"), ("true", "true"), ("auto", "auto")])
def test_growth_is_recorded_alike_however_it_is_given(given: t.Any, found: str) -> None:
    assert recorded({**GIVEN, "image_grow": given})["grow"] == found


def test_what_only_some_images_have_and_no_secret() -> None:
    found = recorded(
        {**GIVEN, **SECRETS, "image_source_date_epoch": "1700000000", "image_uuid": "u"}
    )
    assert (found["recovery"], found["root_password"], found["boot_key"]) == ("given",) * 3
    assert (found["source_date_epoch"], found["uuid"]) == (1_700_000_000, "u")
    assert "secret" not in json.dumps(found)


WAS = {"size": 1, "luks": {}, "uuid": "u"}
WHOLE = {
    "exists": True,
    "intact": True,
    "problem": "",
    "other_inputs": [],
    "manifest": {"inputs": WAS},
}
NONE = {**WHOLE, "exists": False, "intact": False, "manifest": None}
OUTPUT = Output(
    published=WHOLE,
    inputs=WAS,
    directory="/out/web-1",
    work_dir="/work/web-1",
    free=SPARE_BYTES + 3001,
    unpacked=1000,
    formats=["qcow2", "vhd"],
    replace=False,
)


@pytest.mark.parametrize(
    ("published", "change", "same", "says"),
    [
        (NONE, {}, False, ""),
        ({}, {}, True, ""),
        ({}, {"inputs": {**WAS, "size": 2}}, False, "made from other inputs (size): remove it,"),
        # One that is given no more, and one that was not.
        ({}, {"inputs": {"size": 1, "luks": {}}}, False, "made from other inputs (uuid):"),
        ({}, {"inputs": {**WAS, "boot_key": "given"}}, False, "other inputs (boot_key):"),
        # Those that are secrets are compared elsewhere.
        (
            {"other_inputs": ["recovery"]},
            {},
            False,
            "made from other inputs (recovery): remove it,",
        ),
        (
            {"other_inputs": ["boot_key"]},
            {"inputs": {**WAS, "size": 2}},
            False,
            "/out/web-1 exists and was made from other inputs (boot_key, size):",
        ),
        ({"other_inputs": ["boot_key"]}, {"replace": True}, False, ""),
        # What is wrong with the files says the module, and nothing else is said then.
        (
            {"intact": False, "problem": "It is broken."},
            {"inputs": {**WAS, "size": 2}},
            False,
            "It is broken.",
        ),
        ({"intact": False, "problem": "It is broken."}, {"replace": True}, False, ""),
        # Of another hand than ours.
        ({"manifest": {}}, {}, False, "from other inputs (all)"),
        ({"manifest": {"inputs": None}}, {}, False, "from other inputs (all)"),
        ({"manifest": None}, {}, False, "from other inputs (all)"),
        # The disk, two formats, and what the initramfs takes.
        (NONE, {"free": SPARE_BYTES + 3000}, False, "/work/web-1 has room for 256.00 MB, but"),
        ({}, {"free": 0}, True, ""),
    ],
)
def test_an_image_that_may_be_there(
    published: dict[str, t.Any], change: dict[str, t.Any], same: bool, says: str
) -> None:
    output = dataclasses.replace(OUTPUT, published={**WHOLE, **published}, **change)
    found = plan(output)
    assert found["same"] is same
    assert len(found["problems"]) == bool(says)
    assert says in " ".join(found["problems"])
