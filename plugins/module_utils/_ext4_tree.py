# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The files of an ext4 file system that is not mounted, through debugfs(8).

No name of the image is ever part of a command.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _image_tree
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    CommandError,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._image_tree import Node, Volume

ROOT_INODE = 2
_ROW = re.compile(r"/(\d+)/([0-7]{6})/(\d+)/(\d+)/(.*)/(\d*)/")
_MOUNTED_ON = ("<not available>", "/", "/sysroot", "/root")


def parse_directory(text: str) -> t.Dict[str, Node]:
    """Parse ``ls -p`` of debugfs: ``/inode/mode/uid/gid/name/size/`` in each line."""
    found = {}
    for line in text.splitlines():
        if not line:
            continue
        match = _ROW.fullmatch(line)
        if not match:
            # A name with a newline could pass itself off as another entry.
            raise SealedRootError(f"a directory of the image has an unreadable entry: {line!r}")
        inode, mode, uid, _gid, name, size = match.groups()
        if int(inode) and name not in (".", ".."):
            found[name] = Node(int(inode), int(mode, 8), int(uid), int(size or 0))
    return found


def parse_superblock(text: str) -> t.Dict[str, str]:
    """Parse ``show_super_stats -h`` of debugfs into its fields."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def superblock_problems(superblock: t.Mapping[str, str]) -> t.List[str]:
    """Say why the file system is not as it is after a proper unmount in an image."""
    problems = []
    if superblock.get("Filesystem state") != "clean":
        problems.append(f"the root file system is {superblock.get('Filesystem state', 'damaged')}")
    if "needs_recovery" in superblock.get("Filesystem features", "").split():
        problems.append("its journal was not replayed, which GRUB cannot do: unmount it first")
    mounted = superblock.get("Last mounted on", "<not available>")
    if mounted not in _MOUNTED_ON:
        problems.append(
            f"the superblock names the builder's directory {mounted}: unmount it and run tune2fs -M / on it"
        )
    return problems


class Tree(_image_tree.Tree):
    """Reads ext4."""

    root = ROOT_INODE

    def _ask(self, request: str) -> str:
        argv = [self._runner.find("debugfs"), "-R", request, self._device]
        result = self._runner.run(argv, timeout=120)
        # debugfs exits with 0 whatever happens; the first line of stderr is its version.
        complaints = result.stderr.strip().splitlines()[1:]
        if complaints:
            raise CommandError(argv, result)
        return result.stdout

    def volume(self) -> Volume:
        superblock = parse_superblock(self._ask("show_super_stats -h"))
        problems = superblock_problems(superblock)
        argv = [self._runner.find("e2fsck"), "-f", "-n", self._device]
        check = self._runner.run(argv, check=False, timeout=600)
        if check.rc != 0:
            problems.append(f"e2fsck finds errors (exit status {check.rc}) in the root file system")
        return Volume(
            "ext4",
            superblock.get("Filesystem UUID", ""),
            superblock.get("Filesystem volume name", ""),
            tuple(problems),
        )

    def _read_directory(self, inode: int) -> t.Dict[str, Node]:
        return parse_directory(self._ask(f"ls -p <{inode}>"))

    def _read_link(self, node: Node) -> str:
        if node.size >= 60:  # longer ones are in a block of their own
            return self.read(node).decode("utf-8", "surrogateescape")
        said = self._ask(f"stat <{node.inode}>")
        match = re.search(r'^Fast link dest: "(.*)"$', said, re.MULTILINE | re.DOTALL)
        return match.group(1) if match else ""

    def dump(self, node: Node) -> str:
        path = os.path.join(self._work_dir, f"inode-{node.inode}")
        self._ask(f"dump <{node.inode}> {path}")
        return path

    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        path = os.path.join(self._work_dir, f"inode-{node.inode}.attribute")
        try:
            self._ask(f"ea_get -f {path} <{node.inode}> {name}")
            with open(path, "rb") as handle:
                return handle.read()
        except CommandError as exc:
            if "attribute key not found" in exc.result.stderr:
                return None
            raise
        finally:
            if os.path.exists(path):
                os.unlink(path)


__all__ = ("ROOT_INODE", "Tree", "parse_directory", "parse_superblock", "superblock_problems")
