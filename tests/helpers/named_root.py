# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root tars that have the names of a root and hardly any content, for plays that end before a build."""

from __future__ import annotations

import io
import pathlib
import tarfile
import typing as t

from builds import PLAYBOOK, Place, playbook

# The first bytes of a program (elf.h): class, byte order and machine are all that is looked at.
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"
X86_64, AARCH64 = b"\x3e\x00", b"\xb7\x00"
KERNEL = ("boot/vmlinuz-6.1.0-1-amd64", "usr/lib/modules/6.1.0-1-amd64/modules.dep")
BUILTIN = b"".join(
    f"kernel/{name}.ko\n".encode()
    for name in ("btrfs", "dm-crypt", "ext4", "virtio_blk", "virtio_pci")
)
MODULES = "usr/lib/grub/x86_64-efi"
GRUB = (
    *("usr/bin/grub-mkimage", "usr/sbin/grub-mkconfig", f"{MODULES}/normal.mod"),
    *(f"{MODULES}/{name}.mod" for name in ("luks", "luks2", "gcry_sha256", "ext2", "xfs")),
)
SELINUX = (
    "etc/selinux/default/policy/policy.33",
    "etc/selinux/default/contexts/files/file_contexts",
)
SETFILES = "usr/sbin/setfiles"
INITRAMFS = (
    "usr/sbin/mkinitramfs",
    "usr/sbin/update-initramfs",
    "usr/sbin/cryptsetup",
    "usr/share/initramfs-tools/hooks/cryptroot",
)
WHOLE = (*KERNEL, *GRUB, *INITRAMFS)


def small_root(
    path: pathlib.Path,
    names: t.Iterable[str],
    *,
    machine: bytes = X86_64,
    mode: t.Any = "w",
    payload: int = 0,
    contents: t.Mapping[str, str | bytes] | None = None,
    selinux: str = "",
) -> pathlib.Path:
    """Write a tar that has the names of a Debian root and hardly any content.

    *contents* are of files beside those; its kernels have what drivers they have built in.
    """
    files = dict.fromkeys(names, b"x")
    files.update({"usr/sbin/init": b"x", "usr/bin/sh": b"x"})
    for name in [name for name in files if name.startswith("usr/lib/modules/")]:
        files["/".join([*name.split("/")[:4], "modules.builtin"])] = BUILTIN
    for name, content in (contents or {}).items():
        files[name] = content.encode() if isinstance(content, str) else content
    files["usr/bin/dash"] = ELF + machine + bytes(100)
    files["usr/lib/os-release"] = b'ID=debian\nPRETTY_NAME="Debian"\n'
    files["usr/share/payload"] = bytes(payload)
    if selinux:
        files["etc/selinux/config"] = f"SELINUX={selinux}\nSELINUXTYPE=default\n".encode()
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            member.mode = 0o755
            tar.addfile(member, io.BytesIO(data))
    return path


def refused(place: Place, *sentences: str, without: str = "", **variables: t.Any) -> None:
    """Expect the playbook to say each of *sentences*, nothing that it is to be *without*, and to publish nothing."""
    run = playbook(PLAYBOOK, place.variables(**variables))
    assert run.rc != 0
    for sentence in sentences:
        assert run.said(sentence), run.output
    assert not without or without not in run.output
    assert not (place.out / "web-1").exists()
