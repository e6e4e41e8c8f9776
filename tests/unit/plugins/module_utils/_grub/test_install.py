# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core image is made of, and the program that makes it again in the machine."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    embedded,
    install,
    own_volume,
)

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PREFIX = f"(cryptouuid/{UUID.replace('-', '')})/boot/grub"


def plan(root: pathlib.Path, **more: t.Any) -> tuple[Tree, str]:
    tree = Tree(str(root))
    what: dict[str, t.Any] = {
        "directory": "/boot/grub",
        "luks_uuid": UUID,
        "debug_console": False,
        "platform": "x86_64-efi",
        "modules": ["luks", "memdisk"],
        "tool": "grub-install",
        **more,
    }
    return tree, install.plan(tree, **what)


def test_a_memdisk_gives_back_its_script() -> None:
    script = cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub")
    disk = install.memdisk(script)
    assert install.read_memdisk(disk) == script
    # Two builds that are the same.
    assert install.memdisk(script) == disk
    # As another program than Python reads it.
    argv = ["tar", "-xOf", "-", embedded.MEMDISK_CONFIG]
    assert (
        subprocess.run(argv, input=disk, capture_output=True, check=True).stdout.decode() == script
    )


def test_a_core_image_knows_its_own_volume(tmp_path: pathlib.Path) -> None:
    sealed = {"mapping": "cr_root", "sealed": True}
    tree, place = plan(tmp_path, **sealed)
    name = f"{place}/{own_volume.FILE}"
    assert name in tree.changed()
    content = tree.read(name) or b""
    assert len(content) == own_volume.BYTES
    shown = [it for it in tree.diff() if name in it["after_header"]]
    assert len(shown) == 1
    assert shown[0]["after"] == "(secret)"
    tree.apply()
    assert (tmp_path / name[1:]).stat().st_mode & 0o777 == 0o600
    memdisk = (tmp_path / place[1:] / "memdisk.tar").read_bytes()
    argv = ["tar", "-xOf", "-", own_volume.CHECKSUM]
    said = subprocess.run(argv, input=memdisk, capture_output=True, check=True).stdout
    # As another program than Python compares it.
    check = ["sha256sum", "--check", "--strict", "--status"]
    subprocess.run(check, input=said, cwd=tmp_path / place[1:], check=True)
    assert plan(tmp_path, **sealed)[0].changed() == []
    # A root that another image was made of: whoever has that knows its file.
    other, _place = plan(tmp_path, **sealed, luks_uuid=UUID.replace("7", "8"))
    assert other.read(name) != content


SCRIPT = cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub")
SUM = own_volume.checksum(b"x" * own_volume.BYTES)


@pytest.mark.parametrize(
    ("disk", "own", "is_one"),
    [
        (install.memdisk(SCRIPT), False, True),
        (install.memdisk(SCRIPT), True, False),
        (install.memdisk(SCRIPT, SUM), True, True),
        (install.memdisk(SCRIPT, SUM), False, False),
        (install.memdisk(SCRIPT, SUM) + bytes(512), True, True),
        (install.memdisk(SCRIPT, f"{SUM}{SUM}"), True, False),
        (install.memdisk(SCRIPT, SUM.replace("own_volume", "/etc/hosts")), True, False),
        (install.memdisk("halt\n")[:1024] + install.memdisk(SCRIPT), False, False),
        (install.memdisk(SCRIPT, SUM)[:-8192] + install.memdisk(SCRIPT, SUM), True, False),
        (b"", False, False),
    ],
)
def test_a_memdisk_of_a_build(disk: bytes, own: bool, is_one: bool) -> None:
    assert install.is_memdisk(disk, ["halt\n", SCRIPT], own=own) == is_one


@pytest.mark.parametrize("data", [b"", b"no tar at all", bytes(10240), install.memdisk("")[:300]])
def test_what_is_no_memdisk_has_no_script(data: bytes) -> None:
    assert install.read_memdisk(data) == ""


def test_the_sources_of_a_core_image(tmp_path: pathlib.Path) -> None:
    tree, place = plan(tmp_path)
    assert place == "/boot/grub/sealedroot"
    assert tree.changed() == [
        *(f"{place}/{name}" for name in ("core.cfg", "memdisk.tar", "modules")),
        "/usr/local/sbin/grub-install",
    ]
    tree.apply()
    sources = tmp_path / place[1:]
    assert (sources / "core.cfg").read_text() == embedded.CONFIG
    assert (sources / "modules").read_text() == "luks memdisk\n"
    script = install.read_memdisk((sources / "memdisk.tar").read_bytes())
    assert script == cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub")
    assert plan(tmp_path)[0].changed() == []


def test_a_grub_that_starts_programs_of_efi_asks_for_another_initramfs(
    tmp_path: pathlib.Path,
) -> None:
    tree, place = plan(tmp_path, modules=["luks", "memdisk", "efitextmode"])
    script = install.read_memdisk(tree.read(f"{place}/memdisk.tar") or b"")
    assert script == cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub", ask=True)
    assert "initrd" in script


def test_a_debug_console_is_one_in_a_later_core_image_as_well(tmp_path: pathlib.Path) -> None:
    tree, place = plan(tmp_path, debug_console=True)
    script = install.read_memdisk(tree.read(f"{place}/memdisk.tar") or b"")
    what: dict[str, t.Any] = {"luks_uuid": UUID, "directory": "/boot/grub"}
    assert script == cfg.unlock_script(**what, debug_console=True)


def test_a_signed_grub_has_a_stub_alone(tmp_path: pathlib.Path) -> None:
    tree, place = plan(tmp_path, modules=[])
    assert tree.changed() == [f"{place}/grub.cfg", "/usr/local/sbin/grub-install"]
    assert tree.text(f"{place}/grub.cfg") == cfg.stub(luks_uuid=UUID, directory="/boot/grub")


EVERY = [
    *({"platform": platform} for platform in ("x86_64-efi", "arm64-efi")),
    {"directory": "/boot/grub2", "tool": "grub2-install"},
    {"modules": []},
]


@pytest.mark.parametrize("more", EVERY, ids=str)
def test_the_program_is_one_that_shellcheck_takes(
    tmp_path: pathlib.Path, shellcheck: t.Any, more: dict[str, t.Any]
) -> None:
    tool = more.get("tool", "grub-install")
    shellcheck(plan(tmp_path, **more)[0].text(f"/usr/local/sbin/{tool}"))


class Machine:
    """A root in which the program runs: its tools are scripts that write down how they were called."""

    def __init__(self, root: pathlib.Path, **more: t.Any) -> None:
        self.root = root
        tree, self.place = plan(root, **more)
        tree.apply()
        self.esp = root / "boot/efi"
        self.esp.mkdir(parents=True)
        self.log = root / "log"
        # mount shows the ESP: what is in "disk" while it is not mounted.
        self.disk = root / "disk"
        for name in ("EFI/BOOT", "EFI/debian"):
            (self.disk / name).mkdir(parents=True)
        for name in ("EFI/BOOT/BOOTX64.EFI", "EFI/debian/shimx64.efi"):
            (self.disk / name).write_text("old")
        self.tools = root / "usr/bin"
        self.tool("mountpoint", f'[ -e "{root}/mounted" ]')
        self.tool("mount", f'touch "{root}/mounted"; cp -r "{self.disk}/." "{self.esp}"')
        self.tool("umount", f'cp -r "{self.esp}/." "{self.disk}"; rm "{root}/mounted"')
        self.tool("sync", ":")
        grub = f'"{self.esp}/EFI/debian"'
        self.tool("grub-install", f"[ ! -e {grub} ] || echo grub > {grub}/grubx64.efi")
        core = 'while [ "$1" != --output ]; do shift; done; echo ours > "$2"'
        self.tool("grub-mkimage", core)
        for name in ("cp", "rm", "cat", "touch"):
            (self.tools / name).symlink_to(shutil.which(name) or name)

    def tool(self, name: str, script: str) -> None:
        path = self.tools / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\n{script}\n')
        path.chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        text = (self.root / "usr/local/sbin/grub-install").read_text()
        # The program of the machine, on the tree of the test.
        text = text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={self.tools}")
        text = text.replace("/boot/", f"{self.root}/boot/").replace(
            f"){self.root}/boot/grub'", ")/boot/grub'"
        )
        program = self.root / "program"
        program.write_text(text)
        argv = [shutil.which("sh") or "sh", str(program), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return text.replace(f"{self.root}/", "/").splitlines()


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_a_later_grub_install_ends_with_our_core_image(machine: Machine) -> None:
    done = machine.run("--target=x86_64-efi", "a b")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls() == [
        "mountpoint -q /boot/efi",
        "mount /boot/efi",
        # The variables of the firmware are the host's.
        "grub-install --no-nvram --target=x86_64-efi a b",
        "grub-mkimage --format x86_64-efi --config /boot/grub/sealedroot/core.cfg"
        " --memdisk /boot/grub/sealedroot/memdisk.tar"
        f" --prefix {PREFIX} --output /boot/grub/sealedroot/core.efi luks memdisk",
        "sync -f /boot/efi",
        "umount /boot/efi",
    ]
    found = {
        str(path.relative_to(machine.disk)): path.read_text().strip()
        for path in machine.disk.rglob("*")
        if path.is_file()
    }
    assert found == {
        "EFI/BOOT/BOOTX64.EFI": "ours",
        "EFI/debian/grubx64.efi": "ours",
        "EFI/debian/shimx64.efi": "old",
    }
    assert not (machine.root / "boot/grub/sealedroot/core.efi").exists()


def test_an_esp_that_is_mounted_stays_so(machine: Machine) -> None:
    shutil.copytree(machine.disk, machine.esp, dirs_exist_ok=True)
    (machine.root / "mounted").touch()
    assert machine.run().returncode == 0
    assert not any(call.startswith(("mount ", "umount")) for call in machine.calls())
    assert (machine.root / "mounted").exists()


def test_a_grub_install_that_fails_leaves_nothing_mounted(machine: Machine) -> None:
    machine.tool("grub-install", "exit 7")
    assert machine.run().returncode == 7
    assert machine.calls()[-1] == "umount /boot/efi"
    assert (machine.disk / "EFI/BOOT/BOOTX64.EFI").read_text() == "old"


@pytest.mark.parametrize("word", ["--help", "--usage", "--version", "-V", "-?"])
def test_a_question_mounts_nothing(machine: Machine, word: str) -> None:
    assert machine.run("--target=x86_64-efi", word).returncode == 0
    assert machine.calls() == [f"grub-install --target=x86_64-efi {word}"]


def test_a_signed_grub_gets_its_stubs_again(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path, modules=[])
    stub = machine.disk / "EFI/debian/grub.cfg"
    stub.write_text("search.fs_uuid 1 root\n")
    assert machine.run().returncode == 0
    assert not any("mkimage" in call for call in machine.calls())
    assert stub.read_text() == cfg.stub(luks_uuid=UUID, directory="/boot/grub")
    assert not (machine.disk / "EFI/BOOT/grub.cfg").exists()
    assert (machine.disk / "EFI/BOOT/BOOTX64.EFI").read_text() == "old"


def test_it_comes_before_the_distributions_own(machine: Machine) -> None:
    """dpkg, rpm and root's shell have /usr/local/sbin first; no package owns what is there."""
    program = machine.root / "usr/local/sbin/grub-install"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert os.path.dirname(f"{install.PROGRAMS}/x") == "/usr/local/sbin"
    assert "/usr/local" not in program.read_text().split("set -eu")[1]
