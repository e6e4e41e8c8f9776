# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watching a boot, on consoles that are written down."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine import serial_boot

PROMPT = "Enter passphrase for hd0,gpt2 (58ad4687b9454a1a9fa2f4e9435f590d): "
DENIED = "error: access denied.\r\n"
KERNEL = "Linux version 6.1.0\r\n"
LOGIN = "\r\nhost login: "
# With what it tells the terminal.
SYSTEMD_ASKS = (
    "\r\x1b[K\x1b[0;1;39m\U0001f510 Please enter passphrase or recovery key for disk luks-1 (luks-1):"
    "\x1b[0m \x1b[0;38;5;245m(press TAB for no echo)\x1b[0m "
)
HOUR = 3600.0


class Console(serial_boot.Console):
    """Shows one screen after the other; each answer to a prompt turns to the next."""

    def __init__(self, *screens: str, ends: bool = False) -> None:
        self.screens, self.ends = list(screens), ends
        self.text = self.screens.pop(0)
        self.typed: list[str] = []
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def wait(self, patterns: t.Sequence[str], seconds: float) -> int | None:
        self.now += 1
        found = [
            (match.start(), number, match.end())
            for number, pattern in enumerate(patterns)
            for match in [re.search(pattern, self.text)]
            if match
        ]
        if not found:
            if self.ends:
                raise EOFError
            self.now += seconds
            return None
        _start, number, end = min(found)
        self.text = self.text[end:]
        return number

    def type(self, text: str) -> None:
        self.typed.append(text)
        self.text = self.screens.pop(0) if self.screens else ""

    def settle(self) -> None:
        # A second terminal on the same port has written the prompt, too.
        self.text = ""


def watch(console: Console, *, expect: str = "login") -> serial_boot.Boot:
    return serial_boot.watch(console, "the key", expect=expect, timeout=HOUR, clock=console.clock)


def verdict(
    console: Console, *, expect: str = "login", secure_boot: bool = False
) -> tuple[bool, str]:
    seen = watch(console, expect=expect)
    return serial_boot.judge(seen, expect=expect, secure_boot=secure_boot)


def test_a_good_boot() -> None:
    console = Console(f"BdsDxe\r\n{PROMPT}{PROMPT}", f"Slot 0 opened\r\n{KERNEL}{LOGIN}")
    boot = watch(console)
    assert (boot.prompts, boot.second_prompts, boot.end) == (1, 0, "login")
    assert boot.seconds == {"prompt": 1.0, "kernel": 2.0, "login": 3.0}
    assert console.typed == ["the key"]
    assert serial_boot.judge(boot, expect="login")[0]


@pytest.mark.parametrize("end", ["Loading Linux 6.1 ...", KERNEL, LOGIN])
def test_a_kernel_that_grub_started(end: str) -> None:
    console = Console(PROMPT, f"Slot 1 opened\r\n{end}")
    assert verdict(console, expect="started") == (True, "asked once and started the kernel")


@pytest.mark.parametrize(
    ("screens", "says"),
    [
        ([KERNEL], "never asked"),
        ([PROMPT, "Slot 1 opened\r\n"], "in time"),
        ([PROMPT, DENIED + "grub> "], "refused the key (1 times): GRUB cannot go on"),
        ([PROMPT, PROMPT, KERNEL], "2 times, not once"),
    ],
)
def test_a_kernel_that_grub_did_not_start(screens: list[str], says: str) -> None:
    good, detail = verdict(Console(*screens), expect="started")
    assert not good
    assert says in detail


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ({}, {}),
        ({"prompt": 3.8, "denied": 4.0}, {"prompt": 3.8}),
        ({"login": 3.0}, {}),
        ({"prompt": 3.8, "kernel": 8.2, "login": 36.0}, {"prompt": 3.8, "login": 27.8}),
    ],
)
def test_how_long_the_key_took_is_not_told(
    seconds: dict[str, float], told: dict[str, float]
) -> None:
    assert serial_boot.Boot(seconds=seconds).times() == told


@pytest.mark.parametrize(
    ("screens", "says"),
    [
        ([""], "never asked for the passphrase: it did not get further in time"),
        ([LOGIN], "never asked"),
        ([PROMPT, KERNEL], "in time"),
        ([PROMPT, PROMPT, KERNEL + LOGIN], "2 times, not once"),
        ([PROMPT, DENIED + PROMPT, KERNEL + LOGIN], "refused the key (1 times)"),
        ([PROMPT, DENIED + "grub> "], "refused the key (1 times): GRUB cannot go on"),
        ([PROMPT, KERNEL + "Please unlock disk cr_root: "], "asks for the passphrase again"),
        ([PROMPT, KERNEL + "Please enter passphrase for disk"], "asks for the passphrase again"),
        ([PROMPT, KERNEL + SYSTEMD_ASKS], "asks for the passphrase again"),
        ([PROMPT, KERNEL + "Password (/dev/vda2): "], "asks for the passphrase again"),
        ([PROMPT, KERNEL + "Cannot open access to console, the root"], "cannot go on"),
        ([PROMPT, KERNEL + "dracut Warning: Could not boot."], "cannot go on"),
        ([PROMPT, "Enter passphrase for /dev/luks-1: "], "asks for the passphrase again"),
        ([PROMPT, KERNEL + "(initramfs) "], "cannot go on"),
        ([PROMPT, KERNEL + "Kernel panic - not syncing"], "cannot go on"),
        ([PROMPT, "error: no such device\r\ngrub rescue> "], "shows its shell"),
    ],
)
def test_a_bad_boot(screens: list[str], says: str) -> None:
    good, detail = verdict(Console(*screens))
    assert not good
    assert says in detail


def test_a_machine_that_restarts() -> None:
    good, detail = verdict(Console(PROMPT, KERNEL, ends=True))
    assert not good
    assert "stopped or restarted" in detail


@pytest.mark.parametrize(
    "screens",
    [
        [PROMPT, DENIED + "grub> "],
        [PROMPT, "error: Invalid passphrase.\r\n" + PROMPT, DENIED + PROMPT, DENIED + "grub> "],
        [PROMPT, DENIED],
    ],
)
def test_a_wrong_key_is_refused(screens: list[str]) -> None:
    console = Console(*screens)
    good, _detail = verdict(console, expect="refused")
    assert good
    assert console.now < HOUR


@pytest.mark.parametrize(
    ("screens", "says"),
    [
        ([PROMPT, KERNEL + LOGIN], "was not refused: it started a kernel"),
        ([PROMPT, LOGIN], "was not refused: it reached the login prompt"),
        ([PROMPT, DENIED + "Loading Linux 6.1 ..."], "it started a kernel"),
        ([PROMPT, ""], "said nothing"),
        ([PROMPT, "grub> "], "was not refused"),
        ([""], "never asked"),
    ],
)
def test_a_wrong_key_is_not_refused(screens: list[str], says: str) -> None:
    good, detail = verdict(Console(*screens), expect="refused")
    assert not good
    assert says in detail


# As OVMF of Debian 12, shim 15.8 and Linux 6.1 say it.
VIOLATION = 'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x1,0x0): Access Denied\r\n'
NO_BOOT = "BdsDxe: No bootable option or device was found.\r\n"
# As Debian's OVMF.amdsev.fd 2026.08 and GRUB 2.12 say it.
NOTHING_FOUND = "BdsDxe: No bootable option was found.\r\n"
GRUB = "\x1b[0m\x1b[30m\x1b[47mWelcome to GRUB!\n\r\n\r"
SHIM = "Verification failed: (0x1A) Security Violation\r\n"
SECURE = "[    0.000000] secureboot: Secure boot enabled\r\n"
STUB = "Secure Boot is enabled.\r\n"


@pytest.mark.parametrize(
    "screens",
    [
        [STUB + PROMPT, KERNEL + LOGIN],
        [PROMPT, KERNEL + SECURE + LOGIN],
        [PROMPT, "EFI stub: UEFI Secure Boot is enabled.\r\n" + LOGIN],
    ],
)
def test_secure_boot_is_seen(screens: list[str]) -> None:
    assert watch(Console(*screens)).secure_boot
    assert verdict(Console(*screens), secure_boot=True)[0]


def test_a_login_without_secure_boot_does_not_count_for_it() -> None:
    for line in ("", "secureboot: Secure boot disabled\r\n", "Secure boot could not be determined"):
        good, detail = verdict(Console(PROMPT, KERNEL + line + LOGIN), secure_boot=True)
        assert not good
        assert "nothing on the console said that Secure Boot is on" in detail


@pytest.mark.parametrize("screen", [VIOLATION + NO_BOOT, VIOLATION, SHIM])
def test_the_firmware_refuses(screen: str) -> None:
    console = Console(screen)
    assert verdict(console, expect="refused_by_firmware") == (
        True,
        "the firmware refused it and started nothing",
    )
    assert console.now < HOUR
    assert console.typed == []
    good, detail = verdict(Console(screen))
    assert not good
    assert detail.startswith("the firmware or shim refused what is on the disk")


@pytest.mark.parametrize(
    ("screen", "says"),
    [
        (PROMPT, "GRUB asked for the passphrase"),
        (VIOLATION + PROMPT, "GRUB asked for the passphrase"),
        (VIOLATION + KERNEL, "it started a kernel"),
        (VIOLATION + "grub> ", "GRUB cannot go on"),
        (NO_BOOT, "the firmware found nothing to start"),
        ("", "in time"),
    ],
)
def test_the_firmware_does_not_refuse(screen: str, says: str) -> None:
    good, detail = verdict(Console(screen), expect="refused_by_firmware")
    assert not good
    assert says in detail


def test_a_boot_goes_on_after_another_boot_option_was_refused() -> None:
    assert verdict(Console(VIOLATION + PROMPT, KERNEL + LOGIN))[0]


def test_a_boot_has_a_deadline_whatever_is_written() -> None:
    class Endless(Console):
        def wait(self, patterns: t.Sequence[str], seconds: float) -> int | None:
            assert seconds > 0
            self.now += 1000
            return [name for name, _pattern in serial_boot.EVENTS].index("kernel")

    assert watch(Endless("")).end == "timeout"


def test_a_log_has_no_key_and_no_control_sequences() -> None:
    text = "\x1b[40m\x1b[02;24HGNU GRUB\r\ngrub> my sec\r\nret key\r\n\x1b(Bdone"
    log = serial_boot.plain(text, "my secret key")
    assert log == "GNU GRUB\ngrub> <key>\ndone"
    assert serial_boot.plain("text", "") == "text"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("[ TIME ] Timed out waiting for device /dev/mapper/luks-1.\n", "/dev/mapper/luks-1"),
        ("[ TIME ] Timed out waiting for device dev-ttyS0.device.\n", "dev-ttyS0.device"),
        (
            "[ TIME ] Timed out waiting for device dev-d\u2026device - /dev/disk/by-label/x.\n",
            "/dev/disk/by-label/x",
        ),
    ],
)
def test_a_device_that_systemd_gave_up(line: str, name: str) -> None:
    console = Console(PROMPT, KERNEL + line + "\x1b[0m" + line, ends=True)
    boot = watch(console)
    assert (boot.slow, boot.end) == (True, "exit")
    assert serial_boot.given_up(line * 2) == name
    assert serial_boot.given_up(KERNEL) == ""


def test_last_lines() -> None:
    assert serial_boot.last_lines("one\n\n two \n---\nthree\nfour\n\n") == "two / three / four"
    assert len(serial_boot.last_lines("x" * 1000)) == 400


NO_SECRET = "No launch secret opens the disk.\r\n"


@pytest.mark.parametrize(
    ("expect", "screen", "ends", "good", "says"),
    [
        ("unasked", KERNEL + LOGIN, False, True, "reached the login prompt, and nobody was asked"),
        ("unasked", PROMPT + KERNEL + LOGIN, False, False, "GRUB asked for the passphrase"),
        ("unasked", NO_SECRET, True, False, "the machine stopped or restarted"),
        ("unasked", KERNEL + SYSTEMD_ASKS, False, False, "the initramfs asks for the passphrase"),
        ("asked", NO_SECRET + PROMPT, False, True, "nothing was opened, and GRUB asked for the"),
        ("asked", NO_SECRET, True, False, "the machine stopped or restarted"),
        ("asked", KERNEL + LOGIN, False, False, "it started a kernel"),
        ("halted", NO_SECRET, True, True, "GRUB had no secret that opens the disk, and halted"),
        (
            "halted",
            DENIED + NO_SECRET,
            True,
            True,
            "GRUB had no secret that opens the disk, and halted",
        ),
        # It may not have come as far as to look for one.
        ("halted", "", True, False, "GRUB did not say that no secret opens the disk: the machine"),
        ("halted", NO_SECRET, False, False, "it did not get further in time"),
        ("halted", NO_SECRET + PROMPT, False, False, "GRUB asked for the passphrase"),
        ("halted", NO_SECRET + "grub> ", False, False, "GRUB cannot go on and shows its shell"),
        ("stopped", NO_SECRET, True, False, "GRUB was started, and looked for a secret"),
        ("stopped", NOTHING_FOUND, False, True, "the firmware said that it found nothing to start"),
        ("stopped", NO_BOOT, False, True, "the firmware said that it found nothing to start"),
        # QEMU ends, too, if it cannot start.
        ("stopped", "", True, False, "the machine stopped or restarted"),
        ("stopped", GRUB, False, False, "GRUB was started"),
        ("stopped", DENIED + "grub> ", False, False, "GRUB cannot go on and shows its shell"),
        ("stopped", PROMPT, False, False, "GRUB asked for the passphrase"),
        ("stopped", KERNEL, False, False, "it started a kernel"),
    ],
)
def test_nobody_types(expect: str, screen: str, ends: bool, good: bool, says: str) -> None:
    console = Console(screen, ends=ends)
    found, detail = verdict(console, expect=expect)
    assert (found, console.typed) == (good, [])
    assert says in detail


@pytest.mark.parametrize(
    ("screen", "spoke", "good", "waits", "says"),
    [
        ("", 6.2, True, 40, "said nothing of a boot for 40 seconds, and with the right files its"),
        ("", 6.2, True, 40, "its first word came after 6"),
        # A slow machine gets more time.
        ("", 30.0, True, 120, "said nothing of a boot for 120 seconds, and with the right files"),
        ("", 0.0, False, 40, "nothing with the right files either, so this shows nothing"),
        (VIOLATION, 6.2, False, 20, "the machine said something, and then nothing: violation"),
    ],
)
def test_silence(screen: str, spoke: float, good: bool, waits: int, says: str) -> None:
    console = Console(screen)
    boot = serial_boot.watch(
        console, "", expect="stopped", timeout=HOUR, spoke=spoke, clock=console.clock
    )
    found, detail = serial_boot.judge(boot, expect="stopped", spoke=spoke)
    assert found == good
    assert says in detail
    assert waits <= console.now <= waits + 3


def test_the_first_word() -> None:
    assert watch(Console("")).first_word == 0
    assert watch(Console(GRUB + KERNEL + LOGIN), expect="unasked").first_word == 1
