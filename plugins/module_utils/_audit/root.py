# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Checks inside the root file system of a closed image."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    console as audit_console,
    launch as audit_launch,
    systemd,
)
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import Launched
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    fstab,
    host_agents,
    identity as etc_identity,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Tree,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    core_image,
    install,
    own_volume as grub_own_volume,
    script,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
    kernel_words,
    mkinitcpio_conf,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_MENUS = tuple(f"{directory}/grub.cfg" for directory in cfg.DIRECTORIES)


def filesystem(
    volume: Volume, *, root_uuid: t.Optional[str], words: t.Sequence[str]
) -> t.List[str]:
    """The file system is the one that is booted, was unmounted properly, and has no errors."""
    problems = []
    if root_uuid and volume.uuid != root_uuid:
        problems.append(f"the root file system has the UUID {volume.uuid}, not {root_uuid}")
    return [*problems, *volume.problems, *cfg.traces(volume.label, words)]


def menu(tree: Tree, config: str) -> str:
    """Return the grub.cfg of the menu: the one in /boot/grub2, if it exists, because /boot/grub then refers to it.

    Commands for its boot loader entries are appended, and entries that nobody can start are left out.
    """
    config = tree.text("/boot/grub2/grub.cfg") or config
    directory = boot_entries.DIRECTORY
    names = [name for name in tree.entries(directory) if name.endswith(".conf")]
    entries = {name: tree.text(f"{directory}/{name}") or "" for name in names}
    return script.without_isos(boot_entries.rendered(config, entries, _environment(tree)))


def _environment(tree: Tree) -> t.Dict[str, str]:
    blocks = [tree.find(f"{grub}/grubenv") for grub in reversed(cfg.DIRECTORIES)]
    block = next((node for node in blocks if node and node.is_file), None)
    return boot_entries.parse_env(tree.read(block)) if block else {}


def environment(tree: Tree) -> t.List[str]:
    """GRUB's environment block, which any program of the guest can write, does not change where GRUB reads."""
    return [
        f"grubenv sets {name}: take it out with grub-editenv"
        for name in _environment(tree)
        if name in script.GUARDED
    ]


def scripts(tree: Tree, config: str, *, luks_uuid: str) -> t.Dict[str, str]:
    """Return the scripts that grub.cfg reads, by path, as far as they exist: custom.cfg, and what it reads in turn."""
    parts: t.Dict[str, str] = {}
    texts = [config]
    while texts:
        text = texts.pop()
        for directory in cfg.DIRECTORIES:
            for path in script.scripts(text, volume=cfg.volume(luks_uuid), directory=directory):
                part = None if path in (*parts, *_MENUS) else tree.text(path)
                if part is not None:
                    parts[path] = script.without_isos(part)
                    texts.append(parts[path])
    return dict(sorted(parts.items()))


def launch_modules(tree: Tree, launched: Launched) -> t.List[str]:
    """The core image of a confidential guest has the modules that the root names for it, and what these need."""
    for directory in cfg.DIRECTORIES:
        names = tree.text(f"{directory}/{install.LAUNCH}/{install.MODULES}")
        needs = tree.text(f"{directory}/{architectures.X86_64.grub_platform}/moddep.lst")
        if names and needs:
            return audit_launch.surplus(launched, names.split(), needs)
    return ["the root does not say which GRUB modules launch/core.efi has: build the image again"]


def own_volume(tree: Tree, cores: t.Iterable[core_image.Core]) -> t.List[str]:
    """Each core image that knows its own volume knows this one."""
    place = f"{grub_own_volume.SOURCES}/{grub_own_volume.FILE}"
    files = [tree.content(f"{directory}/{place}") for directory in cfg.DIRECTORIES]
    known = [grub_own_volume.checksum(it) for it in files if it]
    wanted = {install.read_memdisk(it.memdisk, grub_own_volume.CHECKSUM) for it in cores} - {""}
    if wanted.issubset(known):
        return []
    return ["GRUB would not take this volume for its own, and halt: build the image again"]


def grub_code(tree: Tree, cores: t.Mapping[str, core_image.Core]) -> t.List[str]:
    """Each module in these core images, byte for byte, is a file of the root, from which it was made."""
    platforms = [it.grub_platform for it in architectures.ARCHITECTURES.values()]
    # Without the package of the modules, there is the copy of them that GRUB loads others from.
    for tops in (cfg.LIBRARIES, cfg.DIRECTORIES):
        directories = [f"{top}/{platform}" for top in tops for platform in platforms]
        tree.load(directories)
        found = {it: tree.entries(it) for it in directories}
        if any(found.values()):
            break
    names = {name for core in cores.values() for name, _body in core.code if name}
    places = {
        name: [f"{it}/{name}.mod" for it in found if f"{name}.mod" in found[it]] for name in names
    }
    tree.load(files=[path for paths in places.values() for path in paths])
    problems = []
    for image, core in cores.items():
        for name, body in core.code:
            files = [tree.content(path) or b"" for path in places.get(name, ())]
            shown = name or "without a name"
            if not files:
                problems.append(
                    f"the root has no file of the GRUB module {shown} in {image}, so it is not known what that does:"
                    " leave GRUB's modules in the root, and build the image again"
                )
            elif not any(core_image.is_of(body, file) for file in files):
                problems.append(
                    f"the GRUB module {shown} in {image} is not {' or '.join(places[name])} of the root: build the"
                    " image again"
                )
    return problems


def generator(tree: Tree) -> str:
    """Return the generator of this root's initramfs."""
    name = generators.active(lambda path: tree.find(f"/{path}") is not None)
    if not name:
        raise SealedRootError(
            f"the root has nothing that builds an initramfs: install one of {', '.join(generators.PROGRAMS)} in it"
        )
    return name


def console(
    tree: Tree, config: str, parts: t.Mapping[str, str], units: systemd.Units
) -> t.List[str]:
    """Nobody at the console gets a shell: not from GRUB, not from a failed boot, and not later without a password.

    *parts* are the scripts that *config* reads.
    """
    problems = [f"grub.cfg: {problem}" for problem in cfg.open_doors(config)]
    problems += [f"{name}: {it}" for name, text in parts.items() for it in cfg.doors_of_part(text)]
    if boot_entries.used(config):
        directory = boot_entries.DIRECTORY
        names = [name for name in tree.entries(directory) if name.endswith(".conf")]
        for name in names:
            entry = tree.text(f"{directory}/{name}") or ""
            if "--unrestricted" not in boot_entries.get(entry, "grub_arg"):
                problems.append(
                    f"{name} has no 'grub_arg --unrestricted': GRUB would ask for a password"
                )
    for path, text in emergency.FILES.items():
        if tree.text(path) != text:
            problems.append(f"{path} is not what makes a boot that fails end in a restart")
    if tree.text(cfg.MENU_SCRIPT) != cfg.MENU_SCRIPT_TEXT:
        problems.append(f"{cfg.MENU_SCRIPT} is not what closes GRUB when its menu is made again")
    return problems + audit_console.examine(tree, units)


def insists(tree: Tree, generator: str, luks_uuid: str) -> t.List[str]:
    """Every initramfs that the root makes restarts the machine if a required word of the kernel is missing."""
    path = kernel_words.path(generator)
    node = tree.find(path)
    if tree.text(path) != kernel_words.text(generator, luks_uuid=luks_uuid):
        return [f"{path} is not what makes the initramfs insist on the words of the kernel"]
    return [] if node and node.mode & 0o100 else [f"{path} is no program: make its mode 0755"]


def agents(tree: Tree, allowed: t.Collection[str]) -> t.List[str]:
    """No program that obeys the host runs as root, except those that were requested."""
    agents_found = host_agents.units(lambda path: tree.find(path) is not None, allowed)
    return [
        f"{service} of {name} is on, so the host is root by it: mask it, or name {name} in image_host_agents"
        for name, services in agents_found.items()
        for service in services
        if not systemd.is_masked(tree, f"{host_agents.OWN_DIRECTORY}/{service}")
    ]


def pinned(
    tree: Tree, header: t.Optional[Node], content: bytes, luks_uuid: str, on_disk: bytes
) -> t.List[str]:
    """The pinned header is in the root, only root can read it, and it is the one on the disk."""
    path = pinned_header.path(luks_uuid)
    if header is None or not header.is_file:
        return [f"{path} is not there, so the initramfs would open whatever header the host has"]
    problems = []
    directory = tree.find(pinned_header.DIRECTORY)
    if directory and (directory.permissions, directory.uid) != ("0700", 0):
        problems.append(f"{pinned_header.DIRECTORY} has mode {directory.permissions}, not 0700")
    if header.permissions not in ("0400", "0600") or header.uid != 0:
        problems.append(
            f"{path} has mode {header.permissions} and owner {header.uid}, not 0400 and root"
        )
    if not content or content != on_disk:
        problems.append(f"{path} is not the header of the disk: keys were changed in one of them")
    names = sorted(tree.entries(pinned_header.DIRECTORY))
    problems += [
        f"{pinned_header.DIRECTORY} has also {name}"
        for name in names
        if name != os.path.basename(path)
    ]
    return problems


def tables(generator: str) -> t.List[str]:
    """Return the crypttab files for the root: mkinitcpio has a separate crypttab(5) for the initramfs."""
    return ["/etc/crypttab", *([mkinitcpio_conf.CRYPTTAB] if generator == "mkinitcpio" else [])]


def opened_with(
    name: str, crypttab: t.Sequence[t.Sequence[str]], mapping: str, path: str
) -> t.List[str]:
    """The crypttab(5) of that *name* opens the root with the pinned header."""
    rows = [row for row in crypttab if row[0] == mapping]
    if not rows:
        return [f"{name} has no line for {mapping}"]
    return [
        f"{name} opens {mapping} with the header on the disk: add header={path}, and no other"
        for row in rows
        if fstab.headers(row) != [path]
    ]


def kernels(tree: Tree) -> t.List[str]:
    """Return the versions of the kernels in /boot."""
    return boot_files.kernels(tree.entries("/boot"))


def identity(tree: Tree) -> t.List[str]:
    """The image holds nothing that identifies one machine, so that clones differ."""
    problems = [
        f"{path} would be the same in every clone: remove it"
        for path in etc_identity.present(etc_identity.SHARED_BY_CLONES, tree.entries)
    ]
    for path in etc_identity.MACHINE_IDS:
        if not _is_reset(tree, tree.find(path)):
            problems.append(f"{path} is set, so every clone would be the same machine: empty it")
    return problems


def _is_reset(tree: Tree, node: t.Optional[Node]) -> bool:
    if node is None:
        return True
    return node.is_file and tree.read(node).strip() in (b"", b"uninitialized")


__all__ = (
    "agents",
    "console",
    "environment",
    "filesystem",
    "generator",
    "identity",
    "insists",
    "kernels",
    "launch_modules",
    "menu",
    "opened_with",
    "own_volume",
    "pinned",
    "scripts",
    "tables",
)
