# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files of an unmounted Btrfs file system, through btrfs-restore(8).

A file is restored only when it is read, and into its own directory: all files together could take unlimited space,
because files can share extents. btrfs-restore writes under names that the image chose, so it is confined to that
directory; what it wrote is then read without following symlinks.

Directories, symlinks and extended attributes are read from the device, at the addresses of the trees that btrfs
prints. Its listing of the trees is not parsed for them, because a name in it can look like another item.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import (
    btrfs_blocks,
    reader,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

ROOT = 0
_DEFAULT = re.compile(
    r"location key \((\w+) ROOT_ITEM \d+\) type DIR\n[^\n]*\n\s*name: default\n", re.ASCII
)


def path_regex(names: t.Sequence[str]) -> str:
    """Return the regular expression (regex(7)) for a file and its parent directories.

    btrfs-restore(8) needs this nested form, because it does not enter a directory that does not match.
    """
    *above, expression = [re.sub(r"[][.*^$+?(){}|\\]", r"\\\g<0>", name) for name in names]
    for name in reversed(above):
        expression = f"{name}(|/{expression})"
    return f"^/(|{expression})$"


def parse_fields(text: str) -> t.Dict[str, str]:
    """Parse ``inspect-internal dump-super``: each line has a name, whitespace, and a value."""
    rows = (line.split(None, 1) for line in text.splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def _raw(names: t.Sequence[str]) -> t.List[bytes]:
    return [os.fsencode(name) for name in names]


class Tree(reader.Tree):
    """Reads Btrfs. Its inode numbers are indexes into the list of known paths."""

    root = ROOT

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        self._paths: t.List[t.Tuple[str, ...]] = [()]
        self._forest: t.Optional[btrfs_blocks.Forest] = None

    def _run(self, *command: str, output: t.Optional[str] = None) -> str:
        result = confined.run_tool(self._runner, self._device, command, output=output, timeout=600)
        # btrfs restore exits with 0 after many errors.
        if "ERROR:" in result.stderr:
            raise CommandError(command, result)
        return result.stdout

    def _inspect(self, what: str, *words: str) -> str:
        return self._run("btrfs", "inspect-internal", what, *words, confined.DEVICE)

    def volume(self) -> Volume:
        fields = parse_fields(self._inspect("dump-super"))
        problems = []
        if fields.get("log_root") != "0":
            problems.append("its log was not replayed, which GRUB cannot do: unmount it first")
        if fields.get("num_devices") != "1":
            problems.append("it is spread over several devices, and the image has one")
        # The audit and GRUB both read the top-level subvolume.
        default = _DEFAULT.search(self._inspect("dump-tree", "-t", "root"))
        if not default or default.group(1) not in ("FS_TREE", "5"):
            problems.append(
                "its default subvolume is not the top level: run 'btrfs subvolume set-default 5' on it"
            )
        argv = ["btrfs", "check", "--readonly", confined.DEVICE]
        check = confined.run_tool(self._runner, self._device, argv, check=False, timeout=600)
        if check.rc != 0:
            problems.append(
                f"btrfs check finds errors (exit status {check.rc}) in the root file system"
            )
        return Volume("btrfs", fields.get("fsid", ""), fields.get("label", ""), tuple(problems))

    def _read_directory(self, inode: int) -> t.Dict[str, Node]:
        names = self._paths[inode]
        nodes = {}
        for raw, it in sorted(self._trees().entries(_raw(names)).items()):
            name = os.fsdecode(raw)
            self._paths.append((*names, name))
            size = 0 if stat.S_ISDIR(it.mode) else it.size
            nodes[name] = Node(len(self._paths) - 1, it.mode, it.uid, size)
        return nodes

    def _read_link(self, node: Node) -> str:
        return os.fsdecode(self._trees().link_target(_raw(self._paths[node.inode])))

    def _dump(self, node: Node) -> str:
        names = self._paths[node.inode]
        if not stat.S_ISREG(node.mode):
            raise SealedRootError(f"/{'/'.join(names)} is not a file")
        place = os.path.join(self._work_dir, f"btrfs-{node.inode}")
        path = os.path.join(self._work_dir, f"inode-{node.inode}")
        os.mkdir(place, 0o700)
        try:
            self._run(
                *("btrfs", "restore", "--metadata", "--path-regex", path_regex(names)),
                *(confined.DEVICE, confined.OUTPUT),
                output=place,
            )
            with open(self._open(place, names), "rb") as source, open(path, "xb") as copy:
                shutil.copyfileobj(source, copy)
        finally:
            shutil.rmtree(place)
        return path

    @staticmethod
    def _open(place: str, names: t.Sequence[str]) -> int:
        """Open a restored file component by component, so that no symlink is followed."""
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        for number, name in enumerate(names, 1):
            kind = os.O_DIRECTORY if number < len(names) else os.O_NONBLOCK
            try:
                inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=handle)
            except OSError as exc:
                raise SealedRootError(
                    f"/{'/'.join(names)} of the image cannot be restored: {exc.strerror}"
                ) from exc
            finally:
                os.close(handle)
            handle = inner
        return handle

    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        return self._trees().attribute(_raw(self._paths[node.inode]), name.encode())

    def _trees(self) -> btrfs_blocks.Forest:
        if self._forest is None:
            self._forest = self._open_forest()
        return self._forest

    def _open_forest(self) -> btrfs_blocks.Forest:
        fields = parse_fields(self._inspect("dump-super"))
        try:
            root, size = int(fields["root"]), int(fields["nodesize"])
        except (KeyError, ValueError):
            raise btrfs_blocks.damaged("the superblock") from None
        if size > btrfs_blocks.LARGEST_NODE:
            raise btrfs_blocks.damaged("the superblock")
        chunks = btrfs_blocks.parse_chunks(self._inspect("dump-tree", "-t", "chunk"))

        def read(address: int) -> bytes:
            place = btrfs_blocks.place_of(chunks, address, size)
            with open(self._device, "rb") as device:
                return reader.read_at(device.fileno(), size, place)

        return btrfs_blocks.Forest(read, root)


__all__ = ("ROOT", "Tree", "parse_fields", "path_regex")
