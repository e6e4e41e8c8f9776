# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the manifest has of the inputs, and that no secret is in it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _recorded_inputs

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
    "image_unlock": ["prompt"],
    "image_uuid": "",
    "__image_measurements": {"types": ["sev"]},
    "__image_packages": ["auto"],
    "__image_selinux": "auto",
}
SECRETS = {
    "image_boot_key": "secret",
    "image_recovery_passphrase": "secret",
    "image_root_password_hash": "secret",
}


def test_what_is_recorded() -> None:
    found = _recorded_inputs.recorded(GIVEN)
    assert found["size"] == 4 << 30
    assert found["source"] == {"type": "url"}
    assert (found["customize"], found["host_agents"]) == (1, ["a", "b"])
    assert (found["boot_tested"], found["debug_console"]) == (True, False)
    assert (found["recovery"], found["root_password"]) == ("generated", "left")
    assert not {"boot_key", "measurements", "source_date_epoch", "unlock", "uuid"} & set(found)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("given", "found"), [(True, "true"), ("true", "true"), ("auto", "auto")])
def test_growth_is_recorded_alike_however_it_is_given(given: t.Any, found: str) -> None:
    assert _recorded_inputs.recorded({**GIVEN, "image_grow": given})["grow"] == found


def test_what_only_some_images_have_and_no_secret() -> None:
    found = _recorded_inputs.recorded(
        {**GIVEN, **SECRETS, "image_source_date_epoch": "1700000000", "image_uuid": "u"}
    )
    assert (found["recovery"], found["root_password"], found["boot_key"]) == ("given",) * 3
    assert (found["source_date_epoch"], found["uuid"]) == (1_700_000_000, "u")
    assert "secret" not in json.dumps(found)
    found = _recorded_inputs.recorded({**GIVEN, "image_unlock": ["prompt", "launch_secret"]})
    assert found["unlock"] == ["launch_secret", "prompt"]
    assert found["measurements"] == {"types": ["sev"]}
