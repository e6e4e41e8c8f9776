# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check that a closed image boots with the SELinux mode of its configuration and needs no relabelling."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import checks
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab, selinux
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node, Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files

# Security modules of which the kernel starts only one (LSM_FLAG_EXCLUSIVE in its security/).
EXCLUSIVE = ("apparmor", "selinux", "smack")
# Types in every policy made from the reference policy, such as Debian's and Fedora's.
TYPES = {"/etc/shadow": "shadow_t", "/sbin/init": "init_exec_t"}
_GRUB = ("grub", "grub2")


def examine(tree: Tree, grub_cfg: str, *, wanted: str) -> t.Tuple[t.List[str], str]:
    """Return what is wrong, and what was seen. *wanted* is what was asked for, as in ``image_selinux``."""
    if wanted == "off":
        return [], "not looked at, since it was not asked for"
    config = selinux.parse_config(tree.text(selinux.CONFIG) or "")
    policy = selinux.newest_policy(tree.entries(f"{config.directory}/policy"))
    if not policy:
        lack = f"there is no SELinux policy in {config.directory}/policy"
        return ([lack] if wanted != "auto" else []), lack
    if not config.active and wanted != "label":
        if wanted == "relabel_at_boot":
            return ["SELinux is not switched on, so no boot relabels"], ""
        return [], f"the policy '{config.type}' is not switched on"
    problems = flag(tree, wanted=wanted == "relabel_at_boot")
    if wanted != "relabel_at_boot":
        problems += labels(tree)
    if config.active:
        problems += command_lines(tree, grub_cfg, mode=config.mode)
    return (
        problems,
        f"labelled for the policy '{config.type}', {config.mode or 'undecided'} by its configuration",
    )


def flag(tree: Tree, *, wanted: bool) -> t.List[str]:
    """The image relabels itself at its first boot exactly if that was requested."""
    path = f"/{selinux.FLAG}"
    node = tree.find(path, follow=False)
    if not wanted:
        return [f"{path} is there: the first boot relabels, reboots and asks again"] if node else []
    if node is None or not node.is_file or tree.read(node) != selinux.FLAG_CONTENT:
        return [f"{path} is not there or does not say -F, so the first boot does not relabel"]
    return []


def labels(tree: Tree) -> t.List[str]:
    """What the boot needs has a label, and the right one where every policy has the same."""
    problems, without = [], []
    for path, node in sorted(_looked_at(tree).items()):
        label = tree.attribute(node, selinux.ATTRIBUTE)
        type_ = selinux.type_of((label or b"").rstrip(b"\0").decode("utf-8", "replace"))
        expected = TYPES.get(path)
        if not type_ or type_ in selinux.UNLABELLED:
            without.append(path)
        elif expected and type_ != expected:
            problems.append(f"{path} is labelled {type_}, not {expected}")
    if without:
        problems.append(
            f"{', '.join(without)} without an SELinux label: let the role selinux be the last that writes"
        )
    return problems


def _looked_at(tree: Tree) -> t.Dict[str, Node]:
    paths = ["/", "/etc", "/proc", "/dev", "/run", "/sys", "/etc/fstab", "/etc/passwd", *TYPES]
    paths += [fstab.KEY_DIRECTORY, "/boot", "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"]
    keys = tree.entries(fstab.KEY_DIRECTORY)
    paths += [f"{fstab.KEY_DIRECTORY}/{name}" for name in keys]
    paths += [
        f"/boot/{name}"
        for name in tree.entries("/boot")
        if name in _GRUB or boot_files.LOADED.fullmatch(name)
    ]
    nodes = {path: tree.find(path) for path in paths}
    return {path: node for path, node in nodes.items() if node}


def command_lines(tree: Tree, grub_cfg: str, *, mode: str) -> t.List[str]:
    """Every kernel that GRUB boots starts SELinux, in the mode of the configuration."""
    problems = set()
    for kernel, options in checks.kernel_lines(grub_cfg):
        words = options.split()
        for word in ("selinux=0", "enforcing=0"):
            if word in words and (mode == "enforcing" or word == "selinux=0"):
                problems.add(f"the command line has {word}, but {selinux.CONFIG} says {mode}")
        started = first_module(words, built_in(tree, kernel))
        if started not in ("selinux", ""):
            problems.add(
                f"{kernel} starts {started}, but {selinux.CONFIG} says {mode}: add security=selinux to the"
                " kernel command line"
            )
    return sorted(problems)


def built_in(tree: Tree, kernel: str) -> str:
    """Return the security modules that a kernel starts by default, CONFIG_LSM; empty if unknown."""
    version = kernel.rpartition("/")[2].partition("-")[2]
    text = tree.text(f"/boot/config-{version}") or ""
    match = re.search(r'^CONFIG_LSM="(.*)"$', text, re.MULTILINE)
    return match.group(1) if match else ""


def first_module(words: t.Sequence[str], by_itself: str) -> str:
    """Return the exclusive security module that is started; empty if unknown.

    ``lsm=`` replaces the kernel's default list, and ``security=`` counts only without it (the kernel's
    admin-guide/kernel-parameters); of repeated words the last one counts.
    """
    options = dict(word.split("=", 1) for word in words if word.startswith(("lsm=", "security=")))
    if "lsm" not in options and "security" in options:
        return options["security"]
    order = options.get("lsm", by_itself).split(",")
    return next((name for name in order if name in EXCLUSIVE), "none" if order != [""] else "")


__all__ = ("TYPES", "built_in", "command_lines", "examine", "first_module", "flag", "labels")
