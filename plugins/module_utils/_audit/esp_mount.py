# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find what a hook of the root put where a machine mounts its EFI system partition, which is not encrypted.

The image's own EFI system partition is not mounted while it is built, so such files are inside the encrypted root.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node, Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import pe
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive,
    boot_files,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import secret_search

# No boot loader is longer. What is, must be a kernel with its initramfs.
_MOST = 32 << 20
_CPIO = b"07070"
_SECTIONS = (".initrd", ".linux")


def examine(tree: Tree, secrets: t.Mapping[str, bytes]) -> t.List[str]:
    """Nothing below the mount point of the EFI system partition is a kernel, an initramfs, or holds a key."""
    problems = []
    for path, node in _files(tree, boot_files.ESP):
        what = _what(tree, path, node, secrets)
        if what:
            problems.append(
                f"{path} {what}: a hook of the root would copy it to the EFI system partition of a machine, which is"
                " not encrypted. Remove the hook"
            )
    return problems


def _files(tree: Tree, tops: t.Sequence[str]) -> t.Iterator[t.Tuple[str, Node]]:
    """Yield the regular files below the directories *tops*, with their paths."""
    left = [*tops]
    while left:
        top = left.pop()
        for name, node in sorted(tree.entries(top).items()):
            path = os.path.join(top, name)
            if node.is_directory:
                left.append(path)
            elif node.is_file:
                yield path, node


def _what(tree: Tree, path: str, node: Node, secrets: t.Mapping[str, bytes]) -> str:
    if boot_files.is_esp_payload(path) or node.size > _MOST:
        return "is a kernel or an initramfs"
    data = tree.read(node, most=_MOST)
    for label in secret_search.search_bytes(data, secrets):
        return f"holds the {label}"
    program = pe.parse(data)
    if program and set(_SECTIONS) & {*program.sections}:
        return "is a unified kernel image"
    if data.startswith((_CPIO, *(magic for magic, _tool, _ending in archive.COMPRESSIONS))):
        return "is an initramfs"
    return ""


__all__ = ("examine",)
