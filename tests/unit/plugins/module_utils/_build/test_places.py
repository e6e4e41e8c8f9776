# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the directories of a build and of its image."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import places as build_places
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts


@pytest.mark.parametrize("make", [pathlib.Path.touch, os.mkfifo])
@pytest.mark.parametrize(
    ("places", "problem"),
    [
        ({"work_dir": "in/the/way"}, "{way} is not a directory: use another work directory."),
        ({"work_dir": "in"}, "{way} is not a directory: use another work directory."),
        ({"output_dir": "in/web-1"}, "image_output_dir: {way} is {kind}, not a directory"),
        ({"output_dir": "in/some/web-1"}, "image_output_dir: {way} is {kind}, not a directory"),
    ],
)
def test_what_is_no_directory_in_the_way(
    make: t.Callable[[pathlib.Path], None],
    places: dict[str, str],
    problem: str,
    tmp_path: pathlib.Path,
) -> None:
    make(tmp_path / "in")
    kind = "a file" if make is pathlib.Path.touch else "a FIFO"
    found = build_places.problems(
        str(tmp_path / places.get("work_dir", "w")),
        str(tmp_path / places.get("output_dir", "o")),
    )
    words = problem.format(way=tmp_path / "in", kind=kind)
    assert words in " ".join(found)


def test_no_holes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"free_bytes": 5 << 20, "holes": False, "direct_io": False}
    monkeypatch.setattr(build_places, "file_system", lambda _path: facts)
    (problem,) = build_places.problems(str(tmp_path / "w"), None)
    assert "keeps no sparse files" in problem


def test_what_a_file_system_offers(tmp_path: pathlib.Path) -> None:
    offered = build_places.file_system(str(tmp_path / "not/there/yet"))
    assert offered["free_bytes"] > 0
    assert build_places.file_system("/proc") == {
        **dict.fromkeys(("holes", "direct_io"), False),
        "free_bytes": 0,
    }


MOUNTS = """\
22 1 0:39 /@ / rw - btrfs /dev/vda rw
23 22 0:39 /@home {place}/home rw - btrfs /dev/vda rw
24 22 254:16 / {place}/srv rw - ext4 /dev/vdb rw
25 22 254:32 / {place}/over rw - ext4 /dev/vdc rw
26 22 254:16 / {place}/over rw - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("work", "out", True),
        ("work/a", "work/a/not/there/yet", True),
        # Two subvolumes of one Btrfs.
        ("work", "home/out", True),
        ("work", "srv/out", False),
        ("srv/a", "srv/b", True),
        # No directory of that mount.
        ("work", "srv2/out", True),
        # Only the last one in a place is seen.
        ("srv/a", "over/out", True),
        ("work", "link/out", False),
    ],
)
def test_what_is_in_one_file_system(
    one: str, other: str, together: bool, tmp_path: pathlib.Path
) -> None:
    for name in ("home", "over", "srv", "srv2", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("srv")
    seen = mounts.parse(MOUNTS.format(place=tmp_path))
    paths = str(tmp_path / one), str(tmp_path / other)
    assert build_places.are_together(*paths, seen) is together


def test_the_mounts_of_this_machine(tmp_path: pathlib.Path) -> None:
    assert build_places.are_together(str(tmp_path / "a"), str(tmp_path / "b"))
    assert not build_places.are_together(str(tmp_path), "/proc")


@pytest.mark.parametrize(
    ("mountinfo", "is_problem"),
    [
        ("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n", False),
        (
            "30 22 0:5 / /dev rw - devtmpfs udev rw\n22 1 254:0 /tree / rw - ext4 /dev/vda rw\n",
            False,
        ),
        # What a plain chroot has: what is mounted below it.
        (
            "30 22 0:5 / /dev rw,nosuid - devtmpfs udev rw\n31 22 0:6 / /proc rw - proc proc rw\n",
            True,
        ),
    ],
)
def test_a_root_directory_that_is_no_mount(mountinfo: str, is_problem: bool) -> None:
    found = build_places.root_problems(mounts.parse(mountinfo))
    assert [it for it in found if "mount --bind DIR DIR" in it] == found
    assert bool(found) is is_problem


@pytest.mark.parametrize(("build", "output"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_an_image_in_the_directory_of_its_build_would_go_with_it(
    build: str, output: str, tmp_path: pathlib.Path
) -> None:
    said = build_places.problems(str(tmp_path / build), str(tmp_path / output))
    assert [it for it in said if "are one in the other: correct image_work_dir" in it]
    beside = build_places.problems(str(tmp_path / "a"), str(tmp_path / "ab"))
    assert not [it for it in beside if "one in the other" in it]
