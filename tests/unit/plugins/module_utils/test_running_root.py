# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which container a running machine's root is on, from what its tools print."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _running_root
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    MissingToolError,
    SealedRootError,
)


def node(name: str, kind: str, *children: t.Any) -> dict[str, t.Any]:
    below = {"children": list(children)} if children else {}
    path = f"/dev/mapper/{name}" if kind in ("crypt", "lvm") else f"/dev/{name}"
    return {"name": name, "type": kind, "path": path, **below}


DISK = node("vda2", "part", node("vda", "disk"))
OTHER = node("vdb", "disk")


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        (node("cr_root", "crypt", DISK), ("/dev/vda2", "cr_root")),
        (node("vg-root", "lvm", node("cr_root", "crypt", DISK)), ("/dev/vda2", "cr_root")),
        (
            node("vg-root", "lvm", node("cr_root", "crypt", DISK), node("cr_root", "crypt", DISK)),
            ("/dev/vda2", "cr_root"),
        ),
    ],
)
def test_the_container_below_the_root(tree: dict[str, t.Any], found: tuple[str, str]) -> None:
    assert _running_root.container({"blockdevices": [tree]}, "/dev/mapper/x") == found


def test_a_root_that_is_not_encrypted() -> None:
    with pytest.raises(SealedRootError, match="on /dev/vda2, and there is no LUKS container"):
        _running_root.container({"blockdevices": [DISK]}, "/dev/vda2")


def test_a_root_on_several_containers() -> None:
    tree = node("vg", "lvm", node("a", "crypt", DISK), node("b", "crypt", OTHER))
    with pytest.raises(SealedRootError, match=r"\(/dev/vda2, /dev/vdb\)"):
        _running_root.container({"blockdevices": [tree]}, "/dev/mapper/vg")


FINDMNT = ["findmnt", "--json", "--nofsroot", "--output", "SOURCE", "--mountpoint", "/"]


def mounted(source: str) -> str:
    return json.dumps({"filesystems": [{"source": source}]})


def test_the_tools_are_asked(script: t.Any, runner: t.Any) -> None:
    script.expect(FINDMNT, stdout=mounted("/dev/mapper/cr_root"))
    argv = ["lsblk", "--json", "--inverse", "--output", "NAME,TYPE,PATH", "/dev/mapper/cr_root"]
    tree = {"blockdevices": [node("cr_root", "crypt", DISK)]}
    script.expect(argv, stdout=json.dumps(tree))
    assert _running_root.find_container(runner).device == "/dev/vda2"


def test_a_root_without_a_device(script: t.Any, runner: t.Any) -> None:
    script.expect(FINDMNT, stdout=mounted("overlay"))
    with pytest.raises(SealedRootError, match="on overlay"):
        _running_root.find_container(runner)


CRYPTTAB = """# <target name> <source device> <key file> <options>
# cr_root is below
cr_swap /dev/vda3 /dev/urandom swap
cr_root UUID=1 /etc/cryptsetup-keys.d/luks-1.key luks,initramfs
cr_data UUID=2 none luks
cr_dash UUID=3 - luks,discard
cr_bare UUID=4
cr_asks UUID=5 LABEL=x luks
short
"""


def test_the_key_file_of_a_mapping() -> None:
    found = _running_root.key_file(CRYPTTAB, "cr_root")
    assert found == "/etc/cryptsetup-keys.d/luks-1.key"


@pytest.mark.parametrize("mapping", ["cr_data", "cr_dash", "cr_bare"])
def test_a_key_file_that_systemd_finds_by_its_name(mapping: str) -> None:
    found = _running_root.key_file(CRYPTTAB, mapping)
    assert found == f"/etc/cryptsetup-keys.d/{mapping}.key"


@pytest.mark.parametrize("mapping", ["cr_asks", "short", "other", "cr"])
def test_a_mapping_without_a_key_file(mapping: str) -> None:
    with pytest.raises(SealedRootError, match=f"no key file for {mapping}"):
        _running_root.key_file(CRYPTTAB, mapping)


def test_the_initramfs_of_each_kernel(tmp_path: pathlib.Path) -> None:
    names = ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.9", "initramfs-6.9.img")
    for name in (*names, "initrd.img-6.1.bak", "initrd.img-5", "config-6.1"):
        (tmp_path / name).touch()
    found = _running_root.initramfs(str(tmp_path))
    assert found == [f"{tmp_path}/initrd.img-6.1", f"{tmp_path}/initramfs-6.9.img"]
    (tmp_path / "vmlinuz-7").touch()
    with pytest.raises(SealedRootError, match="vmlinuz-7 has no initramfs"):
        _running_root.initramfs(str(tmp_path))


def test_no_kernel_at_all(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match="no kernel in"):
        _running_root.initramfs(str(tmp_path))


def test_the_tool_that_the_machine_has(runner: t.Any) -> None:
    assert _running_root.tool(runner) == ["update-initramfs", "-u", "-k", "all"]
    runner.missing.add("update-initramfs")
    assert _running_root.tool(runner) == ["dracut", "--force", "--regenerate-all"]
    runner.missing.add("dracut")
    assert _running_root.tool(runner) == ["mkinitcpio", "--allpresets"]
    runner.missing.add("mkinitcpio")
    with pytest.raises(MissingToolError, match="dracut or mkinitcpio is not installed"):
        _running_root.tool(runner)
