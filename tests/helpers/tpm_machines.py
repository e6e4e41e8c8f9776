# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image whose GRUB gets the key from a TPM, and machines that have one: swtpm."""

from __future__ import annotations

import os
import pathlib
import secrets
import shutil
import subprocess
import time
import typing as t

import pexpect
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.module_utils._machine import tpm
from attack_images import Image, Kind
from attacks import LOGIN, Stage
from builds import DEBIAN, PLAYBOOK, QUICK_INITRAMFS, Place, add_files, playbook, source_tar
from guests import CMDLINE, NETWORK, NETWORKD, PROMPT, Guest, hashed
from real_runner import RealRunner

KIND = Kind("initramfs-tools", "luks1")
ESP = layout.ESP_OFFSET
REGISTERS = "4,7,8,9"


def build(place: Place, *, packages: t.Sequence[str] = (), **more: t.Any) -> Image:
    """Build an image of Debian 14, whose GRUB is the first that asks a TPM."""
    password = secrets.token_hex(8)
    ways = ["tpm2", "prompt"]
    tar = place.path / "root.tar"
    source = {**DEBIAN, "release": "forky", **({"packages": list(packages)} if packages else {})}
    shutil.copy(source_tar(source, image_unlock=ways), tar)
    add_files(tar, QUICK_INITRAMFS | NETWORK, NETWORKD)
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
        image_unlock=ways,
        **more,
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    assert run.rc == 0, run.output[-6000:]
    assert (place.out / "web-1" / "boot.key").read_text() not in run.output
    return Image(KIND, defended=True, directory=place.out / "web-1", password=password)


class Tpm:
    """A TPM, whose state stays while machines come and go."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def control(self) -> pathlib.Path:
        return self.folder / f"{tpm.SERVER}.ctrl"

    def options(self) -> list[str]:
        """Start it for the next machine, and return QEMU's options."""
        self.end()
        where = ("--tpmstate", f"dir={self.folder}", "--ctrl", f"type=unixio,path={self.control}")
        self._process = subprocess.Popen(["swtpm", "socket", "--tpm2", *where])
        deadline = time.monotonic() + 10
        while not self.control.exists():
            assert time.monotonic() < deadline, "swtpm does not start"
            time.sleep(0.05)
        return tpm.options(str(self.control))

    def copy(self, folder: pathlib.Path) -> Tpm:
        """Return another one with the same state: a host that runs the TPM has it."""
        self.end()
        other = Tpm(folder)
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return other

    def tools(self, script: str) -> bytes:
        """Run commands of tpm2-tools, as its owner; return what they print."""
        self.end()
        alone = ("--server", f"type=unixio,path={self.folder / tpm.SERVER}")
        more = (*alone, "--flags", "not-need-init,startup-clear")
        with tpm.machine(RealRunner(), str(self.folder), *more):
            env = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={self.folder / tpm.SERVER}"}
            argv = ["sh", "-euc", script]
            run = subprocess.run(argv, cwd=self.folder, env=env, stdout=subprocess.PIPE, check=True)
        return run.stdout

    def end(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self.control.unlink(missing_ok=True)
        self._process = None


def start(stage: Stage, machine: Tpm, *disks: pathlib.Path) -> Guest:
    """Start a machine with a TPM from these disks, which it writes, or from that of the stage."""
    words = []
    for number, disk in enumerate(disks or (stage.raw,)):
        words += ["-drive", f"file={disk},format=raw,if=none,id=genuine{number or ''}"]
        device = f"virtio-blk-pci,drive=genuine{number or ''}"
        words += ["-device", f"{device},bootindex={number}"]
    return stage.guest(*words, more=machine.options())


def power_off(guest: Guest) -> None:
    guest.console.send("systemctl poweroff\r")
    guest.console.expect(pexpect.EOF, timeout=300)
    guest.end()


def enrol(stage: Stage, machine: Tpm) -> None:
    """Start the machine by the prompt, and seal its key, as enroll_tpm does."""
    guest = start(stage, machine)
    stage.unlock(guest)
    guest.console.expect(LOGIN, timeout=600)
    guest.log_in(stage.image.password)
    # The console shows the command, too.
    guest.run(f'[ "$({tpm_program.PROGRAM} {REGISTERS})" = sealed ]', timeout=120)
    guest.run(f'[ "$({tpm_program.PROGRAM} --check)" = unchanged ]', timeout=120)
    power_off(guest)


def unasked(stage: Stage, machine: Tpm) -> Guest:
    """Start the machine, and wait for a login for which nobody was asked."""
    guest = start(stage, machine)
    assert guest.console.expect([LOGIN, PROMPT], timeout=600) == 0, "GRUB asks for the key"
    return guest
