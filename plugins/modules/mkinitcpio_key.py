#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mkinitcpio_key
short_description: Let an initramfs of mkinitcpio unlock the root without asking
version_added: 1.0.0
description:
  - Runs in the image. Installs the boot key and configures C(mkinitcpio) so that every initramfs, the ones that
    later updates build too, holds the key and unlocks the root with it.
  - C(HOOKS) gets C(sd-encrypt) where it has C(systemd), and C(encrypt) where it has not. It loses
    C(autodetect), which would leave drivers out that the machine that builds does not need.
  - C(sd-encrypt) finds the root in C(/etc/crypttab.initramfs); C(encrypt) takes it from the kernel command line,
    which RV(kernel_cmdline) is for.
  - Builds no initramfs itself; that is C(mkinitcpio).
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  luks_uuid:
    description: The UUID of the LUKS header.
    type: str
    required: true
  root_uuid:
    description: The UUID of the root file system.
    type: str
    required: true
  filesystem:
    description: The type of the root file system.
    type: str
    default: ext4
  esp_label:
    description: The label of the EFI system partition.
    type: str
    default: ESP
  mapping:
    description: The name that the open root has in the running machine.
    type: str
    default: cr_root
  key_file:
    description: The boot key.
    type: path
    default: /run/sealedroot/boot.key
"""

EXAMPLES = r"""
- name: Put the boot key where the initramfs takes it from
  sealedroot.image.mkinitcpio_key:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
    root_uuid: 0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10
"""

RETURN = r"""
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
dropped:
  description: Lines of the old crypttab and fstab that named disks of another machine.
  type: list
  elements: str
  returned: success
kernel_cmdline:
  description: The words for the kernel command line with which the hook C(encrypt) finds the root and the key.
  type: str
  returned: success
  sample: cryptdevice=UUID=7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11:cr_root:allow-discards
"""

import glob
import os
import re
import shlex
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _fstab
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.module_utils._files import Tree

KEY_DIRECTORY = "/etc/cryptsetup-keys.d"
CONF = "/etc/mkinitcpio.conf"
DROP_INS = "/etc/mkinitcpio.conf.d"
OWN_DROP_IN = f"{DROP_INS}/zz-sealedroot.conf"
INITRAMFS_TABLE = "/etc/crypttab.initramfs"
HOOKS = ("/usr/lib/initcpio/install", "/etc/initcpio/install")
_ARRAY = re.compile(
    r"^[ \t]*(HOOKS|FILES)(\+?=)(\((.*?)\)|[\"'](.*?)[\"'])", re.MULTILINE | re.DOTALL
)


def arrays(text: str, have: t.Mapping[str, t.Sequence[str]]) -> t.Dict[str, t.List[str]]:
    """Return HOOKS and FILES as bash has them after *text*; before it they were *have*."""
    found = {name: list(words) for name, words in have.items()}
    for name, operator, _value, array, string in _ARRAY.findall(text):
        words = shlex.split(array, comments=True) if array else string.split()
        found[name] = [*found[name], *words] if operator == "+=" else words
    return found


def assign(text: str, name: str, words: t.Sequence[str]) -> str:
    """Return a configuration with the array *name* set: in its place, or at the end where it is built piecewise."""
    if arrays(text, {"HOOKS": [], "FILES": []})[name] == list(words):
        return text
    line = f"{name}=({' '.join(shlex.quote(word) for word in words)})"
    places = [match for match in _ARRAY.finditer(text) if match.group(1) == name]
    if len(places) == 1 and places[0].group(2) == "=":
        return text[: places[0].start()] + line + text[places[0].end() :]
    end = "" if text.endswith("\n") or not text else "\n"
    return f"{text}{end}{line}\n"


def hooks(words: t.Sequence[str]) -> t.List[str]:
    """Return the hooks that unlock the root, before its file system is mounted and after its disk is found."""
    unlock = "sd-encrypt" if "systemd" in words else "encrypt"
    kept = [word for word in words if word not in ("autodetect", "encrypt", "sd-encrypt")]
    if "filesystems" not in kept:
        kept.append("filesystems")
    place = kept.index("filesystems")
    before = kept[:place]
    if "block" not in before:
        before.append("block")
    return [*before, unlock, *(word for word in kept[place:] if word != "block")]


def wanted(have: t.Mapping[str, t.Sequence[str]], key: str) -> t.Dict[str, t.List[str]]:
    """Return HOOKS and FILES as they must be."""
    files = [*have["FILES"], *([] if key in have["FILES"] else [key])]
    return {"HOOKS": hooks(have["HOOKS"]), "FILES": files}


def configure(tree: Tree, key: str) -> t.List[str]:
    """Plan mkinitcpio.conf, and a drop-in where another one would have the last word; return the hooks."""
    nothing: t.Dict[str, t.List[str]] = {"HOOKS": [], "FILES": []}
    text = tree.text(CONF)
    have = arrays(text, nothing)
    for name, words in wanted(have, key).items():
        text = assign(text, name, words)
    tree.write(CONF, text)
    have = wanted(have, key)
    paths = glob.glob(tree.path(f"{DROP_INS}/*.conf"))
    for name in sorted(os.path.basename(path) for path in paths):
        if f"{DROP_INS}/{name}" != OWN_DROP_IN:
            have = arrays(tree.text(f"{DROP_INS}/{name}"), have)
    want = wanted(have, key)
    if want != have:
        lines = [assign("", name, words) for name, words in want.items()]
        comment = "# Settings of the encrypted root that other files here would override.\n"
        tree.write(OWN_DROP_IN, comment + "".join(lines))
    return want["HOOKS"]


def plan(tree: Tree, params: t.Mapping[str, t.Any], key: bytes) -> t.List[str]:
    """Plan every change; return the lines of the old tables that had to go."""
    if not tree.exists("/usr/bin/mkinitcpio"):
        raise SealedRootError("the root lacks mkinitcpio: install mkinitcpio in it")
    path = f"{KEY_DIRECTORY}/luks-{params['luks_uuid']}.key"
    unlock = next(it for it in configure(tree, path) if it in ("encrypt", "sd-encrypt"))
    if not any(tree.exists(f"{it}/{unlock}") for it in HOOKS):
        raise SealedRootError(
            f"the root's mkinitcpio has no hook {unlock}: install mkinitcpio and cryptsetup in it"
        )
    tree.write(path, key, mode=0o400, secret=True)
    table, _old = _fstab.crypttab(
        "",
        name=params["mapping"],
        luks_uuid=params["luks_uuid"],
        key_file=path,
        options="luks,discard",
    )
    tree.write(INITRAMFS_TABLE, table)
    # x-initrd.attach: it is open when the system starts, and stays until its end (crypttab(5)).
    table, old_disks = _fstab.crypttab(
        tree.text("/etc/crypttab"),
        name=params["mapping"],
        luks_uuid=params["luks_uuid"],
        key_file=path,
        options="luks,discard,x-initrd.attach",
    )
    tree.write("/etc/crypttab", table)
    table, old_mounts = _fstab.fstab(
        tree.text("/etc/fstab"),
        root_uuid=params["root_uuid"],
        filesystem=params["filesystem"],
        esp_label=params["esp_label"],
    )
    tree.write("/etc/fstab", table)
    return [*old_disks, *old_mounts]


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""
    tree = Tree(root)
    key = tree.read(params["key_file"])
    if not key:
        raise SealedRootError(f"the key file {params['key_file']} does not exist in the image")
    dropped = plan(tree, params, key)
    directory = tree.path(KEY_DIRECTORY)
    closed = os.path.isdir(directory) and stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    outcome = {
        "changed": bool(tree.changed()) or not closed,
        "files": tree.changed(),
        "dropped": dropped,
        "diff": tree.diff(),
        "kernel_cmdline": (
            f"cryptdevice=UUID={params['luks_uuid']}:{params['mapping']}:allow-discards"
            f" cryptkey=rootfs:{KEY_DIRECTORY}/luks-{params['luks_uuid']}.key"
        ),
    }
    if not check_mode:
        tree.directory(KEY_DIRECTORY, 0o700)
        # The mount point that the fstab names.
        os.makedirs(tree.path("/boot/efi"), exist_ok=True)
        tree.apply()
    return outcome


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "luks_uuid": {"type": "str", "required": True},
            "root_uuid": {"type": "str", "required": True},
            "filesystem": {"type": "str", "default": "ext4"},
            "esp_label": {"type": "str", "default": "ESP"},
            "mapping": {"type": "str", "default": "cr_root"},
            "key_file": {"type": "path", "default": "/run/sealedroot/boot.key", "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        outcome = ensure(module.params, root="/", check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
