# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What every initramfs that unlocks the root takes from it: key file, pinned header, crypttab and fstab.

The modules that use this run in the image. What a generator's own configuration says is theirs.
"""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency, fstab
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest, kernel_words
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# plugins/doc_fragments/_unlocked_root.py says what they are.
ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "luks_uuid": {"type": "str", "required": True},
    "filesystem": {"type": "str", "default": "ext4"},
    "esp_label": {"type": "str", "default": "ESP"},
    "key_file": {"type": "path", "default": "/run/sealedroot/boot.key", "no_log": False},
    "header_file": {"type": "path", "default": "/run/sealedroot/luks.header"},
    "debug_console": {"type": "bool", "default": False},
}

# The root's line in crypttab(5) where systemd opens it. discard: as for initramfs-tools. x-initrd.attach: the disk is
# detached after everything else at shutdown. x-systemd.device-timeout: a confidential machine can start slowly, and
# after systemd's 90 seconds nothing would unlock the disk any more; dracut means to wait for ever (rd.timeout), but
# dracut-ng 106 says so when systemd waits already.
SYSTEMD_OPTIONS = "luks,discard,x-initrd.attach,x-systemd.device-timeout=0"

Params = t.Mapping[str, t.Any]
# Plans what a generator needs beside, and says which packages it misses.
Plan = t.Callable[[Tree, Params], t.List[str]]


def key_path(luks_uuid: str) -> str:
    """Return where the boot key is in the image."""
    return f"{fstab.KEY_DIRECTORY}/{guest.volume(luks_uuid)}.key"


def installed(generator: str, params: Params) -> t.Tuple[str, ...]:
    """Return the files that an initramfs of systemd holds as they are in the root, beside the key file."""
    closed = () if params["debug_console"] else (kernel_words.path(generator), *emergency.UNITS)
    return (pinned_header.path(params["luks_uuid"]), *closed)


def ensure(
    generator: str,
    params: Params,
    *,
    mapping: str,
    options: str,
    plan: Plan,
    root: str,
    check_mode: bool,
) -> t.Dict[str, t.Any]:
    """Put the key and both tables into the tree at *root*, with what *plan* adds, and say what changed.

    *options* are those of the root's line in crypttab(5).
    """
    tree = Tree(root)
    key = tree.read(params["key_file"])
    header = tree.read(params["header_file"], most=pinned_header.MOST)
    for name, data in (("key_file", key), ("header_file", header)):
        if not data:
            raise SealedRootError(f"{name} {params[name]} does not exist in the image")
    missing = plan(tree, params)
    if missing:
        raise SealedRootError(
            f"the root lacks {' and '.join(missing)}: install {' '.join(missing)} in it"
        )
    path = key_path(params["luks_uuid"])
    tree.write(path, key or b"", mode=0o400, secret=True)
    pinned = pinned_header.path(params["luks_uuid"])
    tree.write(pinned, header or b"", mode=pinned_header.MODE, secret=True)
    luks_uuid, debug_console = params["luks_uuid"], params["debug_console"]
    emergency.plan(tree, debug_console=debug_console)
    kernel_words.plan(tree, generator, luks_uuid=luks_uuid, debug_console=debug_console)
    # Both tables can hold passwords of the source's, so what they were is not shown.
    table, old_disks = fstab.crypttab(
        tree.text("/etc/crypttab"),
        name=mapping,
        luks_uuid=params["luks_uuid"],
        key_file=path,
        options=f"{options},header={pinned}",
        exists=tree.exists,
    )
    tree.write("/etc/crypttab", table, secret=True)
    table, old_mounts = fstab.fstab(
        tree.text("/etc/fstab"),
        device=f"/dev/mapper/{mapping}",
        filesystem=params["filesystem"],
        esp_label=params["esp_label"],
        exists=tree.exists,
        crypttab=fstab.rows(table),
    )
    tree.write("/etc/fstab", table, secret=True)
    directories = (fstab.KEY_DIRECTORY, pinned_header.DIRECTORY)
    closed = all(_is_closed(tree.path(directory)) for directory in directories)
    outcome = {
        "changed": bool(tree.changed()) or not closed,
        "files": tree.changed(),
        "dropped": [*old_disks, *old_mounts],
        "diff": tree.diff(),
    }
    if not check_mode:
        for directory in directories:
            tree.directory(directory, 0o700)
        # The mount point that the fstab names.
        os.makedirs(tree.path("/boot/efi"), exist_ok=True)
        tree.apply()
    return outcome


def _is_closed(directory: str) -> bool:
    return os.path.isdir(directory) and stat.S_IMODE(os.stat(directory).st_mode) == 0o700


__all__ = ("ARGUMENTS", "SYSTEMD_OPTIONS", "ensure", "installed", "key_path")
