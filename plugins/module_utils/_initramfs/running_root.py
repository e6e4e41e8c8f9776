# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find the LUKS container of a running machine's root, and what unlocks it in the initramfs."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generator_commands,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

PARTIAL = "{}.new"


class Container(t.NamedTuple):
    """The LUKS container below the root, and its mapping name."""

    device: str
    mapping: str


def container(tree: t.Mapping[str, t.Any], source: str) -> Container:
    """Find the one container in the tree that ``lsblk --inverse --json`` prints for the root's device."""
    found: t.Dict[str, Container] = {}

    def visit(node: t.Mapping[str, t.Any]) -> None:
        below = node.get("children", [])
        if node["type"] == "crypt":
            for child in below:
                found[child["path"]] = Container(child["path"], node["name"])
        for child in below:
            visit(child)

    for node in tree["blockdevices"]:
        visit(node)
    if not found:
        raise SealedRootError(
            f"the root file system is on {source}, and there is no LUKS container below it: only a machine"
            " with an encrypted root has a boot key to rotate"
        )
    if len(found) > 1:
        raise SealedRootError(
            f"the root file system is on several LUKS containers ({', '.join(sorted(found))}): the key of"
            " each has to be exchanged by keyfile_rotate itself"
        )
    return next(iter(found.values()))


def _source(runner: Runner) -> str:
    """Return the source of the mount on /, which need not be a device."""
    argv = [
        runner.find("findmnt"),
        "--json",
        "--nofsroot",
        "--output",
        "SOURCE",
        "--mountpoint",
        "/",
    ]
    return str(json.loads(runner.run(argv, timeout=60).stdout)["filesystems"][0]["source"])


def is_on(runner: Runner, device: str) -> bool:
    """Say whether / is on a device, directly or through other layers."""
    source = _source(runner)
    if not source.startswith("/dev/"):
        return False
    argv = [runner.find("lsblk"), "--list", "--noheadings", "--inverse", "--output", "MAJ:MIN"]
    number = os.stat(device).st_rdev
    below = runner.run([*argv, source], timeout=60).stdout.split()
    return f"{os.major(number)}:{os.minor(number)}" in below


def find_container(runner: Runner) -> Container:
    """Find the container that / is on."""
    source = _source(runner)
    if not source.startswith("/dev/"):
        return container({"blockdevices": []}, source)
    argv = [runner.find("lsblk"), "--json", "--inverse", "--output", "NAME,TYPE,PATH", source]
    return container(json.loads(runner.run(argv, timeout=60).stdout), source)


class Unlock(t.NamedTuple):
    """The files that crypttab(5) names for the root: its key and its pinned header."""

    key_file: str
    header: str


def unlock(crypttab: str, mapping: str) -> Unlock:
    """Return the files that open a mapping; the caller must check that they exist.

    If no key is named, systemd since 246 uses the one with the mapping's name.
    """
    changed = "this is no image of this collection, or its crypttab was changed"
    rows = (line.split() for line in crypttab.splitlines() if not line.lstrip().startswith("#"))
    for name, *fields in filter(None, rows):
        if name != mapping or not fields:
            continue
        named = fields[1] if len(fields) > 1 else "-"
        if named in ("-", "none"):
            named = fstab.key_path(mapping)
        options = fields[2].split(",") if len(fields) > 2 else []
        headers = [it[len("header=") :] for it in options if it.startswith("header=/")]
        if not headers:
            raise SealedRootError(
                f"/etc/crypttab names no header file for {mapping}, so the header on the disk is believed, which"
                f" the host can change: {changed}"
            )
        if named.startswith("/"):
            return Unlock(named, headers[-1])
    raise SealedRootError(
        f"/etc/crypttab names no key file for {mapping}, so the initramfs does not unlock the root by one:"
        f" {changed}"
    )


def initramfs(boot: str) -> t.List[str]:
    """Return the initramfs of each kernel in the directory *boot*; raise an error if a kernel has none."""
    return [path for _version, path in _initramfs(boot)]


def _initramfs(boot: str) -> t.List[t.Tuple[str, str]]:
    names = set(os.listdir(boot))
    images = []
    for version in boot_files.kernels(names):
        mine = boot_files.initramfs(names, version)
        if not mine:
            raise SealedRootError(
                f"{boot}/vmlinuz-{version} has no initramfs beside it, so it cannot boot: build one, or"
                " remove that kernel"
            )
        images += [(version, os.path.join(boot, name)) for name in mine]
    if not images:
        raise SealedRootError(
            f"there is no kernel in {boot}: mount what the machine boots from there"
        )
    return images


class Rebuild(t.NamedTuple):
    """A command that makes initramfs; *path* is the file that its output replaces, if it writes a separate file."""

    argv: t.List[str]
    path: str = ""

    def run(self, runner: Runner, timeout: int) -> None:
        """Run the command; an old initramfs stays until its replacement is synced to the disk."""
        # Change to /: where SELinux confines the tool, it may not return to root's home directory, and fails.
        argv = ["env", "--chdir=/", *self.argv]
        if not self.path:
            runner.run(argv, timeout=timeout)
            return
        partial = PARTIAL.format(self.path)
        try:
            runner.run(argv, timeout=timeout)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.rename(partial, self.path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)


def rebuilds(runner: Runner, boot: str, modules: str, update_conf: str) -> t.List[Rebuild]:
    """Return the commands that rebuild every initramfs in *boot*; *modules* is the parent of the module directories.

    *update_conf* is the content of the file by which initramfs-tools can be told to rebuild nothing.
    """
    generator = runner.find(*generator_commands.TOOLS)
    name, *arguments = generator_commands.TOOLS[os.path.basename(generator)]
    if name == "update-initramfs" and not generator_commands.updates(update_conf):
        raise SealedRootError(
            f"{generator_commands.UPDATE_CONF} has update_initramfs=no, so update-initramfs would leave every initramfs"
            " as it is, without the new key: set it to yes"
        )
    if name != "dracut":
        return [Rebuild([runner.find(name), *arguments])]
    commands = []
    for version, path in _initramfs(boot):
        if not os.path.isdir(os.path.join(modules, version)):
            raise SealedRootError(
                f"the kernel of {path} has no modules in {modules}, so dracut cannot rebuild it, and it would keep"
                " the old key: remove that kernel (a rescue image, perhaps) and its initramfs"
            )
        commands.append(Rebuild([generator, *arguments, PARTIAL.format(path), version], path))
    return commands


__all__ = (
    "Container",
    "Rebuild",
    "Unlock",
    "container",
    "find_container",
    "initramfs",
    "is_on",
    "rebuilds",
    "unlock",
)
