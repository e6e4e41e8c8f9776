# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ./run sources compares: it sees each kind of loss. The builds and boots are that command itself."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest
import sources
import yaml
from builds import ROOT


def test_every_type_of_source_has_a_row() -> None:
    variables = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())
    types = set(variables["__preflight_source_tools"])
    # A bootstrap is what the root of all rows comes from, and one of them by itself.
    known = " ".join(row.name for row in sources.ROWS).replace("docker-archive", "oci")
    assert [it for it in sorted(types - {"bootstrap"}) if it not in known] == []


def test_rows_are_found_by_their_names() -> None:
    assert sources.select([]) == list(sources.ROWS)
    assert [row.name for row in sources.select(["url", "tar"])] == ["tar", "url"]
    with pytest.raises(SystemExit, match="no row is called floppy; there are tar, directory"):
        sources.select(["floppy"])


def lose_a_file(tree: pathlib.Path) -> None:
    (tree / "file").unlink()


def add_a_file(tree: pathlib.Path) -> None:
    (tree / "more").touch()


def lose_an_attribute(tree: pathlib.Path) -> None:
    os.removexattr(tree / "file", "user.why")


def lose_a_capability(tree: pathlib.Path) -> None:
    subprocess.run(["setcap", "-r", tree / "file"], check=True)


def lose_an_acl(tree: pathlib.Path) -> None:
    subprocess.run(["setfacl", "-b", tree / "file"], check=True)


def change_an_owner(tree: pathlib.Path) -> None:
    os.chown(tree / "dir", 0, 7)


def change_a_byte(tree: pathlib.Path) -> None:
    times = (tree / "file").stat()
    with (tree / "file").open("r+") as file:
        file.write("y")
    os.utime(tree / "file", ns=(times.st_atime_ns, times.st_mtime_ns))


def split_a_hard_link(tree: pathlib.Path) -> None:
    subprocess.run(["cp", "-a", tree / "file", tree / "new"], check=True)
    (tree / "new").rename(tree / "linked")


@pytest.mark.parametrize(
    "lose",
    [
        *(lose_a_file, add_a_file, lose_an_attribute, lose_a_capability, lose_an_acl),
        *(change_an_owner, change_a_byte, split_a_hard_link),
    ],
)
def test_the_comparison_sees_it(
    lose: t.Callable[[pathlib.Path], None], tmp_path: pathlib.Path
) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    (tree / "dir").mkdir(parents=True)
    (tree / "proc").mkdir()
    (tree / "etc").mkdir()
    (tree / "file").write_text("x")
    os.setxattr(tree / "file", "user.why", b"because")
    subprocess.run(["setcap", "cap_net_raw+ep", tree / "file"], check=True)
    subprocess.run(["setfacl", "-m", "u:1234:rw", tree / "file"], check=True)
    os.link(tree / "file", tree / "linked")
    subprocess.run(["cp", "-a", tree, copy], check=True)
    # What every build writes, and what is no part of a root.
    (copy / "etc/fstab").touch()
    (tree / "proc/1").touch()
    assert sources.differences(tree, copy) == []
    lose(copy)
    assert sources.differences(tree, copy) != []
