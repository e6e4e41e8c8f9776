# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_audit on real images: a good one passes, and each defect fails the check that is there for it."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import sys
import typing as t

import processes
import pytest
import sealed_image
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg
from sealed_image import (
    BOOT_KEY,
    BUILD_KEY,
    CRYPTTAB,
    GRUB_CFG,
    HEADER_PATH,
    MIB,
    RECOVERY_KEY,
    ROOT_UUID,
    SCRIPT,
    Recipe,
)

Module = t.Callable[..., "dict[str, t.Any]"]
FORMATS = ["qcow2", "raw"]


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> Recipe:
    return Recipe(tmp_path)


@pytest.fixture
def audit(real_module: Module) -> Module:
    """Audit what a recipe makes: ``audit(recipe, ...)``."""

    def run(recipe: Recipe, path: pathlib.Path | None = None, **args: t.Any) -> dict[str, t.Any]:
        path = path or recipe.make()
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        dead = [recipe.key("build", BUILD_KEY)]
        args = {"keys": recipe.keys(), "dead_key_files": dead, **args}
        outcome = real_module("image_audit", path=str(path), **args)
        # Whatever the verdict: the image is as it was, nothing is left, and no key is in the answer.
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before
        assert not list(pathlib.Path("/dev/shm").glob(f"sealedroot-audit-*/{path.name}"))
        assert not daemons(path)
        for key in (BOOT_KEY, RECOVERY_KEY, BUILD_KEY):
            assert key.decode() not in str(outcome)
        return outcome

    return run


def daemons(path: pathlib.Path) -> list[str]:
    lines = processes.command_lines().values()
    return [it for it in lines if it.startswith("/usr/bin/qemu-storage-daemon") and str(path) in it]


def details(outcome: dict[str, t.Any]) -> dict[str, str]:
    return {c["name"]: c["detail"] for c in outcome["checks"] if c["verdict"] != "ok"}


@pytest.mark.parametrize(("luks", "header_size"), [("luks1", 2 * MIB), ("luks2", 16 * MIB)])
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_good_image_passes(
    recipe: Recipe, audit: Module, image_format: str, luks: str, header_size: int
) -> None:
    if luks == "luks2":
        as_luks2(recipe)
    path = recipe.make()
    if image_format != "raw":
        converted = path.with_suffix(f".{image_format}")
        sealed_image.run("qemu-img", "convert", "-O", image_format, path, converted)
        path = converted
    outcome = audit(
        recipe,
        path,
        expected={
            "luks_uuid": sealed_image.LUKS_UUID,
            "luks_type": luks,
            "root_uuid": ROOT_UUID,
        },
        markers=["uninitialized", "ssh_host_key"],
        builder_words=[str(recipe.directory)],
    )
    assert details(outcome) == {}, outcome["msg"]
    assert not outcome["changed"]
    assert len(outcome["checks"]) == 20
    facts = outcome["facts"]
    assert facts["format"] == image_format
    assert facts["slots"] == {"0": 1000, "1": 1000}
    assert facts["kernels"] == ["6"]
    assert facts["root_uuid"] == ROOT_UUID
    header = recipe.disk.read_bytes()[sealed_image.LUKS_START :][:header_size]
    assert facts["header_sha256"] == hashlib.sha256(header).hexdigest()
    # Above all no times that were measured with a key.
    assert set(facts) == {
        *("sha256", "format", "luks_uuid", "luks_type", "header_sha256", "slots"),
        *("root_uuid", "filesystem", "kernels"),
    }


def test_an_image_for_arm64(recipe: Recipe, audit: Module, arm64_library: pathlib.Path) -> None:
    recipe.for_arm64(arm64_library)
    expected = {"esp_files": [recipe.boot_file]}
    outcome = audit(recipe, expected=expected)
    assert details(outcome) == {}
    # That of another architecture is not what its firmware starts.
    assert "has no EFI/BOOT/BOOTX64.EFI" in details(audit(recipe, recipe.disk))["esp"]
    recipe.modules = tuple(name for name in recipe.modules if name != "luks")
    lacking = audit(recipe, expected=expected)
    assert details(lacking)["esp"].startswith("EFI/BOOT/BOOTAA64.EFI lacks the GRUB modules luks")


def as_luks2(recipe: Recipe) -> None:
    recipe.format_options = sealed_image.LUKS2
    recipe.modules = tuple(f"{m}2" if m == "luks" else m for m in recipe.modules)


def with_filesystem(recipe: Recipe, name: str) -> None:
    recipe.filesystem, recipe.luks_size = name, 340 * MIB
    recipe.modules = tuple(name if it == "ext2" else it for it in recipe.modules)


@pytest.mark.parametrize("name", ["btrfs", "xfs"])
def test_a_good_image_with_another_file_system(recipe: Recipe, audit: Module, name: str) -> None:
    with_filesystem(recipe, name)
    recipe.links = {"etc/way": "/etc/ssh"}
    expected = {"luks_uuid": sealed_image.LUKS_UUID, "root_uuid": ROOT_UUID}
    outcome = audit(recipe, expected=expected, builder_words=[str(recipe.directory)])
    assert details(outcome) == {}, outcome["msg"]
    assert outcome["facts"]["filesystem"] == name
    assert outcome["facts"]["root_uuid"] == ROOT_UUID
    assert outcome["facts"]["kernels"] == ["6"]


@pytest.mark.parametrize("name", ["btrfs", "xfs"])
def test_defects_in_another_file_system(recipe: Recipe, audit: Module, name: str) -> None:
    modules = recipe.modules
    with_filesystem(recipe, name)
    recipe.modules = (*modules, "extcmd")  # with ext2
    recipe.initramfs_mode = 0o644
    recipe.modes = {sealed_image.KEY_PATH: 0o444}
    put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")(recipe)
    put("etc/ssh/ssh_host_rsa_key", b"key", 0o600)(recipe)
    found = details(audit(recipe, expected={"root_uuid": sealed_image.LUKS_UUID}))
    assert set(found) == {"filesystem", "initramfs", "key_files", "identity"}
    assert f"lacks the module {name}" in found["filesystem"]
    assert f"has the UUID {ROOT_UUID}" in found["filesystem"]
    assert "mode 0644" in found["initramfs"]
    assert "mode 0444" in found["key_files"]
    assert "machine-id is set" in found["identity"]
    assert "ssh_host_rsa_key" in found["identity"]


LUKS2_DEFECTS: list[tuple[str, dict[str, t.Any]]] = [
    ("GRUB tries slot 1 first", {"slots": {1: (RECOVERY_KEY, 1000), 0: (BOOT_KEY, 1000)}}),
    (
        "slot 1 has the priority ignore",
        {"cryptsetup": (("config", "--key-slot", "1", "--priority", "ignore", "LUKS"),)},
    ),
    (
        "there are tokens (1)",
        {"cryptsetup": (("token", "add", "--key-description", "x", "--key-slot", "1", "LUKS"),)},
    ),
    (
        "slot 1 has the hash sha256, and the digest sha512",
        {"format_options": (*sealed_image.LUKS2[:3], "sha512", *sealed_image.LUKS2[4:])},
    ),
    # Where the second copy is: GRUB would believe it, if its number were higher.
    (
        "the two copies of the LUKS2 header differ",
        {"patches": {sealed_image.LUKS_START + 16384 + 8192: b"x"}},
    ),
]


@pytest.mark.parametrize(("says", "values"), LUKS2_DEFECTS, ids=[it[0] for it in LUKS2_DEFECTS])
def test_a_defect_of_a_luks2_header(
    recipe: Recipe, audit: Module, says: str, values: dict[str, t.Any]
) -> None:
    as_luks2(recipe)
    set_(**values)(recipe)
    outcome = audit(recipe)
    assert says in details(outcome).get("header", ""), outcome["msg"]


def test_another_version_than_was_asked_for(recipe: Recipe, audit: Module) -> None:
    outcome = audit(recipe, expected={"luks_type": "luks2"})
    assert details(outcome) == {"header": "it is luks1, not luks2"}


def test_another_hash_that_was_asked_for(recipe: Recipe, audit: Module) -> None:
    recipe.format_options = ("--type", "luks1", "--hash", "sha512", "-s512")
    recipe.modules = tuple(m.replace("sha256", "sha512") for m in recipe.modules)
    assert details(audit(recipe, expected={"hash": "sha512"})) == {}


def test_a_container_that_packs_its_data(recipe: Recipe, audit: Module) -> None:
    # Where nothing else was written, so that it can be compressed at all.
    recipe.patches = {sealed_image.LUKS_START + 38 * MIB: BUILD_KEY}
    path = recipe.make().with_suffix(".qcow2")
    sealed_image.run("qemu-img", "convert", "-c", "-O", "qcow2", recipe.disk, path)
    assert BUILD_KEY not in path.read_bytes()
    assert "dead key build.key is in the image" in details(audit(recipe, path))["clear_areas"]


def test_a_container_that_tears_its_data(recipe: Recipe, audit: Module) -> None:
    border = sealed_image.LUKS_START + 20 * MIB
    recipe.patches = {border - 20: BUILD_KEY}
    path = recipe.make().with_suffix(".qcow2")
    # The cluster behind the border comes first in the file, because it is written first.
    sealed_image.run("qemu-img", "create", "-f", "qcow2", path, str(sealed_image.DISK_SIZE))
    sealed_image.run("qemu-io", "-f", "qcow2", "-c", f"write {border} 64k", path)
    sealed_image.run("qemu-img", "convert", "-n", "-O", "qcow2", recipe.disk, path)
    assert BUILD_KEY not in path.read_bytes()
    assert "dead key build.key is in the image" in details(audit(recipe, path))["clear_areas"]


def test_a_container_with_something_elsewhere(recipe: Recipe, audit: Module) -> None:
    base = recipe.make()
    overlay = base.with_suffix(".qcow2")
    sealed_image.run("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "raw", overlay)
    outcome = audit(recipe, overlay)
    assert "backing file" in details(outcome)["format"]
    assert "not examined, because of format" in details(outcome)["identity"]
    assert "backing file" in outcome["msg"]


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("vpc", "subformat=fixed,force_size=on"),
        ("vpc", "subformat=dynamic,force_size=on"),
        ("vhdx", "subformat=dynamic"),
        ("vmdk", "subformat=streamOptimized"),
    ],
)
@pytest.mark.parametrize("leaks", [False, True], ids=["good", "leaks"])
def test_containers_of_other_hypervisors(
    recipe: Recipe, audit: Module, driver: str, options: str, leaks: bool
) -> None:
    if leaks:
        recipe.patches = {sealed_image.LUKS_START + 38 * MIB: BUILD_KEY}
    path = recipe.make().with_name("disk.other")
    sealed_image.run(
        *("qemu-img", "convert", "-O", driver, "-o", options, recipe.disk, path),
    )
    outcome = audit(recipe, path)
    assert outcome["facts"]["format"] == driver
    said = details(outcome)
    assert set(said) == ({"clear_areas", "payload"} if leaks else set()), said
    if leaks:
        assert "dead key build.key is in the image" in said["clear_areas"]


def test_a_container_with_a_snapshot(recipe: Recipe, audit: Module) -> None:
    path = recipe.make().with_suffix(".qcow2")
    sealed_image.run("qemu-img", "convert", "-O", "qcow2", recipe.disk, path)
    sealed_image.run("qemu-img", "snapshot", "-c", "before", path)
    assert "1 internal snapshots" in details(audit(recipe, path))["format"]


def patch(offset: int, content: bytes) -> t.Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        recipe.patches[offset] = content

    return change


def put(name: str, content: bytes, mode: int = 0o644) -> t.Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        recipe.files[name] = (mode, content)

    return change


def set_(**values: t.Any) -> t.Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        for name, value in values.items():
            setattr(recipe, name, value)

    return change


def initramfs(*files: tuple[str, int, bytes]) -> t.Callable[[Recipe], None]:
    return set_(initramfs={name: (mode, content) for name, mode, content in files})


def cut(text: str) -> t.Callable[[Recipe], None]:
    """Take *text* out of the menu."""

    def change(recipe: Recipe) -> None:
        assert text in recipe.grub_cfg
        recipe.grub_cfg = recipe.grub_cfg.replace(text, "")

    return change


def files(
    contents: dict[str, bytes], links: dict[str, str] | None = None
) -> t.Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        recipe.files.update((name, (0o644, content)) for name, content in contents.items())
        recipe.links.update(links or {})

    return change


def custom(text: str) -> t.Callable[[Recipe], None]:
    """Let the menu read a custom.cfg, as 41_custom of GRUB does."""

    def change(recipe: Recipe) -> None:
        recipe.grub_cfg += "source ${config_directory}/custom.cfg\n"
        put("boot/grub/custom.cfg", text.encode())(recipe)

    return change


UNITS = "etc/systemd/system"
DEVICE = "/dev/mapper/cr_root"
EMERGENCY = "etc/systemd/system/emergency.service.d/sealedroot.conf"
SWAP = "start=2048, size=77824, type=uefi\nstart=79872, size=83968, type=linux\n"
KEY = ("cryptroot/keyfiles/cr_root.key", 0o400, BOOT_KEY)
LINUX = sealed_image.KERNEL
DEFECTS = [
    # check, what its detail says, what is wrong
    ("layout", "not one ESP", set_(partitions=f"label: gpt\n{SWAP}")),
    ("layout", "outside the partitions, at byte 20000", patch(20000, b"x")),
    ("header", "digest has", set_(format_iterations=("--iter-time", "500"))),
    ("header", "slots", set_(slots={0: (BOOT_KEY, 1000), 1: (RECOVERY_KEY, 3000)})),
    # With so many, GRUB is silent for seconds before it opens.
    (
        "header",
        "{0: 300000, 1: 1000}",
        set_(slots={0: (BOOT_KEY, 300_000), 1: (RECOVERY_KEY, 1000)}),
    ),
    (
        "header",
        "hash is sha512",
        set_(format_options=("--type", "luks1", "--hash", "sha512", "-s512")),
    ),
    ("header", "256", set_(format_options=("--type", "luks1", "--hash", "sha256", "-s256"))),
    (
        "keys_open",
        "the boot key does not open slot 0",
        set_(slots={0: (RECOVERY_KEY, 1000), 1: (BOOT_KEY, 1000)}),
    ),
    (
        "keys_open",
        "build.key still opens slot 2",
        set_(slots={0: (BOOT_KEY, 1000), 1: (RECOVERY_KEY, 1000), 2: (BUILD_KEY, 1000)}),
    ),
    ("grub_opens", "cannot open", set_(slots={0: (RECOVERY_KEY, 1000)})),
    ("grub_cfg", "no root=", set_(grub_cfg=LINUX.replace("root=", "boot="))),
    ("grub_cfg", "/dev/loop7", set_(grub_cfg=LINUX.replace(DEVICE, "/dev/loop7"))),
    # Any disk of the host can have that UUID.
    (
        "grub_cfg",
        f"gets root=UUID={ROOT_UUID}, not root={DEVICE}",
        set_(grub_cfg=LINUX.replace(DEVICE, f"UUID={ROOT_UUID}")),
    ),
    (
        "grub_cfg",
        "can find a disk of the host",
        set_(grub_cfg=f"search --fs-uuid --set=root {ROOT_UUID}\n{GRUB_CFG}"),
    ),
    *(
        ("grub_cfg", f"gets no {word.partition('=')[0]}, not {word}", cut(f" {word}"))
        for word in sealed_image.WORDS.split()
    ),
    # The last one counts.
    (
        "grub_cfg",
        "gets systemd.gpt_auto=1, not systemd.gpt_auto=0",
        set_(grub_cfg=LINUX.replace(" panic=5", " systemd.gpt_auto=1 panic=5")),
    ),
    ("grub_cfg", "not in the image", set_(grub_cfg=f"search --fs-uuid {'f' * 32}\n{LINUX}")),
    ("grub_cfg", "boots no kernel", set_(grub_cfg="reboot\n")),
    ("console", "GRUB's editor and shell are open", cut(sealed_image.CLOSED)),
    ("console", "unset superusers", set_(grub_cfg=f"{GRUB_CFG}unset superusers\n")),
    ("console", "would ask for a password", cut(sealed_image.UNRESTRICTED)),
    ("console", f"/{EMERGENCY} is not what makes", set_(files={EMERGENCY: None})),
    ("console", f"/{EMERGENCY} is not what makes", put(EMERGENCY, b"[Service]\nExecStart=sh\n")),
    ("console", "zzzz-sealedroot.conf is not what", put("etc/sysctl.d/zzzz-sealedroot.conf", b"")),
    (
        "console",
        "the account root has no password",
        files({"etc/passwd": b"root:x:0:0::/root:/bin/bash\n", "etc/shadow": b"root::1::::::\n"}),
    ),
    (
        "console",
        f"/{UNITS}/serial-getty@ttyS0.service.d/x.conf logs in without a password",
        files(
            {
                "usr/lib/systemd/system/serial-getty@.service": b"[Service]\nExecStart=-/sbin/agetty %I\n",
                f"{UNITS}/serial-getty@ttyS0.service.d/x.conf": (
                    b"[Service]\nExecStart=\nExecStart=-/sbin/agetty -a root %I\n"
                ),
            }
        ),
    ),
    ("console", "agetty.autologin logs in", put("etc/credstore/agetty.autologin", b"root")),
    (
        "console",
        "debug-shell.service, a shell of root",
        files(
            {"usr/lib/systemd/system/debug-shell.service": b"[Service]\nExecStart=/bin/bash\n"},
            {f"{UNITS}/sysinit.target.wants/debug-shell.service": "../debug-shell.service"},
        ),
    ),
    (
        "console",
        f"does not restart the machine, because of /{UNITS}/rescue.service.d/zz.conf",
        put(
            f"{UNITS}/rescue.service.d/zz.conf",
            b"[Service]\nExecStart=\nExecStart=-/sbin/sulogin\n",
        ),
    ),
    ("console", "/etc/sysctl.conf is read after", put("etc/sysctl.conf", b"kernel.sysrq=1\n")),
    (
        "console",
        "/boot/grub/custom.cfg: it says 'unset superusers'",
        custom("unset superusers\n"),
    ),
    (
        "grub_cfg",
        f"custom.cfg: (cryptouuid/{sealed_image.PLAIN_UUID})/boot/vmlinuz-6 gets no root=",
        custom(f"linux (cryptouuid/{sealed_image.PLAIN_UUID})/boot/vmlinuz-6 ro\n"),
    ),
    ("grub_cfg", "/boot/grub/custom.cfg: 'chainloader +1' starts", custom("chainloader +1\n")),
    (
        "console",
        "the entry 'Test' would ask for a password",
        set_(grub_cfg=GRUB_CFG.replace(" --unrestricted {", " {")),
    ),
    ("esp", "has also", set_(esp_files={"EFI/BOOT/EXTRA.TXT": b"extra"})),
    ("esp", "without dashes", set_(script=SCRIPT.replace("-u ", "-p secret -u "))),
    ("esp", "never asks", set_(script="normal\n")),
    ("esp", "its shell is open", set_(script=SCRIPT.replace("export superusers\n", ""))),
    # A key that is pressed while it asks would open the shell.
    (
        "esp",
        "its shell is open",
        set_(script=SCRIPT.removeprefix(sealed_image.CLOSED) + f"{sealed_image.CLOSED}halt\n"),
    ),
    ("esp", "a failure ends in a shell", set_(script=SCRIPT.removesuffix("reboot\n"))),
    ("esp", "not with its memdisk", set_(embedded=f"cryptomount -u {sealed_image.PLAIN_UUID}\n")),
    (
        "esp",
        "lacks the GRUB modules gcry_sha256",
        set_(modules=tuple(m for m in sealed_image.MODULES if m != "gcry_sha256")),
    ),
    (
        "esp",
        "holds the boot key (as it is)",
        set_(script=f"set x={BOOT_KEY.decode()}\n{SCRIPT}"),
    ),
    ("clear_areas", "boot key (as it is)", patch(30 * MIB, BOOT_KEY)),
    ("clear_areas", "UTF-16LE", patch(30 * MIB, RECOVERY_KEY.decode().encode("utf-16-le"))),
    ("clear_areas", "hexadecimal", patch(30 * MIB, BOOT_KEY.hex().encode())),
    ("clear_areas", "base64", patch(30 * MIB, base64.b64encode(b"12" + BOOT_KEY))),
    (
        "clear_areas",
        "decoded from base64",
        patch(sealed_image.LUKS_START + 2 * MIB - 4096, base64.b64decode(BOOT_KEY)),
    ),
    ("clear_areas", "marker PLAINTEXT-MARKER", patch(60 * MIB, b"PLAINTEXT-MARKER")),
    ("payload", "is not encrypted", patch(60 * MIB, b"some plain text of the root" * 100)),
    ("filesystem", "builder's directory", set_(debugfs=("ssv last_mounted /var/tmp/build/root",))),
    ("filesystem", "is not clean", set_(debugfs=("ssv state 0",))),
    ("filesystem", "e2fsck", set_(debugfs=("clri /boot/vmlinuz-6",))),
    ("filesystem", "UUID", set_(debugfs=(f"ssv uuid {sealed_image.LUKS_UUID}",))),
    (
        "grub_code",
        "the GRUB module luks in EFI/BOOT/BOOTX64.EFI is not /usr/lib/grub/x86_64-efi/luks.mod",
        put("usr/lib/grub/x86_64-efi/luks.mod", b"an older one"),
    ),
    ("initramfs", "mode 0644", set_(initramfs_mode=0o644)),
    ("initramfs", "holds the boot key 0 times", initramfs(("init", 0o755, b"#!/bin/sh"))),
    ("initramfs", "holds the boot key 2 times", initramfs(KEY, ("copy", 0o400, BOOT_KEY))),
    ("initramfs", "read by others", initramfs((KEY[0], 0o444, BOOT_KEY))),
    ("initramfs", "not a file of its own", initramfs((KEY[0], 0o400, BOOT_KEY + b"\n"))),
    ("initramfs", "the recovery key is in it", initramfs(KEY, ("log", 0o600, RECOVERY_KEY))),
    ("initramfs", "dead key build.key is in it", initramfs(KEY, ("log", 0o600, BUILD_KEY))),
    ("initramfs", "which is not there", set_(initramfs=None)),
    ("initramfs", "it holds no pinned header", set_(initramfs_header="")),
    (
        "initramfs",
        "it holds /etc/cryptsetup-headers.d/x,",
        set_(initramfs_header="etc/cryptsetup-headers.d/x"),
    ),
    ("initramfs", "is another than in the root", put(HEADER_PATH, b"LUKS\xba\xbe", 0o400)),
    # A part of it would open nothing.
    ("pinned_header", "is not the header of the disk", put(HEADER_PATH, b"LUKS\xba\xbe", 0o400)),
    ("pinned_header", "is not the header of the disk", put(HEADER_PATH, b"", 0o400)),
    # Keys of the disk were changed, and not those of the file.
    (
        "pinned_header",
        "is not the header of the disk",
        patch(sealed_image.LUKS_START + 300_000, b"another key in slot 1"),
    ),
    ("pinned_header", "is not there", set_(files={HEADER_PATH: None})),
    ("pinned_header", "mode 0755", set_(modes={"etc/cryptsetup-headers.d": 0o755})),
    ("pinned_header", "mode 0444", set_(modes={HEADER_PATH: 0o444})),
    ("pinned_header", "has also x.header", put("etc/cryptsetup-headers.d/x.header", b"x", 0o400)),
    (
        "pinned_header",
        "opens cr_root with the header on the disk",
        put("etc/crypttab", CRYPTTAB.replace(f",header=/{HEADER_PATH}", "").encode()),
    ),
    (
        "pinned_header",
        "has no line for cr_root",
        put("etc/crypttab", CRYPTTAB.replace("cr_root", "other").encode()),
    ),
    ("key_files", "mode 0755", set_(modes={"etc/cryptsetup-keys.d": 0o755})),
    ("key_files", "mode 0444", set_(modes={sealed_image.KEY_PATH: 0o444})),
    ("key_files", "is not the boot key", put(sealed_image.KEY_PATH, BOOT_KEY + b"\n", 0o400)),
    ("key_files", "is not there", set_(files={sealed_image.KEY_PATH: None})),
    (
        "key_files",
        "holds the recovery key",
        put("etc/cryptsetup-keys.d/r.key", RECOVERY_KEY, 0o400),
    ),
    ("key_files", "UMASK=0077", put("etc/initramfs-tools/conf.d/zz", b"UMASK=0022\n")),
    ("mounts", "the device /dev/vda2", put("etc/fstab", b"/dev/vda2 / ext4 defaults 0 1\n")),
    (
        "mounts",
        "which a disk of the host can have",
        put("etc/fstab", f"UUID={ROOT_UUID} / ext4 defaults 0 1\n".encode()),
    ),
    # The ESP is the host's, and no boot needs it.
    (
        "mounts",
        "LABEL=ESP, which a disk of the host can have",
        put("etc/fstab", f"{DEVICE} / ext4\nLABEL=ESP /boot/efi vfat nofail\n".encode()),
    ),
    (
        "mounts",
        f"/{UNITS}/data.mount names LABEL=data, which a disk of the host can have",
        files(
            {f"{UNITS}/data.mount": b"[Mount]\nWhat=LABEL=data\nWhere=/data\n"},
            {f"{UNITS}/local-fs.target.wants/data.mount": "../data.mount"},
        ),
    ),
    (
        "mounts",
        "extra.swap names the device /dev/vdb",
        put(f"{UNITS}/extra.swap", b"[Swap]\nWhat=/dev/vdb\n[Install]\nWantedBy=swap.target\n"),
    ),
    ("mounts", "no line for /", put("etc/fstab", b"")),
    ("mounts", "crypttab names", put("etc/crypttab", b"cr_root UUID=0 none luks\n")),
    ("identity", "machine-id is set", put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")),
    ("identity", "ssh_host_rsa_key", put("etc/ssh/ssh_host_rsa_key", b"key", 0o600)),
    ("identity", "random-seed", put("var/lib/systemd/random-seed", b"seed", 0o600)),
    ("identity", "credential.secret", put("var/lib/systemd/credential.secret", b"seed", 0o600)),
]


@pytest.mark.parametrize(
    ("check", "says", "change"), DEFECTS, ids=[f"{it[0]}-{it[1][:24]}" for it in DEFECTS]
)
def test_a_defect_fails_its_check(
    recipe: Recipe, audit: Module, check: str, says: str, change: t.Callable[[Recipe], None]
) -> None:
    change(recipe)
    outcome = audit(recipe, expected={"root_uuid": ROOT_UUID}, markers=["PLAINTEXT-MARKER"])
    assert outcome["failed"]
    found = details(outcome)
    assert check in found, found
    assert says in found[check], found[check]
    assert check in outcome["msg"]


def test_a_piece_of_a_digest_beside_the_image(recipe: Recipe, audit: Module) -> None:
    path = recipe.make()
    notes = path.with_name("notes.txt")
    notes.write_text(f"key: {hashlib.sha256(BOOT_KEY).hexdigest()[20:40]}\n")
    found = details(audit(recipe, path))
    assert set(found) == {"published"}
    assert f"{notes} has the boot key (sha256 of it, in hexadecimal)" in found["published"]
    notes.chmod(0o600)
    assert details(audit(recipe, path)) == {}


# As distributions have it, and systemd starts it.
USUAL = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n",
    "etc/shadow": b"root:$y$j9T$salt$hash:1:0:99999:7:::\nsync:*:1:0:99999:7:::\n",
    "usr/lib/systemd/system/getty@.service": b"[Service]\nExecStart=-/sbin/agetty -o '-p -- \\\\u' - $TERM\n",
    "usr/lib/systemd/system/emergency.service": b"[Service]\nExecStart=-sulogin\n",
    "usr/lib/systemd/system/debug-shell.service": b"[Service]\nExecStart=/bin/bash\n",
    "usr/lib/systemd/system/tmp.mount": b"[Mount]\nWhat=tmpfs\nWhere=/tmp\nType=tmpfs\n",
    "etc/sysctl.conf": b"#kernel.sysrq=438\n",
}


def test_what_distributions_ship_is_no_defect(recipe: Recipe, audit: Module) -> None:
    custom("menuentry 'UEFI Firmware Settings' { fwsetup }\n")(recipe)
    links = {f"{UNITS}/local-fs.target.wants/tmp.mount": "/usr/lib/systemd/system/tmp.mount"}
    files(USUAL, links)(recipe)
    assert details(audit(recipe)) == {}


def test_a_file_system_in_the_clear(recipe: Recipe, audit: Module) -> None:
    path = recipe.make()
    plain = (recipe.directory / "root.img").read_bytes()[:4096]
    with path.open("r+b") as handle:
        handle.seek(60 * MIB)
        handle.write(plain)
    assert "a file system (ext4) begins at byte" in details(audit(recipe, path))["payload"]


@pytest.mark.parametrize(
    "packer", [(), ("gzip", "-c"), ("xz", "-c", "--check=crc32"), ("lz4", "-l", "-c")]
)
def test_every_compression_of_an_initramfs(
    recipe: Recipe, audit: Module, packer: tuple[str, ...]
) -> None:
    recipe.packer = packer
    assert "initramfs" not in details(audit(recipe))


@pytest.mark.parametrize("stored", [False, True])
def test_an_initramfs_behind_microcode(recipe: Recipe, audit: Module, stored: bool) -> None:
    """A compressor can leave the key as it is, which is then no second one."""
    early = sealed_image.newc({"kernel/x86/microcode/AuthenticAMD.bin": (0o644, b"microcode")})
    pack = "import gzip, sys; packed = gzip.compress(sys.stdin.buffer.read(), int(sys.argv[1]))"
    pack += "; sys.stdout.buffer.write(bytes.fromhex(sys.argv[2]) + packed)"
    early += bytes(-len(early) % 512)
    recipe.packer = (sys.executable, "-c", pack, "0" if stored else "9", early.hex())
    path = recipe.make()
    packed = (recipe.directory / "root/boot/initrd.img-6").read_bytes()
    assert (BOOT_KEY in packed) == stored
    assert details(audit(recipe, path)) == {}


def test_an_image_with_an_open_console(recipe: Recipe, audit: Module) -> None:
    """For development, and so that its host cannot change what is behind it all the same."""
    closing = sealed_image.WORDS.partition(" panic=")[0]
    recipe.grub_cfg = GRUB_CFG.removeprefix(sealed_image.CLOSED + sealed_image.UNRESTRICTED)
    recipe.grub_cfg = recipe.grub_cfg.replace(sealed_image.WORDS, closing)
    recipe.script = cfg.unlock_script(
        luks_uuid=sealed_image.LUKS_UUID, directory="/boot/grub", debug_console=True
    )
    for name in sealed_image.emergency.FILES:
        recipe.files[name.lstrip("/")] = None
    path = recipe.make()
    assert details(audit(recipe, path, expected={"debug_console": True})) == {}
    assert set(details(audit(recipe, path))) == {"console", "esp", "grub_cfg"}
    recipe.initramfs_header = ""
    recipe.grub_cfg = recipe.grub_cfg.replace(DEVICE, f"UUID={ROOT_UUID}")
    path = recipe.make()
    found = details(audit(recipe, path, expected={"debug_console": True}))
    assert set(found) == {"grub_cfg", "initramfs"}


def test_an_initramfs_whose_key_was_not_made_smaller(recipe: Recipe, audit: Module) -> None:
    """Between noise, zstd stores the key as it is, so it is in the file beside the unpacked one."""
    noise = (0o600, os.urandom(1 << 17))
    assert recipe.initramfs
    recipe.initramfs = {"a": noise, **recipe.initramfs, "z": (0o600, os.urandom(1 << 17))}
    early = sealed_image.newc({"kernel/x86/microcode/AuthenticAMD.bin": (0o644, b"microcode")})
    microcode = recipe.directory / "microcode"
    microcode.write_bytes(early + bytes(-len(early) % 512))
    recipe.packer = ("sh", "-c", f"cat {microcode}; zstd -q -c")
    path = recipe.make()
    packed = (recipe.directory / "root/boot/initrd.img-6").read_bytes()
    assert packed.count(BOOT_KEY) == 1
    assert details(audit(recipe, path)) == {}


def test_links_stay_in_the_image(recipe: Recipe, audit: Module, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("0123456789abcdef0123456789abcdef\n")
    recipe.files["etc/machine-id"] = None
    recipe.links = {"etc/machine-id": str(outside), "var/lib/dbus/machine-id": "/etc/machine-id"}
    assert "identity" not in details(audit(recipe))
    recipe.links["etc/machine-id"] = "../../.." + str(outside)
    # The same path inside the image is what counts.
    recipe.files[str(outside)[1:]] = (0o644, b"0123456789abcdef0123456789abcdef\n")
    again = Recipe(tmp_path / "again", files=recipe.files, links=recipe.links)
    again.directory.mkdir()
    assert "/etc/machine-id is set" in details(audit(again))["identity"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"path": "/nonexistent/disk.raw"}, "is not a file"),
        ({"markers": ["short"]}, "fewer than 8 bytes"),
        ({"expected": {"slots": {"zero": 1000}}}, "must have numbers"),
        ({"dead_key_files": ["/nonexistent/build.key"]}, "cannot be read"),
        ({"work_dir": "/proc"}, "no tmpfs"),
    ],
)
def test_a_question_that_cannot_be_asked(
    recipe: Recipe, real_module: Module, args: dict[str, t.Any], says: str
) -> None:
    recipe.disk.write_bytes(bytes(MIB))
    outcome = real_module(
        "image_audit", **{"path": str(recipe.disk), "keys": recipe.keys(), **args}
    )
    assert outcome["failed"]
    assert says in outcome["msg"]


def test_a_key_file_with_a_newline(recipe: Recipe, real_module: Module) -> None:
    keys = {"boot": recipe.key("newline", BOOT_KEY + b"\n")}
    recipe.disk.write_bytes(bytes(MIB))
    outcome = real_module("image_audit", path=str(recipe.disk), keys=keys)
    assert "without a newline" in outcome["msg"]


def test_something_that_is_no_sealed_image(recipe: Recipe, audit: Module) -> None:
    recipe.disk.write_bytes(os.urandom(MIB))
    assert details(audit(recipe, recipe.disk))["layout"] == "it has no GPT"


def test_the_work_directory_is_left_empty(recipe: Recipe, audit: Module) -> None:
    work = pathlib.Path("/dev/shm") / f"audit-test-{os.getpid()}"
    work.mkdir(mode=0o700)
    try:
        assert details(audit(recipe, work_dir=str(work))) == {}
        assert list(work.iterdir()) == []
    finally:
        work.rmdir()


LABELS = {
    "/": "root_t",
    "/etc": "etc_t",
    "/etc/fstab": "etc_t",
    "/etc/shadow": "shadow_t",
    "/boot": "boot_t",
    "/boot/grub": "boot_t",
    "/boot/grub/grub.cfg": "boot_t",
    "/boot/vmlinuz-6": "boot_t",
    "/boot/initrd.img-6": "boot_t",
    "/etc/cryptsetup-keys.d": "etc_t",
    f"/{sealed_image.KEY_PATH}": "etc_t",
    "/usr/lib/systemd/systemd": "init_exec_t",
}


def with_selinux(recipe: Recipe, **labels: str) -> None:
    """Give the image a policy that is switched on, and its labels; *labels* are others, by the last part."""
    recipe.files["etc/selinux/config"] = (0o644, b"SELINUX=enforcing\nSELINUXTYPE=default\n")
    recipe.files["etc/selinux/default/policy/policy.33"] = (0o644, b"policy")
    recipe.files["etc/shadow"] = (0o640, b"root:*:1::::::\n")
    recipe.files["usr/lib/systemd/systemd"] = (0o755, b"init")
    recipe.files["boot/config-6"] = (0o644, b'CONFIG_LSM="yama,apparmor,selinux,bpf"\n')
    recipe.links["sbin/init"] = "/usr/lib/systemd/systemd"
    recipe.grub_cfg = recipe.grub_cfg.replace(" ro ", " ro security=selinux ")
    kinds = {path: labels.get(path.rpartition("/")[2], usual) for path, usual in LABELS.items()}
    set_label = 'ea_set {} security.selinux "system_u:object_r:{}:s0\\000"'
    recipe.debugfs = (
        "feature ext_attr",
        *(set_label.format(path, kind) for path, kind in kinds.items() if kind),
    )


def test_an_image_with_selinux(recipe: Recipe, audit: Module) -> None:
    with_selinux(recipe)
    outcome = audit(recipe)
    assert details(outcome) == {}
    seen = {check["name"]: check["detail"] for check in outcome["checks"]}
    assert seen["selinux"] == "labelled for the policy 'default', enforcing by its configuration"


def test_defects_of_an_image_with_selinux(recipe: Recipe, audit: Module) -> None:
    """Several at once: each is named."""
    with_selinux(recipe, shadow="etc_t", systemd="unlabeled_t", **{"initrd.img-6": ""})
    recipe.grub_cfg = recipe.grub_cfg.replace("security=selinux ", "")
    recipe.files[".autorelabel"] = (0o644, b"")
    path = recipe.make()
    found = details(audit(recipe, path))
    assert set(found) == {"selinux"}
    for says in (
        "/etc/shadow is labelled etc_t, not shadow_t",
        "/boot/initrd.img-6, /sbin/init without an SELinux label",
        "/.autorelabel is there",
        "/boot/vmlinuz-6 starts apparmor",
    ):
        assert says in found["selinux"]
    assert details(audit(recipe, path, expected={"selinux": "off"})) == {}


def test_an_image_that_relabels_at_its_first_boot(recipe: Recipe, audit: Module) -> None:
    with_selinux(recipe)
    recipe.debugfs = ()
    recipe.files[".autorelabel"] = (0o644, b"-F\n")
    path = recipe.make()
    assert details(audit(recipe, path, expected={"selinux": "relabel_at_boot"})) == {}
    assert "/.autorelabel is there" in details(audit(recipe, path))["selinux"]


def test_labels_that_are_demanded(recipe: Recipe, audit: Module) -> None:
    found = details(audit(recipe, expected={"selinux": "label"}))
    assert found == {"selinux": "there is no SELinux policy in /etc/selinux/targeted/policy"}
