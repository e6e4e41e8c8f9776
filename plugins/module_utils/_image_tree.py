# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The files of an ext4 file system that is not mounted, through debugfs(8).

Paths are walked here, inode by inode, so a symbolic link leads to a file of the image and never to one
of this machine, and no name of the image is ever part of a command.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    CommandError,
    Runner,
    SealedRootError,
)

ROOT_INODE = 2
_MOST_LINKS = 20
_ROW = re.compile(r"/(\d+)/([0-7]{6})/(\d+)/(\d+)/(.*)/(\d*)/")


@dataclasses.dataclass(frozen=True)
class Node:
    """One directory entry."""

    inode: int
    mode: int
    uid: int
    size: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def permissions(self) -> str:
        """The mode as it is written: ``0600``."""
        return f"{stat.S_IMODE(self.mode):04o}"


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


class Tree:
    """Reads files of the file system in *device*; copies go to *work_dir*, which must be private."""

    def __init__(self, runner: Runner, device: str, work_dir: str) -> None:
        self._runner = runner
        self._device = device
        self._work_dir = work_dir
        self._directories: t.Dict[int, t.Dict[str, Node]] = {}

    def _ask(self, request: str) -> str:
        argv = [self._runner.find("debugfs"), "-R", request, self._device]
        result = self._runner.run(argv, timeout=120)
        # debugfs exits with 0 whatever happens; the first line of stderr is its version.
        complaints = result.stderr.strip().splitlines()[1:]
        if complaints:
            raise CommandError(argv, result)
        return result.stdout

    def superblock(self) -> t.Dict[str, str]:
        """Return the fields of the superblock."""
        return parse_superblock(self._ask("show_super_stats -h"))

    def _list(self, inode: int) -> t.Dict[str, Node]:
        if inode not in self._directories:
            self._directories[inode] = parse_directory(self._ask(f"ls -p <{inode}>"))
        return self._directories[inode]

    def find(self, path: str, *, follow: bool = True) -> t.Optional[Node]:
        """Return the entry at *path*, or None; the last symbolic link is followed if *follow*."""
        names = [name for name in path.split("/") if name not in ("", ".")]
        trail = [Node(ROOT_INODE, stat.S_IFDIR | 0o755, 0, 0)]
        links = 0
        while names:
            name = names.pop(0)
            if name == "..":
                trail = trail[:-1] or trail
                continue
            if not trail[-1].is_directory:
                return None
            node = self._list(trail[-1].inode).get(name)
            if node is None:
                return None
            if node.is_link and (names or follow):
                links += 1
                if links > _MOST_LINKS:
                    return None
                target = self.link_target(node)
                if target.startswith("/"):
                    trail = trail[:1]
                names = [part for part in target.split("/") if part not in ("", ".")] + names
                continue
            trail.append(node)
        return trail[-1]

    def entries(self, path: str) -> t.Dict[str, Node]:
        """Return the entries of the directory at *path*; none when it is not there."""
        node = self.find(path)
        return self._list(node.inode) if node and node.is_directory else {}

    def link_target(self, node: Node) -> str:
        """Return what a symbolic link points to."""
        if node.size >= 60:  # longer ones are in a block of their own
            return self.read(node).decode("utf-8", "surrogateescape")
        said = self._ask(f"stat <{node.inode}>")
        match = re.search(r'^Fast link dest: "(.*)"$', said, re.MULTILINE | re.DOTALL)
        return match.group(1) if match else ""

    def dump(self, node: Node) -> str:
        """Copy a file's content into the work directory and return where it is."""
        path = os.path.join(self._work_dir, f"inode-{node.inode}")
        self._ask(f"dump <{node.inode}> {path}")
        return path

    def read(self, node: Node, *, most: int = 1 << 20) -> bytes:
        """Return the content of a small file."""
        if node.size > most:
            raise SealedRootError(f"inode {node.inode} has {node.size} bytes: too many to be read")
        path = self.dump(node)
        try:
            with open(path, "rb") as handle:
                return handle.read()
        finally:
            os.unlink(path)

    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        """Return an extended attribute, by its whole name; None when the file has none of that name."""
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

    def text(self, path: str) -> t.Optional[str]:
        """Return a text file; None when it is not there or is no file."""
        node = self.find(path)
        if node is None or not node.is_file:
            return None
        return self.read(node).decode("utf-8", "surrogateescape")


__all__ = ("ROOT_INODE", "Node", "Tree", "parse_directory", "parse_superblock")
