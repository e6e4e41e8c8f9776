# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root file system of the image, as the audit reads it."""

from __future__ import annotations

import pathlib
import posixpath
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node


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

    def load(self, *_directories: t.Any, **_more: t.Any) -> None:
        """Nothing is faster together."""

    def find(self, path: str) -> Node | None:
        node = self.nodes.get(path)
        if node is None or not node.is_link:
            return node
        return self.find(posixpath.normpath(posixpath.join(path, "..", self.link_target(node))))

    def entries(self, path: str) -> dict[str, Node]:
        inside = (name[len(path) + 1 :] for name in self.nodes if name.startswith(f"{path}/"))
        names = {name.partition("/")[0] for name in inside}
        directory = Node(1, stat.S_IFDIR | 0o755, 0, 0)
        return {name: self.nodes.get(f"{path}/{name}", directory) for name in names}

    def read(self, node: Node, *, most: int = 1 << 20) -> bytes:
        assert node.size <= most
        return self.contents[node.inode]

    def content(self, path: str) -> bytes | None:
        node = self.find(path)
        return self.read(node) if node and node.is_file else None

    def text(self, path: str) -> str | None:
        found = self.content(path)
        return None if found is None else found.decode("utf-8", "surrogateescape")

    def link_target(self, node: Node) -> str:
        assert node.is_link
        return self.contents[node.inode].decode()

    def dump(self, node: Node, *, most: int) -> str:
        path = self.work / f"inode-{node.inode}"
        path.write_bytes(self.read(node))
        return str(path)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> t.Callable[..., t.Any]:
    def make(files: dict[str, t.Any]) -> t.Any:
        return FakeTree(tmp_path, files)

    return make
