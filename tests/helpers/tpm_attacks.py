# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine whose TPM gives GRUB the key, and what a host does who has its disk and its console."""

from __future__ import annotations

import pathlib
import shutil
import struct
import subprocess
import typing as t
import uuid

import tpm_machines
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from attacks import GRUB_SHELL, KERNEL, Outcome, Stage
from guests import MENU, PROMPT
from real_runner import RealRunner
from tpm_machines import ESP, Tpm, start

REFUSED = "username:"
CORE = "EFI/BOOT/BOOTX64.EFI"
SEALED = tpm_program.SEALED
# Where the firmware has the hashes and keys for Secure Boot.
DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
RUNS, READS = "HOST-GRUB-RUNS", "HOST-READS-THE-DISK"
Attack = t.Callable[[Stage, Tpm], Outcome]


def mtools(tool: str, disk: pathlib.Path, *words: str) -> None:
    subprocess.run([tool, "-i", f"{disk}@@{ESP}", *words], check=True, timeout=60)


def changed_core(stage: Stage, machine: Tpm) -> Outcome:
    """The host changes a letter of GRUB's core image."""
    core = stage.folder / "core"
    mtools("mcopy", stage.raw, f"::/{CORE}", str(core))
    core.write_bytes(enrolled.changed(core.read_bytes()))
    mtools("mcopy", stage.raw, "-o", str(core), f"::/{CORE}")
    return stage.watch(start(stage, machine), won=[KERNEL, GRUB_SHELL], stopped=[PROMPT])


def other_firmware(stage: Stage, machine: Tpm) -> Outcome:
    """The host lets the firmware know another hash for Secure Boot, which stays off."""
    hash_of = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328").bytes_le
    stage.variables["db", DATABASE] = hash_of + struct.pack("<III", 76, 0, 48) + bytes(16 + 32)
    return stage.watch(start(stage, machine), won=[KERNEL, GRUB_SHELL], stopped=[PROMPT])


def no_sealed_key(stage: Stage, machine: Tpm) -> Outcome:
    """The host removes the sealed key."""
    mtools("mdel", stage.raw, f"::/{SEALED}")
    return stage.watch(start(stage, machine), won=[KERNEL, GRUB_SHELL], stopped=[PROMPT])


def another_tpm(stage: Stage, _machine: Tpm) -> Outcome:
    """The host takes the disk to a machine of its own."""
    other = Tpm(stage.folder / "other")
    try:
        guest = start(stage, other)
        return stage.watch(guest, won=[KERNEL, GRUB_SHELL], stopped=[PROMPT])
    finally:
        other.end()


def console(stage: Stage, machine: Tpm) -> Outcome:
    """The host presses e and c in the menu, which the volume is open behind."""

    def press(key: str) -> Outcome:
        guest = start(stage, machine)
        guest.console.expect(MENU, timeout=120)
        guest.console.send(key)
        return stage.watch(
            guest, won=[GRUB_SHELL, "Emacs-like", "setparams"], stopped=[REFUSED], seconds=60
        )

    return stage.each("ec", press)


def own_volume(stage: Stage, machine: Tpm) -> Outcome:
    """The host has a volume with the UUID, whose GRUB configuration asks the TPM for the genuine key."""
    key = b"a key of the host's own that is long enough"
    tree, disk = stage.folder / "tree", stage.folder / "own.raw"
    (tree / "boot/grub").mkdir(parents=True)
    # GRUB goes on to a menu only where it has a kernel that takes an initramfs.
    shutil.copy(stage.image.directory / tpm_machines.KERNEL, tree / "boot/vmlinuz-1")
    uuid = stage.image.manifest["luks_uuid"]
    (tree / "boot/grub/grub.cfg").write_text(
        f"echo {RUNS}\n"
        f"tpm2_key_protector_init -T (hd1,gpt1)/{SEALED}\n"
        "set cryptodisk_passphrase_tries=1\n"
        "cryptomount hd1,gpt2 -P tpm2\n"
        f"if [ -f (crypto1)/boot/grub/grub.cfg ]; then echo {READS}; fi\nsleep 30\n"
    )
    plain, own = stage.folder / "plain", stage.folder / "own.luks"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(plain), "96M"], check=True)
    (stage.folder / "own.key").write_bytes(key)
    how = "key-secret=k,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256"
    subprocess.run(
        [
            *("qemu-img", "convert", "-f", "raw", "-O", "luks"),
            *("--object", f"secret,id=k,file={stage.folder}/own.key"),
            *("-o", f"{how},iter-time=10", str(plain), str(own)),
        ],
        check=True,
    )
    subprocess.run(["cryptsetup", "luksUUID", "-q", "--uuid", uuid, str(own)], check=True)
    # The genuine EFI system partition, with a key of the host's that the machine's TPM gives to the genuine GRUB.
    head = ESP + (99 << 20)
    with stage.raw.open("rb") as genuine, disk.open("wb") as file:
        file.write(genuine.read(head))
        file.write(own.read_bytes())
        file.write(bytes(1 << 20))
    first, second = f"start=2048,size={(99 << 20) // 512}", f"start={head // 512}"
    table = f"label: gpt\n{first},type=U\n{second},size={own.stat().st_size // 512},type=L\n"
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=table, text=True, check=True)
    core = stage.folder / "core"
    mtools("mcopy", disk, f"::/{CORE}", str(core))
    machine.end()
    values = enrolled.expected(core.read_bytes())
    sealed = enrolled.seal(RealRunner(), str(machine.folder), key, values)
    (stage.folder / "sealed.tpm").write_bytes(sealed)
    mtools("mcopy", disk, "-o", str(stage.folder / "sealed.tpm"), f"::/{SEALED}")
    guest = start(stage, machine, disk, stage.raw)
    guest.console.expect(RUNS, timeout=120)
    return stage.watch(guest, won=[READS, KERNEL], stopped=[r"PCR Mismatch", PROMPT], seconds=60)


ATTACKS: dict[str, Attack] = {
    it.__name__: it
    for it in (changed_core, other_firmware, no_sealed_key, another_tpm, console, own_volume)
}


def survives(stage: Stage, machine: Tpm) -> None:
    """After grub-install, as an update of GRUB calls it, the TPM gives the key again."""
    guest = tpm_machines.unasked(stage, machine)
    guest.log_in(stage.image.password)
    # Another core image than before: a module more.
    guest.run("sed -i 's/$/ probe/' /boot/grub/sealedroot/modules")
    assert "sealed" in guest.run("grub-install", timeout=300)
    tpm_machines.power_off(guest)
    guest = tpm_machines.unasked(stage, machine)
    guest.end()
