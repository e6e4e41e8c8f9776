# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root with much of another machine in it becomes an image that has nothing of that machine's disks."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from builds import PLAYBOOK, QUICK_INITRAMFS, Run, add_files, fresh_place, playbook
from image_view import mounted

# Older than the real one, which is what is booted.
SECOND = "6.1.0-1-copied"
KEYS = {name: base64.b64encode(name.encode() * 8).decode() for name in ("old", "data", "vault")}
FSTAB = """\
/dev/mapper/vg-root / xfs defaults 0 1
/dev/mapper/vg-home /home ext4 defaults 0 2
UUID=33333333-3333-3333-3333-333333333333 /boot ext4 defaults 0 2
/dev/mapper/cswap none swap sw 0 0
/dev/zram0 none swap sw,nofail 0 0
/swapfile none swap sw 0 0
/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0
/srv/a /srv/b none bind 0 0
"""
CRYPTTAB = """\
luks-old UUID=11111111-1111-1111-1111-111111111111 /etc/cryptsetup-keys.d/old.key luks,initramfs
data UUID=22222222-2222-2222-2222-222222222222 /etc/keys/data.key luks
cswap /dev/sda3 /dev/urandom swap
vault /srv/vault.img /etc/keys/vault.key luks,noauto
"""
FILES = {
    **QUICK_INITRAMFS,
    "etc/fstab": FSTAB,
    "etc/crypttab": CRYPTTAB,
    "etc/default/grub": 'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="quiet rd.lvm.lv=vg/root rootflags=subvol=@"\n',
    "etc/systemd/zram-generator.conf": "[zram0]\n",
    "etc/cryptsetup-keys.d/old.key": KEYS["old"],
    "etc/keys/data.key": KEYS["data"],
    "etc/keys/vault.key": KEYS["vault"],
    "srv/vault.img": "a container",
    "swapfile": "what another machine had in memory\n" * 100_000,
    "boot/initrd.img-5.10.0-1-amd64": "an initramfs with another key",
}


def odd_tar(root_tar: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """Write the root tar with all of it, and with a second kernel that is the first one by another name."""
    tree = work / "tree"
    tree.mkdir()
    what = ("./boot/*-amd64", "./usr/lib/modules")
    command = ("tar", "-C", str(tree), "--wildcards", "-xf", str(root_tar), *what)
    subprocess.run(command, check=True, timeout=120)
    (modules,) = (tree / "usr/lib/modules").iterdir()
    for file in [*tree.glob(f"boot/*-{modules.name}"), modules]:
        file.rename(file.with_name(file.name.replace(modules.name, SECOND)))
    path = work / "odd.tar"
    shutil.copy(root_tar, path)
    owner = ("--owner=0", "--group=0")
    subprocess.run(
        ["tar", "-C", tree, *owner, "-rf", path, "./boot", "./usr"], check=True, timeout=120
    )
    shutil.rmtree(tree)
    # Key files are root's alone; the files that are added are not.
    add_files(path, {name: text for name, text in FILES.items() if not name.endswith(".key")})
    for name in [name for name in FILES if name.endswith(".key")]:
        file = work / "keys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name])
        file.chmod(0o400)
        subprocess.run(
            ["tar", "-C", work / "keys", *owner, "-rf", path, name], check=True, timeout=60
        )
    return path


class Odd(t.NamedTuple):
    """The finished build."""

    run: Run
    manifest: dict[str, t.Any]
    directory: pathlib.Path


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, root_tar: pathlib.Path) -> t.Iterator[Odd]:
    with fresh_place(tmp_path_factory) as place:
        path = odd_tar(root_tar, place.path)
        run = playbook(PLAYBOOK, place.variables(image_source={"type": "tar", "path": str(path)}))
        assert run.rc == 0, run.output[-6000:]
        directory = place.out / "web-1"
        yield Odd(run, json.loads((directory / "manifest.json").read_text()), directory)


def test_both_kernels_are_proved(odd: Odd) -> None:
    kernels = odd.manifest["audit"]["facts"]["kernels"]
    assert len(kernels) == 2
    assert SECOND in kernels
    assert {it["name"]: it["verdict"] for it in odd.manifest["audit"]["checks"]}[
        "initramfs"
    ] == "ok"


def test_what_was_left_out_is_said(odd: Odd) -> None:
    assert [it.partition(": ")[0] for it in odd.manifest["left_out"]] == [
        "/swapfile",
        "crypttab line 'luks-old UUID=11111111-1111-1111-1111-111111111111'",
        "crypttab line 'data UUID=22222222-2222-2222-2222-222222222222'",
        "crypttab line 'cswap /dev/sda3'",
        "fstab line '/dev/mapper/vg-home /home'",
        "fstab line '/dev/mapper/cswap none'",
        "fstab line '/swapfile none'",
        "/etc/cryptsetup-keys.d/old.key",
        "/etc/keys/data.key",
        "/boot/initrd.img-5.10.0-1-amd64",
        "kernel command line word 'rd.lvm.lv'",
        "kernel command line word 'rootflags'",
    ]
    for line in odd.manifest["left_out"]:
        assert odd.run.said(f"left out:     {line}"), line
    assert odd.run.said("/home is empty, since its file system is not in the tar.")


def test_the_image_has_nothing_of_the_old_machine(odd: Odd) -> None:
    device = "/dev/mapper/cr_root"
    with mounted(odd.directory) as root:
        lines = (root / "etc/fstab").read_text().splitlines()
        assert lines == [
            f"{device} / ext4 errors=remount-ro 0 1",
            "LABEL=ESP /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
            *(FSTAB.splitlines()[number] for number in (4, 6, 7)),
        ]
        entries = (root / "etc/crypttab").read_text().splitlines()
        assert entries[0] == CRYPTTAB.splitlines()[3]
        assert [it.split()[0] for it in entries] == ["vault", "cr_root"]
        keys = [it.name for it in (root / "etc/cryptsetup-keys.d").iterdir()]
        assert keys == [f"luks-{odd.manifest['luks_uuid']}.key"]
        headers = [it.name for it in (root / "etc/cryptsetup-headers.d").iterdir()]
        assert headers == [f"luks-{odd.manifest['luks_uuid']}.header"]
        assert [it.name for it in (root / "etc/keys").iterdir()] == ["vault.key"]
        assert (root / "srv/vault.img").read_text() == "a container"
        assert not (root / "swapfile").exists()
        names = {it.name for it in (root / "boot").iterdir()}
        kernels = odd.manifest["audit"]["facts"]["kernels"]
        assert {it for it in names if it.startswith("initrd")} == {
            f"initrd.img-{it}" for it in kernels
        }
        config = (root / "boot/grub/grub.cfg").read_text()
    starts = [line.split() for line in config.splitlines() if line.split()[:1] == ["linux"]]
    assert {start[1].partition("vmlinuz-")[2] for start in starts} == set(kernels)
    # The newest is what is booted.
    assert SECOND not in starts[0][1]
    for start in starts:
        assert f"root={device}" in start
        assert not [word for word in start if word.startswith(("rd.lvm", "rootflags"))]
