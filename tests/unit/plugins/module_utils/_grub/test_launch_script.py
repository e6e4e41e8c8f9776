# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that reads a launch secret, run by a shell whose commands are those of GRUB on a memory of its own."""

from __future__ import annotations

import re
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf, secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, launch_script

LUKS = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN = LUKS.replace("-", "")
AREA = ovmf.Area(0x810000, 0x80)
KEY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijk+/0189="
TABLE = secret_table.build(KEY, AREA.size)
CHECK = (
    "hashsum --hash sha256 --check (memdisk)/own_volume.sha256"
    f" --prefix (cryptouuid/{PLAIN})/boot/grub/sealedroot"
)
MENU = f"root=cryptouuid/{PLAIN} key=<>"
HALTED = [launch_script.NO_SECRET, "halt"]
SHELL = """
read_byte() { eval "$2=\\$(printf %x \\$m_$(($3)))"; }
read_dword() { at=$(($3)); eval "$2=\\$(printf %x \\
    \\$((m_$at | m_$((at + 1)) << 8 | m_$((at + 2)) << 16 | m_$((at + 3)) << 24)))"; }
write_dword() { at=$(($1)); eval "m_$at=$2 m_$((at + 1))=$2 m_$((at + 2))=$2 m_$((at + 3))=$2"; }
cryptomount() { echo "cryptomount $*"; [ "$*" = "$opens" ]; }
hashsum() { echo "hashsum $*"; [ -z "$other" ]; }
configfile() { echo "root=$root key=<${key-}>"; }
sleep() { :; }
halt() { echo halt; memory; }
reboot() { echo reboot; memory; }
"""


def run(
    memory: bytes, *, opens: str = "", prompt: bool = False, other: str = ""
) -> tuple[list[str], bytes]:
    """Run the script; return what it says, and what is in the memory then."""
    script = launch_script.script(luks_uuid=LUKS, directory="/boot/grub", area=AREA, prompt=prompt)
    # What GRUB's language has and a shell has not.
    script = re.sub(r"set (\w+)=(\(.*|\"\"|)$", r"\1='\2'", script, flags=re.MULTILINE)
    script = re.sub(r"^( *|.*eval \")set (?=\w+=)", r"\1", script, flags=re.MULTILINE)
    script = re.sub(r" (\(\S+?)(?=;| |$)", r" '\1'", script, flags=re.MULTILINE)
    places = range(AREA.base, AREA.base + AREA.size)
    memory = memory.ljust(AREA.size, b"\0")
    show = "".join(f"printf %02x $m_{at};" for at in places)
    lines = [f"m_{at}={byte}" for at, byte in zip(places, memory, strict=True)]
    lines += [
        SHELL,
        f"memory() {{ {show} echo; exit; }}",
        f"opens='{opens}' other='{other}'",
        script,
    ]
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert not done.stderr
    *said, after = done.stdout.splitlines()
    return said, bytes.fromhex(after)


def opening(key: bytes = KEY) -> str:
    return f"cryptomount -p {key.decode()} -u {PLAIN}"


def test_the_key_opens_the_disk_and_is_gone_when_the_menu_comes() -> None:
    said, after = run(TABLE, opens=opening().partition(" ")[2])
    assert said == [opening(), CHECK, MENU, "GRUB has no menu to go on with.", "halt"]
    assert after == bytes(AREA.size)


@pytest.mark.parametrize("key", [bytes(KEY[at:] + KEY[:at]) for at in (7, 14, 21, 28, 35)])
def test_every_character(key: bytes) -> None:
    said, _after = run(secret_table.build(key, AREA.size))
    assert said == [opening(key), *HALTED]


CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/="


@pytest.mark.parametrize("key", [CHARACTERS[:44], CHARACTERS[-44:]])
def test_the_whole_alphabet(key: bytes) -> None:
    assert secret_table.READABLE.fullmatch(key)
    assert run(secret_table.build(key, AREA.size))[0] == [opening(key), *HALTED]


def changed(at: int, value: int) -> bytes:
    return TABLE[:at] + bytes([value]) + TABLE[at + 1 :]


# Each is no table with one key: it is not tried, and erased.
OTHERS: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("another table", changed(0, 0)),
    ("a longer table", changed(16, 0x56)),
    ("another secret", changed(20, 0)),
    ("a longer entry", changed(36, 0x42)),
    ("a shorter key", secret_table.build(KEY[:43], AREA.size)),
    ("no character of a key", secret_table.build(b"\x07" * 44, AREA.size)),
]


@pytest.mark.parametrize(("_name", "memory"), OTHERS, ids=[it[0] for it in OTHERS])
def test_what_is_no_secret(_name: str, memory: bytes) -> None:
    """Without a key, GRUB would ask for one."""
    said, after = run(memory)
    assert said == HALTED
    assert after == bytes(AREA.size)


def test_a_character_that_is_none_makes_another_key() -> None:
    said, after = run(changed(40, 0x21))
    assert said == [opening(KEY[1:]), *HALTED]
    assert after == bytes(AREA.size)


def test_it_asks_only_if_that_is_a_way_too() -> None:
    ask = f"cryptomount -u {PLAIN}"
    said, after = run(TABLE, prompt=True)
    assert said == [opening(), launch_script.NO_SECRET, *[ask] * 3, *_restart()]
    assert after == bytes(AREA.size)
    said, _after = run(b"", prompt=True, opens=ask.partition(" ")[2])
    assert said == [
        launch_script.NO_SECRET,
        ask,
        CHECK,
        MENU,
        "GRUB has no menu to go on with.",
        "halt",
    ]


@pytest.mark.parametrize("prompt", [False, True])
def test_another_volume_that_opens_is_not_read(prompt: bool) -> None:
    """By whatever key: the host types one of its own, or its volume takes any."""
    other = [CHECK, "The volume is not this image's own.", "halt"]
    said, _after = run(TABLE, opens=opening().partition(" ")[2], prompt=prompt, other="yes")
    assert said == [opening(), *other]
    ask = f"-u {PLAIN}"
    said, _after = run(b"", opens=ask, prompt=True, other="yes")
    assert said == [launch_script.NO_SECRET, f"cryptomount {ask}", *other]


def _restart() -> t.Iterator[str]:
    yield from ("No key opens the disk. Restarting.", "reboot")


def test_the_console_is_closed_before_anything_else() -> None:
    lines = launch_script.script(luks_uuid=LUKS, directory="/boot/grub", area=AREA).splitlines()
    assert tuple(lines[: len(cfg.CLOSED)]) == cfg.CLOSED
    assert lines[-1] == "halt"
    assert not [line for line in lines if line.split()[:1] == ["tpm"]]
