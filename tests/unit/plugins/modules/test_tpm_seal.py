# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""tpm_seal with scripted commands; the program that it runs has tests of its own."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.modules import tpm_seal

RunModule = t.Callable[..., t.Any]
GETCAP = ["tpm2_getcap", "--tcti", "device:/dev/tpmrm0", "properties-fixed"]


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(tpm_seal, "ROOT", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program = tmp_path / tpm_program.PROGRAM[1:]
    program.parent.mkdir(parents=True)
    program.touch()
    return tmp_path


def enrol(machine: pathlib.Path, registers: str) -> None:
    kept = machine / tpm_program.KEPT[1:]
    kept.mkdir(parents=True)
    (kept / "registers").write_text(f"{registers}\n")


@pytest.mark.parametrize(
    ("last", "given", "asked"),
    [
        ("", {}, [4, 7, 8, 9]),
        ("", {"pcrs": [9, 8, 4, 0, 2]}, [0, 2, 4, 8, 9]),
        ("2,4,8,9", {}, [2, 4, 8, 9]),
        ("2,4,8,9", {"pcrs": [4, 8, 9]}, [4, 8, 9]),
    ],
)
@pytest.mark.parametrize(("said", "changed"), [("sealed", True), ("unchanged", False)])
def test_a_key_is_sealed(
    machine: pathlib.Path,
    run_module: RunModule,
    script: t.Any,
    last: str,
    given: dict[str, t.Any],
    asked: list[int],
    said: str,
    changed: bool,
) -> None:
    if last:
        enrol(machine, last)
    words = [str(machine / tpm_program.PROGRAM[1:]), ",".join(map(str, asked))]
    script.expect(words, stdout=f"{said}\n")
    script.expect(GETCAP, stdout="TPM2_PT_MANUFACTURER:\n  raw: 0x49465800\n")
    outcome = run_module("tpm_seal", **given)
    assert outcome["says"][0] == "The TPM says that IFX made it (it says no more)."
    assert "register" in outcome["says"][-1]
    assert (outcome["changed"], outcome["pcrs"]) == (changed, asked)


@pytest.mark.parametrize("text", ["", "4,7,x", "4,,9", "4,7,"])
def test_registers_that_are_damaged(
    machine: pathlib.Path, run_module: RunModule, text: str
) -> None:
    enrol(machine, text)
    outcome = run_module("tpm_seal")
    assert "registers is damaged: remove it, and run the playbook enroll_tpm" in outcome["msg"]


def test_check_mode(machine: pathlib.Path, run_module: RunModule, script: t.Any) -> None:
    script.expect([str(machine / tpm_program.PROGRAM[1:]), "--check", "4,7,8,9"], stdout="stale\n")
    # A TPM that keeps to itself who made it can have the key.
    script.expect(GETCAP, rc=1, stderr="ERROR")
    assert run_module("tpm_seal", _check=True)["changed"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pcrs": [7]}, "pcrs has no 4 and no 8 and no 9: without 4 any program of the host gets"),
        ({"pcrs": []}, "pcrs has no 4 and no 8 and no 9"),
        ({"pcrs": [4, 8, 9, 9]}, "give each register once, of 0, 1"),
        ({"pcrs": [4, 8, 9, 24]}, "give each register once, of 0, 1"),
        *(({"pcrs": [4, 8, 9, it]}, "change after GRUB") for it in (5, 10, 11, 17, 23)),
        ({"pcrs": [-1, 4, 8, 9]}, "give each register once, of 0, 1"),
    ],
)
def test_registers_that_cannot_be(
    machine: pathlib.Path, run_module: RunModule, given: dict[str, t.Any], says: str
) -> None:
    assert says in run_module("tpm_seal", **given)["msg"]


def test_an_image_without_the_program(machine: pathlib.Path, run_module: RunModule) -> None:
    (machine / tpm_program.PROGRAM[1:]).unlink()
    assert "only an image that was built with tpm2 in image_unlock" in run_module("tpm_seal")["msg"]


def test_another_user(
    machine: pathlib.Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "set become to true" in run_module("tpm_seal")["msg"]


@pytest.mark.parametrize(
    ("rc", "said", "says"),
    [
        (3, "this machine has no TPM 2.0\n", "this machine has no TPM 2.0"),
        (1, "tpm2_create: 0x921\n", "sealedroot-tpm failed (tpm2_create: 0x921): see the kernel's"),
        (1, "", "sealedroot-tpm failed (it says nothing)"),
    ],
)
def test_what_the_program_says(
    machine: pathlib.Path, run_module: RunModule, script: t.Any, rc: int, said: str, says: str
) -> None:
    words = [str(machine / tpm_program.PROGRAM[1:]), "4,7,8,9"]
    script.expect(words, rc=rc, stderr=said)
    assert says in run_module("tpm_seal")["msg"]
