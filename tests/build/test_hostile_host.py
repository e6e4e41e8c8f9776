# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image believes of its host, and what it opens to its console, by plain tools on the finished image.

Boots are in tests/attacks. Each image is built twice: as it is usual, and with the console open for development.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import luks_header
import pytest
from builds import PLAYBOOK, Place, Run, fresh_place, playbook
from image_view import ROOT_OFFSET, mounted

DEVICE = "/dev/mapper/cr_root"
HOST_WORDS = {
    *("systemd.gpt_auto=0", "systemd.import_credentials=no", "efi=noruntime"),
    *("noresume", "nohibernate"),
}
CONSOLE_WORDS = {"panic=5", "sysctl.kernel.sysrq=0"}
# In the order in which GRUB has to read them.
CLOSED = ['set superusers=""', "export superusers"]
# What makes a boot that fails end in a restart, and SysRq a plain key.
ENDS = (
    *(f"etc/systemd/system/{it}.service.d/sealedroot.conf" for it in ("emergency", "rescue")),
    "etc/sysctl.d/zzzz-sealedroot.conf",
)


class Image(t.NamedTuple):
    """A build, and what is in its image."""

    open: bool
    place: Place
    variables: dict[str, t.Any]
    run: Run
    manifest: dict[str, t.Any]
    # Of the root, by their names in it, and of the initramfs.
    texts: dict[str, str]
    inner: dict[str, pathlib.Path]
    pinned: bytes
    pinned_blocks: int
    root_uuid: str
    # Of the disk.
    header: bytes
    script: str

    @property
    def directory(self) -> pathlib.Path:
        return self.place.out / "web-1"

    @property
    def pinned_name(self) -> str:
        return f"/etc/cryptsetup-headers.d/luks-{self.manifest['luks_uuid']}.header"

    def kernels(self) -> list[list[str]]:
        lines = self.texts["boot/grub/grub.cfg"].splitlines()
        found = [line.split() for line in lines if line.split()[:1] == ["linux"]]
        assert found
        return found


def run(*argv: str | pathlib.Path, data: bytes = b"") -> bytes:
    done = subprocess.run(argv, input=data, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
    return done.stdout


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line[:1] not in ("", "#")]


def look(place: Place, variables: dict[str, t.Any], done: Run) -> Image:
    """Read all of it, by tools of which none is the collection's."""
    directory = place.out / "web-1"
    manifest = json.loads((directory / "manifest.json").read_text())
    texts = {}
    with mounted(directory) as root:
        names = ("etc/fstab", "etc/crypttab", "boot/grub/grub.cfg", "etc/grub.d/06_sealedroot")
        for name in (*names, *ENDS):
            if (root / name).exists():
                texts[name] = (root / name).read_text()
        (pinned,) = (root / "etc/cryptsetup-headers.d").iterdir()
        assert (pinned.stat().st_mode & 0o777, pinned.stat().st_uid) == (0o400, 0)
        content, blocks = pinned.read_bytes(), pinned.stat().st_blocks
        (initrd,) = (root / "boot").glob("initrd.img-*")
        archive = run("zstd", "-dcq", initrd)
        uuid = run("findmnt", "--noheadings", "--output", "UUID", root).decode().strip()
    inner = place.path / "initramfs"
    inner.mkdir()
    run("cpio", "--extract", "--quiet", "--make-directories", "--directory", inner, data=archive)
    raw = place.path / "disk.raw"
    run("qemu-img", "convert", "-O", "raw", directory / "disk.qcow2", raw)
    with raw.open("rb") as file:
        file.seek(ROOT_OFFSET)
        header = file.read(len(content))
    core = run("mcopy", "-i", f"{raw}@@1M", "::EFI/BOOT/BOOTX64.EFI", "-")
    memdisk = core[core.index(b"ustar\x0000") - 257 :]
    script = run("tar", "-xOf", "-", "grub.cfg", data=memdisk)
    return Image(
        open=variables["image_debug_console"],
        place=place,
        variables=variables,
        run=done,
        manifest=manifest,
        texts=texts,
        root_uuid=uuid,
        inner={f"/{it.relative_to(inner)}": it for it in inner.rglob("*") if it.is_file()},
        pinned=content,
        pinned_blocks=blocks,
        header=header,
        script=script.decode("ascii"),
    )


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.long)],
    ids=["closed", "debug_console"],
)
def image(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    root_tar: pathlib.Path,
) -> t.Iterator[Image]:
    with fresh_place(tmp_path_factory) as place:
        variables = place.variables(
            image_source={"type": "tar", "path": str(root_tar)}, image_debug_console=request.param
        )
        done = playbook(PLAYBOOK, variables)
        assert done.rc == 0, done.output[-6000:]
        yield look(place, variables, done)


def test_it_is_proved_and_the_manifest_says_what_it_is(image: Image) -> None:
    verdicts = {it["name"]: it["verdict"] for it in image.manifest["audit"]["checks"]}
    assert set(verdicts.values()) == {"ok"}
    assert {"console", "pinned_header", "host_agents", "mounts", "grub_cfg"} <= set(verdicts)
    assert image.manifest["inputs"]["debug_console"] is image.open


def test_its_header_is_the_one_that_it_holds(image: Image) -> None:
    assert image.pinned == image.header
    assert sorted(luks_header.slots(image.pinned)) == [0, 1]
    assert not any(luks_header.unused(image.pinned))
    # Holes of the file are not in the ciphertext that the image carries.
    assert image.pinned_blocks * 512 < 600 << 10
    assert [it for it in image.inner if it.endswith(".header")] == [image.pinned_name]
    assert image.inner[image.pinned_name].read_bytes() == image.pinned
    for table in (image.texts["etc/crypttab"], image.inner["/cryptroot/crypttab"].read_text()):
        (row,) = rows(table)
        assert f"header={image.pinned_name}" in row[3].split(",")


def test_nothing_is_found_by_what_a_disk_of_the_host_can_have(image: Image) -> None:
    fstab, config = image.texts["etc/fstab"], image.texts["boot/grub/grub.cfg"]
    assert [row[0] for row in rows(fstab) if "noauto" not in row[3].split(",")] == [DEVICE]
    for kernel in image.kernels():
        assert [word for word in kernel if word.startswith("root=")] == [f"root={DEVICE}"]
        assert set(kernel) >= HOST_WORDS
    assert "search" not in config.split()
    for text in (fstab, image.texts["etc/crypttab"], config, *image.inner):
        assert image.root_uuid not in text


def test_who_gets_a_shell(image: Image) -> None:
    config = image.texts["boot/grub/grub.cfg"].splitlines()
    commands = set(image.script.split())
    assert image.script.count("cryptomount -u ") == 1
    if image.open:
        assert all(not CONSOLE_WORDS & set(kernel) for kernel in image.kernels())
        assert not set(CLOSED) & {*config, *image.script.splitlines()}
        assert not {"halt", "reboot"} & commands
        assert not {*ENDS, "etc/grub.d/06_sealedroot"} & set(image.texts)
    else:
        assert all(set(kernel) >= CONSOLE_WORDS for kernel in image.kernels())
        assert image.script.splitlines()[:2] == CLOSED
        assert config[config.index(CLOSED[0]) + 1] == CLOSED[1]
        assert {"halt", "reboot"} <= commands
        assert {*ENDS, "etc/grub.d/06_sealedroot"} <= set(image.texts)


def test_an_open_console_is_no_fault_where_it_was_asked_for(image: Image) -> None:
    variables = {
        "audit_image": str(image.directory / "disk.qcow2"),
        "audit_keys": {it: str(image.directory / f"{it}.key") for it in ("boot", "recovery")},
        "image_boot_test": False,
    }
    asked = playbook("sealedroot.image.verify_image", {**variables, "image_debug_console": True})
    assert asked.rc == 0, asked.output
    done = playbook("sealedroot.image.verify_image", variables)
    assert (done.rc == 0) is not image.open, done.output
    if image.open:
        assert done.said("GRUB's editor and shell are open")


def test_the_plan_says_that_the_console_is_open(image: Image) -> None:
    variables = {**image.variables, "image_name": "web-2"}
    plan = playbook(PLAYBOOK, variables, "--check")
    assert plan.rc == 0, plan.output
    assert plan.said("console: open to whoever has it (image_debug_console)") is image.open
    # That is no image for somebody who asks for another one.
    other = {**image.variables, "image_debug_console": not image.open}
    refused = playbook(PLAYBOOK, other)
    assert refused.rc != 0
    assert refused.said("was made from other inputs (debug_console)")
    again = playbook(PLAYBOOK, image.variables)
    assert (again.rc, again.changed) == (0, 0), again.output
