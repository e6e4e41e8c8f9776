#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_measurement
short_description: The launch digests of a confidential guest, computed from its firmware and its GRUB
version_added: 1.0.0
description:
  - Computes what the secure processor of an AMD machine measures when it starts a guest from a firmware, with a core
    image of GRUB as its kernel (C(-kernel), C(kernel-hashes=on), no initramfs, no command line). The owner compares it
    with what the host's machine reports, and gives the key only to a guest that has the same.
  - A digest is only returned for a firmware that checks the hash of the kernel and has a place for the kernel's hashes,
    because without them the host could start another kernel and nobody would notice.
  - It only reads the files. It needs no key, no root and no such machine.
  - Those for SEV-ES are of QEMU 9.1 and later on Linux 6.10 and later, without C(legacy-vm-type).
  - No machine with SEV has seen these digests yet. They are those of sev-snp-measure.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes.info
requirements:
  - python >= 3.10
  - sev-snp-measure >= 0.0.13 (PyPI)
options:
  firmware:
    description: The firmware, such as C(OVMF.amdsev.fd) of Debian's package ovmf-amdsev.
    type: path
    required: true
  kernel:
    description: The core image of GRUB, an EFI program, as QEMU gets it with C(-kernel).
    type: path
    required: true
  types:
    description: What protects the guest.
    type: list
    elements: str
    choices: [sev, sev-es, snp]
    default: [sev]
  vcpus:
    description: The numbers of processors to compute digests for. Only SEV-ES and SEV-SNP measure them.
    type: list
    elements: int
    default: [1]
  vcpu_type:
    description:
      - The type of these processors, as QEMU calls it (C(-cpu)), such as V(EPYC-v4) or V(EPYC-Milan).
      - Needed for the types V(sev-es) and V(snp).
    type: str
  guest_features:
    description:
      - The features of the processors' state, as a number (C(SEV_FEATURES)), which SEV-SNP measures.
      - V(1) is a guest with SEV-SNP and nothing else.
    type: int
    default: 1
seealso:
  - module: sealedroot.image.launch_secret
"""

EXAMPLES = r"""
- name: Compute what the host's machine has to report
  sealedroot.image.launch_measurement:
    firmware: /usr/share/ovmf/OVMF.amdsev.fd
    kernel: core.efi
    types: [sev, sev-es]
    vcpus: [1, 2, 4]
    vcpu_type: EPYC-Milan
  register: expected

- name: Show the digest for a guest with two processors and SEV-ES
  ansible.builtin.debug:
    msg: "{{ expected.sev_es['2'] }}"
"""

RETURN = r"""
sev:
  description: The launch digest for SEV, a SHA-256.
  type: str
  returned: when O(types) has V(sev)
  sample: b4e9e00e5c1d...
sev_es:
  description: The launch digests for SEV-ES, by number of processors.
  type: dict
  returned: when O(types) has V(sev-es)
  sample: {"1": "6f4e...", "2": "90ab..."}
snp:
  description: The launch digests for SEV-SNP, each a SHA-384, by number of processors.
  type: dict
  returned: when O(types) has V(snp)
  sample: {"1": "11c2...", "2": "5d07..."}
firmware:
  description: What the firmware is, and what it says of itself.
  type: dict
  returned: success
  contains:
    sha256:
      description: The SHA-256 of the file.
      type: str
    secret_area:
      description: Where a launch secret is injected, and how many bytes fit there.
      type: dict
      sample: {"base": 8454144, "size": 3072}
    hashes_area:
      description: Where QEMU writes the kernel's hashes, and how many bytes fit there.
      type: dict
      sample: {"base": 8457216, "size": 1024}
kernel:
  description: What the kernel is.
  type: dict
  returned: success
  contains:
    sha256:
      description: The SHA-256 of the file, which the table of hashes has.
      type: str
    authenticode_sha256:
      description: The hash of the program without its signatures, which a TPM measures and a signature covers.
      type: str
"""

import hashlib
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    launch_digest,
    ovmf,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import pe
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

# As many as KVM starts.
MOST_VCPUS = 4096
Params = t.Mapping[str, t.Any]


def check(params: Params) -> None:
    """Refuse options that contradict each other."""
    if not params["types"]:
        raise SealedRootError("types is empty: name what protects the guest, such as sev-es")
    for vcpus in params["vcpus"]:
        if not 1 <= vcpus <= MOST_VCPUS:
            raise SealedRootError(f"vcpus has {vcpus}: use numbers from 1 to {MOST_VCPUS}")
    if params["types"] != ["sev"]:
        if not params["vcpus"]:
            raise SealedRootError("vcpus is empty: give the numbers of processors")
        if not params["vcpu_type"]:
            raise SealedRootError(
                "vcpu_type is missing: SEV-ES and SEV-SNP measure the type of the processors, so give that of -cpu"
            )
    if not 0 <= params["guest_features"] < 1 << 64:
        raise SealedRootError("guest_features is no number of 64 bits: 1 is a guest with SEV-SNP")


def program(data: bytes, name: str) -> pe.Program:
    """Parse the kernel as what the firmware can start (docs/facts.md: firmware-checks-kernel)."""
    found = pe.parse(data)
    if found is None:
        raise SealedRootError(
            f"{name} is no EFI program, and this firmware starts nothing else: give what grub-mkimage made for"
            " x86_64-efi"
        )
    return found


def measured(params: Params) -> t.Dict[str, t.Any]:
    """Compute the digests."""
    if not launch_digest.IS_INSTALLED:
        raise SealedRootError(missing_required_lib("sev-snp-measure"))
    check(params)
    firmware, kernel = (
        regular_file.demand(params[name], most=most)
        for name, most in (("firmware", ovmf.LARGEST), ("kernel", regular_file.LARGE))
    )
    found = ovmf.parse(firmware, params["firmware"])
    if params["types"] != ["sev"]:
        ovmf.check_processors(found, params["firmware"])
    if "snp" in params["types"]:
        ovmf.check_snp(found, params["firmware"])
    authenticode = program(kernel, params["kernel"]).digests[0].hex()
    signature = launch_digest.processor(params["vcpu_type"])

    def digest(kind: str, vcpus: int = 1) -> str:
        return launch_digest.digest(
            kind,
            params["firmware"],
            params["kernel"],
            vcpus=vcpus,
            signature=signature,
            guest_features=params["guest_features"],
        )

    digests: t.Dict[str, t.Any] = {}
    for kind in params["types"]:
        if kind == "sev":
            digests[kind] = digest(kind)
        else:
            by_number = {str(vcpus): digest(kind, vcpus) for vcpus in params["vcpus"]}
            digests[kind.replace("-", "_")] = by_number
    return {
        **digests,
        "firmware": {
            "sha256": hashlib.sha256(firmware).hexdigest(),
            "secret_area": found.secret._asdict(),
            "hashes_area": found.hashes._asdict(),
        },
        "kernel": {
            "sha256": hashlib.sha256(kernel).hexdigest(),
            "authenticode_sha256": authenticode,
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "firmware": {"type": "path", "required": True},
            "kernel": {"type": "path", "required": True},
            "types": {
                "type": "list",
                "elements": "str",
                "choices": ["sev", "sev-es", "snp"],
                "default": ["sev"],
            },
            "vcpus": {"type": "list", "elements": "int", "default": [1]},
            "vcpu_type": {"type": "str"},
            "guest_features": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    run(module, lambda: measured(module.params))


if __name__ == "__main__":
    main()
