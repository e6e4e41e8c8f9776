# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The signed boot files of Debian, and what sbsign makes of a GRUB of our own."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import debian_root
import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    core_image,
    pe,
    signed_chain,
)
from builds import DEBIAN, source_tar
from debian_root import Image

SIGNED = ("shim-signed", "grub-efi-amd64-signed")
SHIM = "usr/lib/shim/shimx64.efi.signed"
MOK = "usr/lib/shim/mmx64.efi.signed"
GRUB = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
FAMILIES = LookupModule().run([])
LUKS_UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"


def tar(release: str) -> pathlib.Path:
    """Return a root with the signed packages; the role ``source`` makes it as for a build."""
    return source_tar({**DEBIAN, "release": release}, image_secure_boot=True)


@pytest.fixture(scope="module", params=[pytest.param("bookworm", marks=pytest.mark.long), "trixie"])
def binaries(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the root tar of a release and a directory with its signed files."""
    path = tmp_path_factory.mktemp(request.param)
    debian_root.run(
        "tar", "-C", path, "-xf", tar(request.param), f"./{SHIM}", f"./{MOK}", f"./{GRUB}"
    )
    return tar(request.param), path


def test_what_debian_signed(binaries: tuple[pathlib.Path, pathlib.Path]) -> None:
    """sbverify finds as many signatures, and a changed byte is noticed."""
    _tar, path = binaries
    for name in (SHIM, MOK, GRUB):
        data = (path / name).read_bytes()
        assert pe.problems(name, data, sbat=True) == []
        listed = debian_root.run("sbverify", "--list", path / name)
        found = pe.parse(data)
        assert found is not None
        assert len(found.signatures) == listed.count("\nsignature ") + listed.startswith(
            "signature "
        )
        at = len(data) // 2
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert "is not what was signed" in pe.problems(name, changed)[0]


def test_modules_of_debians_signed_grub(binaries: tuple[pathlib.Path, pathlib.Path]) -> None:
    core = core_image.parse((binaries[1] / GRUB).read_bytes())
    assert core is not None
    assert signed_chain.vendor(core.prefix) == "debian"
    for luks in ("luks1", "luks2"):
        for digest in ("sha256", "sha512"):
            for filesystem in ("ext4", "xfs", "btrfs"):
                assert not signed_chain.missing_modules(
                    core.modules, luks_type=luks, hash=digest, filesystem=filesystem
                )
    # Why /etc/grub.d/25_bli is not run: if Debian builds it in some day, it may be.
    assert "bli" not in core.modules


def test_root_info(
    binaries: tuple[pathlib.Path, pathlib.Path], real_module: t.Callable[..., dict[str, t.Any]]
) -> None:
    path = str(binaries[0])
    info = real_module("root_info", path=path, families=FAMILIES, secure_boot={})["root"]
    assert info["missing_packages"] == []
    assert info["secure_boot"] == {
        "shim": f"/{SHIM}",
        "grub": f"/{GRUB}",
        "mok_manager": f"/{MOK}",
        "missing_modules": [],
    }
    odd = real_module("root_info", path=path, families=FAMILIES, secure_boot={"hash": "sha3"})[
        "root"
    ]
    assert odd["secure_boot"]["missing_modules"] == ["gcry_sha3"]


def test_a_root_without_the_packages(
    real_module: t.Callable[..., dict[str, t.Any]],
) -> None:
    path = str(source_tar(DEBIAN))
    info = real_module("root_info", path=path, families=FAMILIES, secure_boot={})["root"]
    assert info["missing_packages"] == list(SIGNED)
    assert "secure_boot" not in real_module("root_info", path=path, families=FAMILIES)["root"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    path = tmp_path_factory.mktemp("signed")
    with debian_root.on_a_file_system(path, tar("bookworm")) as image:
        yield image


def arguments(image: Image, **more: t.Any) -> dict[str, t.Any]:
    return {
        "luks_uuid": LUKS_UUID,
        "root_uuid": image.root_uuid,
        "root_device": "/dev/mapper/cr_root",
        "secure_boot": {"shim": f"/{SHIM}", "grub": f"/{GRUB}", "mok_manager": f"/{MOK}"},
        **more,
    }


def test_four_calls_and_what_is_there_then(image: Image) -> None:
    done = image.four_calls("grub_cryptodisk", **arguments(image))
    assert done["core_image"] == "/run/sealedroot/esp/EFI/BOOT/grubx64.efi"
    esp = image.esp
    files = {str(path.relative_to(esp)): path for path in esp.rglob("*") if path.is_file()}
    assert set(files) == {
        *("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi"),
        *("EFI/BOOT/grub.cfg", "EFI/debian/grub.cfg"),
    }
    for name, source in (("BOOTX64.EFI", SHIM), ("grubx64.efi", GRUB), ("mmx64.efi", MOK)):
        assert files[f"EFI/BOOT/{name}"].read_bytes() == (image.root / source).read_bytes()
    stub = files["EFI/BOOT/grub.cfg"].read_text()
    assert stub == files["EFI/debian/grub.cfg"].read_text()
    image.shell("grub-script-check /run/sealedroot/esp/EFI/BOOT/grub.cfg")
    # GRUB reads it before the disk is open; whatever fails, nobody gets its shell.
    lines = [line.strip() for line in stub.splitlines()]
    asks = next(at for at, line in enumerate(lines) if "cryptomount -u" in line)
    assert {'set superusers=""', "export superusers"} < set(lines[:asks])
    assert lines[lines.index("configfile $prefix/grub.cfg") + 1 :][-1] == "reboot"
    # What a later grub-install puts in its place again.
    assert (image.root / "boot/grub/sealedroot/grub.cfg").read_text() == stub
    assert image.mode("usr/local/sbin/grub-install") == 0o755


def test_an_open_console_for_development(image: Image) -> None:
    done = image.task("grub_cryptodisk", **arguments(image, debug_console=True))
    assert not done["failed"], done
    stub = (image.esp / "EFI/BOOT/grub.cfg").read_text()
    assert stub.count("cryptomount -u") == 1
    assert not {"superusers", "reboot", "halt"} & set(stub.split())
    assert image.task("grub_cryptodisk", **arguments(image))["changed"]


def sign(image: Image, path: pathlib.Path, prefix: str, *modules: str) -> bytes:
    """Make a GRUB with the image's own tools and sign it with a key that nobody knows."""
    names = " ".join(modules)
    sbat = "printf 'sbat,1,x,sbat,1,x\\ngrub,4,x,grub,2,x\\n' >/run/sbat.csv"
    make = f"grub-mkimage -O x86_64-efi -p {prefix} --sbat /run/sbat.csv -o /run/own.efi {names}"
    image.shell(f"{sbat} && {make}")
    key, certificate, signed = path / "key", path / "certificate", path / "signed.efi"
    debian_root.run(
        *("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"),
        *("-subj", "/CN=test/", "-keyout", key, "-out", certificate),
    )
    subprocess.run(
        [
            *("sbsign", "--key", key, "--cert", certificate, "--output", signed),
            image.run / "own.efi",
        ],
        check=True,
        capture_output=True,
    )
    return signed.read_bytes()


NEEDED = (
    *("part_gpt", "cryptodisk", "pbkdf2", "gcry_rijndael", "gcry_sha256", "luks", "ext2"),
    *("normal", "configfile", "linux", "echo", "fat", "search", "test", "halt", "reboot", "sleep"),
)


def test_a_signed_grub_that_cannot_read_luks2(image: Image, tmp_path: pathlib.Path) -> None:
    """Such as those of Ubuntu up to 22.04."""
    (image.root / "usr/lib/own.efi").write_bytes(sign(image, tmp_path, "/EFI/ubuntu", *NEEDED))
    chain = {"shim": f"/{SHIM}", "grub": "/usr/lib/own.efi"}
    before = image.text("etc/default/grub")
    for check in (["--check"], []):
        done = image.task(
            "grub_cryptodisk", *check, **arguments(image, secure_boot=chain, luks_type="luks2")
        )
        assert done["failed"]
        assert "the signed GRUB /usr/lib/own.efi has no luks2" in done["msg"]
    assert image.text("etc/default/grub") == before
    done = image.task("grub_cryptodisk", "--check", **arguments(image, secure_boot=chain))
    assert not done["failed"], done["msg"]


def test_an_unsigned_grub(image: Image) -> None:
    unsigned = {"shim": f"/{SHIM}", "grub": "/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"}
    done = image.task("grub_cryptodisk", "--check", **arguments(image, secure_boot=unsigned))
    assert "grubx64.efi is not signed" in done["msg"]
    gone = {"shim": "/usr/lib/shim/none.efi", "grub": f"/{GRUB}"}
    done = image.task("grub_cryptodisk", "--check", **arguments(image, secure_boot=gone))
    assert "the image has no /usr/lib/shim/none.efi, its signed shim" in done["msg"]
