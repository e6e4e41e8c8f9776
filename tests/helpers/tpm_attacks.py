# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine whose TPM gives GRUB the key, and what a host does who has its disk and its console."""

from __future__ import annotations

import contextlib
import pathlib
import struct
import subprocess
import typing as t
import uuid

import host_volume
import tpm_machines
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    own_volume as volume,
    tpm_program,
)
from attack_images import content, kernel
from attacks import GRUB_SHELL, KERNEL, Outcome, Stage
from guests import MENU, PROMPT
from host_volume import NOT_OWN, RUNS
from real_runner import RealRunner
from tpm_machines import ESP, Tpm, start

REFUSED = "username:"
CORE = "EFI/BOOT/BOOTX64.EFI"
INDEX = tpm_program.INDEX
# Where the firmware has the hashes and keys for Secure Boot.
DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
READS = "HOST-READS-THE-DISK"
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
    """The host removes the sealed key from the TPM, or writes over it."""
    commands = {
        "removed": f"tpm2_nvundefine -Q -C o {INDEX}",
        "overwritten": f"head -c $(wc -c <was) /dev/urandom | tpm2_nvwrite -Q -C o -i - {INDEX}",
    }

    def lose(name: str) -> Outcome:
        theirs = machine.copy(stage.folder / name)
        assert theirs.tools(f"tpm2_nvread -C o -o was {INDEX}; {commands[name]}; cat was")
        try:
            guest = start(stage, theirs)
            return stage.watch(guest, won=[KERNEL, GRUB_SHELL], stopped=[PROMPT])
        finally:
            theirs.end()

    return stage.each(commands, lose)


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


def typed_volume(stage: Stage, machine: Tpm) -> Outcome:
    """The host has a volume with the UUID, and types its passphrase when the machine's own key does not open that."""
    disk = _disk(stage)
    guest = start(stage, machine, disk, stage.raw)
    guest.console.expect(PROMPT, timeout=120)
    guest.console.expect(": ", timeout=30)
    guest.console.send(f"{host_volume.KEY}\r")
    return stage.watch(guest, won=[RUNS, GRUB_SHELL, KERNEL], stopped=[NOT_OWN], seconds=120)


def listed_volume(stage: Stage, machine: Tpm) -> Outcome:
    """Such a volume has lists of commands and modules, which GRUB reads when it knows where its directory is."""
    disk = _disk(stage, files=host_volume.with_lists(stage.folder))
    guest = start(stage, machine, disk, stage.raw)
    guest.console.expect(PROMPT, timeout=120)
    guest.console.expect(": ", timeout=30)
    guest.console.send(f"{host_volume.KEY}\r")
    won_by = [host_volume.LOADED, RUNS, GRUB_SHELL, KERNEL]
    return stage.watch(guest, won=won_by, stopped=[NOT_OWN], seconds=120)


def sealed_volume(stage: Stage, machine: Tpm) -> Outcome:
    """The TPM gives the key of such a volume, which the host has sealed for the genuine GRUB."""
    disk = _disk(stage)
    with _sealed(stage, machine) as theirs:
        guest = start(stage, theirs, disk, stage.raw)
        return stage.watch(guest, won=[RUNS, GRUB_SHELL, KERNEL], stopped=[NOT_OWN], seconds=120)


def own_volume(stage: Stage, machine: Tpm) -> Outcome:
    """GRUB even takes that for its own, and its configuration asks the TPM for the genuine key."""
    name = f"boot/grub/{volume.SOURCES}/{volume.FILE}"
    genuine = machine.tools(f"tpm2_nvread -C o -o was {INDEX}; cat was")
    assert genuine
    disk = _disk(
        stage,
        files={name: content(stage.image, f"/{name}"), "sealed.tpm": genuine},
        commands=(
            "tpm2_key_protector_init -T (crypto0)/sealed.tpm\n"
            "set cryptodisk_passphrase_tries=1\n"
            "cryptomount hd1,gpt2 -P tpm2\n"
            f"if [ -f (crypto1)/boot/grub/grub.cfg ]; then echo {READS}; fi\n"
        ),
    )
    with _sealed(stage, machine) as theirs:
        guest = start(stage, theirs, disk, stage.raw)
        # This is also what shows that the other volumes would be read, if GRUB did not know its own.
        guest.console.expect(RUNS, timeout=120)
        return stage.watch(guest, won=[READS, KERNEL], stopped=[r"PCR Mismatch"], seconds=60)


def _disk(stage: Stage, **more: t.Any) -> pathlib.Path:
    """Return a disk with the genuine EFI system partition, and a volume of the host's."""
    own = host_volume.make(
        stage.folder,
        uuid=stage.image.manifest["luks_uuid"],
        kernel=kernel(stage.image),
        **more,
    )
    disk, head = stage.folder / "own.raw", ESP + (99 << 20)
    with stage.raw.open("rb") as genuine, disk.open("wb") as file:
        file.write(genuine.read(head))
        file.write(own.read_bytes())
        file.write(bytes(1 << 20))
    first, second = f"start=2048,size={(99 << 20) // 512}", f"start={head // 512}"
    table = f"label: gpt\n{first},type=U\n{second},size={own.stat().st_size // 512},type=L\n"
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=table, text=True, check=True)
    return disk


@contextlib.contextmanager
def _sealed(stage: Stage, machine: Tpm) -> t.Iterator[Tpm]:
    """Give a TPM that has the key of the host's volume for the genuine GRUB, in the place of the machine's own."""
    core = stage.folder / "core"
    mtools("mcopy", stage.raw, f"::/{CORE}", str(core))
    theirs = machine.copy(stage.folder / "theirs")
    values = tpm_program.registers(core.read_bytes())
    enrolled.seal(RealRunner(), str(theirs.folder), host_volume.KEY.encode(), values)
    try:
        yield theirs
    finally:
        theirs.end()


ATTACKS: dict[str, Attack] = {
    it.__name__: it
    for it in (
        *(changed_core, other_firmware, no_sealed_key, another_tpm, console),
        *(typed_volume, listed_volume, sealed_volume, own_volume),
    )
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
    guest.log_in(stage.image.password)
    # The disk is attacked next, and read by tools that replay no journal.
    tpm_machines.power_off(guest)
