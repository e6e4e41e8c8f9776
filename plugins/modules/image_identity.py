#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_identity
short_description: Give an image its own identity and no one else's (for the roles)
version_added: 1.0.0
description:
  - Runs in the image. Writes its hostname, its root password and authorized keys if given, and removes what
    must not be shared by two machines made from one root and is made anew when a machine starts. That is the machine
    ID, SSH host keys, the key and ID of a Salt minion, random seeds, secrets of systemd and NetworkManager, DHCP leases
    and the instance state of cloud-init.
  - Switches off what would do as root what the host of the machine says, such as cloud-init and the agents of
    hypervisors and clouds.
  - The C(resolv.conf) of the image stays as it is.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  hostname:
    description: The host name.
    type: str
    required: true
  root_password_hash:
    description:
      - The password of root as crypt(5) hashes it, such as C(openssl passwd -6) prints.
      - When left out, the password stays as the root has it.
    type: str
  authorized_keys:
    description: Public keys that may log in as root; added to those that are there.
    type: list
    elements: str
    default: []
  grow:
    description:
      - Whether the root grows to its disk by itself when the image boots on a bigger one; see C(docs/growth.md).
      - Without it, what would let it grow is removed.
    type: bool
    default: false
  host_agents:
    description:
      - Agents of the host that stay on. Whoever runs the machine is root in it by each of them.
    type: list
    elements: str
    choices:
      - cloud-init
      - qemu-guest-agent
      - alibaba
      - amazon-ssm-agent
      - azure
      - digitalocean
      - ec2-instance-connect
      - google
      - huawei
      - hyper-v
      - incus
      - nutanix
      - open-vm-tools
      - oracle
      - ovirt
      - parallels
      - rackspace
      - spice-vdagent
      - tencent
      - virtualbox
      - xen
    default: []
"""

EXAMPLES = r"""
- name: Name the image
  sealedroot.image.image_identity:
    hostname: web-1
    authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@example.org
"""

RETURN = r"""
files:
  description: The files that were changed or removed.
  type: list
  elements: str
  returned: success
dropped:
  description: Agents of the host that were there and are switched off, each with the reason.
  type: list
  elements: str
  returned: success
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import host_agents, identity
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._root import growth
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

# Debian's openssh-server creates host keys only when it is installed.
HOST_KEYS_UNIT = "/etc/systemd/system/ssh.service.d/sealedroot-host-keys.conf"
SYSTEMD = ("/usr/lib/systemd", "/lib/systemd")  # two, if /lib is not a symlink
HOST_KEYS_TEXT = """\
# The image has no SSH host keys of its own: every machine made from it generates them at its first boot.
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
"""


def shadow(text: str, password_hash: str) -> str:
    """Return shadow(5) with root's password set."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("root:"):
            fields = line.split(":")
            lines[index] = ":".join(["root", password_hash, *fields[2:]])
            return "\n".join(lines) + "\n"
    raise SealedRootError("/etc/shadow of the image has no root: its passwords are kept elsewhere")


def hosts(text: str, hostname: str) -> str:
    """Return hosts(5) in which 127.0.1.1 is the host's own name."""
    line = f"127.0.1.1 {hostname}"
    lines = [old for old in text.splitlines() if old.split()[:1] != ["127.0.1.1"]]
    localhost = [i for i, old in enumerate(lines) if old.split()[:1] == ["127.0.0.1"]]
    if not localhost:
        lines.insert(0, "127.0.0.1 localhost")
        localhost = [0]
    lines.insert(localhost[-1] + 1, line)
    return "\n".join(lines) + "\n"


def check(params: t.Mapping[str, t.Any]) -> None:
    """Refuse options that would make an unusable image."""
    if not identity.HOSTNAME.fullmatch(params["hostname"]):
        raise SealedRootError(
            f"'{params['hostname']}' is not a host name: use letters, digits, '.' and '-'"
        )
    password_hash = params["root_password_hash"]
    if password_hash is not None and not identity.CRYPT.fullmatch(password_hash):
        raise SealedRootError(
            "root_password_hash is not a crypt(5) hash ($id$...): 'openssl passwd -6' makes one"
        )
    for number, key in enumerate(params["authorized_keys"], start=1):
        # Do not show the value: it may be a private key.
        if not identity.is_public_key(key):
            raise SealedRootError(
                f"entry {number} of authorized_keys is not an SSH public key: give the line of a .pub file"
            )


def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Plan every change; return the host agents that are masked."""
    tree.write("/etc/hostname", f"{params['hostname']}\n")
    tree.write("/etc/hosts", hosts(tree.text("/etc/hosts"), params["hostname"]))
    if params["root_password_hash"] is not None:
        text = shadow(tree.text("/etc/shadow"), params["root_password_hash"])
        tree.write("/etc/shadow", text, secret=True)
    if params["authorized_keys"]:
        path = "/root/.ssh/authorized_keys"
        lines = tree.text(path).splitlines()
        lines += [key.strip() for key in params["authorized_keys"] if key.strip() not in lines]
        tree.write(path, "\n".join(lines) + "\n", mode=0o600)
    # Empty means that systemd creates and keeps an ID. "uninitialized" would mean a first boot, at which presets
    # undo what the root's owner enabled (machine-id(5)).
    machine_id, dbus_id = identity.MACHINE_IDS
    if tree.exists(machine_id) or any(tree.exists(f"{path}/systemd") for path in SYSTEMD):
        # No link, whose target may be what is removed next.
        tree.write(machine_id, "", mode=0o444, replace=True)
    if not os.path.islink(tree.path(dbus_id)):
        tree.remove(dbus_id)
    for path in identity.present(identity.SHARED_BY_CLONES, tree.names):
        tree.remove(path)
    units = [path for path in SYSTEMD if tree.exists(f"{path}/system/ssh.service")]
    if units and tree.exists("/usr/sbin/sshd"):
        tree.write(HOST_KEYS_UNIT, HOST_KEYS_TEXT)
    growth.plan(tree, wanted=params["grow"])
    return host_agents.plan(tree, allowed=params["host_agents"])


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Apply the identity to the tree at *root*."""
    check(params)
    tree = Tree(root)
    masked = plan(tree, params)
    outcome = {
        "changed": bool(tree.changed()),
        "files": tree.changed(),
        "dropped": [
            f"{name}: the host of the machine would be root by it (image_host_agents lets it)"
            for name in masked
        ],
        "diff": tree.diff(),
    }
    if not check_mode:
        if params["authorized_keys"]:
            tree.directory("/root/.ssh", 0o700)
        tree.apply()
    return outcome


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str", "required": True},
            "root_password_hash": {"type": "str", "no_log": True},
            "authorized_keys": {
                "type": "list",
                "elements": "str",
                "default": [],
                "no_log": False,
            },
            "grow": {"type": "bool", "default": False},
            "host_agents": {
                "type": "list",
                "elements": "str",
                "choices": [*host_agents.AGENTS],
                "default": [],
            },
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
