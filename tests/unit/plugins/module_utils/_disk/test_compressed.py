# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a compressed file, whatever it was given as: its own program says whether it is whole."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import compressed, formats
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    mounted_disk,
    oci_store,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MAGICS = {name: magic for magic, name in formats.MAGICS}
XZ = "xz: /it: Unexpected end of input"
NO_TAR = "tar: This does not look like a tar archive\ntar: more"
CUT = f"is compressed with xz, and was cut off or is damaged ({XZ}): get the file again. If a disk"
# Which type it was given as, what tar(1) says of it, what xz(1) says, and the sentence.
CASES: dict[str, tuple[str, str, str, str]] = {
    "a cut tar": ("tar", f"{XZ}\ntar: Unexpected EOF in archive", "", "is truncated: get the"),
    "a cut disk as tar": ("tar", NO_TAR, XZ, CUT),
    "a disk as tar": ("tar", NO_TAR, "", "If it is a disk, unpack it (xz --decompress --keep "),
    "a cut archive": ("oci", f"{XZ}\ntar: Unexpected EOF", XZ, CUT),
    "a cut disk as archive": ("oci", NO_TAR, XZ, CUT),
    "a disk as archive": ("oci", NO_TAR, "", "If it is a disk, unpack it (xz --decompress --keep"),
    "a cut disk": ("disk", "", XZ, CUT),
    "a disk": ("disk", "", "", "is compressed with xz: unpack it (xz --decompress --keep "),
}


def give(kind: str, runner: t.Any, path: str) -> None:
    """Let the code of a type look at a file."""
    if kind == "tar":
        tar.listing(runner, path, tar.compression_of(runner, path))
    elif kind == "oci":
        oci_store.find(runner, path)
    else:
        mounted_disk.image_format(runner, path)


@pytest.mark.parametrize("case", CASES)
def test_what_a_compressed_file_is(
    case: str, script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    kind, listed, tested, says = CASES[case]
    path = tmp_path / "it"
    path.write_bytes(MAGICS["xz"] + bytes(600))
    if listed:
        more = "--verbose --block-number --numeric-owner --quoting-style=escape"
        options = more.split() if kind == "tar" else []
        script.expect(["tar", "--list", *options, "--file", str(path)], rc=2, stderr=listed)
    if "truncated" not in says:
        script.expect(["xz", "-t", str(path)], rc=1 if tested else 0, stderr=tested)
    with pytest.raises(SealedRootError) as refused:
        give(kind, runner, str(path))
    assert says in str(refused.value)
    assert "get the file again" in str(refused.value) or "type" in str(refused.value)


@pytest.mark.parametrize("compression", MAGICS)
def test_the_program_of_each_compression_is_asked(
    compression: str, script: t.Any, runner: t.Any
) -> None:
    script.expect([formats.UNPACKED_BY[compression].split()[0], "-t", "/it"], rc=1)
    assert "no reason given" in compressed.broken(runner, "/it", compression)


def test_nothing_is_said_where_nothing_is_known(runner: t.Any) -> None:
    runner.missing.add("lzip")
    assert compressed.broken(runner, "/it", "lzip") == ""
    assert compressed.broken(runner, "/it", "none") == ""


def test_a_compression_that_tar_does_not_read(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "it"
    path.write_bytes(MAGICS["bzip2"])
    for rc, says in ((0, "which is not supported: use gzip"), (2, "was cut off or is damaged")):
        script.expect(["bzip2", "-t", str(path)], rc=rc)
        with pytest.raises(SealedRootError, match=says):
            tar.compression_of(runner, str(path))
