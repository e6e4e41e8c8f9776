# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an old machine's tables become in an image."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab as etc_fstab
from ansible_collections.sealedroot.image.plugins.module_utils._etc.image_tables import (
    NO_FILE,
    crypttab,
    fstab,
)

ROOT = "/dev/mapper/cr_root"
# The EFI system partition is the host's: nothing mounts it by itself, and nothing in it is a program or a device.
ESP = "LABEL=ESP /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0"
OLD = """\
# the old machine
UUID=1111 / xfs defaults 0 1
UUID=2222 /boot ext4 defaults 0 2
LABEL=EFI /boot/efi vfat defaults 0 2
/dev/sda3 none swap sw 0 0
PARTUUID=33 /data ext4 defaults 0 2
tmpfs /tmp tmpfs size=1g 0 0
server:/home /home nfs ro 0 0
/srv/a /srv/b none bind 0 0
"""


def make(text: str, **more):
    return fstab(text, device=ROOT, filesystem="ext4", **more)


def test_an_empty_table_gets_root_and_esp():
    table, dropped = make("")
    assert table.splitlines() == [
        f"{ROOT} / ext4 errors=remount-ro 0 1",
        ESP,
    ]
    assert dropped == []


def test_the_old_machines_disks_go_and_the_rest_stays():
    table, dropped = make(OLD)
    # What the image has in place of the old lines is not lost.
    assert dropped == [
        "fstab line '/dev/sda3 none': a disk of the old machine",
        "fstab line 'PARTUUID=33 /data': a disk of the old machine",
    ]
    for kept in ("# the old machine", "tmpfs /tmp", "server:/home", "/srv/a /srv/b"):
        assert kept in table
    for gone in ("sda3", "UUID=2222", "LABEL=EFI"):
        assert gone not in table


def test_a_second_run_changes_nothing():
    table, _dropped = make(OLD)
    again, dropped = make(table)
    assert again == table
    assert dropped == []


def test_the_root_is_what_only_the_guest_names():
    """A disk of the host can have every UUID, label and partition name."""
    table, _dropped = make(OLD)
    (root,) = (line for line in table.splitlines() if line.split()[1:2] == ["/"])
    assert root.startswith("/dev/mapper/cr_root ")
    others = [row for row in etc_fstab.rows(table) if "=" in row[0]]
    assert [" ".join(row) for row in others] == [ESP]
    assert etc_fstab.is_on_demand(others[0])


def entry(text: str, **more):
    return crypttab(
        text, name="cr_root", luks_uuid="u", key_file="/k", options="luks,initramfs", **more
    )


def test_crypttab_has_the_root_alone():
    table, dropped = entry("# <target name>\nold UUID=9 none luks\n")
    assert table == "# <target name>\ncr_root UUID=u /k luks,initramfs\n"
    assert dropped == ["crypttab line 'old UUID=9': a disk of the old machine"]
    assert entry(table) == (table, [])
    assert entry("# <target name>\0old UUID=9 none luks\n") == (table, dropped)


@pytest.mark.parametrize("filesystem", ["btrfs", "xfs"])
def test_what_checks_itself_is_not_checked_at_boot(filesystem: str) -> None:
    table, _dropped = fstab("", device=ROOT, filesystem=filesystem)
    assert table.splitlines()[0] == f"{ROOT} / {filesystem} defaults 0 0"


CRYPTTAB = [
    ["vault", "/srv/vault.img", "/etc/keys/vault.key", "luks"],
    ["backup", "UUID=6f0f-cccc", "/etc/keys/backup.key", "luks,noauto"],
    ["cr_root", "UUID=u", "/k", "luks,initramfs,header=/h"],
]


def nothing(_path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        # LVM, in both of its spellings; with nofail nothing waits, but the host could bring a disk of that name.
        ("/dev/mapper/vg-home /home ext4 defaults 0 2", etc_fstab.OLD_DISK),
        ("/dev/vg/data /data ext4 nofail 0 2", etc_fstab.OLD_DISK),
        ("/dev/mapper/cswap none swap sw 0 0", etc_fstab.OLD_DISK),
        ("/dev/disk/by-label/x /x ext4 defaults 0 2", etc_fstab.OLD_DISK),
        ("/dev/fd0 /floppy auto defaults 0 0", etc_fstab.OLD_DISK),
        ("tank/home /home zfs defaults 0 0", etc_fstab.OLD_DISK),
        # A directory of the host, whatever its name.
        ("share /srv/share virtiofs defaults 0 0", etc_fstab.OF_HOST),
        ("share /srv/share 9p trans=virtio,nofail 0 0", etc_fstab.OF_HOST),
        ("share /srv/share vboxsf defaults 0 0", etc_fstab.OF_HOST),
        (".host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0", etc_fstab.OF_HOST),
        ("share /srv/share virtiofs noauto 0 0", None),
        ("vmhgfs-fuse /mnt/hgfs fuse defaults,allow_other 0 0", etc_fstab.OF_HOST),
        (".host:/x /mnt/h fuse./usr/bin/vmhgfs-fuse defaults 0 0", etc_fstab.OF_HOST),
        (".host:/x /mnt/h auto defaults 0 0", etc_fstab.OF_HOST),
        ("/usr/bin/vmhgfs-fuse#x /mnt/h fuse defaults 0 0", etc_fstab.OF_HOST),
        ("none /mnt/psf prl_fs sync,nosuid 0 0", etc_fstab.OF_HOST),
        ("psf /mnt/psf fuse.prl_fsd defaults 0 0", etc_fstab.OF_HOST),
        ("hostshare /mnt/v fuse.virtiofs defaults 0 0", etc_fstab.OF_HOST),
        ("share /mnt/v fuse3.vboxsf defaults 0 0", etc_fstab.OF_HOST),
        ("share /mnt/v \\071p defaults 0 0", etc_fstab.OF_HOST),
        ("none /mnt/h hostfs defaults 0 0", etc_fstab.OF_HOST),
        ("ntfs-3g#/dev/vdb1 /mnt/n fuse defaults 0 0", etc_fstab.OLD_DISK),
        ("ntfs-3g#UUID=1 /mnt/n fuse defaults 0 0", etc_fstab.OLD_DISK),
        ("/dev/nullb0 /mnt/n ext4 defaults 0 0", etc_fstab.OLD_DISK),
        ("tmpfs /mnt/n tmpfs x-systemd.requires=/dev/vdb 0 0", etc_fstab.OLD_DISK),
        ("tmpfs /mnt/n tmpfs x-systemd.requires=dev-vdb.device 0 0", etc_fstab.OLD_DISK),
        (
            "tmpfs /mnt/n tmpfs x-systemd.requires=systemd-cryptsetup@backup.service 0 0",
            etc_fstab.OLD_DISK,
        ),
        # Mounted as soon as somebody looks.
        ("UUID=1 /backup ext4 noauto,x-systemd.automount 0 0", etc_fstab.OLD_DISK),
        ("UUID=1 /backup ext4 noauto,comment=systemd.automount 0 0", etc_fstab.OLD_DISK),
        ("UUID=1 /backup ext4 noauto,x-systemd\\056automount 0 0", etc_fstab.OLD_DISK),
        # What systemd itself has there is needed at any boot.
        ("UUID=1 /var ext4 noauto 0 0", f"{etc_fstab.OLD_DISK}, {etc_fstab.PULLED_IN}"),
        # A disk that crypttab opens for a person alone.
        ("/dev/mapper/backup /backup ext4 defaults 0 0", etc_fstab.OLD_DISK),
        ("/dev/mapper/backup /backup ext4 noauto 0 0", None),
        # systemd's emergency mode is where a missing file ends.
        ("/swapfile none swap sw 0 0", NO_FILE),
        ("/swapfile none swap noauto 0 0", NO_FILE),
        ("/srv/cd.iso /cd iso9660 loop,ro 0 0", NO_FILE),
        # Kept: on demand alone,
        ("UUID=1 /backup ext4 noauto 0 0", None),
        ("/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0", None),
        ("/dev/fd0 /media/floppy0 auto rw,user,noauto 0 0", None),
        # of memory,
        ("/dev/zram0 none swap defaults,pri=10 0 0", None),
        ("tmpfs /tmp tmpfs size=1g 0 0", None),
        ("/dev/pts /x none bind 0 0", None),
        ("/dev /x none rbind 0 0", None),
        ("/dev/log /x none rw,bind 0 0", None),
        ("/dev/random /x none bind 0 0", None),
        ("/dev/sdb1 /x none bind 0 0", "a disk of the old machine"),
        ("/dev/disk/by-label/x /x none bind 0 0", "a disk of the old machine"),
        ("LABEL=x /x none bind 0 0", "a disk of the old machine"),
        ("/dev/pts /x none bind,x-systemd.requires=/dev/sdb1 0 0", "a disk of the old machine"),
        ("/dev/pts /x auto nobind 0 0", "a disk of the old machine"),
        ("/dev/shm /x none bind 0 0", None),
        # of others, and directories, which systemd makes.
        ("server:/home /home nfs ro 0 0", None),
        ("//server/share /mnt cifs guest 0 0", None),
        ("/srv/a /srv/b none bind 0 0", None),
        ("/srv/a /srv/b ext4 rbind 0 0", None),
        ("/a:/b /pool fuse.mergerfs defaults 0 0", None),
        ("sshfs#a@server:/ /s fuse defaults 0 0", None),
        ("vmware-vmblock /run/vmblock-fuse fuse.vmware-vmblock defaults 0 0", None),
        ("/dev/mapper/vault /vault ext4 defaults 0 0", None),
    ],
)
def test_what_becomes_of_a_line(line: str, reason):
    table, dropped = make(f"{line}\n", exists=nothing, crypttab=CRYPTTAB)
    named = " ".join(line.split()[:2])
    assert dropped == ([f"fstab line '{named}': {reason}"] if reason else [])
    assert (line in table.splitlines()) == (reason is None)


def test_no_option_is_said() -> None:
    """The manifest has what is said, and it is public."""
    _table, dropped = make("share /srv 9p trans=virtio,password=hunter2 0 0\n")
    assert dropped == ["fstab line 'share /srv': a directory of the host"]
    _table, dropped = entry("old UUID=1 /srv/hunter2.key luks,tpm2-pin=hunter2\n")
    assert dropped == ["crypttab line 'old UUID=1': a disk of the old machine"]


def test_files_that_are_there_stay():
    text = "/swapfile none swap sw 0 0\n/srv/cd.iso /cd iso9660 loop 0 0\n"
    assert make(text)[1] == []
    escaped = "/a\\040b none swap sw 0 0\n"
    assert make(escaped, exists="/a b".__eq__)[1] == []
    assert make(escaped, exists="/a".__eq__)[1] != []


@pytest.mark.parametrize("line", ["/dev/vg/usr /usr/ ext4 defaults 0 2", "LABEL=b /boot ext4"])
def test_what_is_part_of_the_images_root_is_replaced(line: str):
    table, dropped = make(f"{line}\n")
    assert line not in table
    assert dropped == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("data UUID=2 /etc/keys/data.key luks", etc_fstab.OLD_DISK),
        ("cswap /dev/sda3 /dev/urandom swap", etc_fstab.OLD_DISK),
        ("short UUID=3", etc_fstab.OLD_DISK),
        ("early UUID=3 none luks,noauto,initramfs", etc_fstab.OLD_DISK),
        ("gone /srv/gone.img none luks", NO_FILE),
        ("cr_root /srv/vault.img none luks", "its name is that of the root"),
        (
            "vault /srv/vault.img none luks,initramfs",
            "a file of the root cannot be opened before the root",
        ),
        ("vault /srv/vault.img /etc/keys/vault.key luks", None),
        ("backup UUID=4 none luks,noauto", None),
        ("backup UUID=4 none luks,noauto,auto", etc_fstab.OLD_DISK),
        ("vault /srv/vault.img /vault.key:LABEL=keys luks", etc_fstab.OLD_DISK),
        ("vault /srv/vault.img none luks,header=/dev/vdb", etc_fstab.OLD_DISK),
        ("vault /srv/vault.img /dev/urandom swap", None),
    ],
)
def test_what_becomes_of_an_entry(line: str, reason):
    table, dropped = entry(f"{line}\n", exists="/srv/vault.img".__eq__)
    named = " ".join(line.split()[:2])
    assert dropped == ([f"crypttab line '{named}': {reason}"] if reason else [])
    assert table.splitlines() == ([line] if reason is None else []) + [
        "cr_root UUID=u /k luks,initramfs"
    ]
    assert entry(table) == (table, [])


@pytest.mark.parametrize(
    "line",
    [
        "tmpfs /srv/disk/cache tmpfs size=10M 0 0",
        "/srv/disk/www /var/www none bind 0 0",
        "tmpfs /x tmpfs x-systemd.requires-mounts-for=/srv/disk/x 0 0",
    ],
)
def test_what_another_line_has_mounted_is_not_on_demand(line: str):
    """systemd mounts what a path of another unit lies in, be that noauto or not (RequiresMountsFor=)."""
    disk = "UUID=2 /srv/disk ext4 noauto 0 0"
    table, dropped = make(f"{disk}\n{line}\n")
    assert dropped == [
        f"fstab line 'UUID=2 /srv/disk': {etc_fstab.OLD_DISK}, {etc_fstab.PULLED_IN}"
    ]
    assert line in table.splitlines()
    assert make(table) == (table, [])
    # What goes itself pulls nothing in.
    other = "UUID=3 /srv/disk/more ext4 defaults 0 0"
    assert disk in make(f"{disk}\n{other}\n")[0]
    assert make(f"{disk}\n{line.replace(' 0 0', ',noauto')}\n")[0].count("noauto") == 3


def test_a_container_in_a_file_pulls_in_where_it_lies():
    table, dropped = make(
        "UUID=2 /srv ext4 noauto 0 0\n/dev/mapper/vault /v ext4\n", crypttab=CRYPTTAB
    )
    assert "/srv ext4" not in table
    assert "/dev/mapper/vault /v ext4" in table
    assert len(dropped) == 1


@pytest.mark.parametrize(
    "source",
    ["/dev/vdb", "//dev/vdb", "/proc/../dev/vdb", "\\057dev/vdb", '"/dev/vdb"', "/dev//vdb"],
)
def test_a_disk_in_every_spelling(source: str) -> None:
    assert etc_fstab.source_of(source) == "/dev/vdb"
    table, dropped = make(f"{source} /srv ext4 defaults 0 0\n")
    assert "/srv" not in table
    assert len(dropped) == 1


DISK = "UUID=2222 /data ext4 defaults 0 2"


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("overlay /srv overlay lowerdir=/data/l,upperdir=/data/u,workdir=/data/w 0 0", "/data/l"),
        ("overlay /srv overlay lowerdir=/usr/share:/data/l2 0 0", "/data/l2"),
        ("none /srv aufs br=/usr/share=rw:/data/b=ro 0 0", "/data/b"),
        ("/data/www /srv none bind 0 0", "/data/www"),
        ("/data/a:/usr/b /srv fuse.mergerfs defaults 0 0", "/data/a"),
        ("mergerfs#/usr/b:/data/a=RO /srv fuse defaults 0 0", "/data/a"),
        ("/dat*:/usr/b /srv mergerfs defaults 0 0", "/dat*"),
        ("mergerfs /srv fuse.mergerfs branches=/usr/b:/data/b=RO 0 0", "/data/b"),
        ("/data/x /srv fuse.bindfs perms=0755 0 0", "/data/x"),
        ("bindfs#/data/x /srv fuse perms=0755 0 0", "/data/x"),
        ("/data/a=RW:/data/b=RO /srv fuse.unionfs-fuse cow 0 0", "/data/a"),
        ("unionfs-fuse#/usr/a=RW:/data/b=RO /srv fuse cow 0 0", "/data/b"),
        ("/usr/a=RW:/data/b=RO /srv unionfs cow 0 0", "/data/b"),
        ("encfs#/data/x /srv fuse defaults 0 0", "/data/x"),
        ("/data/x /srv fuse./usr/local/bin/gocryptfs defaults 0 0", "/data/x"),
        ("/data/x /srv ecryptfs defaults 0 0", "/data/x"),
        ("/data/x.sqfs /srv fuse3.squashfuse ro 0 0", "/data/x.sqfs"),
        # Not of this root.
        ("sshfs#a@server:/data/x /srv fuse defaults 0 0", None),
        ("a@server:/data/x /srv fuse.sshfs defaults 0 0", None),
        ("/data/kept /srv fuse.bindfs defaults 0 0", None),
        # What is in the root is there, and a line that a person mounts harms no boot.
        ("/data/kept /srv none bind 0 0", None),
        ("/data/www /srv none bind,noauto 0 0", None),
        ("/database/www /srv none bind 0 0", None),
        ("overlay /srv overlay lowerdir=/usr/a,upperdir=/usr/b,workdir=/usr/c 0 0", None),
        ("tmpfs /srv tmpfs defaults 0 0", None),
    ],
)
def test_what_needs_a_line_that_goes(line: str, needs: str | None) -> None:
    table, dropped = make(f"{DISK}\n{line}\n", exists=lambda path: path == "/data/kept")
    assert dropped[0] == "fstab line 'UUID=2222 /data': a disk of the old machine"
    first_two = " ".join(line.split()[:2])
    said = (
        f"fstab line '{first_two}': it needs {needs}, which was on another file system that is gone"
    )
    assert dropped[1:] == ([said] if needs else [])
    assert (line in table) is (needs is None)
    again, dropped = make(table, exists=nothing)
    assert (again, dropped) == (table, [])


def test_what_needs_what_needs_a_line_that_goes() -> None:
    lines = (DISK, "/data/a /srv none bind 0 0", "/srv/b /opt none bind 0 0", "/opt/c /x none bind")
    table, dropped = make("\n".join(lines), exists=nothing)
    assert len(dropped) == 4
    assert table.splitlines()[2:] == []


def test_another_line_mounts_it_again() -> None:
    lines = (DISK, "server:/data /data nfs ro 0 0", "/data/a /srv none bind 0 0")
    _table, dropped = make("\n".join(lines), exists=nothing)
    assert len(dropped) == 1
