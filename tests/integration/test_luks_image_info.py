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
from forged_header import forge

Module = t.Callable[..., t.Dict[str, t.Any]]

MIB = 1 << 20
OFFSET = 4 * MIB
UUID = "11111111-2222-4333-8444-555555555555"
PBKDF2 = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
LUKS2 = ("--type", "luks2", "--sector-size", "512", *PBKDF2)


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


def unusual(found: dict[str, t.Any]) -> dict[str, str]:
    """Return what is said of each finding but that slots of random keys have few iterations."""
    rows = [row for row in found["findings"] if row["id"] != "few-iterations"]
    return {row["id"]: row["meaning"] for row in rows}


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
        rows = [(row["id"], row["severity"]) for row in found["findings"]]
        assert rows == [("few-iterations", "note")] * 2
    assert "key one" not in str(found)
    assert pathlib.Path(options["path"]).read_bytes() == before


def test_luks2_order_and_findings(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, *LUKS2)
    assert unusual(read(real_module, path=str(region))) == {}
    cryptsetup("luksAddKey", *PBKDF2, "--key-file", base / "one", region, base / "two")
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
    assert unusual(found) == {
        "tokens": "there are tokens (1), which can hold a key, or say where one comes from",
        "argon2": "slot 0 uses argon2id, which GRUB before 2.14 cannot compute",
    }


def test_a_weak_luks1_header(base: pathlib.Path, real_module: Module) -> None:
    argv = ["--type", "luks1", "--pbkdf-force-iterations", "1000"]
    region = container(base, *argv, "--cipher", "aes-cbc-plain64", "--key-size", "256")
    assert unusual(read(real_module, path=str(region))) == {
        "key-size": "the volume key has 256 bits, not 512",
        "cipher": "the cipher is aes-cbc-plain64, not aes-xts-plain64",
    }


def test_an_unbound_slot(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, *LUKS2)
    cryptsetup("luksAddKey", "--unbound", "--key-size", "256", *PBKDF2, region, base / "two")
    found = unusual(read(real_module, path=str(region)))
    assert set(found) == {"digests", "unbound-digest", "unbound-slot", "slot-key-size"}
    assert found["unbound-slot"].startswith("slot 1 is for no segment")


def test_a_reencryption_that_has_begun(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, *LUKS2)
    argv = ["reencrypt", "--init-only", "--force-offline-reencrypt", *PBKDF2]
    cryptsetup(*argv, "--key-file", base / "one", region)
    found = unusual(read(real_module, path=str(region)))
    assert set(found) == {
        *("segments", "segment-flag", "digests", "unbound-digest"),
        *("reencrypt-slot", "requirement-reencrypt"),
    }


def test_an_encryption_that_has_begun(base: pathlib.Path, real_module: Module) -> None:
    region = base / "plain"
    region.write_bytes(bytes(64 * MIB))
    argv = ["reencrypt", "--encrypt", "--init-only", *LUKS2, "--reduce-device-size", "32M"]
    cryptsetup(*argv, "--key-file", base / "one", region)
    found = unusual(read(real_module, path=str(region)))
    assert {"segments", "segment-type", "segment-size", "unbound-segment"} < set(found)
    assert found["segment-type"].endswith(
        "has the type linear, not crypt, so its data is not encrypted"
    )


def test_data_where_cryptsetup_does_not_put_it(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, *LUKS2, "--offset", str(8 * MIB // 512))
    assert set(unusual(read(real_module, path=str(region)))) == {"data-offset"}


SEGMENT, SLOT = ("segments", "0"), ("keyslots", "0")


@pytest.mark.parametrize(
    ("place", "value", "ids"),
    [
        ((*SEGMENT, "encryption"), "cipher_null-ecb", {"null-cipher"}),
        ((*SLOT, "area", "encryption"), "cipher_null-ecb", {"null-slot"}),
        ((*SEGMENT, "flags"), ["in-reencryption"], {"segment-flag"}),
        ((*SEGMENT, "type"), "linear", {"segment-type"}),
        ((*SEGMENT, "size"), "1048576", {"segment-size"}),
        ((*SEGMENT, "iv_tweak"), "8", {"iv-tweak"}),
        ((*SEGMENT, "offset"), "0", {"data-overlap"}),
        # cryptsetup makes one only with a device-mapper that has integrity.
        (
            (*SEGMENT, "integrity"),
            {"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"},
            {"integrity"},
        ),
        (("config", "requirements"), {"mandatory": ["new"]}, {"requirement"}),
        (("config", "flags"), ["allow-discards"], {"flags"}),
        ((*SLOT, "type"), "new", {"slot-type", "no-slots"}),
        ((*SLOT, "kdf", "type"), "new", {"kdf"}),
        ((*SLOT, "key_size"), 32, {"key-size", "area-key-size", "slot-area"}),
        ((*SLOT, "area", "key_size"), 32, {"area-key-size"}),
        ((*SLOT, "af", "stripes"), 1, {"af-stripes"}),
        ((*SLOT, "kdf", "iterations"), 1, {"forced-slot"}),
        (("digests", "0", "iterations"), 1, {"forced-digest"}),
        # What cryptsetup takes for no header at all.
        ((*SEGMENT, "offset"), "65536", {"no-header"}),
        (("digests", "0", "segments"), [], {"no-header"}),
    ],
)
def test_a_forged_luks2_header(
    place: tuple[str, ...], value: t.Any, ids: set[str], base: pathlib.Path, real_module: Module
) -> None:
    """Valid for cryptsetup, made without a key, and still not what was sealed."""

    def edit(metadata: t.Any) -> None:
        for name in place[:-1]:
            metadata = metadata[name]
        metadata[place[-1]] = value

    region = container(base, *LUKS2)
    forge(region, edit)
    assert set(unusual(read(real_module, path=str(region)))) == ids


@pytest.mark.parametrize(
    ("offset", "value", "ids"),
    [
        (8, b"cipher_null".ljust(32, b"\0") + b"ecb".ljust(32, b"\0"), {"null-cipher"}),
        (104, (0).to_bytes(4, "big"), {"data-overlap"}),
        (104, (8192).to_bytes(4, "big"), {"data-offset"}),
        (8, b"aes\nMK bits: x\0", {"cipher"}),
    ],
)
def test_a_forged_luks1_header(
    offset: int, value: bytes, ids: set[str], base: pathlib.Path, real_module: Module
) -> None:
    region = container(base, "--type", "luks1", "--pbkdf-force-iterations", "1000")
    with region.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    assert set(unusual(read(real_module, path=str(region)))) == ids


def test_a_damaged_luks2_header_is_not_repaired(base: pathlib.Path, real_module: Module) -> None:
    region = container(base, *LUKS2)
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
    assert set(unusual(found)) == {"no-header"}


def test_bad_input(base: pathlib.Path, real_module: Module) -> None:
    gone = real_module("luks_image_info", path=f"{base}/none/disk.raw")
    assert "does not exist" in gone["msg"]
    (base / "one").chmod(0o644)
    open_key = real_module(
        "luks_image_info", path=str(base / "two"), key_files={"k": f"{base}/one"}
    )
    assert "chmod 0600" in open_key["msg"]
