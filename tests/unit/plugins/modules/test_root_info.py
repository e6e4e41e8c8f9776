# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_info with a scripted tar(1), and on trees, of which it says the same as of a tar of them."""

from __future__ import annotations

import hashlib
import os
import pathlib
import struct
import subprocess
import typing as t

import distribution_trees as trees
import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import packed
from ansible_collections.sealedroot.image.plugins.modules import root_info
from distribution_tools import Here

PARAMS: dict[str, t.Any] = {
    "families": LookupModule().run([]),
    "filesystem": "ext4",
    "secure_boot": None,
}
LIST = ["tar", "--list", "--verbose", "--block-number", "--numeric-owner"]
LIST += ["--quoting-style=escape", "--file"]
LISTING = """\
block 0: drwxr-xr-x 0/0 0 2026-11-24 01:41 ./
block 1: -rw-r--r-- 0/0 11 2026-11-24 01:41 ./usr/lib/os-release
block 3: -rwxr-xr-x 0/0 20 2026-11-24 01:41 ./usr/bin/dash
block 5: ** Block of NULs **
"""
ELF = (b"\x7fELF\x02\x01" + bytes(10) + struct.pack("<HH", 3, 0x3E)).decode()


@pytest.fixture
def tar(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "root.tar"
    path.write_bytes(b"tar")
    return path


def test_info(tar: pathlib.Path, script: t.Any, run_module: t.Any) -> None:
    script.expect([*LIST, str(tar)], stdout=LISTING)
    script.expect(
        [
            *("tar", "--extract", "--to-stdout", "--file", str(tar)),
            *("./usr/bin/dash", "./usr/lib/os-release"),
        ],
        stdout="ID=devuan1\n" + ELF,
    )
    outcome = run_module("root_info", path=str(tar))
    assert not outcome.failed, outcome["msg"]
    assert outcome["tar"]["sha256"] == hashlib.sha256(b"tar").hexdigest()
    assert outcome["tar"]["compression"] == "none"
    assert outcome["root"]["entries"] == 3
    assert outcome["root"]["architecture"] == "x86_64"
    assert outcome["root"]["os_release"] == {"ID": "devuan1"}
    assert outcome["root"]["family"] == ""
    assert outcome["root"]["missing_packages"] == []


def test_without_the_checksum(
    tar: pathlib.Path, script: t.Any, run_module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "sha256", lambda _path: pytest.fail("it was taken"))
    script.expect([*LIST, str(tar)], stdout=LISTING)
    script.expect(
        [
            *("tar", "--extract", "--to-stdout", "--file", str(tar)),
            *("./usr/bin/dash", "./usr/lib/os-release"),
        ],
        stdout="ID=devuan1\n" + ELF,
    )
    outcome = run_module("root_info", path=str(tar), get_checksum=False)
    assert not outcome.failed, outcome["msg"]
    assert outcome["tar"]["sha256"] == ""


def test_a_digest_is_checked_even_so(tar: pathlib.Path, run_module: t.Any) -> None:
    outcome = run_module("root_info", path=str(tar), get_checksum=False, digest="0" * 64)
    assert outcome.failed
    assert f"has the SHA-256 {hashlib.sha256(b'tar').hexdigest()}" in outcome["msg"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"rc": 2, "stderr": "tar: Unexpected EOF in archive\n"}, "is truncated: get"),
        ({"rc": 2, "stderr": "zstd: premature end\ntar: Child returned 1"}, "is truncated: get"),
        ({"rc": 2, "stderr": "xz: (stdin): Unexpected end of input\n"}, "is truncated: get"),
        (
            {"rc": 2, "stderr": "tar: This does not look like a tar archive\ntar: more\n"},
            "can read (tar: This does not look like a tar archive): pack it again",
        ),
        ({"rc": 2}, "(no reason given)"),
        ({"stdout": "block 0: ** End of File **\n"}, "so it is truncated"),
        ({"stdout": "block 0: ** Block of NULs **\n"}, "with nothing in it"),
    ],
)
def test_what_tar_says(
    answer: dict[str, t.Any], message: str, tar: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    script.expect([*LIST, str(tar)], **answer)
    outcome = run_module("root_info", path=str(tar))
    assert outcome.failed
    assert message in outcome["msg"]


def test_a_wrong_digest_stops_before_anything_is_parsed(
    tar: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    outcome = run_module("root_info", path=str(tar), digest="a" * 64)
    assert outcome.failed
    assert "a" * 64 in outcome["msg"]
    assert hashlib.sha256(b"tar").hexdigest() in outcome["msg"]


def test_the_selinux_policy_of_the_root(
    tar: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    config = "SELINUX=permissive\nSELINUXTYPE=default\n"
    rows = [
        (len(config), "./etc/selinux/config"),
        (9, "./etc/selinux/default/policy/policy.33"),
        (9, "./etc/selinux/default/contexts/files/file_contexts"),
    ]
    more = "".join(
        f"block 5: -rw-r--r-- 0/0 {size} 2026-11-24 01:41 {name}\n" for size, name in rows
    )
    script.expect([*LIST, str(tar)], stdout=LISTING.replace("block 5", f"{more}block 11"))
    names = ("./etc/selinux/config", "./usr/bin/dash", "./usr/lib/os-release")
    script.expect(
        ["tar", "--extract", "--to-stdout", "--file", str(tar), *names],
        stdout="ID=devuan1\n" + ELF + config,
    )
    outcome = run_module("root_info", path=str(tar))
    assert not outcome.failed, outcome["msg"]
    assert outcome["root"]["has"]["selinux"] == {
        "mode": "permissive",
        "type": "default",
        "policy": "etc/selinux/default/policy/policy.33",
        "setfiles": False,
    }


def test_an_selinux_type_that_leads_elsewhere(
    tar: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    config = "SELINUXTYPE=../../x\n"
    row = f"block 5: -rw-r--r-- 0/0 {len(config)} 2026-11-24 01:41 ./etc/selinux/config\nblock 7"
    script.expect([*LIST, str(tar)], stdout=LISTING.replace("block 5", row))
    names = ("./etc/selinux/config", "./usr/bin/dash", "./usr/lib/os-release")
    script.expect(
        ["tar", "--extract", "--to-stdout", "--file", str(tar), *names],
        stdout="ID=devuan1\n" + ELF + config,
    )
    outcome = run_module("root_info", path=str(tar))
    assert outcome.failed
    assert "correct it, and pack the root again" in outcome["msg"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"path": "root.tar", "facts": True}, "mutually exclusive: path|facts"),
        ({"digest": "0" * 64}, "missing parameter(s) required by 'digest': path"),
    ],
)
def test_what_goes_with_a_tar_alone(
    more: dict[str, t.Any], message: str, run_module: t.Any
) -> None:
    outcome = run_module("root_info", **more)
    assert outcome.failed
    assert message in outcome["msg"]


def from_tar(root: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    tar = root.parent / "root.tar"
    subprocess.run(["tar", "-C", str(root), "--sort=name", "-cf", str(tar), "."], check=True)
    asked = {**PARAMS, "get_checksum": False, **more}
    found: dict[str, t.Any] = packed.describe(Here(), str(tar), asked, digest=None)["root"]
    return found


@pytest.mark.parametrize("it", trees.ALL, ids=lambda it: it.name)
@pytest.mark.parametrize("signed", [False, True], ids=["", "secure-boot"])
def test_it_sees_what_is_in_a_tar(it: trees.Distribution, signed: bool, tmp_path) -> None:
    root = trees.make(it, tmp_path / "root")
    (root / "swapfile").write_text("x" * 5000)
    (root / "etc/a\\b").touch()
    os.link(root / "etc/os-release", root / "etc/os-release-too", follow_symlinks=False)
    (root / "dev-of-its-own").mkdir()
    header = {"luks_type": "luks1", "hash": "sha256", "filesystem": "ext4"} if signed else None
    there = from_tar(root, secure_boot=header)
    here = root_info.of_tree(str(root), {**PARAMS, "secure_boot": header})["root"]
    # The tar has an entry for the root itself, and spells names as ./name.
    assert here.pop("entries") == there.pop("entries") - 1
    assert abs(here.pop("unpacked_bytes") - there.pop("unpacked_bytes")) <= 8192
    assert [f"./{name}" for name in here.pop("excluded")] == there.pop("excluded")
    assert here == there


def test_a_root_that_lacks_something(tmp_path) -> None:
    it = next(it for it in trees.ALL if it.family == "redhat")
    root = trees.make(it, tmp_path / "root")
    (root / "usr/bin/dracut").unlink()
    assert root_info.of_tree(str(root), PARAMS)["root"]["missing_packages"] == ["dracut"]
