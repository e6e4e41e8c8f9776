# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that starts what was measured, and then hides the kernel from the firmware.

The host's own disk has a program that shows what is in the area of the secret. QEMU plays the secure processor.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import socket
import subprocess
import time
import typing as t

import waiting

HOST = "THE-HOST-RUNS"
# What a GRUB reads from that disk by its own driver.
BLOCKS = "READ-BY-BLOCKS"
# What the table of a secret begins with.
READ = f"{HOST} 1e74f542"
_NO_BOOT = "No bootable option was found"
_SECONDS = 60
# The firmware asks for these letters before it reads anything from QEMU's configuration device.
_ASKED, _HIDDEN = b"QEMU\0", b"XXXX\0"


@dataclasses.dataclass(frozen=True)
class Files:
    """What a guest is started from, and where hashes and secret are written."""

    firmware: pathlib.Path
    core: pathlib.Path
    hashes: pathlib.Path
    secret: pathlib.Path
    hashes_base: int
    secret_base: int


def program(path: pathlib.Path, *lines: str) -> pathlib.Path:
    """Make a core image of GRUB that does this."""
    script = path.with_suffix(".cfg")
    script.write_text("\n".join((*lines, "sleep 1000", "")))
    made = ("grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", str(script), "-o", str(path))
    subprocess.run([*made, "cat", "echo", "fat", "memrw", "sleep"], check=True)
    return path


def host_disk(folder: pathlib.Path, secret_base: int) -> pathlib.Path:
    """Make a disk whose program shows the first word of the secret."""
    efi, disk, proof = folder / "BOOTX64.EFI", folder / "host.raw", folder / "proof"
    proof.write_text(f"{BLOCKS}\n")
    program(efi, f"read_dword -v word {secret_base:#x}", f"echo {HOST} $word")
    with disk.open("wb") as file:
        file.truncate(34 << 20)
    for argv in (
        ("mformat", "-i", disk, "-F", "::"),
        ("mmd", "-i", disk, "::EFI", "::EFI/BOOT"),
        ("mcopy", "-i", disk, efi, "::EFI/BOOT/BOOTX64.EFI"),
        ("mcopy", "-i", disk, proof, "::proof"),
    ):
        subprocess.run([str(it) for it in argv], check=True)
    return disk


def console(
    files: Files,
    folder: pathlib.Path,
    *,
    hide: bool = True,
    kernel: bool = True,
    hashes: bool = True,
    seconds: float = _SECONDS,
    until: t.Sequence[str] = (),
) -> str:
    """Start a guest, and return what it said until a word of *until*, or until the host's disk was tried or started."""
    disk = host_disk(folder, files.secret_base)
    monitor, said = folder / "qmp", folder / "said"
    argv = [
        *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "512", "-smp", "1", "-S"),
        *(
            "-nodefaults",
            "-display",
            "none",
            "-bios",
            str(files.firmware),
            "-serial",
            f"file:{said}",
        ),
        *(
            "-drive",
            f"file={disk},format=raw,if=virtio",
            "-qmp",
            f"unix:{monitor},server=on,wait=off",
        ),
        *("-device", f"loader,file={files.secret},addr={files.secret_base:#x},force-raw=on"),
    ]
    if hashes:
        argv += ["-device", f"loader,file={files.hashes},addr={files.hashes_base:#x},force-raw=on"]
    if kernel:
        argv += ["-kernel", str(files.core)]
    process = subprocess.Popen(argv)
    try:
        waiting.until(monitor.exists)
        if hide:
            assert _hidden(process.pid)
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(monitor))
            for command in (b"qmp_capabilities", b"cont"):
                control.sendall(b'{"execute": "%s"}\n' % command)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.2)
                text = _text(said)
                if any(it in text for it in (READ, *until)):
                    break
                if _NO_BOOT in text:
                    # What comes after the last option.
                    deadline = min(deadline, time.monotonic() + 3)
        return _text(said)
    finally:
        process.kill()
        process.wait(30)


def _text(said: pathlib.Path) -> str:
    text = said.read_bytes().decode(errors="replace") if said.exists() else ""
    return re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", text)


def _hidden(pid: int) -> int:
    """Overwrite the signature in the memory of QEMU; return how often it was there."""
    found = 0
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            words = line.split()
            if len(words) < 6 or "qemu-system" not in words[5] or "x" in words[1]:
                continue
            start, end = (int(it, 16) for it in words[0].split("-"))
            memory.seek(start)
            for match in re.finditer(re.escape(_ASKED), memory.read(end - start)):
                memory.seek(start + match.start())
                memory.write(_HIDDEN)
                found += 1
    return found


__all__ = ("BLOCKS", "HOST", "READ", "Files", "console", "host_disk", "program")
