# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The listing of a tar."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def member(name: str, kind: str = "-") -> tar.Member:
    return tar.Member(kind, name, 1, 512, name)


# GNU tar 1.34, --sparse --format=posix.
LISTING = """\
block 2: drwxr-xr-x 0/0               0 2026-11-24 01:41 ./a/
block 5: drwxr-xr-x 0/0               0 2026-11-24 01:41 ./a/b/
block 8: -rw-r--r-- 0/0            5000 2026-11-24 01:41 a/n
block 21: -rw-r--r-- 0/0     10737418242 2026-11-24 01:41 ./a/sp
block 26: hrw-r--r-- 0/0               0 2026-11-24 01:41 ./a/hl link to ./a/sp
block 29: prw-r--r-- 0/0               0 2026-11-24 01:41 ./a/f
block 32: crw-r--r-- 0/0             1,3 2026-11-24 01:41 ./a/n
block 35: lrwxrwxrwx 0/0               0 2026-11-24 01:41 ./a/l -> x -> y
block 38: -rwsr-xr-T+ 4294967294/65534    1 1901-12-13 20:45 /./a/new\\nline
block 40: ** Block of NULs **
"""


def test_parse() -> None:
    members = tar.parse_listing(LISTING)
    assert [(m.type, m.name, m.size, m.stored) for m in members] == [
        ("d", "a", 0, 1024),
        ("d", "a/b", 0, 1024),
        ("-", "a/n", 5000, 6144),
        ("-", "a/sp", 10737418242, 2048),
        ("h", "a/hl", 0, 1024),
        ("p", "a/f", 0, 1024),
        ("c", "a/n", 0, 1024),
        ("l", "a/l", 0, 1024),
        ("-", "a/new\\nline", 1, 512),
    ]
    assert members[3].raw == "./a/sp"
    assert (members[4].raw, members[4].target) == ("./a/hl", "./a/sp")
    assert members[7].link == "x -> y"
    assert members[8].mode == "rwsr-xr-T"
    # Two directories and the root, 5000 bytes, 2048 stored ones, 1 byte; 8 inodes.
    assert tar.unpacked_bytes(members) == (3 + 2 + 1 + 1) * 4096 + 8 * 256


LINKS = {"a/l": "../b/./x", "b/x": "/c", "d": "b", "hard": "/e", "one": "two", "two": "one"}


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("a/n", "a/n"),
        ("a/l", "c"),
        ("a/l/y", "c/y"),
        ("d/x", "c"),
        ("hard", "e"),
        ("../../a/n", "a/n"),
        ("one", ""),
        ("a/" * 9000, ""),
    ],
)
def test_where_a_link_leads(name: str, real: str) -> None:
    assert tar.real(LINKS, name) == real


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        (LISTING.replace("Block of NULs", "End of File"), "truncated"),
        ("block 0: ** End of File **\n", "truncated"),
        ("nonsense\n", "not understood: nonsense"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(SealedRootError, match=message):
        tar.parse_listing(text)


def test_an_empty_tar_has_no_members() -> None:
    assert tar.parse_listing("block 0: ** Block of NULs **\n") == []


def test_pick_takes_files_with_content_in_the_order_of_the_names() -> None:
    members = [
        member("bin/bash"),
        member("usr/bin/dash", "l"),
        tar.Member("-", "bin/dash", 0, 0, "bin/dash"),
    ]
    picked = tar.pick(members, ["usr/bin/dash", "bin/dash", "bin/bash"])
    assert picked == members[0]
    assert tar.pick(members, ["x"]) is None


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("a b", "a b"),
        (r"new\nline\t", "new\nline\t"),
        (r"back\\slash", "back\\slash"),
        (r"sw\303\244p", "swäp"),
        (r"latin\351", "latin\udce9"),
        ("swäp\\\\", "swäp\\"),
    ],
    ids=["plain", "letters", "backslash", "utf-8", "latin-1", "not-escaped"],
)
def test_names_without_the_escapes_of_a_listing(listed: str, name: str) -> None:
    assert tar.plain(listed) == name
