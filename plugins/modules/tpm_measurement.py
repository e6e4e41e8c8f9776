#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_measurement
short_description: What a TPM holds when the GRUB of a published image asks it for the key
version_added: 1.0.0
description:
  - Reads GRUB's core image from the EFI system partition of an image with V(tpm2) among its ways to unlock, and
    computes what the machine's TPM compares before it gives the key.
  - It only reads the disk. It needs no key and no root.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes.info
requirements:
  - mtools
  - qemu-img
options:
  path:
    description: The disk of the image. Its format is that of its name, such as C(disk.qcow2).
    type: path
    required: true
  expected:
    description:
      - The C(manifest.json) of the image, or a file that the playbook C(measure_image) wrote. What both have must be
        equal.
    type: path
seealso:
  - module: sealedroot.image.launch_measurement
  - module: sealedroot.image.tpm_seal
"""

EXAMPLES = r"""
- name: Compare an image with its manifest
  sealedroot.image.tpm_measurement:
    path: out/web-1/disk.qcow2
    expected: out/web-1/manifest.json
"""

RETURN = r"""
authenticode:
  description: The hash of the core image that the firmware measures, a SHA-256.
  type: str
  returned: success
  sample: 2f9c...
pcrs:
  description:
    - What the registers of the SHA-256 bank hold when GRUB asks for the key.
    - PCR 7 is that of firmware with Secure Boot off and without keys for it.
  type: dict
  returned: success
  sample: {"4": "1f0a...", "7": "65ca...", "8": "0000...", "9": "0000..."}
"""

import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    esp,
    layout,
    view as disk_view,
)
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import expected
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    regular_file,
    untrusted_json,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

_CORE = architectures.X86_64.boot_file


def core_image(runner: Runner, path: str, work: str) -> bytes:
    """Return GRUB's core image on a disk; *work* is an empty directory."""
    extension = path.rpartition(".")[2]
    if extension not in FORMATS:
        raise SealedRootError(
            f"{path} has no name of a disk: its format is taken from that, so let it end with .{', .'.join(FORMATS)}"
        )
    if not os.path.isfile(path):
        raise SealedRootError(f"{path} is no file: correct path")
    driver, part = FORMATS[extension].driver, os.path.join(work, "esp")
    node = disk_view.region_node(
        disk_view.disk_node(os.path.abspath(path), driver),
        offset=layout.ESP_OFFSET,
        size=layout.ESP_SIZE,
        image_format=driver,
    )
    disk_view.copy(runner, node, part)
    if _CORE not in esp.names(runner, part, 0):
        raise SealedRootError(
            f"{path} has no {_CORE} on its EFI system partition: GRUB was removed, so take the image from its build"
        )
    return esp.read(runner, part, 0, _CORE)


def said(path: str) -> t.Mapping[str, t.Any]:
    """Return what a manifest says, or a file of measure_image."""
    try:
        found = untrusted_json.loads(regular_file.demand(path, most=regular_file.SMALL))
    except ValueError:
        found = None
    places = (("audit", "facts", "tpm2"), ("tpm2",))
    for place in places:
        inner = found
        for key in place:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and {"authenticode", "pcrs"} <= set(inner):
            return inner
    raise SealedRootError(
        f"{path} does not say what a TPM holds: give the manifest of an image with tpm2 in image_unlock that was"
        " audited, or what the playbook measure_image wrote"
    )


def measured(runner: Runner, params: t.Mapping[str, t.Any], *, work: str) -> t.Dict[str, t.Any]:
    """Measure the image, and compare it."""
    before = said(params["expected"]) if params["expected"] else {}
    with tempfile.TemporaryDirectory(dir=work) as directory:
        core = core_image(runner, params["path"], directory)
    outcome = tpm_program.measured(core)
    differ = list(expected.differences(before, outcome)) if before else []
    if differ:
        raise SealedRootError(
            f"{params['expected']} says something else: {', '.join(differ)}. The disk was changed, so start no machine"
            " from it, and take the image from its build"
        )
    return outcome


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "expected": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: measured(ModuleRunner(module), module.params, work=module.tmpdir))


if __name__ == "__main__":
    main()
