# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_nothing_is_touched_before_apply(tmp_path):
    tree = Tree(str(tmp_path))
    tree.write("/etc/x", "new", mode=0o600)
    assert tree.changed() == ["/etc/x"]
    assert not (tmp_path / "etc").exists()
    tree.apply()
    assert (tmp_path / "etc/x").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "etc/x").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["x"]


def test_the_mode_of_an_existing_file_stays(tmp_path):
    (tmp_path / "shadow").write_text("old")
    (tmp_path / "shadow").chmod(0o640)
    tree = Tree(str(tmp_path))
    tree.write("/shadow", "new")
    tree.apply()
    assert stat.S_IMODE((tmp_path / "shadow").stat().st_mode) == 0o640


def test_what_is_right_is_no_change_and_a_wrong_mode_is(tmp_path):
    (tmp_path / "x").write_text("same")
    (tmp_path / "x").chmod(0o644)
    tree = Tree(str(tmp_path))
    tree.write("/x", "same")
    assert tree.changed() == []
    tree.write("/x", "same", mode=0o400)
    assert tree.changed() == ["/x"]


def test_a_secret_is_never_in_the_diff(tmp_path):
    (tmp_path / "key").write_text("old secret")
    tree = Tree(str(tmp_path))
    tree.write("/key", "new secret", mode=0o400, secret=True)
    assert "secret" not in str(tree.diff()).replace("(secret)", "")


def test_removing_what_is_not_there_is_no_change(tmp_path):
    tree = Tree(str(tmp_path))
    tree.remove("/gone")
    assert tree.changed() == []


def test_files_folders_and_dangling_links_are_removed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    tree = Tree(str(tmp_path))
    tree.remove("/folder")
    tree.remove("/link")
    assert tree.changed() == ["/folder", "/link"]
    tree.apply()
    assert list(tmp_path.iterdir()) == []


def test_a_link_takes_the_place_of_what_is_there(tmp_path):
    (tmp_path / "old").write_text("a file")
    for name in ("/etc/new", "/old"):
        tree = Tree(str(tmp_path))
        tree.link(name, "/target")
        assert tree.changed() == [name]
        assert tree.diff()[0]["after"] == "a link to /target\n"
        tree.apply()
        assert str((tmp_path / name[1:]).readlink()) == "/target"
        again = Tree(str(tmp_path))
        again.link(name, "/target")
        assert again.changed() == []


# A symlink of the root, what it leads to, and where that is in the root: never outside, as with a root of "/".
LINKS = {
    "absolute": ("etc/resolv.conf", "/run/resolv.conf", "run/resolv.conf"),
    "relative": ("etc/resolv.conf", "../run/./resolv.conf", "run/resolv.conf"),
    "too far up": ("etc/resolv.conf", "../../../../../run/resolv.conf", "run/resolv.conf"),
    "twice": ("etc/resolv.conf", "/etc/alternatives/x", "usr/share/x"),
    "in a directory": ("etc/resolv.conf", "/lib/x", "usr/lib/x"),
    "the builder's own file": ("etc/resolv.conf", "{outside}", "{inside}"),
}


@pytest.mark.parametrize("case", LINKS)
def test_a_link_leads_to_a_place_in_the_root(tmp_path, case):
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.write_text("of the builder")
    for folder in ("etc/alternatives", "run", "usr/lib", "usr/share"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/alternatives/x").symlink_to("/usr/share/x")
    name, target, real = (
        it.format(outside=outside, inside=str(outside).lstrip("/")) for it in LINKS[case]
    )
    (root / name).symlink_to(target)
    tree = Tree(str(root))
    assert tree.read(f"/{name}") is None
    assert tree.exists(f"/{name}")
    (root / real).parent.mkdir(parents=True, exist_ok=True)
    (root / real).write_text("of the root")
    (root / real).chmod(0o640)
    assert tree.text(f"/{name}") == "of the root"
    tree.write(f"/{name}", "new")
    assert tree.diff()[0]["before"] == "of the root"
    tree.apply()
    assert (root / name).is_symlink()
    assert (root / real).read_text() == "new"
    assert stat.S_IMODE((root / real).stat().st_mode) == 0o640
    assert outside.read_text() == "of the builder"


def test_directories_that_lead_outside_are_of_the_root(tmp_path):
    """Whatever is written, linked or removed."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").write_text("of the builder")
    for name in ("a", "b", "c", "d"):
        (root / "etc" / name).symlink_to(outside)
    tree = Tree(str(root))
    assert not tree.exists("/etc/c/kept")
    assert tree.names("/etc/c") == []
    tree.write("/etc/a/new", "1")
    tree.link("/etc/b/link", "/x")
    tree.remove("/etc/c/kept")
    tree.remove("/etc/d")
    tree.directory("/etc/a/folder", 0o700)
    tree.apply()
    assert [path.name for path in outside.iterdir()] == ["kept"]
    inside = root / str(outside).lstrip("/")
    assert sorted(path.name for path in inside.iterdir()) == ["folder", "link", "new"]
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["/etc/x", "/etc/x/y"])
def test_a_link_in_a_circle(tmp_path, name):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x").symlink_to("/etc/y")
    (tmp_path / "etc/y").symlink_to("x")
    for use in (Tree.read, Tree.text, lambda tree, name: tree.write(name, "new")):
        with pytest.raises(SealedRootError, match=rf"^{tmp_path}{name} is a .* in a circle"):
            use(Tree(str(tmp_path)), name)


def test_a_link_to_a_device_is_called_by_its_name(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "conf").symlink_to("/fifo")
    with pytest.raises(SealedRootError, match=rf"^{tmp_path}/conf is a FIFO, not a file"):
        Tree(str(tmp_path)).text("/conf")


@pytest.mark.parametrize(
    ("data", "blocks"),
    [
        (b"head" + bytes((2 << 20) - 4), 1),
        (bytes(1 << 20), 0),
        (bytes(1 << 20) + b"tail", 1),
        (b"a" * 4096 + bytes(64 << 10) + b"b" * 8192 + bytes(100), 3),
        (b"short", 1),
        (b"", 0),
    ],
)
def test_zeros_are_holes(tmp_path, data, blocks):
    """Written, they would be ciphertext that the image carries."""
    tree = Tree(str(tmp_path))
    tree.write("/header", data)
    tree.apply()
    path = tmp_path / "header"
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 <= blocks * 4096
