# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key in real Debian roots with dracut 059 and dracut-ng, and the initramfs that their own dracut makes then."""

from __future__ import annotations

import typing as t

import debian_root
import pytest
from debian_root import BOOT_KEY, HEADER, Image

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
ARGUMENTS = {"luks_uuid": UUID}
KEY = f"/etc/cryptsetup-keys.d/luks-{UUID}.key"
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
OPTIONS = f"luks,discard,x-initrd.attach,x-systemd.device-timeout=0,header={PINNED}"
ENTRY = f"luks-{UUID} UUID={UUID} {KEY} {OPTIONS}"
# What makes a boot that fails end in a restart; systemd runs in the initramfs, too.
UNITS = tuple(
    f"/etc/systemd/system/{it}.service.d/sealedroot.conf" for it in ("emergency", "rescue")
)
SYSCTL = "/etc/sysctl.d/zzzz-sealedroot.conf"
CHECK = "/etc/systemd/system-generators/sealedroot"
OLD_SETTINGS = {
    "etc/fstab": "UUID=1111 / xfs defaults 0 1\n",
    "etc/crypttab": "# <target name>\nswap_crypt UUID=1111-22 none luks,swap\n",
    # Of a machine whose initramfs was for itself alone.
    "etc/dracut.conf.d/99-local.conf": 'hostonly="yes"\nhostonly_cmdline="yes"\ncompress="zstd -1"\n',
}


@pytest.fixture(scope="module", params=[pytest.param("bookworm", marks=pytest.mark.long), "trixie"])
def image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Image]:
    path = tmp_path_factory.mktemp("dracut")
    with debian_root.in_memory(path, release=request.param, initramfs="dracut") as image:
        for name, text in OLD_SETTINGS.items():
            image.write(name, text)
        yield image


@pytest.fixture(scope="module")
def done(image: Image) -> dict[str, t.Any]:
    return image.four_calls("initramfs_unlock", **ARGUMENTS)


def unpacked(image: Image, path: str, name: str) -> dict[str, t.Any]:
    """Return what a file has that dracut's own tool unpacks, by path."""
    target = image.run / name
    image.shell(f"mkdir /run/{name} && cd /run/{name} && lsinitrd --unpack {path} >/dev/null")
    return {f"/{it.relative_to(target)}": it for it in target.rglob("*")}


def check_key(files: dict[str, t.Any]) -> None:
    """The initramfs holds the key, once, and the pinned header."""
    held = [
        name
        for name, path in files.items()
        if path.is_file() and not path.is_symlink() and BOOT_KEY.encode() in path.read_bytes()
    ]
    assert held == [KEY]
    assert [name for name in files if name.endswith(".header")] == [PINNED]
    assert files[PINNED].read_bytes() == HEADER
    assert {files[name].stat().st_mode & 0o777 for name in (KEY, PINNED)} == {0o400}


def check(files: dict[str, t.Any]) -> None:
    """An initramfs that opens the root without asking, and knows nothing of the builder."""
    check_key(files)
    lines = files["/etc/crypttab"].read_text().splitlines()
    found = [line.replace("/dev/disk/by-uuid/", "UUID=") for line in lines if line[:1] != "#"]
    assert found == [ENTRY]
    # root=, or a disk that was found where this was built.
    assert [name for name in files if name.startswith("/etc/cmdline.d/")] == []
    assert any(name.endswith("/systemd-cryptsetup") for name in files)
    assert any("/dm-crypt.ko" in name for name in files)
    for name in UNITS:
        assert "ExecStart=-/usr/bin/systemctl --force --force reboot" in files[name].read_text()


@pytest.fixture(scope="module")
def initramfs(image: Image, done: dict[str, t.Any]) -> str:
    """The path of an initramfs made afterwards, as a build makes it."""
    (it,) = done["initramfs"]
    arguments = "--force --no-hostonly --no-hostonly-cmdline --tmpdir /tmp"
    image.shell(f"dracut {arguments} {it['path']} {it['version']} 2>&1")
    return str(it["path"])


def test_what_it_says(image: Image, done: dict[str, t.Any]) -> None:
    version = image.shell("ls /lib/modules")
    assert done["initramfs"] == [{"version": version, "path": f"/boot/initrd.img-{version}"}]
    entry = " ".join(OLD_SETTINGS["etc/crypttab"].splitlines()[-1].split()[:2])
    assert done["dropped"] == [f"crypttab line '{entry}': a disk of the old machine"]
    conf = "/etc/dracut.conf.d/_sealedroot.conf"
    names = [KEY, PINNED, "/etc/crypttab", "/etc/fstab", conf, *UNITS, SYSCTL, CHECK]
    assert done["files"] == sorted(names)
    # Neither key nor header.
    assert BOOT_KEY not in str(done)
    assert "the header of this test" not in str(done)


def test_the_initramfs_unlocks_the_root_without_asking(image: Image, initramfs: str) -> None:
    files = unpacked(image, initramfs, "built")
    check(files)
    for module in ("virtio_blk", "virtio_scsi"):
        assert any(f"/{module}.ko" in name for name in files)
    assert image.mode(initramfs.lstrip("/")) == 0o600


def test_what_a_new_kernel_runs_keeps_it(image: Image, initramfs: str) -> None:
    version = initramfs.partition("-")[2]
    (image.root / initramfs.lstrip("/")).unlink()
    image.shell(f"/etc/kernel/postinst.d/dracut {version} 2>&1")
    check(unpacked(image, initramfs, "renewed"))
    assert image.mode(initramfs.lstrip("/")) == 0o600


def test_one_for_a_single_machine_keeps_it_too(image: Image, initramfs: str) -> None:
    image.shell(f"dracut --force --hostonly /run/small.img {initramfs.partition('-')[2]} 2>&1")
    files = unpacked(image, "/run/small.img", "small")
    if image.shell("dpkg-query --show --showformat='${Version}' dracut") >= "1":
        check(files)
    else:
        # dracut 059 takes drivers and entries for the disk that it runs from, which is not here.
        check_key(files)


def test_systemd_opens_the_root_with_the_key_and_nothing_else(
    image: Image, done: dict[str, t.Any]
) -> None:
    """As in the initramfs, told by its environment; a disk that was added later would ask."""
    table = image.root / "etc/crypttab"
    before = table.read_text()
    table.write_text(f"{before}data UUID=1111-22 none luks\n")
    where = "SYSTEMD_IN_INITRD=1 SYSTEMD_PROC_CMDLINE=rd.luks.uuid=luks-" + UUID
    try:
        image.shell(
            "mkdir /run/units && cd /run/units && env "
            f"{where} /usr/lib/systemd/system-generators/systemd-cryptsetup-generator . . . 2>&1"
        )
    finally:
        table.write_text(before)
    (unit,) = (image.run / "units").glob("systemd-cryptsetup@*.service")
    attach = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    words = attach[0].replace("'", "").split()[1:]
    device = f"/dev/disk/by-uuid/{UUID}"
    options = f"luks,discard,x-initrd.attach,header={PINNED}"
    assert words == ["attach", f"luks-{UUID}", device, KEY, options]
    # However slowly the machine starts.
    (timeout,) = (image.run / "units").glob("dev-disk-by*.device.d/*-device-timeout.conf")
    assert "JobRunningTimeoutSec=0" in timeout.read_text()


def test_packages_that_are_missing_are_named(image: Image, done: dict[str, t.Any]) -> None:
    program = image.root / "usr/lib/systemd/systemd-cryptsetup"
    hidden = program.with_name("hidden")
    program.rename(hidden)
    try:
        refused = image.task("initramfs_unlock", **ARGUMENTS)
    finally:
        hidden.rename(program)
    assert refused["msg"] == ("the root lacks systemd-cryptsetup: install systemd-cryptsetup in it")
