# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The virtual machines of a boot test, the keys that are typed there, and in which order they start."""

from __future__ import annotations

import base64
import concurrent.futures
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    launch as machine_launch,
    pty_console,
    qemu,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]


def read_keys(cases: t.Sequence[Params], *, secure_boot: bool) -> t.List[str]:
    """Return the key of each case."""
    names = [case["name"] for case in cases]
    if len(set(names)) != len(names) or any("/" in name or not name for name in names):
        raise SealedRootError(f"cases need names of their own, without a slash: {names}")
    keys = []
    compared = any(map(_is_control, cases))
    for case in cases:
        path = case["key_file"]
        if case["launch"] and case["tpm"]:
            raise SealedRootError(f"the case {case['name']} has launch and tpm: take one of them")
        if (case["expect"] in ("halted", "stopped")) > bool(case["launch"]) or (
            case["expect"] == "asked" and not (case["launch"] or case["tpm"])
        ):
            raise SealedRootError(
                f"the case {case['name']} needs launch: a start from the disk is refused or asks for a key"
            )
        if case["expect"] == "stopped" and not compared:
            raise SealedRootError(
                f"the case {case['name']} may end in silence, which alone shows nothing: add a case with the launch"
                f" {machine_launch.PUBLISHED} that expects login, to compare with"
            )
        if case["tpm"] and not (case["key_file"] and case["expect"] in ("login", "asked")):
            raise SealedRootError(
                f"the case {case['name']} with a TPM needs the key_file to seal, and expects login or asked"
            )
        if case["expect"] == "refused_by_firmware" and not secure_boot:
            raise SealedRootError(
                f"the case {case['name']} needs secure_boot: no other firmware refuses a boot loader"
            )
        if path is None:
            if case["expect"] in ("login", "started") and not case["launch"]:
                raise SealedRootError(f"the case {case['name']} needs a key_file")
            keys.append(base64.b64encode(os.urandom(33)).decode("ascii"))
            continue
        try:
            with open(path, "rb") as handle:
                key = handle.read(255).decode("ascii", "replace")
        except OSError as exc:
            raise SealedRootError(f"the key file {path} cannot be read: {exc.strerror}") from exc
        if not key or len(key) > 254 or not (key.isascii() and key.isprintable()):
            raise SealedRootError(
                f"the key in {path} cannot be typed at GRUB: it must be 1 to 254 printable ASCII"
                " characters without a newline"
            )
        keys.append(key)
    return keys


def _is_control(case: Params) -> bool:
    """Say whether a case shows when a machine says its first word, if it starts from the right files."""
    return bool(case["launch"] == machine_launch.PUBLISHED and case["expect"] == "login")


def boot_all(
    cases: t.Sequence[Params], boot: t.Callable[..., t.Dict[str, t.Any]], *, parallel: int
) -> t.List[t.Dict[str, t.Any]]:
    """Make each boot by its number, some side by side, and return what *boot* says of each.

    A boot that may end in silence comes after those with which that is compared.
    """
    seen: t.Dict[int, t.Dict[str, t.Any]] = {}
    spoke = 0.0
    for late in (False, True):
        turn = [n for n, case in enumerate(cases) if (case["expect"] == "stopped") is late]
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            boots = {n: pool.submit(boot, n, spoke=spoke) for n in turn}
        seen.update({n: it.result() for n, it in boots.items()})
        words = {n: it.pop("first_word") for n, it in seen.items() if "first_word" in it}
        spoke = max((word for n, word in words.items() if _is_control(cases[n])), default=0.0)
    # One after the other, so that each has the processors for itself.
    for number, first in seen.items():
        if first["gave_up"]:
            seen[number] = boot(number, gave_up=first["gave_up"])
            del seen[number]["first_word"]
    return [seen[number] for number in range(len(cases))]


class Machine:
    """Starts virtual machines, each with fresh firmware variables."""

    def __init__(self, runner: Runner, params: Params, work: str) -> None:
        self.runner = runner
        self._arch = arch = architectures.find(params["architecture"])
        self._qemu = runner.find(arch.qemu)
        self._memory = params["memory"]
        self._interface = params["disk_interface"]
        self.work = work
        self._secure_boot = params["secure_boot"]
        self.firmware = qemu.find_firmware(
            arch, secure_boot=self._secure_boot, **(params["firmware"] or {})
        )
        self.launch = machine_launch.read(params["launch"]) if params["launch"] else None
        self._code = self._flash(self.firmware.code, "code")
        self.cpus = 1

    def _flash(self, source: str, name: str) -> str:
        target = os.path.join(self.work, f"{name}{os.path.splitext(source)[1]}")
        qemu.flash(self._arch, source, target)
        return target

    def start(
        self,
        name: str,
        *,
        accelerator: str,
        disk: t.Optional[str] = None,
        disk_format: str = "raw",
        launch: str = "",
        more: t.Sequence[str] = (),
    ) -> pty_console.PtyConsole:
        """Start a machine and return its console; *launch* is one of launch.STARTS, *more* are options of QEMU."""
        variables = self._flash(self.firmware.variables, f"variables-{name}")
        started: t.Sequence[str] = ()
        if launch and self.launch:
            started = machine_launch.options(self.launch, launch, name=name, work=self.work)
        return pty_console.PtyConsole(
            qemu.argv(
                self._qemu,
                self._arch,
                accelerator=accelerator,
                cpus=self.cpus,
                memory=self._memory,
                code=self._code,
                variables=variables,
                disk=disk,
                disk_format=disk_format,
                disk_interface=self._interface,
                secure_boot=self._secure_boot,
                launch=started,
                more=more,
            )
        )


__all__ = ("Machine", "boot_all", "read_keys")
