#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_secret
short_description: The key of an image as a launch secret, for the guest that the owner expects and for no other
version_added: 1.0.0
description:
  - Makes the table with the key that GRUB finds in the memory of a guest with SEV or SEV-ES, and encrypts it for the
    secure processor that starts this guest, so that the key reaches the guest and not the host.
  - Before that, it checks that the guest was started from the expected firmware and kernel, by the measurement that
    the secure processor signed. For another guest, nothing is made.
  - The files with the result are made with mode 0600. No option and no result contains a key.
  - Guests with SEV-SNP or TDX take no launch secret.
  - No machine with SEV has seen these packets yet. They are those that C(virt-qemu-sev-validate) makes.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
requirements:
  - cryptography >= 3.1 (with O(session))
options:
  key_file:
    description:
      - The key that opens the image, such as its C(boot.key), with mode 0600.
      - All of its bytes are the key, 44 characters of base64, as a build generates it.
    type: path
    required: true
  firmware:
    description:
      - The firmware of the guest, which says how long a secret can be.
      - With O(session), one that can start other programs than the kernel is refused. C(launch/firmware.fd) of an image
        cannot.
    type: path
    required: true
  type:
    description: What protects the guest.
    type: str
    choices: [sev, sev-es]
    default: sev
  session:
    description: The session that the guest was started with, and what the host's machine reports of it.
    type: dict
    suboptions:
      tik:
        description: The file with the session's integrity key, 16 bytes, with mode 0600.
        type: path
        required: true
      tek:
        description: The file with the session's encryption key, 16 bytes, with mode 0600.
        type: path
        required: true
      measurement:
        description: The field C(data) of the answer to QEMU's command C(query-sev-launch-measure).
        type: str
        required: true
      launch_digest:
        description: The launch digest that the guest must have, from M(sealedroot.image.launch_measurement).
        type: str
        required: true
      policy:
        description:
          - The policy of the session. It must forbid the host to debug the guest (bit 0), to share its key (bit 1) and
            to send the guest to another machine (bit 3).
          - If left out, V(11) for O(type=sev) and V(15) for O(type=sev-es).
        type: int
      api_major:
        description: As in the answer to QEMU's command C(query-sev), like the two options that follow.
        type: int
        required: true
      api_minor:
        description: The field C(api-minor).
        type: int
        required: true
      build_id:
        description: The field C(build-id).
        type: int
        required: true
  packet_header:
    description: Where the packet header is written, in base64; needed with O(session).
    type: path
  packet_secret:
    description: Where the encrypted secret is written, in base64; needed with O(session).
    type: path
  table:
    description:
      - Where the table with the key is written as it is, not encrypted, which only a trial without SEV needs.
      - Choose a directory on a tmpfs.
    type: path
seealso:
  - module: sealedroot.image.launch_measurement
"""

EXAMPLES = r"""
- name: Compute what the guest must be
  sealedroot.image.launch_measurement:
    firmware: out/web-1/launch/firmware.fd
    kernel: out/web-1/launch/core.efi
  register: expected

- name: Encrypt the key for this guest
  sealedroot.image.launch_secret:
    key_file: out/web-1/boot.key
    firmware: out/web-1/launch/firmware.fd
    session:
      tik: web-1_tik.bin
      tek: web-1_tek.bin
      measurement: "{{ launch_measure.data }}"
      launch_digest: "{{ expected.sev }}"
      api_major: "{{ sev['api-major'] }}"
      api_minor: "{{ sev['api-minor'] }}"
      build_id: "{{ sev['build-id'] }}"
    packet_header: header.b64
    packet_secret: secret.b64
"""

RETURN = r"""
address:
  description: Where in the guest's memory the firmware expects the secret; QEMU knows it from the firmware.
  type: int
  returned: success
  sample: 8454144
"""

import hashlib
import os
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    key_files,
    ovmf,
    secret_table,
    session as firmware_session,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

MODE = 0o600
PACKET = ("packet_header", "packet_secret")
Params = t.Mapping[str, t.Any]


def check_paths(params: Params) -> None:
    """Refuse to write over what is read, twice to one file, or where no directory is."""
    given = params["session"] or {}
    read = [params["key_file"], params["firmware"], given.get("tik"), given.get("tek")]
    seen = {os.path.realpath(path) for path in read if path}
    for name in (*PACKET, "table"):
        if not params[name]:
            continue
        path = os.path.realpath(params[name])
        if path in seen:
            raise SealedRootError(
                f"{name} is the file of another option, {path}: give a file of its own"
            )
        if not os.path.isdir(os.path.dirname(path)):
            raise SealedRootError(
                f"there is no directory {os.path.dirname(path)}: make it, or correct {name}"
            )
        seen.add(path)


def packet(params: Params, table: bytes, firmware: bytes) -> t.Dict[str, bytes]:
    """Return the files of the packet; the same as those that are there, if they contain this secret."""
    if not firmware_session.IS_INSTALLED:
        raise SealedRootError(missing_required_lib("cryptography"))
    # Whoever gives a launch digest may have it from elsewhere than launch_measurement, which looks at this, too.
    volumes.check(firmware, params["firmware"])
    given = params["session"]
    for name in firmware_session.Platform._fields:
        if not 0 <= given[name] <= 0xFF:
            raise SealedRootError(f"{name} is {given[name]}: give a number from 0 to 255")
    policy = firmware_session.chosen_policy(given["policy"], params["type"])
    measurement = firmware_session.parse_measurement(given["measurement"])
    digest = firmware_session.parse_digest(given["launch_digest"])
    # Without the kernel's hashes, SEV measures the firmware alone.
    if digest == hashlib.sha256(firmware).digest():
        raise SealedRootError(
            "launch_digest is that of the firmware without the hash of a kernel, which a guest with any kernel has:"
            " give sev of launch_measurement, and start the guest with kernel-hashes=on"
        )
    tik, tek = key_files.session_keys(given["tik"], given["tek"])
    platform = firmware_session.Platform(
        *(given[name] for name in firmware_session.Platform._fields)
    )
    firmware_session.check(measurement, tik, digest, platform=platform, policy=policy)

    def made(iv: bytes) -> t.Dict[str, bytes]:
        texts = firmware_session.packet(table, measurement, tik=tik, tek=tek, iv=iv)
        return {name: text.encode() for name, text in zip(PACKET, texts)}

    there = {name: content(params[name]) for name in PACKET}
    iv = firmware_session.parse_iv((there["packet_header"] or b"").decode("ascii", "replace"))
    if iv is not None and made(iv) == there:
        return made(iv)
    # Never one IV for two secrets: the host could compare them.
    return made(os.urandom(firmware_session.IV_BYTES))


def content(path: str) -> t.Optional[bytes]:
    """Return the content of a result from an earlier call; None if there is none."""
    try:
        return regular_file.read(path, most=regular_file.SMALL, follow=False)
    except FileNotFoundError:
        return None


def state_of(path: str, wanted: bytes) -> str:
    """Say how a file of the result is now."""
    if not os.path.lexists(path):
        return "absent"
    if content(path) != wanted:
        return "another secret"
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    return "this secret" if mode == MODE else f"this secret, mode {mode:04o}"


def ensure(params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Write the files that are missing or different."""
    check_paths(params)
    key = key_files.image_key(params["key_file"])
    firmware = regular_file.demand(params["firmware"], most=ovmf.LARGEST)
    area = ovmf.parse(firmware, params["firmware"]).secret
    table = secret_table.build(key, area.size)
    wanted = packet(params, table, firmware) if params["session"] else {}
    if params["table"]:
        if os.path.lexists(params["table"]):
            container.check_key_file(params["table"], "table")
        wanted["table"] = table
    before = {params[name]: state_of(params[name], data) for name, data in wanted.items()}
    after = dict.fromkeys(before, "this secret")
    if not check_mode:
        for name, data in wanted.items():
            if before[params[name]] != "this secret":
                regular_file.write(os.path.abspath(params[name]), data, mode=MODE)
    return {
        "changed": before != after,
        "address": area.base,
        "diff": {"before": before, "after": after},
    }


def main() -> t.NoReturn:
    """Run the module."""
    number = {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "key_file": {"type": "path", "required": True, "no_log": False},
            "firmware": {"type": "path", "required": True},
            "type": {"type": "str", "choices": ["sev", "sev-es"], "default": "sev"},
            "session": {
                "type": "dict",
                "options": {
                    "tik": {"type": "path", "required": True},
                    "tek": {"type": "path", "required": True},
                    "measurement": {"type": "str", "required": True},
                    "launch_digest": {"type": "str", "required": True},
                    "policy": {"type": "int"},
                    "api_major": number,
                    "api_minor": number,
                    "build_id": number,
                },
            },
            "packet_header": {"type": "path"},
            "packet_secret": {"type": "path", "no_log": False},
            "table": {"type": "path"},
        },
        required_one_of=[["session", "table"]],
        required_together=[["session", *PACKET]],
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
