# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What QEMU gets to start a machine as a confidential guest."""

from __future__ import annotations

import hashlib
import pathlib
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    secret_table,
)
from ansible_collections.sealedroot.image.plugins.module_utils._machine import launch
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

KEY = b"k" * 44
FILES = {
    "firmware": firmware.ovmf(),
    "core": b"core",
    "hashes": kernel_hashes.table(b"core"),
    "secret": secret_table.build(KEY, 0xC00),
}
DIGEST = hashlib.sha256(FILES["firmware"] + FILES["hashes"]).hexdigest()


def read(place: pathlib.Path, **change: bytes) -> launch.Launch:
    files = {**FILES, **change}
    for name, data in files.items():
        (place / name).write_bytes(data)
    return launch.read({**{name: f"{place}/{name}" for name in files}, "digest": DIGEST})


def started(place: pathlib.Path, start: str) -> dict[str, bytes]:
    """Return the files that QEMU gets, by option or address."""
    work = place / "work"
    work.mkdir()
    words = launch.options(read(place), start, name="x,y", work=str(work))
    found = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        name, path = option, value
        if option == "-device":
            kind, name, raw, path = value.replace(",,", "\0").split(",")
            assert (kind, raw) == ("loader", "force-raw=on")
            path = path.replace("\0", ",").partition("=")[2]
        file = pathlib.Path(path)
        # The image's own secret stays where it is: the work directory may be on a disk.
        is_own = file == place / "secret"
        assert is_own or file.stat().st_mode & 0o777 == 0o600
        assert is_own or KEY not in file.read_bytes()
        found[name] = file.read_bytes()
    return found


def test_all_as_it_is(tmp_path: pathlib.Path) -> None:
    assert started(tmp_path, launch.PUBLISHED) == {
        "-bios": FILES["firmware"],
        "-kernel": b"core",
        "addr=0x810c00": FILES["hashes"],
        "addr=0x810000": FILES["secret"],
    }
    assert read(tmp_path).key == KEY.decode()
    assert KEY.decode() not in repr(read(tmp_path))


@pytest.mark.parametrize(
    ("start", "name", "data"),
    [
        (launch.NO_SECRET, "addr=0x810000", None),
        (launch.NO_HASHES, "addr=0x810c00", None),
        (launch.LONGER_CORE, "-kernel", b"core\0"),
    ],
)
def test_what_a_host_may_change(
    start: str, name: str, data: bytes | None, tmp_path: pathlib.Path
) -> None:
    whole = {
        "-bios": FILES["firmware"],
        "-kernel": b"core",
        "addr=0x810c00": FILES["hashes"],
        "addr=0x810000": FILES["secret"],
    }
    wanted: dict[str, t.Any] = {**whole, name: data}
    assert started(tmp_path, start) == {it: value for it, value in wanted.items() if value}


def test_another_key(tmp_path: pathlib.Path) -> None:
    secret = started(tmp_path, launch.OTHER_KEY)["addr=0x810000"]
    assert secret_table.READABLE.fullmatch(secret[40:84])
    assert secret == secret_table.build(secret[40:84], 0xC00) != FILES["secret"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hashes": kernel_hashes.table(b"other")}, "have the launch digest"),
        ({"firmware": firmware.padded(b"x")}, "have the launch digest"),
        ({"core": b"other"}, "does not have the hash of"),
    ],
)
def test_files_that_do_not_belong_together(
    change: dict[str, bytes], says: str, tmp_path: pathlib.Path
) -> None:
    """What is booted is what the owner's digest was computed from."""
    with pytest.raises(SealedRootError, match=says):
        read(tmp_path, **change)
