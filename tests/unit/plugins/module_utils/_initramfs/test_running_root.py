# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which container a running machine's root is on, from what its tools print."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import running_root
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
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
    assert running_root.container({"blockdevices": [tree]}, "/dev/mapper/x") == found


def test_a_root_that_is_not_encrypted() -> None:
    with pytest.raises(SealedRootError, match="on /dev/vda2, and there is no LUKS container"):
        running_root.container({"blockdevices": [DISK]}, "/dev/vda2")


def test_a_root_on_several_containers() -> None:
    tree = node("vg", "lvm", node("a", "crypt", DISK), node("b", "crypt", OTHER))
    with pytest.raises(SealedRootError, match=r"\(/dev/vda2, /dev/vdb\)"):
        running_root.container({"blockdevices": [tree]}, "/dev/mapper/vg")


FINDMNT = ["findmnt", "--json", "--nofsroot", "--output", "SOURCE", "--mountpoint", "/"]


def mounted(source: str) -> str:
    return json.dumps({"filesystems": [{"source": source}]})


def test_the_tools_are_asked(script: t.Any, runner: t.Any) -> None:
    script.expect(FINDMNT, stdout=mounted("/dev/mapper/cr_root"))
    argv = ["lsblk", "--json", "--inverse", "--output", "NAME,TYPE,PATH", "/dev/mapper/cr_root"]
    tree = {"blockdevices": [node("cr_root", "crypt", DISK)]}
    script.expect(argv, stdout=json.dumps(tree))
    assert running_root.find_container(runner).device == "/dev/vda2"


def test_a_root_without_a_device(script: t.Any, runner: t.Any) -> None:
    script.expect(FINDMNT, stdout=mounted("overlay"))
    with pytest.raises(SealedRootError, match="on overlay"):
        running_root.find_container(runner)


CRYPTTAB = """# <target name> <source device> <key file> <options>
# cr_root is below
cr_swap /dev/vda3 /dev/urandom swap
cr_root UUID=1 /etc/cryptsetup-keys.d/luks-1.key luks,initramfs,header=/etc/headers/1.header
cr_data UUID=2 none luks,header=/h
cr_dash UUID=3 - header=/h,discard
cr_twice UUID=4 /k luks,header=/old,header=/h
cr_asks UUID=5 LABEL=x luks,header=/h
cr_old UUID=6 /k luks,discard
cr_bare UUID=7
cr_device UUID=8 /k luks,header=UUID=9
short
"""


def test_the_files_that_open_a_mapping() -> None:
    found = running_root.unlock(CRYPTTAB, "cr_root")
    assert found == ("/etc/cryptsetup-keys.d/luks-1.key", "/etc/headers/1.header")
    assert found.key_file == found[0]
    assert running_root.unlock(CRYPTTAB, "cr_twice") == ("/k", "/h")


@pytest.mark.parametrize("mapping", ["cr_data", "cr_dash"])
def test_a_key_file_that_systemd_finds_by_its_name(mapping: str) -> None:
    found = running_root.unlock(CRYPTTAB, mapping)
    assert found == (f"/etc/cryptsetup-keys.d/{mapping}.key", "/h")


@pytest.mark.parametrize("mapping", ["cr_asks", "short", "other", "cr"])
def test_a_mapping_without_a_key_file(mapping: str) -> None:
    with pytest.raises(SealedRootError, match=f"no key file for {mapping}, so the initramfs"):
        running_root.unlock(CRYPTTAB, mapping)


@pytest.mark.parametrize("mapping", ["cr_old", "cr_bare", "cr_device"])
def test_a_mapping_that_is_opened_by_the_header_on_the_disk(mapping: str) -> None:
    """The host can change it, so nothing is rotated by what it says."""
    words = (
        f"names no header file for {mapping}, so the header on the disk is believed, which the host"
    )
    with pytest.raises(SealedRootError, match=words):
        running_root.unlock(CRYPTTAB, mapping)


def test_the_initramfs_of_each_kernel(tmp_path: pathlib.Path) -> None:
    names = ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.9", "initramfs-6.9.img")
    for name in (*names, "initrd.img-6.1.bak", "initrd.img-5", "config-6.1"):
        (tmp_path / name).touch()
    found = running_root.initramfs(str(tmp_path))
    assert found == [f"{tmp_path}/initrd.img-6.1", f"{tmp_path}/initramfs-6.9.img"]
    (tmp_path / "vmlinuz-7").touch()
    with pytest.raises(SealedRootError, match="vmlinuz-7 has no initramfs"):
        running_root.initramfs(str(tmp_path))


def test_no_kernel_at_all(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match="no kernel in"):
        running_root.initramfs(str(tmp_path))


@pytest.fixture
def boot(tmp_path: pathlib.Path) -> pathlib.Path:
    boot = tmp_path / "boot"
    for version in ("6.1", "6.9"):
        (tmp_path / "modules" / version).mkdir(parents=True)
        boot.mkdir(exist_ok=True)
        (boot / f"vmlinuz-{version}").touch()
        (boot / f"initramfs-{version}.img").write_bytes(b"old")
    return boot


def rebuilds(runner: t.Any, boot: pathlib.Path, conf: str = "") -> list[running_root.Rebuild]:
    return running_root.rebuilds(runner, str(boot), str(boot.parent / "modules"), conf)


def test_the_tool_that_the_machine_has(runner: t.Any, boot: pathlib.Path) -> None:
    assert rebuilds(runner, boot) == [(["update-initramfs", "-u", "-k", "all"], "")]
    # The one of dracut 112 in Debian is dracut.
    runner.missing.add("mkinitramfs")
    paths = [str(boot / f"initramfs-{version}.img") for version in ("6.1", "6.9")]
    assert rebuilds(runner, boot) == [
        (["dracut", "--force", f"{paths[0]}.new", "6.1"], paths[0]),
        (["dracut", "--force", f"{paths[1]}.new", "6.9"], paths[1]),
    ]
    runner.missing.add("dracut")
    assert rebuilds(runner, boot) == [(["mkinitcpio", "--allpresets"], "")]
    runner.missing.add("mkinitcpio")
    with pytest.raises(MissingToolError, match="dracut or mkinitcpio is not installed"):
        rebuilds(runner, boot)


def test_a_tool_that_was_told_to_rebuild_nothing(runner: t.Any, boot: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match=r"update_initramfs=no, so .* set it to yes"):
        rebuilds(runner, boot, "update_initramfs=no\n")
    # dracut does not read the file, which can be left from before.
    runner.missing.add("mkinitramfs")
    assert len(rebuilds(runner, boot, "update_initramfs=no\n")) == 2


def test_an_initramfs_that_dracut_cannot_rebuild(runner: t.Any, boot: pathlib.Path) -> None:
    runner.missing.add("mkinitramfs")
    (boot / "vmlinuz-0-rescue-1").touch()
    (boot / "initramfs-0-rescue-1.img").touch()
    with pytest.raises(SealedRootError, match=r"initramfs-0-rescue-1.img has no modules in"):
        rebuilds(runner, boot)


def test_dracut_never_leaves_half_an_initramfs(
    script: t.Any, runner: t.Any, boot: pathlib.Path
) -> None:
    runner.missing.add("mkinitramfs")
    rebuild = rebuilds(runner, boot)[0]
    path, partial = pathlib.Path(rebuild.path), pathlib.Path(f"{rebuild.path}.new")

    def write() -> None:
        assert path.read_bytes() == b"old"
        partial.write_bytes(b"new")

    script.expect(["env", "--chdir=/", *rebuild.argv], effect=write, rc=1, stderr="no space")
    with pytest.raises(SealedRootError, match="no space"):
        rebuild.run(runner, 60)
    assert (path.read_bytes(), partial.exists()) == (b"old", False)
    script.expect(["env", "--chdir=/", *rebuild.argv], effect=write)
    rebuild.run(runner, 60)
    assert (path.read_bytes(), partial.exists()) == (b"new", False)
