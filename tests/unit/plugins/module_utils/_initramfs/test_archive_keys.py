# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys and the pinned header in an initramfs."""

from __future__ import annotations

import pathlib
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive_keys,
    initramfs_tools,
)
from cpio import newc

KEY, OTHER = b"the boot key of the image", b"the recovery key of it"
NAME = "/etc/cryptsetup-headers.d/luks-1.header"
HEADER = b"LUKS header".ljust(4096, b"\0")
KEY_FILE = {"etc/cryptsetup-keys.d/luks-1.key": (0o400, KEY)}
HEADER_FILE = {NAME[1:]: (0o400, HEADER)}
ZSTD = b"\x28\xb5\x2f\xfd"


def problems(
    runner: t.Any,
    path: pathlib.Path,
    others: t.Mapping[str, bytes] | None = None,
    files: t.Mapping[str, str] | None = None,
) -> list[str]:
    return archive_keys.problems(
        runner,
        str(path),
        boot_key=KEY,
        others=others or {},
        header=archive_keys.same(NAME, HEADER),
        files=files or {},
    )


@pytest.fixture
def initrd(tmp_path: pathlib.Path) -> t.Callable[..., pathlib.Path]:
    def make(*archives: bytes) -> pathlib.Path:
        path = tmp_path / "initrd"
        path.write_bytes(b"".join(archives))
        return path

    return make


def packed(script: t.Any, path: pathlib.Path, content: bytes) -> None:
    """Let zstd unpack what is behind the early archive into *content*."""
    main = path.with_name("initrd.main")
    argv = [
        "prlimit",
        f"--fsize={1 << 30}",
        f"--as={2 << 30}",
        "zstd",
        "-d",
        "-f",
        "-q",
        f"{main}.zst",
    ]
    script.expect(argv, effect=lambda: main.write_bytes(content))


def test_one_of_each(runner: t.Any, initrd: t.Any) -> None:
    assert problems(runner, initrd(newc({**KEY_FILE, **HEADER_FILE}))) == []


def test_a_key_that_the_compressor_stored_as_it_is_counts_once(
    script: t.Any, runner: t.Any, initrd: t.Any
) -> None:
    """Random data does not compress, so zstd can leave it literally in its frame."""
    path = initrd(newc({"microcode": (0o644, b"1")}), ZSTD, b"frame", KEY, OTHER, b"end")
    packed(script, path, newc({**KEY_FILE, **HEADER_FILE}))
    assert problems(runner, path, {"recovery key": OTHER}) == []


def test_a_key_in_the_early_archive_counts_as_well(
    script: t.Any, runner: t.Any, initrd: t.Any
) -> None:
    path = initrd(newc({**KEY_FILE, "x": (0o600, OTHER)}), ZSTD, b"frame")
    packed(script, path, newc({**KEY_FILE, **HEADER_FILE}))
    assert problems(runner, path, {"recovery key": OTHER}) == [
        "the recovery key is in it",
        "it holds the boot key 2 times, not once: remove the copies",
    ]


@pytest.mark.parametrize(
    "files",
    [
        {NAME[1:]: (0o400, HEADER)},
        {f".{NAME}": (0o400, HEADER)},
        {NAME: (0o400, HEADER)},
        {NAME[1:]: (0o600, HEADER)},
    ],
)
def test_the_header_by_whatever_name_a_tool_gives_it(
    runner: t.Any, initrd: t.Any, files: dict[str, t.Any]
) -> None:
    assert problems(runner, initrd(newc({**KEY_FILE, **files}))) == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, f"it holds no pinned header, not {NAME}: it would open whatever header the host has"),
        ({NAME[1:]: (0o400, HEADER[:-1])}, f"{NAME} in it is another than in the root"),
        ({NAME[1:]: (0o400, b"")}, f"{NAME} in it is another than in the root"),
        (
            {NAME[1:].replace("luks-1", "luks-2"): (0o400, HEADER)},
            f"it holds {NAME.replace('luks-1', 'luks-2')}, not {NAME}",
        ),
        (
            {**HEADER_FILE, NAME[1:].replace("luks-1", "luks-2"): (0o400, HEADER)},
            f"luks-2.header, not {NAME}",
        ),
        # Not where the initramfs looks for it.
        ({"etc/luks-1.header": (0o400, HEADER)}, "it holds no pinned header"),
    ],
)
def test_another_header_or_none(
    runner: t.Any, initrd: t.Any, files: dict[str, t.Any], says: str
) -> None:
    (problem,) = problems(runner, initrd(newc({**KEY_FILE, **files})))
    assert says in problem


def test_of_two_of_one_name_the_later_one_is_in_effect(
    script: t.Any, runner: t.Any, initrd: t.Any
) -> None:
    other = newc({NAME[1:]: (0o400, b"another")})
    path = initrd(other, ZSTD, b"frame")
    packed(script, path, newc({**KEY_FILE, **HEADER_FILE}))
    assert problems(runner, path) == []
    (problem,) = problems(runner, initrd(newc({**KEY_FILE, **HEADER_FILE}), other))
    assert problem == f"{NAME} in it is another than in the root"


def test_a_link_is_no_header(runner: t.Any, initrd: t.Any) -> None:
    """It leads out of the initramfs, or nowhere."""
    archive = newc({**KEY_FILE, NAME[1:]: (0, b"/dev/vda2")})
    name_at = archive.index(NAME[1:].encode())
    mode_at = name_at - 110 + 14
    assert int(archive[mode_at : mode_at + 8], 16) == stat.S_IFREG
    archive = archive[:mode_at] + b"%08X" % (stat.S_IFLNK | 0o777) + archive[mode_at + 8 :]
    (problem,) = problems(runner, initrd(archive))
    assert problem.startswith("it holds no pinned header")


@pytest.mark.parametrize("table", ["cryptroot/crypttab", "etc/crypttab"])
@pytest.mark.parametrize(
    ("options", "good"),
    [
        (f"luks,header={NAME}", True),
        ("luks", False),
        (f"luks,x-none={NAME}", False),
        (f"luks,header={NAME},header=/dev/vdb", False),
    ],
)
def test_what_opens_the_root_in_it(
    runner: t.Any, initrd: t.Any, table: str, options: str, good: bool
) -> None:
    """The file is of no use when the initramfs opens the disk without it."""
    line = f"cr_root UUID=1 /key {options}\n".encode()
    path = initrd(newc({**KEY_FILE, **HEADER_FILE, table: (0o644, line)}))
    said = f"its /{table} opens cr_root with another header than the pinned one"
    assert problems(runner, path) == ([] if good else [said])


@pytest.mark.parametrize(
    ("have", "good"),
    [
        ({"scripts/check": (0o755, b"text")}, True),
        ({"./scripts/check": (0o700, b"text")}, True),
        ({"scripts/check": (0o644, b"text")}, False),
        ({"scripts/check": (0o755, b"other")}, False),
        ({"check": (0o755, b"text")}, False),
        ({}, False),
    ],
)
def test_a_program_that_it_must_have(
    runner: t.Any, initrd: t.Any, have: dict[str, t.Any], good: bool
) -> None:
    path = initrd(newc({**KEY_FILE, **HEADER_FILE, **have}))
    said = "it has no /scripts/check that is the root's: make it again"
    assert problems(runner, path, files={"/scripts/check": "text"}) == ([] if good else [said])


OURS = f"{initramfs_tools.CONF_TEXT}{initramfs_tools.CLOSED_TEXT}".encode()
WORDS = b"rd.luks.uuid=6b5d6b7e rd.luks.timeout=30 root=UUID=6b5d6b7e quiet\n"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"etc/cmdline.d/20-force_driver.conf": b"rd.driver.pre=virtio_blk\n"}, ""),
        (
            {"etc/cmdline.d/01-default.conf": WORDS},
            "its /etc/cmdline.d/01-default.conf has words of the kernel about disks, or that undo ours: rd.luks.uuid,"
            " rd.luks.timeout, root",
        ),
        # An initramfs of initramfs-tools that this collection did not configure has no such file.
        ({"conf/conf.d/resume": b"RESUME=UUID=1\n"}, ""),
        (
            {
                "conf/initramfs.conf": b"MODULES=dep\nBOOT=nfs\n",
                "conf/conf.d/zzzz-sealedroot": OURS,
            },
            "",
        ),
        (
            {
                "conf/conf.d/zz-site": b"MODULES=dep\nRESUME=x\n",
                "conf/conf.d/zzzz-sealedroot": OURS,
            },
            "",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"RESUME=UUID=1\n"},
            "its /conf/conf.d/zzzzz has the last word, and RESUME is not none",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"BOOT=nfs\n"},
            "its /conf/conf.d/zzzzz has the last word, and BOOT is not local",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"MODULES=dep\n"},
            "its /conf/conf.d/zzzzz has the last word, and MODULES is not most",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"init=/bin/sh\n"},
            "its /conf/conf.d/zzzzz has the last word, and init is not /sbin/init",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"break=premount\n"},
            "its /conf/conf.d/zzzzz has the last word, and break is not empty",
        ),
        (
            {"conf/conf.d/zzzz-sealedroot": OURS, "conf/conf.d/zzzzz": b"panic=0\n"},
            "its /conf/conf.d/zzzzz has the last word, and panic is not 5",
        ),
        # An open console has no such setting.
        (
            {
                "conf/conf.d/zzzz-sealedroot": initramfs_tools.CONF_TEXT.encode(),
                "conf/conf.d/zzzzz": b"panic=0\nKEYMAP=y\n",
            },
            "",
        ),
        (
            {
                "conf/conf.d/10-debug": b"init=/bin/sh\nbreak=premount\nROOTFLAGS=x\npanic=0\n",
                "conf/conf.d/zzzz-sealedroot": OURS,
            },
            "",
        ),
        # Of an initramfs that an older configuration made.
        (
            {"conf/conf.d/zzzz-sealedroot": OURS.replace(b"init=/sbin/init\n", b"")},
            "its /conf/conf.d/zzzz-sealedroot has the last word, and init is not /sbin/init",
        ),
        # dracut reads the first as well.
        (
            {"etc/cmdline": b"quiet rd.break\n"},
            "its /etc/cmdline has words of the kernel about disks, or that undo ours: rd.break",
        ),
        ({"etc/cmdline-old": b"rd.break\n"}, ""),
        (
            {"etc/cmdline.d/90lvm.conf": b"rd.lvm.lv=vg/root rd.md.uuid=1\nrootfstype=xfs\n"},
            "its /etc/cmdline.d/90lvm.conf has words of the kernel about disks, or that undo ours: rd.lvm.lv,"
            " rd.md.uuid, rootfstype",
        ),
        # What dracut's modules write for every machine.
        (
            {
                "etc/cmdline.d/00-btrfs.conf": b"rd.driver.pre=btrfs\n",
                "etc/cmdline.d/base.conf": b"ro\n",
                "etc/cmdline.d/distroinit.conf": b"rd.distroinit=/usr/lib/systemd/systemd\n",
            },
            "",
        ),
    ],
)
def test_what_an_initramfs_is_told_besides_the_command_line(
    runner: t.Any, initrd: t.Any, files: dict[str, bytes], says: str
) -> None:
    told = {name: (0o644, text) for name, text in files.items()}
    found = problems(runner, initrd(newc({**KEY_FILE, **HEADER_FILE, **told})))
    assert found == ([says] if says else [])


# dracut mounts every line of the second (95fstab-sys), on demand or not.
@pytest.mark.parametrize("table", ["etc/fstab", "etc/fstab.sys"])
@pytest.mark.parametrize(
    ("line", "takes"),
    [
        # initramfs-tools and mkinitcpio put an empty one into each.
        ("", ""),
        ("# LABEL=old /x ext4", ""),
        ("/dev/mapper/cr_root /sysroot ext4 defaults 0 0", ""),
        ("tmpfs /tmp tmpfs defaults 0 0", ""),
        ("LABEL=old /x ext4 defaults 0 0", "LABEL=old"),
        ("/dev/mapper/other /x ext4 defaults 0 0", "/dev/mapper/other"),
        ("share /sysroot/home virtiofs defaults 0 0", "share"),
        ("/dev/vdb none swap sw 0 0", "/dev/vdb"),
    ],
)
def test_what_an_initramfs_mounts_besides_the_root(
    runner: t.Any, initrd: t.Any, table: str, line: str, takes: str
) -> None:
    opened = f"cr_root UUID=1 /key luks,header={NAME}\n".encode()
    have = {"etc/crypttab": (0o644, opened), table: (0o644, f"{line}\n".encode())}
    found = problems(runner, initrd(newc({**KEY_FILE, **HEADER_FILE, **have})))
    assert found == ([f"its /{table} mounts {takes}, which the host can supply"] if takes else [])


@pytest.mark.parametrize(("table", "good"), [("etc/fstab", True), ("etc/fstab.sys", False)])
def test_what_an_initramfs_mounts_on_demand(
    runner: t.Any, initrd: t.Any, table: str, good: bool
) -> None:
    have = {table: (0o644, b"LABEL=old /x ext4 noauto 0 0\n")}
    assert (problems(runner, initrd(newc({**KEY_FILE, **HEADER_FILE, **have}))) == []) is good
