# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Say of an image what is true of its machine, where the module setup sees the builder or the sandbox: pure."""

from __future__ import annotations

import re
import typing as t

Facts = t.Mapping[str, t.Any]

# What root_info says of the image. Without it they are left out.
_KNOWN = ("architecture", "kernel", "machine", "service_mgr")
# True of each machine that boots an image: it is a guest, and has a processor.
_FIXED: Facts = {
    "all_ipv4_addresses": [],
    "all_ipv6_addresses": [],
    "default_ipv4": {},
    "default_ipv6": {},
    "interfaces": [],
    "is_chroot": True,
    "mounts": [],
    "processor_cores": 1,
    "processor_count": 1,
    "processor_nproc": 1,
    "processor_threads_per_core": 1,
    "processor_vcpus": 1,
    "virtualization_role": "guest",
    "virtualization_tech_guest": ["kvm"],
    "virtualization_tech_host": [],
    "virtualization_type": "kvm",
}
# The builder's, its kernel's or the sandbox's.
_LEFT_OUT = re.compile(
    "bios_.*|board_.*|chassis_.*|cmdline|device_links|devices|dns|fibre_channel_wwn|flags|form_factor|hostnqn|iscsi_iqn"
    "|kernel_version|loadavg|locally_reachable_ips|lvm|memfree_mb|memory_mb|memtotal_mb|proc_cmdline|processor"
    "|product_.*|swapfree_mb|swaptotal_mb|system_vendor|uptime_seconds|userspace_architecture"
)


class ImageFacts:
    """What is known of an image."""

    def __init__(
        self, facts: t.Any = None, hostname: t.Any = None, *, awaits_job: bool = False
    ) -> None:
        """*facts* are those that the host of the image has so far, *hostname* is the name that it will have.

        *awaits_job* says that core waits for the job of an async task.
        """
        self.awaits_job = awaits_job
        facts = facts if isinstance(facts, dict) else {}
        # Without this fact they can be those of a machine of the same name.
        known = {
            key: facts[key] for key in _KNOWN if key in facts and facts.get("is_chroot") is True
        }
        self._values = {**_FIXED, **known, **_names(str(hostname or ""))}

    def corrected(self, gathered: Facts) -> t.Dict[str, t.Any]:
        """Return the facts that a module gathered in the image, with the image's own values."""
        found = {}
        for name, value in gathered.items():
            leaf = name[len("ansible_") :] if name.startswith("ansible_") else ""
            if leaf in self._values:
                found[name] = self._values[leaf]
            elif leaf not in _KNOWN and not _LEFT_OUT.fullmatch(leaf):
                found[name] = value
        return found


def _names(hostname: str) -> t.Dict[str, str]:
    if not hostname:
        return {}
    leaf, _dot, domain = hostname.partition(".")
    return {"domain": domain, "fqdn": hostname, "hostname": leaf, "nodename": hostname}


__all__ = ("ImageFacts",)
