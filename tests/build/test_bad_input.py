# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: a non-zero exit, one sentence of what to change, and nothing left behind."""

from __future__ import annotations

import hashlib
import io
import pathlib
import subprocess
import tarfile
import typing as t

import efi
import pytest
from builds import PLAYBOOK, Place, playbook
from named_root import (
    AARCH64,
    ELF,
    GRUB,
    INITRAMFS,
    KERNEL,
    MODULES,
    SELINUX,
    SETFILES,
    WHOLE,
    X86_64,
    refused,
    small_root,
)


@pytest.fixture
def good(place: Place) -> pathlib.Path:
    return small_root(place.path / "root.tar", (*KERNEL, *GRUB, *INITRAMFS))


def tar(path: pathlib.Path, **more: str) -> dict[str, str]:
    return {"type": "tar", "path": str(path), **more}


def test_the_source_is_missing(place: Place) -> None:
    refused(
        place,
        "does not exist on the builder: correct the path",
        image_source=tar(place.path / "gone.tar"),
    )


def test_the_source_is_not_a_tar(place: Place) -> None:
    path = place.path / "text.tar"
    path.write_text("this is no archive\n" * 1000)
    refused(place, "is not a tar", image_source=tar(path))


def test_the_source_is_truncated(place: Place) -> None:
    whole = small_root(place.path / "whole.tar.gz", KERNEL, mode="w:gz", payload=1 << 20)
    cut = place.path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(place, "is truncated: get the file again", image_source=tar(cut))


def test_the_digest_is_wrong(place: Place, good: pathlib.Path) -> None:
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    refused(
        place,
        f"has the SHA-256 {digest}, not {'0' * 64}",
        image_source=tar(good, digest="sha256:" + "0" * 64),
    )


@pytest.mark.parametrize(
    ("names", "packages"),
    [
        ((*GRUB, *INITRAMFS), "Install linux-image-amd64 in the root"),
        ((*KERNEL, *INITRAMFS), "Install grub-efi-amd64 in the root"),
        ((*KERNEL, *GRUB, *INITRAMFS[:2]), "Install cryptsetup-initramfs in the root"),
        ((), "Install linux-image-amd64 grub-efi-amd64 initramfs-tools cryptsetup-initramfs"),
    ],
    ids=["no-kernel", "no-grub", "no-cryptsetup-initramfs", "nothing"],
)
def test_the_root_lacks_packages(place: Place, names: tuple[str, ...], packages: str) -> None:
    refused(place, packages, image_source=tar(small_root(place.path / "root.tar", names)))


KERNEL_MODULES = "usr/lib/modules/6.1.0-1-amd64"


@pytest.mark.parametrize(
    ("names", "contents", "says"),
    [
        (
            [
                *WHOLE,
                "etc/kernel/postinst.d/initramfs-tools",
                *("usr/bin/dracut", "etc/kernel/postinst.d/dracut"),
            ],
            {},
            ["Both initramfs-tools and dracut build an initramfs", "Remove the package of one"],
        ),
        (
            WHOLE,
            {f"{KERNEL_MODULES}/modules.builtin": "kernel/fs/ext4/ext4.ko\n"},
            [
                "Kernel 6.1.0-1-amd64 has no dm-crypt, neither as a module nor built in",
                "Kernel 6.1.0-1-amd64 has no driver for a disk of a virtual machine (virtio_blk,",
                # At once, with what others find.
                "has the driver virtio_blk, which the boot test needs",
            ],
        ),
        (
            [*WHOLE, "boot/vmlinuz-7.0-mine"],
            {},
            ["Kernel 7.0-mine in /boot has no modules in /lib/modules/7.0-mine, but GRUB would"],
        ),
        (
            [KERNEL[1], *GRUB, *INITRAMFS],
            {"etc/fstab": "UUID=1 /boot ext4 defaults 0 2\n"},
            [
                "/boot was a file system of its own (etc/fstab), and no kernel is in the tar. Mount it"
            ],
        ),
        (
            WHOLE,
            {"etc/fstab": "/dev/mapper/vg-var /var xfs defaults 0 2\n"},
            ["/var was a file system of its own (etc/fstab), and nothing of it is in the tar."],
        ),
        (
            WHOLE,
            {"usr/sbin/grub-probe": "GRUB 2.06 CRYPT-LUKS1-"},
            [
                "its grub-install does not know it, so the first update of GRUB would leave a machine"
            ],
        ),
    ],
    ids=["two-generators", "drivers", "no-modules", "boot-elsewhere", "var-elsewhere", "old-grub"],
)
def test_the_root_is_a_wrong_mix(
    place: Place, names: t.Iterable[str], contents: dict[str, str], says: list[str]
) -> None:
    path = small_root(place.path / "root.tar", names, contents=contents, mode="w")
    refused(
        place,
        *says,
        image_source=tar(path),
        image_boot_test=True,
        image_luks={"type": "luks2"},
    )


def test_the_usr_is_elsewhere(place: Place) -> None:
    path = place.path / "root.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("./etc/fstab")
        text = b"UUID=1 / ext4 defaults 0 1\nUUID=2 /usr ext4 defaults 0 2\n"
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    refused(
        place,
        "is not a whole root. /usr was a file system of its own (etc/fstab)",
        image_source=tar(path),
    )


def test_the_root_is_that_of_a_container(place: Place) -> None:
    """No kernel, no init: all that is missing is said at once."""
    path = place.path / "root.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in {
            "usr/bin/dash": ELF + X86_64 + bytes(100),
            "usr/lib/os-release": b"ID=debian\n",
        }.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    refused(
        place,
        "It has no shell (/bin/sh)",
        "Install systemd-sysv linux-image-amd64 grub-efi-amd64 initramfs-tools cryptsetup-initramfs",
        "or let the build install it with 'image_packages: auto'",
        image_source=tar(path),
    )


def test_what_cannot_be_installed_or_run_in_the_image(place: Place, good: pathlib.Path) -> None:
    """All of it at once, before the root is looked at."""
    refused(
        place,
        "image_packages has what is no name of a package (--yes, grub=2, a b)",
        "Step 1 of image_customize cannot be found: ",
        # In the words of ansible-core.
        " role 'nowhere' was not found in",
        "Step 2 of image_customize cannot be found: there is no file /nowhere.yml. Correct the path.",
        "Step 3 of image_customize has to have one of role and tasks",
        image_source=tar(good),
        image_packages=["auto", "cloud-init", "--yes", "grub=2", "a b"],
        image_customize=[{"role": "nowhere"}, {"tasks": "/nowhere.yml"}, {"vars": {"a": 1}}],
    )


def test_a_root_that_boots_elsewhere_than_in_the_boot_test(place: Place) -> None:
    """It is refused for the boot test alone, and said else."""
    builtin = {
        f"{KERNEL_MODULES}/modules.builtin": "kernel/dm-crypt.ko\nkernel/ext4.ko\nkernel/nvme.ko\n"
    }
    path = small_root(place.path / "root.tar", WHOLE, contents=builtin)
    says = "has no virtio_blk and no virtio_scsi, so it boots only from nvme"
    refused(
        place,
        says,
        "which the boot test needs. Install the kernel's other modules in the root and pack it again, or set",
        image_source=tar(path),
        image_boot_test=True,
    )
    variables = place.variables(image_source=tar(path), image_boot_test=False)
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output
    assert run.said(says)


def test_the_plan_says_what_is_left_out(place: Place) -> None:
    contents = {
        "etc/fstab": "/dev/vg/data /data ext4 defaults 0 2\n/swapfile none swap sw 0 0\n",
        "swapfile": "memory",
    }
    path = small_root(place.path / "root.tar", WHOLE, contents=contents)
    run = playbook(PLAYBOOK, place.variables(image_source=tar(path)), "--check")
    assert run.rc == 0, run.output
    for line in (
        "left out:    /swapfile: 0 MiB of another machine's memory",
        "left out:    fstab line '/dev/vg/data /data': a disk of the old machine",
    ):
        assert run.said(line), run.output
    assert run.said("/data is empty, since its file system is not in the tar.")


def test_the_roots_grub_cannot_read_the_disk_that_is_asked_for(place: Place) -> None:
    names = [it for it in (*KERNEL, *GRUB, *INITRAMFS) if it != f"{MODULES}/luks2.mod"]
    path = small_root(place.path / "root.tar", names)
    refused(
        place,
        "has no module luks2 and no gcry_sha512, so it could not read its own disk. Set image_luks"
        " and image_filesystem to what it can read (type luks1, hash sha256 and ext4, the defaults), or"
        " install a GRUB that",
        image_source=tar(path),
        image_luks={"type": "luks2", "hash": "sha512"},
    )


@pytest.mark.parametrize(
    ("filesystem", "names", "says"),
    [
        ("xfs", (), "lacks what an encrypted boot needs. Install xfsprogs in the root"),
        (
            "btrfs",
            ("usr/bin/btrfs",),
            "has no module btrfs, so it could not read its own disk. Set image_luks and image_filesystem",
        ),
    ],
    ids=["no-xfsprogs", "no-module"],
)
def test_the_root_cannot_live_on_the_file_system_that_is_asked_for(
    place: Place, filesystem: str, names: tuple[str, ...], says: str
) -> None:
    path = small_root(place.path / "root.tar", (*KERNEL, *GRUB, *INITRAMFS, *names))
    refused(place, says, image_source=tar(path), image_filesystem=filesystem)


def test_the_roots_kernel_cannot_mount_the_file_system(place: Place) -> None:
    path = small_root(
        place.path / "root.tar",
        (*KERNEL, *GRUB, *INITRAMFS, "usr/sbin/xfs_repair"),
    )
    says = "Kernel 6.1.0-1-amd64 has no driver for xfs"
    refused(place, says, image_source=tar(path), image_filesystem="xfs")


def test_the_disk_is_too_small_for_xfs(place: Place, good: pathlib.Path) -> None:
    says = "image_size 400MiB is too small for xfs: set it to at least 401MiB"
    refused(place, says, image_source=tar(good), image_filesystem="xfs", image_size="400MiB")


SHIM = "usr/lib/shim/shimx64.efi.signed"
SIGNED_GRUB = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
IN_GRUB = (
    *("part_gpt", "cryptodisk", "pbkdf2", "gcry_rijndael", "normal", "configfile", "linux", "luks"),
    *("gcry_sha256", "ext2", "echo", "fat", "search", "test", "halt", "reboot", "sleep"),
)


def test_secure_boot_needs_what_is_signed(place: Place, good: pathlib.Path) -> None:
    says = "Install shim-signed grub-efi-amd64-signed in the root and pack it again"
    refused(place, says, image_source=tar(good), image_secure_boot=True)


def test_secure_boot_needs_a_signed_grub_that_reads_the_disk(place: Place) -> None:
    """As Ubuntu 22.04 has it: no luks2."""
    path = small_root(
        place.path / "root.tar",
        (*KERNEL, *GRUB, *INITRAMFS, SHIM),
        contents={SIGNED_GRUB: efi.program(efi.grub(IN_GRUB, "/EFI/ubuntu"))},
    )
    refused(
        place,
        f"(/{SIGNED_GRUB}) has no luks2, and under Secure Boot it loads no module",
        image_source=tar(path),
        image_luks={"type": "luks2"},
        image_secure_boot=True,
    )


def test_only_functions_that_grub_computes_can_be_chosen(place: Place, good: pathlib.Path) -> None:
    refused(
        place,
        "No option is called image_luks.pbkdf: it has cipher, hash, type.",
        image_source=tar(good),
        image_luks={"type": "luks2", "pbkdf": "argon2id"},
    )
    refused(
        place,
        "value of hash must be one of: sha256, sha512",
        image_source=tar(good),
        image_luks={"hash": "whirlpool"},
    )


def test_the_root_is_of_another_architecture(place: Place) -> None:
    path = small_root(place.path / "arm.tar", (*KERNEL, *GRUB, *INITRAMFS), machine=AARCH64)
    refused(place, "is a root for aarch64, but the image is to be x86_64", image_source=tar(path))


def test_the_disk_is_too_small_for_the_root(place: Place) -> None:
    path = small_root(
        place.path / "big.tar.gz", (*KERNEL, *GRUB, *INITRAMFS), mode="w:gz", payload=400 << 20
    )
    refused(
        place,
        "image_size 500MiB is too small",
        "Set image_size to at least",
        image_source=tar(path),
        image_size="500MiB",
    )


def test_the_builder_has_no_room(place: Place, good: pathlib.Path) -> None:
    small = place.path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], check=True)
    try:
        refused(
            place,
            "has room for",
            "free some, or choose another image_work_dir",
            image_source=tar(good),
            image_work_dir=str(small / "work"),
        )
    finally:
        place.leases_end()
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize(
    ("says", "fix", "more"),
    [
        (
            "ansible_python_interpreter is an extra variable",
            "set it for the builder",
            {"ansible_python_interpreter": "/usr/bin/python3"},
        ),
        (
            "ansible_connection is 'local' for the image",
            "set it for the builder",
            {"ansible_connection": "local"},
        ),
        (
            "image_command_timeout '0'",
            "give a whole number, at least 1",
            {"image_command_timeout": 0},
        ),
    ],
    ids=["interpreter", "connection", "timeout"],
)
def test_variables_that_would_run_what_is_the_images_elsewhere(
    place: Place, good: pathlib.Path, says: str, fix: str, more: dict[str, t.Any]
) -> None:
    refused(place, says, fix, image_source=tar(good), **more)


def test_the_cipher_is_one_that_not_every_grub_reads(place: Place, good: pathlib.Path) -> None:
    refused(
        place,
        "value of cipher must be one of: aes-xts-plain64",
        image_source=tar(good),
        image_luks={"cipher": "serpent-xts-plain64"},
    )


def test_everything_that_is_wrong_is_said_at_once_and_no_secret(place: Place) -> None:
    """Each check has its cases in tests/unit/plugins/plugin_utils/test_input_problems.py."""
    secret = "ein gutes Paßwort, aber kein ASCII"
    refused(
        place,
        "image_name 'UPPER' cannot name a file and a host",
        "image_builder 'builder-9' is not in the inventory: add it, or correct the name",
        "image_size 'big' is not a size",
        "is not a source",
        "image_recovery_passphrase is too weak or cannot be typed at GRUB",
        "image_root_password_hash is no hash of crypt(5): take what 'openssl passwd -6' prints",
        without=secret,
        image_name="UPPER",
        image_builder="builder-9",
        image_size="big",
        image_source={"type": "bootstrap", "distribution": "debian"},
        image_recovery_passphrase=secret,
        image_root_password_hash=secret,
    )


def test_a_passphrase_of_a_vault_is_judged_as_what_it_is(place: Place, good: pathlib.Path) -> None:
    password, kept = place.path / "password", place.path / "kept.yml"
    password.write_text("hunter2\n")
    vault = ("--vault-password-file", str(password))
    for secret, is_good in (("correct horse battery staple 42", True), ("a" * 40, False)):
        argv = ("ansible-vault", "encrypt_string", *vault, "--name", "image_recovery_passphrase")
        kept.write_text(subprocess.check_output([*argv, secret], text=True))
        given = place.variables(image_source=tar(good))
        run = playbook(PLAYBOOK, given, "--check", "--extra-vars", f"@{kept}", *vault)
        assert (run.rc == 0) == is_good, run.output
        assert run.said("image_recovery_passphrase is too weak") != is_good
        assert secret not in run.output


def test_the_output_exists_and_differs(place: Place, good: pathlib.Path) -> None:
    mine = place.out / "web-1"
    mine.mkdir(parents=True)
    (mine / "disk.qcow2").write_text("precious")
    run = playbook(PLAYBOOK, place.variables(image_source=tar(good)))
    assert run.rc != 0
    assert run.said("remove it, choose another image_name, or set image_replace=true")
    assert (mine / "disk.qcow2").read_text() == "precious"


def test_what_is_missing_or_wrong_is_one_sentence(place: Place) -> None:
    """With --check, too; core would print the whole specification after it."""
    for variables, says in (
        ({}, "image_source is missing: give {type: tar, path: /absolute/root.tar}"),
        (
            {
                "image_source": {
                    "type": "bootstrap",
                    "distribution": "debian",
                    "release": "bokworm",
                },
                "image_root_password_hash": "hunter2",
                "image_authorized_keys": ["ssh-ed25519 AAAA... me@example.org"],
            },
            "no release of Debian: write bookworm. image_authorized_keys has no whole SSH public key as entry 1: give"
            " the line of a .pub file. image_root_password_hash is no hash of crypt(5): take what",
        ),
    ):
        run = playbook(PLAYBOOK, place.variables(**variables), "--check")
        assert run.rc != 0
        assert run.said(says), run.output
        assert len(run.output) < 3000
        assert "hunter2" not in run.output


def test_the_source_type_is_unknown(place: Place) -> None:
    refused(
        place,
        "value of type must be one of: bootstrap, directory, disk, oci, tar, url",
        image_source={"type": "floppy"},
    )


def test_selinux_that_cannot_be(place: Place) -> None:
    names = (*KERNEL, *GRUB, *INITRAMFS)
    path = small_root(place.path / "root.tar", names, selinux="enforcing")
    says = "Install selinux-policy-default (Debian) or selinux-policy-targeted (Fedora) in the root"
    refused(place, says, image_source=tar(path), image_selinux="label")
    refused(
        place, "value of image_selinux must be one of", image_source=tar(path), image_selinux="x"
    )


def test_an_input_that_is_misspelled(place: Place) -> None:
    path = small_root(place.path / "root.tar", WHOLE)
    refused(
        place,
        "No input is called image_filesytem or image_sizes: write image_filesystem and image_size.",
        image_source=tar(path),
        image_sizes="8GiB",
        image_filesytem="xfs",
    )


def test_a_root_that_cannot_grow(place: Place) -> None:
    names = (*WHOLE, "usr/lib/systemd/systemd", "usr/bin/partx")
    path = small_root(place.path / "root.tar", names)
    refused(
        place,
        "image_grow is true, but",
        "Install e2fsprogs fdisk in the root and pack it again, let the build install it with",
        image_source=tar(path),
        image_grow=True,
    )
    refused(
        place,
        "value of image_grow must be one of: auto, false, true, got: perhaps",
        image_source=tar(path),
        image_grow="perhaps",
    )
    for given, plan in {
        None: "none: the root lacks e2fsprogs fdisk",
        False: "none",
    }.items():
        more = {} if given is None else {"image_grow": given}
        run = playbook(PLAYBOOK, place.variables(image_source=tar(path), **more), "--check")
        assert run.rc == 0, run.output[-3000:]
        assert run.said(f"growth:      {plan}")
        assert run.said("the root lacks") == (given is None)
    small_root(path, (*names, "usr/sbin/sfdisk", "usr/sbin/resize2fs"))
    variables = place.variables(image_source=tar(path), image_grow=True)
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output[-3000:]
    assert run.said("growth:      the root grows to a bigger disk by itself")


@pytest.mark.parametrize(
    ("mode", "wanted", "plan"),
    [
        ("enforcing", "auto", "labelled at build (policy default, enforcing)"),
        pytest.param(
            "disabled",
            "label",
            "labelled at build (policy default, disabled)",
            marks=pytest.mark.long,
        ),
        (
            "permissive",
            "relabel_at_boot",
            "labels itself at its first boot (policy default, permissive)",
        ),
        pytest.param("disabled", "auto", None, marks=pytest.mark.long),
        ("enforcing", "off", None),
        # What YAML makes of a bare off.
        ("enforcing", False, None),
    ],
)
def test_what_is_planned_for_selinux(
    place: Place, mode: str, wanted: t.Any, plan: str | None
) -> None:
    names = (*KERNEL, *GRUB, *INITRAMFS, *SELINUX, SETFILES)
    path = small_root(place.path / "root.tar", names, selinux=mode)
    variables = place.variables(image_source=tar(path), image_selinux=wanted)
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output[-3000:]
    assert run.said("would build:")
    assert run.said(f"selinux:     {plan}" if plan else "selinux:") == bool(plan)


def test_formats_that_are_none(place: Place, good: pathlib.Path) -> None:
    refused(
        place,
        "names a format twice: name each that you want once",
        "image_publish_tasks /gone/upload.yml is no file on the control node: correct the path",
        image_source=tar(good),
        image_formats=["qcow2", "vhd", "qcow2"],
        image_publish_tasks="/gone/upload.yml",
    )
    refused(place, "names no format", image_source=tar(good), image_formats=[])
    refused(
        place,
        "value of image_formats must be one or more of: qcow2, raw, vhd, vhdx, vmdk",
        image_source=tar(good),
        image_formats=["vdi"],
    )


def test_what_would_not_make_the_same_image_twice(place: Place, good: pathlib.Path) -> None:
    weak = "0123456789" * 5
    run = playbook(
        PLAYBOOK,
        place.variables(
            image_source=tar(good),
            image_source_date_epoch=4102444800,
            image_uuid="web-1",
            image_boot_key=weak,
            image_recovery_passphrase="correct horse battery staple 42",
        ),
    )
    assert run.rc != 0
    assert run.said("image_source_date_epoch 4102444800 is no time between 1980 and now")
    assert run.said("image_uuid 'web-1' is no UUID: take what uuidgen prints")
    assert run.said(
        "image_boot_key is too weak or cannot be typed at GRUB: take what 'openssl rand"
    )
    assert weak not in run.output
