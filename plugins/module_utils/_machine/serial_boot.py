# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Watch a boot over the serial console: who asks for a passphrase, how often, and how the boot ends.

OVMF mirrors its console, and with it GRUB's prompt, to the serial port (docs/facts.md: console-on-serial). GRUB may
also write there itself, so a prompt counts once until it is answered.
"""

from __future__ import annotations

import abc
import dataclasses
import re
import time
import typing as t

# Patterns to look for; if several match at the same place, the first in this list wins.
EVENTS: t.Tuple[t.Tuple[str, str], ...] = (
    # initramfs-tools; systemd-cryptsetup, also for a recovery key or a PIN; dracut without systemd
    (
        "second_prompt",
        r"Please unlock|Please enter [\w ]+ for disk|Enter passphrase for[^\r\n]*luks-|Password \(/dev/",
    ),
    ("prompt", r"Enter passphrase for [^\r\n]*\([0-9a-fA-F-]{32,36}\)"),
    ("denied", r"access denied|Invalid passphrase"),
    ("shell", r"grub rescue>|grub>"),
    # initramfs-tools; systemd; dracut
    (
        "stuck",
        r"Kernel panic|\(initramfs\)|emergency mode|Give root password|Cannot open access to console"
        r"|Could not boot|dracut:/#",
    ),
    ("login", r"\blogin:"),
    # Printed by the stub on the ESP, the EFI stub of Linux, the kernel of Debian and Fedora, and other kernels.
    ("secure_boot", r"Secure Boot is enabled|Secure boot enabled"),
    # Printed by OVMF, and by shim about the program that it starts.
    ("violation", r"Access Denied|Security Violation"),
    # docs/facts.md: firmware-starts-nothing
    ("no_boot", r"No bootable option (?:or device )?was found"),
    # docs/facts.md: device-timeout
    ("slow", r"Timed out waiting for device"),
    # Printed by the script of _grub/launch_script.py.
    ("no_secret", r"No launch secret opens the disk"),
    ("kernel", r"Linux version \d|Loading Linux|EFI stub:|Loading initial ramdisk"),
    # Some builds of GRUB do not greet.
    ("grub", r"Welcome to GRUB"),
)
# GRUB reads keys from two devices that are the same port here; keys sent at once would be mixed up.
KEYSTROKE_SECONDS = 0.01
SETTLE_SECONDS = 0.3
# Time from the last wrong key to GRUB's error; some versions wait before they print it.
REFUSAL_SECONDS = 60
# Time for the firmware to start something else after a refusal; shim shows its refusal until a key is pressed.
FIRMWARE_SECONDS = 20
# A firmware that refuses a kernel says nothing (docs/facts.md: firmware-starts-nothing), as a machine that hangs.
# So wait this long, and this many times as long as the same machine needed for its first word with the right files.
SILENT_SECONDS = 40.0
SILENT_TIMES = 4


class Console(abc.ABC):
    """The serial console of a running machine."""

    @abc.abstractmethod
    def wait(self, patterns: t.Sequence[str], seconds: float) -> t.Optional[int]:
        """Return the index of the first pattern seen, or None after *seconds*; EOFError if the machine has ended."""

    @abc.abstractmethod
    def type(self, text: str) -> None:
        """Type *text* and Return, at a person's pace."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Skip output that is still being written."""


@dataclasses.dataclass
class Boot:
    """What was seen of one boot; times are in seconds since its start."""

    prompts: int = 0
    second_prompts: int = 0
    denied: int = 0
    violations: int = 0
    secure_boot: bool = False
    # systemd gave a device up, which happens if the machine is slow.
    slow: bool = False
    no_secret: bool = False
    seconds: t.Dict[str, float] = dataclasses.field(default_factory=dict)
    end: str = "timeout"

    @property
    def first_word(self) -> float:
        """Return when the machine said the first thing that is known; 0 if it said nothing."""
        return min(self.seconds.values(), default=0.0)

    def times(self) -> t.Dict[str, float]:
        """Return when GRUB asked, and the time from the kernel to the login prompt.

        The time in between, to type and check the key, is left out, because it reveals something about the key.
        """
        seen = self.seconds
        result = {"prompt": seen["prompt"]} if "prompt" in seen else {}
        if "kernel" in seen and "login" in seen:
            result["login"] = round(seen["login"] - seen["kernel"], 1)
        return result


def watch(
    console: Console,
    key: str,
    *,
    expect: str,
    timeout: float,
    spoke: float = 0.0,
    clock: t.Callable[[], float] = time.monotonic,
) -> Boot:
    """Answer every prompt of GRUB with *key* until the boot has ended.

    *expect* is ``login``, ``started`` (GRUB took the key and started a kernel), ``refused`` (by GRUB, because of the
    key), ``refused_by_firmware``, ``unasked`` (a login without a prompt), ``asked`` (no more than the prompt),
    ``halted`` (by GRUB, which has no secret) or ``stopped`` (by a firmware that starts no GRUB); *spoke* is the first
    word of the same machine with the right files, for ``stopped``.
    """
    boot = Boot()
    began = clock()
    last = deadline = began + (_silence(spoke) if expect == "stopped" else timeout)
    endings = _ENDINGS[expect]
    patterns = [pattern for _name, pattern in EVENTS]
    while clock() < deadline:
        try:
            seen = console.wait(patterns, deadline - clock())
        except EOFError:
            boot.end = "exit"
            return boot
        if seen is None:
            return boot
        name = EVENTS[seen][0]
        boot.seconds.setdefault(name, round(clock() - began, 1))
        if name == "prompt":
            boot.prompts += 1
            if name not in endings:
                console.settle()
                console.type(key)
            deadline = min(last, clock() + REFUSAL_SECONDS) if expect == "refused" else last
        elif name == "violation":
            boot.violations += 1
            if boot.prompts == 0:
                deadline = min(last, clock() + FIRMWARE_SECONDS)
        elif name == "secure_boot":
            boot.secure_boot = True
        elif name == "denied":
            boot.denied += 1
        elif name == "second_prompt":
            boot.second_prompts += 1
        elif name == "slow":
            boot.slow = True
        elif name == "no_secret":
            boot.no_secret = True
        if name in endings:
            boot.end = name
            return boot
    return boot


def _silence(spoke: float) -> float:
    return max(SILENT_SECONDS, SILENT_TIMES * spoke)


# What a boot can be expected to end as; ``unasked`` is how a login is watched where nobody types.
EXPECTED = ("login", "started", "refused", "refused_by_firmware", "asked", "halted", "stopped")
_STARTED = ("second_prompt", "shell", "stuck", "login", "no_boot")
_ENDINGS = {
    "login": _STARTED,
    "unasked": (*_STARTED, "prompt"),
    **dict.fromkeys(("started", "refused"), (*_STARTED, "kernel")),
    **dict.fromkeys(
        ("refused_by_firmware", "asked", "halted"),
        (*_STARTED, "kernel", "prompt"),
    ),
    "stopped": (*_STARTED, "kernel", "prompt", "no_secret", "grub"),
}
_ENDS = {
    "timeout": "it did not get further in time",
    "exit": "the machine stopped or restarted",
    "second_prompt": "the initramfs asks for the passphrase again",
    "shell": "GRUB cannot go on and shows its shell",
    "stuck": "the kernel or the initramfs cannot go on",
    "login": "it reached the login prompt",
    "kernel": "it started a kernel",
    "no_boot": "the firmware found nothing to start",
    "prompt": "GRUB asked for the passphrase",
    "no_secret": "GRUB was started, and looked for a secret",
    "grub": "GRUB was started",
}


# How a boot in which nobody types a key may end, and what that is called.
_WITHOUT_KEY = {
    "unasked": (("login",), "reached the login prompt, and nobody was asked"),
    "asked": (("prompt",), "nothing was opened, and GRUB asked for the passphrase"),
    "halted": (("exit",), "GRUB had no secret that opens the disk, and halted"),
    "stopped": (("no_boot",), "the firmware said that it found nothing to start"),
}


def judge(
    boot: Boot, *, expect: str, secure_boot: bool = False, spoke: float = 0.0
) -> t.Tuple[bool, str]:
    """Say whether the boot went as expected, and describe it in a sentence.

    With *secure_boot*, a login counts only if the console said that Secure Boot is on. *spoke* is as for :func:`watch`.
    """
    if expect == "refused_by_firmware":
        if boot.violations and boot.end in ("no_boot", "timeout", "exit"):
            return True, "the firmware refused it and started nothing"
        return False, f"the firmware did not refuse it: {_ENDS[boot.end]}"
    if expect == "halted" and not boot.no_secret:
        return False, f"GRUB did not say that no secret opens the disk: {_ENDS[boot.end]}"
    if expect == "stopped" and boot.end == "timeout":
        return _silent(boot, spoke)
    if expect in _WITHOUT_KEY:
        ends, seen = _WITHOUT_KEY[expect]
        return (True, seen) if boot.end in ends else (False, _ENDS[boot.end])
    if boot.prompts == 0 and boot.violations:
        return False, (
            "the firmware or shim refused what is on the disk, since it is not signed by a key that"
            f" they know: {_ENDS[boot.end]}"
        )
    if boot.prompts == 0:
        return False, f"GRUB never asked for the passphrase: {_ENDS[boot.end]}"
    if expect == "refused":
        good = boot.end in ("shell", "timeout", "exit") and boot.denied > 0
        if good:
            return True, "GRUB refused the wrong key and started nothing"
        if boot.denied == 0 and boot.end == "timeout":
            return False, "GRUB said nothing to the wrong key"
        return False, f"a wrong key was not refused: {_ENDS[boot.end]}"
    return _with_key(boot, expect=expect, secure_boot=secure_boot)


def _silent(boot: Boot, spoke: float) -> t.Tuple[bool, str]:
    """Judge the silence of a machine."""
    if boot.seconds:
        return False, f"the machine said something, and then nothing: {', '.join(boot.seconds)}"
    said = f"the machine said nothing of a boot for {_silence(spoke):.0f} seconds"
    if not spoke:
        return False, f"{said}, and nothing with the right files either, so this shows nothing"
    return True, f"{said}, and with the right files its first word came after {spoke:.0f}"


def _with_key(boot: Boot, *, expect: str, secure_boot: bool) -> t.Tuple[bool, str]:
    """Judge a boot in which a right key was typed."""
    if boot.denied:
        return False, f"GRUB refused the key ({boot.denied} times): {_ENDS[boot.end]}"
    if boot.end not in (("kernel", "login") if expect == "started" else ("login",)):
        return False, _ENDS[boot.end]
    if boot.prompts != 1:
        return False, f"the passphrase was asked for {boot.prompts} times, not once"
    if expect == "started":
        return True, "asked once and started the kernel"
    if secure_boot and not boot.secure_boot:
        return False, (
            "it reached the login prompt, but nothing on the console said that Secure Boot is on: the"
            " stub on the ESP or a kernel without 'quiet' does"
        )
    return True, "asked once and reached the login prompt"


def plain(text: str, secret: str) -> str:
    """Return a console log without terminal control sequences and without *secret*."""
    # GRUB's shell would echo a key that is typed too late; where the terminal wraps it, it contains line ends.
    # The length is bounded, because a key can contain blanks, and a run of them could be matched in many ways.
    between = r"[\s\x1b\[0-9;H]{0,40}?"
    pattern = between.join(re.escape(char) for char in secret)
    hidden = re.sub(pattern, "<key>", text) if secret else text
    hidden = re.sub(r"\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>])", "", hidden)
    return re.sub(r"\n{3,}", "\n\n", hidden.replace("\r", "\n" if "\n" not in hidden else ""))


def given_up(log: str) -> str:
    """Name the devices that systemd gave up; newer versions print the unit, shortened, and then the device."""
    names = re.findall(r"Timed out waiting for device (?:\S+ - )?(\S+)", log)
    return ", ".join(dict.fromkeys(name.rstrip(".") for name in names))[:200]


def of_second_try(gave_up: str, again: str, *, good: bool) -> str:
    """Say more of a boot: which devices systemd gave up in the first try, and which in the second."""
    if again and gave_up:
        return (
            f". systemd timed out waiting for {again} in both tries: if the image has no such device, let nothing in"
            " the root wait for it; else this machine is too slow, so boot when it does less, or with KVM"
        )
    if gave_up and good:
        return f", in the second try: in the first, systemd timed out waiting for {gave_up}"
    return ""


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines of a log that contain text."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return " / ".join(lines[-count:])[-400:]


__all__ = (
    "EVENTS",
    "EXPECTED",
    "Boot",
    "Console",
    "given_up",
    "judge",
    "last_lines",
    "of_second_try",
    "plain",
    "watch",
)
