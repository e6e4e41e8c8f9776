# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A volume of the host's own, with the UUID of the image and a GRUB configuration that says when it is run."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

# A passphrase of the host's, which it types as well.
KEY = "a passphrase of the host"
RUNS = "HOST-GRUB-RUNS"
# What a module of the host's says, and its source: GRUB calls the function of this name.
LOADED = "HOST-MODULE-RUNS"
_MODULE = f"""\
.section .modname, "a"
.asciz "host"
.section .module_license, "a"
.asciz "LICENSE=GPLv3+"
.text
.globl grub_mod_init
.type grub_mod_init, @function
grub_mod_init:
  push %rbp
  lea said(%rip), %rdi
  xor %eax, %eax
  call grub_printf
  pop %rbp
  ret
.section .rodata
said: .asciz "{LOADED}\\n"
"""
# What the measured GRUB says.
NOT_OWN = "The volume is not this image's own"


def make(
    folder: pathlib.Path,
    *,
    uuid: str,
    kernel: bytes,
    commands: str = "",
    files: t.Mapping[str, bytes] | None = None,
) -> pathlib.Path:
    """Make it, with *files* besides. GRUB goes on to a menu only where a *kernel* takes an initramfs."""
    tree, plain, own = folder / "tree", folder / "plain", folder / "own.luks"
    config = f"echo {RUNS}\n{commands}sleep 30\n"
    inside = {"boot/grub/grub.cfg": config.encode(), "boot/vmlinuz-1": kernel, **(files or {})}
    for name, data in inside.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(plain), "96M"], check=True)
    (folder / "own.key").write_text(KEY)
    how = "key-secret=k,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256"
    argv = [
        *("qemu-img", "convert", "-f", "raw", "-O", "luks"),
        *("--object", f"secret,id=k,file={folder}/own.key"),
        *("-o", f"{how},iter-time=10", str(plain), str(own)),
    ]
    # On a busy machine, it can fail to measure how fast it makes a key: "Unable to get accurate CPU usage".
    tries = (subprocess.run(argv, check=False).returncode == 0 for _ in range(5))
    assert any(tries), "qemu-img makes no volume: see above"
    subprocess.run(["cryptsetup", "luksUUID", "-q", "--uuid", uuid, str(own)], check=True)
    return own


def with_lists(folder: pathlib.Path) -> dict[str, bytes]:
    """Return files of GRUB's directory by which it would load a module of the host's for a command that it has."""
    source, module = folder / "host.s", folder / "host.mod"
    source.write_text(_MODULE)
    subprocess.run(["as", "--64", "-o", str(module), str(source)], check=True)
    place = "boot/grub/x86_64-efi"
    return {f"{place}/command.lst": b"set: host\n", f"{place}/host.mod": module.read_bytes()}
