# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_info on tars that GNU tar and Python write."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import pathlib
import random
import struct
import subprocess
import tarfile
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule

FAMILIES = LookupModule().run([])
Module = t.Callable[..., dict[str, t.Any]]


# More than tar(1) reads before it gives up.
DISK = bytes(510) + b"\x55\xaa" + bytes(1 << 20) + random.Random(1).randbytes(1 << 20)


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(100)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small root: enough to be one, with a merged /usr."""
    path = tmp_path / "root"
    for folder in ("usr/bin", "usr/sbin", "usr/lib/grub/x86_64-efi", "boot", "etc", "var/log"):
        (path / folder).mkdir(parents=True)
    for folder in ("bin", "sbin", "lib"):
        (path / folder).symlink_to(f"usr/{folder}")
    (path / "usr/bin/dash").write_bytes(elf(0x3E))
    (path / "usr/bin/sh").symlink_to("dash")
    (path / "usr/sbin/init").symlink_to("../lib/systemd/systemd")
    (path / "usr/lib/os-release").write_text("ID=debian\nVERSION_ID=\"12\"\nNAME='Debian'\n")
    (path / "etc/os-release").symlink_to("../usr/lib/os-release")
    (path / "usr/bin/grub-mkimage").touch()
    for tool in ("cryptsetup", "grub-mkconfig", "mkinitramfs", "update-initramfs"):
        (path / "usr/sbin" / tool).touch()
    (path / "usr/lib/grub/x86_64-efi/normal.mod").touch()
    hooks = path / "usr/share/initramfs-tools/hooks"
    hooks.mkdir(parents=True)
    (hooks / "cryptroot").touch()
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        (path / f"usr/lib/modules/{version}").mkdir(parents=True)
    (path / "boot/vmlinuz-6.1.0-10-amd64").write_bytes(b"MZ")
    return path


def pack(root: pathlib.Path, target: pathlib.Path, *options: str, what: str = ".") -> str:
    subprocess.run(["tar", *options, "-C", root, "-caf", target, what], check=True)
    return str(target)


def archive(*names: str) -> bytes:
    """Return a tar of small files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return made.getvalue()


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.zst"])
def test_each_compression(
    suffix: str, root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = pack(root, tmp_path / f"r.{suffix}")
    digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    wanted = f"sha256:{digest.upper()}"
    result = real_module("root_info", path=path, digest=wanted, families=FAMILIES)
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is False
    compression = {"gz": "gzip", "xz": "xz", "zst": "zstd", "tar": "none"}[
        suffix.rpartition(".")[2]
    ]
    assert result["tar"] == {"path": path, "sha256": digest, "compression": compression}
    info = result["root"]
    assert info["entries"] == sum(1 for _ in root.rglob("*")) + 1
    assert info["architecture"] == "x86_64"
    assert info["os_release"] == {"ID": "debian", "VERSION_ID": "12", "NAME": "Debian"}
    assert info["family"] == "debian"
    assert info["kernels"] == ["6.1.0-10-amd64"]
    assert info["has"]["grub_platforms"] == ["x86_64-efi"]
    assert info["has"]["cryptsetup_initramfs"] is True
    assert info["has"]["python3"] is False
    assert info["missing_packages"] == []


def test_names_without_a_dot(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = tmp_path / "r.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(os.listdir(root)):
            tar.add(root / name, name)
    info = real_module("root_info", path=str(path))["root"]
    assert info["architecture"] == "x86_64"
    assert info["kernels"] == ["6.1.0-10-amd64"]


def test_what_is_missing_is_named(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    (root / "usr/bin/dash").write_bytes(elf(0xB7))
    for name in (
        "usr/bin/grub-mkimage",
        "boot/vmlinuz-6.1.0-10-amd64",
        "usr/sbin/update-initramfs",
        "usr/sbin/init",
    ):
        (root / name).unlink()
    (root / "usr/share/initramfs-tools/hooks/cryptroot").unlink()
    path = pack(root, tmp_path / "r.tar")
    info = real_module("root_info", path=path, families=FAMILIES)["root"]
    assert info["architecture"] == "aarch64"
    assert info["missing_packages"] == [
        *("systemd-sysv", "linux-image-arm64", "grub-efi-arm64"),
        *("initramfs-tools", "cryptsetup-initramfs"),
    ]


def test_the_estimate_is_near_what_ext4_takes(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    many = root / "usr/share/many"
    many.mkdir()
    for number in range(3000):
        (many / f"a-name-of-a-common-length-{number}").write_bytes(b"x" * (number * 7 % 9000))
    os.link(root / "usr/bin/dash", root / "usr/bin/dash-too")
    (root / "usr/lib/data").write_bytes(bytes(1 << 20))
    (root / "usr/lib/link").hardlink_to(root / "usr/lib/data")
    with (root / "var/log/lastlog").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"x" * 10000)
    path = pack(root, tmp_path / "r.tar", "--sparse")
    estimate = real_module("root_info", path=path)["root"]["unpacked_bytes"]
    seen, real = set(), 0
    for item in [root, *root.rglob("*")]:
        info = item.lstat()
        if info.st_ino not in seen:
            seen.add(info.st_ino)
            real += info.st_blocks * 512 + 256
    assert real * 0.98 < estimate < real * 1.1


def test_odd_names_do_not_confuse(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    for name in ("two\nlines", "back\\slash", "a -> b", "a link to b", "tab\t", "dëutsch", "*[x]?"):
        (root / "etc" / name).write_text("x")
    (root / "etc" / os.fsdecode(b"latin\xe9")).touch()
    (root / "etc/arrow -> x").symlink_to("y -> z")
    info = real_module("root_info", path=pack(root, tmp_path / "r.tar"))["root"]
    assert info["entries"] == sum(1 for _ in root.rglob("*")) + 1


def test_a_member_that_is_there_twice_counts_as_the_last(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = pack(root, tmp_path / "r.tar")
    (root / "usr/lib/os-release").write_text("ID=debian\nVERSION_ID=13\nMORE=text\n")
    subprocess.run(["tar", "-C", root, "-rf", path, "./usr/lib/os-release"], check=True)
    info = real_module("root_info", path=path)["root"]
    assert info["os_release"]["VERSION_ID"] == "13"
    assert info["architecture"] == "x86_64"


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.zst"])
@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_truncated(
    suffix: str, cut: float, root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    (root / "usr/lib/data").write_bytes(os.urandom(3 << 20))
    path = pathlib.Path(pack(root, tmp_path / f"r.{suffix}"))
    os.truncate(path, int(path.stat().st_size * cut))
    result = real_module("root_info", path=str(path))
    assert result["failed"] is True
    assert "truncated" in result["msg"]
    assert "\n" not in result["msg"]


def test_truncated_between_two_members(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """tar(1) itself takes such a file for a whole one."""
    path = pack(root, tmp_path / "r.tar")
    with tarfile.open(path) as tar:
        start = tar.getmembers()[-1].offset
    os.truncate(path, start)
    subprocess.run(["tar", "-tf", path], check=True, capture_output=True)
    assert "is truncated" in real_module("root_info", path=path)["msg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello world\n" * 1000, "is not a tar"),
        (bytes(100_000), "is a tar with nothing in it"),
        (bz2.compress(bytes(1000)), "is compressed with bzip2, which is not supported"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 1000, "is compressed with zstd, and was cut off or is"),
        (b"\x1f\x8b" + b"\xff" * 1000, "is compressed with gzip, and was cut off or is damaged"),
        (gzip.compress(DISK), "If it is a disk, unpack it (gzip --decompress"),
        (gzip.compress(DISK)[:-100], "is compressed with gzip, and was cut off or is damaged"),
        (lzma.compress(DISK)[:-100], "is compressed with xz, and was cut off or is damaged"),
        (
            b"QFI\xfb" + bytes(1000),
            "a disk image (qcow2) and no tar: set the type of image_source to",
        ),
        (archive("manifest.json", "a/layer.tar"), "set the type of image_source to oci"),
        (
            archive("a.ovf", "a.vmdk"),
            "is an OVA: unpack it (tar --extract --file), and give a.vmdk",
        ),
    ],
)
def test_what_is_no_tar(
    content: bytes, message: str, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = tmp_path / "r.tar"
    path.write_bytes(content)
    result = real_module("root_info", path=str(path))
    assert result["failed"] is True
    assert message in result["msg"]
    assert "\n" not in result["msg"]


def test_a_tar_that_is_no_root(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = pack(tmp_path, tmp_path / "r.tar", what="root")
    result = real_module("root_info", path=path)
    assert "has the root in its directory root: unpack it" in result["msg"]


def test_wrong_digest_and_no_file(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = pack(root, tmp_path / "r.tar")
    found = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    result = real_module("root_info", path=path, digest="0" * 64)
    assert found in result["msg"]
    assert "0" * 64 in result["msg"]
    assert "not a SHA-256" in real_module("root_info", path=path, digest="md5:1")["msg"]
    missing = real_module("root_info", path=f"{path}.none")
    assert "does not exist on the builder" in missing["msg"]
    directory = real_module("root_info", path=str(root))
    assert "is a directory, not a file" in directory["msg"]


def test_hostile_names_are_only_read(tmp_path: pathlib.Path, real_module: Module) -> None:
    path = tmp_path / "r.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../etc/evil", "/abs/evil", "--checkpoint-action=exec=sh", "usr/bin/dash"):
            data = elf(0x3E)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    info = real_module("root_info", path=str(path))["root"]
    assert info["entries"] == 4
    assert info["family"] == ""
    assert info["missing_packages"] == []


def odd_root(root: pathlib.Path) -> None:
    """Make the small root one with two kernels, and with what belongs to another machine."""
    for version, builtin in (
        ("6.1.0-10-amd64", ""),
        ("6.9.1-mine", "kernel/drivers/md/dm-crypt.ko"),
    ):
        top = root / "usr/lib/modules" / version
        (top / "kernel").mkdir(parents=True, exist_ok=True)
        names = ["virtio_blk.ko.xz", "virtio_pci.ko", *([] if builtin else ["dm-crypt.ko.zst"])]
        for name in names:
            (top / "kernel" / name).write_bytes(b"x")
        (top / "modules.builtin").write_text(
            f"{builtin}\nkernel/drivers/nvme/host/nvme.ko\nkernel/fs/ext4/ext4.ko\n"
        )
        (root / f"boot/vmlinuz-{version}").write_bytes(b"MZ")
        (root / f"boot/initrd.img-{version}").write_bytes(b"x")
    os.link(root / "boot/initrd.img-6.9.1-mine", root / "boot/initrd.img-6.9.1-mine.bak")
    for folder in ("etc/cryptsetup-keys.d", "etc/keys", "srv", "home/me"):
        (root / folder).mkdir(parents=True)
    for name in ("etc/cryptsetup-keys.d/old.key", "etc/keys/vault.key", "srv/vault.img"):
        (root / name).write_bytes(b"a key or the like")
        (root / name).chmod(0o400)
    (root / "home/me/.profile").write_text("x")
    (root / "swäp file").write_bytes(bytes(1 << 20))
    os.link(root / "swäp file", root / "srv/too")
    (root / "etc/fstab").write_text(
        "/dev/vg/root / xfs defaults 0 1\n/dev/vg/home /home xfs defaults 0 2\n"
        "/dev/zram0 none swap sw 0 0\n/swäp\\040file none swap sw 0 0\n/dev/mapper/vault /vault xfs\n"
    )
    (root / "etc/crypttab").write_text(
        "old UUID=1 none luks\nvault /srv/vault.img /etc/keys/vault.key luks\n"
    )


def test_what_belongs_to_another_machine_is_not_unpacked(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """The options of tar are those of the role rootfs."""
    odd_root(root)
    for suffix in ("tar", "tar.zst"):
        path = pack(root, tmp_path / f"odd.{suffix}")
        result = real_module("root_info", path=path, families=FAMILIES)
        assert not result.get("failed"), result["msg"]
        info = result["root"]
        assert info["kernels"] == ["6.1.0-10-amd64", "6.9.1-mine"]
        assert info["kernel_disks"] == {
            version: ["virtio_blk", "nvme"] for version in info["kernels"]
        }
        assert info["notes"] == []
        assert info["missing_packages"] == []
        assert info["problems"] == []
        target = tmp_path / suffix
        target.mkdir()
        options = ("--anchored", "--no-wildcards", *(f"--exclude={it}" for it in info["excluded"]))
        command = ["tar", "--directory", str(target), "--extract", "--file", path, *options]
        subprocess.run(command, check=True, timeout=60)
        gone = {it.relative_to(root) for it in root.rglob("*")}
        gone -= {it.relative_to(target) for it in target.rglob("*")}
        assert {str(it) for it in gone} == {
            *("swäp file", "srv/too", "etc/cryptsetup-keys.d/old.key"),
            *("boot/initrd.img-6.1.0-10-amd64", "boot/initrd.img-6.9.1-mine"),
            "boot/initrd.img-6.9.1-mine.bak",
        }
        assert len(info["left_out"]) == 7, info["left_out"]


def test_each_oddity_is_named(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """As the root of the other tests is, and with two generators: all at once."""
    hooks = root / "etc/kernel/postinst.d"
    hooks.mkdir(parents=True)
    for name in ("initramfs-tools", "dracut"):
        (hooks / name).write_text("#!/bin/sh\n")
        (hooks / name).chmod(0o755)
    (root / "usr/sbin/dracut").touch()
    (root / "boot/vmlinuz-7").touch()
    (root / "etc/fstab").write_text("UUID=2 /var ext4 defaults 0 2\n")
    info = real_module("root_info", path=pack(root, tmp_path / "r.tar"), families=FAMILIES)["root"]
    said = [it[:24] for it in info["problems"]]
    assert said == [
        "/var was a file system o",
        "Both initramfs-tools and",
        *["Kernel 6.1.0-10-amd64 ha"] * 3,
        "Kernel 7 in /boot has no",
    ]


def test_a_usr_that_is_elsewhere(tmp_path: pathlib.Path, real_module: Module) -> None:
    root = tmp_path / "root"
    for folder in ("etc", "usr"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/fstab").write_text("LABEL=usr /usr ext4 defaults 0 2\n")
    result = real_module("root_info", path=pack(root, tmp_path / "r.tar"))
    assert "is not a whole root. /usr was a file system of its own (etc/fstab)" in result["msg"]


@pytest.mark.parametrize(
    ("code", "ways"),
    [
        (b"GRUB 2.06", ["prompt"]),
        (b"\0Password to open volumes.\0", ["prompt", "launch_secret"]),
    ],
)
def test_how_its_grub_can_be_given_a_key(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module, code: bytes, ways: list[str]
) -> None:
    module = root / "usr/lib/grub/x86_64-efi/cryptodisk.mod"
    module.write_bytes(code)
    # What a machine that the root was had there is another one's.
    (root / "boot/grub/x86_64-efi").mkdir(parents=True)
    (root / "boot/grub/x86_64-efi/cryptodisk.mod").write_bytes(b"GRUB 2.02")
    info = real_module("root_info", path=pack(root, tmp_path / "root.tar"), families=FAMILIES)
    assert info["root"]["has"]["grub_unlocks"] == ways
