# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walking a file system, through debugfs with scripted answers; the other types are in tests/integration."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import ext4, reader
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

VERSION = "debugfs 1.47.0 (5-Feb-2023)\n"
ROOT = """/2/040755/0/0/.//
/2/040755/0/0/..//
/12/040755/0/0/etc//
/13/120777/0/0/link/4/
/0/000000/0/0/removed//

"""
ETC = """/12/040755/0/0/.//
/2/040755/0/0/..//
/20/100644/0/0/fstab/5/
/21/120777/0/0/up/12/
/22/120777/0/0/self/4/
/23/100600/1000/0/a name with spaces/7/
"""


def ask(script: t.Any, *requests: str, stdout: str | tuple[str, ...] = "", **more: t.Any) -> None:
    """One run of debugfs: it says each request again before it answers it."""
    answers = (stdout,) if isinstance(stdout, str) else stdout
    said = "".join(
        f"debugfs: {request}\n{answer}" for request, answer in zip(requests, answers, strict=True)
    )
    lines = "".join(f"{request}\n" for request in requests)
    confinement, copies = script.confined
    argv = confinement.tool("/payload", ["debugfs", "-f", "-", confined.DEVICE], str(copies))
    script.expect(argv, **{"stdin": lines.encode(), "stdout": said, "stderr": VERSION, **more})


@pytest.fixture
def tree(script: t.Any, confinement: t.Any, tmp_path: pathlib.Path) -> ext4.Tree:
    script.confined = confinement, tmp_path / "ext4"
    return ext4.Tree(confinement.runner, "/payload", str(tmp_path))


def link(inode: int, target: str) -> str:
    return f'Inode: {inode}\nFast link dest: "{target}"\n'


def test_directories_are_read_once(script: t.Any, tree: ext4.Tree) -> None:
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "ls -p <12>", stdout=ETC)
    node = tree.find("/etc/a name with spaces")
    assert node == reader.Node(23, 0o100600, 1000, 7)
    assert node.is_file
    assert node.permissions == "0600"
    assert tree.find("/etc/missing") is None
    assert tree.find("/removed") is None
    assert tree.find("/etc/fstab/below") is None
    assert tree.find("/etc/../etc/./fstab") == reader.Node(20, 0o100644, 0, 5)
    assert set(tree.entries("/etc")) == {"fstab", "up", "self", "a name with spaces"}
    assert tree.entries("/nothing") == {}


def test_attributes(script: t.Any, tree: ext4.Tree, tmp_path: pathlib.Path) -> None:
    node = reader.Node(20, 0o100644, 0, 5)
    path = tmp_path / "ext4" / "inode-20.attribute"
    request = "ea_get -f /output/inode-20.attribute <20> security.selinux"
    ask(script, request, effect=lambda: path.write_bytes(b"u:r:t\0"))
    assert tree.attribute(node, "security.selinux") == b"u:r:t\0"
    said = "ea_get: Extended attribute key not found while getting extended attribute\n"
    ask(script, request, stderr=VERSION + said)
    assert tree.attribute(node, "security.selinux") is None
    ask(script, request, stderr=f"{VERSION}ea_get: Input/output error\n")
    with pytest.raises(CommandError, match="Input/output error"):
        tree.attribute(node, "security.selinux")
    assert list((tmp_path / "ext4").iterdir()) == []


def test_links_lead_into_the_image(script: t.Any, tree: ext4.Tree) -> None:
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "ls -p <12>", stdout=ETC)
    ask(script, "stat <21>", stdout=link(21, "../../../../etc/fstab"))
    found = tree.find("/etc/up")
    assert found is not None
    assert found.inode == 20
    ask(script, "stat <13>", stdout=link(13, "/etc"))
    found = tree.find("/link/fstab")
    assert found is not None
    assert found.inode == 20
    unfollowed = tree.find("/link", follow=False)
    assert unfollowed is not None
    assert unfollowed.is_link


def test_a_loop_of_links(script: t.Any, tree: ext4.Tree) -> None:
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "ls -p <12>", stdout=ETC)
    # Read once, as a directory is.
    ask(script, "stat <22>", stdout=link(22, "self"))
    assert tree.find("/etc/self") is None


def test_a_long_link(script: t.Any, tree: ext4.Tree, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "ext4" / "inode-9"
    ask(script, "dump <9> /output/inode-9", effect=lambda: copy.write_bytes(b"/long"))
    assert tree.link_target(reader.Node(9, 0o120777, 0, 60)) == "/long"
    assert not copy.exists()


def test_text(script: t.Any, tree: ext4.Tree, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "ext4" / "inode-20"
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "ls -p <12>", stdout=ETC)
    ask(script, "dump <20> /output/inode-20", effect=lambda: copy.write_bytes(b"text\xff"))
    assert tree.text("/etc/fstab") == "text\udcff"
    assert not copy.exists()
    assert tree.text("/etc/none") is None
    assert tree.text("/etc") is None


def test_a_large_file_is_not_read(tree: ext4.Tree) -> None:
    with pytest.raises(SealedRootError, match="too many"):
        tree.read(reader.Node(9, 0o100644, 0, 2 << 20))


def test_debugfs_complains(script: t.Any, tree: ext4.Tree) -> None:
    ask(script, "ls -p <2>", stderr=f"{VERSION}/payload: Bad magic number in super-block\n")
    with pytest.raises(CommandError, match="Bad magic"):
        tree.find("/etc")


def test_a_name_with_a_newline_is_not_taken_for_two() -> None:
    with pytest.raises(SealedRootError, match="unreadable entry"):
        ext4.parse_directory("/20/100644/0/0/a\nb/5/\n")


def test_a_link_with_a_newline_is_not_taken_for_two(script: t.Any, tree: ext4.Tree) -> None:
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "ls -p <12>", stdout=ETC)
    tree.load(["/etc"])
    target = f'x"\ndebugfs: stat <22>\n{link(22, "/dev/null")}'
    ask(script, "stat <21>", "stat <22>", stdout=(link(21, target), link(22, "self")))
    with pytest.raises(SealedRootError, match="newline"):
        tree.load(links=["/etc"])


def test_what_is_read_together(script: t.Any, tree: ext4.Tree, tmp_path: pathlib.Path) -> None:
    """Level by level; what was read is not asked for again, neither here nor later."""
    copy = tmp_path / "ext4" / "inode-20"
    ask(script, "ls -p <2>", stdout=ROOT)
    ask(script, "stat <13>", stdout=link(13, "/etc"))
    ask(script, "ls -p <12>", stdout=ETC)
    ask(script, "stat <21>", "stat <22>", stdout=(link(21, "../etc/fstab"), link(22, "self")))
    ask(script, "dump <20> /output/inode-20", effect=lambda: copy.write_bytes(b"text"))
    tree.load(["/link", "/etc", "/none/at/all"], links=["/etc"], files=["/etc/up", "/etc/none"])
    assert list((tmp_path / "ext4").iterdir()) == []
    tree.load(["/etc"], links=["/link"], files=["/etc/fstab"])
    assert tree.text("/etc/up") == tree.text("/link/fstab") == "text"
    assert tree.find("/etc/self") is None


def test_superblock() -> None:
    fields = ext4.parse_superblock("Filesystem UUID:    abc\nLast mounted on:  /a:b\nnone\n")
    assert fields == {"Filesystem UUID": "abc", "Last mounted on": "/a:b"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"Last mounted on": "<not available>"}, []),
        ({"Last mounted on": "/sysroot"}, []),
        ({"Last mounted on": "/var/tmp/x/root"}, ["/var/tmp/x/root: unmount it and run tune2fs"]),
        ({"Filesystem state": "not clean"}, ["is not clean"]),
        ({"Filesystem features": "has_journal needs_recovery"}, ["journal was not replayed"]),
    ],
)
def test_superblock_problems(change: dict[str, str], says: list[str]) -> None:
    fields = {"Filesystem state": "clean", "Filesystem features": "has_journal", **change}
    found = ext4.superblock_problems(fields)
    assert len(found) == len(says)
    assert all(text in problem for text, problem in zip(says, found, strict=True))


def test_a_superblock_without_fields() -> None:
    assert "damaged" in ext4.superblock_problems({})[0]


def test_volume(script: t.Any, tree: ext4.Tree) -> None:
    fields = "Filesystem UUID: abc\nFilesystem volume name: root\nFilesystem state: clean\n"
    ask(script, "show_super_stats -h", stdout=fields)
    confinement, _copies = script.confined
    check = ["e2fsck", "-f", "-n", confined.DEVICE]
    script.expect(confinement.tool("/payload", check), rc=4)
    says = "e2fsck finds errors (exit status 4) in the root file system"
    assert tree.volume() == reader.Volume("ext4", "abc", "root", (says,))
