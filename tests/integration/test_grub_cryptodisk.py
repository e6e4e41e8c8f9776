# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB's own tools in a real Debian root on an ext4 of its own; that it boots is shown by tests/boot."""

from __future__ import annotations

import re
import shutil
import typing as t

import debian_root
import pytest
from debian_root import Image

LUKS_UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN_UUID = LUKS_UUID.replace("-", "")
WORDS = "console=tty0 console=ttyS0,115200"
CORE = "run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
GRUB_CFG = "boot/grub/grub.cfg"
# As Debian's cloud images have them.
CLOUD = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX earlyprintk=ttyS0"\nGRUB_TIMEOUT=0\n'
PARTUUID = "GRUB_FORCE_PARTUUID=6f3c2c5e-0000-4000-8000-000000000000\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with debian_root.on_a_file_system(tmp_path_factory.mktemp("grub")) as image:
        yield image


@pytest.fixture(autouse=True)
def _settings(image: Image) -> t.Iterator[None]:
    """Give each test the settings that the root came with."""
    before = image.text("etc/default/grub")
    yield
    image.write("etc/default/grub", before)
    for path in (image.root / "etc/default/grub.d").glob("*.cfg"):
        if path.name != "init-select.cfg":
            path.unlink()


def arguments(image: Image, **more: t.Any) -> dict[str, t.Any]:
    common = {"luks_uuid": LUKS_UUID, "root_uuid": image.root_uuid, "kernel_cmdline": WORDS}
    return {**common, **more}


def kernels(image: Image) -> list[list[str]]:
    """The words of each kernel's line in grub.cfg."""
    lines = image.text(GRUB_CFG).splitlines()
    return [line.split() for line in lines if line.split()[:1] == ["linux"]]


def test_four_calls_and_what_is_there_then(image: Image) -> None:
    """The core image is compared byte by byte, so grub-mkimage is shown to be deterministic."""
    done = image.four_calls("grub_cryptodisk", **arguments(image))
    assert set(done["files"]) == {"/etc/default/grub", f"/{GRUB_CFG}", f"/{CORE}"}
    for line in kernels(image):
        roots = [word for word in line if word.startswith("root=")]
        assert roots == [f"root=UUID={image.root_uuid}"]
        assert set(WORDS.split()) <= set(line)
    assert len(kernels(image)) >= 2
    image.shell(f"grub-script-check /{GRUB_CFG}")
    image.shell(
        "cd /usr/lib/grub/x86_64-efi; for f in *.mod *.lst; do cmp $f /boot/grub/x86_64-efi/$f; done"
    )


def test_nothing_of_the_builder_is_in_the_configuration(image: Image) -> None:
    assert not image.task("grub_cryptodisk", **arguments(image))["failed"]
    text = image.text(GRUB_CFG)
    assert not re.search(r"/dev/(?!null)|loop\d|sealedroot|tmp/", text), text


def core(image: Image) -> bytes:
    return (image.run_dir / CORE.removeprefix("run/")).read_bytes()


def test_the_core_image_asks_by_uuid(image: Image) -> None:
    image.task("grub_cryptodisk", **arguments(image))
    data = core(image)
    assert data.startswith(b"MZ")
    assert data.count(f"cryptomount -u {PLAIN_UUID}\n".encode()) == 3
    assert f"\nset root=cryptouuid/{PLAIN_UUID}\n".encode() in data
    assert f"(cryptouuid/{PLAIN_UUID})/boot/grub\0".encode() in data
    assert LUKS_UUID.encode() not in data
    for module in ("cryptodisk", "luks", "gcry_sha256", "gcry_rijndael", "ext2", "part_gpt"):
        assert f"\0{module}\0".encode() in data
    assert b"\0luks2\0" not in data


def test_luks2_and_another_hash(image: Image) -> None:
    done = image.task("grub_cryptodisk", **arguments(image, luks_type="luks2", hash="sha512"))
    assert f"/{CORE}" in done["files"]
    assert b"\0luks2\0" in core(image)
    assert b"\0gcry_sha512\0" in core(image)


def test_drop_ins_of_a_cloud_image(image: Image) -> None:
    image.write("etc/default/grub.d/10_cloud.cfg", CLOUD)
    image.write("etc/default/grub.d/40-force-partuuid.cfg", PARTUUID)
    image.task("grub_cryptodisk", **arguments(image))
    assert kernels(image)
    for line in kernels(image):
        assert f"root=UUID={image.root_uuid}" in line
        assert {*WORDS.split(), "earlyprintk=ttyS0"} <= set(line)
        assert len(line) == len(set(line))
    assert not image.task("grub_cryptodisk", **arguments(image))["changed"]


def test_the_root_of_an_installed_machine(image: Image) -> None:
    old = 'GRUB_CMDLINE_LINUX="root=/dev/vg/root net.ifnames=0"\n'
    old += 'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=UUID=5555"\n'
    image.write("etc/default/grub", old)
    done = image.task("grub_cryptodisk", **arguments(image))
    assert done["dropped"] == ["root=/dev/vg/root", "resume=UUID=5555"]
    for line in kernels(image):
        assert not {"root=/dev/vg/root", "resume=UUID=5555"} & set(line)
        assert "net.ifnames=0" in line


def test_a_root_without_settings_and_without_boot_grub(image: Image) -> None:
    (image.root / "etc/default/grub").unlink()
    shutil.rmtree(image.root / "boot/grub")
    done = image.task("grub_cryptodisk", **arguments(image))
    assert done["changed"]
    assert "GRUB_ENABLE_CRYPTODISK=y" in image.text("etc/default/grub").splitlines()
    assert kernels(image)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("GRUB_DISABLE_LINUX_UUID=true\n", "instead of root=UUID="),
        ("GRUB_TIMEOUT='never closed\n", "grub-mkconfig"),
    ],
)
def test_settings_that_would_not_boot(image: Image, settings: str, words: str) -> None:
    image.write("etc/default/grub", settings)
    done = image.task("grub_cryptodisk", **arguments(image))
    assert done["failed"]
    assert words in done["msg"]


def test_another_root_is_refused_before_anything_is_touched(image: Image) -> None:
    before = image.text("etc/default/grub")
    done = image.task("grub_cryptodisk", **arguments(image, root_uuid=LUKS_UUID))
    assert done["failed"]
    assert image.root_uuid in done["msg"]
    assert image.text("etc/default/grub") == before


def test_what_the_images_grub_lacks_is_named(image: Image) -> None:
    hidden = image.root / "usr/lib/grub/hidden"
    module = image.root / "usr/lib/grub/x86_64-efi/luks.mod"
    module.rename(hidden)
    try:
        done = image.task("grub_cryptodisk", "--check", **arguments(image))
        other = image.task("grub_cryptodisk", **arguments(image, platform="arm64-efi"))
    finally:
        hidden.rename(module)
    assert "has no luks: install" in done["msg"]
    assert "lacks GRUB's modules for arm64-efi: install grub-efi" in other["msg"]
