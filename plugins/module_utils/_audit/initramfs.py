# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Checks of each initramfs in the image, and of the configuration from which the image builds later ones."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins, fstab
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Tree,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive,
    archive_keys,
    boot_files,
    generator_commands,
    generators,
    mkinitcpio_conf,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Directories with keys of other containers, besides the keys that crypttab names.
KEY_DIRECTORIES = (fstab.KEY_DIRECTORY, "/etc/keys")


_MOST_KEY = 8 << 20


_INSTALL_ITEMS = re.compile(
    r"^[ \t]*install_items(?P<more>\+?)=(?P<quote>[\"']?)(?P<items>[^\"'\n]*)(?P=quote)",
    re.MULTILINE,
)


def initramfs(
    runner: Runner,
    tree: Tree,
    *,
    loaded: t.Sequence[str],
    boot_key: bytes,
    others: t.Mapping[str, bytes],
    header: archive_keys.JudgeHeader,
    files: t.Mapping[str, str],
) -> t.List[str]:
    """Only root can read an initramfs. It holds the boot key once, no other key, the pinned header and *files*.

    *loaded* are those that grub.cfg names.
    """
    problems = [
        f"grub.cfg loads {name}, which is not there" for name in loaded if not tree.find(name)
    ]
    images = {
        name: node
        for name, node in tree.entries("/boot").items()
        if boot_files.INITRAMFS.fullmatch(name) and node.is_file
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
            image_problems = archive_keys.problems(
                runner, path, boot_key=boot_key, others=others, header=header, files=files
            )
        except SealedRootError as exc:
            image_problems = [str(exc)]
        finally:
            _remove(path)
        problems += [f"/boot/{name}: {problem}" for problem in image_problems]
    return problems


def _remove(path: str) -> None:
    directory, base = os.path.split(path)
    for name in os.listdir(directory):
        if name == base or name.startswith(f"{base}."):
            os.unlink(os.path.join(directory, name))


def key_files(
    tree: Tree, crypttab: t.Sequence[t.Sequence[str]], *, keys: t.Mapping[str, bytes]
) -> t.List[str]:
    """The root's key file is the boot key, only root can read it, and that stays so when the initramfs is rebuilt."""
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


def _rebuilt(tree: Tree, paths: t.Sequence[str]) -> t.List[str]:
    """The root's generator is configured to put key and header into later initramfs files that only root can read."""
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
        if not generator_commands.updates(tree.text(generator_commands.UPDATE_CONF) or ""):
            problems.append(
                f"update_initramfs=no is set in {generator_commands.UPDATE_CONF}: no update, and no new key, gets into"
                " an initramfs"
            )
        return problems
    if builds == "dracut":
        # Its umask is always 077 (dracut(8)), but it does not include the key by itself.
        patterns = installed(tree)
        return [
            f"install_items in /etc/dracut.conf.d does not have {path}: a rebuild loses it"
            for path in paths
            if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
        ]
    if builds == "mkinitcpio":
        have = mkinitcpio_conf.NOTHING
        names = [name for name in tree.entries(mkinitcpio_conf.DROP_INS) if name.endswith(".conf")]
        for path in [
            mkinitcpio_conf.CONF,
            *(
                f"{mkinitcpio_conf.DROP_INS}/{name}"
                for name in sorted(names, key=drop_ins.version_key)
            ),
        ]:
            have = mkinitcpio_conf.arrays(tree.text(path) or "", have)
        # Its umask is always 077, like dracut's.
        lost = [path for path in paths if path not in have["FILES"]]
        return [
            f"FILES in {mkinitcpio_conf.CONF} does not have {it}: a rebuild loses it" for it in lost
        ]
    return []


def installed(tree: Tree) -> t.List[str]:
    """Return the files, or shell patterns, that dracut is configured to install (dracut.conf(5))."""
    # A file in /etc overrides one of the same name in /usr.
    files = {
        name: f"{top}/{name}"
        for top in ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
        for name in tree.entries(top)
        if name.endswith(".conf")
    }
    found: t.List[str] = []
    for path in [
        "/etc/dracut.conf",
        *(files[name] for name in sorted(files, key=drop_ins.version_key)),
    ]:
        for match in _INSTALL_ITEMS.finditer(tree.text(path) or ""):
            found = [*(found if match["more"] else []), *match["items"].split()]
    return found


def other_keys(crypttab: t.Sequence[t.Sequence[str]]) -> t.Set[str]:
    """Return the key files of containers other than the root: those in files, and those opened on demand."""
    entries = [
        row
        for row in crypttab
        if fstab.is_opened_on_demand(row) or fstab.path_of("".join(row[1:2]))
    ]
    return {path for path in map(fstab.key_of, entries) if path}


def foreign_keys(
    tree: Tree, crypttab: t.Sequence[t.Sequence[str]], boot_key: bytes
) -> t.Dict[str, bytes]:
    """Return the keys in the root that no initramfs may hold, by description."""
    paths = {f"{top}/{name}" for top in KEY_DIRECTORIES for name in tree.entries(top)}
    named = other_keys(crypttab)
    keys = {}
    for path in sorted(paths | named):
        node = tree.find(path)
        # Others may read certificates, but no key. Short keys match by chance; long files are not keys (cryptsetup(8)).
        if not (node and node.is_file and 8 <= node.size <= _MOST_KEY):
            continue
        if path in named or node.permissions.endswith("00"):
            key = tree.read(node, most=_MOST_KEY)
            if boot_key not in key and key not in boot_key:
                keys[f"key in {path}"] = key
    return keys


def umask(tree: Tree) -> t.Optional[str]:
    """Return the last UMASK that initramfs-tools reads (mkinitramfs)."""
    top, hooks = "/etc/initramfs-tools", "/usr/share/initramfs-tools/conf-hooks.d"
    names = sorted(name for name in tree.entries(f"{top}/conf.d") if "~" not in name)
    paths = [f"{top}/initramfs.conf", *(f"{top}/conf.d/{name}" for name in names)]
    paths += [f"{hooks}/{name}" for name in sorted(tree.entries(hooks))]
    tree.load(files=paths)
    value = None
    for path in paths:
        text = tree.text(path) or ""
        for match in re.finditer(r"^[ \t]*UMASK=['\"]?(\d+)", text, re.MULTILINE):
            value = match.group(1)
    return value


__all__ = (
    "KEY_DIRECTORIES",
    "foreign_keys",
    "initramfs",
    "installed",
    "key_files",
    "other_keys",
    "umask",
)
