# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The sources of the core image, for the build and for a later grub-install on the machine."""

from __future__ import annotations

import functools
import glob
import io
import os
import tarfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import kernel_file, ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    embedded,
    esp_tree,
    launch_script,
    own_volume,
    tpm_program,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

CONFIG, MEMDISK, MODULES, STUB = "core.cfg", "memdisk.tar", "modules", "grub.cfg"
# This precedes the distribution's directories in the PATH of root and of package managers; no package uses it.
PROGRAMS = "/usr/local/sbin"
LAUNCH = f"{own_volume.SOURCES}/launch"


def memdisk(script: str, checksum: str = "") -> bytes:
    """Return a tar with the script that the core image runs, and the checksum that it compares, if any."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in ((embedded.MEMDISK_CONFIG, script), (own_volume.CHECKSUM, checksum)):
            if text:
                # The same files give the same bytes.
                member = tarfile.TarInfo(name)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode("ascii")))
    return packed.getvalue()


def read_memdisk(data: bytes, name: str = embedded.MEMDISK_CONFIG) -> str:
    """Return the script in a memdisk, or another file; empty if there is none."""
    try:
        # GRUB supports no compression here, and unpacking could fill the memory.
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            file = tar.extractfile(name)
            # A sparse file can be larger than the tar.
            return file.read(len(data)).decode("utf-8", "replace") if file else ""
    except (KeyError, ValueError, OverflowError, tarfile.TarError):
        return ""


def is_memdisk(data: bytes, scripts: t.Iterable[str], *, own: bool) -> bool:
    """Say whether a memdisk is one with one of these scripts, and with a checksum if its *own* volume is demanded.

    It is compared by bytes: of two files of one name, GRUB takes the first.
    """
    checksum = read_memdisk(data, own_volume.CHECKSUM) if own else ""
    if own and not own_volume.is_checksum(checksum):
        return False
    found = data.rstrip(b"\0")
    return any(found == memdisk(it, checksum).rstrip(b"\0") for it in scripts if it)


def plan(
    tree: Tree,
    *,
    directory: str,
    luks_uuid: str,
    debug_console: bool,
    platform: str,
    modules: t.Sequence[str],
    tool: str,
    on_esp: bool = True,
    mapping: str = "",
    sealed: bool = False,
) -> str:
    """Plan the sources of the core image in GRUB's *directory*, and the program *tool*; return their directory.

    Without *modules*, GRUB is the signed one, and the script is the stub that it reads from the ESP. If nothing is to
    be *on_esp*, the program leaves it empty. If it is *sealed*, the TPM gives the key of the root, which is open
    as *mapping*, and the program that seals it there is planned as well.
    """
    place = f"{directory}/{own_volume.SOURCES}"
    what: t.Dict[str, t.Any] = {
        "luks_uuid": luks_uuid,
        "directory": directory,
        "debug_console": debug_console,
    }
    files: t.Dict[str, t.Union[str, bytes]] = {STUB: cfg.stub(**what)}
    if modules:
        config, checksum = embedded.text(debug_console=debug_console), ""
        script = cfg.unlock_script(**what, ask=cfg.ASKS in modules, own=sealed)
        if sealed:
            config = tpm_program.config(luks_uuid=luks_uuid)
            checksum = own_checksum(tree, directory, place=place, script=script)
        files = sources(script, modules, config=config, checksum=checksum)
    for name, content in files.items() if on_esp else ():
        tree.write(f"{place}/{name}", content, mode=0o600)
    arch = next(it for it in architectures.ARCHITECTURES.values() if it.grub_platform == platform)
    make = _making(place, arch=arch, prefix=cfg.prefix(luks_uuid, directory), tool=tool)
    program = _program(place, arch=arch, tool=tool, make=make)
    if sealed:
        boot_file = arch.boot_file.rpartition("/")[2]
        made = f"{make} --output core.efi $(cat {place}/{MODULES})"
        sealing = tpm_program.text(mapping=mapping, boot_file=boot_file, tool=tool, make=made)
        tree.write(tpm_program.PROGRAM, sealing, mode=0o755)
        program += _SEAL_AGAIN
    tree.write(f"{PROGRAMS}/{tool}", program if on_esp else _NO_PROGRAM, mode=0o755)
    return place


def plan_launch(
    tree: Tree,
    *,
    directory: str,
    luks_uuid: str,
    modules: t.Sequence[str],
    area: ovmf.Area,
    prompt: bool,
) -> str:
    """Plan the sources of the core image that reads a launch secret from an *area*; return their directory."""
    place = f"{directory}/{LAUNCH}"
    script = launch_script.script(
        luks_uuid=luks_uuid,
        directory=directory,
        area=area,
        ask=cfg.ASKS in modules,
        prompt=prompt,
    )
    checksum = own_checksum(tree, directory, place=place, script=script)
    for name, content in sources(script, modules, checksum=checksum).items():
        tree.write(f"{place}/{name}", content, mode=0o600)
    return place


def own_checksum(tree: Tree, directory: str, *, place: str, script: str) -> str:
    """Return the checksum of the file by which GRUB knows this volume; plan one if there is none of this image.

    That of another image, which the root may come from, is no secret to whoever has that.
    """
    name = f"{directory}/{own_volume.SOURCES}/{own_volume.FILE}"
    content = tree.read(name) or b""
    checksum = own_volume.checksum(content)
    if tree.read(f"{place}/{MEMDISK}") != memdisk(script, checksum):
        content = os.urandom(own_volume.BYTES)
        checksum = own_volume.checksum(content)
    tree.write(name, content, mode=0o600, secret=True)
    return checksum


def sources(
    script: str,
    modules: t.Sequence[str],
    *,
    config: str = embedded.CONFIG,
    checksum: str = "",
) -> t.Dict[str, t.Union[str, bytes]]:
    """Return the files that a core image is made from."""
    return {
        CONFIG: config,
        MEMDISK: memdisk(script, checksum),
        MODULES: f"{' '.join(modules)}\n",
    }


def make_core(
    runner: Runner, *, core: str, platform: str, library: str, place: str, prefix: str
) -> bool:
    """Make the core image from the files in the directory *place*; return whether it has changed."""
    before = core_of(core)
    argv = [runner.find("grub-mkimage", "grub2-mkimage"), "--format", platform]
    argv += ["--directory", library, "--config", f"{place}/{CONFIG}"]
    # --memdisk sets a prefix of its own, so ours comes after it.
    argv += ["--memdisk", f"{place}/{MEMDISK}", "--prefix", prefix]
    listed = regular_file.demand(f"{place}/{MODULES}", most=regular_file.SMALL)
    names = listed.decode("utf-8", "surrogateescape").split()
    os.makedirs(os.path.dirname(core), exist_ok=True)
    runner.run([*argv, "--output", core, *names], timeout=120)
    return core_of(core) != before


def core_of(path: str) -> t.Optional[bytes]:
    """Return the core image; None if there is none."""
    try:
        return kernel_file.read(path, how=functools.partial(regular_file.read, follow=False))
    except FileNotFoundError:
        return None


def copy_modules(library: str, directory: str) -> bool:
    """Copy GRUB's loadable modules to the directory of its prefix; return whether any has changed."""
    sources = glob.glob(f"{library}/*.mod") + glob.glob(f"{library}/*.lst")
    os.makedirs(directory, exist_ok=True)
    files = {
        os.path.basename(it): regular_file.demand(it, most=regular_file.SMALL) for it in sources
    }
    return bool(esp_tree.write(directory, files))


def check_readable(runner: Runner, root_uuid: str) -> None:
    """Check that the image's own GRUB can read the root file system: otherwise it cannot boot from it.

    The builder's mkfs made the file system, and its newer features may be unknown to an older GRUB.
    """
    argv = [runner.find("grub-probe", "grub2-probe"), "--target=fs_uuid", "/"]
    found = runner.run(argv, check=False, timeout=60)
    if found.stdout.strip() != root_uuid:
        said = found.stderr.strip() or f"it found '{found.stdout.strip()}'"
        raise SealedRootError(
            f"the image's own GRUB cannot read the root file system, so the image would not boot ({said})."
            " Use a file system and features that this GRUB knows (image_filesystem_features)"
        )


_NO_PROGRAM = """\
# This machine is started from a core image that is not on its disk (sealedroot.image, image_unlock). GRUB's modules on
# the disk stay those of that core image.
echo 'nothing to install: the core image of this machine is not on its disk'
"""


# A package of GRUB is installed all the same: then the next start asks for the key.
_SEAL_AGAIN = f"""\
[ ! -e {tpm_program.KEPT} ] || {tpm_program.PROGRAM} ||
  echo 'The TPM will not give the key to the new GRUB: run the playbook enroll_tpm before the next start.' >&2
"""


def _making(place: str, *, arch: architectures.Architecture, prefix: str, tool: str) -> str:
    """Return the command that makes the core image, but for its output and modules."""
    mkimage = tool.replace("install", "mkimage")
    return f"""\
{mkimage} --format {arch.grub_platform} --config {place}/{CONFIG} --memdisk {place}/{MEMDISK} \\
    --prefix '{prefix}'"""


def _program(place: str, *, arch: architectures.Architecture, tool: str, make: str) -> str:
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
  {make} --output {place}/core.efi $(cat {place}/{MODULES})
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


__all__ = (
    "CONFIG",
    "LAUNCH",
    "MEMDISK",
    "MODULES",
    "PROGRAMS",
    "STUB",
    "check_readable",
    "copy_modules",
    "core_of",
    "is_memdisk",
    "make_core",
    "memdisk",
    "own_checksum",
    "plan",
    "plan_launch",
    "read_memdisk",
    "sources",
)
