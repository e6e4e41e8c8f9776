# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Set up what every initramfs needs to unlock the root: key file, pinned header, crypttab and fstab.

This runs in the image. A generator's own configuration is in the file of that generator.
"""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    fstab,
    image_tables,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
    guest,
    kernel_words,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Options of the root's line in crypttab(5) for systemd. discard: as for initramfs-tools. x-initrd.attach: detach the
# disk last at shutdown. x-systemd.device-timeout: a confidential machine can start slowly, and after systemd's default
# of 90 seconds nothing would unlock the disk any more. dracut intends to wait forever (rd.timeout), but dracut-ng 106
# sets that only after systemd has started to wait.
SYSTEMD_OPTIONS = "luks,discard,x-initrd.attach,x-systemd.device-timeout=0"

Params = t.Mapping[str, t.Any]
Kernels = t.List[t.Dict[str, str]]


class Generator(t.NamedTuple):
    """What differs between initramfs generators.

    *options* are those of the root's line in crypttab(5). *plan* plans the other configuration and returns missing
    packages; *kernels* returns the initramfs of each kernel.
    """

    name: str
    options: str
    plan: t.Callable[[Tree, Params], t.List[str]]
    kernels: t.Callable[[Tree], Kernels]


def generator(root: str) -> str:
    """Return the generator that updates of the tree at *root* run."""
    tree = Tree(root)
    name = generators.active(lambda path: tree.exists(f"/{path}"))
    if not name:
        known = ", ".join(generators.PROGRAMS)
        raise SealedRootError(
            f"the root has nothing that builds an initramfs ({known}): install one in it"
        )
    return name


def kernels(tree: Tree, form: str, *, modules: bool = True, others: bool = False) -> Kernels:
    """Return the initramfs of each kernel in /boot, with the kernel's version; raise an error if there is no kernel.

    The name follows *form*; with *others*, an existing initramfs keeps its name. A kernel without *modules* is skipped.
    """
    names = tree.names("/boot")
    images = []
    for version in boot_files.kernels(names):
        if modules and not tree.exists(f"/lib/modules/{version}"):
            continue
        if not boot_files.VERSION.fullmatch(version):
            raise SealedRootError(
                f"the kernel '{version}' in /boot has a name that no kernel of a distribution has: rename or remove it"
            )
        mine = boot_files.initramfs(names, version) if others else []
        images += [
            {"version": version, "path": f"/boot/{name}"} for name in mine or [form.format(version)]
        ]
    if not images:
        what = " with its modules" if modules else ""
        raise SealedRootError(f"the root has no kernel in /boot{what}: install one in it")
    return images


def key_path(luks_uuid: str) -> str:
    """Return the path of the boot key in the image."""
    return fstab.key_path(guest.volume(luks_uuid))


def installed(name: str, params: Params) -> t.Tuple[str, ...]:
    """Return the files besides the key file that an initramfs with systemd copies from the root."""
    closed = () if params["debug_console"] else (kernel_words.path(name), *emergency.UNITS)
    return (pinned_header.path(params["luks_uuid"]), *closed)


def ensure(how: Generator, params: Params, *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Put the key, both tables and the generator's plan into the tree at *root*; return what changed."""
    luks_uuid, debug_console = params["luks_uuid"], params["debug_console"]
    tree = Tree(root)
    key = tree.read(params["key_file"])
    header = tree.read(params["header_file"], most=pinned_header.MOST)
    for name, data in (("key_file", key), ("header_file", header)):
        if not data:
            raise SealedRootError(f"{name} {params[name]} does not exist in the image")
    images = how.kernels(tree)
    missing = how.plan(tree, params)
    if missing:
        raise SealedRootError(
            f"the root lacks {' and '.join(missing)}: install {' '.join(missing)} in it"
        )
    path = key_path(luks_uuid)
    tree.write(path, key or b"", mode=0o400, secret=True)
    pinned = pinned_header.path(luks_uuid)
    tree.write(pinned, header or b"", mode=pinned_header.MODE, secret=True)
    emergency.plan(tree, debug_console=debug_console)
    kernel_words.plan(tree, how.name, luks_uuid=luks_uuid, debug_console=debug_console)
    # Both tables of the source can contain passwords, so the diff does not show them.
    table, old_disks = image_tables.crypttab(
        tree.text("/etc/crypttab"),
        name=guest.mapping(how.name, luks_uuid),
        luks_uuid=luks_uuid,
        key_file=path,
        options=f"{how.options},header={pinned}",
        exists=tree.exists,
    )
    tree.write("/etc/crypttab", table, secret=True)
    table, old_mounts = image_tables.fstab(
        tree.text("/etc/fstab"),
        device=guest.device(how.name, luks_uuid),
        filesystem=params["filesystem"],
        exists=tree.exists,
        crypttab=fstab.rows(table),
    )
    tree.write("/etc/fstab", table, secret=True)
    directories = (fstab.KEY_DIRECTORY, pinned_header.DIRECTORY)
    closed = all(_is_closed(tree.path(directory)) for directory in directories)
    outcome = {
        "changed": bool(tree.changed()) or not closed,
        "generator": how.name,
        "files": tree.changed(),
        "initramfs": images,
        "dropped": [*old_disks, *old_mounts],
        "diff": tree.diff(),
    }
    if not check_mode:
        for directory in directories:
            tree.directory(directory, 0o700)
        # fstab names this mount point.
        os.makedirs(tree.path("/boot/efi"), exist_ok=True)
        tree.apply()
    return outcome


def _is_closed(directory: str) -> bool:
    return os.path.isdir(directory) and stat.S_IMODE(os.stat(directory).st_mode) == 0o700


__all__ = (
    "SYSTEMD_OPTIONS",
    "Generator",
    "ensure",
    "generator",
    "installed",
    "kernels",
    "key_path",
)
