# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Initramfs archives."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import time
import typing as t
import zlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive as initramfs_archive,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    SealedRootError,
)

BOUNDED = ["prlimit", f"--fsize={1 << 30}", f"--as={2 << 30}"]


def newc(files: t.Mapping[str, bytes], mode: int = 0o100400) -> bytes:
    archive = b""
    for name, content in [*files.items(), ("TRAILER!!!", b"")]:
        fields = [1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + content
        archive += b"\0" * (-len(archive) % 4)
    return archive


def test_members() -> None:
    data = newc({"a": b"12345", "dir/name": b"", "b": b"678"})
    archive = initramfs_archive.read_archives(data)
    assert archive.rest is None
    assert [entry.name for entry in archive.entries] == ["a", "dir/name", "b"]
    first, _second, third = archive.entries
    assert data[first.offset : first.offset + first.size] == b"12345"
    assert data[third.offset : third.offset + third.size] == b"678"
    assert (first.mode, first.uid) == (0o100400, 0)


def test_a_chain_with_padding_and_compressed_data() -> None:
    early, second = newc({"a": b"1"}), newc({"b": b"2"})
    data = early + bytes(512) + second + bytes(7) + b"\x28\xb5\x2f\xfdrest"
    archive = initramfs_archive.read_archives(data)
    assert [entry.name for entry in archive.entries] == ["a", "b"]
    assert archive.rest == len(data) - 8


@pytest.mark.parametrize(
    "data",
    [
        newc({"name": b"content"})[:-125],
        newc({"name": b"content" * 100})[:200],
        newc({"name": b"x"}).replace(b"00000001", b"0000000x", 1),
    ],
)
def test_damage(data: bytes) -> None:
    with pytest.raises(SealedRootError, match="cpio"):
        initramfs_archive.read_archives(data)


@pytest.mark.parametrize(
    ("magic", "tool"),
    [
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
        (b"\x1f\x8b\x08\x00\x00\x00", "gzip"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x02\x21\x4c\x18\x00\x00", "lz4"),
        (b"BZh91A", "bzip2"),
        (b"\x89LZO\x00\r", "lzop"),
        (b"\x5d\x00\x00\x80\x00\xff", "xz"),
    ],
)
def test_compressions(magic: bytes, tool: str) -> None:
    assert initramfs_archive.compression(magic)[0] == tool


def test_an_unknown_compression() -> None:
    with pytest.raises(SealedRootError, match="unknown way"):
        initramfs_archive.compression(b"abcdef")


def test_uncompressed(runner: t.Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(newc({"a": b"1"}))
    (part,) = initramfs_archive.unpack(runner, str(path))
    assert (part.path, part.end) == (str(path), path.stat().st_size)


@pytest.mark.parametrize(("tool", "ending"), [("zstd", "zst"), ("lz4", "lz4")])
def test_unpack(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, tool: str, ending: str
) -> None:
    magic = {"zstd": b"\x28\xb5\x2f\xfd", "lz4": b"\x02\x21\x4c\x18"}[tool] + b"packed"
    path, main = tmp_path / "initrd", tmp_path / "initrd.main"
    path.write_bytes(newc({"microcode": b"1"}) + magic)

    def effect() -> None:
        packed = tmp_path / f"initrd.main.{ending}"
        assert packed.read_bytes() == magic
        main.write_bytes(newc({"a": b"1"}))

    # lz4 writes to standard output when that is no terminal, unless it is given a name.
    target = [str(main)] if tool == "lz4" else []
    script.expect([*BOUNDED, tool, "-d", "-f", "-q", f"{main}.{ending}", *target], effect=effect)
    parts = initramfs_archive.unpack(runner, str(path))
    assert [part.path for part in parts] == [str(path), str(main)]
    assert [part.entries[0].name for part in parts] == ["microcode", "a"]
    # What follows is compressed, and is in the second one as it is.
    assert [part.end for part in parts] == [len(newc({"microcode": b"1"})), main.stat().st_size]
    assert not (tmp_path / f"initrd.main.{ending}").exists()


def test_the_tool_fails(script: t.Any, runner: t.Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(b"\x1f\x8bbroken")
    script.expect([*BOUNDED, "gzip", "-d", "-f", "-q", f"{path}.main.gz"], rc=1, stderr="corrupt")
    with pytest.raises(SealedRootError, match="gzip cannot unpack the initramfs: corrupt"):
        initramfs_archive.unpack(runner, str(path))


class Installed:
    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return shutil.which(name)


@pytest.mark.parametrize("tool", ["gzip", "xz", "zstd", "bzip2", "lz4"])
def test_a_bomb(tool: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    monkeypatch.setattr(initramfs_archive, "MOST_BYTES", 4 << 20)
    path = tmp_path / "initrd"
    zeros = bytes(64 << 20)
    path.write_bytes(subprocess.run([tool, "-c"], input=zeros, stdout=-1, check=True).stdout)
    with pytest.raises(SealedRootError, match="larger than 4 MiB when it is unpacked"):
        initramfs_archive.unpack(ModuleRunner(t.cast(t.Any, Installed())), str(path))
    assert sum(it.stat().st_size for it in tmp_path.iterdir()) < 10 << 20


def test_it_takes_no_more_memory_than_it_may(tmp_path: pathlib.Path) -> None:
    """Of xz, the data says how much memory its reader takes."""
    if not shutil.which("xz"):
        pytest.skip("xz is not installed")
    # A header alone (The .xz File Format 3): one LZMA2 filter with a dictionary of 4 GiB, and its end.
    header = b"\x02\x00\x21\x01\x28\x00\x00\x00"
    stream = b"\xfd7zXZ\x00" + b"\x00\x00" + zlib.crc32(b"\x00\x00").to_bytes(4, "little")
    stream += header + zlib.crc32(header).to_bytes(4, "little") + b"\x01\x00\x00x"
    path = tmp_path / "initrd"
    path.write_bytes(stream)
    with pytest.raises(SealedRootError, match=r"xz cannot unpack the initramfs: .*[Mm]emory"):
        initramfs_archive.unpack(ModuleRunner(t.cast(t.Any, Installed())), str(path))


def test_much_padding_and_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.process_time()
    assert (
        initramfs_archive.read_archives(bytes(100 << 20) + newc({"a": b""})).entries[0].name == "a"
    )
    assert time.process_time() - began < 2
    monkeypatch.setattr(initramfs_archive, "MOST_ENTRIES", 2)
    with pytest.raises(SealedRootError, match="more than 2 files"):
        initramfs_archive.read_archives(newc({"a": b"", "b": b"", "c": b""}))


def test_a_file_that_no_machine_would_unpack(runner: t.Any, tmp_path: pathlib.Path) -> None:
    with (tmp_path / "initrd").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SealedRootError, match="larger than 1 GiB"):
        initramfs_archive.unpack(runner, str(tmp_path / "initrd"))


def test_an_empty_file(runner: t.Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "initrd"
    path.touch()
    with pytest.raises(SealedRootError, match="empty"):
        initramfs_archive.unpack(runner, str(path))


def test_holder(runner: t.Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "initrd"
    data = newc({"a": b"12345", "key": b"secret"})
    path.write_bytes(data)
    (part,) = initramfs_archive.unpack(runner, str(path))
    found = initramfs_archive.holder(part, data.index(b"secret"))
    assert found is not None
    assert found.name == "key"
    assert initramfs_archive.holder(part, 0) is None


def test_something_else_than_cpio_in_it(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    path, main = tmp_path / "initrd", tmp_path / "initrd.main"
    path.write_bytes(b"\x1f\x8bpacked")
    content = newc({"a": b"1"}) + b"other"
    script.expect(
        [*BOUNDED, "gzip", "-d", "-f", "-q", f"{main}.gz"], effect=lambda: main.write_bytes(content)
    )
    with pytest.raises(SealedRootError, match="no cpio archive from byte"):
        initramfs_archive.unpack(runner, str(path))
