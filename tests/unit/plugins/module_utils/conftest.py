# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root file system of the image, as the audit reads it."""

from __future__ import annotations

import pathlib
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._image_tree import Node


class FakeTree:
    """Files by path; contents are kept by inode. A text is where a symbolic link leads to."""

    def __init__(self, work: pathlib.Path, files: dict[str, t.Any]) -> None:
        self.work, self.nodes, self.contents = work, {}, {}
        for number, (path, (mode, *content)) in enumerate(files.items(), 10):
            data = content[0] if content else b""
            kind = stat.S_IFREG if content else stat.S_IFDIR
            if isinstance(data, str):
                kind, data = stat.S_IFLNK, data.encode()
            self.nodes[path] = Node(number, kind | mode, 0, len(data))
            self.contents[number] = data

    def find(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def entries(self, path: str) -> dict[str, Node]:
        inside = (name for name in self.nodes if name.rpartition("/")[0] == path)
        return {name.rpartition("/")[2]: self.nodes[name] for name in inside}

    def read(self, node: Node, *, most: int = 1 << 20) -> bytes:
        assert node.size <= most
        return self.contents[node.inode]

    def text(self, path: str) -> str | None:
        node = self.find(path)
        return self.read(node).decode() if node else None

    def link_target(self, node: Node) -> str:
        assert node.is_link
        return self.contents[node.inode].decode()

    def dump(self, node: Node) -> str:
        path = self.work / f"inode-{node.inode}"
        path.write_bytes(self.read(node))
        return str(path)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> t.Callable[..., t.Any]:
    def make(files: dict[str, t.Any]) -> t.Any:
        return FakeTree(tmp_path, files)

    return make
