#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_seal
short_description: Seal the boot key of a running machine in its TPM
version_added: 1.0.0
description:
  - Runs on a machine whose image has V(tpm2) among its ways to unlock, by the program that the image has for it.
  - Seals the key that the initramfs opens the root with, for the GRUB that the root makes, so that the next start asks
    nobody. Fails if another one is on the EFI system partition, which the host can write.
  - Registers that only GRUB's start changes are predicted, the others taken as they are.
  - No key is sent, shown or logged. Nothing is changed where the key is sealed for that already, in this TPM.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  pcrs:
    description:
      - The registers whose values the TPM compares, with 4, 8 and 9 among them. Those of the last time by default, and
        4, 7, 8 and 9 the first time.
      - V(0) and V(2) are the firmware and its drivers, which a provider can exchange at any time.
    type: list
    elements: int
"""

EXAMPLES = r"""
- name: Let the TPM give GRUB the key
  sealedroot.image.tpm_seal:
"""

RETURN = r"""
pcrs:
  description: The registers that it compares.
  type: list
  elements: int
  returned: success
  sample: [4, 7, 8, 9]
says:
  description: Sentences on who made the TPM, as it says itself, and on what the registers are compared with.
  type: list
  elements: str
  returned: success
  sample: ["The TPM says that IBM made it (SW TPM).", "..."]
"""

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program, tpm_words
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    printable,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

ROOT = "/"
# What firmware measures before GRUB asks for the key, and what GRUB measures. The others have other values by the time
# that a machine is enrolled: Linux, systemd and the end of the firmware's work change them.
_POSSIBLE = (0, 1, 2, 3, 4, 6, 7, 8, 9)
_REGISTERS = re.compile(r"\d{1,2}(,\d{1,2})*\n?")
# The program's own exit status with a sentence.
_SAID = 3
_GETCAP = ("tpm2_getcap", "--tcti", "device:/dev/tpmrm0", "properties-fixed")


def kept(root: str) -> t.List[int]:
    """Return the registers of the last time; none if there was none."""
    path = os.path.join(root, tpm_program.REGISTERS.lstrip("/"))
    try:
        text = regular_file.read(path, most=regular_file.SMALL).decode("ascii", "replace")
    except FileNotFoundError:
        return []
    if not _REGISTERS.fullmatch(text):
        raise SealedRootError(f"{path} is damaged: remove it, and run the playbook enroll_tpm")
    return [int(it) for it in text.split(",")]


def chosen(wanted: t.Optional[t.Sequence[int]], last: t.Sequence[int]) -> t.List[int]:
    """Return the registers to compare, in order."""
    found = sorted(wanted if wanted is not None else last or tpm_program.PCRS)
    lacks = [str(it) for it in tpm_program.NEEDED_PCRS if it not in found]
    if lacks:
        raise SealedRootError(
            f"pcrs has no {' and no '.join(lacks)}: without 4 any program of the host gets the key, and without 8 and 9"
            " whoever has GRUB's console or a disk for it does"
        )
    if len(set(found)) != len(found) or not set(found) <= set(_POSSIBLE):
        possible = ", ".join(map(str, _POSSIBLE))
        raise SealedRootError(
            f"pcrs {found}: give each register once, of {possible}; the others change after GRUB had the key"
        )
    return found


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, root: str, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Seal the key if that is to be done."""
    last = kept(root)
    pcrs = chosen(params["pcrs"], last)
    program = os.path.join(root, tpm_program.PROGRAM.lstrip("/"))
    if os.geteuid() != 0:
        raise SealedRootError("the key of the root is root's to read: set become to true")
    if not os.path.exists(program):
        raise SealedRootError(
            f"there is no {program}: only an image that was built with tpm2 in image_unlock gets its key from a TPM"
        )
    argv = [program, *(["--check"] if check_mode else []), ",".join(map(str, pcrs))]
    done = runner.run(argv, check=False, timeout=300)
    said = printable.text(" ".join(done.stderr.split()))
    if done.rc == _SAID:
        raise SealedRootError(said)
    if done.rc != 0:
        raise SealedRootError(
            f"{program} failed ({said or 'it says nothing'}): see the kernel's log for what the TPM said"
        )
    changed = done.stdout.strip() != "unchanged"
    # What it does not say is no reason to fail.
    properties = runner.run(_GETCAP, check=False, timeout=60)
    return {
        "changed": changed,
        "pcrs": pcrs,
        "says": tpm_words.said(properties.stdout, pcrs),
        "diff": {
            "before": {"pcrs": last, "stale": changed},
            "after": {"pcrs": pcrs, "stale": False},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"pcrs": {"type": "list", "elements": "int"}},
        supports_check_mode=True,
    )
    run(
        module,
        lambda: ensure(
            ModuleRunner(module), module.params, root=ROOT, check_mode=module.check_mode
        ),
    )


if __name__ == "__main__":
    main()
