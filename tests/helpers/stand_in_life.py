# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of an image of a stand-in: built, audited, booted, given a newer kernel by its hooks, booted again."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import secrets
import shutil
import typing as t

import distribution_trees as trees
import stand_ins
from builds import PLAYBOOK, Place, held, playbook
from guests import CMDLINE, CPU, Guest, hashed, overlay

LIVED = "booted twice, with one question each"
TOKEN = "f" * 32


@dataclasses.dataclass
class Result:
    """What came of a stand-in, and what was seen of it."""

    name: str
    verdict: str = "not begun"
    built: bool = False
    audited: bool = False
    booted: int = 0
    seen: list[str] = dataclasses.field(default_factory=list)


def select(names: t.Sequence[str]) -> list[stand_ins.StandIn]:
    """Return the stand-ins of that names, all of them for none; an unknown name is an error."""
    known = {it.name: it for it in stand_ins.ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(
            f"no stand-in is called {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return [it for it in stand_ins.ALL if not names or it.name in names]


def summary(results: t.Sequence[Result]) -> str:
    """Return the line that says how it went."""
    built, audited = (sum(getattr(it, name) for it in results) for name in ("built", "audited"))
    return f"standins: {built} built, {audited} audited, {sum(it.booted for it in results)} booted"


def build(place: Place, roots: stand_ins.Roots, password: str) -> dict[str, t.Any]:
    """Build and audit an image as an operator would; return its manifest."""
    variables = place.variables(
        image_name="image",
        image_source={"type": "tar", "path": str(roots.tar)},
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    (place.path / "build.log").write_text(run.output)
    assert run.rc == 0, f"the build failed: {run.output[-3000:]}"
    manifest: dict[str, t.Any] = json.loads((place.out / "image" / "manifest.json").read_text())
    return manifest


def check_manifest(manifest: t.Mapping[str, t.Any], it: stand_ins.StandIn, version: str) -> None:
    """The image is of its family, and the packages are those of its own database."""
    number = re.match(r"[\d.]+", version)
    assert number
    wanted = [f"bash {stand_ins.BASH}-1 x86_64", f"{it.kernel_package} {number[0]}-1 x86_64"]
    assert sorted(manifest["packages"]) == wanted, manifest["packages"]
    checks = manifest["audit"]["checks"]
    bad = [check for check in checks if check["verdict"] == "failed"]
    assert checks, "nothing was audited"
    assert not bad, bad


def look(guest: Guest, it: stand_ins.StandIn, version: str) -> None:
    """The machine is what its root says, on the encrypted disk, with this kernel."""
    guest.run(f"test $(uname -r) = {version}")
    guest.run(f"(. /etc/os-release; test $ID = {ids(it)})")
    guest.run("cryptsetup status $(findmnt -no SOURCE /) | grep -q LUKS1")
    guest.run("systemctl is-active local-fs.target")
    guest.run(f"! grep -q {trees.OLD_ID} /etc/machine-id")


def ids(it: stand_ins.StandIn) -> str:
    """Return the ID of the distribution."""
    match = re.search(r'^ID="(.*)"$', it.tree.os_release, re.MULTILINE)
    assert match
    return match[1]


def update(guest: Guest, it: stand_ins.StandIn, version: str) -> None:
    """Install the newer kernel: the scripts of its package do the rest, and the next boot is of this kernel."""
    guest.run("mount -o ro /dev/vdb /mnt")
    guest.run("rpm --install /mnt/kernel.rpm", timeout=1800)
    guest.run("umount /mnt")
    if it.tree.family == "redhat":
        image = f"/boot/initramfs-{version}.img"
        entry = f"/boot/loader/entries/{TOKEN}-{version}.conf"
        guest.run(f"grep -x 'linux /boot/vmlinuz-{version}' {entry}")
        guest.run(f"grep -x 'initrd {image}' {entry}")
        guest.run(f"grep 'options root=/dev/mapper/luks-' {entry}")
        guest.run(f"grub2-editenv - list | grep -x saved_entry={TOKEN}-{version}")
    else:
        image = f"/boot/initrd-{version}"
        guest.run(f"grep -q {image} /boot/grub2/grub.cfg")
        guest.run(f"test $(readlink /boot/initrd) = initrd-{version}")
    guest.run(f"test $(stat -c %a:%u {image}) = 600:0")
    guest.run("sync", timeout=120)


def live(
    it: stand_ins.StandIn, roots: stand_ins.Roots, place: Place, password: str
) -> t.Iterator[str]:
    """Boot, update and boot again; say what was seen after each boot."""
    directory = place.out / "image"
    key = (directory / "boot.key").read_text()
    disk = stand_ins.kernel_disk(roots, place.path / "kernel.img")
    guest = Guest(
        overlay(directory / "disk.qcow2", place.path / "overlay.qcow2"),
        drives=[disk],
        # QEMU 7.2 leaves wrong flags behind cmpxchg16b: kernels 6.12 died of it in their allocator, with two
        # processors each time and with one at times. Without that instruction they do without it.
        more=("-cpu", f"{CPU},cx16=off"),
    )
    try:
        for version, verb in zip(roots.versions, ("booted", "booted again"), strict=True):
            asked, ready = guest.boot(key)
            guest.log_in(password)
            look(guest, it, version)
            yield f"{verb} {version}: asked once after {asked:.0f} s, login after {ready:.0f} s"
            if verb == "booted":
                update(guest, it, roots.versions[1])
                guest.console.send("systemctl reboot\r")
                guest.reset()
    finally:
        (place.path / "console.log").write_text(guest.log.getvalue())
        guest.end()


def play(it: stand_ins.StandIn, folder: pathlib.Path, keep: pathlib.Path) -> Result:
    """Do all of it; whatever goes wrong is the verdict, and its logs go to *keep*."""
    result, password = Result(it.name), secrets.token_hex(8)
    place = Place(folder)
    try:
        roots = stand_ins.made(it)
        manifest = build(place, roots, password)
        result.built = True
        check_manifest(manifest, it, roots.versions[0])
        result.audited = True
        result.seen.append(f"{len(manifest['audit']['checks'])} checks of the audit")
        for line in live(it, roots, place, password):
            result.booted += 1
            result.seen.append(line)
        result.verdict = LIVED
    except Exception as exc:  # the other one goes on
        result.verdict = (
            f"failed: {type(exc).__name__}: {str(exc).strip()[:3000] or 'for no reason'}"
        )
        keep.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, keep / f"{it.name}-{log.name}")
    left = held(folder)
    if left:
        result.verdict = f"failed: left on the builder: {', '.join(left)[:300]}"
    return result
