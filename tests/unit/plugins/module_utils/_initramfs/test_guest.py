# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel of a guest is told, by what builds its initramfs."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _root_needs
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
HOST = [
    *("systemd.gpt_auto=0", "systemd.import_credentials=no", "efi=noruntime"),
    *("noresume", "nohibernate"),
]
CONSOLE = ["panic=5", "sysctl.kernel.sysrq=0"]
DISK = f"rd.luks.uuid=luks-{UUID}"


@pytest.mark.parametrize(
    ("generator", "own", "console", "name"),
    [
        ("initramfs_tools", [], [], "cr_root"),
        ("dracut", [DISK], ["rd.shell=0", "rd.emergency=reboot"], f"luks-{UUID}"),
        ("mkinitcpio", [DISK], [], f"luks-{UUID}"),
    ],
)
def test_each_generator(generator: str, own: list[str], console: list[str], name: str) -> None:
    words = guest.words(generator, luks_uuid=UUID)
    assert words == [*own, *HOST, *CONSOLE, *console]
    assert guest.mapping(generator, UUID) == name
    assert guest.device(generator, UUID) == f"/dev/mapper/{name}"


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_an_open_console_changes_nothing_that_the_host_would_have_a_say_in(generator: str) -> None:
    closed = guest.words(generator, luks_uuid=UUID)
    opened = guest.words(generator, luks_uuid=UUID, debug_console=True)
    assert set(HOST) <= set(opened) < set(closed)
    shells = {"panic", "sysctl.kernel.sysrq", "rd.shell", "rd.emergency"}
    assert not shells & {word.partition("=")[0] for word in opened}


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_no_word_is_said_twice(generator: str) -> None:
    """Of a word that is given twice, the last one counts."""
    names = [word.partition("=")[0] for word in guest.words(generator, luks_uuid=UUID)]
    assert len(names) == len(set(names))


def test_every_generator_that_a_root_may_have_is_known() -> None:
    assert set(guest.GENERATOR_CONSOLE_WORDS) == set(_root_needs.INITRAMFS_NEEDS)


def test_another_generator_is_refused() -> None:
    with pytest.raises(
        SealedRootError, match="'booster' builds no initramfs that is known: use one"
    ):
        guest.words("booster", luks_uuid=UUID)


def test_where_systemd_looks_for_the_key() -> None:
    assert guest.volume(UUID) == f"luks-{UUID}"


@pytest.mark.parametrize(
    ("cmdline", "closed", "opened"),
    [
        ("console=tty0 console=ttyS0,115200 quiet splash", [], []),
        # What is said anyway does no harm.
        (" ".join([*HOST, *CONSOLE, "rd.shell=0", "rd.emergency=reboot"]), [], []),
        # The host's say.
        ("systemd.gpt_auto=1 quiet", ["systemd.gpt_auto=1"], ["systemd.gpt_auto=1"]),
        ("systemd.gpt_auto", ["systemd.gpt_auto"], ["systemd.gpt_auto"]),
        ("systemd.gpt-auto=1", ["systemd.gpt-auto=1"], ["systemd.gpt-auto=1"]),
        ("efi=runtime", ["efi=runtime"], ["efi=runtime"]),
        ("root=UUID=1", ["root=UUID=1"], ["root=UUID=1"]),
        # The console's.
        ("panic=0", ["panic=0"], []),
        ("sysctl.kernel.sysrq=1", ["sysctl.kernel.sysrq=1"], []),
        ("rd.emergency=halt", ["rd.emergency=halt"], []),
        ("rd.shell rd.shell=1", ["rd.shell", "rd.shell=1"], []),
        ("rd.break break=top", ["rd.break", "break=top"], []),
        ("systemd.debug_shell=1", ["systemd.debug_shell=1"], []),
        ("rd.systemd.debug-shell", ["rd.systemd.debug-shell"], []),
        ("sysrq_always_enabled", ["sysrq_always_enabled"], []),
        ("", [], []),
    ],
)
def test_words_that_undo_ours(cmdline: str, closed: list[str], opened: list[str]) -> None:
    assert guest.contrary(cmdline) == closed
    assert guest.contrary(cmdline, debug_console=True) == opened


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_our_own_words_undo_none_of_ours(generator: str) -> None:
    words = guest.words(generator, luks_uuid=UUID)
    assert guest.contrary(" ".join(words)) == []
    assert guest.is_closed(words)
    assert not guest.is_closed(guest.words(generator, luks_uuid=UUID, debug_console=True))


@pytest.mark.parametrize(
    "word",
    [
        *(
            "init=/bin/sh",
            "rdinit=/bin/sh",
            "systemd.unit=rescue.target",
            "single",
            "S",
            "1",
            "emergency",
        ),
        *(
            "systemd.wants=debug-shell.service",
            "systemd.run=/bin/sh",
            "rd.systemd.unit=emergency.target",
        ),
        *("systemd.setenv=SYSTEMD_SULOGIN_FORCE=1", "rdbreak", "kgdboc=ttyS0", '"panic=0"'),
        *("sysctl.kernel/sysrq=1", "sysctl/kernel/sysrq=1", '"systemd.gpt_auto=1"', '"rd.shell=1"'),
        *(
            "systemd.mount-extra=LABEL=H:/home",
            "mount.usr=LABEL=H",
            "rd.luks.name=1=x",
            "cryptopts=x",
        ),
        *("ROOT=LABEL=x", "resume=/dev/vdb", "boot=nfs", "ds=nocloud;s=http://h/", "root=LABEL=x"),
    ],
)
def test_words_that_a_host_or_its_console_would_like(word: str) -> None:
    assert guest.contrary(f"quiet {word} console=ttyS0") == [word]


@pytest.mark.parametrize(
    "word", ["quiet", "console=ttyS0", "mitigations=auto", "systemd.log_level=debug"]
)
def test_words_that_are_an_owners(word: str) -> None:
    assert guest.contrary(word) == []
