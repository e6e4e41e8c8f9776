# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a root file system, put together; each of them is tested where it is made."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    files as audit_files,
    reports,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Volume
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, core_image
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest, kernel_words
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from cpio import newc

LUKS, ROOT = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
BOOT = b"the boot key of the image"
HEADER = b"a LUKS header".ljust(4096, b"\0")
NAME = pinned_header.path(LUKS)
KEY = f"/etc/cryptsetup-keys.d/luks-{LUKS}.key"
CHECKS = (
    *(
        "filesystem",
        "grub_code",
        "grub_cfg",
        "console",
        "pinned_header",
        "initramfs",
        "key_files",
        "mounts",
    ),
    *("identity", "host_agents", "selinux"),
)

CORES = {"EFI/BOOT/BOOTX64.EFI": core_image.Core("", "", frozenset({"ext2"}))}
OTHER = {
    "EFI/BOOT/BOOTX64.EFI": dataclasses.replace(
        CORES["EFI/BOOT/BOOTX64.EFI"], code=(("ext2", b"other"),)
    )
}

CHECK = kernel_words.path("mkinitcpio")
CHECK_FILE = (0o755, kernel_words.text("mkinitcpio", luks_uuid=LUKS).encode())


def menu(*, debug_console: bool = False) -> str:
    words = " ".join(guest.words("mkinitcpio", luks_uuid=LUKS, debug_console=debug_console))
    closed = "" if debug_console else "\n".join([*cfg.CLOSED, cfg.UNRESTRICTED])
    linux = f"linux /boot/vmlinuz-linux root=/dev/mapper/luks-{LUKS} ro {words}"
    custom = "source ${config_directory}/custom.cfg"
    return f"{closed}\n{custom}\nmenuentry x --unrestricted {{\n{linux}\ninitrd /boot/initramfs-linux.img\n}}\n"


def root(**change: t.Any) -> dict[str, t.Any]:
    """The files of a root whose initramfs mkinitcpio builds."""
    table = f"luks-{LUKS} UUID={LUKS} {KEY} luks,header={NAME}\n".encode()
    image = newc({KEY[1:]: (0o400, BOOT), NAME[1:]: (0o400, HEADER), CHECK[1:]: CHECK_FILE})
    files: dict[str, t.Any] = {
        "/usr/bin/mkinitcpio": (0o755, b""),
        "/etc/mkinitcpio.conf": (0o644, f"FILES=({KEY} {NAME})\n".encode()),
        "/etc/crypttab": (0o644, table),
        "/etc/crypttab.initramfs": (0o644, table),
        "/etc/fstab": (0o644, f"/dev/mapper/luks-{LUKS} / ext4\n".encode()),
        "/etc/cryptsetup-keys.d": (0o700,),
        KEY: (0o400, BOOT),
        pinned_header.DIRECTORY: (0o700,),
        NAME: (0o400, HEADER),
        "/boot/vmlinuz-linux": (0o644, b""),
        "/boot/initramfs-linux.img": (0o600, image),
        **{path: (0o644, text.encode()) for path, text in emergency.FILES.items()},
        CHECK: CHECK_FILE,
        cfg.MENU_SCRIPT: (0o755, cfg.MENU_SCRIPT_TEXT.encode()),
    }
    return {name: file for name, file in {**files, **change}.items() if file}


@pytest.fixture
def examine(
    tree: t.Any, runner: t.Any, monkeypatch: pytest.MonkeyPatch
) -> t.Callable[..., dict[str, str]]:
    """Examine a root; return what is said of each check that failed."""

    def run(
        files: dict[str, t.Any],
        config: str,
        on_disk: bytes = HEADER,
        *,
        cores: t.Mapping[str, core_image.Core] = CORES,
        **more: t.Any,
    ) -> dict[str, str]:
        it = tree(files)
        it.volume = lambda: Volume("ext4", ROOT, "root")
        monkeypatch.setattr(audit_files, "open_tree", lambda *_: it)
        expected: dict[str, t.Any] = {
            "debug_console": False,
            "host_agents": (),
            "secure_boot": False,
            **more,
        }
        subject = reports.Subject(
            path="/disk",
            key_files={"boot": "/k/boot.key"},
            keys={"boot": BOOT},
            dead_key_files=(),
            dead_keys=(),
            markers=(),
            builder_words=("builder-7",),
            luks_uuid=LUKS,
            luks_type="luks1",
            hash="sha256",
            root_uuid=ROOT,
            slots={0: 1000},
            digest_iterations=1000,
            esp_files=(),
            public_files=(),
            selinux="auto",
            work_dir=None,
            **expected,
        )
        report = reports.Report()
        audit_files.examine(
            runner,
            subject,
            report,
            device="/dev/x",
            work=str(it.work),
            luks_uuid=LUKS,
            disk_header=lambda size: on_disk[:size],
            config=config,
            cores=cores,
        )
        made = {name: check for name, check in report._checks.items() if name in CHECKS}
        assert set(made) == set(CHECKS)
        return {name: check.detail for name, check in made.items() if check.verdict != "ok"}

    return run


def test_a_root_as_it_should_be(examine: t.Any) -> None:
    assert examine(root(), menu()) == {}


@pytest.mark.parametrize(
    ("module", "secure_boot", "fails"),
    [
        (b"other", False, {}),
        (b"its own", False, {"grub_code": "the GRUB module ext2 in EFI/BOOT/BOOTX64.EFI is not"}),
        # The distribution has signed what is in it.
        (b"its own", True, {}),
    ],
)
def test_the_code_of_grub(
    examine: t.Any, module: bytes, secure_boot: bool, fails: dict[str, str]
) -> None:
    files = root(**{"/usr/lib/grub/x86_64-efi/ext2.mod": (0o644, module)})
    found = examine(files, menu(), cores=OTHER, secure_boot=secure_boot)
    assert set(found) == set(fails)
    assert all(said.startswith(fails[name]) for name, said in found.items())


def test_an_open_console_that_was_asked_for(examine: t.Any) -> None:
    image = newc({KEY[1:]: (0o400, BOOT), NAME[1:]: (0o400, HEADER)})
    files = root(
        **dict.fromkeys([*emergency.FILES, CHECK]), **{"/boot/initramfs-linux.img": (0o600, image)}
    )
    files["/etc/credstore/agetty.autologin"] = (0o600, b"root")
    assert examine(files, menu(debug_console=True), debug_console=True) == {}
    assert set(examine(files, menu(debug_console=True))) == {"grub_cfg", "console", "initramfs"}


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({NAME: None}, "pinned_header", "is not there, so the initramfs would open whatever"),
        ({NAME: (0o400, b"other")}, "pinned_header", "is not the header of the disk"),
        (
            {"/etc/crypttab.initramfs": (0o644, f"luks-{LUKS} UUID={LUKS} {KEY} luks\n".encode())},
            "pinned_header",
            f"/etc/crypttab.initramfs opens luks-{LUKS} with the header on the disk",
        ),
        (
            {"/boot/initramfs-linux.img": (0o600, newc({KEY[1:]: (0o400, BOOT)}))},
            "initramfs",
            "it holds no pinned header",
        ),
        (
            {"/etc/mkinitcpio.conf": (0o644, f"FILES=({KEY})\n".encode())},
            "key_files",
            f"does not have {NAME}: a rebuild loses it",
        ),
        ({"/etc/fstab": (0o644, b"UUID=1 / ext4\n")}, "mounts", "a disk of the host can have"),
        ({"/etc/machine-id": (0o644, b"0123\n")}, "identity", "/etc/machine-id is set"),
        (
            {"/usr/lib/systemd/system/cloud-init.service": (0o644, b"")},
            "host_agents",
            "cloud-init.service of cloud-init is on",
        ),
        (
            {
                "/boot/grub/custom.cfg": (
                    0o644,
                    b"menuentry x --unrestricted {\nlinux /boot/old\n}\n",
                )
            },
            "grub_cfg",
            "/boot/grub/custom.cfg: /boot/old gets no root=",
        ),
        (
            {"/boot/grub/custom.cfg": (0o644, b"chainloader +1\n")},
            "grub_cfg",
            "/boot/grub/custom.cfg: 'chainloader +1' starts another system",
        ),
        (
            {"/boot/grub/custom.cfg": (0o644, b"initrd /boot/x\n")},
            "initramfs",
            "grub.cfg loads /boot/x, which is not there",
        ),
        (
            {"/boot/grub/custom.cfg": (0o644, b"unset superusers\n")},
            "console",
            "custom.cfg: it says",
        ),
        (
            {
                "/etc/systemd/system/x.mount": (0o644, b"[Mount]\nWhat=LABEL=x\nWhere=/x\n"),
                "/etc/systemd/system/local-fs.target.wants/x.mount": (0o777, "../x.mount"),
            },
            "mounts",
            "x.mount names LABEL=x, which a disk of the host can have",
        ),
        ({"/etc/sysctl.conf": (0o644, b"kernel.sysrq=1\n")}, "console", "sets kernel.sysrq to 1"),
        ({next(iter(emergency.FILES)): None}, "console", "is not what makes a boot that fails"),
        ({CHECK: None}, "console", "is not what makes the initramfs insist on the words"),
        ({CHECK: (0o755, b"#!/bin/sh\n")}, "console", "is not what makes the initramfs insist"),
        ({CHECK: (0o644, CHECK_FILE[1])}, "console", f"{CHECK} is no program: make its mode 0755"),
        (
            {
                "/boot/initramfs-linux.img": (
                    0o600,
                    newc({KEY[1:]: (0o400, BOOT), NAME[1:]: (0o400, HEADER)}),
                )
            },
            "initramfs",
            f"it has no {CHECK} that is the root's",
        ),
    ],
)
def test_what_each_check_finds(
    examine: t.Any, change: dict[str, t.Any], check: str, says: str
) -> None:
    assert says in examine(root(**change), menu())[check]


def test_keys_that_were_changed_on_the_disk_alone(examine: t.Any) -> None:
    found = examine(root(), menu(), on_disk=HEADER[:-1] + b"x")
    assert set(found) == {"pinned_header"}


def test_a_root_that_no_initramfs_can_be_built_in_says_so(examine: t.Any) -> None:
    found = examine(root(**{"/usr/bin/mkinitcpio": None}), menu())
    assert found["grub_cfg"].startswith(
        "the root has nothing that builds an initramfs: install one of "
    )


def test_a_menu_that_grub_could_not_read(examine: t.Any) -> None:
    found = examine(root(), "")
    assert "boots no kernel" in found["grub_cfg"]
    assert "grub.cfg: it does not say" in found["console"]
