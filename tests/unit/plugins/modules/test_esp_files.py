# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""esp_files with scripted mtools."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import esp as esp_of_disk
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import esp_files

ENV = {"MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "HOME": "/dev/null"}
DISK = "/w/disk.raw"
TARGET = ["-i", f"{DISK}@@1048576"]


class Esp:
    """The commands that esp_files runs, one expectation each."""

    def __init__(self, script: t.Any) -> None:
        self.script = script

    def table(self) -> None:
        parts = [
            {"start": 2048, "size": 202752, "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
            {"start": 204800, "size": 999, "type": "CA7D7CCB-63ED-4C53-861C-1742536059CC"},
        ]
        text = json.dumps({"partitiontable": {"label": "gpt", "partitions": parts}})
        self.script.expect(["sfdisk", "--json", DISK], stdout=text)

    def list(self, *names: str) -> None:
        argv = ["mdir", "-/", "-b", "-a", *TARGET, "::"]
        if not names:
            self.script.expect(argv, rc=1, stderr='mdir: File "::" not found\n', env=ENV)
            return
        self.script.expect(argv, stdout="".join(f"::/{name}\n" for name in names), env=ENV)

    def read(self, name: str, data: bytes) -> None:
        argv = ["mcopy", *TARGET, f"::/{name}", "-"]
        self.script.expect(argv, env=ENV, stdout=data.decode("utf-8", "surrogateescape"))

    def remove(self, tool: str, name: str) -> None:
        self.script.expect([tool, *TARGET, f"::/{name}"], env=ENV)

    def free(self, text: str) -> None:
        out = f"        1 file    1 bytes\n     {text} bytes free\n"
        self.script.expect(["mdir", *TARGET, "::"], stdout=out, env=ENV)

    def mkdir(self, name: str, **more: str) -> None:
        self.script.expect(["mmd", *TARGET, f"::/{name}"], env={**ENV, **more})

    def write(self, name: str, data: bytes, stderr: str = "", **more: str) -> None:
        argv = ["mcopy", "-D", "o", *TARGET, "-", f"::/{name}"]
        self.script.expect(argv, stdin=data, stderr=stderr, env={**ENV, **more})


@pytest.fixture
def esp(script: t.Any) -> Esp:
    return Esp(script)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "src"
    (path / "EFI/BOOT").mkdir(parents=True)
    (path / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"MZ\r\n\xff")
    (path / "grub.cfg").write_bytes(b"normal\n")
    return path


def test_write_compare_and_remove(esp: Esp, source: pathlib.Path, run_module: t.Any) -> None:
    esp.table()
    esp.list("efi/", "efi/old/", "efi/old/x", "GRUB.CFG", "stray")
    esp.read("GRUB.CFG", b"other\n")
    esp.remove("mdel", "efi/old/x")
    esp.remove("mrd", "efi/old")
    esp.remove("mdel", "stray")
    esp.remove("mdel", "GRUB.CFG")
    esp.free("103 226 880")
    esp.mkdir("EFI/BOOT")
    esp.write("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff")
    esp.read("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff")
    esp.write("grub.cfg", b"normal\n")
    esp.read("grub.cfg", b"normal\n")
    outcome = run_module("esp_files", path=DISK, src_dir=str(source), exclusive=True)
    assert not outcome.failed, outcome["msg"]
    assert outcome["changed"] is True
    assert outcome["removed"] == ["efi/old/x", "efi/old/", "stray"]
    assert sorted(outcome["files"]) == ["EFI/BOOT/BOOTX64.EFI", "grub.cfg"]


def test_what_is_written_has_the_given_time(
    esp: Esp, source: pathlib.Path, run_module: t.Any
) -> None:
    (source / "grub.cfg").unlink()
    at = {"SOURCE_DATE_EPOCH": "1700000000"}
    esp.table()
    esp.list()
    esp.free("103 226 880")
    esp.mkdir("EFI", **at)
    esp.mkdir("EFI/BOOT", **at)
    esp.write("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff", **at)
    esp.read("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff")
    given = {"path": DISK, "src_dir": str(source)}
    assert run_module("esp_files", source_date_epoch=1700000000, **given)["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_nothing_to_do(check: bool, esp: Esp, source: pathlib.Path, run_module: t.Any) -> None:
    esp.table()
    esp.list("EFI/", "EFI/BOOT/", "EFI/BOOT/BOOTX64.EFI", "grub.cfg", "kept")
    esp.read("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff")
    esp.read("grub.cfg", b"normal\n")
    outcome = run_module("esp_files", _check=check, path=DISK, src_dir=str(source))
    assert outcome["changed"] is False
    assert outcome["removed"] == []


def test_check_mode_writes_nothing(esp: Esp, source: pathlib.Path, run_module: t.Any) -> None:
    esp.table()
    esp.list()
    outcome = run_module("esp_files", _check=True, path=DISK, src_dir=str(source))
    assert outcome["changed"] is True
    assert sorted(outcome["diff"]["after"]["written"]) == ["EFI/BOOT/BOOTX64.EFI", "grub.cfg"]


def test_what_reads_back_differently(esp: Esp, source: pathlib.Path, run_module: t.Any) -> None:
    esp.table()
    esp.list("EFI/", "EFI/BOOT/")
    esp.free("1 000")
    esp.write("EFI/BOOT/BOOTX64.EFI", b"MZ\r\n\xff", stderr="Short write")
    esp.read("EFI/BOOT/BOOTX64.EFI", b"MZ")
    outcome = run_module("esp_files", path=DISK, src_dir=str(source))
    assert outcome.failed
    assert outcome["msg"].endswith("partition of /w/disk.raw: Short write")


def test_no_room(esp: Esp, source: pathlib.Path, run_module: t.Any) -> None:
    esp.table()
    esp.list()
    esp.free("11")
    outcome = run_module("esp_files", path=DISK, src_dir=str(source))
    assert "the files take 12 bytes" in outcome["msg"]


@pytest.mark.parametrize(
    "name", ["a*", "a?", "[a]", ".hidden", "dot.", "blank ", "a\nb", "a:b", "ä"]
)
def test_names_that_mean_something_else(
    name: str, esp: Esp, source: pathlib.Path, run_module: t.Any
) -> None:
    esp.table()
    (source / "EFI" / name).touch()
    outcome = run_module("esp_files", path=DISK, src_dir=str(source))
    assert outcome.failed
    assert "cannot be the name of a file" in outcome["msg"]


@pytest.mark.parametrize("name", ["a//b", "../x", "", "a/"])
def test_paths_that_mean_something_else(name: str) -> None:
    with pytest.raises(SealedRootError, match=r"cannot be the name of a file"):
        esp_of_disk.check_name(name)


def test_surplus_is_deepest_first() -> None:
    there = ["A/", "A/B/", "A/B/c", "A/d", "e"]
    assert esp_files.surplus(there, ["a/D"]) == ["A/B/c", "A/B/", "e"]
    assert esp_files.surplus(there, []) == ["A/B/c", "A/B/", "A/d", "A/", "e"]
