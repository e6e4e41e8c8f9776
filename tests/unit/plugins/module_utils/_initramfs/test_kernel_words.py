# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of the kernel's words, run by sh on command lines of the test."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest, kernel_words
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
GENERATORS = ("initramfs_tools", "dracut", "mkinitcpio")
RESTART = {"initramfs_tools": "reboot -f", "dracut": "systemctl --force --force reboot"}


def run(
    tmp_path: pathlib.Path, generator: str, cmdline: str, *arguments: str, initrd: bool = True
) -> tuple[str, str]:
    """Run the check as the initramfs does; return the command that restarts, and what the kernel's log gets."""
    proc, log = tmp_path / "cmdline", tmp_path / "kmsg"
    proc.write_text(f"{cmdline}\n")
    release = tmp_path / "initrd-release"
    if initrd:
        release.touch()
    text = kernel_words.text(generator, luks_uuid=UUID)
    for old, new in (
        ("/proc/cmdline", proc),
        ("/dev/kmsg", log),
        ("/etc/initrd-release", release),
        ("echo b >/proc/sysrq-trigger", "exit 1"),
    ):
        text = text.replace(old, str(new))
    programs = "".join(f'{name}() {{ echo {name} "$@"; }}\n' for name in ("reboot", "systemctl"))
    shell = ["sh", "-s", "--", *arguments]
    done = subprocess.run(
        shell, input=programs + text, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    assert done.returncode == (1 if done.stdout else 0)
    return done.stdout.strip(), log.read_text() if log.exists() else ""


def words(generator: str) -> list[str]:
    return guest.words(generator, luks_uuid=UUID)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    "form", ["BOOT_IMAGE=/vmlinuz root=/dev/mapper/x ro {} console=ttyS0", "{}", "x=a * b {}"]
)
def test_all_words_are_there(tmp_path: pathlib.Path, generator: str, form: str) -> None:
    assert run(tmp_path, generator, form.format(" ".join(words(generator)))) == ("", "")


CASES = [(generator, word) for generator in GENERATORS for word in words(generator)]


@pytest.mark.parametrize(("generator", "word"), CASES)
@pytest.mark.parametrize("instead", ["", "x", "{}x", "x{}", "{}=1"])
def test_a_word_is_lost(tmp_path: pathlib.Path, generator: str, word: str, instead: str) -> None:
    given = [it if it != word else instead.format(word) for it in words(generator)]
    restart, log = run(tmp_path, generator, f"root=x {' '.join(given)} quiet")
    assert restart == RESTART.get(generator, RESTART["dracut"])
    assert log == f"<3>The kernel was not told {word}. Restarting.\n"


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    "form", ["'{}", "x=\\'\\' {}", '{} dyndbg="file a +p"', "{} \\", "{} a'b'"]
)
def test_a_quote_hides_words(tmp_path: pathlib.Path, generator: str, form: str) -> None:
    """systemd takes both kinds (proc_cmdline_parse); noise in grub.cfg has one in every ninth try."""
    restart, log = run(tmp_path, generator, form.format(f"quiet {' '.join(words(generator))}"))
    assert restart == RESTART.get(generator, RESTART["dracut"])
    assert log == "<3>The kernel was told something in quotes. Restarting.\n"


@pytest.mark.parametrize("generator", GENERATORS)
def test_an_empty_command_line(tmp_path: pathlib.Path, generator: str) -> None:
    assert run(tmp_path, generator, "")[0]


def test_mkinitramfs_asks_what_comes_before(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, "initramfs_tools", "", "prereqs") == ("", "")


def test_the_roots_own_systemd_starts_after_the_check(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, "dracut", "", initrd=False) == ("", "")


@pytest.mark.parametrize(
    ("generator", "root", "inside"),
    [
        (
            "initramfs_tools",
            "/etc/initramfs-tools/scripts/init-top/sealedroot",
            "/scripts/init-top/sealedroot",
        ),
        *[(it, *["/etc/systemd/system-generators/sealedroot"] * 2) for it in GENERATORS[1:]],
    ],
)
def test_where_it_is(generator: str, root: str, inside: str) -> None:
    assert (kernel_words.path(generator), kernel_words.path_inside(generator)) == (root, inside)


def test_an_unknown_generator() -> None:
    with pytest.raises(SealedRootError, match="use one of dracut, initramfs_tools, mkinitcpio"):
        kernel_words.path("mkosi")


@pytest.mark.parametrize("generator", GENERATORS)
def test_it_is_a_program_that_shellcheck_takes(shellcheck, generator: str) -> None:
    shellcheck(kernel_words.text(generator, luks_uuid=UUID))
