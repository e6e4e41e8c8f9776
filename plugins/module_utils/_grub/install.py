# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The sources of the core image, for the build and for a later grub-install on the machine."""

from __future__ import annotations

import io
import tarfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures

CONFIG, MEMDISK, MODULES, STUB = "core.cfg", "memdisk.tar", "modules", "grub.cfg"
# This precedes the distribution's directories in the PATH of root and of package managers; no package uses it.
PROGRAMS = "/usr/local/sbin"


def memdisk(script: str) -> bytes:
    """Return a tar with the script that the core image runs; the same script gives the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(cfg.MEMDISK_CONFIG)
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script.encode("ascii")))
    return packed.getvalue()


def read_memdisk(data: bytes) -> str:
    """Return the script in a memdisk; empty if there is none."""
    try:
        # GRUB supports no compression here, and unpacking could fill the memory.
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            file = tar.extractfile(cfg.MEMDISK_CONFIG)
            # A sparse file can be larger than the tar.
            return file.read(len(data)).decode("utf-8", "replace") if file else ""
    except (KeyError, ValueError, OverflowError, tarfile.TarError):
        return ""


def plan(
    tree: Tree,
    *,
    directory: str,
    luks_uuid: str,
    debug_console: bool,
    platform: str,
    modules: t.Sequence[str],
    tool: str,
) -> str:
    """Plan the sources of the core image in GRUB's *directory*, and the program *tool*; return their directory.

    Without *modules*, GRUB is the signed one, and the script is the stub that it reads from the ESP.
    """
    place = f"{directory}/sealedroot"
    what: t.Dict[str, t.Any] = {
        "luks_uuid": luks_uuid,
        "directory": directory,
        "debug_console": debug_console,
    }
    files: t.Dict[str, t.Union[str, bytes]] = {STUB: cfg.stub(**what)}
    if modules:
        files = {
            CONFIG: cfg.EMBEDDED_CONFIG,
            MEMDISK: memdisk(cfg.unlock_script(**what, ask=cfg.ASKS in modules)),
            MODULES: f"{' '.join(modules)}\n",
        }
    for name, content in files.items():
        tree.write(f"{place}/{name}", content, mode=0o600)
    program = _program(place, platform=platform, prefix=cfg.prefix(luks_uuid, directory), tool=tool)
    tree.write(f"{PROGRAMS}/{tool}", program, mode=0o755)
    return place


def _program(place: str, *, platform: str, prefix: str, tool: str) -> str:
    arch = next(it for it in architectures.ARCHITECTURES.values() if it.grub_platform == platform)
    mkimage = tool.replace("install", "mkimage")
    return f"""\
#!/bin/sh
# {tool}(8) for this encrypted root. Its early stage would end in a shell that has the open disk; in its place comes
# one that restarts, made as {place} says.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for word; do
  case $word in --help | --usage | --version | -V | '-?') exec {tool} "$@" ;; esac
done
# The EFI system partition is mounted when it is needed.
if ! mountpoint -q /boot/efi; then
  mount /boot/efi
  trap 'umount /boot/efi' EXIT
fi
# The variables of the firmware are the host's, and switched off.
{tool} --no-nvram "$@"
if [ -e {place}/{MODULES} ]; then
  # shellcheck disable=SC2046 # a word for each module
  {mkimage} --format {platform} --config {place}/{CONFIG} --memdisk {place}/{MEMDISK} \\
    --prefix '{prefix}' --output {place}/core.efi $(cat {place}/{MODULES})
  for old in /boot/efi/EFI/BOOT/BOOT{arch.efi.upper()}.EFI /boot/efi/EFI/*/grub{arch.efi}.efi; do
    [ ! -e "$old" ] || cp {place}/core.efi "$old"
  done
  rm {place}/core.efi
else
  for old in /boot/efi/EFI/*/grub.cfg; do
    [ ! -e "$old" ] || cp {place}/{STUB} "$old"
  done
fi
sync -f /boot/efi
"""


__all__ = ("CONFIG", "MEMDISK", "MODULES", "PROGRAMS", "STUB", "memdisk", "plan", "read_memdisk")
