# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a file that came from a URL is, by its bytes and by what tar(1) lists."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._source import url
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    OutputLimitError,
    SealedRootError,
)


def at(offset: int, data: bytes) -> bytes:
    return (bytes(offset) + data).ljust(128 << 10, b"\0")


@pytest.mark.parametrize(
    "data",
    [
        # tar takes the zeros with which the first two begin for the end of an archive.
        at(0x438, b"\x53\xef"),
        at(0x10040, b"_BHRfS_M"),
        at(0, b"XFSB"),
        at(510, b"\x55\xaa"),
        at(0, b"QFI\xfb\0\0\0\3"),
    ],
    ids=["ext4", "btrfs", "xfs", "a table", "qcow2"],
)
def test_a_disk_is_known_before_tar_is_asked(
    runner: t.Any, tmp_path: pathlib.Path, data: bytes
) -> None:
    (tmp_path / "it").write_bytes(data)
    assert url.kind_of(runner, str(tmp_path / "it")) == "disk"


TAR = at(257, b"ustar")
# By chance, what is compressed can have the bytes of a partition table.
PACKED = b"\x1f\x8b" + bytes(508) + b"\x55\xaa"
NOTHING = "what came is no tar and no disk image"


@pytest.mark.parametrize(
    ("data", "names", "kind"),
    [
        (TAR, ["./", "./etc/os-release"], "tar"),
        (TAR, ["./oci-layout"], "oci"),
        (PACKED, ["manifest.json"], "oci"),
        (PACKED, ["etc/"], "tar"),
        (PACKED, None, "what came is compressed with gzip, and no tar is in it"),
        (PACKED, [], "what came is compressed with gzip, and no tar is in it"),
        (PACKED, None, "what came is compressed with gzip, and was cut off or is damaged"),
        (b"text", None, NOTHING),
        (bytes(10240), [], NOTHING),
    ],
)
def test_what_tar_lists(
    runner: t.Any, script: t.Any, tmp_path: pathlib.Path, data: bytes, names: t.Any, kind: str
) -> None:
    path = tmp_path / "it"
    path.write_bytes(data)
    listed = "".join(f"{name}\n" for name in names or ())
    argv = ["tar", "--list", "--file", str(path)]
    script.expect(argv, rc=2 if names is None else 0, stdout=listed)
    if "compressed" in kind:
        script.expect(["gzip", "-t", str(path)], rc=1 if "damaged" in kind else 0)
    if " " not in kind:
        assert url.kind_of(runner, str(path)) == kind
        return
    with pytest.raises(SealedRootError, match=kind):
        url.kind_of(runner, str(path))


def test_as_many_names_as_a_root_may_have(
    runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it").write_bytes(TAR)

    def run(argv: t.Sequence[str], *, most: int, **_more: t.Any) -> None:
        assert most == tar.MOST_LISTED
        raise OutputLimitError("it printed more")

    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(SealedRootError, match=r"the names in it take more than 256 MiB"):
        url.kind_of(runner, str(tmp_path / "it"))
