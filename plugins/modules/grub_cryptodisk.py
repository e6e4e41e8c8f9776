#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: grub_cryptodisk
short_description: Make a GRUB that unlocks the root by its LUKS UUID
description:
  - Runs in the image, with the image's own GRUB tools. Edits C(/etc/default/grub), writes C(grub.cfg), and
    makes a core image that asks for the key of the LUKS container, which the EFI system partition is to get.
  - C(grub-install) is not used, since it finds the encryption through device-mapper only and says nothing
    when it does not. It works in the booted machine, for which C(/etc/default/grub) is prepared.
  - Works with the names of Debian (C(grub-mkconfig), C(/boot/grub)) and of Fedora and SUSE
    (C(grub2-mkconfig), C(/boot/grub2)).
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
  luks_type:
    description: The LUKS version.
    type: str
    choices: [luks1, luks2]
    default: luks1
  hash:
    description: The hash of the LUKS header.
    type: str
    default: sha256
  filesystem:
    description: The type of the root file system.
    type: str
    default: ext4
  kernel_cmdline:
    description: Words for the kernel command line, merged into C(GRUB_CMDLINE_LINUX).
    type: str
    default: ""
  platform:
    description: The GRUB platform.
    type: str
    choices: [x86_64-efi, arm64-efi]
    default: x86_64-efi
  output_dir:
    description: Where the tree of the EFI system partition is made.
    type: path
    default: /run/sealedroot/esp
"""

EXAMPLES = r"""
- name: Make GRUB's configuration and core image
  sealedroot.image.grub_cryptodisk:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
    root_uuid: 0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10
    kernel_cmdline: console=ttyS0
"""

RETURN = r"""
core_image:
  description: The core image in the image.
  type: str
  returned: success
  sample: /run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _grub, _shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._files import Tree

DEFAULTS = "/etc/default/grub"
DROP_INS = "/etc/default/grub.d"
OWN_DROP_IN = f"{DROP_INS}/zz-sealedroot.cfg"


def settings(tree: Tree, kernel_cmdline: str) -> t.Dict[str, str]:
    """Return the settings that the image is to have."""
    have = _shell_defaults.values(tree.text(DEFAULTS))
    return {
        # Exactly y: grub-mkconfig takes nothing else (TECH 1.4).
        "GRUB_ENABLE_CRYPTODISK": "y",
        "GRUB_CMDLINE_LINUX": _shell_defaults.merge_words(
            have.get("GRUB_CMDLINE_LINUX", ""), kernel_cmdline
        ),
        # The firmware's console is on the serial line too; a graphical terminal would not be.
        "GRUB_TERMINAL": have.get("GRUB_TERMINAL", "console"),
        # Other systems would be looked for on the builder's disks.
        "GRUB_DISABLE_OS_PROBER": "true",
    }


def plan(tree: Tree, drop_ins: t.Mapping[str, str], kernel_cmdline: str) -> None:
    """Plan /etc/default/grub, and a drop-in where another one would have the last word."""
    wanted = settings(tree, kernel_cmdline)
    text = tree.text(DEFAULTS)
    for name, value in wanted.items():
        text = _shell_defaults.assign(text, name, value)
    tree.write(DEFAULTS, text)
    overridden: t.Dict[str, str] = {}
    for name in sorted(drop_ins):
        overridden.update(_shell_defaults.values(drop_ins[name]))
    own = {name: value for name, value in wanted.items() if name in overridden}
    if overridden.get("GRUB_FORCE_PARTUUID"):
        own["GRUB_FORCE_PARTUUID"] = ""  # another disk's partition
    if own:
        lines = "# Settings of the encrypted boot that other files here would override.\n"
        for name, value in own.items():
            lines = _shell_defaults.assign(lines, name, value)
        tree.write(OWN_DROP_IN, lines)


def make_core(
    runner: Runner, params: t.Mapping[str, t.Any], *, library: str, directory: str
) -> t.Tuple[str, bool]:
    """Make the core image in output_dir; return its path and whether it is new."""
    platform = _grub.PLATFORMS[params["platform"]]
    available = {os.path.basename(path)[: -len(".mod")] for path in glob.glob(f"{library}/*.mod")}
    names = _grub.modules(
        available,
        luks_type=params["luks_type"],
        hash_name=params["hash"],
        filesystem=params["filesystem"],
    )
    core = os.path.join(params["output_dir"], platform.efi_file)
    os.makedirs(os.path.dirname(core), exist_ok=True)
    early = os.path.join(os.path.dirname(params["output_dir"]), "early.cfg")
    with open(early, "w", encoding="ascii") as file:
        file.write(_grub.early_config(luks_uuid=params["luks_uuid"], directory=directory))
    before = None
    if os.path.exists(core):
        with open(core, "rb") as file:
            before = file.read()
    argv = [runner.find("grub-mkimage", "grub2-mkimage"), "--format", platform.name]
    argv += ["--directory", library, "--config", early, "--output", core]
    argv += ["--prefix", _grub.prefix(params["luks_uuid"], directory)]
    runner.run([*argv, *names], timeout=120)
    with open(core, "rb") as file:
        return core, file.read() != before


def copy_modules(library: str, directory: str) -> bool:
    """Copy GRUB's loadable modules to where its prefix leads; return whether any was new."""
    changed = False
    os.makedirs(directory, exist_ok=True)
    for source in glob.glob(f"{library}/*.mod") + glob.glob(f"{library}/*.lst"):
        target = os.path.join(directory, os.path.basename(source))
        if not os.path.exists(target) or os.path.getsize(target) != os.path.getsize(source):
            shutil.copyfile(source, target)
            changed = True
    return changed


def check_readable(runner: Runner, root_uuid: str) -> None:
    """Ask the image's GRUB for the root file system: what it cannot name, it cannot boot from.

    The file system was made by the builder's mkfs, whose newer features an older GRUB does not know.
    """
    argv = [runner.find("grub-probe", "grub2-probe"), "--target=fs_uuid", "/"]
    found = runner.run(argv, check=False, timeout=60)
    if found.stdout.strip() != root_uuid:
        said = found.stderr.strip() or f"it found '{found.stdout.strip()}'"
        raise SealedRootError(
            f"the image's own GRUB cannot read the root file system, so the image would not boot ({said})."
            " Use a file system and features that this GRUB knows (image_filesystem_features)"
        )


def make_config(runner: Runner, tree: Tree, params: t.Mapping[str, t.Any], path: str) -> bool:
    """Run grub-mkconfig and check what it wrote; return whether it differs from before."""
    before = tree.text(path)
    argv = [runner.find("grub-mkconfig", "grub2-mkconfig"), "--output", path]
    runner.run(argv, timeout=300)
    after = tree.text(path)
    problems = _grub.check_config(
        after, root_uuid=params["root_uuid"], words=params["kernel_cmdline"].split()
    )
    if problems:
        raise SealedRootError(
            f"grub-mkconfig wrote a {path} that would not boot: {'; '.join(problems)}. Look at"
            f" {DEFAULTS}, {DROP_INS} and /etc/grub.d in the root"
        )
    return after != before


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Configure GRUB in the running root."""
    tree = Tree("/")
    mkconfig = runner.find("grub-mkconfig", "grub2-mkconfig")
    directory = "/boot/grub2" if os.path.basename(mkconfig).startswith("grub2") else "/boot/grub"
    library = f"/usr/lib/grub/{params['platform']}"
    if not os.path.isdir(library):
        raise SealedRootError(
            f"the root lacks GRUB's modules in {library}: install grub-efi (Debian) or"
            " grub2-efi-x64-modules (Fedora) in it"
        )
    drop_ins = {
        path: tree.text(path) for path in glob.glob(f"{DROP_INS}/*.cfg") if path != OWN_DROP_IN
    }
    plan(tree, drop_ins, params["kernel_cmdline"])
    files, diff = tree.changed(), tree.diff()
    core = os.path.join(params["output_dir"], _grub.PLATFORMS[params["platform"]].efi_file)
    changed = bool(files)
    if not check_mode:
        check_readable(runner, params["root_uuid"])
        tree.apply()
        core, new_core = make_core(runner, params, library=library, directory=directory)
        copied = copy_modules(library, f"{directory}/{params['platform']}")
        config = f"{directory}/grub.cfg"
        configured = make_config(runner, Tree("/"), params, config)
        files = [*files, *([config] if configured else []), *([core] if new_core else [])]
        changed = bool(files) or copied
    return {"changed": changed, "core_image": core, "files": files, "diff": diff}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "luks_uuid": {"type": "str", "required": True},
            "root_uuid": {"type": "str", "required": True},
            "luks_type": {"type": "str", "choices": ["luks1", "luks2"], "default": "luks1"},
            "hash": {"type": "str", "default": "sha256"},
            "filesystem": {"type": "str", "default": "ext4"},
            "kernel_cmdline": {"type": "str", "default": ""},
            "platform": {
                "type": "str",
                "choices": ["x86_64-efi", "arm64-efi"],
                "default": "x86_64-efi",
            },
            "output_dir": {"type": "path", "default": "/run/sealedroot/esp"},
        },
        supports_check_mode=True,
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params, check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
