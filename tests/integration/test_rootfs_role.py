# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role rootfs with a real tar: what a person is told when it cannot be unpacked."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import pytest
import small_root
from builds import Run, playbook


class Image(t.NamedTuple):
    """An empty root of a few MiB, and what the role needs."""

    path: pathlib.Path

    def unpack(self, tar: pathlib.Path) -> Run:
        tasks = [
            {"ansible.builtin.import_role": {"name": "sealedroot.image.rootfs", "tasks_from": name}}
            for name in ("start", "finish")
        ]
        play = self.path / "play.json"
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        arguments = small_root.runtime_arguments(self.path / "run", self.path / "root")
        variables = {
            "image_root": arguments["root"],
            "image_run": arguments["path"],
            "image_keys": {"boot.key": arguments["key_file"]},
            "image_header": arguments["header_file"],
            "image_root_tar": {"path": str(tar), "excluded": [], "unpacked_bytes": 9 << 20},
        }
        return playbook(str(play), variables)


@pytest.fixture
def image(tmp_path: pathlib.Path) -> t.Iterator[Image]:
    root, own = tmp_path / "root", tmp_path / "run" / "own"
    for folder in (root, tmp_path / "run"):
        folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", root], check=True)
    yield Image(tmp_path)
    for mounted in (own, root):
        subprocess.run(["umount", mounted], check=True)


def tar_of(path: pathlib.Path, size: int) -> pathlib.Path:
    tree = path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "file").write_bytes(b"x" * size)
    subprocess.run(["tar", "-C", tree, "-cf", path / "root.tar", "."], check=True)
    return path / "root.tar"


def test_a_root_that_does_not_fit(image: Image) -> None:
    run = image.unpack(tar_of(image.path, 9 << 20))
    assert run.rc != 0
    assert run.said("could not be unpacked: tar: ./etc/file: ")
    assert run.said("The root needs 9.00 MB: set image_size to more."), run.output[-3000:]


def test_a_tar_that_is_cut(image: Image) -> None:
    tar = tar_of(image.path, 1 << 20)
    with tar.open("r+b") as file:
        file.truncate(700_000)
    run = image.unpack(tar)
    assert run.rc != 0
    assert run.said("Correct the root, and pack it again."), run.output[-3000:]


def test_a_tar_that_is_whole(image: Image) -> None:
    run = image.unpack(tar_of(image.path, 1 << 20))
    assert run.rc == 0, run.output[-3000:]
    assert (image.path / "root/etc/file").stat().st_size == 1 << 20
