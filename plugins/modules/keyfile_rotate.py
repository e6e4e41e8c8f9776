#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: keyfile_rotate
short_description: Leave exactly the given keys in the given LUKS key slots
version_added: 1.0.0
description:
  - Desired state of the key slots of a LUKS container, in an image file or on a device that is in use.
    Afterwards exactly O(keys) open it, each in its slot; every other slot is empty, but for O(keep_slots).
  - New keys are added and proved before an old one is removed, so a kill at any point leaves a container
    that still opens; running the task again finishes the job.
  - Changing keys does not change the volume key, and whoever has an old copy of the header can still open
    the container with an old key.
  - GRUB tries LUKS1 slots by number, but LUKS2 slots in the order in which they were made. So in LUKS2 a
    slot with more iterations is made again when it is older than one with fewer, and the boot key never
    waits for a slow one, unless that is in O(keep_slots), which leads to a warning. In LUKS1 give the quicker
    key the lower number.
  - Two of these tasks on one container wait for each other.
  - With O(header), that file is what is read and changed, and the container gets it step by step, so that both say the
    same whenever this has ended. Whatever the container had in its place is overwritten.
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
          - PBKDF2 iterations of the slot; by default V(1000), which is right for a key of 128 random bits or more, and
            V(600000) for a O(keys[].passphrase).
        type: int
      passphrase:
        description: Whether the key is a passphrase that a person made up.
        type: bool
        default: false
  unlock_key_files:
    description:
      - Files with further keys that may open the container now, such as that of an installer. They are removed
        with everything else that is neither in O(keys) nor in O(keep_slots).
    type: list
    elements: path
    default: []
  keep_slots:
    description:
      - Slots to leave alone. They are neither emptied nor filled, and their keys need not be known, so a
        recovery key does not have to be where this runs. One that is empty stays so.
    type: list
    elements: int
    default: []
  header:
    description:
      - A file of root's with the LUKS header, by which the machine's initramfs opens the container
        (C(header=) in crypttab(5)).
      - It is made from the container where there is none, so do that only while the container is your own. Of the disk
        that the running root is on, none is made, since its host can have changed the header there.
      - Unused key slots in it, and so in the container, are empty.
    type: path
  revoke_key_files:
    description:
      - Files with keys that must not open the container afterwards, which is proved. They may open it now,
        as O(unlock_key_files) may.
      - One that opens a slot of O(keep_slots) is refused before anything is changed.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Replace the installer's passphrase by a boot key and a recovery key
  sealedroot.image.keyfile_rotate:
    path: /var/tmp/disk.raw
    offset: 104857600
    unlock_key_files:
      - /run/keys/installer.key
    keys:
      - slot: 0
        key_file: /run/keys/boot.key
      - slot: 1
        key_file: /run/keys/recovery.key

- name: Exchange the boot key and leave the recovery key, which is not here, alone
  sealedroot.image.keyfile_rotate:
    path: /dev/vda2
    keys:
      - slot: 0
        key_file: /run/keys/boot.key
    keep_slots: [1]
    revoke_key_files:
      - /run/keys/old.key
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
written:
  description: Whether the container had another header than O(header) before, and got it.
  type: bool
  returned: success
"""

import contextlib
import filecmp
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import running_root
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    cryptsetup,
    key_entries,
    key_plan,
    metadata,
    pinned_header,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def read_state(
    runner: Runner, device: str, header: metadata.Header, params: Params
) -> key_plan.State:
    """Find out which known key opens which slot.

    First try each wanted key in its own slot, which is usual on a second run; then search all slots that are not
    explained by that. A kept slot can be slow: it is tried only with keys that must not be there, and with a known key
    if no other slot opens.
    """
    kept = [slot for slot in params["keep_slots"] if slot in header.slots]
    ours = [slot for slot in sorted(header.slots) if slot not in kept]
    wanted = {entry["slot"]: entry["key_file"] for entry in params["keys"]}
    revoked, others = params["revoke_key_files"], params["unlock_key_files"]
    opens: t.Dict[int, str] = {}

    def ask(pairs: t.Iterable[t.Tuple[str, int]], *, one: bool = False) -> None:
        for key, slot in dict.fromkeys(pairs):
            if one and opens:
                break
            if slot not in opens and cryptsetup.opens(runner, device, key, slot=slot) is not None:
                opens[slot] = key

    pairs = [(key, slot) for slot, key in wanted.items() if slot in ours]
    ask([*pairs, *((key, slot) for key in (*wanted.values(), *revoked, *others) for slot in ours)])
    ask((key, slot) for key in revoked for slot in kept)
    for slot in kept:
        if slot in opens:
            raise SealedRootError(
                f"the key in {opens[slot]} opens slot {slot}, which keep_slots leaves alone, so it cannot be"
                f" revoked: give slot {slot} a key of its own in keys"
            )
    ask(((key, slot) for key in others for slot in sorted(kept)), one=True)
    return key_plan.State(iterations_of(header), opens, header.slot_order)


def iterations_of(header: metadata.Header) -> t.Dict[int, int]:
    """Return the PBKDF2 iterations of each active slot; 0 for another key derivation function."""
    return {n: s.iterations if s.kdf == "pbkdf2" else 0 for n, s in header.slots.items()}


class Place(t.NamedTuple):
    """Where key slots are changed: on the device, or in a header file that is then written to the device."""

    device: str
    header: str = ""

    @property
    def believed(self) -> str:
        """Return the file or device to read the header from."""
        return self.header or self.device

    @contextlib.contextmanager
    def changed(self, runner: Runner) -> t.Iterator[str]:
        """Yield the file or device for cryptsetup to change, and then write the change to the device."""
        if not self.header:
            yield self.device
            return
        with pinned_header.edited(runner, self.header) as copy:
            yield copy
        pinned_header.put_on(runner, self.device, self.header)


def apply(runner: Runner, place: Place, steps: t.Sequence[key_plan.Step], *, hash_: str) -> None:
    """Carry out the steps; each ends before the next begins."""
    for step in steps:
        if step.verb == "add":
            with place.changed(runner) as target:
                cryptsetup.add_key(
                    runner,
                    target,
                    unlock=step.unlock,
                    key_file=step.key,
                    slot=step.slot,
                    iterations=step.iterations,
                    hash_=hash_,
                )
        elif step.verb == "remove":
            with place.changed(runner) as target:
                cryptsetup.kill_slot(runner, target, unlock=step.unlock, slot=step.slot)
        elif cryptsetup.opens(runner, place.believed, step.key, slot=step.slot) is None:
            raise SealedRootError(
                f"the key in {step.key} is in slot {step.slot} but does not open it, so the slots that"
                " are left stay as they are: check the disk, then run this again"
            )


def check_own(runner: Runner, path: str, header: str) -> None:
    """Refuse to trust the header on the disk that this machine runs from."""
    if loop_devices.is_block_device(path) and running_root.is_on(runner, path):
        raise SealedRootError(
            f"the header file {header} does not exist, and the root of this machine is on {path}, whose host can have"
            " changed the header there: put the file back, out of a backup or an initramfs in /boot, which has it at"
            " the same path (lsinitrd, unmkinitramfs)"
        )


def place_of(
    runner: Runner, device: str, path: str, header: str, *, check_mode: bool
) -> t.Tuple[Place, bool]:
    """Return where to read key slots, and whether the header file must still be written to the device in *path*."""
    if not header:
        return Place(device), False
    if not os.path.lexists(header):
        check_own(runner, path, header)
        if check_mode:
            return Place(device), True
        pinned_header.make(runner, device, header)
    container.check_key_file(header, "header file")
    return Place(device, header), not pinned_header.is_on(device, header)


def check_key_files(params: Params) -> None:
    """Refuse unsafe key files, and a key that is both wanted and revoked."""
    wanted = [entry["key_file"] for entry in params["keys"]]
    for path in (*wanted, *params["unlock_key_files"], *params["revoke_key_files"]):
        container.check_key_file(path)
    for path in wanted:
        for revoked in params["revoke_key_files"]:
            if filecmp.cmp(path, revoked, shallow=False):
                raise SealedRootError(
                    f"{path} and {revoked} hold the same key, which cannot be both kept and revoked:"
                    " make a new key"
                )


def prove_revoked(runner: Runner, device: str, key_files: t.Sequence[str]) -> None:
    """Raise an error if one of the keys still opens the container."""
    for key in key_files:
        slot = cryptsetup.opens(runner, device, key)
        if slot is not None:
            raise SealedRootError(
                f"the key in {key} still opens slot {slot}: another program has changed the header"
                " meanwhile; run this again"
            )


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the key slots into the requested state and report the changes."""
    container.check(params["path"], params["offset"], params["size"])
    wanted = key_entries.wanted(params["keys"])
    kept = params["keep_slots"]
    check_key_files(params)
    region = {key: params[key] for key in ("path", "offset", "size")}
    lock = contextlib.nullcontext() if check_mode else container.locked(params["path"])
    with lock, loop_devices.attached(runner, **region) as device:
        place, stale = place_of(
            runner, device, params["path"], params["header"] or "", check_mode=check_mode
        )
        header = metadata.read(runner, place.believed)
        if header is None:
            where = place.header or f"{params['path']} at offset {params['offset']}"
            raise SealedRootError(f"there is no LUKS header in {where}: correct that option")
        key_plan.check(wanted, header.type, kept)
        before = read_state(runner, place.believed, header, params)
        steps = key_plan.plan(before, wanted, header.type, kept)
        slots = {slot: count for slot, count in before.slots.items() if slot in kept}
        slots.update({want.slot: want.iterations for want in wanted})
        if not check_mode:
            if stale:
                # Remove traces of an interruption or of an attack before changing a key.
                pinned_header.put_on(runner, device, place.header)
            apply(runner, place, steps, hash_=header.hash)
            prove_revoked(runner, place.believed, params["revoke_key_files"])
            after = metadata.read(runner, place.believed)
            have = iterations_of(after) if after else {}
            if have != slots:
                raise SealedRootError(f"the header has the slots {have} instead of {slots}")
    slow = key_plan.slow_first(before, steps, kept) if header.type == "luks2" else []
    return {
        "changed": bool(steps) or stale,
        "warnings": [
            f"GRUB tries slot {slot} of {params['path']} first, which has {slots[slot]} iterations and is in"
            " keep_slots: give its key in keys, and it is made again behind the quicker ones"
            for slot in slow
        ],
        "uuid": header.uuid,
        "slots": {str(slot): iterations for slot, iterations in sorted(slots.items())},
        "added": [step.slot for step in steps if step.verb == "add"],
        "removed": [step.slot for step in steps if step.verb == "remove"],
        "written": stale,
        "diff": {
            "before": {"slots": dict(before.slots)},
            "after": {"slots": slots},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    key_files = {"type": "list", "elements": "path", "default": [], "no_log": False}
    module = AnsibleModule(
        argument_spec={
            **container.ARGUMENT_SPEC,
            "keys": {**key_entries.ARGUMENT, "required": True},
            "unlock_key_files": key_files,
            "keep_slots": {"type": "list", "elements": "int", "default": []},
            "revoke_key_files": key_files,
            "header": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
