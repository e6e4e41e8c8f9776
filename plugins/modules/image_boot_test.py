#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_boot_test
short_description: Boot a closed image and watch its passphrase prompts
version_added: 1.0.0
description:
  - Boots an image under QEMU with UEFI firmware and answers GRUB's prompt over the serial console.
  - With a right key the image must ask exactly once in the whole boot and reach a login prompt. With a wrong
    one GRUB must refuse it and start nothing.
  - When a boot fails in which systemd timed out waiting for a device, as happens on a busy machine, it is made once
    more, alone and with twice the time, and a warning says so.
  - With O(secure_boot) the firmware knows Microsoft's keys and starts what they signed, no more. Then a login
    counts only when the console says that Secure Boot is on.
  - The image is never written; what the booted system writes goes to a temporary overlay. The machine has no
    network.
  - The image must have a console on its first serial port, C(console=ttyS0) on x86_64 and C(console=ttyAMA0)
    on aarch64.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes.INFO
requirements:
  - qemu-img and QEMU for the architecture, such as qemu-system-x86_64
  - the UEFI firmware for QEMU, such as OVMF
options:
  path:
    description: The image file, raw or of any format that C(qemu-img) knows.
    type: path
    required: true
  cases:
    description: The boots to make.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the case is called.
        type: str
        required: true
      key_file:
        description:
          - A file with the key to type, without a newline. Needed when O(cases[].expect=login), and when
            O(cases[].expect=started).
          - When left out, a random key is made up. Not used with O(cases[].launch). With O(cases[].tpm), it is sealed.
        type: path
      tpm:
        description:
          - The machine has a TPM with the key in O(cases[].key_file). V(sealed) is as when that was sealed.
          - With V(other_core) a letter of the core image of GRUB was changed after that, with V(other_firmware) the
            firmware measures something else of Secure Boot, and with V(no_blob) the sealed key is not there.
        type: str
        choices: [sealed, other_core, other_firmware, no_blob]
      launch:
        description:
          - How the machine is started from O(launch). V(published) is with all of it as it is.
          - With V(other_key) the secret holds a random key, with V(no_secret) there is none, with V(longer_core) the
            core image is a byte longer than its hash says, and with V(no_hashes) there are no hashes.
          - When left out, the machine starts from its disk.
        type: str
        choices: [published, other_key, no_secret, longer_core, no_hashes]
      expect:
        description:
          - How the boot must end.
          - V(started) is when GRUB took the key and started the kernel. What follows is the same for each key, since
            the initramfs opens the root by one of its own.
          - V(refused) is by GRUB, because of the key. V(refused_by_firmware) is for an image without a signed boot
            loader, of which the firmware must start nothing; it needs O(secure_boot).
          - With O(cases[].launch) and O(cases[].tpm), V(login) is without any prompt, and V(asked) is GRUB's prompt and
            nothing before it. V(halted) is by GRUB, which found no secret that opens the disk, and V(stopped) by the
            firmware, which started nothing; neither shows a prompt, a shell or a kernel.
          - Some firmware that stops says nothing. That counts where a case with V(published) and V(login) spoke in a
            quarter of that time, and the result says that it was silence.
        type: str
        choices: [login, started, refused, refused_by_firmware, asked, halted, stopped]
        default: login
  accelerator:
    description:
      - V(auto) takes KVM when the firmware really starts under it, else QEMU's own emulation.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  timeout:
    description: How long one boot may take, in seconds.
    type: int
    default: 600
  parallel:
    description: How many boots are made at once.
    type: int
    default: 2
  memory:
    description: The memory of the machine in MiB.
    type: int
    default: 1024
  disk_interface:
    description:
      - How the machine sees the disk. The firmware has to have a driver for it; the one for aarch64 of Debian 12
        has none for V(sata).
    type: str
    choices: [nvme, sata, virtio-blk, virtio-scsi]
    default: virtio-blk
  architecture:
    description: The processor architecture of the image.
    type: str
    choices: [aarch64, x86_64]
    default: x86_64
  firmware:
    description: The firmware to use. When left out, the distribution's own is looked for.
    type: dict
    suboptions:
      code:
        description: The firmware's code.
        type: path
        required: true
      variables:
        description: The template of its variables; every boot has a fresh copy.
        type: path
        required: true
  secure_boot:
    description: Whether the firmware has Secure Boot on, with Microsoft's keys.
    type: bool
    default: false
  launch:
    description:
      - What a confidential guest is started from. QEMU plays the secure processor, and the firmware is the real one.
    type: dict
    suboptions:
      firmware:
        description: The firmware.
        type: path
        required: true
      core:
        description: The core image of GRUB.
        type: path
        required: true
      hashes:
        description: The table of hashes.
        type: path
        required: true
      secret:
        description: The table with the key.
        type: path
        required: true
      digest:
        description: The launch digest for SEV, which is that of firmware and hashes.
        type: str
        required: true
  log_dir:
    description:
      - A directory, which must exist, for the console log of each case, as C(<case>.log). Keys are not in it.
    type: path
"""

EXAMPLES = r"""
- name: Boot an image with its key and with a wrong one
  sealedroot.image.image_boot_test:
    path: out/web-1/disk.qcow2
    cases:
      - name: boot
        key_file: out/web-1/boot.key
      - name: wrong
        expect: refused
"""

RETURN = r"""
accelerator:
  description: V(kvm) or V(tcg).
  type: str
  returned: always
accelerator_reason:
  description: Why that one.
  type: str
  returned: always
firmware:
  description: The code of the firmware.
  type: str
  returned: always
cases:
  description: What was seen of each boot, in the order of O(cases); also returned on failure.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The name of the case.
      type: str
    expect:
      description: How it had to end.
      type: str
    verdict:
      description: V(ok) or V(failed).
      type: str
    detail:
      description: What was seen, in one sentence.
      type: str
    prompts:
      description: How often GRUB asked for the passphrase.
      type: int
    second_prompts:
      description: How often the initramfs asked.
      type: int
    secure_boot:
      description: Whether the console said that Secure Boot is on.
      type: bool
    gave_up:
      description: The devices for which systemd timed out waiting, after which it was booted a second time.
      type: str
    seconds:
      description:
        - C(prompt) is when GRUB asked, since the start; C(login) is how long the login prompt took from the kernel on.
        - How long the key took in between is not said, since that depends on the key.
      type: dict
      sample: {"prompt": 3.8, "login": 27.8}
"""

import functools
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled, view
from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    accelerator as machine_accelerator,
    launch as machine_launch,
    machines,
    pty_console,
    serial_boot,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    FailedError,
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def boot(
    machine: machines.Machine,
    keys: t.Sequence[str],
    number: int,
    *,
    params: Params,
    gave_up: str = "",
    spoke: float = 0.0,
    **how: str,
) -> t.Dict[str, t.Any]:
    """Run one boot and judge it; *gave_up* has the devices that the first try gave up."""
    timeout = params["timeout"] * (2 if gave_up else 1)
    case, key = params["cases"][number], keys[number]
    launch, expect = case["launch"] or "", case["expect"]
    if launch and machine.launch:
        key = machine.launch.key
    if (launch or case["tpm"]) and expect == "login":
        expect = "unasked"
    start: t.Callable[..., t.ContextManager[pty_console.PtyConsole]]
    start = functools.partial(enrolled.started, machine, case, key)
    if not case["tpm"]:
        start = functools.partial(machine.start, case["name"], launch=launch)
    with start(disk=params["path"], **how) as console:
        seen = serial_boot.watch(console, key, expect=expect, timeout=timeout, spoke=spoke)
    log = serial_boot.plain(console.text, key)
    if params["log_dir"]:
        with open(os.path.join(params["log_dir"], f"{case['name']}.log"), "w") as handle:
            handle.write(log)
    good, detail = serial_boot.judge(
        seen, expect=expect, secure_boot=params["secure_boot"], spoke=spoke
    )
    again = serial_boot.given_up(log) if seen.slow and not good else ""
    detail += serial_boot.of_second_try(gave_up, again, good=good)
    if not good:
        detail += f". The console ends with: {serial_boot.last_lines(log)}"
    return {
        "name": case["name"],
        "expect": case["expect"],
        "verdict": "ok" if good else "failed",
        "detail": detail,
        "prompts": seen.prompts,
        "second_prompts": seen.second_prompts,
        "secure_boot": seen.secure_boot,
        "gave_up": gave_up or again,
        "seconds": seen.times(),
        "first_word": seen.first_word,
    }


def test(runner: Runner, params: Params) -> t.Dict[str, t.Any]:
    """Run every boot and return the module's result."""
    if not os.path.isfile(params["path"]):
        raise SealedRootError(f"{params['path']} is not a file: give the image to boot")
    if params["log_dir"] and not os.path.isdir(params["log_dir"]):
        raise SealedRootError(f"log_dir {params['log_dir']} is not a directory: make it first")
    keys = machines.read_keys(params["cases"], secure_boot=params["secure_boot"])
    if not params["launch"] and any(case["launch"] for case in params["cases"]):
        raise SealedRootError("launch is missing: a case starts from it, so give its files")
    disk_format = str(view.format_info(runner, params["path"])["format"])
    with tempfile.TemporaryDirectory(prefix="sealedroot-boot-") as work:
        machine = machines.Machine(runner, params, work)
        accelerator, reason = machine_accelerator.choose(
            params["accelerator"],
            lambda: machine.start("probe", accelerator="kvm"),
            who="the firmware",
            sign=r"BdsDxe|UEFI|\x1b\[",
            machine=params["architecture"],
        )
        parallel = max(1, min(params["parallel"], len(keys)))
        # A second virtual CPU helps only if there is a real one for it. With Secure Boot use one: the firmware's SMM
        # code hangs if a busy host delays one of several CPUs (edk2, pull request 13164).
        wanted = 1 if params["secure_boot"] else 2
        machine.cpus = max(1, min(wanted, len(os.sched_getaffinity(0)) // parallel))
        run_one = functools.partial(
            boot, machine, keys, params=params, accelerator=accelerator, disk_format=disk_format
        )
        seen = machines.boot_all(params["cases"], run_one, parallel=parallel)
    outcome = {
        "accelerator": accelerator,
        "accelerator_reason": reason,
        "firmware": machine.firmware.code,
        "cases": seen,
    }
    failed = [f"{case['name']}: {case['detail']}" for case in seen if case["verdict"] != "ok"]
    if failed:
        raise FailedError(f"{params['path']} did not boot as it must: {'; '.join(failed)}", outcome)
    slow = [f"{case['name']}: {case['detail']}" for case in seen if case["gave_up"]]
    return {**outcome, "warnings": [f"This machine is slow. {params['path']}: {it}" for it in slow]}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "cases": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "key_file": {"type": "path", "no_log": False},
                    "expect": {
                        "type": "str",
                        "choices": list(serial_boot.EXPECTED),
                        "default": "login",
                    },
                    "launch": {"type": "str", "choices": list(machine_launch.STARTS)},
                    "tpm": {"type": "str", "choices": list(enrolled.STARTS)},
                },
            },
            "accelerator": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "timeout": {"type": "int", "default": 600},
            "parallel": {"type": "int", "default": 2},
            "memory": {"type": "int", "default": 1024},
            "disk_interface": {
                "type": "str",
                "choices": ["nvme", "sata", "virtio-blk", "virtio-scsi"],
                "default": "virtio-blk",
            },
            "architecture": {
                "type": "str",
                "choices": sorted(architectures.ARCHITECTURES),
                "default": "x86_64",
            },
            "firmware": {
                "type": "dict",
                "options": {
                    "code": {"type": "path", "required": True},
                    "variables": {"type": "path", "required": True},
                },
            },
            "secure_boot": {"type": "bool", "default": False},
            "launch": {
                "type": "dict",
                "options": {
                    **{
                        it: {"type": "path", "required": True}
                        for it in ("firmware", "core", "hashes")
                    },
                    "secret": {"type": "path", "required": True, "no_log": False},
                    "digest": {"type": "str", "required": True},
                },
            },
            "log_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: test(ModuleRunner(module), module.params))


if __name__ == "__main__":
    main()
