# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What every initramfs that unlocks the root takes from it: the key file, crypttab and fstab.

The modules that use this run in the image. What a generator's own configuration says is theirs.
"""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _fstab
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.module_utils._files import Tree

# plugins/doc_fragments/_unlocked_root.py says what they are.
ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "luks_uuid": {"type": "str", "required": True},
    "root_uuid": {"type": "str", "required": True},
    "filesystem": {"type": "str", "default": "ext4"},
    "esp_label": {"type": "str", "default": "ESP"},
    "key_file": {"type": "path", "default": "/run/sealedroot/boot.key", "no_log": False},
}

# The root's line in crypttab(5) where systemd opens it. discard: as for initramfs-tools. x-initrd.attach: the disk is
# detached after everything else at shutdown. x-systemd.device-timeout: a confidential machine can start slowly, and
# after systemd's 90 seconds nothing would unlock the disk any more; dracut means to wait for ever (rd.timeout), but
# dracut-ng 106 says so when systemd waits already.
SYSTEMD_OPTIONS = "luks,discard,x-initrd.attach,x-systemd.device-timeout=0"

Params = t.Mapping[str, t.Any]
# Plans what a generator needs beside, and says which packages it misses.
Plan = t.Callable[[Tree, Params], t.List[str]]


def volume(luks_uuid: str) -> str:
    """Return the name by which systemd finds key and volume of a LUKS UUID (systemd-cryptsetup-generator(8))."""
    return f"luks-{luks_uuid}"


def key_path(luks_uuid: str) -> str:
    """Return where the boot key is in the image."""
    return f"{_fstab.KEY_DIRECTORY}/{volume(luks_uuid)}.key"


def ensure(
    params: Params, *, mapping: str, options: str, plan: Plan, root: str, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Put the key and both tables into the tree at *root*, with what *plan* adds, and say what changed.

    *options* are those of the root's line in crypttab(5).
    """
    tree = Tree(root)
    key = tree.read(params["key_file"])
    if not key:
        raise SealedRootError(f"the key file {params['key_file']} does not exist in the image")
    missing = plan(tree, params)
    if missing:
        raise SealedRootError(
            f"the root lacks {' and '.join(missing)}: install {' '.join(missing)} in it"
        )
    path = key_path(params["luks_uuid"])
    tree.write(path, key, mode=0o400, secret=True)
    table, old_disks = _fstab.crypttab(
        tree.text("/etc/crypttab"),
        name=mapping,
        luks_uuid=params["luks_uuid"],
        key_file=path,
        options=options,
        exists=tree.exists,
    )
    tree.write("/etc/crypttab", table)
    table, old_mounts = _fstab.fstab(
        tree.text("/etc/fstab"),
        root_uuid=params["root_uuid"],
        filesystem=params["filesystem"],
        esp_label=params["esp_label"],
        exists=tree.exists,
        mappings=[row[0] for row in _fstab.rows(table)],
    )
    tree.write("/etc/fstab", table)
    directory = tree.path(_fstab.KEY_DIRECTORY)
    closed = os.path.isdir(directory) and stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    outcome = {
        "changed": bool(tree.changed()) or not closed,
        "files": tree.changed(),
        "dropped": [*old_disks, *old_mounts],
        "diff": tree.diff(),
    }
    if not check_mode:
        tree.directory(_fstab.KEY_DIRECTORY, 0o700)
        # The mount point that the fstab names.
        os.makedirs(tree.path("/boot/efi"), exist_ok=True)
        tree.apply()
    return outcome


__all__ = ("ARGUMENTS", "SYSTEMD_OPTIONS", "ensure", "key_path", "volume")
