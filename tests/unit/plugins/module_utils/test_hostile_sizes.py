# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is small where it lies and large beyond measure when it is read: each ends soon, and takes no memory."""

from __future__ import annotations

import io
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import tarfile
import typing as t
import zlib

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import checks
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    image_tables,
    selinux,
    shell_defaults,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import (
    btrfs_blocks,
    xfs_attributes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    core_image,
    install,
    pe,
    script,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import running_root
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata
from ansible_collections.sealedroot.image.plugins.module_utils._machine import serial_boot
from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    tar as root_tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    lvm,
    oci,
    oci_store,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    SealedRootError,
)


class Installed:
    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return shutil.which(name)


RUNNER = ModuleRunner(t.cast(t.Any, Installed()))
GIB = 1 << 30


def cpu() -> float:
    return sum(
        it.ru_utime + it.ru_stime
        for it in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def sparse_tar(path: pathlib.Path, *members: tuple[str, int | bytes]) -> pathlib.Path:
    """Pack files by tar(1), of a size each, without content, or with a content."""
    tree = path.with_suffix(".tree")
    for name, what in members:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        with (tree / name).open("wb") as file:
            if isinstance(what, bytes):
                file.write(what)
            else:
                file.truncate(what)
    subprocess.run(["tar", "--sparse", "-C", tree, "-cf", path, "."], check=True)
    return path


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def look(store: oci_store.Store) -> None:
    if store.docker:
        oci.docker_candidates(store.read)
    else:
        oci.manifest(store.read, oci.choose(oci.candidates(store.read), "amd64"), "amd64")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("which", ["index.json", "blobs/sha256/" + "a" * 64, "manifest.json"])
def test_a_document_of_3_gib_in_an_archive_of_a_container(
    which: str, packed: bool, tmp_path: pathlib.Path
) -> None:
    entry = {"mediaType": oci.OCI_MANIFEST, "digest": digest("a")}
    index = json.dumps({"manifests": [entry]}).encode()
    members: dict[str, int | bytes] = {"index.json": index}
    if which == "manifest.json":
        members = {}
    path = sparse_tar(tmp_path / "x.tar", *{**members, which: 3 * GIB}.items())
    assert path.stat().st_size < 20 << 10
    if packed:
        subprocess.run(["gzip", path], check=True)
        path = path.with_suffix(".tar.gz")
    began = cpu()
    with pytest.raises(SealedRootError, match=f"{which} is larger than 4 MiB"):
        look(oci_store.find(RUNNER, str(path)))
    assert cpu() - began < 5


def test_an_os_release_of_3_gib_in_the_tar_of_a_root(tmp_path: pathlib.Path) -> None:
    path = sparse_tar(tmp_path / "x.tar", ("usr/lib/os-release", 3 * GIB))
    members = root_tar.listing(RUNNER, str(path))
    began = cpu()
    with pytest.raises(SealedRootError, match="its usr/lib/os-release has 3221225472 bytes"):
        root_tar.contents(RUNNER, str(path), members, [("usr/lib/os-release",)], most=1 << 20)
    assert cpu() - began < 1


def test_a_member_that_is_there_a_million_times() -> None:
    one = root_tar.Member("-", "etc/fstab", 1 << 20, 0, "./etc/fstab")
    with pytest.raises(SealedRootError, match="one file too many times"):
        root_tar.contents(RUNNER, "x", [one] * 1000, [("etc/fstab",)], most=1 << 20)


LINE = "block {}: -rw-r--r-- 0/0               0 2026-11-24 01:41 {}\n"


def test_millions_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_tar, "MOST_MEMBERS", 3)
    text = "".join(LINE.format(number, "x") for number in range(4))
    with pytest.raises(SealedRootError, match="more than 3 members"):
        root_tar.parse_listing(text)


def test_a_name_of_a_mebibyte(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("x/" * (1 << 19)), io.BytesIO())
    with pytest.raises(SealedRootError, match="a name that is longer than a path can be"):
        root_tar.listing(RUNNER, str(path))


def test_a_listing_that_is_too_long(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_tar, "MOST_LISTED", 1 << 16)
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(2000):
            tar.addfile(tarfile.TarInfo(f"a/{number}"))
    with pytest.raises(SealedRootError, match=r"the names in .* take more than 64 KiB"):
        root_tar.listing(RUNNER, str(path))


def pe_sections(count: int) -> bytes:
    data = bytearray(efi.program(bytes(16 << 20)))
    struct.pack_into("<H", data, 64 + 4 + 2, count)
    return bytes(data)


def core_of_modules() -> bytes:
    """Make a core image of modules that each say to have 65535 sections of no size."""
    header = bytearray(64)
    header[:5] = b"\x7fELF\x02"
    struct.pack_into("<HHH", header, 0x3A, 0, 65535, 0)
    body = (struct.pack("<II", 0, 72) + bytes(header)) * 10_000
    return struct.pack("<4sIQQ", b"mimg", 0, 24, 24 + len(body)) + body


def core_of_headers() -> bytes:
    """Make a file that could be a core image at 100000 places."""
    body = b"".join(struct.pack("<4sIQQ", b"mimg", 0, 24, 1 << 20) for _number in range(100_000))
    return body + bytes(2 << 20)


def xz_of_4_gib() -> bytes:
    header = b"\x02\x00\x21\x01\x28\x00\x00\x00"
    stream = b"\xfd7zXZ\x00\x00\x00" + zlib.crc32(b"\x00\x00").to_bytes(4, "little")
    return (
        stream + header + zlib.crc32(header).to_bytes(4, "little") + bytes([1, 0, 0]) + b"x" * 512
    )


def xfs_leaf() -> bytes:
    """Make a block of 64 KiB with 7000 attributes that all have the same value, which is most of it."""
    data = bytearray(64 << 10)
    struct.pack_into(">H", data, 8, 0x3BEE)
    struct.pack_into(">QH", data, 48, 133, 7000)
    for number in range(7000):
        struct.pack_into(">IHBx", data, 80 + 8 * number, number, 100, 1)
    struct.pack_into(">HB", data, 100, 60_000, 0)
    return bytes(data)


DEEP = "[" * 100_000


def refuses(act: t.Callable[[], t.Any], says: str) -> t.Callable[[], None]:
    def run() -> None:
        with pytest.raises(SealedRootError, match=says):
            act()

    return run


CASES: dict[str, t.Callable[[], t.Any]] = {
    "forty doublings": refuses(
        lambda: shell_defaults.values("A=xxxxxxxx\n" + "A=$A$A\n" * 40),
        "the value of A .* 128 KiB",
    ),
    "a value in each of many": refuses(
        lambda: shell_defaults.values(f"A={'x' * 100_000}\n" + "B=$A\n" * 100_000), "4 MiB"
    ),
    "commands that do not end": lambda: shell_defaults.values("A=$(\n" * 40_000),
    "words that do not end": lambda: shell_defaults.values("A=`\n" * 40_001 + "'"),
    "65535 sections": lambda: pe.parse(pe_sections(65535)),
    "signatures of nothing": lambda: pe.parse(efi.signed(efi.program(), times=50_000)),
    "modules with 65535 sections": lambda: core_image.parse(core_of_modules()),
    "many core images": lambda: core_image.parse(core_of_headers()),
    "many commands of GRUB": lambda: [
        judge("x|" * 50_000, volume="x") for judge in [script.foreign] * 30
    ],
    "attributes that lie over each other": lambda: [
        list(xfs_attributes.block(xfs_leaf(), 133)) for _number in range(20)
    ],
    "a block with more items than bytes": refuses(
        lambda: btrfs_blocks.parse_node(
            struct.pack("<48xQ40xIB", 1, 0xFFFFFFFF, 0) + bytes(65000), 1
        ),
        "damaged",
    ),
    "deep JSON of a container": refuses(lambda: oci.parse(DEEP.encode(), "x"), "its x is not JSON"),
    "deep JSON of LUKS": refuses(lambda: metadata.parse_luks2(DEEP, uuid=""), "damaged"),
    "deep JSON of a table": refuses(lambda: partitions.parse(DEEP), "cannot be read"),
    "deep JSON of a disk": refuses(lambda: partitions.parse(DEEP), "cannot be read"),
    "a number of a million digits": refuses(
        lambda: oci.parse(b"9" * (1 << 20), "x"), "its x is not JSON"
    ),
    "much metadata": lambda: lvm.parse("a = 1\n" * 200_000),
    # The header of xz asks for a window of 4 GiB (The .xz File Format 3.1).
    "a memdisk that is compressed": lambda: install.read_memdisk(xz_of_4_gib()),
    "entries of blanks": lambda: boot_entries.get(f"linux a{' ' * 200_000}b", "linux"),
    "a menu of blank lines": lambda: [
        boot_entries.used("\n" * 200_000),
        boot_entries.fallback("\n" * 200_000),
        checks.early_config("x", "\n" * 200_000, luks_uuid="x"),
        cfg.check_menu("\n" * 200_000, root_device="x", words=[]),
    ],
    "a console of blanks": lambda: serial_boot.plain("s" + " " * 30_000, "s a a a b"),
    "a policy of blanks": refuses(
        lambda: selinux.parse_config(f"SELINUXTYPE=a{' ' * 200_000}b"), "names no directory"
    ),
    # Each blank at the beginning of a line would be one more way to read it.
    "a key slot of blanks": refuses(
        lambda: metadata.parse_luks1(
            "Key Slot 0: ENABLED\n\tIterations: 1\n" + "\t      \t x\n" * 40
        ),
        "header is damaged",
    ),
    "key slots of blank lines": refuses(
        lambda: metadata.parse_luks1(
            "Key Slot 0: ENABLED\n\tIterations: 1\n" * 1000 + "\t\n" * 9000
        ),
        "header is damaged",
    ),
    "rows of setfiles without an end": lambda: selinux.parse_plan(
        "Would relabel / from a:b:c to x\n" * 100_000
    ),
    "labels of setfiles without an end": lambda: selinux.parse_plan(
        "Would relabel /" + " from a:b:" + "c:" * 500_000 + " from a:b:c to"
    ),
    "a table with an empty line": lambda: running_root.unlock(
        "\n \nx UUID=y /k luks,header=/h\n", "x"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_ends_soon(name: str) -> None:
    began, have = cpu(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CASES[name]()
    assert cpu() - began < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - have < 600 << 10


def test_numbers_that_are_numbers() -> None:
    assert (
        untrusted_json.loads('{"a": [1, -2.5, 12345678901234567890]}')["a"][2]
        == 12345678901234567890
    )
    for text in ("[" * 100_000, "9" * 41, "{", ""):
        with pytest.raises(ValueError, match=r"."):
            untrusted_json.loads(text)


@pytest.mark.parametrize("kind", ["link", "fifo", "device"])
def test_a_layer_that_is_no_file(kind: str, tmp_path: pathlib.Path) -> None:
    name = "blobs/sha256/" + "a" * 64
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    info = tarfile.TarInfo(name)
    info.type = {"link": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}[kind]
    info.linkname, info.devmajor, info.devminor = "/etc/shadow" if kind == "link" else "", 1, 5
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("index.json"))
        tar.addfile(info)
    with pytest.raises(SealedRootError, match="is no file: get the whole image again"):
        oci_store.find(RUNNER, str(path)).layout([name], str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"/m{n}/a /m{n + 1} none bind 0 0\n" for n in range(10_000)),
        f"/m0{'/a' * 2_000_000} /x none bind 0 0\n",
        f"/m0{'/a' * 2000} /x none bind 0 0\n" * 200,
        "".join(f"/*{n}:/m* /m{n} mergerfs\n" for n in range(5_000)),
    ],
    ids=["chain", "deep", "many", "globs"],
)
def test_lines_of_fstab_that_need_each_other(text: str) -> None:
    before = cpu()
    image_tables.fstab(
        f"UUID=1 /m0 ext4\n{text}",
        device="/dev/mapper/x",
        filesystem="ext4",
        exists=lambda _path: False,
    )
    assert cpu() - before < 10
