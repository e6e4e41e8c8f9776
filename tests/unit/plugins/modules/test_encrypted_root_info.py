# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""encrypted_root_info with scripted commands."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.modules import encrypted_root_info

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "luks"
UUID = "11111111-2222-4333-8444-555555555555"
KEY_FILE = "/etc/cryptsetup-keys.d/luks-1.key"
HEADER = "/etc/cryptsetup-headers.d/luks-1.header"


class Machine:
    """A root directory, and what its tools say."""

    def __init__(self, root: pathlib.Path, script: t.Any) -> None:
        self.root, self.script = root, script
        self.write("/boot/vmlinuz-6", "")
        self.write("/boot/initrd.img-6", "")
        options = f"luks,initramfs,header={HEADER}"
        self.write("/etc/crypttab", f"cr_root UUID={UUID} {KEY_FILE} {options}\n")
        self.write(KEY_FILE, "the very secret").chmod(0o400)
        self.write(HEADER, "a LUKS header").chmod(0o400)

    def path(self, name: str) -> pathlib.Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> pathlib.Path:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        return self.path(name)

    def find(self) -> None:
        argv = ["findmnt", "--json", "--nofsroot", "--output", "SOURCE", "--mountpoint", "/"]
        source = "/dev/mapper/cr_root"
        self.script.expect(argv, stdout=json.dumps({"filesystems": [{"source": source}]}))
        below = {"name": "vda2", "type": "part", "path": "/dev/vda2"}
        tree = {"name": "cr_root", "type": "crypt", "path": source, "children": [below]}
        argv = ["lsblk", "--json", "--inverse", "--output", "NAME,TYPE,PATH", source]
        self.script.expect(argv, stdout=json.dumps({"blockdevices": [tree]}))

    def header(self, rc: int = 0) -> None:
        """The one in the file: nothing is read of the one on the disk."""
        path = str(self.path(HEADER))
        dump = (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text()
        self.script.expect(["cryptsetup", "luksDump", path], stdout="" if rc else dump, rc=rc)

    def opens(self, rc: int = 0) -> None:
        argv = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file"]
        said = "Key slot 3 unlocked.\n"
        key, header = str(self.path(KEY_FILE)), str(self.path(HEADER))
        self.script.expect([*argv, key, header], rc=rc, stdout=said)


@pytest.fixture
def machine(tmp_path: pathlib.Path, script: t.Any, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(encrypted_root_info, "ROOT", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Machine(tmp_path, script)


@pytest.mark.parametrize(
    ("files", "enrolled"),
    [
        ((), False),
        ((tpm_program.REGISTERS,), False),
        ((tpm_program.PROGRAM,), False),
        ((tpm_program.PROGRAM, tpm_program.REGISTERS), True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_machine_of_this_collection(
    machine: Machine, run_module: t.Any, check: bool, files: tuple[str, ...], enrolled: bool
) -> None:
    for name in files:
        machine.write(name, "4,7,8,9\n")
    machine.find()
    machine.header()
    machine.opens()
    result = run_module("encrypted_root_info", _check=check)
    assert not result.failed
    assert result["changed"] is False
    assert (result["device"], result["mapping"]) == ("/dev/vda2", "cr_root")
    assert (result["type"], result["uuid"]) == ("luks1", UUID)
    assert (result["key_file"], result["key_slot"]) == (KEY_FILE, 3)
    assert result["header_file"] == HEADER
    assert result["slots"]["3"] == 2345
    assert result["tpm_enrolled"] is enrolled
    assert result["initramfs"] == [str(machine.path("/boot/initrd.img-6"))]
    assert "the very secret" not in str(result.result)


def test_a_header_that_is_none(machine: Machine, run_module: t.Any) -> None:
    machine.find()
    machine.header(rc=1)
    result = run_module("encrypted_root_info")
    assert result.failed
    assert f"{HEADER} is no LUKS header, so this machine would not boot again" in result["msg"]


def test_no_crypttab(machine: Machine, run_module: t.Any) -> None:
    machine.path("/etc/crypttab").unlink()
    machine.find()
    assert "no key file for cr_root" in run_module("encrypted_root_info")["msg"]


def test_a_machine_that_believes_the_header_on_its_disk(
    machine: Machine, run_module: t.Any
) -> None:
    machine.write("/etc/crypttab", f"cr_root UUID={UUID} {KEY_FILE} luks,initramfs\n")
    machine.find()
    result = run_module("encrypted_root_info")
    assert result.failed
    assert "names no header file for cr_root" in result["msg"]


def test_a_header_that_is_not_there(machine: Machine, run_module: t.Any) -> None:
    machine.path(HEADER).unlink()
    machine.find()
    assert f"{HEADER} does not exist" in run_module("encrypted_root_info")["msg"]


def test_a_header_that_others_can_read(machine: Machine, run_module: t.Any) -> None:
    machine.path(HEADER).chmod(0o644)
    machine.find()
    assert "the header file" in run_module("encrypted_root_info")["msg"]


def test_a_key_file_that_does_not_open(machine: Machine, run_module: t.Any) -> None:
    machine.find()
    machine.header()
    machine.opens(rc=2)
    result = run_module("encrypted_root_info")
    assert result.failed
    assert f"the key in {KEY_FILE} does not open {HEADER}" in result["msg"]


def test_nobody_but_root(
    machine: Machine, run_module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "set become" in run_module("encrypted_root_info")["msg"]
