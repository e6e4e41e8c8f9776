# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Agents that execute commands of the machine's host as root: disabled unless they are requested. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import units as etc_units
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree

OWN_DIRECTORY = "/etc/systemd/system"
# systemd makes a unit of each script in it (systemd-sysv-generator(8)), unless one of this name is masked.
SCRIPTS = "/etc/init.d"
# Names of services in the distributions, and of drop-ins for services of others (``.conf``). A masked unit
# never starts (systemctl(1)), and a drop-in that is a symlink to /dev/null has no effect (systemd.unit(5)).
# Those of vendors: docs/facts.md: host-agents.
AGENTS: t.Mapping[str, t.Tuple[str, ...]] = {
    # User-data from a disk, from SMBIOS, or from a network address that the host controls.
    "cloud-init": (
        *("cloud-init-local", "cloud-init", "cloud-init-main", "cloud-init-network"),
        *("cloud-config", "cloud-final", "cloud-init-hotplugd"),
    ),
    # Commands through a virtio serial port (guest-exec).
    "qemu-guest-agent": ("qemu-guest-agent", "qemu-ga"),
    "alibaba": ("agentwatch", "aliyun", "aliyun-service", "AssistDaemon"),
    "amazon-ssm-agent": ("amazon-ssm-agent", "snap.amazon-ssm-agent.amazon-ssm-agent"),
    "azure": ("walinuxagent", "waagent"),
    # Creates accounts and SSH keys for the web console.
    "digitalocean": ("droplet-agent",),
    # Lets sshd ask the host for the keys of an account.
    "ec2-instance-connect": (
        "ec2-instance-connect",
        *(f"{ssh}.service.d/ec2-instance-connect.conf" for ssh in ("ssh", "sshd")),
    ),
    "google": (
        *("google-guest-agent", "google-guest-agent-manager", "google-guest-compat-manager"),
        *("google-osconfig-agent", "google-startup-scripts", "google-shutdown-scripts"),
    ),
    # Sets the password of root.
    "huawei": ("cloudResetPwdAgent", "cloudResetPwdUpdateAgent"),
    "hyper-v": (
        *("hv-kvp-daemon", "hv-fcopy-daemon", "hv-vss-daemon"),
        *("hypervkvpd", "hypervfcopyd", "hypervvssd"),
    ),
    # Run a program that they copy from a share of the host.
    "incus": ("incus-agent", "lxd-agent"),
    "nutanix": ("ngt_guest_agent",),
    "open-vm-tools": ("open-vm-tools", "vmtoolsd", "vmware-tools", "vgauth", "vgauthd"),
    "oracle": (
        *("oracle-cloud-agent", "oracle-cloud-agent-updater"),
        "snap.oracle-cloud-agent.oracle-cloud-agent",
        "snap.oracle-cloud-agent.oracle-cloud-agent-updater",
    ),
    "ovirt": ("ovirt-guest-agent",),
    "parallels": ("prltoolsd",),
    "rackspace": ("nova-agent",),
    "spice-vdagent": ("spice-vdagentd",),
    "tencent": ("tat_agent",),
    # Commands through a device (guestcontrol).
    "virtualbox": ("vboxservice", "vboxadd-service", "virtualbox-guest-utils"),
    "xen": ("xe-daemon", "xe-linux-distribution", "xen-guest-agent"),
}

Exists = t.Callable[[str], bool]


def files(name: str) -> t.List[str]:
    """Return the unit files and drop-ins that an agent can have in a unit directory."""
    return [unit if unit.endswith(".conf") else f"{unit}.service" for unit in AGENTS[name]]


def places(file: str) -> t.List[str]:
    """Return the paths of which one makes a unit file, or drop-in, of this name."""
    script = [f"{SCRIPTS}/{file[: -len('.service')]}"] if file.endswith(".service") else []
    return [*(f"/{top}/{file}" for top in etc_units.DIRECTORIES), *script]


def units(exists: Exists, allowed: t.Collection[str]) -> t.Dict[str, t.List[str]]:
    """Return the units of each installed agent that is not *allowed*; *exists* takes absolute paths."""
    found = {
        name: [file for file in files(name) if any(map(exists, places(file)))]
        for name in AGENTS
        if name not in allowed
    }
    return {name: services for name, services in found.items() if services}


def plan(tree: Tree, *, allowed: t.Collection[str]) -> t.List[str]:
    """Plan to mask every agent that is not *allowed*; return the names of the masked agents."""
    agents = units(tree.exists, allowed)
    for services in agents.values():
        for service in services:
            tree.link(f"{OWN_DIRECTORY}/{service}", "/dev/null")
    return sorted(agents)


__all__ = ("AGENTS", "OWN_DIRECTORY", "files", "places", "plan", "units")
