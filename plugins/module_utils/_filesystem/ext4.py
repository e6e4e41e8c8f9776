# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files of an unmounted ext4 file system, through debugfs(8).

No name of the image is ever part of a command.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import reader
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

ROOT_INODE = 2
_ROW = re.compile(r"/(\d+)/([0-7]{6})/(\d+)/(\d+)/(.*)/(\d*)/")
# debugfs prints this before the answer to each request of a command file.
_ECHO = re.compile(r"^debugfs: (.*)\n", re.MULTILINE)
_LINK = re.compile(r'^Fast link dest: "(.*)"$', re.MULTILINE | re.DOTALL)
# A symlink of this length or longer is stored in its own block.
_IN_BLOCK = 60
_MOUNTED_ON = ("<not available>", "/", "/sysroot", "/root")


def parse_directory(text: str) -> t.Dict[str, Node]:
    """Parse ``ls -p`` of debugfs: each line is ``/inode/mode/uid/gid/name/size/``."""
    nodes = {}
    for line in text.splitlines():
        if not line:
            continue
        match = _ROW.fullmatch(line)
        if not match:
            # A name with a newline could imitate another entry.
            raise SealedRootError(f"a directory of the image has an unreadable entry: {line!r}")
        inode, mode, uid, _gid, name, size = match.groups()
        if int(inode) and name not in (".", ".."):
            nodes[name] = Node(int(inode), int(mode, 8), int(uid), int(size or 0))
    return nodes


def parse_superblock(text: str) -> t.Dict[str, str]:
    """Parse ``show_super_stats -h`` of debugfs into its fields."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def superblock_problems(superblock: t.Mapping[str, str]) -> t.List[str]:
    """Return the differences from a file system of an image after a clean unmount."""
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


class Tree(reader.Tree):
    """Reads ext4."""

    root = ROOT_INODE

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        # debugfs can write only to this directory.
        self._copies = os.path.join(self._work_dir, "ext4")
        os.makedirs(self._copies, 0o700, exist_ok=True)

    def _ask(self, request: str) -> str:
        return self._ask_all([request])[0]

    def _ask_all(self, requests: t.Sequence[str]) -> t.List[str]:
        """Return the answer to each request; all in one call, because starting debugfs costs more than most answers."""
        if not requests:
            return []
        argv = ["debugfs", "-f", "-", confined.DEVICE]
        lines = "".join(f"{request}\n" for request in requests).encode()
        result = confined.run_tool(
            self._runner, self._device, argv, output=self._copies, stdin=lines, timeout=120
        )
        # debugfs always exits with 0; the first line of stderr is its version.
        complaints = result.stderr.strip().splitlines()[1:]
        if complaints:
            raise CommandError(argv, result)
        begin, *answers = _ECHO.split(result.stdout)
        # A name or a symlink with a newline could imitate another request.
        if begin or answers[::2] != list(requests):
            raise SealedRootError("a name in the image has a newline, so it cannot be read")
        return answers[1::2]

    def load(
        self,
        directories: t.Iterable[str] = (),
        *,
        links: t.Iterable[str] = (),
        files: t.Iterable[str] = (),
    ) -> None:
        directories, files = list(directories), list(files)
        places = {path.rpartition("/")[0] for path in files}
        while True:
            # Each pass reads one level of the directories.
            unread = {it for it in map(self._unread, [*directories, *places]) if it is not None}
            if not unread:
                break
            self._directories.update(self._read_directories(sorted(unread)))
        symlinks = [node for path in links for node in self.entries(path).values() if node.is_link]
        short = {it.inode for it in symlinks if it.size < _IN_BLOCK} - set(self._targets)
        self._targets.update(self._read_links(sorted(short)))
        nodes = {it.inode: it for it in map(self.find, files) if it and it.is_file}
        small = (node for node in nodes.values() if node.size <= reader.MOST)
        wanted = [node for node in small if node.inode not in self._contents]
        for node, path in zip(wanted, self._dump_all(wanted)):
            self._contents[node.inode] = reader.taken(path)

    def _unread(self, path: str) -> t.Optional[int]:
        """Return the first directory on the way to *path*, itself included, that has not been read."""
        missing = []

        def listing(inode: int) -> t.Dict[str, Node]:
            if inode not in self._directories:
                missing.append(inode)
            return self._directories.get(inode, {})

        node = self._walk(path, listing)
        if node and node.is_directory:
            listing(node.inode)
        return missing[0] if missing else None

    def volume(self) -> Volume:
        superblock = parse_superblock(self._ask("show_super_stats -h"))
        problems = superblock_problems(superblock)
        argv = ["e2fsck", "-f", "-n", confined.DEVICE]
        check = confined.run_tool(self._runner, self._device, argv, check=False, timeout=600)
        if check.rc != 0:
            problems.append(f"e2fsck finds errors (exit status {check.rc}) in the root file system")
        return Volume(
            "ext4",
            superblock.get("Filesystem UUID", ""),
            superblock.get("Filesystem volume name", ""),
            tuple(problems),
        )

    def _read_directory(self, inode: int) -> t.Dict[str, Node]:
        return self._read_directories([inode])[inode]

    def _read_directories(self, inodes: t.Sequence[int]) -> t.Dict[int, t.Dict[str, Node]]:
        answers = self._ask_all([f"ls -p <{inode}>" for inode in inodes])
        return dict(zip(inodes, map(parse_directory, answers)))

    def _read_link(self, node: Node) -> str:
        if node.size >= _IN_BLOCK:
            return self.read(node).decode("utf-8", "surrogateescape")
        return self._read_links([node.inode])[node.inode]

    def _read_links(self, inodes: t.Sequence[int]) -> t.Dict[int, str]:
        found = [_LINK.search(said) for said in self._ask_all([f"stat <{it}>" for it in inodes])]
        return {inode: it.group(1) if it else "" for inode, it in zip(inodes, found)}

    def _dump(self, node: Node) -> str:
        return self._dump_all([node])[0]

    def _dump_all(self, nodes: t.Sequence[Node]) -> t.List[str]:
        names = [f"inode-{node.inode}" for node in nodes]
        self._ask_all(
            [f"dump <{node.inode}> {confined.OUTPUT}/{name}" for node, name in zip(nodes, names)]
        )
        return [os.path.join(self._copies, name) for name in names]

    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        copy = f"inode-{node.inode}.attribute"
        path = os.path.join(self._copies, copy)
        try:
            self._ask(f"ea_get -f {confined.OUTPUT}/{copy} <{node.inode}> {name}")
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
