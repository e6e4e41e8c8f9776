#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_entries
short_description: Let every boot loader entry, today's and later ones, boot the encrypted root
version_added: 1.0.0
description:
  - Runs in the image, after M(sealedroot.image.grub_cryptodisk), whose C(/etc/default/grub) says what words
    each kernel gets.
  - Where C(grub.cfg) makes its menu of C(/boot/loader/entries) (Fedora, RHEL 8 and later), these are brought in
    order. Paths lead to C(/boot) inside the root, C(root=) is the UUID of the file system, and the words of an
    old machine's disks leave. An entry is named by no machine, since the image's machine ID is made at its
    first boot. Entries of kernels that are gone leave, and so do the rescue kernel and the kdump initramfs of
    the old machine, which hold no key. A kernel without an entry gets one.
  - Writes what the entries of later kernels are made of, C(/etc/kernel/cmdline), the name for them in
    C(/etc/machine-info), C(UPDATEDEFAULT) in C(/etc/sysconfig/kernel), and C(saved_entry) and C(kernelopts) in
    GRUB's environment block, which becomes a file of the root where it was a link to the EFI system partition
    (RHEL 8).
  - On SUSE, C(LOADER_TYPE) in C(/etc/sysconfig/bootloader) becomes V(grub2-efi), so that kernel updates
    renew C(grub.cfg).
  - Where GRUB's directory is C(/boot/grub2), C(/boot/grub/grub.cfg) leads there. Firmware with a GRUB of its
    own (AmdSev OVMF) looks for that.
  - Writes the files itself. C(grubby) changes neither paths nor names, and C(grub2-mkconfig
    --update-bls-cmdline) takes root= from the devices of the machine that it runs on.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  root_device:
    description: The device that the root is on in the machine, such as C(/dev/mapper/luks-UUID).
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Let every entry boot the root
  sealedroot.image.boot_entries:
    root_device: /dev/mapper/luks-7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
"""

RETURN = r"""
files:
  description: The files that were changed or removed.
  type: list
  elements: str
  returned: success
dropped:
  description: Entries that left, and rescue kernels.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    os_release,
    shell_defaults,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    defaults,
    script,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files, guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

CMDLINE = "/etc/kernel/cmdline"
MACHINE_INFO = "/etc/machine-info"
KERNEL = "/etc/sysconfig/kernel"
SUSE = "/etc/sysconfig/bootloader"
FORWARDER = "/boot/grub/grub.cfg"
FORWARDER_TEXT = """\
# For firmware that has a GRUB of its own, which looks here and keeps its modules elsewhere.
set prefix=($root)/boot/grub2
insmod boot
insmod loadenv
source $prefix/grub.cfg
"""
# GRUB environment variables that the old machine set for its next boot.
ONE_TIME_CHOICES = ("next_entry", "prev_saved_entry")


def directory(runner: Runner) -> str:
    """Return GRUB's directory, whose name follows the names of GRUB's tools."""
    name = os.path.basename(runner.find("grub-mkconfig", "grub2-mkconfig"))
    return "/boot/grub2" if name.startswith("grub2") else "/boot/grub"


def wanted_words(runner: Runner, tree: Tree) -> str:
    """Return the words that /etc/default/grub gives to every kernel."""
    mkconfig = os.path.basename(runner.find("grub-mkconfig", "grub2-mkconfig"))
    have = defaults.values(runner, tree, defaults.place(tree, mkconfig), ours=True)
    return " ".join(have[name] for name in defaults.CMDLINES if have[name])


def in_boot(tree: Tree, path: str) -> str:
    """Return the new place of *path* in an entry: /boot is a directory of the root now, and the root no subvolume."""
    if not path.startswith("/"):  # a variable such as $tuned_initrd
        return path
    inside = path if path.startswith("/boot/") else f"/boot{path}"
    flat = f"/boot/{os.path.basename(path)}"
    return flat if tree.exists(flat) and not tree.exists(inside) else inside


class Plan:
    """The changes to entries and environment block of a tree; nothing is changed before the tree's apply()."""

    def __init__(self, tree: Tree, runner: Runner, root_device: str, grub: str) -> None:
        self.tree, self.runner, self.root_device = tree, runner, root_device
        self.env_path = f"{grub}/grubenv"
        self.words = wanted_words(runner, tree)
        self.unwanted = guest.unwanted(self.words.split())
        self.dropped: t.List[str] = []
        self.entries: t.Dict[str, str] = {}
        self.names: t.Dict[str, str] = {}
        self.env = boot_entries.parse_env(tree.read(self.env_path) or b"")
        pattern = tree.path(f"{boot_entries.DIRECTORY}/*.conf")
        # Entries with this image's token come first, because an entry of another machine can get the same name.
        found = sorted(os.path.basename(path) for path in glob.glob(pattern))
        self.found = sorted(found, key=lambda name: name != boot_entries.own_name(name))

    def make(self) -> None:
        """Plan everything."""
        for name in self.found:
            self.entry(name)
        for version in self.kernels():
            self.missing(version)
        if not self.entries:
            raise SealedRootError(
                "there is no kernel in /boot for which an entry could be made: install one in the root"
            )
        # The old words can contain a password, so the diff does not show them.
        for name, text in self.entries.items():
            self.tree.write(f"{boot_entries.DIRECTORY}/{name}", text, secret=True)
        for name in self.found:
            if name not in self.entries:
                self.tree.remove(f"{boot_entries.DIRECTORY}/{name}")
        self.environment()
        self.updates()

    def entry(self, name: str) -> None:
        """Plan the change of an entry, or its removal."""
        text = self.tree.text(f"{boot_entries.DIRECTORY}/{name}")
        kernel = in_boot(self.tree, boot_entries.get(text, "linux"))
        new = boot_entries.own_name(name)
        gone = not self.tree.exists(kernel)
        if gone or boot_entries.is_rescue(name) or new in self.entries:
            self.dropped.append(name)
            return
        images = [in_boot(self.tree, it) for it in boot_entries.get(text, "initrd").split()]
        options = boot_entries.options_for(
            boot_entries.get(text, "options"),
            root_device=self.root_device,
            wanted=self.words,
            unwanted=self.unwanted,
        )
        fields = {
            "linux": kernel,
            "initrd": " ".join(images),
            "options": options,
            # GRUB must not ask for a password, because there is none.
            "grub_arg": "--unrestricted",
        }
        for key, value in fields.items():
            text = boot_entries.put(text, key, value)
        self.entries[new] = text
        self.names[name] = new

    def kernels(self) -> t.List[str]:
        """Return the versions of the kernels in /boot that have modules."""
        versions = boot_files.kernels(self.tree.names("/boot"))
        return [
            it
            for it in versions
            if self.tree.exists(f"/boot/vmlinuz-{it}")
            and self.tree.exists(f"/usr/lib/modules/{it}")
        ]

    def missing(self, version: str) -> None:
        """Plan the entry of a kernel that was installed when kernel-install could not create one."""
        kernel = f"/boot/vmlinuz-{version}"
        if any(boot_entries.get(text, "linux") == kernel for text in self.entries.values()):
            return
        release = os_release.parse_os_release(self.tree.text("/etc/os-release"))
        options = boot_entries.words_for(
            "", root_device=self.root_device, wanted=self.words, unwanted=self.unwanted
        )
        fields = {
            "title": f"{release.get('NAME', 'Linux')} ({version}) {release.get('VERSION', '')}".strip(),
            "version": version,
            "linux": kernel,
            "initrd": f"/boot/{boot_files.FEDORA.format(version)}",
            "options": options,
            "grub_users": "$grub_users",
            "grub_arg": "--unrestricted",
            "grub_class": release.get("ID", "linux"),
        }
        text = "".join(f"{key} {value}\n" for key, value in fields.items())
        self.entries[f"{boot_entries.TOKEN}-{version}.conf"] = text

    def environment(self) -> None:
        """Plan GRUB's environment block."""
        env = {name: value for name, value in self.env.items() if name not in ONE_TIME_CHOICES}
        saved = env.get("saved_entry", "")
        ids = {name[: -len(".conf")]: new[: -len(".conf")] for name, new in self.names.items()}
        titles = {boot_entries.get(text, "title") for text in self.entries.values()}
        if saved in ids:
            env["saved_entry"] = ids[saved]
        elif saved and saved not in titles and not saved.isdigit():
            # Without it GRUB boots the newest entry.
            del env["saved_entry"]
        uses = any("$kernelopts" in text for text in self.entries.values())
        if uses or "kernelopts" in env:
            env["kernelopts"] = boot_entries.words_for(
                env.get("kernelopts", ""),
                root_device=self.root_device,
                wanted=self.words,
                unwanted=self.unwanted,
            )
        if "blsdir" in env:
            argv = [self.runner.find("grub2-mkrelpath", "grub-mkrelpath"), boot_entries.DIRECTORY]
            if self.runner.run(argv, timeout=60).stdout.strip() != env["blsdir"]:
                del env["blsdir"]
        if env != self.env or os.path.islink(self.tree.path(self.env_path)):
            # GRUB cannot follow a symlink to another file system; it would find neither words nor default entry.
            block = boot_entries.format_env(env)
            self.tree.write(self.env_path, block, mode=0o600, secret=True, replace=True)

    def updates(self) -> None:
        """Plan the files from which the entry of a later kernel is made."""
        old = self.tree.text(CMDLINE)
        words = boot_entries.words_for(
            old,
            root_device=self.root_device,
            wanted=self.words,
            unwanted=self.unwanted,
        )
        self.tree.write(CMDLINE, f"{words}\n", secret=True)
        # So all entries sort by version, and kernel-install(8) finds the entry of a removed kernel.
        info = shell_defaults.assign(
            self.tree.text(MACHINE_INFO), "KERNEL_INSTALL_MACHINE_ID", boot_entries.TOKEN
        )
        self.tree.write(MACHINE_INFO, info)
        # systemd 239 of RHEL 8 ignores that file, so there a new kernel must become the default by name.
        text = self.tree.text(KERNEL)
        if "UPDATEDEFAULT" not in shell_defaults.values(text):
            self.tree.write(KERNEL, shell_defaults.assign(text, "UPDATEDEFAULT", "yes"))


def check(tree: Tree, plan: Plan, config: str, root_device: str) -> None:
    """Refuse entries that would not boot, read as GRUB will read them."""
    env = boot_entries.parse_env(tree.read(plan.env_path) or b"")
    text = boot_entries.rendered(config, plan.entries, env)
    menu = text[len(config) :]
    problems = cfg.check_menu(menu, root_device=root_device, words=plan.words.split())
    for names in script.loads(menu, script.INITRD):
        problems += [f"{name} is not there" for name in names if not tree.exists(name)]
    if problems:
        raise SealedRootError(
            f"the entries in {boot_entries.DIRECTORY} would not boot: {'; '.join(problems)}"
        )


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, root: str, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Adapt the boot loader entries and related files of the tree at *root*."""
    tree = Tree(root)
    grub = directory(runner)
    config = tree.text(f"{grub}/grub.cfg")
    dropped: t.List[str] = []
    if boot_entries.used(config):
        plan = Plan(tree, runner, params["root_device"], grub)
        plan.make()
        check(tree, plan, config, params["root_device"])
        dropped = plan.dropped
    for pattern in boot_files.MACHINE_SPECIFIC:
        for path in sorted(glob.glob(tree.path(f"/boot/{pattern}"))):
            dropped.append(f"/boot/{os.path.basename(path)}")
            tree.remove(dropped[-1])
    if tree.exists(SUSE):
        text = shell_defaults.assign(tree.text(SUSE), "LOADER_TYPE", "grub2-efi")
        tree.write(SUSE, text)
    if grub == "/boot/grub2" and not os.path.islink(tree.path(os.path.dirname(FORWARDER))):
        tree.write(FORWARDER, FORWARDER_TEXT)
    files, diff = tree.changed(), tree.diff()
    # If it were older than that of GRUB, kernel-install would run grub2-mkconfig (20-grub.install).
    stale = CMDLINE not in files and older(tree, CMDLINE, defaults.DEFAULTS)
    if not check_mode:
        tree.apply()
        if stale:
            os.utime(tree.path(CMDLINE))
    return {
        "changed": bool(files) or stale,
        "files": [*files, *([CMDLINE] if stale else [])],
        "dropped": dropped,
        "diff": diff,
    }


def older(tree: Tree, name: str, other: str) -> bool:
    """Say whether the file *name* exists and was written before *other*."""
    if not (tree.exists(name) and tree.exists(other)):
        return False
    return os.stat(tree.path(name)).st_mtime_ns < os.stat(tree.path(other)).st_mtime_ns


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"root_device": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    run(
        module,
        lambda: ensure(ModuleRunner(module), module.params, root="/", check_mode=module.check_mode),
    )


if __name__ == "__main__":
    main()
