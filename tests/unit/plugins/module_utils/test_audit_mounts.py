# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""fstab and crypttab."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _audit_mounts

LUKS = "11111111-2222-4333-8444-555555555555"
ROOT = ["/dev/mapper/cr_root", "/", "ext4"]
CRYPT = [["cr_root", f"UUID={LUKS}", "/key", "luks,header=/h"]]
ESP = ["LABEL=ESP", "/boot/efi", "vfat", "noauto,nodev,noexec,nosuid,umask=0077", "0", "0"]


def mounts(fstab: list[list[str]], crypttab: list[list[str]] = CRYPT) -> list[str]:
    return _audit_mounts.mounts(fstab, crypttab, luks_uuid=LUKS)


def test_table() -> None:
    text = "# comment\n\n  UUID=1 / ext4\n# another\ntmpfs /tmp tmpfs\n"
    assert _audit_mounts.table(text) == [["UUID=1", "/", "ext4"], ["tmpfs", "/tmp", "tmpfs"]]
    assert _audit_mounts.table(None) == []


def test_what_the_collection_writes() -> None:
    assert mounts([ROOT, ESP]) == []


@pytest.mark.parametrize(
    "row",
    [
        ["/dev/mapper/cr_root", "/x", "ext4"],
        ["tmpfs", "/tmp", "tmpfs"],
        ["/swapfile", "none", "swap"],
        ["/dev/zram0", "none", "swap"],
        ["server:/home", "/home", "nfs"],
        ["/srv/a", "/srv/b", "none", "bind"],
        ["/dev/shm", "/x", "none", "bind"],
    ],
)
def test_what_no_disk_of_the_host_can_be(row: list[str]) -> None:
    assert mounts([ROOT, row]) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        # Each of them can be that of a disk that the host attaches, the image's own as well.
        (["UUID=aaaa", "/x", "ext4"], "UUID=aaaa, which a disk of the host can have"),
        (['UUID="aaaa"', "/x", "ext4"], "which a disk of the host can have"),
        ([f"UUID={LUKS}", "/x", "ext4"], "which a disk of the host can have"),
        (
            ["LABEL=ESP", "/boot/efi", "vfat", "umask=0077,nofail"],
            "name the mapping, or set noauto",
        ),
        (["PARTUUID=bbbb", "/x", "ext4"], "which a disk of the host can have"),
        (["PARTLABEL=root", "/x", "ext4"], "which a disk of the host can have"),
        (["ID=scsi-1", "/x", "ext4"], "which a disk of the host can have"),
        (["/dev/disk/by-uuid/aaaa", "/x", "ext4"], "which a disk of the host can have"),
        (["/dev/disk/by-id/x", "none", "swap"], "which a disk of the host can have"),
        (
            ["/dev/mapper/other", "/x", "ext4"],
            "device /dev/mapper/other, which is not in the image",
        ),
        (["/dev/vda3", "/x", "ext4", "nofail"], "device /dev/vda3, which is not in the image"),
        (["share", "/x", "virtiofs"], "share, a directory of the host"),
        (["share", "/x", "9p", "trans=virtio,nofail"], "share, a directory of the host"),
    ],
)
def test_what_the_host_could_supply(row: list[str], says: str) -> None:
    (problem,) = mounts([ROOT, row])
    assert problem.startswith("fstab names ")
    assert says in problem


@pytest.mark.parametrize(
    "source", ["UUID=cccc", "LABEL=esp", "/dev/disk/by-uuid/cccc", "/dev/mapper/other", "/dev/sda1"]
)
def test_a_container_that_is_not_in_the_image(source: str) -> None:
    (problem,) = mounts([ROOT], [*CRYPT, ["x", source]])
    assert problem == f"crypttab names {source}, which is not in the image"


def test_a_container_in_a_file_of_the_root() -> None:
    assert mounts([ROOT], [*CRYPT, ["vault", "/srv/vault.img", "/key", "luks"]]) == []
    # Its UUID may be written as blkid does not.
    assert mounts([ROOT], [["cr_root", f"UUID={LUKS.upper()}", "/key", "luks"]]) == []


@pytest.mark.parametrize("fstab", [[], [["tmpfs", "/", "tmpfs"]], [[*ROOT[:1], "/srv", "ext4"]]])
def test_no_root(fstab: list[list[str]]) -> None:
    assert mounts(fstab) == ["fstab has no line for / that names its mapping"]


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ("noauto", True),
        ("ro,noauto", True),
        ("nofail", False),
        ("noauto,x-systemd.automount", False),
    ],
)
def test_what_a_person_asks_for_alone_may_be_elsewhere(options: str, accepted: bool) -> None:
    assert (mounts([ROOT, ["UUID=cccc", "/backup", "ext4", options]]) == []) is accepted
    row = ["backup", "UUID=cccc", "none", options.replace("x-systemd.automount", "initramfs")]
    assert (mounts([ROOT], [*CRYPT, row]) == []) is accepted
