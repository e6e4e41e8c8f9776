# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a disk image is and holds, from its bytes and what the tools say."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
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
        ("LABEL=", False),
        ("tmpfs", False),
    ],
)
def test_finds_the_volume_that_fstab_names(source: str, there: bool) -> None:
    assert (source_volumes.named(source, [ROOT]) == ROOT) is there


def test_parts_follow_what_they_are_mounted_in() -> None:
    fstab = (
        "UUID=aa-bb /var/log btrfs subvol=@log\nUUID=aa-bb /var btrfs subvol=/@var\n"
        "UUID=aa-bb / btrfs subvol=@\nUUID=aa-bb /x btrfs noauto\nUUID=aa-bb /../y btrfs defaults\n"
    )
    found = [(it.point, it.subvolume) for it in source_volumes.parts(fstab, [ROOT])]
    assert found == [("var", "@var"), ("var/log", "@log")]
    assert source_volumes.root_subvolume(fstab) == "@"


def test_partitions_of_an_mbr_are_without_the_extended_one() -> None:
    text = (
        '{"partitiontable": {"label": "dos", "id": "0xabc", "partitions": ['
        '{"node": "d1", "start": 2048, "size": 8, "type": "5"},'
        '{"node": "d5", "start": 4096, "size": 8, "type": "83"}]}}'
    )
    (only,) = source_volumes.of_partitions(partitions.parse(text))
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
    assert (source_volumes.named(source, [ROOT, LOGICAL]) == LOGICAL) is there


def test_a_part_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(SealedRootError, match="logical volume vg/var in the disk is of the type"):
        source_volumes.parts("/dev/vg/var /var ext4 defaults 0 2\n", [ROOT, THIN])
    for line in ("/dev/vg/var none swap sw 0 0\n", "/dev/vg/var /mnt auto noauto 0 0\n"):
        assert source_volumes.parts(line, [ROOT, THIN]) == []


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
