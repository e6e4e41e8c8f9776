# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""luks_image_info on headers that cryptsetup made."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

import pytest

Module = t.Callable[..., t.Dict[str, t.Any]]

MIB = 1 << 20
OFFSET = 4 * MIB
UUID = "11111111-2222-4333-8444-555555555555"


def cryptsetup(*argv: t.Union[str, os.PathLike[str]]) -> None:
    subprocess.run(["cryptsetup", "-q", *argv], check=True, capture_output=True, timeout=60)


@pytest.fixture
def base() -> t.Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="luks_info.", dir="/var/tmp"))
    for name in ("one", "two", "none"):
        key = path / name
        key.touch(0o600)
        key.write_text(f"key {name}")
    yield path
    loops = subprocess.run(
        ["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True
    )
    shutil.rmtree(path)
    assert str(path) not in loops.stdout


def container(base: pathlib.Path, *options: str) -> pathlib.Path:
    path = base / "container"
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    argv = ["--uuid", UUID, "--hash", "sha256", "--key-size", "512", *options]
    cryptsetup("luksFormat", *argv, path, base / "one")
    return path


def inside(base: pathlib.Path, region: pathlib.Path) -> dict[str, t.Any]:
    """Put the container into the middle of a disk and return the options that say where."""
    disk = base / "disk.raw"
    with disk.open("wb") as file:
        file.seek(OFFSET)
        file.write(region.read_bytes())
        file.write(bytes(MIB))
    return {"path": str(disk), "offset": OFFSET, "size": region.stat().st_size}


def read(real_module: Module, **options: t.Any) -> dict[str, t.Any]:
    result = real_module("luks_image_info", **options)
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is False
    return result


def test_luks1_in_a_disk(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, "--type", "luks1", "--pbkdf-force-iterations", "1000")
    forced = ["--pbkdf-force-iterations", "2345", "--key-slot", "3", "--key-file"]
    cryptsetup("luksAddKey", *forced, base / "one", region, base / "two")
    options = inside(base, region)
    before = pathlib.Path(options["path"]).read_bytes()
    keys = {name: str(base / name) for name in ("one", "two", "none")}
    for check in (False, True):
        found = read(real_module, _check=check, key_files=keys, **options)
        assert found["type"] == "luks1"
        assert found["uuid"] == UUID
        assert (found["cipher"], found["hash"]) == ("aes-xts-plain64", "sha256")
        assert (found["key_bits"], found["payload_offset"]) == (512, 2 * MIB)
        assert found["digest_iterations"] == 1000
        assert found["slots"] == {
            "0": {"iterations": 1000, "kdf": "pbkdf2"},
            "3": {"iterations": 2345, "kdf": "pbkdf2"},
        }
        assert found["slot_order"] == [0, 3]
        assert found["opens"] == {"one": 0, "two": 3, "none": None}
        assert found["findings"] == []
    assert "key one" not in str(found)
    assert pathlib.Path(options["path"]).read_bytes() == before


def test_luks2_order_and_findings(base: pathlib.Path, real_module: Module) -> None:
    pbkdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    region = container(base, "--type", "luks2", "--sector-size", "512", *pbkdf)
    assert read(real_module, path=str(region))["findings"] == []
    cryptsetup("luksAddKey", *pbkdf, "--key-file", base / "one", region, base / "two")
    cryptsetup("luksKillSlot", "--key-file", base / "two", region, "0")
    memory = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "64"]
    cryptsetup("luksAddKey", *memory, "--key-file", base / "two", region, base / "one")
    token = b'{"type":"someone","keyslots":["0"]}'
    subprocess.run(["cryptsetup", "token", "import", region], check=True, input=token)
    found = read(real_module, path=str(region))
    assert found["type"] == "luks2"
    assert found["uuid"] == UUID
    assert found["slot_order"] == [1, 0]  # as GRUB tries them
    assert found["slots"]["0"]["kdf"] == "argon2id"
    assert found["key_bits"] == 512
    argon = "slot 0 uses argon2id, which GRUB before 2.14 cannot compute"
    assert found["findings"] == ["there are 1 tokens", argon]


def test_a_weak_luks1_header(base: pathlib.Path, real_module: Module) -> None:
    argv = ["--type", "luks1", "--pbkdf-force-iterations", "1000"]
    region = container(base, *argv, "--cipher", "aes-cbc-plain64", "--key-size", "256")
    findings = read(real_module, path=str(region))["findings"]
    assert findings == [
        "the cipher is aes-cbc-plain64, not aes-xts-plain64",
        "the volume key has 256 bits, not 512",
    ]


def test_a_damaged_luks2_header_is_not_repaired(base: pathlib.Path, real_module: Module) -> None:
    pbkdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    region = container(base, "--type", "luks2", *pbkdf)
    with region.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(b"damage")
    before = region.read_bytes()
    found = read(real_module, path=str(region))
    assert found["uuid"] == UUID  # from the second copy
    assert region.read_bytes() == before


def test_without_a_header(base: pathlib.Path, real_module: Module) -> None:
    disk = base / "disk.raw"
    disk.write_bytes(bytes(8 * MIB))
    found = read(real_module, path=str(disk), key_files={"one": str(base / "one")})
    full = container(base, "--type", "luks1", "--pbkdf-force-iterations", "1000")
    assert set(found) == set(read(real_module, path=str(full)))
    assert (found["type"], found["slots"], found["opens"]) == ("", {}, {"one": None})
    assert found["findings"] == ["there is no LUKS header"]


def test_bad_input(base: pathlib.Path, real_module: Module) -> None:
    gone = real_module("luks_image_info", path=f"{base}/none/disk.raw")
    assert "does not exist" in gone["msg"]
    (base / "one").chmod(0o644)
    open_key = real_module(
        "luks_image_info", path=str(base / "two"), key_files={"k": f"{base}/one"}
    )
    assert "chmod 0600" in open_key["msg"]
