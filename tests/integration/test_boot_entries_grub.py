# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What boot_entries writes, read by GRUB: its own editor; and Debian 14's GRUB (blscfg), from a LUKS volume."""

from __future__ import annotations

import pathlib
import re
import subprocess
import typing as t

import distribution_trees as trees
import pytest
import sealed_image
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries as grub_boot_entries,
)
from ansible_collections.sealedroot.image.plugins.modules import boot_entries
from builds import DEBIAN, source_tar
from distribution_tools import Tools
from sealed_image import LUKS_UUID, MODULES, ROOT_UUID, SCRIPT, Recipe

Module = t.Callable[..., "dict[str, t.Any]"]
# The last word: an old one is "quiet", and the kernel is to say what it was started with.
DEVICE = f"/dev/mapper/luks-{LUKS_UUID}"
WORDS = f"console=ttyS0 rd.luks.uuid=luks-{LUKS_UUID} loglevel=7"
# 00_header of GRUB does so with GRUB_DEFAULT=saved; GRUB 2.14 wants to be told where the entries are.
MENU = """\
load_env
set default="${saved_entry}"
set timeout=0
blscfg --path /boot/loader/entries
"""


@pytest.fixture(scope="module")
def debian14(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with the GRUB and the kernel of Debian 14."""
    path = tmp_path_factory.mktemp("forky")
    tar = source_tar({**DEBIAN, "release": "forky"})
    extract = ("tar", "-C", path, "-xf", tar, "--wildcards")
    sealed_image.run(*extract, "./usr/lib/grub/x86_64-efi/*", "./boot/vmlinuz-*")
    return path


@pytest.mark.parametrize(
    "it", [trees.FEDORA, pytest.param(trees.RHEL8, marks=pytest.mark.long)], ids=lambda it: it.name
)
def test_grub_boots_the_saved_entry(
    it: trees.Distribution, debian14: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    root = trees.make(it, tmp_path / "tree")
    defaults = root / "etc/default/grub"
    defaults.write_text(
        re.sub("(?m)^GRUB_CMDLINE_LINUX=.*$", f'GRUB_CMDLINE_LINUX="{WORDS}"', it.defaults)
    )
    (root / "boot/grub2/grub.cfg").write_text(MENU)
    outcome = boot_entries.ensure(
        Tools(it, root, ROOT_UUID), {"root_device": DEVICE}, root=str(root), check_mode=False
    )
    assert outcome["changed"]

    (kernel,) = (debian14 / "boot").glob("vmlinuz-*")
    saved = it.kernels[0]
    recipe = Recipe(
        tmp_path,
        library=debian14 / "usr/lib/grub",
        modules=(*MODULES, "blsuki", "linux", "loadenv"),
        # It has users, of whom nobody has a password: an entry that is not unrestricted asks for one.
        script=SCRIPT.replace("/boot/grub", "/boot/grub2"),
        initramfs=None,
        files={
            f"boot/vmlinuz-{saved}": (0o644, kernel.read_bytes()),
            f"boot/initramfs-{saved}.img": (0o600, sealed_image.newc({"x": (0o644, b"")})),
        },
    )
    for path in [*(root / "boot/loader/entries").iterdir(), *(root / "boot/grub2").iterdir()]:
        recipe.files[str(path.relative_to(root))] = (0o600, path.read_bytes())
    outcome = real_module(
        "image_boot_test",
        path=str(recipe.make()),
        cases=[{"name": "boot", "key_file": recipe.keys()["boot"]}],
        accelerator="tcg",
        timeout=180,
        log_dir=str(tmp_path),
    )
    # The kernel was started, and there is no system behind it.
    assert "cannot go on" in outcome["cases"][0]["detail"]
    log = (tmp_path / "boot.log").read_text()
    (line,) = set(re.findall(r"Command line: (.*)", log))
    assert f"/boot/vmlinuz-{saved} " in line
    assert f" root={DEVICE} ro " in line
    assert line.rstrip().endswith(WORDS)


def test_grubs_own_tool_reads_and_writes_the_same(tmp_path: pathlib.Path):
    path = tmp_path / "grubenv"
    variables = {"saved_entry": "ab-1", "kernelopts": r"root=UUID=1 ro a\b c=d", "empty": ""}
    path.write_bytes(grub_boot_entries.format_env(variables))
    command = ["grub-editenv", str(path)]
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True).stdout
    assert listed == "".join(f"{name}={value}\n" for name, value in variables.items())
    subprocess.run([*command, "set", r"more=x\y"], check=True)
    assert grub_boot_entries.parse_env(path.read_bytes()) == {**variables, "more": r"x\y"}
    assert len(path.read_bytes()) == grub_boot_entries.ENV_BYTES
