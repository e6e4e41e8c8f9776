# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""tpm_measurement compares; tests/integration/test_tpm_measurement.py reads disks."""

from __future__ import annotations

import json
import pathlib
import typing as t

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.modules import tpm_measurement

Run = t.Callable[..., t.Any]
CORE = efi.program(efi.grub(["luks"]))
MEASURED = tpm_program.measured(CORE)
OTHER = tpm_program.measured(efi.program(efi.grub(["luks", "fat"])))


def manifest(tpm2: t.Any) -> str:
    return json.dumps({"audit": {"facts": {"tpm2": tpm2}}, "launch": None})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, ""),
        (manifest(MEASURED), ""),
        # As measure_image writes it.
        (json.dumps({"sev": "x", "tpm2": MEASURED}), ""),
        (
            manifest(OTHER),
            "manifest.json says something else: authenticode, pcrs.4. The disk was changed",
        ),
        (
            manifest({**MEASURED, "pcrs": {**MEASURED["pcrs"], "7": "00"}}),
            "manifest.json says something else: pcrs.7.",
        ),
        (manifest(None), "does not say what a TPM holds: give the manifest of an image with tpm2"),
        (manifest({}), "does not say what a TPM holds"),
        (manifest({"pcrs": {}}), "does not say what a TPM holds"),
        (manifest({"authenticode": [], "pcrs": []}), "says something else: authenticode, pcrs"),
        ("[]", "does not say what a TPM holds"),
        ("{", "does not say what a TPM holds"),
    ],
)
def test_what_was_measured_is_compared(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    run_module: Run,
    text: str | None,
    says: str,
) -> None:
    monkeypatch.setattr(tpm_measurement, "core_image", lambda *_: CORE)
    path = tmp_path / "manifest.json"
    given = {"expected": str(path)} if text is not None else {}
    path.write_text(text or "")
    found = run_module("tpm_measurement", path="disk.qcow2", **given)
    if says:
        assert says in found["msg"]
    else:
        assert {name: found[name] for name in MEASURED} == MEASURED


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "disk.img",
            "has no name of a disk: its format is taken from that, so let it end with .qcow2,",
        ),
        ("disk.qcow2", "disk.qcow2 is no file: correct path"),
    ],
)
def test_what_is_no_disk(tmp_path: pathlib.Path, run_module: Run, name: str, says: str) -> None:
    assert says in run_module("tpm_measurement", path=str(tmp_path / name))["msg"]
