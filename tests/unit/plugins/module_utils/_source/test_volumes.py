# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a disk image is and holds, from its bytes and what the tools say."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab as etc_fstab
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    not_taken,
    volumes as source_volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ROOT = source_volumes.Volume(2, 1 << 20, 1 << 20, "btrfs", "aa-BB", "ROOT", "cc", "system")


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("UUID=AA-bb", True),
        ("LABEL=ROOT", True),
        ("PARTUUID=CC", True),
        ("PARTLABEL=system", True),
        ("/dev/disk/by-uuid/aa-bb", True),
        ("/dev/sda2", True),
        ("/dev/nvme0n1p2", True),
        ("/dev/sda1", False),
        # Nothing shows that this disk is the second one.
        ("/dev/sdb2", False),
        ("/dev/disk/by-id/ata-X-part2", False),
        (r"/dev/disk/by-label/RO\x4fT", True),
        ("LABEL=", False),
        ("tmpfs", False),
    ],
)
def test_finds_the_volume_that_fstab_names(source: str, there: bool) -> None:
    disk = source_volumes.own_disk([[source, "/x", "ext4"]], [ROOT], None)
    assert (source_volumes.named(source, [ROOT], disk) == ROOT) is there


@pytest.mark.parametrize(
    ("lines", "points"),
    [
        (["/dev/sda2 / ext4", "/dev/sda3 /srv ext4", "/dev/sdb3 /data ext4"], ["srv"]),
        # The machine had another disk before this one.
        (["/dev/sdb2 / ext4", "/dev/sdb3 /srv ext4", "/dev/sda3 /data ext4"], ["srv"]),
        (["/dev/nvme1n1p2 / ext4", "/dev/nvme0n1p3 /data ext4"], []),
        (["/dev/nvme1n1p2 / ext4", "/dev/nvme1n1p3 /srv ext4"], ["srv"]),
        (["/dev/vda2 / ext4", "/dev/sda3 /data ext4"], []),
        (["/dev/disk/by-id/x-y-part2 / ext4", "/dev/disk/by-id/x-y-part3 /srv ext4"], ["srv"]),
        (["/dev/disk/by-id/x-part2 / ext4", "/dev/disk/by-id/y-part3 /data ext4"], []),
        (["/dev/disk/by-path/x-part2 / ext4", "/dev/disk/by-path/x-part3 /srv ext4"], ["srv"]),
        # The root's line names no disk: the only one that is named is this one, if it is a first one.
        (["LABEL=l2 / ext4", "/dev/sda3 /srv ext4", "/dev/sda1 none swap"], ["srv"]),
        (["LABEL=l2 / ext4", "/dev/vda3 /srv ext4", "/dev/sdb1 /x ext4 noauto"], ["srv"]),
        (["LABEL=l2 / ext4", "/dev/sda3 /data ext4", "/dev/sdb1 /x ext4"], []),
        (["LABEL=l2 / ext4", "/dev/sdb3 /data ext4"], []),
        (["LABEL=l2 / ext4", "/dev/vdb2 /data ext4"], []),
        (["LABEL=l2 / ext4", "/dev/disk/by-id/x-part3 /data ext4"], []),
        # It is another one if it has something else where this one has the root or a known part.
        (["LABEL=l2 / ext4", "/dev/vda2 /data ext4", "/dev/vda3 /more ext4"], []),
        (["LABEL=l2 / ext4", "LABEL=l3 /srv ext4", "/dev/sda3 /data ext4"], ["srv"]),
        # Another line shows which disk it is.
        (
            ["LABEL=l2 / ext4", "/dev/sdb3 /srv ext4", "LABEL=l3 /srv ext4", "/dev/sdb1 /x ext4"],
            ["srv", "x"],
        ),
        # What is mounted twice is taken once.
        (["LABEL=l2 / ext4", "LABEL=l2 /again ext4"], []),
        (["LABEL=l2 / ext4", "LABEL=l3 /srv ext4", "LABEL=l3 /again ext4"], ["srv"]),
        (["/dev/sda2 / ext4", "LABEL=l3 /srv ext4", "/dev/sdb3 /data ext4"], ["srv"]),
    ],
)
def test_a_name_of_the_kernel_counts_for_the_disk_of_the_root_alone(
    lines: list[str], points: list[str]
) -> None:
    plain = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    volumes = [typed(number, plain) for number in (1, 2, 3)]
    found = source_volumes.parts([it.split() for it in lines], volumes, volumes[1])
    assert [it.point for it in found if it.point] == points


def test_parts_follow_what_they_are_mounted_in() -> None:
    fstab = (
        "UUID=aa-bb /var/log btrfs subvol=@log\nUUID=aa-bb /var btrfs subvol=/@var\n"
        "UUID=aa-bb / btrfs subvol=@\nUUID=aa-bb /x btrfs noauto\nUUID=aa-bb /../y btrfs defaults\n"
    )
    rows = etc_fstab.rows(fstab)
    found = [(it.point, it.option) for it in source_volumes.parts(rows, [ROOT])]
    assert found == [("var", "subvol=/@var"), ("var/log", "subvol=/@log")]
    assert source_volumes.root_option(rows) == "subvol=/@"


def test_partitions_of_an_mbr_are_without_the_extended_one() -> None:
    text = (
        '{"partitiontable": {"label": "dos", "id": "0xabc", "partitions": ['
        '{"node": "d1", "start": 2048, "size": 8, "type": "5"},'
        '{"node": "d5", "start": 4096, "size": 8, "type": "83"}]}}'
    )
    (only,) = source_volumes.of_partitions(partitions.parse(text), 1 << 30)
    assert (only.number, only.offset, only.partuuid) == (5, 4096 * 512, "00000abc-05")


LOGICAL = source_volumes.Volume(0, 1 << 20, 1 << 20, "ext4", "dd", "DATA", logical="my-vg/root")
THIN = source_volumes.Volume(0, 0, 0, logical="vg/var", problem="of the type thin")


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("/dev/my-vg/root", True),
        ("/dev/mapper/my--vg-root", True),
        ("UUID=dd", True),
        ("/dev/mapper/my-vg-root", False),
        ("/dev/sda0", False),
        ("PARTUUID=", False),
    ],
)
def test_finds_the_logical_volume_that_fstab_names(source: str, there: bool) -> None:
    assert (source_volumes.named(source, [ROOT, LOGICAL], "/dev/sda") == LOGICAL) is there


def test_a_part_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(SealedRootError, match="logical volume vg/var in the disk is of the type"):
        source_volumes.parts([["/dev/vg/var", "/var", "ext4"]], [ROOT, THIN])
    for line in ("/dev/vg/var none swap sw 0 0", "/dev/vg/var /mnt auto noauto 0 0"):
        assert source_volumes.parts([line.split()], [ROOT, THIN]) == []


@pytest.mark.parametrize(
    ("volumes", "says"),
    [
        ([THIN], "is of the type thin, and only linear ones are read: copy it in its machine"),
        ([ROOT, THIN], "logical volume vg/var: of the type thin): only linear logical volumes"),
        ([source_volumes.Volume(1, 0, 0, "LVM2_member")], "volume by logical_volume"),
        ([source_volumes.Volume(1, 0, 0, "crypto_LUKS")], "decrypt it first"),
        ([source_volumes.Volume(1, 0, 0, "linux_raid_member")], "copy the array in its machine"),
        ([source_volumes.Volume(1, 0, 0)], "partition 1: nothing known): give a disk that"),
    ],
)
def test_says_why_there_is_no_root(volumes: list[source_volumes.Volume], says: str) -> None:
    assert says in str(source_volumes.no_root("/d", volumes))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ("defaults", ""),
        ("subvol=@", "subvol=/@"),
        ("subvol=/@/x/", "subvol=/@/x"),
        ("subvol=/", "subvolid=5"),
        ("subvolid=256", "subvolid=256"),
        ("subvolid=5", "subvolid=5"),
        ("subvolid=0", "subvolid=5"),
        # The name says the same, and stays if the number does not.
        ("subvolid=256,subvol=/@", "subvol=/@"),
        ("subvolid=x", ""),
    ],
)
def test_the_subvolume_of_a_line(options: str, option: str) -> None:
    assert source_volumes.subvolume_option(["LABEL=x", "/", "btrfs", options]) == option


def test_subvolumes_and_their_numbers() -> None:
    text = "ID 256 gen 9 top level 5 path @\nID 257 gen 9 top level 256 path @/a path b\nodd\n"
    assert source_volumes.subvolumes(text) == {256: "@", 257: "@/a path b"}


HOME = "933AC7E1-2EB4-4F13-B844-0E14E2AEF915"
XBOOTLDR = "BC13C2FF-59E6-4262-A352-B275FD6F7172"


def typed(number: int, kind: str, content: str = "ext4", attrs: str = "") -> source_volumes.Volume:
    """Return a partition as it is read from a table, with a content."""
    row = {"node": f"d{number}", "start": number * 2048, "size": 8, "type": kind, "attrs": attrs}
    table = partitions.parse(json.dumps({"partitiontable": {"label": "gpt", "partitions": [row]}}))
    (volume,) = source_volumes.of_partitions(table, 1 << 30)
    usage = "other" if content == "swap" else "filesystem"
    return source_volumes.probed(volume, f"TYPE={content}\nUSAGE={usage}\nLABEL=l{number}\n")


@pytest.mark.parametrize(
    ("volumes", "lines", "points"),
    [
        ([typed(2, HOME)], [], ["home"]),
        ([typed(2, HOME), typed(3, XBOOTLDR)], [], ["boot", "home"]),
        # The first of a type counts.
        ([typed(2, HOME), typed(3, HOME)], [], ["home"]),
        ([typed(2, HOME, attrs="RequiredPartition GUID:60,63")], [], []),
        ([typed(2, HOME, attrs="GUID:60")], [], ["home"]),
        ([typed(2, HOME, content="crypto_LUKS")], [], []),
        ([typed(2, HOME)], ["tmpfs /home tmpfs"], []),
        ([typed(2, HOME)], ["LABEL=x /home ext4 noauto"], []),
        ([typed(2, HOME)], ["LABEL=l2 /srv ext4"], ["srv"]),
        ([typed(2, XBOOTLDR)], ["LABEL=ESP /boot/efi vfat"], []),
        ([typed(2, XBOOTLDR)], ["LABEL=ESP /efi vfat"], []),
        ([typed(2, XBOOTLDR)], ["LABEL=l2 /boot ext4"], ["boot"]),
        ([typed(2, "0FC63DAF-8483-4772-8E79-3D69D8477DE4")], [], []),
    ],
)
def test_what_systemd_mounts_by_the_type_of_a_partition(
    volumes: list[source_volumes.Volume], lines: list[str], points: list[str]
) -> None:
    found = source_volumes.parts([it.split() for it in lines], volumes)
    assert [it.point for it in found] == points


def test_the_root_is_not_its_own_part() -> None:
    root = typed(2, HOME)
    assert source_volumes.parts([], [root], root) == []


def test_each_file_system_that_is_not_taken_is_named() -> None:
    volumes = [
        typed(1, partitions.ESP_TYPE, "vfat"),
        typed(2, "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
        typed(3, HOME, "crypto_LUKS"),
        typed(4, HOME, "swap"),
        source_volumes.Volume(5, 9, 9, "LVM2_member", usage="raid"),
        source_volumes.Volume(6, 10, 9, "linux_raid_member", usage="raid"),
        source_volumes.Volume(7, 11, 9, "vfat", usage="filesystem", kind="EF"),
        THIN,
    ]
    why = ": nothing in the root mounts it when the machine boots"
    assert not_taken.left_out(volumes, [], []) == [
        f"partition 2 (ext4, label l2){why}",
        "partition 3 (crypto_LUKS, label l3): it is encrypted",
        "partition 6 (linux_raid_member): its type is not read",
        f"logical volume vg/var (of the type thin){why}",
    ]
    assert len(not_taken.left_out(volumes, [volumes[1]], [])) == 3


USR = "8484680C-9521-48C6-9C11-B0720656F69E"
PLAIN = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@pytest.mark.parametrize(
    ("volume", "line", "says"),
    [
        (typed(2, PLAIN), "tmpfs /x tmpfs", "nothing in the root mounts it"),
        (typed(2, PLAIN), "LABEL=l2 /x ext4 noauto", "nothing in the root mounts it"),
        (typed(2, PLAIN, "f2fs"), "LABEL=l2 /x f2fs", "its type is not read"),
        (typed(2, PLAIN, "BitLocker"), "tmpfs /x tmpfs", "it is encrypted"),
        (typed(2, USR), "tmpfs /x tmpfs", "a partition type of /usr or /var"),
        (typed(2, PLAIN), "/dev/sdb2 /x ext4", "fstab or a unit names /dev/sdb2, which is it or"),
        (typed(2, PLAIN), "/dev/sdb2 none swap", "nothing in the root mounts it"),
        (typed(2, PLAIN), "/dev/sdb3 /x ext4", "nothing in the root mounts it"),
        (typed(2, PLAIN), "/dev/sda1 / ext4\n/dev/sdb2 /x ext4", "nothing in the root mounts it"),
        (
            typed(2, PLAIN),
            "/dev/disk/by-id/x-part1 / ext4\n/dev/sda2 /x ext4",
            "fstab or a unit names /dev/sda2, which is it or",
        ),
    ],
)
def test_why_a_file_system_is_not_taken(
    volume: source_volumes.Volume, line: str, says: str
) -> None:
    root = typed(1, PLAIN)
    rows = etc_fstab.rows(line)
    assert [it.volume for it in source_volumes.parts(rows, [root, volume], root)] == []
    (said,) = not_taken.left_out([root, volume], [root], rows)
    assert says in said


IS_BOOT = "its type is not read, and it is the root's /boot: "
NO_KERNEL = "its type is not read, and /boot of the root has no kernel: "


@pytest.mark.parametrize(
    ("kind", "line", "has_kernel", "says"),
    [
        (partitions.ESP_TYPE, "LABEL=l2 /boot/efi vfat", True, None),
        (partitions.ESP_TYPE, "LABEL=l2 /efi vfat", True, None),
        # As Arch and systemd-boot have it; a kernel below the mount point is not the one that boots.
        (partitions.ESP_TYPE, "LABEL=l2 /boot vfat", True, IS_BOOT),
        (partitions.ESP_TYPE, "LABEL=l2 /boot vfat noauto,x-systemd.automount", False, IS_BOOT),
        ("EF", "LABEL=l2 /boot vfat noauto", False, IS_BOOT),
        (PLAIN, "/dev/sda2 /boot vfat", False, IS_BOOT),
        (XBOOTLDR, "tmpfs /x tmpfs", False, IS_BOOT),
        (partitions.ESP_TYPE, "LABEL=l2 /efi vfat", False, NO_KERNEL),
        (partitions.ESP_TYPE, "tmpfs /x tmpfs", False, NO_KERNEL),
        ("EF", "tmpfs /x tmpfs", False, NO_KERNEL),
        (PLAIN, "LABEL=l2 /x vfat", False, "its type is not read"),
    ],
)
def test_kernels_on_a_vfat(kind: str, line: str, has_kernel: bool, says: str | None) -> None:
    root, boot = typed(1, PLAIN), typed(2, kind, "vfat")
    rows = etc_fstab.rows(line)
    assert source_volumes.parts(rows, [root, boot], root) == []
    found = not_taken.left_out([root, boot], [root], rows, has_kernel=has_kernel)
    assert [it.partition("): ")[2].partition("an image")[0] for it in found] == [says] * bool(says)


def test_a_partition_that_is_cut_off_is_named() -> None:
    rows = [{"node": f"d{it}", "start": it * 8, "size": 8, "type": "83"} for it in (1, 2, 3)]
    text = json.dumps({"partitiontable": {"label": "dos", "id": "0x1", "partitions": rows}})
    volumes = source_volumes.of_partitions(partitions.parse(text), 20 * 512)
    assert [(it.size, it.lost) for it in volumes] == [(4096, 0), (2048, 2048), (0, 4096)]
    why = ": what it holds is not in the file: get the file again"
    assert not_taken.left_out(volumes, [volumes[0]], []) == [
        f"partition 2, cut off 2048 bytes before its end{why}",
        f"partition 3, cut off 4096 bytes before its end{why}",
    ]
    assert str(source_volumes.no_root("/d", volumes)).endswith("cut off: get it again")


def test_the_entry_in_front_of_a_gpt_is_not_cut_off() -> None:
    row = {"node": "d1", "start": 1, "size": 0xFFFFFFFF, "type": "ee"}
    text = json.dumps({"partitiontable": {"label": "dos", "id": "0x0", "partitions": [row]}})
    (only,) = source_volumes.of_partitions(partitions.parse(text), 20 * 512)
    assert (only.size, only.lost) == (19 * 512, 0)
