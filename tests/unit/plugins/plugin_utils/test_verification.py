# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image verify_image proves, and what it expects of it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs, _verification

GIVEN: dict[str, t.Any] = {
    "image_architecture": "x86_64",
    "image_boot_test": True,
    "image_luks": {},
    "image_secure_boot": False,
    "image_unlock": ["prompt"],
}
INPUTS: dict[str, t.Any] = {
    "architecture": "aarch64",
    "debug_console": True,
    "formats": ["vhd", "qcow2"],
    "luks": {"type": "luks2", "hash": "sha512", "cipher": "aes-xts-plain64"},
    "secure_boot": True,
}
MANIFEST: dict[str, t.Any] = {
    "inputs": INPUTS,
    # As with a passphrase of a person's.
    "audit": {"facts": {"slots": {"0": 1000, "1": 600000}}},
    "files": {"disk.vhd": {}, "boot.key": {"slot": 0}, "recovery.key": {"slot": 1}},
}
THERE = "/srv/images/web-1"
SAID = {
    "image": f"{THERE}/disk.vhd",
    "keys": {"boot": f"{THERE}/boot.key", "recovery": f"{THERE}/recovery.key"},
    "slots": {"0": 1000, "1": 600000},
    "architecture": "aarch64",
    "secure_boot": True,
    "luks": {"type": "luks2", "hash": "sha512"},
    "unlock": ["prompt"],
    "launch": {},
}
KEYS = {"boot": "/key"}


def found(
    manifest: t.Any = None, why: str = "", given: dict[str, t.Any] | None = None, **asked: t.Any
) -> dict[str, t.Any]:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest) if manifest else ""
    values = {"image": "", "keys": {}, "slots": {}, "directory": THERE, **asked}
    return _verification.plan(
        {**GIVEN, **(given or {})},
        _inputs.options(),
        _verification.Asked(manifest=text, why=why, misspelled="", **values),
    )


def test_the_manifest_says_what_nobody_asked_for() -> None:
    assert found(MANIFEST) == {"problems": [], **SAID}


@pytest.mark.parametrize(
    ("asked", "given", "changed"),
    [
        ({"image": "/a.raw"}, {}, {"image": "/a.raw"}),
        ({"keys": KEYS}, {}, {"keys": KEYS}),
        ({"slots": {"0": 1000}}, {}, {"slots": {"0": 1000}}),
        # The manifest is for another architecture than the default of the input, which nobody gave.
        ({}, {"image_architecture": "x86_64", "image_secure_boot": "yes"}, {}),
        (
            {},
            {"image_luks": {"type": "luks1"}},
            {"luks": {"type": "luks1", "hash": "sha512"}},
        ),
    ],
)
def test_what_was_asked_for_counts(
    asked: dict[str, t.Any], given: dict[str, t.Any], changed: dict[str, t.Any]
) -> None:
    assert found(MANIFEST, given=given, **asked) == {"problems": [], **SAID, **changed}


def test_a_manifest_takes_no_secure_boot_back() -> None:
    manifest = {**MANIFEST, "inputs": {**INPUTS, "secure_boot": False, "luks": {}}}
    assert found(manifest)["secure_boot"] is False
    assert found(manifest, given={"image_secure_boot": "true"})["secure_boot"] is True


@pytest.mark.parametrize(
    ("said", "asked", "is_right"),
    [
        (["tpm2", "prompt"], ["tpm2", "prompt"], True),
        (["prompt", "tpm2"], ["tpm2", "prompt"], True),
        (["tpm2", "prompt"], ["prompt"], True),
        # Whoever has the console would be asked.
        (["tpm2", "prompt"], ["tpm2"], False),
        (["prompt"], ["launch_secret"], False),
    ],
)
def test_a_manifest_adds_no_way_of_the_key(
    said: list[str], asked: list[str], is_right: bool
) -> None:
    manifest = {**MANIFEST, "inputs": {**INPUTS, "unlock": said}}
    problems = found(manifest, given={"image_unlock": asked})["problems"]
    words = f"image_unlock asks for {', '.join(asked)}, and {THERE}/manifest.json has"
    assert [it.startswith(words) for it in problems] == ([] if is_right else [True])


def test_an_image_without_a_manifest_is_what_was_asked_for() -> None:
    given = {"image_architecture": "aarch64", "image_luks": {"type": "luks2"}}
    assert found(why="File not found", image="/a.raw", keys=KEYS, given=given) == {
        "problems": [],
        "image": "/a.raw",
        "keys": KEYS,
        "slots": {},
        "architecture": "aarch64",
        "secure_boot": False,
        "luks": {"type": "luks2"},
        "unlock": ["prompt"],
        "launch": {},
    }


def said_slots(slots: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**MANIFEST, "audit": {"facts": {"slots": slots}}}


def test_a_slot_of_ones_own_is_asked_for() -> None:
    slots = {"0": 1000, "1": 1000, "5": 1000}
    expected = {"problems": [], **SAID, "slots": slots}
    assert found(said_slots(slots), slots=slots) == expected


NO_MANIFEST = f"{THERE}/manifest.json is no manifest of an image: put the right one back, or"
WRONG: list[tuple[dict[str, t.Any], str]] = [
    (
        {"why": "File not found: /x"},
        f"There is no image in {THERE} (File not found: /x): set image_",
    ),
    ({"why": "File is not readable: /x"}, f"{THERE} is not for this user to read: run ansible-"),
    ({"image": "/a.raw", "why": "gone"}, "audit_keys is missing, and no manifest beside the image"),
    ({"given": {"image_boot_test": "perhaps"}}, "image_boot_test is neither true nor false"),
    ({"given": {"image_architecture": "vax"}}, "value of image_architecture must be one of"),
    *(
        ({"manifest": it}, NO_MANIFEST)
        for it in (
            "{",
            "[]",
            "7",
            "[" * 100000,
            {**MANIFEST, "inputs": {**INPUTS, "architecture": "vax"}},
            {**MANIFEST, "inputs": {**INPUTS, "formats": ["../../etc/passwd"]}},
            {**MANIFEST, "inputs": {**INPUTS, "formats": []}},
            {**MANIFEST, "audit": {"facts": {"slots": {"a": 1}}}},
            {**MANIFEST, "files": None},
            *(said_slots({"0": it}) for it in (float("inf"), float("nan"), None, 0, 1 << 32)),
            *(
                {**MANIFEST, "inputs": {**INPUTS, "luks": it}}
                for it in ({"hash": "sha1"}, {"type": "plain"}, {"type": ["luks1"]}, None)
            ),
        )
    ),
    *(
        ({"manifest": said_slots({"0": 1000, "1": 1000, it: 1000}), **asked}, f"key slot {it}, wh")
        for it in ("5", "-1")
        for asked in ({}, {"keys": KEYS})
    ),
    ({"manifest": MANIFEST, "keys": {"recovery": "/key"}}, "audit_keys has no boot key"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_what_cannot_be_proved_is_one_sentence(change: dict[str, t.Any], says: str) -> None:
    (problem,) = found(**change)["problems"]
    assert says in problem
    assert problem.endswith(".")


def test_what_lets_the_host_in_is_not_taken_from_a_manifest() -> None:
    assert {"host_agents", "debug_console", "selinux"} & set(found(MANIFEST)) == set()


@pytest.mark.parametrize(
    ("manifest", "disk"),
    [
        # An earlier manifest, or a file of measure_image, has no inputs.
        ({"launch": {}}, ""),
        ({"inputs": {}}, ""),
        ({"inputs": {**INPUTS, "unlock": ["launch_secret"]}}, ""),
        ({"inputs": {"unlock": ["tpm2", "prompt"], "formats": ["raw"]}}, f"{THERE}/disk.raw"),
        ({"inputs": {**INPUTS, "unlock": ["prompt", "tpm2"]}}, f"{THERE}/disk.vhd"),
    ],
)
def test_what_a_tpm_compares_is_on_a_disk(manifest: dict[str, t.Any], disk: str) -> None:
    text = json.dumps(manifest)
    assert _verification.measurable(text, THERE) == {"problems": [], "disk": disk}


TPM2 = ["tpm2", "prompt"]
FORMATS: list[object] = ["raw", ["../x"], [[]], {}, None]
DAMAGED: list[object] = [
    *(None, [], "x", {"unlock": None}, {"unlock": []}, {"unlock": ["console"]}),
    *({"unlock": "tpm2"}, {"unlock": TPM2}, {"unlock": TPM2, "formats": []}),
    *({"unlock": TPM2, "formats": it} for it in FORMATS),
]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", "null", "[" * 100000),
        *(json.dumps({"inputs": it}) for it in DAMAGED),
    ],
    ids=range(20),
)
def test_a_damaged_manifest_is_measured_against_nothing(text: str) -> None:
    assert _verification.measurable(text, THERE) == {
        "problems": [f"{THERE}/manifest.json is no manifest of an image: put the right one back."],
        "disk": "",
    }


MEASURED = {
    "sev": "ab",
    "firmware": {"sha256": "0", "secret_area": {"base": 8454144, "size": 3072}},
}
LAUNCHED = {**MANIFEST, "inputs": {**INPUTS, "unlock": ["launch_secret"]}, "launch": MEASURED}


def test_an_image_for_launch_secrets_is_proved_with_its_firmware() -> None:
    it = found(LAUNCHED)
    assert (it["problems"], it["unlock"]) == ([], ["launch_secret"])
    assert it["launch"] == {
        "core": f"{THERE}/launch/core.efi",
        "hashes": f"{THERE}/launch/hashes.bin",
        "firmware": f"{THERE}/launch/firmware.fd",
        "secret": f"{THERE}/launch/secret.bin",
        "measured": {"sev": "ab", "firmware": {"secret_area": {"base": 8454144, "size": 3072}}},
    }


@pytest.mark.parametrize("change", [{"unlock": ["console"]}, {"unlock": []}])
def test_a_manifest_with_another_way(change: dict[str, t.Any]) -> None:
    (problem,) = found({**LAUNCHED, "inputs": {**INPUTS, **change}})["problems"]
    assert "is no manifest of an image" in problem
