# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image does to itself in its life: its kernel is installed again in the guest, without a network."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

from guests import Guest


def _valid_until() -> str:
    """Return the option of apt for which this machine has a setting, if it has one."""
    name = "Acquire::Check-Valid-Until"
    asked = ["apt-config", "shell", "value", f"{name}/b"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return f"-o {name}=false" if "'false'" in said else ""


def valid_until() -> list[str]:
    """Return what lets mmdebstrap, too, take a mirror that is not kept up to date, if this machine takes one."""
    if not _valid_until():
        return []
    conf = '"$1/etc/apt/apt.conf.d/00test"'
    setup = f"echo 'Acquire::Check-Valid-Until \"false\";' >{conf}"
    return [f"--setup-hook={setup}", f"--customize-hook=rm {conf}"]


def mirror() -> list[str]:
    """Return the mirror of Debian that this machine uses, if it has one."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
    said = subprocess.run([*command, "Origin: Debian"], capture_output=True, text=True, check=False)
    return [site for site in said.stdout.split() if "security" not in site][:1]


def kernel_disk(tar: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Make a disk with the package of the kernel of a root tar."""
    root, packages = folder / "root", folder / "packages"
    root.mkdir()
    packages.mkdir()
    subprocess.run(["tar", "-C", root, "-xpf", tar], check=True)
    # In the source's own root, with its own apt, whatever distribution this machine is. As in a bootstrap, if this
    # machine takes a mirror that is not kept up to date, so does that.
    apt = f"apt-get -qq -o APT::Sandbox::User=root {_valid_until()}"
    command = (
        f"{apt} update && cd /mnt && {apt} download"
        " $(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'linux-image-[0-9]*' | sed -n 's/^ii //p')"
    )
    bwrap = [
        "bwrap",
        "--bind",
        str(root),
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/run",
    ]
    bwrap += ["--tmpfs", "/tmp", "--chmod", "1777", "/tmp", "--bind", str(packages), "/mnt"]
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        bwrap += ["--ro-bind", name, name]
    subprocess.run([*bwrap, "sh", "-c", command], check=True, timeout=600)
    shutil.rmtree(root)
    assert list(packages.glob("linux-image-*.deb"))
    disk = folder / "packages.img"
    subprocess.run(["truncate", "-s", "256M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-d", packages, disk], check=True)
    shutil.rmtree(packages)
    return disk


def reinstall_kernel(guest: Guest) -> None:
    """Install the kernel again from the second disk: its package rebuilds the initramfs and runs update-grub."""
    before = guest.run("sha256sum /boot/initrd.img-*")
    guest.run("mount -o ro /dev/vdb /mnt")
    guest.run("dpkg -i /mnt/linux-image-*.deb", timeout=1800)
    guest.run("umount /mnt")
    assert guest.run("sha256sum /boot/initrd.img-*") != before, "the initramfs is as it was"
    modes = guest.run("stat -c MODE=%a:%u /boot/initrd.img-*")
    assert set(re.findall(r"MODE=(\d+:\d+)", modes)) == {"600:0"}, modes
    guest.run("sync", timeout=120)


def renew_signed_chain(guest: Guest) -> None:
    """Run what an upgrade of the signed packages runs: GRUB's own installer writes the ESP."""
    guest.run("mount /boot/efi")
    for package in ("shim-signed", "grub-efi-amd64"):
        guest.run(f"DEBIAN_FRONTEND=noninteractive dpkg-reconfigure {package}", timeout=600)
    # shim would start this instead of GRUB, and it restarts a machine that has a TPM.
    guest.run("test -z \"$(find /boot/efi/EFI/BOOT -iname 'fb*')\"")
    for name in ("BOOT", "debian"):
        guest.run(f"grep 'cryptomount -u' /boot/efi/EFI/{name}/grub.cfg")
    guest.run("sync", timeout=120)
