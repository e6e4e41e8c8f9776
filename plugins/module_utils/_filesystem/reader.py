# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files of an unmounted file system of any type.

Paths are resolved here, inode by inode, so a symlink leads to a file of the image and never to one
of this machine. Nothing is mounted, so that the kernel of this machine does not parse an untrusted file system.
The file system's own tools read it in user space, with one module for each type.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

_MOST_LINKS = 20
# Linux accepts no longer one (path_resolution(7)).
_LONGEST_LINK = 4096
# Largest small file, in bytes.
MOST = 1 << 20


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
        """Return the mode as usually written: ``0600``."""
        return f"{stat.S_IMODE(self.mode):04o}"


@dataclasses.dataclass(frozen=True)
class Volume:
    """Properties of a file system, and the *problems* that its own tools find."""

    type: str
    uuid: str
    label: str
    problems: t.Tuple[str, ...] = ()


def read_at(device: int, size: int, place: int) -> bytes:
    """Read from a device; raise an error if it ends too early, or if the position is beyond any device."""
    data = os.pread(device, size, place) if place + size < 1 << 63 else b""
    if len(data) != size:
        raise SealedRootError("the root file system is damaged: it goes on behind its device")
    return data


def taken(path: str) -> bytes:
    """Return the content of a file that was copied out of an image, and remove the copy."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    finally:
        os.unlink(path)


class Tree(abc.ABC):
    """Reads files of the file system on *device*; copies go to *work_dir*, which must be private.

    *root* is the inode number of the root directory. Subclasses implement the abstract methods for one type.
    """

    root: int

    def __init__(self, runner: Runner, device: str, work_dir: str) -> None:
        self._runner = runner
        self._device = device
        self._work_dir = work_dir
        self._directories: t.Dict[int, t.Dict[str, Node]] = {}
        self._targets: t.Dict[int, str] = {}
        self._contents: t.Dict[int, bytes] = {}

    @abc.abstractmethod
    def volume(self) -> Volume:
        """Return the properties of the file system, after checking it without repair."""

    @abc.abstractmethod
    def _read_directory(self, inode: int) -> t.Dict[str, Node]:
        """Return the entries of a directory, without ``.`` and ``..``."""

    @abc.abstractmethod
    def _read_link(self, node: Node) -> str:
        """Return the target of a symlink."""

    @abc.abstractmethod
    def _dump(self, node: Node) -> str:
        """Copy a file's content into the work directory and return the path of the copy."""

    @abc.abstractmethod
    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        """Return an extended attribute by its full name; None if the file does not have it."""

    def load(  # noqa: B027  # most types gain nothing from it
        self,
        directories: t.Iterable[str] = (),
        *,
        links: t.Iterable[str] = (),
        files: t.Iterable[str] = (),
    ) -> None:
        """Read ahead what will be asked for, if that is faster; *links* are directories whose symlinks are read."""

    def _list(self, inode: int) -> t.Dict[str, Node]:
        if inode not in self._directories:
            self._directories[inode] = self._read_directory(inode)
        return self._directories[inode]

    def link_target(self, node: Node) -> str:
        """Return the target of a symlink."""
        if node.inode not in self._targets:
            self._targets[node.inode] = self._read_link(node)
        return self._targets[node.inode]

    def find(self, path: str, *, follow: bool = True) -> t.Optional[Node]:
        """Return the entry at *path*, or None; *follow* says whether to follow a symlink at its end."""
        return self._walk(path, self._list, follow=follow)

    def _walk(
        self, path: str, listing: t.Callable[[int], t.Dict[str, Node]], *, follow: bool = True
    ) -> t.Optional[Node]:
        names = [name for name in path.split("/") if name not in ("", ".")]
        trail = [Node(self.root, stat.S_IFDIR | 0o755, 0, 0)]
        links = 0
        while names:
            name = names.pop(0)
            if name == "..":
                trail = trail[:-1] or trail
                continue
            if not trail[-1].is_directory:
                return None
            node = listing(trail[-1].inode).get(name)
            if node is None:
                return None
            if node.is_link and (names or follow):
                links += 1
                if links > _MOST_LINKS:
                    return None
                target = self.link_target(node)
                if len(target) > _LONGEST_LINK:
                    return None
                if target.startswith("/"):
                    trail = trail[:1]
                names = [part for part in target.split("/") if part not in ("", ".")] + names
                continue
            trail.append(node)
        return trail[-1]

    def entries(self, path: str) -> t.Dict[str, Node]:
        """Return the entries of the directory at *path*; none if it does not exist."""
        node = self.find(path)
        return self._list(node.inode) if node and node.is_directory else {}

    def read(self, node: Node, *, most: int = MOST) -> bytes:
        """Return the content of a small file."""
        if node.inode in self._contents and node.size <= most:
            return self._contents[node.inode]
        return taken(self.dump(node, most=most))

    def dump(self, node: Node, *, most: int) -> str:
        """Copy a file's content into the work directory and return the copy's path; refuse more than *most* bytes."""
        if node.size > most:
            raise SealedRootError(f"inode {node.inode} has {node.size} bytes: too many to be read")
        return self._dump(node)

    def content(self, path: str) -> t.Optional[bytes]:
        """Return the content of a small file; None if it does not exist or is not a file."""
        node = self.find(path)
        if node is None or not node.is_file:
            return None
        if node.inode not in self._contents:
            self._contents[node.inode] = self.read(node)
        return self._contents[node.inode]

    def text(self, path: str) -> t.Optional[str]:
        """Return the content of a text file; None if it does not exist or is not a file."""
        found = self.content(path)
        return None if found is None else found.decode("utf-8", "surrogateescape")


__all__ = ("MOST", "Node", "Tree", "Volume", "read_at", "taken")
