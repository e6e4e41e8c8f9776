# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys an initramfs holds, and how often."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _initrd_keys
from cpio import newc

KEY, OTHER = b"Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290", b"b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhl"
HELD = {"etc/keys/root.key": (0o400, KEY)}
ZSTD = b"\x28\xb5\x2f\xfd"


def judge(
    script: t.Any, runner: t.Any, directory: pathlib.Path, early: bytes, packed: bytes, main: bytes
) -> list[str]:
    path, unpacked = directory / "initrd", directory / "initrd.main"
    path.write_bytes(early + packed)
    if packed:
        argv = ["zstd", "-d", "-f", "-q", f"{unpacked}.zst"]
        script.expect(argv, effect=lambda: unpacked.write_bytes(main))
    return _initrd_keys.problems(runner, str(path), boot_key=KEY, others={"old key": OTHER})


EARLY, MAIN = newc({"kernel/x86/microcode": (0o644, b"m")}), newc(HELD)
TWICE = "it holds the boot key 2 times, not once: remove the copies"


@pytest.mark.parametrize(
    ("early", "packed", "main", "problems"),
    [
        (MAIN, b"", b"", []),
        (EARLY, ZSTD + b"packed", MAIN, []),
        # A compressor stores what it cannot make smaller as it is.
        (b"", ZSTD + b"raw block" + MAIN, MAIN, []),
        (EARLY, ZSTD + b"raw block" + MAIN, MAIN, []),
        (MAIN, ZSTD + b"raw block" + MAIN, MAIN, [TWICE]),
        (MAIN, ZSTD + b"packed", MAIN, [TWICE]),
        (EARLY, ZSTD + OTHER, newc({**HELD, "old": (0o400, OTHER)}), ["the old key is in it"]),
        (newc({"old": (0o400, OTHER)}), ZSTD + b"packed", MAIN, ["the old key is in it"]),
        (
            EARLY,
            ZSTD + KEY,
            EARLY,
            ["it holds the boot key 0 times, not once: the machine would ask a second time"],
        ),
    ],
)
def test_keys(
    script: t.Any,
    runner: t.Any,
    tmp_path: pathlib.Path,
    early: bytes,
    packed: bytes,
    main: bytes,
    problems: list[str],
) -> None:
    assert judge(script, runner, tmp_path, early, packed, main) == problems
