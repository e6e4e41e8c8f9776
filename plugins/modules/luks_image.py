#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_image
short_description: LUKS container in an image file, a partition of one, or a block device
description:
  - Makes, opens and closes a LUKS container in a region of an image file or on a block device.
  - The header is always made by C(cryptsetup), with forced PBKDF2 iterations for the key slot and for
    the digest of the volume key, since GRUB computes both.
  - An open container is the block device C(/dev/mapper/NAME), on a kernel without dm-crypt too.
  - The options that describe a header are used to format; a header that is there is taken as it is.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._luks_container
options:
  state:
    description:
      - V(open) makes the container if the region is blank, and opens it.
      - V(closed) makes the container if the region is blank, and closes it if it is open as O(name).
      - V(absent) closes the container and overwrites its header, so that no key opens it again.
    type: str
    choices: [absent, closed, open]
    default: open
  name:
    description:
      - The name of the open container, a node in C(/dev/mapper).
    type: str
    required: true
  type:
    description:
      - The LUKS version to format with. The signed GRUB of several distributions reads V(luks1) only.
      - The backend V(userspace) opens V(luks2) where the header could be V(luks1) as well. That needs PBKDF2,
        slots 0 to 7, sectors of 512 bytes and no tokens, as this module makes it.
    type: str
    choices: [luks1, luks2]
    default: luks1
  cipher:
    description: The cipher to format with, in the notation of cryptsetup(8).
    type: str
    default: aes-xts-plain64
  key_size:
    description: The size of the volume key in bits.
    type: int
    default: 512
  hash:
    description: The hash of the header; the signed GRUB of the Red Hat family has V(sha256) only.
    type: str
    default: sha256
  iterations:
    description:
      - PBKDF2 iterations of slot 0. cryptsetup's minimum is V(1000), which is right for a key of 128 random
        bits or more.
      - The digest of the volume key, which GRUB computes for each slot it tries, gets V(1000).
    type: int
    default: 1000
  key_slot:
    description:
      - The key slot to format with. A key that is to be replaced is best kept out of the way of the
        others.
    type: int
    default: 0
  uuid:
    description:
      - The UUID to format with; a random one by default.
      - A container that is there with another UUID is an error.
    type: str
  key_file:
    description:
      - A file with the key, mode 0600; all of its bytes are the key, so it has no newline at its end.
      - Needed to format and to open.
    type: path
  backend:
    description: How the payload becomes a block device; V(auto) takes V(dm_crypt) where it works.
    type: str
    choices: [auto, dm_crypt, userspace]
    default: auto
  work_dir:
    description:
      - A directory for this container alone, where the V(userspace) backend mounts its FUSE export.
    type: path
  read_only:
    description: Open the container read-only. Nothing is formatted then.
    type: bool
    default: false
  force:
    description:
      - Format although the region holds something, another container included, or is no partition.
      - What is open is never formatted. With V(closed), each call formats anew.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make and open an encrypted partition of an image
  sealedroot.image.luks_image:
    path: /var/tmp/disk.raw
    offset: 104857600
    size: 4188012544
    name: cr_root
    key_file: /run/keys/build.key
    work_dir: /var/tmp/build

- name: Close it
  sealedroot.image.luks_image:
    path: /var/tmp/disk.raw
    offset: 104857600
    size: 4188012544
    name: cr_root
    work_dir: /var/tmp/build
    state: closed
"""

RETURN = r"""
device:
  description: The block device of the open container.
  type: str
  returned: always
  sample: /dev/mapper/cr_root
uuid:
  description: The UUID of the LUKS header; empty when there is none.
  type: str
  returned: always
type:
  description: The LUKS version of the header; empty when there is none.
  type: str
  returned: always
state:
  description: The state that the container is in.
  type: str
  returned: always
formatted:
  description: Whether this call made the header.
  type: bool
  returned: always
backend:
  description: The backend that was used.
  type: str
  returned: always
backend_reason:
  description: Why that backend was used.
  type: str
  returned: always
"""

import dataclasses
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    backend as luks_backend,
    container,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]

# What udev leaves unescaped; a name is a file name in /dev/mapper, in which control is taken.
NAME = re.compile(r"(?!(?:\.|\.\.|control)$)[A-Za-z0-9#+.:=@_-]{1,127}")


def signature(runner: Runner, device: str) -> str:
    """Return what is on *device* in blkid's words, or an empty string when it is blank."""
    found = runner.run(
        [runner.find("blkid"), "--probe", "--output", "export", device], check=False, timeout=60
    )
    if found.rc not in (0, 2):  # 2: nothing found; 8: more than one signature
        return found.stderr.strip() or "an ambiguous signature"
    wanted = ("TYPE=", "PTTYPE=")
    return " ".join(line for line in found.stdout.splitlines() if line.startswith(wanted))


def read_header(runner: Runner, params: Params) -> t.Tuple[t.Optional[metadata.Header], str]:
    """Return the header in the region, or None and what else the region holds."""
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region, read_only=True) as device:
        header = metadata.read(runner, device)
        return header, "" if header else signature(runner, device)


def luks_format(runner: Runner, params: Params) -> metadata.Header:
    """Make the header. The digest gets forced iterations, too (docs/facts.md: digest-iterations)."""
    argv = [runner.find("cryptsetup"), "luksFormat", "--batch-mode", "--type", params["type"]]
    argv += ["--cipher", params["cipher"], "--key-size", str(params["key_size"])]
    argv += ["--hash", params["hash"], "--pbkdf-force-iterations", str(params["iterations"])]
    if params["type"] == "luks2":
        # 512: a file would get 4096-byte sectors (docs/facts.md: sector-size).
        argv += ["--pbkdf", "pbkdf2", "--sector-size", "512"]
    if params["key_slot"]:
        argv += ["--key-slot", str(params["key_slot"])]
    if params["uuid"]:
        argv += ["--uuid", params["uuid"]]
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region) as device:
        runner.run([*argv, device, params["key_file"]], timeout=120)
        header = metadata.read(runner, device)
    if header is None:
        raise SealedRootError(f"cryptsetup formatted {params['path']}, but left no LUKS header")
    return header


def erase(runner: Runner, params: Params) -> None:
    """Destroy the key slots, then the signature."""
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region) as device:
        runner.run([runner.find("cryptsetup"), "luksErase", "--batch-mode", device], timeout=120)
        runner.run([runner.find("wipefs"), "--all", device], timeout=60)


def planned(params: Params) -> metadata.Header:
    """Return the header that luks_format would make, as far as it is known before."""
    slot = metadata.Keyslot(params["iterations"], "pbkdf2")
    return metadata.Header(
        type=params["type"],
        uuid=params["uuid"] or "",
        cipher=params["cipher"],
        hash=params["hash"],
        key_bits=params["key_size"],
        payload_offset=0,
        digest_iterations=1000,
        slots={params["key_slot"]: slot},
        slot_order=(params["key_slot"],),
    )


def check_blank(runner: Runner, params: Params, holds: str) -> None:
    """Refuse to format what holds something, or what is not one partition."""
    if params["read_only"]:
        raise SealedRootError(
            f"there is no LUKS header in {params['path']} at offset {params['offset']}, and with"
            " read_only none is made"
        )
    if not params["key_file"]:
        raise SealedRootError("key_file is needed to format the container")
    if params["force"]:
        return
    if holds:
        raise SealedRootError(
            f"{params['path']} at offset {params['offset']} holds {holds}: set force to overwrite it"
        )
    partitions.check_region(runner, params["path"], params["offset"], params["size"])


def check_found(params: Params, header: metadata.Header, device: str, have: str) -> None:
    """Refuse a container that is another one than was asked for."""
    if params["uuid"] and params["uuid"].lower() != header.uuid:
        raise SealedRootError(
            f"{params['path']} holds the container {header.uuid}, not {params['uuid']}: correct uuid,"
            " or path and offset"
        )
    if params["state"] != "open":
        return
    if have == "open" and loop_devices.is_read_only(device) != params["read_only"]:
        mode = "read-write" if params["read_only"] else "read-only"
        raise SealedRootError(f"{device} is open {mode}: close it first")
    if have != "open" and not params["key_file"]:
        raise SealedRootError("key_file is needed to open the container")


def apply(
    runner: Runner,
    params: Params,
    backend: luks_backend.Backend,
    mapping: luks_backend.Mapping,
    *,
    have: str,
    header: t.Optional[metadata.Header],
    make: bool,
) -> t.Optional[metadata.Header]:
    """Do what is left to do and return the header that is there afterwards."""
    state = params["state"]
    if have == "broken" or (have == "open" and state != "open"):
        backend.close(runner, mapping)
    if state == "absent" and header:
        erase(runner, params)
        return None
    if make:
        header = luks_format(runner, params)
    if state == "open" and have != "open" and header:
        backend.open(runner, dataclasses.replace(mapping, header=header))
    return header


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the container into the state that is asked for and say what was done."""
    state, device = params["state"], f"{luks_backend.MAPPER_DIR}/{params['name']}"
    if not NAME.fullmatch(params["name"]):
        raise SealedRootError(
            f"name '{params['name']}' cannot be a mapping: use up to 127 letters, digits and #+-.:=@_"
        )
    container.check(params["path"], params["offset"], params["size"])
    if params["key_file"]:
        container.check_key_file(params["key_file"])
    backend, reason = luks_backend.choose(runner, params["backend"])
    header, holds = read_header(runner, params)
    mapping = luks_backend.Mapping(
        path=params["path"],
        offset=params["offset"],
        size=params["size"],
        name=params["name"],
        header=header if header and not params["force"] else planned(params),
        key_file=params["key_file"] or "",
        work_dir=params["work_dir"] or "",
        read_only=params["read_only"],
    )
    have = backend.state(runner, mapping)
    before = have if have != "closed" else "closed" if header else "absent"
    make = state != "absent" and have != "open" and (header is None or params["force"])
    if make:
        check_blank(runner, params, holds)
    elif header:
        check_found(params, header, device, have)
    if state == "open" and have != "open":
        backend.check(mapping)
    if not check_mode:
        header = apply(runner, params, backend, mapping, have=have, header=header, make=make)
    return {
        "changed": make or before != state,
        "device": device,
        "uuid": header.uuid if header else "",
        "type": header.type if header else "",
        "state": state,
        "formatted": make,
        "backend": backend.name,
        "backend_reason": reason,
        "diff": {"before": {"state": before}, "after": {"state": state}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **container.ARGUMENT_SPEC,
            "state": {"type": "str", "choices": ["absent", "closed", "open"], "default": "open"},
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "choices": ["luks1", "luks2"], "default": "luks1"},
            "cipher": {"type": "str", "default": "aes-xts-plain64"},
            "key_size": {"type": "int", "default": 512, "no_log": False},
            "hash": {"type": "str", "default": "sha256"},
            "iterations": {"type": "int", "default": 1000},
            "key_slot": {"type": "int", "default": 0, "no_log": False},
            "uuid": {"type": "str"},
            "key_file": {"type": "path", "no_log": False},
            "backend": {
                "type": "str",
                "choices": ["auto", "dm_crypt", "userspace"],
                "default": "auto",
            },
            "work_dir": {"type": "path"},
            "read_only": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
