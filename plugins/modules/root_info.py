#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_info
short_description: What a root holds, and its facts
version_added: 1.0.0
description:
  - Says what is in a root, what it lacks for an encrypted boot, and what of it does not belong in an image.
  - The root is the one that the module runs in, which is to be an image, or with O(path) a tar of one (plain, or
    compressed with gzip, xz or zstd), which is not unpacked.
  - A tar that is truncated, or is none of a root, is an error.
  - With O(facts) it gathers those facts of M(ansible.builtin.setup) that are the image's own, under the same names.
    That module would say of an image what is true of its builder - the kernel that runs, the architecture, the
    hardware and the network.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._filesystem
  - sealedroot.image._root_look
options:
  path:
    description: The tar of a root; left out for the root that the module runs in.
    type: path
  get_checksum:
    description: Whether to take the checksum of O(path); with O(digest) it is taken anyway.
    type: bool
    default: true
  digest:
    description: The SHA-256 that O(path) must have, in hexadecimal, with or without C(sha256:) before it.
    type: str
  facts:
    description: Whether to return facts; mutually exclusive with O(path).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Gather the facts of the image
  connection: sealedroot.image.chroot
  sealedroot.image.root_info:
    facts: true

- name: Look into a root tar
  sealedroot.image.root_info:
    path: /var/cache/roots/debian.tar.zst
    digest: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
"""

RETURN = r"""
root:
  description: What the root holds.
  type: dict
  returned: success
  contains:
    entries:
      description: The number of members.
      type: int
    unpacked_bytes:
      description:
        - An estimate of what the root takes on an ext4 file system with 4 KiB blocks, inodes included. Hard
          links count once and sparse files with their data.
      type: int
    architecture:
      description: The architecture of the programs in it, in the words of uname(1).
      type: str
      sample: x86_64
    os_release:
      description: The fields of os-release(5).
      type: dict
    family:
      description: The family of the distribution; empty when it is not a known one.
      type: str
      sample: debian
    kernels:
      description: The kernel versions that are there with their modules.
      type: list
      elements: str
    kernel_disks:
      description: For each of these kernels, the drivers of virtual machines' disks that it has.
      type: dict
      sample: {"6.1.0-50-cloud-amd64": ["virtio_blk", "nvme"]}
    has:
      description: Which of the programs that an encrypted boot needs are there.
      type: dict
      contains:
        grub_platforms:
          description: The GRUB platforms with modules, such as V(x86_64-efi).
          type: list
          elements: str
        grub_modules:
          description: For each platform, which of C(luks), C(luks2), C(gcry_sha256), C(gcry_sha512), C(btrfs), C(ext2)
            and C(xfs) GRUB has.
          type: dict
        grub_mkimage:
          description: GRUB can make its core image.
          type: bool
        grub_mkconfig:
          description: GRUB can write its configuration.
          type: bool
        grub_fstest:
          description: GRUB can read a disk with its own code.
          type: bool
        initramfs_tools:
          description: There is initramfs-tools.
          type: bool
        dracut:
          description: There is dracut.
          type: bool
        mkinitcpio:
          description: There is mkinitcpio.
          type: bool
        cryptsetup_initramfs:
          description: initramfs-tools can unlock a disk.
          type: bool
        cryptsetup:
          description: There is cryptsetup.
          type: bool
        systemd_cryptsetup:
          description: There is systemd's own way to unlock a disk.
          type: bool
        init:
          description: There is an init.
          type: bool
        btrfs:
          description: There are the programs for Btrfs.
          type: bool
        xfs_repair:
          description: There are the programs for XFS.
          type: bool
        resize2fs:
          description: There is the program that grows ext4.
          type: bool
        sfdisk:
          description: There is the program that grows a partition.
          type: bool
        partx:
          description: There is the program that tells the kernel of it.
          type: bool
        python3:
          description: There is Python.
          type: bool
        openssh_server:
          description: There is the SSH server.
          type: bool
        systemd:
          description: There is systemd.
          type: bool
        tpm2_tools:
          description: There are the programs that seal a key in a TPM.
          type: bool
        grub_install_luks2:
          description: GRUB's own installer sees a LUKS2 container, or it cannot be told.
          type: bool
        grub_unlocks:
          description: The ways of C(image_unlock) that its GRUB is new enough for.
          type: list
          elements: str
        selinux:
          description: The SELinux policy that C(/etc/selinux/config) names.
          type: dict
          contains:
            mode:
              description: What it is set to; empty when nothing says it.
              type: str
              choices: ["", enforcing, permissive, disabled]
            type:
              description: The name of the policy.
              type: str
            policy:
              description: The policy file in the tar; empty when there is none.
              type: str
            setfiles:
              description: The root can say how its files are to be labelled.
              type: bool
    initramfs:
      description:
        - What builds the initramfs; empty when there is none of them.
        - Of several, the one that a new kernel runs.
      type: str
      choices: ["", initramfs_tools, dracut, mkinitcpio]
      sample: initramfs_tools
    problems:
      description: Why the root cannot become an image, each with what to change.
      type: list
      elements: str
    notes:
      description: What the person should know of the root; with O(path) shown as warnings, too.
      type: list
      elements: str
    left_out:
      description:
        - The files, and the lines of C(fstab) and C(crypttab), that an image does not get, each with the reason.
        - Of a line the first two fields alone, since others can hold a secret.
      type: list
      elements: str
      sample: ["fstab line '/dev/vg/data /data': a disk of the old machine"]
    excluded:
      description: The members that must not be unpacked for an image, by the names that the tar has.
      type: list
      elements: str
    secure_boot:
      description: The signed boot files.
      type: dict
      returned: when O(secure_boot) is given
      contains:
        shim:
          description: The path of the shim in the root; empty when it is not there.
          type: str
          sample: /usr/lib/shim/shimx64.efi.signed
        grub:
          description: The path of the signed GRUB.
          type: str
        mok_manager:
          description: The path of the program that enrols keys.
          type: str
        missing_modules:
          description: What the signed GRUB would need to read the disk, and lacks.
          type: list
          elements: str
    missing_packages:
      description: What has to be installed in the root before it can boot encrypted, if the family is known.
      type: list
      elements: str
    missing_growth_packages:
      description: What has to be installed in the root before it can grow to a bigger disk by itself.
      type: list
      elements: str
tar:
  description: The tar itself.
  type: dict
  returned: when O(path) is given
  contains:
    path:
      description: Where it is.
      type: str
    sha256:
      description: The digest of the file; empty when it was not asked for.
      type: str
    compression:
      description: How it is compressed.
      type: str
      choices: [none, gzip, xz, zstd]
ansible_facts:
  description: Facts of M(ansible.builtin.setup), and no others.
  type: dict
  returned: when O(facts) is true
  contains:
    ansible_architecture:
      description: The architecture of the programs in the image.
      type: str
    ansible_distribution:
      description: The name of the distribution.
      type: str
    ansible_distribution_file_parsed:
      description: Whether the file was understood.
      type: bool
      returned: when known
    ansible_distribution_file_path:
      description: The file that says which distribution it is.
      type: str
      returned: when known
    ansible_distribution_file_variety:
      description: The kind of this file.
      type: str
      returned: when known
    ansible_distribution_major_version:
      description: The first number of its version.
      type: str
      returned: when known
    ansible_distribution_minor_version:
      description: The second number of its version.
      type: str
      returned: when known
    ansible_distribution_release:
      description: The name of the release.
      type: str
      returned: when known
    ansible_distribution_version:
      description: Its version.
      type: str
      returned: when known
    ansible_is_chroot:
      description: It is true.
      type: bool
    ansible_kernel:
      description: The newest kernel in C(/boot); empty when there is none.
      type: str
    ansible_machine:
      description: The architecture of the programs in the image.
      type: str
    ansible_os_family:
      description: The family of the distribution, in the words of M(ansible.builtin.setup).
      type: str
    ansible_pkg_mgr:
      description: The package manager.
      type: str
      choices: [apk, apt, dnf, dnf5, pacman, portage, unknown, xbps, zypper]
    ansible_service_mgr:
      description: What runs the services.
      type: str
      choices: [systemd, unknown]
    ansible_system:
      description: The kernel's name.
      type: str
      choices: [Linux]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    look as root_look,
    packed,
    tree,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import ModuleRunner
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Values = t.Dict[str, t.Any]
Params = t.Mapping[str, t.Any]


def of_tree(root: str, params: Params) -> Values:
    """Describe an unpacked root."""
    members = tree.listing(root)
    wanted = root_look.wanted(members, params["families"], signed=bool(params["secure_boot"]))
    data = tree.contents(root, members, wanted, most=root_look.MOST)
    return {"root": root_look.describe("the image", members, data, **root_look.asked(params))}


def outcome(module: AnsibleModule) -> Values:
    """Return what was requested."""
    params = module.params
    if params["path"] is not None:
        return packed.describe(
            ModuleRunner(module), params["path"], params, digest=params["digest"]
        )
    found = of_tree("/", params)
    if params["facts"]:
        # Imported here, because it brings Ansible's collectors of facts along, and a tar needs none.
        from ansible_collections.sealedroot.image.plugins.module_utils._root import (
            facts as root_facts,
        )

        found["ansible_facts"] = root_facts.gather(module, found["root"])
    return found


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "get_checksum": {"type": "bool", "default": True},
            "digest": {"type": "str"},
            "facts": {"type": "bool", "default": False},
            **root_look.ARGUMENTS,
        },
        mutually_exclusive=[("path", "facts")],
        required_by={"digest": ["path"]},
        supports_check_mode=True,
    )
    run(module, lambda: outcome(module))


if __name__ == "__main__":
    main()
