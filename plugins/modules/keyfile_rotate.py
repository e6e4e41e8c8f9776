#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: keyfile_rotate
short_description: Leave exactly the given keys in the given LUKS key slots
description:
  - Desired state of the key slots of a LUKS container, in an image file or on a device that is in use.
    Afterwards exactly O(keys) open it, each in its slot; every other slot is empty.
  - New keys are added and proved before an old one is removed, so a kill at any point leaves a container
    that still opens; running the task again finishes the job.
  - Changing keys does not change the volume key, and whoever has an old copy of the header can still open
    the container with an old key.
  - GRUB tries LUKS1 slots by number, but LUKS2 slots in the order in which they were made. So in LUKS2 a
    slot with more iterations is made again when it is older than one with fewer, and the boot key never
    waits for a slow one. In LUKS1 give the quicker key the lower number.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._luks_container
options:
  keys:
    description: The keys that the container shall have.
    type: list
    elements: dict
    required: true
    suboptions:
      slot:
        description: The key slot, counted from V(0).
        type: int
        required: true
      key_file:
        description:
          - A file of root's with the key, mode 0600 or 0400, not empty.
          - All of its bytes are the key; a newline at its end could not be typed at GRUB.
        type: path
        required: true
      iterations:
        description:
          - PBKDF2 iterations of the slot. V(1000) is right for a key of 128 random bits or more; a
            passphrase that a person made up needs V(600000) or more.
        type: int
        default: 1000
  unlock_key_files:
    description:
      - Files with further keys that may open the container now, such as the build key. They are removed
        with everything else that is not in O(keys).
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Replace the build key by a boot key and a recovery key
  sealedroot.image.keyfile_rotate:
    path: /var/tmp/disk.raw
    offset: 104857600
    unlock_key_files:
      - /run/keys/build.key
    keys:
      - slot: 0
        key_file: /run/keys/boot.key
      - slot: 1
        key_file: /run/keys/recovery.key
"""

RETURN = r"""
uuid:
  description: The UUID of the LUKS header.
  type: str
  returned: success
slots:
  description: The iterations of each active slot afterwards.
  type: dict
  returned: success
  sample: {"0": 1000, "1": 1000}
added:
  description: The slots that got a key, in order; a spare slot may be among them.
  type: list
  elements: int
  returned: success
removed:
  description: The slots that were emptied, in order.
  type: list
  elements: int
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _cryptsetup,
    _key_plan,
    _loop,
    _luks_container,
    _luks_metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]


def read_state(
    runner: Runner,
    device: str,
    header: _luks_metadata.Header,
    wanted: t.Sequence[_key_plan.WantedKey],
    others: t.Sequence[str],
) -> _key_plan.State:
    """Find out which known key opens which slot.

    A key in its own slot is asked for first, as is usual on a second run; only what is not explained by
    that is searched for in all slots.
    """
    pairs = [(want.key, want.slot) for want in wanted if want.slot in header.slots]
    keys = [*(want.key for want in wanted), *others]
    pairs += [(key, slot) for key in keys for slot in sorted(header.slots)]
    opens: t.Dict[int, str] = {}
    for key, slot in dict.fromkeys(pairs):
        if slot not in opens and _cryptsetup.opens(runner, device, key, slot=slot) is not None:
            opens[slot] = key
    return _key_plan.State(iterations_of(header), opens, header.slot_order)


def iterations_of(header: _luks_metadata.Header) -> t.Dict[int, int]:
    """Return the PBKDF2 iterations of each active slot; 0 where another function is used."""
    return {n: s.iterations if s.kdf == "pbkdf2" else 0 for n, s in header.slots.items()}


def apply(runner: Runner, device: str, steps: t.Sequence[_key_plan.Step], *, hash_: str) -> None:
    """Carry the steps out, each finished before the next begins."""
    for step in steps:
        if step.verb == "add":
            _cryptsetup.add_key(
                runner,
                device,
                unlock=step.unlock,
                key_file=step.key,
                slot=step.slot,
                iterations=step.iterations,
                hash_=hash_,
            )
        elif step.verb == "remove":
            _cryptsetup.kill_slot(runner, device, unlock=step.unlock, slot=step.slot)
        elif _cryptsetup.opens(runner, device, step.key, slot=step.slot) is None:
            raise SealedRootError(
                f"the key in {step.key} is in slot {step.slot} but does not open it, so the slots that"
                " are left stay as they are: check the disk, then run this again"
            )


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the key slots into the state that is asked for and say what was done."""
    _luks_container.check(params["path"], params["offset"], params["size"])
    wanted = [
        _key_plan.WantedKey(entry["slot"], entry["key_file"], entry["iterations"])
        for entry in params["keys"]
    ]
    others = params["unlock_key_files"]
    for want in wanted:
        _luks_container.check_key_file(want.key)
    for key in others:
        _luks_container.check_key_file(key)
    region = {key: params[key] for key in ("path", "offset", "size")}
    with _loop.attached(runner, **region) as device:
        header = _luks_metadata.read(runner, device)
        if header is None:
            raise SealedRootError(
                f"there is no LUKS header in {params['path']} at offset {params['offset']}"
            )
        before = read_state(runner, device, header, wanted, others)
        steps = _key_plan.plan(before, wanted, header.type)
        slots = {want.slot: want.iterations for want in wanted}
        if not check_mode:
            apply(runner, device, steps, hash_=header.hash)
            after = _luks_metadata.read(runner, device)
            have = iterations_of(after) if after else {}
            if have != slots:
                raise SealedRootError(f"the header has the slots {have} instead of {slots}")
    return {
        "changed": bool(steps),
        "uuid": header.uuid,
        "slots": {str(slot): iterations for slot, iterations in sorted(slots.items())},
        "added": [step.slot for step in steps if step.verb == "add"],
        "removed": [step.slot for step in steps if step.verb == "remove"],
        "diff": {
            "before": {"slots": dict(before.slots)},
            "after": {"slots": slots},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_luks_container.ARGUMENT_SPEC,
            "keys": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "no_log": False,
                "options": {
                    "slot": {"type": "int", "required": True},
                    "key_file": {"type": "path", "required": True, "no_log": False},
                    "iterations": {"type": "int", "default": 1000},
                },
            },
            "unlock_key_files": {
                "type": "list",
                "elements": "path",
                "default": [],
                "no_log": False,
            },
        },
        supports_check_mode=True,
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params, check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
