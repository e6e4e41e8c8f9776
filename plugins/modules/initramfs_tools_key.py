#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: initramfs_tools_key
short_description: Let an initramfs of initramfs-tools unlock the root without asking
description:
  - Runs in the image. Installs the boot key and configures C(cryptsetup-initramfs) so that every initramfs,
    the ones that later updates build too, holds the key and the pinned header and unlocks the root with them.
  - Writes C(crypttab) and C(fstab), from which an initramfs takes what the root is.
  - Builds no initramfs itself; that is C(update-initramfs).
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._unlocked_root
options:
  mapping:
    description: The name that the open root has in the running machine.
    type: str
    default: cr_root
"""

EXAMPLES = r"""
- name: Put the boot key where the initramfs takes it from
  sealedroot.image.initramfs_tools_key:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
"""

RETURN = r"""
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
dropped:
  description: Lines of the old crypttab and fstab that had to go, by their first two fields, each with the reason.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab, shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import unlocked_root
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

CONF_HOOK = "/etc/cryptsetup-initramfs/conf-hook"
# initramfs: the entry is taken without asking the kernel what / is made of, which a build cannot tell
# (docs/facts.md: initramfs-option). discard: blocks freed in the guest become free on the host again, as in the build.
OPTIONS = "luks,initramfs,discard"
CONF = "/etc/initramfs-tools/conf.d/sealedroot"
# MODULES: those of the running machine (dep) would be the builder's, and mkinitramfs fails on it.
# UMASK: the initramfs holds the key, so it is root's alone, also when an update rebuilds it.
# RESUME: another machine's swap would be waited for at boot.
CONF_TEXT = "MODULES=most\nUMASK=0077\nRESUME=none\n"
# The initramfs reads this file as well (initramfs-tools, init). The word on the command line says the same; that can be
# garbled on the disk, and this cannot without the compressed initramfs falling apart.
CLOSED_TEXT = "panic=5\n"
# cryptsetup-initramfs copies the key, but not the header that crypttab names (cryptsetup 2.6 to 2.8, hooks/cryptroot).
HEADER_HOOK_TEXT = f"""\
#!/bin/sh
# Puts the pinned LUKS header into the initramfs, which never reads the one on the disk.
set -e
if [ "$1" = prereqs ]; then
    exit 0
fi
mkdir -p "$DESTDIR{pinned_header.DIRECTORY}"
chmod 0700 "$DESTDIR{pinned_header.DIRECTORY}"
for header in {pinned_header.DIRECTORY}/*.header; do
    if [ ! -s "$header" ]; then
        echo "{pinned_header.DIRECTORY} has no LUKS header: the machine would not boot" >&2
        exit 1
    fi
    cp -p --sparse=always "$header" "$DESTDIR$header"
done
"""
PACKAGES = {
    "/usr/share/initramfs-tools/hooks/cryptroot": "cryptsetup-initramfs",
    "/usr/sbin/update-initramfs": "initramfs-tools",
}


def conf_hook(text: str) -> str:
    """Return conf-hook with the pattern that lets key files into the initramfs."""
    return shell_defaults.assign(text, "KEYFILE_PATTERN", f"{fstab.KEY_DIRECTORY}/*")


def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Plan the configuration of initramfs-tools; return the packages that are missing."""
    tree.write(CONF_HOOK, conf_hook(tree.text(CONF_HOOK)))
    tree.write(CONF, CONF_TEXT + ("" if params["debug_console"] else CLOSED_TEXT))
    tree.write(pinned_header.HOOK, HEADER_HOOK_TEXT, mode=0o755)
    # Read before ours; gone, since it names the swap of another machine.
    tree.remove("/etc/initramfs-tools/conf.d/resume")
    return [package for path, package in PACKAGES.items() if not tree.exists(path)]


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""
    return unlocked_root.ensure(
        "initramfs_tools",
        params,
        mapping=params["mapping"],
        options=OPTIONS,
        plan=plan,
        root=root,
        check_mode=check_mode,
    )


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **unlocked_root.ARGUMENTS,
            "mapping": {"type": "str", "default": "cr_root"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
