#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_audit
short_description: Prove a closed image without booting it
version_added: 1.0.0
description:
  - Examines a finished image file, opened read-only, and fails when it is not what a sealed image must be.
    Every check has a name and a verdict, and all of them are made before the module fails.
  - GRUB's own code opens the disk with each key and refuses a wrong one; the LUKS header is exactly as asked
    for; each initramfs holds the boot key once; no key lies in the clear; nothing of the builder, and nothing
    that clones must not share, is in the image.
  - The check C(mounts) reads C(/etc/fstab), C(/etc/crypttab), the mount and swap units of systemd with their drop-ins,
    and the images that services mount. None that a boot starts may name what the host can make.
  - The check C(console) refuses an account with a shell and without a password, a getty that logs in by itself,
    C(debug-shell.service) where something starts it, what gives emergency and rescue mode another end than a restart,
    and a C(sysctl.d) file that gives the keys of SysRq back.
  - The checks C(grub_cfg) and C(console) judge C(custom.cfg), and each script that C(grub.cfg) reads, as C(grub.cfg)
    itself. None may start another system, or read what is not in the volume.
  - Needs nothing of the build that made the image, no loop device, no device-mapper and no mount.
  - Reads C(ext4), C(xfs) and C(btrfs) by their own tools in user space, so that no kernel mounts what another has made.
  - These tools are confined by bubblewrap, where they see the image, a directory to write to and nothing else of this
    machine. C(btrfs restore) writes there by the names in the image, which are then read without following a link.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes.INFO
requirements:
  - cryptsetup, grub-fstest or grub2-fstest, mtools, qemu-img, qemu-storage-daemon, sfdisk
  - bwrap, prlimit and libseccomp; debugfs and e2fsck for C(ext4), xfs_db and xfs_repair for C(xfs), btrfs for C(btrfs)
  - zstd, gzip, xz or lz4, whatever the initramfs is compressed with
options:
  path:
    description: The image file, raw or of any format that C(qemu-img) knows. It is never written.
    type: path
    required: true
  keys:
    description: Files with the keys that must open the image, without a newline at their end.
    type: dict
    required: true
    suboptions:
      boot:
        description: The key in slot 0, which is in the initramfs.
        type: path
        required: true
      recovery:
        description: The owner's key, in slot 1.
        type: path
  dead_key_files:
    description: Files with keys that must not open the image any more and must not be anywhere in it.
    type: list
    elements: path
    default: []
  public_files:
    description:
      - Files about the image that others may read. None may hold a key, nor a digest of one, by which guesses could be
        tested. A digest is found whole or as any 16 characters of it, as bytes and in hexadecimal, base64 and base32,
        by each algorithm that C(hashlib) has; in pairs of digits (C(aa:bb:cc)) as any 8 of its bytes.
      - What is escaped as in JSON is read as well, also where a string holds a document in its turn.
      - The default is every regular file beside the image that its group or others may read, and every C(.json) file,
        but no key file of O(keys) and O(dead_key_files) and no disk by its suffix (C(.qcow2), C(.raw), C(.vhd),
        C(.vhdx), C(.vmdk)).
      - Of each file the first 16 MiB are read, and of all together 64 MiB, small ones first. The verdict names those
        that were not read to their end.
    type: list
    elements: path
  markers:
    description:
      - Strings of at least 8 bytes that the source's files contain. None may be found in the image file, as
        that would be plain text of the root.
    type: list
    elements: str
    default: []
  builder_words:
    description: Names of the builder, such as its work directory, that no configuration in the image may have.
    type: list
    elements: str
    default: []
  expected:
    description: What the image must be; what is left out is only compared within the image.
    type: dict
    default: {}
    suboptions:
      luks_uuid:
        description: The UUID of the LUKS header.
        type: str
      luks_type:
        description: The version of the LUKS header; any of the two by default.
        type: str
        choices: [luks1, luks2]
      hash:
        description: The hash of the LUKS header.
        type: str
        default: sha256
      root_uuid:
        description: The UUID of the root file system.
        type: str
      slots:
        description:
          - The iterations of each key slot that is in use. The default is 1000 for the slot of each of O(keys).
        type: dict
      digest_iterations:
        description: The iterations of the volume key's digest, which GRUB computes for each slot that it tries.
        type: int
        default: 1000
      esp_files:
        description:
          - Every file on the EFI system partition.
          - The default is C(EFI/BOOT/BOOTX64.EFI) alone, and with O(expected.secure_boot) shim, GRUB, the two stubs,
            and the program that enrols keys, if it is there.
        type: list
        elements: str
      unlock:
        description:
          - The ways in which the key reaches GRUB; see O(sealedroot.image.grub_cryptodisk#module:unlock). Without
            V(prompt), nothing may be on the EFI system partition.
        type: list
        elements: str
        choices: [launch_secret, prompt, tpm2]
        default: [prompt]
      launch:
        description: What a guest with a launch secret is started from. Script, modules and hashes must be exact.
        type: dict
        suboptions:
          core:
            description: The core image.
            type: path
            required: true
          hashes:
            description: The table with its hash.
            type: path
            required: true
          firmware: {description: "The firmware, which must start nothing else.", type: path, required: true}
          secret_area:
            description: C(base) and C(size) of the area of the firmware for the secret.
            type: dict
            required: true
            suboptions:
              base:
                description: The address in the guest's memory.
                type: int
                required: true
              size:
                description: How many bytes it has.
                type: int
                required: true
      secure_boot:
        description:
          - Whether the boot files must be ones for Secure Boot. Each must be signed and be what was signed, both stubs
            be the same, and the signed GRUB have every module that it needs. Whose signatures they are, only a boot
            shows.
        type: bool
        default: false
      host_agents:
        description: Agents of the host that may be on; see O(sealedroot.image.image_identity#module:host_agents).
        type: list
        elements: str
        default: []
      debug_console:
        description: Whether the image was made with an open console, so that shells are no fault.
        type: bool
        default: false
      selinux:
        description:
          - What was done about SELinux. With V(auto), a root with a policy that is switched on must be labelled and
            must not relabel at boot, and its kernels must start SELinux; V(label) demands the labels always.
          - With V(relabel_at_boot), the root must have C(/.autorelabel). With V(off), nothing is looked at.
        type: str
        choices: [auto, label, relabel_at_boot, "off"]
        default: auto
  work_dir:
    description:
      - A directory on a tmpfs, for what has to be extracted. It is removed afterwards.
      - The default is C(/dev/shm) or C(/run).
    type: path
"""

EXAMPLES = r"""
- name: Prove an image
  sealedroot.image.image_audit:
    path: out/web-1/disk.qcow2
    keys:
      boot: out/web-1/boot.key
      recovery: out/web-1/recovery.key
    expected:
      slots: {"0": 1000, "1": 600000}
"""

RETURN = r"""
checks:
  description: Every check, in the order in which they were made; also returned on failure.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The name of the check.
      type: str
      sample: keys_open
    verdict:
      description: V(ok) or V(failed).
      type: str
    detail:
      description: What was seen.
      type: str
facts:
  description: What was found out on the way; also returned on failure, as far as it got.
  type: dict
  returned: always
  contains:
    sha256:
      description: SHA-256 of the image file.
      type: str
    format:
      description: The format of the image file.
      type: str
    luks_uuid:
      description: The UUID of the LUKS header.
      type: str
    luks_type:
      description: V(luks1) or V(luks2).
      type: str
    header_sha256:
      description: SHA-256 of the LUKS header with all key slots.
      type: str
    slots:
      description: The iterations of each key slot that is in use.
      type: dict
      sample: {"0": 1000, "1": 1000}
    root_uuid:
      description: The UUID of the root file system.
      type: str
    filesystem:
      description: The type of the root file system.
      type: str
      sample: ext4
    kernels:
      description: The versions of the kernels in the image.
      type: list
      elements: str
    tpm2:
      description: With V(tpm2), the Authenticode hash of GRUB, and what PCRs hold when it asks, without Secure Boot.
      type: dict
"""

import concurrent.futures
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    given,
    order,
    reports,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    FailedError,
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import sha256
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def subject(params: t.Mapping[str, t.Any]) -> reports.Subject:
    """Convert the options to the properties to check."""
    if not os.path.isfile(params["path"]):
        raise SealedRootError(f"{params['path']} is not a file: give the image to examine")
    short = [marker for marker in params["markers"] if len(marker.encode()) < 8]
    if short:
        raise SealedRootError(
            f"the marker '{short[0]}' has fewer than 8 bytes, so chance finds it: give a longer one"
        )
    expected = params["expected"]
    paths = {name: path for name, path in params["keys"].items() if path}
    slots = {image_files.SLOTS[name]: 1000 for name in paths}
    if expected["slots"]:
        try:
            slots = {int(slot): int(count) for slot, count in expected["slots"].items()}
        except ValueError:
            raise SealedRootError("expected.slots must have numbers: slot and iterations") from None
    return reports.Subject(
        path=os.path.abspath(params["path"]),
        key_files=paths,
        keys={name: given.read_key(path) for name, path in paths.items()},
        dead_key_files=tuple(params["dead_key_files"]),
        dead_keys=tuple(given.read_key(path) for path in params["dead_key_files"]),
        markers=tuple(params["markers"]),
        builder_words=tuple(params["builder_words"]),
        luks_uuid=expected["luks_uuid"],
        luks_type=expected["luks_type"],
        hash=expected["hash"],
        root_uuid=expected["root_uuid"],
        slots=slots,
        digest_iterations=expected["digest_iterations"],
        esp_files=tuple(expected["esp_files"] or ()),
        secure_boot=expected["secure_boot"],
        debug_console=expected["debug_console"],
        host_agents=tuple(expected["host_agents"]),
        public_files=tuple(given.public_files(params)),
        selinux=expected["selinux"],
        work_dir=params["work_dir"],
        unlock=tuple(expected["unlock"]),
        launched=given.launched(expected),
    )


def file_digest(path: str) -> str:
    """Return the digest of the image file; empty if it cannot be read, which the audit itself reports."""
    try:
        return sha256(path)
    except OSError:
        return ""


def examine(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Examine the image and return the report, which a failure carries as well."""
    report = reports.Report()
    # The digest identifies the bytes that were examined; compute it in parallel.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(file_digest, params["path"])
        try:
            order.examine(runner, subject(params), report)
        except SealedRootError as exc:
            raise FailedError(str(exc), report.outcome()) from exc
        report.facts["sha256"] = hashing.result()
    failed = report.failed()
    if failed:
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        raise FailedError(
            f"{params['path']} must not be used, {len(failed)} checks failed: {reasons}",
            report.outcome(),
        )
    return {**report.outcome(), "warnings": report.warnings}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "keys": {
                "type": "dict",
                "required": True,
                "no_log": False,
                "options": {
                    "boot": {"type": "path", "required": True},
                    "recovery": {"type": "path"},
                },
            },
            "dead_key_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "public_files": {"type": "list", "elements": "path"},
            "markers": {"type": "list", "elements": "str", "default": []},
            "builder_words": {"type": "list", "elements": "str", "default": []},
            "expected": {
                "type": "dict",
                "default": {},
                "options": {
                    "luks_uuid": {"type": "str"},
                    "luks_type": {"type": "str", "choices": ["luks1", "luks2"]},
                    "hash": {"type": "str", "default": "sha256"},
                    "root_uuid": {"type": "str"},
                    "slots": {"type": "dict"},
                    "digest_iterations": {"type": "int", "default": 1000},
                    "esp_files": {"type": "list", "elements": "str"},
                    "unlock": {
                        "type": "list",
                        "elements": "str",
                        "choices": sorted(unlock_ways.WAYS),
                        "default": ["prompt"],
                    },
                    "launch": given.LAUNCH,
                    "secure_boot": {"type": "bool", "default": False},
                    "host_agents": {"type": "list", "elements": "str", "default": []},
                    "debug_console": {"type": "bool", "default": False},
                    "selinux": {
                        "type": "str",
                        "choices": ["auto", "label", "relabel_at_boot", "off"],
                        "default": "auto",
                    },
                },
            },
            "work_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: examine(ModuleRunner(module), module.params))


if __name__ == "__main__":
    main()
