# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small sealed image, made with the tools alone and none of the collection's code, but for the texts of some files.

Everything that is in it can be changed, so that each check of an audit and each end of a boot can be met.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess

import luks_header
import pytest
import waiting
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    embedded as grub_embedded,
    install,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import kernel_words
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from cpio import newc

MIB = 1 << 20
ESP_START, LUKS_START, LUKS_SIZE = 1 * MIB, 40 * MIB, 40 * MIB
DISK_SIZE = LUKS_START + LUKS_SIZE + 1 * MIB
LUKS_UUID = "11111111-2222-4333-8444-555555555555"
PLAIN_UUID = LUKS_UUID.replace("-", "")
ROOT_UUID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
BOOT_KEY = b"Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Rib28x"
RECOVERY_KEY = b"cmVjb3ZlcnlyZWNvdmVyeXJlY292ZXJ5cmVjb3ZlcnlyZWMy"
BUILD_KEY = b"YnVpbGRidWlsZGJ1aWxkYnVpbGRidWlsZGJ1aWxkYnVpbGQz"
WORDS = "systemd.gpt_auto=0 systemd.import_credentials=no efi=noruntime noresume nohibernate"
WORDS += " panic=5 sysctl.kernel.sysrq=0"
KERNEL = (
    f"  linux /boot/vmlinuz-6 root=/dev/mapper/cr_root ro console=ttyS0 {WORDS}\n"
    "  initrd /boot/initrd.img-6\n"
)
# Nobody at the console gets GRUB's editor or shell.
CLOSED = 'set superusers=""\nexport superusers\n'
UNRESTRICTED = 'menuentry_id_option="--unrestricted --id"\nexport menuentry_id_option\n'
GRUB_CFG = CLOSED + UNRESTRICTED + "menuentry 'Test' --unrestricted {\n" + KERNEL + "}\n"
SCRIPT = cfg.unlock_script(luks_uuid=LUKS_UUID, directory="/boot/grub")
MODULES = (
    *("part_gpt", "cryptodisk", "luks", "gcry_rijndael", "gcry_sha256", "pbkdf2", "ext2", "normal"),
    *("configfile", "echo", "sleep", "test", "memdisk", "tar", "halt", "reboot"),
)
LUKS1 = ("--type", "luks1", "--hash", "sha256", "--key-size", "512")
LUKS2 = ("--type", "luks2", *LUKS1[2:], "--pbkdf", "pbkdf2", "--sector-size", "512")
KEY_PATH = f"etc/cryptsetup-keys.d/luks-{LUKS_UUID}.key"
HEADER_PATH = f"etc/cryptsetup-headers.d/luks-{LUKS_UUID}.header"
# What makes the initramfs insist on the words of the kernel.
CHECK_PATH = kernel_words.path("initramfs_tools")
CHECK_FILE = (0o755, kernel_words.text("initramfs_tools", luks_uuid=LUKS_UUID).encode())
CRYPTTAB = f"cr_root UUID={LUKS_UUID} /{KEY_PATH} luks,initramfs,header=/{HEADER_PATH}\n"


def run(*argv: str | os.PathLike[str], data: bytes | None = None) -> bytes:
    """Run a tool that must succeed."""
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "MKE2FS_CONFIG": "/dev/null"}
    done = subprocess.run(argv, input=data, capture_output=True, check=False, env=env)
    if done.returncode:
        pytest.fail(f"{argv} failed: {done.stderr.decode()}")
    return done.stdout


@dataclasses.dataclass
class Recipe:
    """What the image consists of; a test changes a part of it."""

    directory: pathlib.Path
    embedded: str = grub_embedded.CONFIG
    script: str = SCRIPT
    modules: tuple[str, ...] = MODULES
    platform: str = "x86_64-efi"
    library: pathlib.Path = pathlib.Path("/usr/lib/grub")
    boot_file: str = "EFI/BOOT/BOOTX64.EFI"
    grub_cfg: str = GRUB_CFG
    # None: no initramfs at all
    initramfs: dict[str, tuple[int, bytes]] | None = dataclasses.field(
        default_factory=lambda: {
            "init": (0o755, b"#!/bin/sh\n"),
            "cryptroot/keyfiles/cr_root.key": (0o400, BOOT_KEY),
            kernel_words.path_inside("initramfs_tools")[1:]: CHECK_FILE,
        }
    )
    # Where it has the pinned header; empty for nowhere.
    initramfs_header: str = HEADER_PATH
    initramfs_mode: int = 0o600
    packer: tuple[str, ...] = ("zstd", "-q", "-c")
    # Path -> (mode, content); None removes a file.
    files: dict[str, tuple[int, bytes] | None] = dataclasses.field(default_factory=dict)
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    modes: dict[str, int] = dataclasses.field(default_factory=dict)
    slots: dict[int, tuple[bytes, int]] = dataclasses.field(
        default_factory=lambda: {0: (BOOT_KEY, 1000), 1: (RECOVERY_KEY, 1000)}
    )
    format_options: tuple[str, ...] = LUKS1
    # Commands for cryptsetup on the finished container; a word LUKS stands for it.
    cryptsetup: tuple[tuple[str, ...], ...] = ()
    format_iterations: tuple[str, ...] = ("--pbkdf-force-iterations", "1000")
    esp_files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    # For sfdisk; empty for those that an image has.
    partitions: str = ""
    # Written over the finished disk: offset -> bytes.
    patches: dict[int, bytes] = dataclasses.field(default_factory=dict)
    # Commands for debugfs -w before the file system is encrypted.
    debugfs: tuple[str, ...] = ()
    filesystem: str = "ext4"
    luks_size: int = LUKS_SIZE

    @property
    def disk(self) -> pathlib.Path:
        return self.directory / "disk.raw"

    def for_arm64(self, library: pathlib.Path) -> None:
        """Make it an image for arm64, with GRUB's modules in *library*."""
        self.platform, self.library = "arm64-efi", library
        self.boot_file = "EFI/BOOT/BOOTAA64.EFI"

    def key(self, name: str, content: bytes) -> str:
        """Write a key file and return its path."""
        path = self.directory / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(content)
        return str(path)

    def keys(self) -> dict[str, str]:
        """Return the option ``keys`` of image_audit."""
        return {
            "boot": self.key("boot", BOOT_KEY),
            "recovery": self.key("recovery", RECOVERY_KEY),
        }

    def make(self) -> pathlib.Path:
        """Make the image and return it."""
        header = self._make_luks()
        self._make_root(header)
        self._fill_luks()
        with self.disk.open("wb") as handle:
            handle.truncate(LUKS_START + self.luks_size + 1 * MIB)
        table = self.partitions or (
            f"label: gpt\nstart={ESP_START // 512}, size={(LUKS_START - ESP_START) // 512}, type=uefi\n"
            f"start={LUKS_START // 512}, size={self.luks_size // 512}, "
            "type=CA7D7CCB-63ED-4C53-861C-1742536059CC\n"
        )
        run(*("sfdisk", "-q", "--no-reread", "--no-tell-kernel"), self.disk, data=table.encode())
        self._make_esp()
        run(
            *("dd", f"if={self.directory}/luks", f"of={self.disk}", "bs=1M", "conv=notrunc,sparse"),
            *(f"seek={LUKS_START // MIB}", "status=none"),
        )
        with self.disk.open("r+b") as handle:
            for offset, content in self.patches.items():
                handle.seek(offset)
                handle.write(content)
        # What it was made from is nobody else's: an audit takes what others may read beside an image for published.
        for path in self.directory.iterdir():
            if path.is_file() and path != self.disk:
                path.chmod(0o600)
        return self.disk

    def _make_root(self, header: bytes) -> None:
        root = self.directory / "root"
        files: dict[str, tuple[int, bytes] | None] = {
            "boot/grub/grub.cfg": (0o600, self.grub_cfg.encode()),
            "boot/vmlinuz-6": (0o644, b"kernel"),
            "etc/fstab": (
                0o644,
                f"/dev/mapper/cr_root / {self.filesystem} defaults 0 0\n".encode(),
            ),
            "etc/crypttab": (0o644, CRYPTTAB.encode()),
            KEY_PATH: (0o400, BOOT_KEY),
            HEADER_PATH: (0o400, header),
            **{path.lstrip("/"): (0o644, text.encode()) for path, text in emergency.FILES.items()},
            CHECK_PATH[1:]: CHECK_FILE,
            cfg.MENU_SCRIPT[1:]: (0o755, cfg.MENU_SCRIPT_TEXT.encode()),
            "usr/sbin/mkinitramfs": (0o755, b"#!/bin/sh\n"),
            "usr/sbin/update-initramfs": (0o755, b"#!/bin/sh\n"),
            "etc/initramfs-tools/initramfs.conf": (0o644, b"MODULES=most\n"),
            "etc/initramfs-tools/conf.d/umask": (0o644, b"UMASK=0077\n"),
            pinned_header.HOOK.lstrip("/"): (0o755, b"#!/bin/sh\n"),
            "etc/machine-id": (0o644, b"uninitialized\n"),
            "etc/ssh/sshd_config": (0o644, b""),
            "var/lib/systemd/catalog": (0o644, b""),
            **{
                f"usr/lib/grub/{self.platform}/{it.name}": (0o644, it.read_bytes())
                for it in self._module_files()
            },
            **self.files,
        }
        if self.initramfs is not None:
            archive = self.archive(header)
            packed = run(*self.packer, data=archive) if self.packer else archive
            files["boot/initrd.img-6"] = (self.initramfs_mode, packed)
        for name, file in files.items():
            if file is None:
                continue
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file[1])
            path.chmod(file[0])
        for name in (KEY_PATH, HEADER_PATH):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).parent.chmod(0o700)
        for name, target in self.links.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(target)
        for name, mode in self.modes.items():
            (root / name).chmod(mode)
        image = self.directory / "root.img"
        with image.open("wb") as handle:
            handle.truncate(self.luks_size - 16 * MIB)  # the longest header, LUKS2's, has 16 MiB
        if self.filesystem == "ext4":
            ext4 = ("mke2fs", "-q", "-t", "ext4", "-F", "-b", "4096", "-U", ROOT_UUID)
            run(*ext4, "-d", root, image)
        else:
            uuid = {"btrfs": ("-U", ROOT_UUID), "xfs": ("-m", f"uuid={ROOT_UUID}")}
            run(f"mkfs.{self.filesystem}", "-q", *uuid[self.filesystem], image)
            mounted = self.directory / "mounted"
            mounted.mkdir()
            run("mount", "-o", "loop", image, mounted)
            try:
                run("cp", "-aT", root, mounted)
            finally:
                waiting.unmount(mounted, image)
        for command in self.debugfs:
            run("debugfs", "-w", "-R", command, image)

    def _module_files(self) -> list[pathlib.Path]:
        """Return the files of the modules in the core image, with those that they need."""
        library = self.library / self.platform
        rows = (row.split(":") for row in (library / "moddep.lst").read_text().splitlines())
        needs = {name: words.split() for name, words in rows}
        found: list[str] = []
        left = list(self.modules)
        while left:
            name = left.pop()
            if name not in found:
                found.append(name)
                left += needs.get(name, [])
        return [library / f"{name}.mod" for name in found]

    def archive(self, header: bytes) -> bytes:
        """Return the archive that an initramfs is."""
        pinned = {self.initramfs_header: (0o400, header)} if self.initramfs_header else {}
        return newc({**(self.initramfs or {}), **pinned})

    def _make_luks(self) -> bytes:
        """Make the container with its final key slots; return its header."""
        luks = self.directory / "luks"
        with luks.open("wb") as handle:
            handle.truncate(self.luks_size)
        first, *others = self.slots.items()
        files = {slot: self.key(f"slot{slot}", key) for slot, (key, _count) in self.slots.items()}
        build = self.key("format", BUILD_KEY)
        run(
            *("cryptsetup", "luksFormat", "-q", *self.format_options, "--uuid", LUKS_UUID),
            *("--key-slot", "7", *self.format_iterations),
            *(luks, build),
        )
        for slot, (_key, iterations) in [first, *others]:
            run(
                *("cryptsetup", "luksAddKey", "-q", "--key-slot", str(slot), "--key-file", build),
                *(
                    "--pbkdf",
                    "pbkdf2",
                    "--pbkdf-force-iterations",
                    str(iterations),
                    luks,
                    files[slot],
                ),
            )
        run("cryptsetup", "luksKillSlot", "-q", "--key-file", files[first[0]], luks, "7")
        for command in self.cryptsetup:
            run("cryptsetup", "-q", *(str(luks) if word == "LUKS" else word for word in command))
        return luks_header.empty_unused(luks)

    def _fill_luks(self) -> None:
        key = self.directory / f"slot{min(self.slots)}.key"
        encrypt(self.directory / "root.img", self.directory / "luks", key)

    def _make_esp(self) -> None:
        blocks = (LUKS_START - ESP_START) // 1024
        sector = str(ESP_START // 512)
        run(
            "mkfs.vfat",
            "-F",
            "32",
            "-s",
            "1",
            "-n",
            "ESP",
            "--offset",
            sector,
            self.disk,
            str(blocks),
        )
        embedded = self.directory / "core.cfg"
        embedded.write_text(self.embedded)
        core, memdisk = self.directory / "core", self.directory / "memdisk.tar"
        # As a build has it, byte for byte.
        memdisk.write_bytes(install.memdisk(self.script))
        prefix = f"(cryptouuid/{PLAIN_UUID})/boot/grub"
        run(
            *("grub-mkimage", "-O", self.platform, "-d", str(self.library / self.platform)),
            *("-c", str(embedded), "-m", str(memdisk), "-p", prefix, "-o", str(core)),
            *self.modules,
        )
        files = {self.boot_file: core.read_bytes(), **self.esp_files}
        esp = f"{self.disk}@@{ESP_START}"
        run("mmd", "-i", esp, "::EFI", "::EFI/BOOT")
        for name, content in files.items():
            run("mcopy", "-D", "o", "-i", esp, "-", f"::{name}", data=content)


def encrypt(plain: pathlib.Path, luks: pathlib.Path, key: pathlib.Path) -> None:
    """Write a file system into a container, whose header stays as it is."""
    with luks.open("rb") as handle:
        start = handle.read(64 << 10)
    if not luks_header.is_luks1(start):
        _encrypt_luks2(plain, luks, key, luks_header.length(start))
        return
    payload = f"driver=luks,key-secret=key,file.driver=file,file.filename={luks}"
    run(
        *("qemu-img", "convert", "-n", "-f", "raw", "--object", f"secret,id=key,file={key}"),
        *("--target-image-opts", plain, payload),
    )


def _encrypt_luks2(plain: pathlib.Path, luks: pathlib.Path, key: pathlib.Path, offset: int) -> None:
    """Encrypt a file system by cryptsetup's own code, which can do so in place only.

    That makes a header with another volume key, so the volume key of the real one is given to it.
    """
    own, volume_key, detached = (luks.with_name(it) for it in ("plain", "volume.key", "detached"))
    for path in (own, volume_key, detached):
        path.unlink(missing_ok=True)
    own.write_bytes(plain.read_bytes().ljust(luks.stat().st_size - offset, b"\0"))
    dump = ("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", volume_key)
    run(*dump, "--key-file", key, luks)
    options = ("--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    run(
        *("cryptsetup", "reencrypt", "--encrypt", "-q", *options, "--sector-size", "512"),
        *("--volume-key-file", volume_key, "--key-size", "512", "--key-file", key),
        *("--header", detached, own),
    )
    with luks.open("r+b") as handle:
        handle.seek(offset)
        handle.write(own.read_bytes())
