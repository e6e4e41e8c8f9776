# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is judged of a root by its tar."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import findings
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member

VERSION = "6.1.0-9-amd64"
MODULES = f"usr/lib/modules/{VERSION}"
BUILTIN = b"kernel/drivers/nvme/host/nvme.ko\nkernel/fs/ext4/ext4.ko\n"
GOOD = {
    "usr/sbin/init": "l",
    "usr/bin/sh": "l",
    "var/lib/dpkg/status": "-",
    f"boot/vmlinuz-{VERSION}": "-",
    f"{MODULES}/modules.builtin": "-",
    f"{MODULES}/kernel/drivers/md/dm-crypt.ko.xz": "-",
    f"{MODULES}/kernel/drivers/block/virtio_blk.ko.zst": "-",
    f"{MODULES}/kernel/drivers/virtio/virtio_pci.ko": "-",
}


def judge(
    *names: str | Member,
    without: tuple[str, ...] = (),
    kernels: tuple[str, ...] = (VERSION,),
    filesystem: str = "ext4",
    files: t.Mapping[str, str] | None = None,
    **contents: str | bytes,
) -> findings.Findings:
    """Judge a good root with *names* more; *files* are their contents, and a keyword is a file's name in /etc."""
    members = [
        Member(kind, name, 4096, 4096, f"./{name}")
        for name, kind in GOOD.items()
        if name not in without
    ]
    members += [
        it if isinstance(it, Member) else Member("-", it, 4096, 4096, f"./{it}") for it in names
    ]
    data = {f"{MODULES}/modules.builtin": BUILTIN}
    data.update({name: content.encode() for name, content in (files or {}).items()})
    for name, content in contents.items():
        data[f"etc/{name}"] = content.encode() if isinstance(content, str) else content
    return findings.judge(findings.Root(members, data), kernels, filesystem)


def private(name: str) -> Member:
    return Member("-", name, 44, 512, f"./{name}", "r--------")


def test_nothing_is_said_of_a_good_root() -> None:
    assert judge() == findings.Findings()


def test_the_former_use_of_a_root() -> None:
    hook = "etc/initramfs/post-update.d/efistub"
    found = judge(
        ".dockerenv",
        "etc/hostid",
        hook,
        "etc/default/grub.d/zzzzz.cfg",
        files={hook: "cp $2 /boot/efi"},
    )
    assert found.left_out == ["/.dockerenv: by it systemd takes the machine for a container"]
    assert found.excluded == ["./.dockerenv"]
    assert [it.partition(" ")[0] for it in found.problems] == ["/etc/default/grub.d/zzzzz.cfg"]
    assert ["the same host ID" in found.notes[0], hook in found.notes[1]] == [True, True]


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        # GRUB offers none of the first three, and gives the replaced kernel the initramfs of its version.
        (f"boot/vmlinuz-{VERSION}.dpkg-bak", 0),
        (f"boot/vmlinuz-{VERSION}.rpmsave", 0),
        (f"boot/vmlinuz-{VERSION}.sig", 0),
        (f"boot/vmlinuz-{VERSION}.old", 0),
        (f"boot/vmlinuz-{VERSION}.bak", 1),
        ("boot/vmlinuz-5.10.old", 1),
    ],
)
def test_leftovers_of_kernels(name: str, problems: int) -> None:
    assert len(judge(name).problems) == problems


# Initramfs


@pytest.mark.parametrize(
    ("names", "both"),
    [
        # dracut-core has no hook; a hook stays behind where a package was not purged.
        (["usr/bin/dracut"], ""),
        (["etc/kernel/postinst.d/dracut"], ""),
        (["usr/bin/dracut", "etc/kernel/postinst.d/dracut"], "initramfs-tools and dracut"),
        (["bin/dracut", "usr/share/kernel/postinst.d/dracut"], "initramfs-tools and dracut"),
        (
            ["usr/bin/mkinitcpio", "usr/share/libalpm/hooks/90-mkinitcpio-install.hook"],
            "initramfs-tools and mkinitcpio",
        ),
    ],
)
def test_two_builders_of_the_initramfs(names: list[str], both: str) -> None:
    hooks = [
        Member("-", name, 9, 512, f"./{name}", "rwxr-xr-x")
        for name in (
            *("usr/sbin/mkinitramfs", "usr/sbin/update-initramfs"),
            *("etc/kernel/postinst.d/initramfs-tools", *names),
        )
    ]
    found = judge(*hooks).problems
    assert [it.split(" build ")[0] for it in found] == ([f"Both {both}"] if both else [])


def test_run_parts_leaves_out_a_hook_that_cannot_be_executed() -> None:
    names = ["usr/sbin/mkinitramfs", "usr/bin/dracut", "etc/kernel/postinst.d/dracut"]
    hook = Member("-", "etc/kernel/postinst.d/initramfs-tools", 9, 512, "./h", "rw-r--r--")
    assert judge(*names, hook).problems == []


def test_no_initramfs_of_the_old_machine_gets_into_the_image() -> None:
    found = judge(
        f"boot/initrd.img-{VERSION}",
        f"boot/initrd.img-{VERSION}.old-dkms",
        "boot/initramfs-5.10.img",
        "boot/vmlinuz-0-rescue-0123",
        "boot/initramfs-0-rescue-0123.img",
        Member("l", "boot/initrd-x", 0, 512, "./boot/initrd-x"),
    )
    assert found.problems == []
    assert found.excluded == [
        f"./boot/initrd.img-{VERSION}",
        f"./boot/initrd.img-{VERSION}.old-dkms",
        "./boot/initramfs-5.10.img",
    ]
    # That of a kernel is made anew; the others are not.
    assert found.left_out == [
        f"/boot/initrd.img-{VERSION}.old-dkms: an initramfs that no kernel has",
        "/boot/initramfs-5.10.img: an initramfs that no kernel has",
    ]


@pytest.mark.parametrize(
    ("kernel", "initramfs", "left_out"),
    [
        ("vmlinuz-linux", "initramfs-linux.img", False),
        ("vmlinuz-linux", "initramfs-linux-fallback.img", False),
        ("vmlinuz-linux", "initramfs-linux-lts-fallback.img", True),
        ("vmlinux-6.12", "initrd-6.12", False),
        # GRUB gives the replaced kernel the initramfs of its version.
        (f"vmlinuz-{VERSION}.old", f"initrd.img-{VERSION}", False),
        (f"vmlinuz-{VERSION}.dpkg-bak", "initrd.img-6.dpkg-bak", True),
        # Copies, and those of other programs.
        ("vmlinuz-linux", "initramfs-linux.img.bak.01-02", True),
        ("vmlinuz-linux", "initramfs-0-rescue-0123.img.bak", True),
        ("vmlinuz-linux", "initrd.img", True),
        ("vmlinuz-linux", "initrd.img.old", True),
        ("vmlinuz-linux", "initrd.gz", True),
        ("vmlinuz-linux", "initramfs.img", True),
    ],
)
def test_whose_initramfs_it_is(kernel: str, initramfs: str, left_out: bool) -> None:
    found = judge(f"boot/{kernel}", f"boot/{initramfs}")
    assert f"./boot/{initramfs}" in found.excluded
    said = [f"/boot/{initramfs}: an initramfs that no kernel has"]
    assert found.left_out == (said if left_out else [])


# Kernels


def test_each_of_two_kernels_is_judged() -> None:
    second = "6.1.0-10-amd64"
    found = judge(
        f"boot/vmlinuz-{second}",
        f"lib/modules/{second}/kernel/virtio_blk.ko",
        kernels=(VERSION, second),
    )
    assert [it.split(",")[0] for it in found.problems] == [
        f"Kernel {second} has no dm-crypt",
        f"Kernel {second} has no driver for ext4",
        f"Kernel {second} has no driver for a disk of a virtual machine (virtio_blk",
    ]


def test_dm_crypt_may_be_built_in() -> None:
    gone = (f"{MODULES}/kernel/drivers/md/dm-crypt.ko.xz",)
    assert "has no dm-crypt" in judge(without=gone).problems[0]
    members = [Member(kind, name, 1, 512, name) for name, kind in GOOD.items() if name not in gone]
    data = {f"{MODULES}/modules.builtin": BUILTIN + b"kernel/drivers/md/dm-crypt.ko\n"}
    root = findings.Root(members, data)
    assert findings.judge(root, [VERSION], "ext4").problems == []


def test_a_kernel_needs_a_driver_for_the_root() -> None:
    found = judge(filesystem="xfs")
    assert len(found.problems) == 1
    assert f"Kernel {VERSION} has no driver for xfs" in found.problems[0]
    assert judge(f"{MODULES}/kernel/fs/xfs/xfs.ko.xz", filesystem="xfs").problems == []
    other = "usr/lib/modules/6.2/kernel/fs/xfs/xfs.ko"
    assert judge(other, filesystem="xfs").problems == found.problems


def test_a_kernel_without_virtio_boots_elsewhere() -> None:
    found = judge(without=(f"{MODULES}/kernel/drivers/block/virtio_blk.ko.zst",))
    assert found.problems == []
    assert found.notes == [
        f"Kernel {VERSION} has no virtio_blk and no virtio_scsi, so it boots only from nvme."
    ]


def test_a_disk_takes_all_of_its_drivers() -> None:
    assert findings.disks({"virtio_blk", "virtio_scsi", "sd_mod", "nvme"}) == ["nvme"]
    assert findings.disks({"virtio_scsi", "virtio_pci", "sd_mod"}) == ["virtio_scsi"]


def test_a_kernel_without_modules_would_be_in_the_menu() -> None:
    found = judge("boot/vmlinuz-7.0", "boot/vmlinuz-linux", "boot/vmlinuz-0-rescue-0123")
    assert [it.split(",")[0] for it in found.problems] == [
        "Kernel 7.0 in /boot has no modules in /lib/modules/7.0"
    ]
    assert found.tells_of_kernel


def test_what_suse_keeps_for_crash_is_no_kernel() -> None:
    assert judge(f"boot/vmlinux-{VERSION}.gz", "boot/vmlinux-6.4.0-default.xz").problems == []


def test_modules_without_a_kernel_do_no_harm() -> None:
    assert judge("usr/lib/modules/5.10/modules.dep") == findings.Findings()


# File systems that are elsewhere


def test_a_boot_that_is_elsewhere() -> None:
    gone = (f"boot/vmlinuz-{VERSION}",)
    found = judge(without=gone, kernels=(), fstab="UUID=1 /boot ext4 defaults 0 2\n")
    assert found.problems == [
        "/boot was a file system of its own (etc/fstab), and no kernel is in the tar. Mount it and pack the root"
        " again, without tar's --one-file-system."
    ]
    assert found.tells_of_kernel
    assert judge(without=gone, kernels=()).problems == []  # it is the package that is missing


def test_a_boot_that_is_in_the_tar_is_folded_in() -> None:
    assert judge(fstab="UUID=1 /boot ext4 defaults 0 2\n") == findings.Findings()


def test_a_var_that_is_elsewhere() -> None:
    found = judge(without=("var/lib/dpkg/status",), fstab="/dev/vg/var /var ext4 defaults 0 2\n")
    assert [it.split(" (")[0] for it in found.problems] == ["/var was a file system of its own"]
    packed = judge(fstab="/dev/vg/var /var ext4 defaults 0 2\n")
    assert packed.problems == packed.notes == []
    assert len(packed.left_out) == 1


def test_a_home_that_is_elsewhere_is_said() -> None:
    line = "/dev/vg/home /home ext4 defaults 0 2"
    found = judge(fstab=f"{line}\n")
    assert found.left_out == ["fstab line '/dev/vg/home /home': a disk of the old machine"]
    assert found.notes == ["/home is empty, since its file system is not in the tar."]
    assert judge("home/me/.profile", fstab=f"{line}\n").notes == []


def test_a_root_without_a_shell() -> None:
    assert judge(without=("usr/bin/sh",)).problems[0].startswith("It has no shell")


# Swap


def test_a_swap_file_is_left_out_with_its_line() -> None:
    found = judge("swapfile", fstab="/swapfile none swap sw 0 0\n/dev/zram0 none swap sw 0 0\n")
    assert found.excluded == ["./swapfile"]
    assert found.left_out == [
        "/swapfile: 0 MiB of another machine's memory; make a swap file in the machine",
        "fstab line '/swapfile none': the root has no such file",
    ]


def test_a_swap_file_that_is_in_the_tar_twice() -> None:
    first = Member("-", "swapfile", 4096, 4096, "swapfile")
    assert judge(first, "swapfile", fstab="/swapfile none swap\n").excluded == [
        "./swapfile",
        "swapfile",
    ]


def test_a_swap_file_with_an_odd_name() -> None:
    name = Member("-", r"sw\303\244p file", 1 << 31, 512, r"./sw\303\244p file")
    found = judge(name, fstab="/swäp\\040file none swap sw 0 0\n")
    assert found.excluded == ["./swäp file"]
    assert found.left_out[0].startswith("/swäp file: 2048 MiB of")


def test_what_cannot_be_named_cannot_be_left_out() -> None:
    name = "etc/cryptsetup-keys.d/latin\\351"
    found = judge(Member("-", name, 44, 512, f"./{name}"))
    assert found.excluded == found.left_out == []
    assert found.problems[0].startswith("The name ./etc/cryptsetup-keys.d/latin\\351 is not UTF-8")


def test_an_initramfs_that_is_made_anew_has_to_be_named_as_well() -> None:
    found = judge(
        Member("-", r"boot/vmlinuz-a\177", 9, 512, r"./boot/vmlinuz-a\177"),
        Member("-", r"boot/initrd.img-a\177", 9, 512, r"./boot/initrd.img-a\177"),
    )
    assert found.excluded == []
    assert found.problems[0].startswith(r"The name ./boot/initrd.img-a\177 is not UTF-8")


def test_links_to_what_is_left_out_are_left_out() -> None:
    link = Member("h", "srv/swap", 0, 512, "./srv/swap", "rw-------", "./swapfile")
    found = judge("swapfile", link, fstab="/swapfile none swap sw 0 0\n")
    assert found.excluded == ["./swapfile", "./srv/swap"]
    assert "/srv/swap: a hard link to ./swapfile" in found.left_out


# Keys

CRYPTTAB = """\
luks-old UUID=1 none luks,initramfs
data UUID=2 /etc/keys/data.key luks
odd UUID=3 /etc/hostname luks
vault /srv/vault.img /etc/keys/vault.key luks
backup UUID=4 none noauto
"""


def test_keys_of_disks_that_are_gone_are_left_out() -> None:
    top = "etc/cryptsetup-keys.d"
    found = judge(
        *(private(f"{top}/{name}.key") for name in ("luks-old", "backup", "nobodys")),
        *(private(f"etc/keys/{name}.key") for name in ("data", "vault", "other")),
        *("etc/hostname", "srv/vault.img"),
        crypttab=CRYPTTAB,
    )
    # What others may read is no key, whatever crypttab says.
    assert found.excluded == [
        *(f"./{top}/luks-old.key", f"./{top}/nobodys.key", "./etc/keys/data.key"),
    ]
    assert [it.rpartition(": ")[2] for it in found.left_out] == [
        *["a disk of the old machine"] * 3,
        *["the key of a disk of the old machine"] * 3,
    ]


def test_what_cloud_init_would_destroy_a_slot_by_is_left_out() -> None:
    found = judge("cc_growpart_keydata")
    assert found.excluded == ["./cc_growpart_keydata"]
    assert found.left_out == ["/cc_growpart_keydata: the key of a disk of the old machine"]


def test_what_is_on_a_kept_container_stays() -> None:
    found = judge("srv/vault.img", crypttab=CRYPTTAB, fstab="/dev/mapper/vault /vault ext4\n")
    assert not [it for it in found.left_out if "/dev/mapper/vault" in it]


# GRUB


@pytest.mark.parametrize(
    ("code", "knows"),
    [
        (b"...CRYPT-LUKS1-\0...", False),
        (b"...CRYPT-LUKS1-\0CRYPT-LUKS2-\0", True),
        (b"CRYPT-", True),
        (None, True),
    ],
)
def test_grubs_own_installer(code: bytes | None, knows: bool) -> None:
    data = {} if code is None else {"usr/sbin/grub-probe": code}
    assert findings.grub_install_knows_luks2(findings.Root([], data)) is knows


# Units of systemd

ETC = "etc/systemd/system"
BY_UUID = "/dev/disk/by-uuid/6b5d6b7e-1111-4b60-9a0f-2b5f3b2a1c11"
SWAP = "dev-disk-by\\x2dlabel-SWAP.swap"


def of_units(*names: str | Member, fstab: str = "", **texts: str) -> findings.Findings:
    """Judge a root with units, by their names with _ for the dot, which all have a link that starts them."""
    files = {name.replace("_", "."): text for name, text in texts.items()}
    links = [f"{ETC}/local-fs.target.requires/{name}" for name in files]
    paths = [f"{ETC}/{name}" for name in files]
    members = [Member("l", link, 0, 0, f"./{link}") for link in links]
    data = {f"{ETC}/{name}": text for name, text in files.items()}
    return judge(*paths, *members, *names, files=data, fstab=fstab)


def mount(what: str, where: str, more: str = "") -> str:
    return f"[Mount]\nWhat={what}\nWhere={where}\n{more}"


def test_a_unit_that_mounts_a_disk_goes_like_a_line_of_fstab() -> None:
    found = of_units(data_mount=mount(BY_UUID, "/data", "Type=ext4\n"))
    assert found.excluded == [
        f"./{ETC}/data.mount",
        f"./{ETC}/local-fs.target.requires/data.mount",
    ]
    assert found.left_out == [f"unit data.mount line '{BY_UUID} /data': a disk of the old machine"]
    assert found.notes == ["/data is empty, since its file system is not in the tar."]
    assert found.problems == []


def test_a_unit_of_swap_goes_and_its_name_is_escaped_in_a_tar() -> None:
    name = SWAP.replace("\\", "\\\\")
    member = Member("-", f"{ETC}/{name}", 40, 512, f"./{ETC}/{name}")
    link = Member("l", f"{ETC}/swap.target.wants/{name}", 0, 0, f"./{ETC}/swap.target.wants/{name}")
    found = judge(member, link, files={f"{ETC}/{name}": "[Swap]\nWhat=/dev/disk/by-label/SWAP\n"})
    assert found.excluded == [f"./{ETC}/{SWAP}", f"./{ETC}/swap.target.wants/{SWAP}"]
    assert found.left_out == [
        f"unit {SWAP} line '/dev/disk/by-label/SWAP none': a disk of the old machine"
    ]


@pytest.mark.parametrize(
    "text",
    [
        mount("tmpfs", "/tmp", "Type=tmpfs\n"),
        mount("server:/srv", "/srv", "Type=nfs\n"),
        mount("/srv/image", "/mnt", "Type=ext4\n"),
        mount("/usr/share", "/mnt", "Options=bind\n"),
    ],
)
def test_a_unit_that_names_no_disk_stays(text: str) -> None:
    assert of_units("srv/image", a_mount=text) == findings.Findings()


def test_a_unit_that_only_a_person_starts_stays() -> None:
    name = f"{ETC}/data.mount"
    assert judge(name, files={name: mount(BY_UUID, "/data")}) == findings.Findings()


SERVICE = f"{ETC}/x.service"
NOAUTO = f"{BY_UUID} /srv ext4 noauto 0 0\n"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (SERVICE, "[Unit]\nRequires=srv.mount\n"),
        (SERVICE, "[Unit]\nWants=srv.automount\n"),
        (SERVICE, "[Unit]\nRequiresMountsFor=/srv/www\n"),
        (SERVICE, "[Service]\nWorkingDirectory=/srv\n"),
        (f"{SERVICE}.d/x.conf", "[Unit]\nRequires=srv.mount\n"),
        ("usr/local/lib/systemd/system/x.target", "[Unit]\nBindsTo=srv.mount\n"),
        ("etc/udev/rules.d/x.rules", 'ENV{SYSTEMD_WANTS}+="srv.mount"\n'),
        (f"{ETC}/srv.automount", "[Automount]\nWhere=/srv\n[Install]\nWantedBy=local-fs.target\n"),
    ],
)
def test_an_own_unit_that_asks_for_a_mount(path: str, text: str) -> None:
    """It starts a line with noauto, and a unit that nothing else starts."""
    assert (path,) in findings.wanted([Member("-", path, 40, 512, f"./{path}")])
    found = judge(path, files={path: text}, fstab=NOAUTO)
    assert found.problems == [
        f"The fstab line '{BY_UUID} /srv': a disk of the old machine, and /{path} starts it. Take the line out, or what"
        " starts it, and pack the root again."
    ]
    files = {path: text, f"{ETC}/srv.mount": mount(BY_UUID, "/srv")}
    found = judge(*files, files=files)
    assert found.left_out == [f"unit srv.mount line '{BY_UUID} /srv': a disk of the old machine"]
    assert found.problems == []
    for fstab in ("tmpfs /srv tmpfs noauto 0 0\n", "server:/srv /srv nfs noauto 0 0\n"):
        assert judge(path, files={path: text}, fstab=fstab) == findings.Findings()


def test_a_link_that_starts_a_line_with_noauto() -> None:
    link = f"{ETC}/multi-user.target.wants/srv.automount"
    found = judge(Member("l", link, 0, 0, f"./{link}"), fstab=NOAUTO)
    assert [f"and /{link} starts it" in it for it in found.problems] == [True]
    # A line that goes is started by nothing.
    unused = judge(Member("l", link, 0, 0, f"./{link}"), fstab=NOAUTO.replace("noauto", "auto"))
    assert unused.problems == []


@pytest.mark.parametrize(
    "text",
    [
        "[Unit]\nAfter=srv.mount\n",
        "[Unit]\nRequiresMountsFor=/srv2\n",
        "[Unit]\nRequires=srv-www.mount\n",
    ],
)
def test_an_own_unit_that_asks_for_something_else(text: str) -> None:
    assert judge(SERVICE, files={SERVICE: text}, fstab=NOAUTO) == findings.Findings()


def test_lines_that_the_image_replaces() -> None:
    fstab = f"{BY_UUID} /boot vfat noauto 0 0\nUUID=1 /boot/efi vfat defaults 0 0\n"
    found = judge(SERVICE, files={SERVICE: "[Unit]\nRequires=boot.mount\n"}, fstab=fstab)
    assert found.problems == []


def test_a_unit_that_mounts_the_esp() -> None:
    files = {SERVICE: "[Unit]\nRequiresMountsFor=/boot/efi/EFI\n"}
    own = {f"{ETC}/boot-efi.mount": mount(BY_UUID, "/boot/efi", "[Install]\nWantedBy=x.target\n")}
    says = [
        f"/{SERVICE} starts the mount of /boot/efi. The host can write to the EFI system partition, so an image mounts"
        " it only for a person: change the file, and pack the root again."
    ]
    assert judge(SERVICE, files=files).problems == says
    assert judge(SERVICE, *own, files={**files, **own}).problems == says
    assert judge(*own, files=own).problems == []


def test_a_mount_in_which_a_unit_mounts() -> None:
    """systemd mounts what a mount point lies in."""
    link = f"{ETC}/local-fs.target.wants/srv-data.mount"
    inner = {f"{ETC}/srv-data.mount": mount("tmpfs", "/srv/data", "Type=tmpfs\n")}
    found = judge(Member("l", link, 0, 0, f"./{link}"), *inner, files=inner, fstab=NOAUTO)
    assert found.problems == [
        f"The fstab line '{BY_UUID} /srv': a disk of the old machine, and what a boot mounts or starts lies in it. Take"
        " the line out, or what starts it, and pack the root again."
    ]
    outer = {**inner, f"{ETC}/srv.mount": mount(BY_UUID, "/srv")}
    found = judge(Member("l", link, 0, 0, f"./{link}"), *outer, files=outer)
    assert found.left_out == [
        f"unit srv.mount line '{BY_UUID} /srv': a disk of the old machine, and what a boot mounts or starts lies in it"
    ]
    assert found.problems == []


def test_a_swap_file_of_a_unit_is_left_out_with_it() -> None:
    found = of_units("swapfile", swapfile_swap="[Swap]\nWhat=/swapfile\n")
    assert found.excluded[0] == "./swapfile"
    assert f"./{ETC}/swapfile.swap" in found.excluded
    assert found.left_out[1:] == [
        "unit swapfile.swap line '/swapfile none': the root has no such file"
    ]


@pytest.mark.parametrize(
    ("conditions", "what", "is_left_out"),
    [
        ("", "/x.raw", True),
        # systemd does not start it, as it ships var-lib-machines.mount.
        ("ConditionPathExists=/x.raw\n", "/x.raw", False),
        ("ConditionPathExists=/usr/lib\nConditionFileNotEmpty=/x.raw\n", "/x.raw", False),
        ("ConditionPathExists=/usr/lib\n", "/x.raw", True),
        ("ConditionPathExists=/x.raw\nConditionPathExists=\n", "/x.raw", True),
        # Of these, one is enough.
        ("ConditionPathExists=|/x.raw\n", "/x.raw", True),
        ("ConditionPathExists=!/x.raw\n", "/x.raw", True),
        ("ConditionPathExistsGlob=/x.raw\n", "/x.raw", True),
        # It fails, and with it what needs it.
        ("AssertPathExists=/x.raw\n", "/x.raw", True),
        # The host can have such a disk whenever the file is there.
        ("ConditionPathExists=/x.raw\n", BY_UUID, True),
    ],
)
def test_a_unit_that_waits_for_a_file(conditions: str, what: str, is_left_out: bool) -> None:
    text = f"[Unit]\n{conditions}{mount(what, '/mnt/x', 'Type=btrfs')}\n"
    found = of_units("usr/lib/x", mnt_mount=text)
    assert bool(found.left_out) is is_left_out


def test_a_unit_that_needs_a_line_that_goes() -> None:
    overlay = mount("overlay", "/srv", "Type=overlay\nOptions=lowerdir=/data/a:/usr\n")
    found = of_units(srv_mount=overlay, fstab=f"{BY_UUID} /data ext4 defaults 0 2\n")
    assert [it.partition("': ")[2] for it in found.left_out] == [
        "a disk of the old machine",
        "it needs /data/a, which was on another file system that is gone",
    ]
    assert f"./{ETC}/srv.mount" in found.excluded


def test_a_line_that_needs_a_unit_that_goes_is_refused() -> None:
    found = of_units(data_mount=mount(BY_UUID, "/data"), fstab="/data/a /srv none bind 0 0\n")
    assert found.problems == [
        "The fstab line '/data/a /srv': it needs /data/a, which was on another file system that is gone: a unit of"
        " systemd mounted it. Take the line out, and pack the root again."
    ]
    kept = of_units(
        "data/a/x", data_mount=mount(BY_UUID, "/data"), fstab="/data/a /srv none bind\n"
    )
    # A tar need not have an entry of each directory.
    assert kept.problems == kept.notes == []


def test_a_boot_that_a_unit_mounts() -> None:
    gone = (f"boot/vmlinuz-{VERSION}",)
    name = f"{ETC}/boot.mount"
    found = judge(name, without=gone, kernels=(), files={name: mount(BY_UUID, "/boot")})
    assert found.problems == [
        f"/boot was a file system of its own ({name}), and no kernel is in the tar. Mount it and pack the root again,"
        " without tar's --one-file-system."
    ]


def test_a_var_that_a_unit_mounts() -> None:
    name = f"{ETC}/var.mount"
    text = mount(BY_UUID, "/var", "[Install]\nWantedBy=local-fs.target\n")
    found = judge(name, without=("var/lib/dpkg/status",), files={name: text})
    assert [it.split(",")[0] for it in found.problems] == [
        f"/var was a file system of its own ({name})"
    ]


def test_a_name_that_systemd_makes() -> None:
    found = of_units(data_mount=mount("/srv/%H.img", "/data"))
    assert found.left_out[0].endswith("systemd makes a name of what it mounts")


def test_the_content_of_units_is_read() -> None:
    members = [Member("-", f"{ETC}/a.mount", 9, 512, "x"), Member("l", f"{ETC}/b.mount", 0, 0, "y")]
    assert (f"{ETC}/a.mount",) in findings.wanted(members)
    assert (f"{ETC}/b.mount",) not in findings.wanted(members)


def symlink(name: str, link: str) -> Member:
    return Member("l", name, 0, 0, f"./{name}", link=link)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (symlink(f"{ETC}/data.mount", "/opt/u/data.mount"), "opt/u/data.mount"),
        (symlink(f"{ETC}/data.mount", "../../u/./data.mount"), "etc/u/data.mount"),
        (
            Member("h", f"{ETC}/data.mount", 0, 0, f"./{ETC}/data.mount", target="./u/data.mount"),
            "u/data.mount",
        ),
    ],
)
def test_a_unit_that_is_a_link(link: Member, target: str) -> None:
    wants = symlink(f"{ETC}/local-fs.target.wants/data.mount", f"/{ETC}/data.mount")
    assert (link.name, target) in findings.wanted([link])
    found = judge(link, wants, target, files={target: mount(BY_UUID, "/data")})
    assert found.left_out == [f"unit data.mount line '{BY_UUID} /data': a disk of the old machine"]
    assert sorted(found.excluded) == sorted([link.raw, wants.raw])


@pytest.mark.parametrize("steps", [("etc/fstab.real",), ("lib/fstab", "usr/lib/fstab")])
def test_an_fstab_that_is_a_link(steps: tuple[str, ...]) -> None:
    links = [symlink("etc/fstab", f"../{steps[0]}"), symlink("lib", "usr/lib")]
    assert ("etc/fstab", steps[-1]) in findings.wanted(links)
    found = judge(*links, steps[-1], files={steps[-1]: f"{BY_UUID} /data ext4\n"})
    assert found.left_out == [f"fstab line '{BY_UUID} /data': a disk of the old machine"]


def test_links_without_an_end() -> None:
    links = [symlink("etc/fstab", "fstab2"), symlink("etc/fstab2", "fstab")]
    assert judge(*links) == findings.Findings()
