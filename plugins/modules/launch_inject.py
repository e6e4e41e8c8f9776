#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_inject
short_description: Give a paused guest with SEV or SEV-ES the key of its image, if the guest is the expected one
version_added: 1.0.0
description:
  - Waits for the monitor of a QEMU that was started with C(-S), asks it for the measurement that the secure processor
    signed, and compares this with the launch digest in the manifest of the image.
  - Only if it is the expected guest, the key is encrypted for the secure processor, handed to QEMU, and the guest
    continues. If anything differs, nothing is injected, and the guest stays paused.
  - Run it on the owner's machine, not on the host. The monitor of a remote host is reached through a socket that ssh
    forwards, C(ssh -nNT -L web-1.qmp:/run/web-1.qmp HOST). The host only sees the encrypted key.
  - No option, no result and no message contains a key. The packet is in no file.
  - A guest that runs already is refused, since QEMU does not say whether it got a secret.
  - Guests with SEV-SNP or TDX take no launch secret.
  - The answers to C(query-sev) and C(query-sev-launch-measure) of a guest with SEV, the command
    C(sev-inject-launch-secret) and the start after it were only seen with a program that plays QEMU as its schema says.
    No machine with SEV has seen them yet. The rest was seen with a real QEMU.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
attributes:
  check_mode:
    details:
      - Connects to the monitor, and refuses what would be refused. It injects nothing, and the guest stays paused.
  diff_mode:
    support: N/A
    details:
      - The result is a guest that runs. No text could show it.
requirements:
  - cryptography >= 3.1
options:
  socket:
    description:
      - The Unix socket of the monitor, as QEMU has it with C(-qmp unix:PATH,server=on,wait=off). It may appear later.
      - QEMU talks to one client at a time, so give it a monitor of its own if libvirt started it.
    type: path
    required: true
  expected:
    description: The C(manifest.json) of the image, or a file that the playbook C(measure_image) wrote.
    type: path
    required: true
  key_file:
    description:
      - The key that opens the image, such as its C(boot.key), with mode 0600.
      - All of its bytes are the key, 44 characters of base64, as a build generates it.
    type: path
    required: true
  tik:
    description: The file with the session's integrity key, C(NAME_tik.bin) of B(sevctl), 16 bytes, with mode 0600.
    type: path
    required: true
  tek:
    description: The file with the session's encryption key, C(NAME_tek.bin) of B(sevctl), 16 bytes, with mode 0600.
    type: path
    required: true
  type:
    description: What protects the guest.
    type: str
    choices: [sev, sev-es]
    default: sev
  vcpus:
    description: The number of its processors, which SEV-ES measures.
    type: int
    default: 1
  vcpu_type:
    description:
      - The type of its processors, as QEMU calls it (C(-cpu)), which SEV-ES measures.
      - If left out, the first type that O(expected) has.
    type: str
  policy:
    description:
      - The policy of the session. It must forbid the host to debug the guest (bit 0), to share its key (bit 1) and to
        send the guest to another machine (bit 3).
      - If left out, V(11) for O(type=sev) and V(15) for O(type=sev-es).
    type: int
  timeout:
    description: How many seconds all of it may take, most of which is the waiting for the guest.
    type: float
    default: 60
seealso:
  - module: sealedroot.image.launch_measurement
  - module: sealedroot.image.launch_secret
"""

EXAMPLES = r"""
- name: Give the guest its key, once it waits for it
  sealedroot.image.launch_inject:
    socket: web-1.qmp
    expected: out/web-1/manifest.json
    key_file: out/web-1/boot.key
    tik: sessions/web-1_tik.bin
    tek: sessions/web-1_tek.bin
    type: sev-es
    vcpus: 2
  delegate_to: localhost
"""

RETURN = r"""
status:
  description:
    - How QEMU says that the guest is, C(running) after its key was injected. In check mode C(prelaunch) or C(paused).
    - It is the host that says this.
  type: str
  returned: success
  sample: running
launch_digest:
  description: The launch digest that the guest has, as the secure processor signed it.
  type: str
  returned: success
  sample: b4e9e00e5c1d...
policy:
  description: The policy of the guest, as the secure processor signed it.
  type: int
  returned: success
  sample: 11
firmware_version:
  description: The version of the secure processor's own firmware, as it signed it.
  type: dict
  returned: success
  contains:
    api_major:
      description: The first number of the version.
      type: int
    api_minor:
      description: The second number.
      type: int
    build_id:
      description: The number of the build.
      type: int
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    expected,
    key_files,
    secret_table,
    session,
    waiting_guest,
)
from ansible_collections.sealedroot.image.plugins.module_utils._machine import qmp
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]
# A day: who waits longer has forgotten it.
MOST_SECONDS = 86400


class Owner(t.NamedTuple):
    """What the owner knows before the guest is asked."""

    expected: expected.Expected
    policy: int
    table: bytes
    tik: bytes
    tek: bytes


def prepare(params: Params) -> Owner:
    """Read what the owner gave; refuse it before anybody is asked."""
    if not session.IS_INSTALLED:
        raise SealedRootError(missing_required_lib("cryptography"))
    if not 0 < params["timeout"] <= MOST_SECONDS:
        raise SealedRootError(
            f"timeout is {params['timeout']:g}: give a number of seconds, at most {MOST_SECONDS}"
        )
    policy = session.chosen_policy(params["policy"], params["type"])
    name = params["expected"]
    data = regular_file.demand(name, most=regular_file.SMALL)
    wanted = expected.guest(
        expected.parse(data, name),
        name,
        kind=params["type"],
        vcpus=params["vcpus"],
        vcpu_type=params["vcpu_type"],
    )
    tik, tek = key_files.session_keys(params["tik"], params["tek"])
    return Owner(
        expected=wanted,
        policy=policy,
        table=secret_table.build(key_files.image_key(params["key_file"]), wanted.room),
        tik=tik,
        tek=tek,
    )


def wait(monitor: qmp.Monitor, policy: int) -> t.Tuple[waiting_guest.Reported, str]:
    """Wait until the guest can take its secret; return what is reported of it, and how it is."""
    while True:
        sev, status = (monitor.execute(it) for it in ("query-sev", "query-status"))
        found = waiting_guest.parse(sev, status, policy=policy)
        if found:
            return found, status["status"]
        monitor.pause("did not say that the guest waits for its secret")


def measured(monitor: qmp.Monitor) -> session.Measurement:
    """Ask for the measurement."""
    answer = monitor.execute("query-sev-launch-measure")
    said = answer.get("data") if isinstance(answer, dict) else None
    return session.parse_measurement(said if isinstance(said, str) else "")


def inject(monitor: qmp.Monitor, owner: Owner, measurement: session.Measurement) -> str:
    """Inject the secret and let the guest run; return how it is then."""
    iv = os.urandom(session.IV_BYTES)
    header, secret = session.packet(owner.table, measurement, tik=owner.tik, tek=owner.tek, iv=iv)
    try:
        monitor.execute("sev-inject-launch-secret", {"packet-header": header, "secret": secret})
    except qmp.CommandRefusedError as exc:
        raise SealedRootError(
            f"QEMU did not inject the secret ({exc.reason}), and the guest stays paused: see whether it was started"
            " with this session and this firmware, and start it anew with a new session"
        ) from exc
    except SealedRootError as exc:
        raise SealedRootError(f"whether the secret was injected is not known, since {exc}") from exc
    try:
        monitor.execute("cont")
        answer = monitor.execute("query-status")
    except SealedRootError as exc:
        raise SealedRootError(f"the secret was injected, but then {exc}") from exc
    status = answer.get("status") if isinstance(answer, dict) else None
    if status != waiting_guest.RUNNING:
        raise SealedRootError(
            f"the secret was injected, but the guest does not run: its state is {str(status)[:40]!r}. See the output"
            " of QEMU and the guest's console"
        )
    return waiting_guest.RUNNING


def ensure(params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Give the guest its secret."""
    owner = prepare(params)
    with qmp.connected(params["socket"], params["timeout"]) as monitor:
        reported, status = wait(monitor, owner.policy)
        measurement = measured(monitor)
        waiting_guest.check(measurement, owner.tik, owner.expected, reported=reported)
        if not check_mode:
            status = inject(monitor, owner, measurement)
    return {
        "changed": True,
        "status": status,
        "launch_digest": owner.expected.digest.hex(),
        "policy": reported.policy,
        "firmware_version": reported.platform._asdict(),
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "expected": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "tik": {"type": "path", "required": True},
            "tek": {"type": "path", "required": True},
            "type": {"type": "str", "choices": ["sev", "sev-es"], "default": "sev"},
            "vcpus": {"type": "int", "default": 1},
            "vcpu_type": {"type": "str"},
            "policy": {"type": "int"},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
