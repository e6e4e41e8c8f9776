# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the command of each file system is asked for."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems

UUID = "aaaaaaaa-bbbb-4ccc-8ddd-000000000002"
# As mkfs.xfs 6.1 prints it, what is of interest.
XFS = "[-m crc=0|1,finobt=0|1,rmapbt=0|1,reflink=0|1,\n inobtcount=0|1,bigtime=0|1] [-i sparse=0|1,nrext64=0|1]"
BTRFS = "Filesystem features available:\nno-holes            - no explicit hole extents\nzoned  - x"


def request(*features: str, **more: t.Any) -> mkfs.Request:
    return mkfs.Request("/dev/x", UUID, more.pop("size", 4 << 30), features, **more)


def test_each_file_system_has_its_command() -> None:
    assert set(mkfs.MAKERS) == set(filesystems.FILESYSTEMS)


def test_ext4_begins_without_the_builders_features() -> None:
    argv = mkfs.ext4(request("inline_data", "^64bit", hash_seed=UUID))
    features = argv[argv.index("-O") + 1].split(",")
    assert features[0] == "none"
    assert features[-2:] == ["inline_data", "^64bit"]
    assert argv[argv.index("-E") + 1].endswith(f",nodiscard,hash_seed={UUID}")
    assert argv[-1] == "/dev/x"
    assert "hash_seed" not in " ".join(mkfs.ext4(request()))


def xfs_features(argv: list[str]) -> dict[str, str]:
    """Return the features among the options, each with the option that it stands at."""
    pairs = itertools.pairwise(argv)
    return {
        word: option
        for option, word in pairs
        if option in ("-m", "-i", "-n") and not word.startswith("uuid=")
    }


def test_xfs_names_what_the_builder_knows() -> None:
    assert xfs_features(mkfs.xfs(request(), XFS)) == {
        "bigtime=1": "-m",
        "crc=1": "-m",
        "finobt=1": "-m",
        "inobtcount=0": "-m",
        "nrext64=0": "-i",
        "reflink=1": "-m",
        "rmapbt=0": "-m",
        "sparse=1": "-i",
    }


def test_xfs_leaves_the_word_of_who_asks() -> None:
    """What this mkfs.xfs does not know as well: it refuses it."""
    found = xfs_features(mkfs.xfs(request("nrext64", "^bigtime", "exchange", "unheard"), XFS))
    wanted = {"nrext64=1": "-i", "bigtime=0": "-m", "exchange=1": "-i", "unheard=1": "-m"}
    assert wanted.items() <= found.items()
    assert not {"nrext64=0", "bigtime=1"} & set(found)


@pytest.mark.parametrize(("size", "groups"), [(1 << 30, 4), (4 << 40, 4), ((4 << 40) + 1, 5)])
def test_xfs_has_groups_as_on_a_disk(size: int, groups: int) -> None:
    argv = mkfs.xfs(request(size=size), XFS)
    assert argv[argv.index("-d") + 1] == f"agcount={groups},noalign"


@pytest.mark.parametrize(
    ("features", "known", "found"),
    [
        ((), BTRFS, ["-O", "^no-holes"]),
        ((), "", []),
        (("no-holes",), BTRFS, ["-O", "no-holes"]),
        (("zoned",), f"{BTRFS}\nblock-group-tree - x", ["-O", "^no-holes,^block-group-tree,zoned"]),
        (("^block-group-tree",), "", ["-O", "^block-group-tree"]),
    ],
)
def test_btrfs_leaves_out_what_old_readers_do_not_know(
    features: tuple[str, ...], known: str, found: list[str]
) -> None:
    argv = mkfs.btrfs(request(*features), known)
    assert argv[argv.index("single") + 1 : -1] == found


def test_make_asks_and_makes(script: t.Any, runner: t.Any) -> None:
    script.expect(["mkfs.xfs"], rc=1, stderr=XFS)
    script.expect(mkfs.xfs(request(), XFS), env={"SOURCE_DATE_EPOCH": "1"})
    mkfs.make(runner, "xfs", request(), {"SOURCE_DATE_EPOCH": "1"})
