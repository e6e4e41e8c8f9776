# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""launch_measurement against the command line of sev-snp-measure, on a firmware that is small."""

from __future__ import annotations

import hashlib
import importlib
import json
import pathlib
import subprocess
import sys
import typing as t

import efi
import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    launch_digest,
    pcrs,
)

Run = t.Callable[..., t.Any]
CORE = efi.program(efi.grub(["luks"]))
ALL = {"types": ["sev", "sev-es", "snp"], "vcpus": [1, 2], "vcpu_type": "EPYC-Milan"}


@pytest.fixture
def files(tmp_path: pathlib.Path) -> dict[str, str]:
    """A firmware and a kernel."""
    (tmp_path / "x.fd").write_bytes(firmware.ovmf())
    (tmp_path / "core.efi").write_bytes(CORE)
    return {"firmware": f"{tmp_path}/x.fd", "kernel": f"{tmp_path}/core.efi"}


def theirs(files: dict[str, str], mode: str, *words: str) -> str:
    """Return what the command prints."""
    tool = str(pathlib.Path(sys.executable).with_name("sev-snp-measure"))
    options = ("--ovmf", files["firmware"], "--kernel", files["kernel"])
    argv = [tool, "--mode", mode, *options, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("check", [False, True])
def test_the_digests_of_sev_snp_measure(
    files: dict[str, str], check: bool, run_module: Run
) -> None:
    found = run_module("launch_measurement", _check=check, **files, **ALL)
    assert not found["changed"]
    assert found["sev"] == theirs(files, "sev")
    for key, mode in (("sev_es", "seves"), ("snp", "snp")):
        how = ("--vcpu-type", "EPYC-Milan", "--vcpus")
        assert found[key] == {it: theirs(files, mode, *how, it) for it in ("1", "2")}
    assert len({found["sev"], *found["sev_es"].values(), *found["snp"].values()}) == 5


def test_the_digest_by_its_definition(files: dict[str, str], run_module: Run) -> None:
    found = run_module("launch_measurement", **files)
    measured = firmware.ovmf() + kernel_hashes.table(CORE)
    assert found["sev"] == hashlib.sha256(measured).hexdigest()
    assert not {"sev_es", "snp"} & set(found.result)
    assert found["firmware"] == {
        "sha256": hashlib.sha256(firmware.ovmf()).hexdigest(),
        "secret_area": {"base": 0x810000, "size": 0xC00},
        "hashes_area": {"base": 0x810C00, "size": 0x400},
    }
    assert found["kernel"]["sha256"] == hashlib.sha256(CORE).hexdigest()


def test_a_signature_does_not_change_the_hash_of_the_program(
    files: dict[str, str], run_module: Run
) -> None:
    """The test of pe.py says what the hash covers."""
    before = run_module("launch_measurement", **files)
    pathlib.Path(files["kernel"]).write_bytes(efi.signed(CORE))
    after = run_module("launch_measurement", **files)
    names = ("sha256", "authenticode_sha256")
    assert [before["kernel"][it] == after["kernel"][it] for it in names] == [False, True]
    assert before["sev"] != after["sev"]


def test_types_of_processors(files: dict[str, str], run_module: Run) -> None:
    types = ["EPYC-v4", "EPYC-Milan"]
    given = {name: it for name, it in ALL.items() if name != "vcpu_type"}
    found = run_module("launch_measurement", **files, **given, vcpu_types=types)
    assert list(found["by_vcpu_type"]) == types
    for vcpu_type in types:
        for key, mode in (("sev_es", "seves"), ("snp", "snp")):
            how = ("--vcpu-type", vcpu_type, "--vcpus")
            assert found["by_vcpu_type"][vcpu_type][key] == {
                it: theirs(files, mode, *how, it) for it in ("1", "2")
            }
    assert {key: found[key] for key in ("sev_es", "snp")} == found["by_vcpu_type"]["EPYC-v4"]


def test_what_a_tpm_holds(files: dict[str, str], run_module: Run) -> None:
    """By the events; tests/integration/test_launch.py gives them to a TPM."""
    found = run_module("launch_measurement", **files)
    value = bytes(32)
    for event in (b"Calling EFI Application from Boot Option", bytes(4)):
        value = hashlib.sha256(value + hashlib.sha256(event).digest()).digest()
    program = bytes.fromhex(found["kernel"]["authenticode_sha256"])
    assert found["pcrs"]["4"] == hashlib.sha256(value + program).hexdigest()
    assert found["pcrs"]["7"] == pcrs.without_secure_boot()


def test_the_table_of_the_kernels_hashes(
    files: dict[str, str], tmp_path: pathlib.Path, run_module: Run
) -> None:
    table = tmp_path / "hashes.bin"
    table.write_bytes(kernel_hashes.table(CORE))
    given = {**files, "hashes": str(table)}
    assert run_module("launch_measurement", **given)["sev"] == theirs(files, "sev")
    for other in (kernel_hashes.table(CORE + b"\0"), kernel_hashes.table(CORE)[:-1], b""):
        table.write_bytes(other)
        found = run_module("launch_measurement", **given)
        assert "hashes.bin is not the table of the hashes of " in found["msg"]
        assert "sev" not in found.result


OTHER = {"1": "00" * 32}


def test_a_manifest(files: dict[str, str], tmp_path: pathlib.Path, run_module: Run) -> None:
    manifest = tmp_path / "manifest.json"
    given = {**files, "expected": str(manifest)}
    result = run_module("launch_measurement", **files, **ALL).result
    launch = {name: it for name, it in result.items() if name not in ("changed", "invocation")}
    for text in ({"name": "web-1", "launch": launch}, launch):
        manifest.write_text(json.dumps(text))
        # With other types and numbers, only what both have counts.
        other = {"types": ["sev-es"], "vcpus": [2], "vcpu_types": ["EPYC"]}
        for how in (
            ALL,
            other,
            {"types": ["snp"], "vcpus": [2, 3], "vcpu_types": ["EPYC", "EPYC-Milan"]},
        ):
            found = run_module("launch_measurement", **given, **how)
            assert not found.failed, found["msg"]
    pathlib.Path(files["kernel"]).write_bytes(efi.signed(CORE))
    found = run_module("launch_measurement", **given)
    assert (
        "manifest.json says something else: kernel.sha256, sev. Give the firmware" in found["msg"]
    )
    assert "sev" not in found.result
    pathlib.Path(files["kernel"]).write_bytes(CORE)
    found = run_module("launch_measurement", **given, **ALL, guest_features=0x21)
    assert "else: by_vcpu_type.EPYC-Milan.snp.1, by_vcpu_type.EPYC-Milan.snp.2. Gi" in found["msg"]
    for change, says in (
        ({"sev_es": {"1": "00" * 32}}, "contradicts itself: its sev_es is that of no type of"),
        ({"sev_es": OTHER, "by_vcpu_type": {}}, "says something else: sev_es.1. Give the"),
        ({"firmware": {}}, "has no digest of the firmware: give the manifest"),
        ({"kernel": {}}, "has no digest of the kernel: give the manifest"),
        ({"kernel": "22"}, "has no measurements of a launch: give the manifest of"),
        ({"by_vcpu_type": [1]}, "has no digests in its by_vcpu_type: give the manifest of"),
        ({"by_vcpu_type": {"EPYC": 1}}, "has no digests in its by_vcpu_type: give the manifest"),
    ):
        pathlib.Path(manifest).write_text(json.dumps({"launch": {**launch, **change}}))
        assert says in run_module("launch_measurement", **given, **ALL)["msg"]
    manifest.write_text('{"name": "web-1"}')
    found = run_module("launch_measurement", **given)
    assert "manifest.json has no measurements of a launch: give the manifest of" in found["msg"]


def test_features(files: dict[str, str], run_module: Run) -> None:
    found = run_module("launch_measurement", **files, **ALL, guest_features=0x21)
    how = ("--vcpu-type", "EPYC-Milan", "--vcpus", "2", "--guest-features", "0x21")
    assert found["snp"]["2"] == theirs(files, "snp", *how)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"firmware": "/nonexistent"}, "/nonexistent cannot be read: No such file"),
        ({"kernel": "/nonexistent"}, "/nonexistent cannot be read: No such file"),
        ({"types": []}, "types is empty: name what protects the guest"),
        ({"vcpus": [0]}, "vcpus has 0: use numbers from 1 to 4096"),
        ({"vcpus": [4097]}, "vcpus has 4097: use numbers from 1 to 4096"),
        ({"types": ["sev-es"], "vcpus": []}, "vcpus is empty: give the numbers of processors"),
        ({"types": ["sev-es"]}, "vcpu_types is missing: SEV-ES and SEV-SNP measure the type"),
        ({"types": ["snp"], "vcpu_type": "x"}, "sev-snp-measure knows no vcpu_type 'x': give one"),
        ({"guest_features": -1}, "guest_features is no number of 64 bits: 1 is a guest with"),
        ({"guest_features": 1 << 64}, "guest_features is no number of 64 bits"),
    ],
    ids=lambda it: str(it)[:40],
)
def test_options(
    files: dict[str, str], change: dict[str, t.Any], message: str, run_module: Run
) -> None:
    found = run_module("launch_measurement", **{**files, **change})
    assert found.failed
    assert message in found["msg"]


@pytest.mark.parametrize(
    ("data", "kernel", "types", "message"),
    [
        (firmware.ovmf(code=b""), CORE, ["sev"], "has a table for SEV, but no code that"),
        (firmware.ovmf({firmware.HASHES: None}), CORE, ["sev"], "has no place for the hashes of"),
        (firmware.ovmf({firmware.RESET: None}), CORE, ["sev-es"], "does not support SEV-ES"),
        (firmware.ovmf({firmware.RESET: None}), CORE, ["snp"], "does not support SEV-ES"),
        (firmware.ovmf(snp=firmware.metadata()), CORE, ["snp"], "does not tell SNP to measure"),
        (
            firmware.ovmf(snp=firmware.metadata((0, 0x1000, 77), firmware.KERNEL_HASHES)),
            CORE,
            ["snp"],
            "what is read is damaged, or not of the kind that is expected: 77 is not a valid",
        ),
        (firmware.ovmf(), b"no program", ["sev"], "core.efi is no EFI program, and this firmware"),
        (firmware.ovmf(), b"", ["sev"], "core.efi is no EFI program"),
    ],
    ids=range(8),
)
def test_no_digest_that_leaves_the_kernel_out(
    files: dict[str, str],
    data: bytes,
    kernel: bytes,
    types: list[str],
    message: str,
    run_module: Run,
) -> None:
    pathlib.Path(files["firmware"]).write_bytes(data)
    pathlib.Path(files["kernel"]).write_bytes(kernel)
    found = run_module("launch_measurement", **files, types=types, vcpu_type="EPYC-v4")
    assert found.failed
    assert message in found["msg"]
    assert not {"sev", "sev_es", "snp"} & set(found.result)


def test_without_the_library(
    files: dict[str, str], run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hidden:
        for name in [it for it in sys.modules if it.partition(".")[0] == "sevsnpmeasure"]:
            hidden.setitem(sys.modules, name, None)
        importlib.reload(launch_digest)
        found = run_module("launch_measurement", **files)
    importlib.reload(launch_digest)
    assert found.failed
    assert "Failed to import the required Python library (sev-snp-measure)" in found["msg"]
    assert launch_digest.IS_INSTALLED


def test_a_firmware_that_starts_other_programs(files: dict[str, str], run_module: Run) -> None:
    """Its digest would be no proof of what has the secret."""
    fat = firmware.driver(firmware.FAT, firmware.FILES, name="Fat")
    pathlib.Path(files["firmware"]).write_bytes(firmware.ovmf(front=firmware.dxe(fat)))
    found = run_module("launch_measurement", **files)
    assert (
        "can start programs of the host's disk, with a launch secret in memory (Fat): give"
        in found["msg"]
    )
    assert "sev" not in found.result
