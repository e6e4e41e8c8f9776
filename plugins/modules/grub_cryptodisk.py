#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: grub_cryptodisk
short_description: Make a GRUB that unlocks the root by its LUKS UUID
version_added: 1.0.0
description:
  - Runs in the image, with the image's own GRUB tools. Writes settings that C(grub-mkconfig) reads last (a drop-in,
    or a block at the end of C(/etc/default/grub) where it reads none) and C(grub.cfg), and makes a core image that asks
    for the key of the LUKS container, which the EFI system partition is to get.
  - Whoever is at the console gets neither GRUB's editor nor its shell, whatever fails, unless O(debug_console) is set.
  - C(grub-install) is not used, since it finds the encryption through device-mapper only and says nothing
    when it does not. It works in the booted machine, for which these settings are made; a program of its name
    in C(/usr/local/sbin) then puts a core image of the same kind in the place of that of C(grub-install).
  - With O(secure_boot) the boot files are the image's own signed shim and GRUB, and a stub that asks for the key. GRUB
    under Secure Boot loads no module, so what the signed one lacks for this disk is an error.
  - Where the image has debconf, C(grub-efi) is told to renew the removable path at an upgrade and to ask nothing.
  - Works with the names of Debian (C(grub-mkconfig), C(/boot/grub)) and of Fedora and SUSE
    (C(grub2-mkconfig), C(/boot/grub2)).
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._filesystem
options:
  luks_uuid:
    description: The UUID of the LUKS header.
    type: str
    required: true
  root_uuid:
    description: The UUID of the root file system.
    type: str
    required: true
  root_device:
    description: The device that the root is on in the machine, such as C(/dev/mapper/cr_root).
    type: path
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
  kernel_cmdline:
    description: Words for the kernel command line, merged into C(GRUB_CMDLINE_LINUX).
    type: str
    default: ""
  debug_console:
    description: Whether GRUB's editor and shell are open, for development.
    type: bool
    default: false
  platform:
    description: The GRUB platform.
    type: str
    choices: [x86_64-efi, arm64-efi]
    default: x86_64-efi
  unlock:
    description:
      - The ways in which the key reaches GRUB. Without V(prompt), nothing is put on the EFI system partition.
      - With V(launch_secret), which needs O(secret_area) and O(launch_core), a core image that reads the key is made.
      - With V(tpm2), a TPM gives the key once it is sealed there, and else GRUB asks for it.
    type: list
    elements: str
    choices: [launch_secret, prompt, tpm2]
    default: [prompt]
  secret_area:
    description: The C(base) and the C(size) of the area of the firmware for a launch secret.
    type: dict
    suboptions:
      base:
        description: The address in the guest's memory.
        type: int
        required: true
      size:
        description: How many bytes it has.
        type: int
        required: true
  secure_boot:
    description:
      - Where the image has its signed boot files. When left out, an unsigned core image is made.
    type: dict
    suboptions:
      shim:
        description: The shim that Microsoft signed.
        type: path
        required: true
      grub:
        description: The GRUB that the distribution signed for installed systems.
        type: path
        required: true
      mok_manager:
        description: The program that enrols keys of the owner; left out or empty for none.
        type: path
  output_dir:
    description: Where the tree of the EFI system partition is made.
    type: path
    default: /run/sealedroot/esp
  launch_core:
    description: Where the core image for V(launch_secret) in O(unlock) is made, not in O(output_dir).
    type: path
"""

EXAMPLES = r"""
- name: Make GRUB's configuration and core image
  sealedroot.image.grub_cryptodisk:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
    root_uuid: 0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10
    root_device: /dev/mapper/cr_root
    kernel_cmdline: console=ttyS0
"""

RETURN = r"""
core_image:
  description: The core image in the image; with O(secure_boot) the signed GRUB; without V(prompt) O(launch_core).
  type: str
  returned: success
  sample: /run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI
dropped:
  description:
    - The names of the words of the old kernel command line that named disks of another machine, take what the host has,
      open its console, or contradict ours.
    - Not what came behind the C(=), which can be a secret.
  type: list
  elements: str
  returned: success
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    debconf,
    defaults,
    esp_tree,
    install,
    script as grub_script,
    signed_chain as grub_signed_chain,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

PLATFORMS = {it.grub_platform: it for it in architectures.ARCHITECTURES.values()}
# Each script only loads its module. A signed GRUB without that module prints "prohibited by secure boot policy" and
# waits.
LOADERS = {"/etc/grub.d/25_bli": "bli"}


def module_names(params: t.Mapping[str, t.Any], library: str, way: unlock_ways.Way) -> t.List[str]:
    """Return the modules of the core image of a way; a module that the image's GRUB lacks is an error."""
    if not os.path.isdir(library):
        raise SealedRootError(
            f"the root lacks GRUB's modules for {params['platform']}: install grub-efi (Debian),"
            f" grub2-efi-{PLATFORMS[params['platform']].efi}-modules (Fedora), grub2-{params['platform']} (SUSE)"
            " or grub (Arch) in it"
        )
    available = {os.path.basename(path)[: -len(".mod")] for path in glob.glob(f"{library}/*.mod")}
    return cfg.modules(
        available,
        luks_type=params["luks_type"],
        hash_name=params["hash"],
        filesystem=params["filesystem"],
        more=way.modules,
        left_out=way.left_out,
    )


def script_of(params: t.Mapping[str, t.Any], directory: str) -> t.Dict[str, t.Any]:
    """Return the parameters of the script that opens the volume."""
    return {**{key: params[key] for key in ("luks_uuid", "debug_console")}, "directory": directory}


def signed_chain(
    tree: Tree, params: t.Mapping[str, t.Any], directory: str
) -> t.Tuple[t.Dict[str, bytes], t.List[str]]:
    """Return the files of the ESP for Secure Boot, and the scripts that grub-mkconfig must not run then."""
    paths = {name: path for name, path in params["secure_boot"].items() if path}
    kernels = [f"/boot/{name}" for name in boot_files.kernel_files(tree.names("/boot"))]
    files, modules = grub_signed_chain.make(
        PLATFORMS[params["platform"]],
        {name: (path, tree.read(path, most=esp_tree.MOST) or b"") for name, path in paths.items()},
        kernels={name: tree.read(name, most=regular_file.LARGE) or b"" for name in kernels},
        header={key: params[key] for key in ("luks_type", "hash", "filesystem")},
        stub=cfg.stub(**script_of(params, directory)),
    )
    disabled = [
        script
        for script, module in LOADERS.items()
        if module not in modules and os.access(tree.path(script), os.X_OK)
    ]
    return files, disabled


def make_config(runner: Runner, tree: Tree, params: t.Mapping[str, t.Any], path: str) -> bool:
    """Run grub-mkconfig and check what it wrote; return whether it differs from before."""
    before = tree.text(path)
    argv = [runner.find("grub-mkconfig", "grub2-mkconfig"), "--output", tree.path(path)]
    runner.run(argv, timeout=300)
    after = cfg.unsearched(tree.text(path), luks_uuid=params["luks_uuid"])
    problems = cfg.check_config(
        grub_script.without_isos(after),
        words=params["kernel_cmdline"].split(),
        **{key: params[key] for key in ("root_device", "luks_uuid", "debug_console")},
    )
    if problems:
        raise SealedRootError(
            f"grub-mkconfig wrote a {path} that would not boot: {'; '.join(problems)}. Look at"
            f" {defaults.DEFAULTS}, its drop-ins and /etc/grub.d in the root"
        )
    tree.write(path, after)
    tree.apply()
    return after != before


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, root: str, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Configure GRUB in the running root."""
    unlock_ways.check(params)
    tree = Tree(root)
    mkconfig = runner.find("grub-mkconfig", "grub2-mkconfig")
    directory = "/boot/grub2" if os.path.basename(mkconfig).startswith("grub2") else "/boot/grub"
    libraries = [tree.path(f"{it}/{params['platform']}") for it in cfg.LIBRARIES]
    library = next(filter(os.path.isdir, libraries), libraries[0])
    arch = PLATFORMS[params["platform"]]
    signed: t.Dict[str, bytes] = {}
    disabled: t.List[str] = []
    names: t.List[str] = []
    prompts, sealed = "prompt" in params["unlock"], "tpm2" in params["unlock"]
    if params["secure_boot"]:
        signed, disabled = signed_chain(tree, params, directory)
        boot_file = grub_signed_chain.places(arch)["grub"]
    else:
        names = module_names(params, library, unlock_ways.TPM2 if sealed else unlock_ways.PROMPT)
        boot_file = arch.boot_file
    dropped = defaults.plan(
        runner,
        tree,
        mkconfig=os.path.basename(mkconfig),
        **{key: params[key] for key in ("kernel_cmdline", "root_device", "debug_console")},
    )
    sources = install.plan(
        tree,
        **script_of(params, directory),
        platform=params["platform"],
        modules=names,
        tool=os.path.basename(mkconfig).replace("mkconfig", "install"),
        on_esp=prompts,
        mapping=os.path.basename(params["root_device"]),
        sealed=sealed,
    )
    boot_entries.forget_blocks(tree, f"{directory}/grubenv")
    cores = {os.path.join(params["output_dir"], boot_file): sources} if prompts else {}
    if "launch_secret" in params["unlock"]:
        cores[params["launch_core"]] = install.plan_launch(
            tree,
            luks_uuid=params["luks_uuid"],
            directory=directory,
            modules=module_names(params, library, unlock_ways.LAUNCH_SECRET),
            area=ovmf.Area(**params["secret_area"]),
            prompt=prompts,
        )
    files, diff = [*tree.changed(), *disabled], tree.diff()
    package = debconf.package(arch.debian)
    answered = debconf.answers(runner, package)
    asks = answered != debconf.ANSWERS
    if asks:
        texts = {"before": debconf.text(answered), "after": debconf.text(debconf.ANSWERS)}
        diff.append({**texts, **dict.fromkeys(("before_header", "after_header"), package)})
    changed = bool(files) or asks
    if not check_mode:
        install.check_readable(runner, params["root_uuid"])
        tree.apply()
        if asks:
            selections = debconf.selections(package).encode("ascii")
            runner.run([runner.find("debconf-set-selections")], stdin=selections, timeout=60)
        for script in disabled:
            os.chmod(tree.path(script), 0o644)
        output_dir = tree.path(params["output_dir"])
        if signed:
            written = esp_tree.write(output_dir, signed)
            made = [os.path.join(params["output_dir"], name) for name in written]
        else:
            made = [
                core
                for core, place in cores.items()
                if install.make_core(
                    runner,
                    core=tree.path(core),
                    platform=params["platform"],
                    library=library,
                    place=tree.path(place),
                    prefix=cfg.prefix(params["luks_uuid"], directory),
                )
            ]
        os.makedirs(output_dir, exist_ok=True)
        esp_tree.keep_only(output_dir, signed or ({boot_file} if prompts else ()))
        copied = install.copy_modules(library, tree.path(f"{directory}/{params['platform']}"))
        config = f"{directory}/grub.cfg"
        configured = make_config(runner, Tree(root), params, config)
        files = [*files, *([config] if configured else []), *made]
        changed = bool(files) or copied or asks
    return {
        "changed": changed,
        "core_image": next(iter(cores)),
        "dropped": dropped,
        "files": files,
        "diff": diff,
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "luks_uuid": {"type": "str", "required": True},
            "root_uuid": {"type": "str", "required": True},
            "root_device": {"type": "path", "required": True},
            "luks_type": {"type": "str", "choices": ["luks1", "luks2"], "default": "luks1"},
            "hash": {"type": "str", "default": "sha256"},
            "filesystem": filesystems.ARGUMENT,
            "kernel_cmdline": {"type": "str", "default": ""},
            "debug_console": {"type": "bool", "default": False},
            "platform": {"type": "str", "choices": [*PLATFORMS], "default": "x86_64-efi"},
            "secure_boot": {
                "type": "dict",
                "options": {
                    "shim": {"type": "path", "required": True},
                    "grub": {"type": "path", "required": True},
                    "mok_manager": {"type": "path"},
                },
            },
            "unlock": {
                "type": "list",
                "elements": "str",
                "choices": sorted(unlock_ways.WAYS),
                "default": ["prompt"],
            },
            "secret_area": {
                "type": "dict",
                "no_log": False,
                "options": {
                    "base": {"type": "int", "required": True},
                    "size": {"type": "int", "required": True},
                },
            },
            "output_dir": {"type": "path", "default": "/run/sealedroot/esp"},
            "launch_core": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(
        module,
        lambda: ensure(ModuleRunner(module), module.params, root="/", check_mode=module.check_mode),
    )


if __name__ == "__main__":
    main()
