#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_image_info
short_description: What the header of a LUKS container says
version_added: 1.0.0
description:
  - Reads the LUKS header in a region of an image file or on a block device, open or closed, and says what
    in it is unusual, how bad that is, and what to do about it.
  - Can try which key opens which slot.
  - The container is only ever opened read-only, so that not even a damaged header is repaired.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._luks_container
options:
  key_files:
    description:
      - Keys to try, as a dictionary of a name of your choice and the path of a key file with mode 0600.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at an image
  sealedroot.image.luks_image_info:
    path: out/web-1/disk.raw
    offset: 104857600
    key_files:
      boot: out/web-1/boot.key
  register: luks

- name: Refuse a header that a host could have forged, or that GRUB cannot read
  ansible.builtin.assert:
    that: luks.findings | rejectattr('severity', 'eq', 'note') | length == 0
    fail_msg: "{{ luks.findings }}"
"""

RETURN = r"""
type:
  description: V(luks1) or V(luks2); empty when there is no LUKS header.
  type: str
  returned: success
uuid:
  description: The UUID of the header.
  type: str
  returned: success
cipher:
  description: The cipher of the payload in the notation of cryptsetup(8).
  type: str
  returned: success
hash:
  description: The hash of the digest of the volume key.
  type: str
  returned: success
key_bits:
  description: The size of the volume key in bits.
  type: int
  returned: success
payload_offset:
  description: Where the payload begins, in bytes from the beginning of the container.
  type: int
  returned: success
digest_iterations:
  description: The PBKDF2 iterations of the digest of the volume key, computed once for each slot tried.
  type: int
  returned: success
slots:
  description: The active key slots, by number.
  type: dict
  returned: success
  sample: {"0": {"iterations": 1000, "kdf": "pbkdf2"}}
slot_order:
  description: The numbers of the active key slots in the order in which GRUB tries them.
  type: list
  elements: int
  returned: success
opens:
  description: Which slot each key of O(key_files) opens; V(null) when it opens none.
  type: dict
  returned: success
  sample: {"boot": 0, "old": null}
findings:
  description:
    - What is unusual about the header, one row each.
    - docs/luks_findings.md of the collection shows all of them in a table.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description:
        - What was found, by a name that stays.
        - >-
          V(no-header), V(null-cipher), V(cipher), V(key-size), V(segments), V(segment-type), V(segment-flag),
          V(segment-size), V(iv-tweak), V(data-overlap), V(unbound-segment), V(digests), V(null-slot), V(slot-key-size),
          V(area-key-size), V(af-stripes), V(forced-slot), V(forced-digest), V(tokens), V(reencrypt-slot) and
          V(requirement-reencrypt) have the severity V(danger).
        - >-
          V(requirement), V(integrity), V(sector-size), V(unbound-digest), V(digest-type), V(hash), V(slow-digest),
          V(no-slots), V(unbound-slot), V(slot-type), V(slot-cipher), V(slot-hash), V(argon2), V(kdf), V(ignored-slot)
          and V(slow-slot) have the severity V(boot).
        - V(few-iterations), V(data-offset), V(slot-area) and V(flags) have the severity V(note).
      type: str
    severity:
      description:
        - V(danger), if a hostile host could have made this, or data is not protected.
        - V(boot), if GRUB cannot read it or is slow.
        - V(note), if it is right for some containers. A sealed image has these, too.
      type: str
    meaning:
      description: What it is, as a sentence.
      type: str
    cure:
      description: What to do about it.
      type: str
  sample:
    - id: argon2
      severity: boot
      meaning: slot 1 uses argon2id, which GRUB before 2.14 cannot compute
      cure: run 'cryptsetup luksConvertKey --key-slot 1 --pbkdf pbkdf2 --hash sha256 --pbkdf-force-iterations 1000'
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    cryptsetup,
    findings as luks_findings,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def describe(header: t.Optional[metadata.Header]) -> t.Dict[str, t.Any]:
    """Return the facts of a header, with the same keys if there is none."""
    if header is None:
        return {
            "type": "",
            "uuid": "",
            "cipher": "",
            "hash": "",
            "key_bits": 0,
            "payload_offset": 0,
            "digest_iterations": 0,
            "slots": {},
            "slot_order": [],
        }
    return {
        "type": header.type,
        "uuid": header.uuid,
        "cipher": header.cipher,
        "hash": header.hash,
        "key_bits": header.key_bits,
        "payload_offset": header.payload_offset,
        "digest_iterations": header.digest_iterations,
        "slots": {
            str(number): {"iterations": slot.iterations, "kdf": slot.kdf}
            for number, slot in sorted(header.slots.items())
        },
        "slot_order": list(header.slot_order),
    }


def read(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Read the container and try the keys."""
    container.check(params["path"], params["offset"], params["size"])
    for key_file in params["key_files"].values():
        container.check_key_file(key_file)
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region, read_only=True) as device:
        header = metadata.read(runner, device)
        opens = {
            name: cryptsetup.opens(runner, device, key_file) if header else None
            for name, key_file in params["key_files"].items()
        }
    findings = [dataclasses.asdict(it) for it in luks_findings.findings(header)]
    return {"changed": False, "opens": opens, **describe(header), "findings": findings}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **container.ARGUMENT_SPEC,
            "key_files": {"type": "dict", "default": {}, "no_log": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: read(ModuleRunner(module), module.params))


if __name__ == "__main__":
    main()
