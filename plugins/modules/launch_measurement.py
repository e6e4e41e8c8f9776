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
  - Nor is one returned for a firmware that can start other programs than the kernel, as all of edk2's can if the host
    hides the kernel from them. M(sealedroot.image.launch_files) makes one that cannot.
  - It only reads the files. It needs no key, no root and no such machine.
  - It also computes what a TPM holds when the firmware starts the same program from a disk.
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
    description: The firmware, which is C(launch/firmware.fd) of an image.
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
  vcpu_types:
    description:
      - The types of these processors, as QEMU calls them (C(-cpu)), such as V(EPYC-v4) or V(EPYC-Milan).
      - Needed for the types V(sev-es) and V(snp).
    type: list
    elements: str
    default: []
    aliases: [vcpu_type]
  guest_features:
    description:
      - The features of the processors' state, as a number (C(SEV_FEATURES)), which SEV-SNP measures.
      - V(1) is a guest with SEV-SNP and nothing else.
    type: int
    default: 1
  hashes:
    description:
      - The table with the hashes of this kernel, such as C(launch/hashes.bin) of an image. Any other is refused.
      - QEMU makes the same table with C(kernel-hashes=on).
    type: path
  expected:
    description:
      - The C(manifest.json) of an image, or a file with an earlier result of this module. What both have must be equal.
      - It may have digests for other types and numbers of processors.
    type: path
seealso:
  - module: sealedroot.image.launch_inject
  - module: sealedroot.image.launch_secret
"""

EXAMPLES = r"""
- name: Compute what the host's machine has to report
  sealedroot.image.launch_measurement:
    firmware: firmware.fd
    kernel: core.efi
    types: [sev, sev-es]
    vcpus: [1, 2, 4]
    vcpu_types: [EPYC-Milan, EPYC-v4]
  register: expected

- name: Show the digest for a guest with two processors and SEV-ES
  ansible.builtin.debug:
    msg: "{{ expected.by_vcpu_type['EPYC-v4'].sev_es['2'] }}"

- name: Compare an image with its manifest
  sealedroot.image.launch_measurement:
    firmware: out/web-1/launch/firmware.fd
    kernel: out/web-1/launch/core.efi
    hashes: out/web-1/launch/hashes.bin
    expected: out/web-1/manifest.json
"""

RETURN = r"""
sev:
  description: The launch digest for SEV, a SHA-256.
  type: str
  returned: when O(types) has V(sev)
  sample: b4e9e00e5c1d...
sev_es:
  description: The launch digests for SEV-ES, by number of processors, for the first of O(vcpu_types).
  type: dict
  returned: when O(types) has V(sev-es)
  sample: {"1": "6f4e...", "2": "90ab..."}
snp:
  description: The launch digests for SEV-SNP, each a SHA-384, by number of processors, for the first of O(vcpu_types).
  type: dict
  returned: when O(types) has V(snp)
  sample: {"1": "11c2...", "2": "5d07..."}
by_vcpu_type:
  description: C(sev_es) and C(snp), as far as they were asked for, for each of O(vcpu_types).
  type: dict
  returned: when O(types) has V(sev-es) or V(snp)
  sample: {"EPYC-v4": {"sev_es": {"1": "6f4e...", "2": "90ab..."}}}
pcrs:
  description:
    - What a TPM holds in its SHA-256 bank after the firmware has started the kernel from a disk, as the first boot
      option. With C(-kernel), PCR 4 is another.
    - PCR 7 is that of firmware with Secure Boot off and without keys for it. Firmware that was built without Secure
      Boot has another. Other registers are not known beforehand.
  type: dict
  returned: success
  sample: {"4": "1f0a...", "7": "65ca..."}
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
    expected,
    kernel_file,
    kernel_hashes,
    launch_digest,
    ovmf,
    pcrs,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import pe
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def check(params: Params) -> None:
    """Refuse options that contradict each other."""
    if not params["types"]:
        raise SealedRootError("types is empty: name what protects the guest, such as sev-es")
    for vcpus in params["vcpus"]:
        if not 1 <= vcpus <= ovmf.MOST_VCPUS:
            raise SealedRootError(f"vcpus has {vcpus}: use numbers from 1 to {ovmf.MOST_VCPUS}")
    if set(params["types"]) != {"sev"}:
        if not params["vcpus"]:
            raise SealedRootError("vcpus is empty: give the numbers of processors")
        if not params["vcpu_types"]:
            raise SealedRootError(
                "vcpu_types is missing: SEV-ES and SEV-SNP measure the type of the processors, so give that of -cpu"
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
    firmware = regular_file.demand(params["firmware"], most=ovmf.LARGEST)
    kernel = kernel_file.read(params["kernel"])
    found = ovmf.parse(firmware, params["firmware"])
    volumes.check(firmware, params["firmware"])
    if params["types"] != ["sev"]:
        ovmf.check_processors(found, params["firmware"])
    if "snp" in params["types"]:
        ovmf.check_snp(found, params["firmware"])
    authenticode = program(kernel, params["kernel"]).digests[0]
    if params["hashes"]:
        check_hashes(kernel, params)
    outcome = {
        **digests(params),
        "firmware": {
            "sha256": hashlib.sha256(firmware).hexdigest(),
            "secret_area": found.secret._asdict(),
            "hashes_area": found.hashes._asdict(),
        },
        "kernel": {
            "sha256": hashlib.sha256(kernel).hexdigest(),
            "authenticode_sha256": authenticode.hex(),
        },
        "pcrs": {"4": pcrs.boot_loader(authenticode), "7": pcrs.without_secure_boot()},
    }
    if params["expected"]:
        compare(outcome, params["expected"])
    return outcome


def check_hashes(kernel: bytes, params: Params) -> None:
    """Refuse a table that is not that of the kernel."""
    given = regular_file.demand(params["hashes"], most=regular_file.SMALL)
    if given != kernel_hashes.table(kernel):
        raise SealedRootError(
            f"{params['hashes']} is not the table of the hashes of {params['kernel']}, without initramfs and command"
            " line: one of the two was exchanged, so take both from the same build"
        )


def digests(params: Params) -> t.Dict[str, t.Any]:
    """Compute the launch digests that were asked for."""

    def digest(kind: str, vcpus: int, signature: int) -> str:
        return launch_digest.digest(
            kind,
            params["firmware"],
            params["kernel"],
            vcpus=vcpus,
            signature=signature,
            guest_features=params["guest_features"],
        )

    found: t.Dict[str, t.Any] = {"sev": digest("sev", 1, 0)} if "sev" in params["types"] else {}
    kinds = [it for it in params["types"] if it != "sev"]
    if not kinds:
        return found
    signatures = {it: launch_digest.processor(it) for it in params["vcpu_types"]}
    by_type = {
        vcpu_type: {
            kind.replace("-", "_"): {
                str(vcpus): digest(kind, vcpus, signature) for vcpus in params["vcpus"]
            }
            for kind in kinds
        }
        for vcpu_type, signature in signatures.items()
    }
    return {**found, **by_type[params["vcpu_types"][0]], "by_vcpu_type": by_type}


def compare(outcome: t.Mapping[str, t.Any], path: str) -> None:
    """Refuse what is not as the manifest says."""
    before = expected.parse(regular_file.demand(path, most=regular_file.SMALL), path)
    by_type = before.get("by_vcpu_type") or {}
    if not isinstance(by_type, dict) or not all(isinstance(it, dict) for it in by_type.values()):
        raise SealedRootError(
            f"{path} has no digests in its by_vcpu_type: give the manifest of the image"
        )
    for kind in ("sev_es", "snp") if by_type else ():
        # It is there again, of one of the types; who injects may read either.
        if before.get(kind) and before[kind] not in [it.get(kind) for it in by_type.values()]:
            raise SealedRootError(
                f"{path} contradicts itself: its {kind} is that of no type of processors. Do not give the key of"
                " the image to a guest"
            )
    if "by_vcpu_type" in outcome and by_type:
        # These are there again, of the type that was named first.
        outcome, before = (
            {name: it for name, it in side.items() if name not in ("sev_es", "snp")}
            for side in (outcome, before)
        )
    found = list(expected.differences(before, outcome))
    if found:
        raise SealedRootError(
            f"{path} says something else: {', '.join(found)}. Give the firmware and the guest_features that it was made"
            " with; if these are right, the image was changed, so do not give its key to a guest"
        )


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
            "vcpu_types": {
                "type": "list",
                "elements": "str",
                "default": [],
                "aliases": ["vcpu_type"],
            },
            "guest_features": {"type": "int", "default": 1},
            "hashes": {"type": "path"},
            "expected": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: measured(module.params))


if __name__ == "__main__":
    main()
