# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever lies in the place of a file, whoever reads or writes there ends with a sentence, and soon."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import esp_tree, install
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import archive
from ansible_collections.sealedroot.image.plugins.module_utils._root import facts
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    found_root,
    oci_store,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import nofollow, regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import (
    chroot_prep,
)

# Of what is read: less than the sparse file has.
MOST = 1 << 20
IS_ROOT = os.geteuid() == 0


def device(kind: int, major: int, minor: int) -> t.Callable[[pathlib.Path], None]:
    def make(path: pathlib.Path) -> None:
        if not IS_ROOT:
            pytest.skip("only root makes devices")
        os.mknod(path, kind | 0o666, os.makedev(major, minor))

    return make


def unix_socket(path: pathlib.Path) -> None:
    # Of a path that is short enough for an address.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def loop(path: pathlib.Path) -> None:
    path.symlink_to(f"{path.name}.2")
    path.with_name(f"{path.name}.2").symlink_to(path.name)


def link_out(path: pathlib.Path) -> None:
    outside = path.parent / "of the builder"
    outside.write_bytes(b"secret")
    path.symlink_to(outside)


def sparse(path: pathlib.Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


# What lies there, and whether it is wrong for who follows a link as well.
HOSTILE: dict[str, t.Callable[[pathlib.Path], None]] = {
    "fifo": os.mkfifo,
    "socket": unix_socket,
    "/dev/zero": device(stat.S_IFCHR, 1, 5),
    "character device without a driver": device(stat.S_IFCHR, 240, 99),
    "block device": device(stat.S_IFBLK, 7, 250),
    "directory": pathlib.Path.mkdir,
    "link loop": loop,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to a directory": lambda path: path.symlink_to("/"),
    "huge sparse file": sparse,
}
LINKS: dict[str, t.Callable[[pathlib.Path], None]] = {
    "link out": link_out,
    "dangling link": lambda path: path.symlink_to("nowhere"),
}


def tree_text(path: pathlib.Path) -> None:
    # As in an image, where a link to /dev leads there.
    Tree("/").text(str(path))


def tree_write(path: pathlib.Path) -> None:
    tree = Tree("/")
    tree.write(str(path), "new")
    tree.diff()
    tree.apply()


def follows(path: pathlib.Path) -> None:
    regular_file.read(str(path), most=MOST)


def does_not_follow(path: pathlib.Path) -> None:
    regular_file.read(str(path), most=MOST, follow=False)


def nofollow_file(path: pathlib.Path) -> None:
    nofollow.read_file(str(path))


def nofollow_tree(path: pathlib.Path) -> None:
    nofollow.read_tree(str(path.parent))


def in_place_of_fstab(path: pathlib.Path) -> None:
    etc = path.parent / "root/etc"
    etc.mkdir(parents=True)
    path.rename(etc / "fstab")
    found_root.read_mounts(str(path.parent / "root"))


def oci_blob(path: pathlib.Path) -> None:
    (path.parent / "index.json").write_text("{}")
    oci_store.Directory(str(path.parent)).read(path.name)


def oci_layer(path: pathlib.Path) -> None:
    (path.parent / "index.json").write_text("{}")
    oci_store.Directory(str(path.parent)).layout([path.name], "")


def resolv_conf(path: pathlib.Path) -> None:
    # What is no file is moved away as it is, and comes back.
    place = chroot_prep.Place(str(path), b"ours", 0o644)
    assert not place.is_ours()
    chroot_prep.put(place)
    assert place.is_ours()
    chroot_prep.take_away(place)
    raise SealedRootError("it is where it was") if os.path.lexists(path) else AssertionError


def core_image(path: pathlib.Path) -> None:
    install.core_of(str(path))


def grub_module(path: pathlib.Path) -> None:
    path.rename(path.with_suffix(".mod"))
    install.copy_modules(str(path.parent), str(path.parent / "to"))


def os_release(path: pathlib.Path) -> None:
    (path.parent / "root/etc").mkdir(parents=True)
    (path.parent / "root/etc/os-release").symlink_to(path)
    facts.check_releases(str(path.parent / "root"))


def esp_written(path: pathlib.Path) -> None:
    esp_tree.write(str(path.parent), {path.name: b"new"})


def written(path: pathlib.Path) -> None:
    regular_file.write(str(path), b"new")


def initrd(path: pathlib.Path) -> None:
    archive.unpack(t.cast(t.Any, None), str(path))


Act = t.Callable[[pathlib.Path], None]
# A link at the end of the path is read as what it leads to: these run where the image is the root directory.
FOLLOWING: tuple[Act, ...] = (follows, tree_text, tree_write)
READERS: tuple[Act, ...] = (
    *FOLLOWING,
    *(does_not_follow, nofollow_file, nofollow_tree, in_place_of_fstab, oci_blob, oci_layer),
    *(core_image, grub_module, os_release, esp_written, initrd),
)
# What one of them takes as it should.
FINE = {
    ("nofollow_tree", "directory"),
    # It replaces what is too large without reading it.
    ("tree_write", "huge sparse file"),
    # Its blobs are umoci's to read, which has a deadline.
    ("oci_layer", "huge sparse file"),
    # No reader of these files looks into a directory.
    *(("os_release", it) for it in ("directory", "link to a directory")),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("act", READERS, ids=lambda it: it.__name__)
def test_it_ends_in_a_sentence(act: Act, kind: str, tmp_path: pathlib.Path) -> None:
    if (act.__name__, kind) in FINE:
        pytest.skip("as it should be")
    path = tmp_path / "x"
    HOSTILE[kind](path)
    before = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with pytest.raises(SealedRootError):
        act(path)
    assert time.monotonic() - began < 1
    assert len(os.listdir("/proc/self/fd")) == before


NOT_FOLLOWING = (
    *(does_not_follow, nofollow_file, nofollow_tree, in_place_of_fstab, oci_blob, oci_layer),
    *(core_image, esp_written),
)


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("act", NOT_FOLLOWING, ids=lambda it: it.__name__)
def test_who_follows_no_link_says_so(act: Act, kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    LINKS[kind](path)
    with pytest.raises(SealedRootError):
        act(path)


@pytest.mark.parametrize("kind", [*HOSTILE, *LINKS])
def test_what_the_image_has_in_place_of_resolv_conf_waits(
    kind: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "x"
    {**HOSTILE, **LINKS}[kind](path)
    began = time.monotonic()
    with pytest.raises(SealedRootError):
        resolv_conf(path)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("kind", [it for it in HOSTILE if "link" not in it and "sparse" not in it])
def test_the_writer_replaces_nothing_but_a_file(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    HOSTILE[kind](path)
    with pytest.raises(SealedRootError, match="not a file"):
        written(path)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", [*LINKS, "link loop", "link to /dev/zero", "link to a directory"])
def test_the_writer_replaces_a_link(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    {**HOSTILE, **LINKS}[kind](path)
    written(path)
    assert (path.is_symlink(), path.read_bytes()) == (False, b"new")
    outside = tmp_path / "of the builder"
    assert not outside.exists() or outside.read_bytes() == b"secret"


def test_what_stands_in_the_way_of_the_writer(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SealedRootError, match=r"file/x cannot be written: (File exists|Not a dir)"):
        regular_file.write(str(tmp_path / "file/x"), b"new")


def test_the_owner_of_what_is_replaced_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    path.touch()
    if IS_ROOT:
        os.chown(path, 12, 34)
    owner = (path.stat().st_uid, path.stat().st_gid)
    regular_file.write(str(path), bytes(1 << 20) + b"end", mode=0o640)
    info = path.stat()
    assert (info.st_uid, info.st_gid) == owner
    assert stat.S_IMODE(info.st_mode) == 0o640
    assert (info.st_size, info.st_blocks * 512 < 65536) == ((1 << 20) + 3, True)


def test_as_much_as_is_asked_for(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert regular_file.read(str(path), most=5) == b"12345"
    with pytest.raises(
        regular_file.TooLargeError, match=r"x is larger than 4 bytes, so it is not read$"
    ):
        regular_file.read(str(path), most=4)


def test_what_is_not_there_is_the_callers_affair(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        regular_file.read(str(tmp_path / "none"), most=1)


def test_a_file_that_says_no_size() -> None:
    assert regular_file.read("/proc/self/status", most=1 << 20).startswith(b"Name:")
    with pytest.raises(SealedRootError, match="larger than 10 bytes"):
        regular_file.read("/proc/self/status", most=10)


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1 bytes"), (1 << 20, "1 MiB"), (3 << 30, "3 GiB"), (1025, "1025 bytes")],
)
def test_sizes_are_said_in_words(number: int, said: str) -> None:
    assert regular_file.size(number) == said
