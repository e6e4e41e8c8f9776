# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that seals the key of a machine, with a TPM, a firmware and a disk that are played."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import typing as t

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import pcrs
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    embedded,
    pe,
    tpm_program,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
ZERO = "00" * 32
KEY = "a key that nothing may show"


def extended(*digests: bytes) -> str:
    value = bytes(32)
    for digest in digests:
        value = hashlib.sha256(value + digest).digest()
    return value.hex()


def program(size: int = 3000) -> bytes:
    return efi.program(os.urandom(size))


def test_grub_opens_the_volume_before_anything_is_measured() -> None:
    lines = tpm_program.config(luks_uuid=UUID).splitlines()
    assert lines == [
        *cfg.CLOSED,
        "set prefix=(memdisk)",
        "set cryptodisk_passphrase_tries=1",
        "tpm2_key_protector_init --mode=nv --nvindex=0x1a5ea1d",
        "cryptomount -u 7b2f8a1c64b14c559a5e0f5a3f3f1e11 -P tpm2",
        *embedded.CONFIG.splitlines()[len(cfg.CLOSED) :],
    ]


def test_registers_are_those_of_a_start_from_the_disk() -> None:
    core = program()
    assert tpm_program.registers(core) == {
        4: pcrs.boot_loader(pe_hash(core)),
        7: pcrs.without_secure_boot(),
        8: "00" * 32,
        9: "00" * 32,
    }
    measured = tpm_program.measured(core)
    assert measured["authenticode"] == pe_hash(core).hex()
    assert measured["pcrs"]["4"] == pcrs.boot_loader(pe_hash(core))
    assert [*measured["pcrs"]] == ["4", "7", "8", "9"]


def test_what_is_no_program_starts_nothing() -> None:
    for what in (tpm_program.registers, tpm_program.measured):
        with pytest.raises(SealedRootError, match="on the EFI system partition is no EFI program"):
            what(b"no program")


@pytest.mark.parametrize(("public", "private"), [(90, 200), (90, 100), (300, 260)])
def test_a_key_file_is_that_of_the_standard(
    tmp_path: pathlib.Path, public: int, private: int
) -> None:
    """Compared with what another encoder of ASN.1 reads."""
    parts = {"public": os.urandom(public), "private": os.urandom(private)}
    for name, data in parts.items():
        (tmp_path / name).write_bytes(data)
    script = f"{tpm_program.SEAL}\nkey_file 4,7,8,9 >sealed.tpm"
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
    argv = ["openssl", "asn1parse", "-inform", "DER", "-in", "sealed.tpm"]
    found = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    said = [line.split("prim:")[-1].strip() for line in found.splitlines() if "prim:" in line]
    assert said == [
        "OBJECT            :2.23.133.10.1.5",
        "BOOLEAN           :255",
        "INTEGER           :017F",
        # TPML_PCR_SELECTION: one bank, SHA-256, registers 4, 7, 8 and 9.
        "OCTET STRING      [HEX DUMP]:000000000001000B03900300",
        "INTEGER           :40000001",
        f"OCTET STRING      [HEX DUMP]:{parts['public'].hex().upper()}",
        f"OCTET STRING      [HEX DUMP]:{parts['private'].hex().upper()}",
    ]


TOOLS = {
    "tpm2_eventlog": "cat $D/events",
    "tpm2_getcap": """case $1 in
        properties-variable) echo "    inLockout:                 $(cat $D/locked)" ;;
        properties-fixed) printf 'TPM2_PT_NV_BUFFER_MAX:\\n  raw: %s\\n' "$(cat $D/buffer)" ;;
        handles-nv-index) [ ! -e $D/mute ] || exit 1; echo '- 0x1C00002'; [ ! -e $D/index ] || echo '- 0x1A5EA1D' ;;
        esac""",
    # As tpm2-tools 5.4 say it.
    "tpm2_nvreadpublic": r"""[ -e $D/index ] || exit 139
        printf '0x1a5ea1d:\n  name: 000b\n  hash algorithm:\n    friendly: sha256\n    value: 0xB\n'
        printf '  attributes:\n    friendly: %s\n    value: 0x2\n  size: %d\n\n' \
          "$(cat $D/shape)" $(wc -c <$D/index)""",
    "tpm2_nvdefine": """echo "$*" >>$D/defined; [ ! -e $D/index ] || exit 1
        [ "$5" -le "$(cat $D/free)" ] || exit 1
        head -c "$5" /dev/zero >$D/index""",
    "tpm2_nvundefine": "rm $D/index",
    # That cannot make an index larger or smaller.
    "tpm2_nvwrite": """[ $(wc -c <$5) = $(wc -c <$D/index) ] && [ ! -e $D/cut ] && cp $5 $D/index""",
    "tpm2_nvread": "cp $D/index $4",
    # The policy is that of the values.
    "tpm2_createpolicy": 'sha256sum <values | cut -c 1-64 >policy; echo "$*" >$D/policy-arguments',
    "tpm2_createprimary": "exit $(cat $D/owned)",
    "tpm2_create": 'printf public >public; sha256sum >private; echo "$*" >>$D/arguments',
    "tpm2_load": "exit $(cat $D/moved)",
    "mountpoint": "exit 0",
    "grub-mkimage": "cp $D/made core.efi",
}


class Machine:
    """A machine that GRUB's core image *core* has started, after which Linux was."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.core = path, program()
        for name in ("bin", "esp/EFI/BOOT", "registers", "etc", "run"):
            (path / name).mkdir(parents=True)
        for name, text in TOOLS.items():
            tool = path / "bin" / name
            tool.write_text(f"#!/bin/sh\nD={shlex.quote(str(path))}\n{text}\n")
            tool.chmod(0o755)
        settings = {"locked": "0", "owned": "0", "moved": "0", "buffer": "0x400", "free": "2048"}
        settings["shape"] = "ownerwrite|ownerread|written"
        for name, text in settings.items():
            (path / name).write_text(text)
        for name in ("tpmrm0", "log"):
            (path / name).touch()
        (path / "key").write_text(KEY)
        (path / "etc/crypttab").write_text(f"other x y z\ncr_root /dev/vda2 {path}/key luks\n")
        self.boot_file = path / "esp/EFI/BOOT/BOOTX64.EFI"
        self.boot_file.write_bytes(self.core)
        (path / "made").write_bytes(self.core)
        self.starts(pe_hash(self.core))

    def starts(self, *programs: bytes, linux: bool = True) -> None:
        started = b"Calling EFI Application from Boot Option"
        events = [("EV_EFI_ACTION", hashlib.sha256(started).digest())]
        events.append(("EV_SEPARATOR", hashlib.sha256(bytes(4)).digest()))
        for each in (*programs, *([b"l" * 32] if linux else [])):
            events.append(("EV_EFI_BOOT_SERVICES_APPLICATION", each))
        (self.path / "events").write_text(
            "".join(
                f"- EventNum: {number}\n  PCRIndex: {register}\n  EventType: {kind}\n  Digests:\n"
                f'  - AlgorithmId: sha1\n    Digest: "{"ab" * 20}"\n'
                f'  - AlgorithmId: sha256\n    Digest: "{digest.hex()}"\n'
                for number, (kind, digest) in enumerate(events)
                for register in (4, 5)
            )
        )
        self.registers = {4: extended(*(it for _kind, it in events)), 7: "77" * 32, 2: "22" * 32}
        for register, value in self.registers.items():
            (self.path / f"registers/{register}").write_text(f"{value.upper()}\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        text = tpm_program.text(
            mapping="cr_root",
            boot_file="BOOTX64.EFI",
            tool="grub-install",
            make="grub-mkimage --output core.efi",
        )
        for old, new in {
            "PATH=/usr/sbin:": f"PATH={self.path}/bin:/usr/sbin:",
            "/sys/kernel/security/tpm0/binary_bios_measurements": f"{self.path}/log",
            "/sys/class/tpm/tpm0/pcr-sha256": f"{self.path}/registers",
            "/dev/tpmrm0": f"{self.path}/tpmrm0",
            "/etc/crypttab": f"{self.path}/etc/crypttab",
            "/boot/efi": f"{self.path}/esp",
            "/run/": f"{self.path}/run/",
            tpm_program.KEPT: f"{self.path}/kept",
        }.items():
            assert old in text
            text = text.replace(old, new)
        argv = ["sh", "-c", text, "sealedroot-tpm", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def says(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert [*(self.path / "run").iterdir()] == []
        return done.stdout.strip()

    def policy(self) -> str:
        return (self.path / "kept/policy").read_text().strip()


def pe_hash(core: bytes) -> bytes:
    found = pe.parse(core)
    assert found
    return found.digests[0]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    if shutil.which("basenc") is None:
        pytest.fail("coreutils without basenc")
    return Machine(tmp_path)


def values(core: bytes, *others: str) -> str:
    found = "".join((pcrs.boot_loader(pe_hash(core)), "77" * 32, ZERO, ZERO, *others))
    return hashlib.sha256(bytes.fromhex(found)).hexdigest()


def test_a_key_is_sealed_for_what_starts_next(machine: Machine) -> None:
    assert machine.says("--check", "4,7,8,9") == "stale"
    assert not (machine.path / "kept").exists()
    assert machine.says("4,7,8,9") == "sealed"
    assert machine.policy() == values(machine.core)
    sealed = (machine.path / "index").read_bytes()
    # What tpm2_create read.
    assert hashlib.sha256(KEY.encode()).hexdigest().encode() in sealed
    assert KEY not in (machine.path / "arguments").read_text()
    # From then on, the same registers.
    assert machine.says() == machine.says("--check") == "unchanged"
    assert (machine.path / "index").read_bytes() == sealed
    # It is the same for every machine of an image.
    assert [it for it in (machine.path / "esp").rglob("*") if it.is_file()] == [machine.boot_file]
    assert machine.boot_file.read_bytes() == machine.core


def change_core(machine: Machine) -> None:
    machine.core = program(4000)
    for file in (machine.boot_file, machine.path / "made"):
        file.write_bytes(machine.core)


def change_key(machine: Machine) -> None:
    """While the clock went back."""
    (machine.path / "key").write_text("another key")
    at = (machine.path / "kept/sealed.tpm").stat().st_mtime - 3600
    os.utime(machine.path / "key", (at, at))


def change_registers(machine: Machine) -> None:
    (machine.path / "registers/7").write_text("78" * 32)


CHANGES: dict[str, t.Callable[[Machine], object]] = {
    "the core image": change_core,
    "the key": change_key,
    "Secure Boot": change_registers,
    "the TPM": lambda machine: (machine.path / "moved").write_text("1"),
    "the sealed key is gone": lambda machine: (machine.path / "index").unlink(),
    "another sealed key": lambda machine: (machine.path / "index").write_bytes(
        bytes((machine.path / "index").stat().st_size)
    ),
    "the size of the key": lambda machine: (machine.path / "index").write_bytes(b"shorter"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_sealed_again_when_something_has_changed(
    machine: Machine, change: t.Callable[[Machine], object]
) -> None:
    machine.says("4,7,8,9")
    change(machine)
    assert machine.says("--check") == "stale"
    assert machine.says() == "sealed"
    if change is change_core:
        assert machine.policy() == values(machine.core)


def test_other_registers(machine: Machine) -> None:
    machine.says("4,7,8,9")
    assert machine.says("2,4,7,8,9") == "sealed"
    assert (machine.path / "policy-arguments").read_text().split()[3] == "sha256:2,4,7,8,9"
    assert machine.says("--check", "4,7,8,9") == "stale"
    # tpm2_createpolicy takes the values in the order of the registers.
    assert machine.says("9,8,7,4") == "sealed"
    assert (machine.path / "policy-arguments").read_text().split()[3] == "sha256:4,7,8,9"
    assert machine.policy() == values(machine.core)


@pytest.mark.parametrize("number", tpm_program.NEEDED_PCRS)
def test_registers_that_are_needed(machine: Machine, number: int) -> None:
    rest = ",".join(str(it) for it in tpm_program.PCRS if it != number)
    done = machine.run(rest)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"the registers {rest} lack {number}" in done.stderr


PROBLEMS: dict[str, tuple[t.Callable[[Machine], object], str]] = {
    "no TPM": (lambda it: (it.path / "tpmrm0").unlink(), "this machine has no TPM 2.0"),
    "no bank of SHA-256": (
        lambda it: shutil.rmtree(it.path / "registers"),
        "the TPM has no active bank of SHA-256 for its registers: switch it on in the firmware's setup",
    ),
    "no log": (lambda it: (it.path / "log").unlink(), "the firmware measured nothing"),
    "lockout": (lambda it: (it.path / "locked").write_text("1"), "the TPM is locked out"),
    "an owner": (lambda it: (it.path / "owned").write_text("1"), "makes no key for its owner"),
    "no key": (lambda it: (it.path / "key").unlink(), "there is no key of the root in"),
    "no word of the indices": (
        lambda it: (it.path / "mute").touch(),
        "the TPM does not say which indices it has",
    ),
    "an index of something else": (
        lambda it: [
            (it.path / name).write_text(text)
            for name, text in (("index", ""), ("shape", "policywrite|written"))
        ],
        "the TPM's index 0x1a5ea1d is something else's (policywrite 0): if nothing needs it, run tpm2_nvundefine",
    ),
    "no room": (
        lambda it: (it.path / "free").write_text("9"),
        "the TPM has no room for the sealed",
    ),
    "small answers": (
        lambda it: (it.path / "buffer").write_text("0x40"),
        "the TPM hands out 64 bytes at once, fewer than the sealed key has",
    ),
    "no core": (lambda it: it.boot_file.unlink(), "not what this root makes: run grub-install"),
    "a program of the host's": (
        lambda it: it.boot_file.write_bytes(program()),
        "EFI/BOOT/BOOTX64.EFI on the EFI system partition is not what this root makes: run grub-install",
    ),
    "no Linux": (
        lambda it: it.starts(pe_hash(it.core), linux=False),
        "the log of this start does not say how GRUB and Linux were started",
    ),
    "a program before GRUB": (
        lambda it: it.starts(b"h" * 32, pe_hash(it.core)),
        "the firmware started another program before GRUB: remove its boot option",
    ),
    "another log": (
        lambda it: (it.path / "registers/4").write_text(ZERO),
        "register 4 of the TPM is not what the log of this start says",
    ),
}


@pytest.mark.parametrize(("change", "says"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_cannot_be_is_said(
    machine: Machine, change: t.Callable[[Machine], object], says: str
) -> None:
    change(machine)
    done = machine.run("4,7,8,9")
    assert (done.returncode, done.stdout) == (3, "")
    assert says in done.stderr
    assert not (machine.path / "kept").exists()
    # What is something else's stays.
    assert not (machine.path / "index").exists() or (machine.path / "index").read_bytes() == b""


def test_a_program_of_the_host_gets_no_key_of_an_enrolled_machine(machine: Machine) -> None:
    """Nor does a machine that is enrolled, and whose key was rotated."""
    machine.says("4,7,8,9")
    sealed = (machine.path / "index").read_bytes()
    machine.boot_file.write_bytes(program())
    change_key(machine)
    assert machine.run().returncode == machine.run("--check").returncode == 3
    assert (machine.path / "index").read_bytes() == sealed
    assert machine.policy() == values(machine.core)


@pytest.mark.parametrize("text", ["", "\n", "4,7,x\n", "4,,9\n", "4,7,"])
def test_damaged_registers(machine: Machine, text: str) -> None:
    machine.says("4,7,8,9")
    (machine.path / "kept/registers").write_text(text)
    done = machine.run()
    assert done.returncode == 3
    assert "kept/registers is damaged" in done.stderr


def test_an_enrolment_that_was_cut_is_one(machine: Machine) -> None:
    """The TPM has the key, or nearly: a new key must be sealed, too."""
    (machine.path / "cut").touch()
    assert machine.run("4,7,8,9").returncode not in (0, 3)
    (machine.path / "cut").unlink()
    assert (machine.path / "kept/registers").read_text() == "4,7,8,9\n"
    assert machine.says("--check") == "stale"
    assert machine.says() == "sealed"


def test_a_machine_that_was_never_enrolled(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 3
    assert "this machine is not enrolled: run the playbook enroll_tpm" in done.stderr
