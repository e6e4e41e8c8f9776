# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""fstab, crypttab and the units of systemd."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    mounts as audit_mounts,
    systemd,
)

LUKS = "11111111-2222-4333-8444-555555555555"
ROOT = ["/dev/mapper/cr_root", "/", "ext4"]
CRYPT = [["cr_root", f"UUID={LUKS}", "/key", "luks,header=/h"]]
ESP = ["LABEL=ESP", "/boot/efi", "vfat", "noauto,nodev,noexec,nosuid,umask=0077", "0", "0"]


def mounts(fstab: list[list[str]], crypttab: list[list[str]] = CRYPT) -> list[str]:
    return audit_mounts.mounts(fstab, crypttab, luks_uuid=LUKS, root_device="/dev/mapper/cr_root")


def test_table() -> None:
    text = "# comment\n\n  UUID=1 / ext4\n# another\0tmpfs /tmp tmpfs\n"
    assert audit_mounts.table(text) == [["UUID=1", "/", "ext4"], ["tmpfs", "/tmp", "tmpfs"]]
    assert audit_mounts.table(None) == []


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
        ["/dev/pts", "/srv/chroot/dev/pts", "none", "bind"],
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
        (["vmhgfs-fuse", "/x", "fuse", "allow_other"], "a directory of the host"),
        ([".host:/x", "/x", "fuse./usr/bin/vmhgfs-fuse"], "a directory of the host"),
        (["none", "/x", "prl_fs"], "none, a directory of the host"),
        (["tank/home", "/x", "zfs"], "names tank/home, which is not in the image"),
        (["/srv/x", "/x", "ext4", "loop,journal_path=/dev/vdb"], "the device /dev/vdb"),
        (["UUID=a", "/x", "ext4", "noauto,comment=systemd.automount"], "UUID=a, which"),
        (["UUID=a", "/x", "ext4", "noauto,x-systemd\\056automount"], "UUID=a, which"),
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


VAULT = ["vault", "UUID=cccc", "/etc/keys/vault.key", "luks,noauto"]
FILE = ["vault", "/srv/vault.img", "/etc/keys/vault.key", "luks,noauto"]
SAYS = "fstab names /dev/mapper/vault, which crypttab opens from a disk"


@pytest.mark.parametrize(
    ("entry", "options", "says"),
    [
        # systemd starts what makes a device that a line waits for, be that noauto or not.
        (VAULT, "defaults", SAYS),
        (VAULT, "nofail", SAYS),
        (VAULT, "noauto", None),
        (VAULT, "noauto,x-systemd.automount", SAYS),
        (FILE, "defaults", None),
        # Of auto and noauto, the last one counts.
        ([*VAULT[:3], "noauto,auto"], "noauto", "crypttab names UUID=cccc"),
        # The first line of a name counts, and either may be.
        ([*FILE[:2], "/k:LABEL=x", "luks"], "noauto", "crypttab names /k:LABEL=x"),
        ([*FILE[:3], "header=/dev/vdb"], "noauto", "crypttab names /dev/vdb"),
    ],
)
def test_a_mapping_is_the_guests_own(entry: list[str], options: str, says: str | None) -> None:
    found = mounts([ROOT, ["/dev/mapper/vault", "/vault", "ext4", options]], [*CRYPT, entry])
    assert [it[: len(says or "")] for it in found] == ([says] if says else [])


def test_the_disk_of_the_root_is_opened_once() -> None:
    (problem,) = mounts([ROOT], [*CRYPT, ["other", f"UUID={LUKS}", "none", "luks"]])
    assert problem == "crypttab opens the disk of the root as other as well"
    crypttab = [*CRYPT, FILE, VAULT]
    (problem,) = mounts([ROOT, ["/dev/mapper/vault", "/vault", "ext4"]], crypttab)
    assert problem.startswith(SAYS)


DISK = ["UUID=cccc", "/srv/disk", "ext4", "noauto"]


@pytest.mark.parametrize(
    ("lines", "crypttab"),
    [
        ([["tmpfs", "/srv/disk/cache", "tmpfs"]], []),
        ([["/srv/disk/www", "/var/www", "none", "bind"]], []),
        ([["/srv//disk/x.img", "/x", "ext4", "loop"]], []),
        ([["/srv/disk/swap", "none", "swap"]], []),
        ([["tmpfs", "/x", "tmpfs", "x-systemd.requires-mounts-for=/srv/disk"]], []),
        ([["tmpfs", "/x", "tmpfs", "x-systemd.requires=srv-disk.mount"]], []),
        # What is pulled in pulls in.
        (
            [
                ["tmpfs", "/x/y", "tmpfs"],
                ["/srv/disk/x", "/x", "none", "bind,noauto"],
            ],
            [],
        ),
        ([], [["v", "/srv/disk/v.img", "/k", "luks"]]),
        ([], [["v", "/v.img", "/srv/disk/k", "luks"]]),
    ],
)
def test_what_is_pulled_in_is_not_on_demand(
    lines: list[list[str]], crypttab: list[list[str]]
) -> None:
    assert mounts([ROOT, DISK]) == []
    (problem,) = mounts([ROOT, DISK, *lines], [*CRYPT, *crypttab])
    assert problem.startswith("fstab names UUID=cccc, which a disk of the host can have")
    assert problem.endswith("what a boot mounts or starts lies in it")


@pytest.mark.parametrize("point", ["/var", "/var/log/", "/tmp", "/var/lib"])
def test_what_systemd_itself_pulls_in(point: str) -> None:
    assert len(mounts([ROOT, ["UUID=cccc", point, "ext4", "noauto"]])) == 1


@pytest.mark.parametrize(
    "row",
    [
        ["tmpfs", "/srv/diskette", "tmpfs"],
        ["tmpfs", "/srv/disk/cache", "tmpfs", "noauto"],
        ["/srv/disk", "/x", "none", "bind,noauto"],
        ["/srv/x.img", "/x", "ext4", "loop=/dev/loop3"],
    ],
)
def test_what_pulls_nothing_in(row: list[str]) -> None:
    assert mounts([ROOT, ESP, DISK, row]) == []


ETC, USR = "/etc/systemd/system", "/usr/lib/systemd/system"
MASK = (0o777, "/dev/null")
WANTED = {f"{ETC}/local-fs.target.wants/data.mount": (0o777, "../data.mount")}


def unit(*lines: str) -> tuple[int, bytes]:
    return (0o644, "\n".join(lines).encode())


def data(what: str, *more: str) -> dict[str, t.Any]:
    return {f"{ETC}/data.mount": unit("[Mount]", f"What={what}", "Where=/data", *more)}


def judged(tree: t.Any, files: dict[str, t.Any], *lines: list[str]) -> list[str]:
    return audit_mounts.mounts(
        [ROOT, *lines],
        CRYPT,
        luks_uuid=LUKS,
        root_device="/dev/mapper/cr_root",
        units=systemd.Units(tree(files)),
    )


@pytest.mark.parametrize(
    ("what", "more", "says"),
    [
        (
            "LABEL=data",
            (),
            "LABEL=data, which a disk of the host can have: name the mapping, or mask",
        ),
        ("UUID=aaaa", ("Options=ro,noauto",), "UUID=aaaa, which a disk of the host can have"),
        ("PARTUUID=aaaa", (), "which a disk of the host can have"),
        ("PARTLABEL=a%%b", (), "PARTLABEL=a%b, which"),
        ("/dev/disk/by-label/data", (), "which a disk of the host can have"),
        ("/dev/vdb1", (), "the device /dev/vdb1, which is not in the image"),
        ("/dev/../dev/sda", (), "the device /dev/sda"),
        ("share", ("Type=virtiofs",), "share, a directory of the host: leave it out, or mask data"),
        ("/dev/mapper/cr_root", (), None),
        ("/srv/data.img", (), None),
        ("server:/data", ("Type=nfs",), None),
        ("/dev/zram0", (), None),
        ("tmpfs", ("Type=tmpfs",), None),
        ("LABEL=data\nWhat=tmpfs", (), None),
        (
            "/d%jv/vdb",
            (),
            "mounts /d%jv/vdb, which systemd makes a name of: write the name out, or mask",
        ),
        ("/srv/%i.img", (), "which systemd makes a name of"),
        ("/proc/1/root/dev/vdb", (), "the device /dev/vdb"),
        ("/proc/self/root/../dev/vdb", (), "the device /dev/vdb"),
        ("mtd0", ("Type=jffs2",), "names mtd0, which is not in the image"),
        ("ubi0:x", ("Type=ubifs",), "names ubi0:x, which is not in the image"),
    ],
)
def test_a_mount_unit(tree: t.Any, what: str, more: tuple[str, ...], says: str | None) -> None:
    found = judged(tree, {**data(what, *more), **WANTED})
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


# What Debian 12 and 13, Fedora and SUSE ship and start.
SHIPPED = {
    "dev-hugepages": ("hugetlbfs", "hugetlbfs"),
    "dev-mqueue": ("mqueue", "mqueue"),
    "proc-fs-nfsd": ("nfsd", "nfsd"),
    "proc-sys-fs-binfmt_misc": ("binfmt_misc", "binfmt_misc"),
    "run-lock": ("tmpfs", "tmpfs"),
    "run-vmblock\\x2dfuse": ("vmware-vmblock", "fuse.vmware-vmblock"),
    "sys-fs-fuse-connections": ("fusectl", "fusectl"),
    "sys-kernel-config": ("configfs", "configfs"),
    "sys-kernel-debug": ("debugfs", "debugfs"),
    "sys-kernel-tracing": ("tracefs", "tracefs"),
    "tmp": ("tmpfs", "tmpfs"),
    "var-lib-machines": ("/var/lib/machines.raw", "btrfs"),
    "var-lib-nfs-rpc_pipefs": ("sunrpc", "rpc_pipefs"),
}


def test_units_that_distributions_ship(tree: t.Any) -> None:
    files: dict[str, t.Any] = {}
    for name, (what, kind) in SHIPPED.items():
        files[f"{USR}/{name}.mount"] = unit("[Mount]", f"What={what}", f"Type={kind}")
        files[f"{USR}/sysinit.target.wants/{name}.mount"] = (0o777, f"../{name}.mount")
    assert judged(tree, files) == []


INSTALL = ("[Install]", "WantedBy=local-fs.target")
AUTOMOUNT = {f"{ETC}/data.automount": unit("[Automount]", "Where=/data", *INSTALL)}
SWAP = {f"{USR}/extra.swap": unit("[Swap]", "What=LABEL=swap", "[Install]", "WantedBy=swap.target")}


@pytest.mark.parametrize(
    ("files", "path"),
    [
        # As what is noauto in fstab: a person's own to ask for.
        (data("LABEL=x"), None),
        (data("LABEL=x", *INSTALL), f"{ETC}/data.mount"),
        ({**data("LABEL=x"), **WANTED}, f"{ETC}/data.mount"),
        ({**data("LABEL=x"), **AUTOMOUNT}, f"{ETC}/data.mount"),
        ({**data("LABEL=x"), f"{ETC}/data.automount": MASK}, None),
        (
            {**data("LABEL=x"), f"{ETC}/x.service": unit("[Unit]", "BindsTo=data.mount")},
            f"{ETC}/data.mount",
        ),
        (
            {
                f"{USR}/data.mount": unit("[Mount]", "What=LABEL=x", *INSTALL),
                f"{ETC}/data.mount": MASK,
            },
            None,
        ),
        (
            {f"{USR}/data.mount": unit("[Mount]", "What=LABEL=x", *INSTALL), **data("tmpfs")},
            None,
        ),
        # The drop-in has the last word.
        (
            {
                **data("tmpfs", *INSTALL),
                f"{ETC}/data.mount.d/x.conf": unit("[Mount]", "What=LABEL=x"),
            },
            f"{ETC}/data.mount.d/x.conf",
        ),
        # systemd makes the unit of a line in fstab.
        (
            {f"{ETC}/data.mount.d/x.conf": unit("[Mount]", "What=LABEL=x")},
            f"{ETC}/data.mount.d/x.conf",
        ),
        (SWAP, f"{USR}/extra.swap"),
        ({**SWAP, f"{ETC}/extra.swap": (0o644, b"")}, None),
    ],
)
def test_which_units_count(tree: t.Any, files: dict[str, t.Any], path: str | None) -> None:
    found = judged(tree, files)
    assert bool(found) is bool(path)
    assert path is None or found[0].startswith(f"{path} names LABEL=")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("RootImage=/dev/disk/by-label/HOST", "mounts /dev/disk/by-label/HOST (RootImage), which"),
        ("RootImage=/srv/x.raw", None),
        ("RootImage=/srv/%i.raw", "mounts /srv/%i.raw (RootImage)"),
        ("RootImage=", None),
        ("MountImages=/srv/a.raw:/mnt -/dev/vdb:/mnt2:ro", "mounts /dev/vdb (MountImages)"),
        ("ExtensionImages=/dev/disk/by-id/x", "mounts /dev/disk/by-id/x (ExtensionImages)"),
        ("RootDirectory=/srv/x", None),
    ],
)
def test_an_image_that_a_service_mounts(tree: t.Any, line: str, says: str | None) -> None:
    for path in (f"{ETC}/x.service", f"{ETC}/x.service.d/y.conf"):
        found = judged(tree, {path: unit("[Service]", line)})
        assert found == ([it for it in found if says in it and it.startswith(path)] if says else [])
        assert bool(found) is bool(says)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ("ExecStart=/sbin/swapon LABEL=SWAP", *INSTALL),
            "swaps to a disk of the host (ExecStart)",
        ),
        (
            ("ExecStartPre=-swapon -p 5 /dev/vdb", *INSTALL),
            "swaps to a disk of the host (ExecStartPre)",
        ),
        (("ExecStart=/sbin/swapon /swapfile", *INSTALL), None),
        (("ExecStart=/sbin/swapon /dev/zram0", *INSTALL), None),
        (("ExecStart=sh -c 'swapon /swapfile > /dev/null'", *INSTALL), None),
        (("ExecStart=swapon /dev/vg0/swap", *INSTALL), "swaps to a disk of the host (ExecStart)"),
        (("ExecStart=/usr/bin/mount /dev/vdb /data", *INSTALL), None),
        # Only a person starts it.
        (("ExecStart=/sbin/swapon LABEL=SWAP",), None),
    ],
)
def test_a_service_that_swaps_to_a_disk(
    tree: t.Any, lines: tuple[str, ...], says: str | None
) -> None:
    files = {f"{ETC}/x.service": unit("[Service]"), f"{USR}/y.service": unit("[Service]")}
    for path in (f"{ETC}/x.service", f"{ETC}/x.service.d/z.conf", f"{ETC}/y.service.d/z.conf"):
        found = judged(tree, {**files, path: unit("[Service]", *lines)})
        assert [it.partition(", which")[0] for it in found] == ([f"{path} {says}"] if says else [])


def test_no_unit_is_read_in_vain(tree: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root has hundreds of services, and reading a file of an image costs a process."""
    vendor = "/usr/lib/systemd/system"
    files = {f"{vendor}/{name}": unit("[Service]") for name in ("a.service", "b.timer", "c.target")}
    files |= data("/dev/mapper/cr_root")
    have = tree(files)
    text, read = have.text, []

    def reading(path: str) -> str | None:
        read.append(path)
        return t.cast("str | None", text(path))

    monkeypatch.setattr(have, "text", reading)
    units = systemd.Units(have)
    audit_mounts.mounts(
        [ROOT], CRYPT, luks_uuid=LUKS, root_device="/dev/mapper/cr_root", units=units
    )
    assert [path for path in read if path.startswith(vendor)] == []
    assert read


def test_units_and_fstab_pull_each_other_in(tree: t.Any) -> None:
    cache = unit("[Mount]", "What=tmpfs", "Where=/data/cache", "Type=tmpfs", *INSTALL)
    files = {f"{ETC}/data-cache.mount": cache}
    (problem,) = judged(tree, files, ["LABEL=x", "/data", "ext4", "noauto"])
    assert problem.startswith("fstab names LABEL=x")
    (problem,) = judged(tree, {**files, **data("LABEL=x")})
    assert problem.startswith(f"{ETC}/data.mount names LABEL=x")
    needing = unit("[Unit]", "RequiresMountsFor=/data", "[Mount]", "What=tmpfs", *INSTALL)
    (problem,) = judged(tree, {f"{ETC}/x.mount": needing, **data("LABEL=x")})
    assert problem.startswith(f"{ETC}/data.mount names LABEL=x")
    assert judged(tree, data("LABEL=x")) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data", "data"),
        ("srv/my-disk", "srv-my\\x2ddisk"),
        ("a b/.c", "a\\x20b-.c"),
        (".x", "\\x2ex"),
    ],
)
def test_a_unit_that_starts_what_is_noauto(tree: t.Any, path: str, name: str) -> None:
    """As systemd-escape(1) names it."""
    line = ["LABEL=x", f"/{path}".replace(" ", "\\040"), "ext4", "noauto"]
    for kind in ("mount", "automount"):
        link = f"{ETC}/multi-user.target.wants/{name}.{kind}"
        (problem,) = judged(tree, {link: (0o777, "/x")}, line)
        assert problem.endswith(f"name the mapping, or remove {link}, which starts it")
    link = f"{ETC}/multi-user.target.wants/{name}2.mount"
    assert judged(tree, {link: (0o777, "/x")}, line) == []
    # systemd.preset(5) may enable it at the first boot.
    enabled = f"{ETC}/{name}.automount"
    (problem,) = judged(tree, {enabled: unit("[Automount]", *INSTALL)}, line)
    assert problem.endswith(f"or remove {enabled}, which starts it")


def test_a_unit_that_starts_what_opens_a_disk(tree: t.Any) -> None:
    unit_name = "systemd-cryptsetup@my\\x2dvault.service"
    link = {f"{ETC}/multi-user.target.wants/{unit_name}": (0o777, "/x")}
    crypttab = [*CRYPT, ["my-vault", *VAULT[1:]]]
    for files, count in (({}, 0), (link, 1)):
        found = audit_mounts.mounts(
            [ROOT],
            crypttab,
            luks_uuid=LUKS,
            root_device="/dev/mapper/cr_root",
            units=systemd.Units(tree(files)),
        )
        assert found == ["crypttab names UUID=cccc, which is not in the image"] * count
