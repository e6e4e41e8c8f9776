# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is inside the root file system of a closed image."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    checks,
    console as audit_console,
    systemd,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    fstab,
    host_agents,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Tree,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    script,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive,
    archive_keys,
    generators,
    kernel_words,
    mkinitcpio,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Where keys of other containers are, beside those that crypttab names.
KEY_DIRECTORIES = (fstab.KEY_DIRECTORY, "/etc/keys")
# What a machine makes for itself at first boot: in an image, every clone would have the same.
IDENTITY = (
    ("/etc/ssh", "ssh_host_*"),
    ("/var/lib/systemd", "random-seed"),
    ("/var/lib/systemd", "credential.secret"),
    ("/var/lib/dhcp", "*.lease*"),
    ("/var/lib/dhcpcd", "*.lease*"),
    ("/var/lib/dhcpcd", "duid"),
    ("/var/lib/NetworkManager", "secret_key"),
    ("/var/lib/NetworkManager", "*.lease"),
    ("/var/lib/cloud", "instance*"),
)
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# Where GRUB has its files; the second is Fedora's and SUSE's.
GRUB_DIRECTORIES = ("/boot/grub", "/boot/grub2")
_MENUS = tuple(f"{directory}/grub.cfg" for directory in GRUB_DIRECTORIES)
_INITRAMFS = re.compile(r"(?:initrd|initramfs)[.-].+")
_MOST_KEY = 8 << 20
_KERNEL = re.compile(r"vmlinu[xz]-(.+)")
_INSTALL_ITEMS = re.compile(
    r"^[ \t]*install_items(?P<more>\+?)=(?P<quote>[\"']?)(?P<items>[^\"'\n]*)(?P=quote)",
    re.MULTILINE,
)

Problems = t.List[str]


def filesystem(volume: Volume, *, root_uuid: t.Optional[str], words: t.Sequence[str]) -> Problems:
    """The file system is the one that is booted, was unmounted properly, and has no errors."""
    problems = []
    if root_uuid and volume.uuid != root_uuid:
        problems.append(f"the root file system has the UUID {volume.uuid}, not {root_uuid}")
    return [*problems, *volume.problems, *checks.builder_traces(volume.label, words)]


def menu(tree: Tree, config: str) -> str:
    """Return what GRUB makes its menu of: that of /boot/grub2, where the one in /boot/grub leads there.

    What boot loader entries add to it is written out in it.
    """
    config = tree.text("/boot/grub2/grub.cfg") or config
    directory = boot_entries.DIRECTORY
    names = [name for name in tree.entries(directory) if name.endswith(".conf")]
    entries = {name: tree.text(f"{directory}/{name}") or "" for name in names}
    return boot_entries.rendered(config, entries, _environment(tree))


def _environment(tree: Tree) -> t.Dict[str, str]:
    blocks = [tree.find(f"{grub}/grubenv") for grub in ("/boot/grub2", "/boot/grub")]
    block = next((node for node in blocks if node and node.is_file), None)
    return boot_entries.parse_env(tree.read(block)) if block else {}


def environment(tree: Tree) -> Problems:
    """The block that load_env reads, and any program of the guest writes, says nothing of where GRUB reads."""
    return [
        f"grubenv sets {name}: take it out with grub-editenv"
        for name in _environment(tree)
        if name in script.GUARDED
    ]


def scripts(tree: Tree, config: str, *, luks_uuid: str) -> t.Dict[str, str]:
    """Return what GRUB reads beside grub.cfg, as far as it is there, by its path: custom.cfg, and what that reads."""
    found: t.Dict[str, str] = {}
    texts = [config]
    while texts:
        text = texts.pop()
        for directory in GRUB_DIRECTORIES:
            for path in script.scripts(text, volume=cfg.volume(luks_uuid), directory=directory):
                part = None if path in (*found, *_MENUS) else tree.text(path)
                if part is not None:
                    found[path] = part
                    texts.append(part)
    return dict(sorted(found.items()))


def generator(tree: Tree) -> str:
    """Return what builds the initramfs of this root."""
    found = generators.active(lambda path: tree.find(f"/{path}") is not None)
    if not found:
        raise SealedRootError("the root has nothing that builds an initramfs")
    return found


def console(tree: Tree, config: str, parts: t.Mapping[str, str], units: systemd.Units) -> Problems:
    """Nobody at the console gets a shell: not of GRUB, not from a boot that fails, and no later one without a password.

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


def insists(tree: Tree, generator: str, luks_uuid: str) -> Problems:
    """Every initramfs that the root makes restarts the machine where the kernel lacks a word."""
    path = kernel_words.path(generator)
    node = tree.find(path)
    if tree.text(path) != kernel_words.text(generator, luks_uuid=luks_uuid):
        return [f"{path} is not what makes the initramfs insist on the words of the kernel"]
    return [] if node and node.mode & 0o100 else [f"{path} is no program: make its mode 0755"]


def agents(tree: Tree, allowed: t.Collection[str]) -> Problems:
    """No program does as root what the host says, but those that were asked for."""
    found = host_agents.units(lambda path: tree.find(path) is not None, allowed)
    return [
        f"{service} of {name} is on, so the host is root by it: mask it, or name {name} in image_host_agents"
        for name, services in found.items()
        for service in services
        if not systemd.is_masked(tree, f"{host_agents.OWN_DIRECTORY}/{service}")
    ]


def pinned(
    tree: Tree, header: t.Optional[Node], content: bytes, luks_uuid: str, on_disk: bytes
) -> Problems:
    """The pinned header is there, root's alone, and the one on the disk."""
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
    """Return where it is said how the root is opened: mkinitcpio has a crypttab(5) of its own for the initramfs."""
    return ["/etc/crypttab", *([mkinitcpio.CRYPTTAB] if generator == "mkinitcpio" else [])]


def opened_with(
    name: str, crypttab: t.Sequence[t.Sequence[str]], mapping: str, path: str
) -> Problems:
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
    names = (_KERNEL.fullmatch(name) for name in tree.entries("/boot"))
    return sorted(match.group(1) for match in names if match)


def initramfs(
    runner: Runner,
    tree: Tree,
    *,
    loaded: t.Sequence[str],
    boot_key: bytes,
    others: t.Mapping[str, bytes],
    header: archive_keys.JudgeHeader,
    files: t.Mapping[str, str],
) -> Problems:
    """Every initramfs is root's alone, and holds the boot key once, no other key, the pinned header and *files*.

    *loaded* are those that grub.cfg names.
    """
    problems = [
        f"grub.cfg loads {name}, which is not there" for name in loaded if not tree.find(name)
    ]
    images = {
        name: node
        for name, node in tree.entries("/boot").items()
        if _INITRAMFS.fullmatch(name) and node.is_file
    }
    if not images:
        problems.append("there is no initramfs in /boot")
    for name, node in images.items():
        if node.permissions != "0600" or node.uid != 0:
            problems.append(
                f"/boot/{name} has mode {node.permissions} and owner {node.uid}, not 0600 and root:"
                " set UMASK=0077 for it"
            )
        path = tree.dump(node, most=archive.MOST_BYTES)
        try:
            found = archive_keys.problems(
                runner, path, boot_key=boot_key, others=others, header=header, files=files
            )
        except SealedRootError as exc:
            found = [str(exc)]
        finally:
            _remove(path)
        problems += [f"/boot/{name}: {problem}" for problem in found]
    return problems


def _remove(path: str) -> None:
    directory, base = os.path.split(path)
    for name in os.listdir(directory):
        if name == base or name.startswith(f"{base}."):
            os.unlink(os.path.join(directory, name))


def key_files(
    tree: Tree, crypttab: t.Sequence[t.Sequence[str]], *, keys: t.Mapping[str, bytes]
) -> Problems:
    """The root's key file is root's alone and is the boot key, and stays so when the initramfs is rebuilt."""
    problems = []
    directory = tree.find(fstab.KEY_DIRECTORY)
    if directory and (directory.permissions, directory.uid) != ("0700", 0):
        problems.append(
            f"{fstab.KEY_DIRECTORY} has mode {directory.permissions}, not 0700 and root's"
        )
    paths = {f"{fstab.KEY_DIRECTORY}/{name}" for name in tree.entries(fstab.KEY_DIRECTORY)}
    paths |= {path for path in (fstab.path_of(row[2]) for row in crypttab if len(row) > 2) if path}
    paths -= other_keys(crypttab)
    if not paths:
        problems.append("there is no key file, so the initramfs cannot be rebuilt with one")
    for path in sorted(paths):
        node = tree.find(path)
        if node is None or not node.is_file:
            problems.append(f"the key file {path} is not there")
            continue
        if node.permissions not in ("0400", "0600") or node.uid != 0:
            problems.append(
                f"{path} has mode {node.permissions} and owner {node.uid}, not 0400 and root"
            )
        content = tree.read(node)
        others = [name for name, key in keys.items() if name != "boot key" and key in content]
        problems += [f"{path} holds the {name}" for name in others]
        if not others and content != keys["boot key"]:
            problems.append(f"{path} is not the boot key (a newline at its end counts)")
    options = (option for row in crypttab for option in "".join(row[3:4]).split(","))
    headers = {it[len("header=") :] for it in options if it.startswith("header=/")}
    return problems + _rebuilt(tree, sorted({*paths, *headers}))


def _rebuilt(tree: Tree, paths: t.Sequence[str]) -> Problems:
    """What the root's own generator is configured for keeps key and header in a later initramfs, and to root."""
    builds = generators.active(lambda path: tree.find(f"/{path}") is not None)
    if builds == "initramfs_tools":
        problems = []
        if umask(tree) not in ("0077", "077"):
            problems.append(
                "UMASK=0077 is not set in /etc/initramfs-tools/conf.d: a rebuild leaks the key"
            )
        hook = tree.find(pinned_header.HOOK)
        if hook is None or not hook.mode & 0o100:
            problems.append(
                f"{pinned_header.HOOK} is not there or is no program: a rebuild loses the header"
            )
        return problems
    if builds == "dracut":
        # Its umask is always 077 (dracut(8)), but it takes none by itself.
        patterns = installed(tree)
        return [
            f"install_items in /etc/dracut.conf.d does not have {path}: a rebuild loses it"
            for path in paths
            if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
        ]
    if builds == "mkinitcpio":
        have = mkinitcpio.NOTHING
        drop_ins = sorted(
            name for name in tree.entries(mkinitcpio.DROP_INS) if name.endswith(".conf")
        )
        for path in [mkinitcpio.CONF, *(f"{mkinitcpio.DROP_INS}/{name}" for name in drop_ins)]:
            have = mkinitcpio.arrays(tree.text(path) or "", have)
        # Its umask is always 077, as dracut's.
        lost = [path for path in paths if path not in have["FILES"]]
        return [f"FILES in {mkinitcpio.CONF} does not have {it}: a rebuild loses it" for it in lost]
    return []


def installed(tree: Tree) -> t.List[str]:
    """Return the files, or shell patterns, that dracut is told to install (dracut.conf(5))."""
    # A file in /etc hides one of the same name in /usr.
    files = {
        name: f"{top}/{name}"
        for top in ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
        for name in tree.entries(top)
        if name.endswith(".conf")
    }
    found: t.List[str] = []
    for path in ["/etc/dracut.conf", *(files[name] for name in sorted(files))]:
        for match in _INSTALL_ITEMS.finditer(tree.text(path) or ""):
            found = [*(found if match["more"] else []), *match["items"].split()]
    return found


def other_keys(crypttab: t.Sequence[t.Sequence[str]]) -> t.Set[str]:
    """Return the key files of what is not the root: containers in files, and disks that are opened on demand."""
    entries = [
        row
        for row in crypttab
        if fstab.is_opened_on_demand(row) or fstab.path_of("".join(row[1:2]))
    ]
    return {path for path in map(fstab.key_of, entries) if path}


def foreign_keys(
    tree: Tree, crypttab: t.Sequence[t.Sequence[str]], boot_key: bytes
) -> t.Dict[str, bytes]:
    """Return the keys in the root that no initramfs may hold, by what they are."""
    paths = {f"{top}/{name}" for top in KEY_DIRECTORIES for name in tree.entries(top)}
    named = other_keys(crypttab)
    found = {}
    for path in sorted(paths | named):
        node = tree.find(path)
        # What others may read is a certificate. Chance would find fewer bytes; more are no key file (cryptsetup(8)).
        if not (node and node.is_file and 8 <= node.size <= _MOST_KEY):
            continue
        if path in named or node.permissions.endswith("00"):
            key = tree.read(node, most=_MOST_KEY)
            if boot_key not in key and key not in boot_key:
                found[f"key in {path}"] = key
    return found


def umask(tree: Tree) -> t.Optional[str]:
    """Return the last UMASK that initramfs-tools reads."""
    top = "/etc/initramfs-tools"
    names = sorted(name for name in tree.entries(f"{top}/conf.d") if "~" not in name)
    value = None
    for path in [f"{top}/initramfs.conf", *(f"{top}/conf.d/{name}" for name in names)]:
        text = tree.text(path) or ""
        for match in re.finditer(r"^[ \t]*UMASK=['\"]?(\d+)", text, re.MULTILINE):
            value = match.group(1)
    return value


def identity(tree: Tree) -> Problems:
    """Nothing in the image is one machine's own, so that clones differ (TECH 6, row 12)."""
    problems = []
    for directory, pattern in IDENTITY:
        names = sorted(tree.entries(directory))
        found = fnmatch.filter(names, pattern)
        problems += [
            f"{directory}/{name} would be the same in every clone: remove it" for name in found
        ]
    for path in MACHINE_IDS:
        if not _is_reset(tree, tree.find(path)):
            problems.append(f"{path} is set, so every clone would be the same machine: empty it")
    return problems


def _is_reset(tree: Tree, node: t.Optional[Node]) -> bool:
    if node is None:
        return True
    return node.is_file and tree.read(node).strip() in (b"", b"uninitialized")


__all__ = (
    "GRUB_DIRECTORIES",
    "IDENTITY",
    "KEY_DIRECTORIES",
    "agents",
    "console",
    "environment",
    "filesystem",
    "foreign_keys",
    "generator",
    "identity",
    "initramfs",
    "insists",
    "installed",
    "kernels",
    "key_files",
    "menu",
    "opened_with",
    "other_keys",
    "pinned",
    "scripts",
    "tables",
    "umask",
)
