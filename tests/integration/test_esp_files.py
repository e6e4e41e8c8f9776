# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""esp_files with real mtools; read back by fsck.vfat and, where there is one, GRUB's own FAT code."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

Module = t.Callable[..., dict[str, t.Any]]
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(256 * MIB)
    table = b"label: gpt\nstart=1MiB, size=99MiB, type=uefi\n"
    table += b"start=100MiB, size=155MiB, type=CA7D7CCB-63ED-4C53-861C-1742536059CC\n"
    subprocess.run(["sfdisk", "-q", path], input=table, check=True)
    argv = ["mkfs.vfat", "-F", "32", "-s", "1", "-n", "ESP", "-h", "2048", "--offset", "2048"]
    subprocess.run([*argv, path, str(99 * 1024)], check=True, capture_output=True)
    return path


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "esp"
    (path / "EFI/BOOT").mkdir(parents=True)
    (path / "EFI/debian").mkdir()
    # Line ends and bytes that are no UTF-8 must come through.
    (path / "EFI/BOOT/BOOTX64.EFI").write_bytes(os.urandom(700_001) + b"\r\n\n\x1a\xff")
    (path / "EFI/debian/grub.cfg").write_text("configfile\n")
    (path / "EFI/debian/empty").touch()
    return path


def check_disk(disk: pathlib.Path, *, files: dict[str, bytes]) -> None:
    """GRUB reads the files and fsck.vfat counts them, all of them."""
    part = disk.with_suffix(".part")
    with disk.open("rb") as file:
        file.seek(MIB)
        part.write_bytes(file.read(99 * MIB))
    done = subprocess.run(["fsck.vfat", "-n", part], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    directories = {str(parent) for name in files for parent in pathlib.PurePath(name).parents}
    count = len(files) + len(directories - {"."}) + 1  # the volume label
    assert f"{count} files" in done.stdout
    fstest = shutil.which("grub-fstest") or shutil.which("grub2-fstest")
    for name, data in files.items() if fstest else ():
        argv = [str(fstest), str(disk), "cat", f"(loop0,gpt1)/{name}"]
        done_ = subprocess.run(argv, capture_output=True, check=True)
        assert done_.stdout == data


def tree(source: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in source.rglob("*") if path.is_file())
    return {str(path.relative_to(source)): path.read_bytes() for path in files}


def test_four_calls(
    disk: pathlib.Path,
    source: pathlib.Path,
    real_module: Module,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # mtools stops at an error in its user's file.
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mtoolsrc").write_text("drive x: {{{\n")
    args = {"path": str(disk), "src_dir": str(source), "exclusive": True}
    before = disk.read_bytes()
    predicted = real_module("esp_files", _check=True, **args)
    assert disk.read_bytes() == before
    made = real_module("esp_files", **args)
    assert made["changed"] is predicted["changed"] is True
    assert made["files"] == predicted["files"]
    check_disk(disk, files=tree(source))
    assert real_module("esp_files", **args)["changed"] is False
    assert real_module("esp_files", _check=True, **args)["changed"] is False


def test_exclusive_removes_the_others(
    disk: pathlib.Path, source: pathlib.Path, real_module: Module
) -> None:
    args = {"path": str(disk), "src_dir": str(source)}
    real_module("esp_files", **args)
    shutil.rmtree(source / "EFI/debian")
    assert real_module("esp_files", **args)["changed"] is False
    result = real_module("esp_files", **args, exclusive=True)
    assert result["removed"] == ["EFI/debian/empty", "EFI/debian/grub.cfg", "EFI/debian/"]
    check_disk(disk, files=tree(source))


def test_changed_files_are_replaced(
    disk: pathlib.Path, source: pathlib.Path, real_module: Module
) -> None:
    args = {"path": str(disk), "src_dir": str(source), "exclusive": True}
    real_module("esp_files", **args)
    (source / "EFI/debian/grub.cfg").write_text("other\n")
    (source / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"short")
    result = real_module("esp_files", **args)
    assert sorted(result["diff"]["after"]["written"]) == [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/debian/grub.cfg",
    ]
    check_disk(disk, files=tree(source))


@pytest.mark.parametrize("where", ["file", "directory", "above"])
def test_a_link_does_not_lead_out(
    where: str,
    disk: pathlib.Path,
    source: pathlib.Path,
    tmp_path: pathlib.Path,
    real_module: Module,
) -> None:
    """An image that is given its own /run can put a link where the boot files should be."""
    src_dir = source
    if where == "file":
        (source / "EFI/BOOT/shadow").symlink_to("/etc/shadow")
    elif where == "directory":
        (source / "EFI/etc").symlink_to("/etc")
    else:
        (tmp_path / "run").symlink_to("/")
        src_dir = tmp_path / "run" / source.relative_to("/")
    result = real_module("esp_files", path=str(disk), src_dir=str(src_dir))
    assert result["failed"] is True
    assert "is a symbolic link, which is not followed" in result["msg"]
    check_disk(disk, files={})


def test_only_sane_files_are_taken(
    disk: pathlib.Path, source: pathlib.Path, real_module: Module
) -> None:
    def refused() -> str:
        result = real_module("esp_files", path=str(disk), src_dir=str(source))
        assert result["failed"] is True
        return str(result["msg"])

    odd = source / "EFI/odd"
    os.mkfifo(odd)
    assert "is a FIFO, not a file" in refused()
    odd.unlink()
    os.mknod(odd, 0o20600, os.makedev(1, 5))  # /dev/zero
    assert "is a device, not a file" in refused()
    odd.unlink()
    with odd.open("wb") as file:
        file.truncate(64 * MIB + 1)
    assert "is larger than 64 MiB" in refused()
    odd.unlink()
    (source / "EFI/a[bc]").touch()
    assert "cannot be the name of a file" in refused()
    (source / "EFI/a[bc]").unlink()
    (source / "efi").mkdir()
    (source / "efi/BOOT").mkdir()
    (source / "efi/BOOT/bootx64.efi").touch()
    assert "differ in nothing but case" in refused()
    shutil.rmtree(source / "efi")
    shutil.rmtree(source / "EFI")
    assert "has no files" in refused()


def test_a_full_partition_is_an_error(
    disk: pathlib.Path, source: pathlib.Path, real_module: Module
) -> None:
    """mcopy itself exits with 0 when the disk is full."""
    for name in ("one", "two"):
        with (source / name).open("wb") as file:
            file.truncate(60 * MIB)
    result = real_module("esp_files", path=str(disk), src_dir=str(source))
    assert result["failed"] is True
    assert "take smaller or fewer ones" in result["msg"]
    check_disk(disk, files={})


def test_a_replaced_file_makes_room_and_case_does_not_matter(
    disk: pathlib.Path, source: pathlib.Path, real_module: Module
) -> None:
    old = disk.with_suffix(".old")
    with old.open("wb") as file:
        file.truncate(60 * MIB)
    target = ["-i", f"{disk}@@1M"]
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    subprocess.run(["mmd", *target, "::/efi", "::/efi/Boot"], check=True, env=env)
    subprocess.run(["mcopy", *target, old, "::/efi/Boot/BootX64.efi"], check=True, env=env)
    with (source / "EFI/BOOT/BOOTX64.EFI").open("ab") as file:
        file.truncate(50 * MIB)
    shutil.rmtree(source / "EFI/debian")
    result = real_module("esp_files", path=str(disk), src_dir=str(source), exclusive=True)
    assert not result.get("failed"), result["msg"]
    assert result["removed"] == []
    check_disk(disk, files=tree(source))
    again = real_module("esp_files", path=str(disk), src_dir=str(source), exclusive=True)
    assert again["changed"] is False


def test_no_table_and_no_file_system(
    disk: pathlib.Path, source: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(MIB))
    result = real_module("esp_files", path=str(blank), src_dir=str(source))
    assert "has no partition table" in result["msg"]
    with disk.open("r+b") as file:
        file.seek(MIB)
        file.write(bytes(MIB))
    result = real_module("esp_files", path=str(disk), src_dir=str(source))
    assert "is unreadable" in result["msg"]
