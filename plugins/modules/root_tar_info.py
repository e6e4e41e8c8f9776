#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_tar_info
short_description: What the tar of a root holds
description:
  - Reads a tar of a root (plain, or compressed with gzip, xz or zstd) and says what is in it, without
    unpacking it.
  - A file that is truncated, or is no tar of a root, is an error.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._root_look
options:
  path:
    description: The tar.
    type: path
    required: true
  get_checksum:
    description: Whether to take the checksum of the file; with O(digest) it is taken anyway.
    type: bool
    default: true
  digest:
    description: The SHA-256 that the file must have, in hexadecimal, with or without C(sha256:) before it.
    type: str
"""

EXAMPLES = r"""
- name: Look into a root tar
  sealedroot.image.root_tar_info:
    path: /var/cache/roots/debian.tar.zst
    digest: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
"""

RETURN = r"""
path:
  description: The tar.
  type: str
  returned: success
sha256:
  description: The digest of the file; empty when it was not asked for.
  type: str
  returned: success
compression:
  description: How the tar is compressed (V(none), V(gzip), V(xz) or V(zstd)).
  type: str
  returned: success
entries:
  description: The number of members.
  type: int
  returned: success
unpacked_bytes:
  description:
    - An estimate of what the root takes on an ext4 file system with 4 KiB blocks, inodes included. Hard
      links count once and sparse files with their data.
  type: int
  returned: success
architecture:
  description: The architecture of the programs in it, in the words of uname(1).
  type: str
  returned: success
  sample: x86_64
os_release:
  description: The fields of os-release(5).
  type: dict
  returned: success
family:
  description: The family of the distribution; empty when it is not a known one.
  type: str
  returned: success
  sample: debian
kernels:
  description: The kernel versions that are there with their modules.
  type: list
  elements: str
  returned: success
kernel_disks:
  description: For each of these kernels, the drivers of virtual machines' disks that it has.
  type: dict
  returned: success
  sample: {"6.1.0-50-cloud-amd64": ["virtio_blk", "nvme"]}
has:
  description: Which of the programs that an encrypted boot needs are there.
  type: dict
  returned: success
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
    xfs:
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
    grub_install_luks2:
      description: GRUB's own installer sees a LUKS2 container, or it cannot be told.
      type: bool
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
  returned: success
  sample: initramfs_tools
problems:
  description: Why the root cannot become an image, each with what to change.
  type: list
  elements: str
  returned: success
notes:
  description: What the person should know of the root; shown as warnings, too.
  type: list
  elements: str
  returned: success
left_out:
  description:
    - The files, and the lines of C(fstab) and C(crypttab), that an image does not get, each with the reason.
    - Of a line the first two fields alone, since others can hold a secret.
  type: list
  elements: str
  returned: success
  sample: ["fstab line '/dev/vg/data /data': a disk of the old machine"]
excluded:
  description: The members that must not be unpacked for an image, by the names that the tar has.
  type: list
  elements: str
  returned: success
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
  returned: success
missing_growth_packages:
  description: What has to be installed in the root before it can grow to a bigger disk by itself.
  type: list
  elements: str
  returned: success
"""

import concurrent.futures
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    look as root_look,
    tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import (
    check_digest,
    sha256,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def inspect(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what the tar holds."""
    path, digest = params["path"], params["digest"]
    problem = file_kind.problem(path, file_kind.FILE)
    if problem:
        raise SealedRootError(f"the root tar {path} {problem}")
    if digest is None and not params["get_checksum"]:
        return {"path": path, **look(runner, params), "sha256": ""}
    # Hashing and tar run side by side; but a promised digest is checked before tar sees the file.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(sha256, path)
        if digest is not None:
            check_digest(path, hashing.result(), digest)
        found = look(runner, params)
        return {"path": path, **found, "sha256": hashing.result()}


def look(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what tar and the first bytes say of the file."""
    path, families, filesystem = params["path"], params["families"], params["filesystem"]
    with open(path, "rb") as file:
        head = file.read(16)
    compression = tar.compression(head)
    if not head:
        raise SealedRootError(f"{path} is empty: get the file again")
    if compression not in tar.SUPPORTED:
        raise SealedRootError(
            f"{path} is compressed with {compression}, which is not supported: use gzip, xz or zstd"
        )
    if compression != "none":
        runner.find(compression)
    members = tar.listing(runner, path)
    asked = params["secure_boot"]
    wanted = root_look.wanted(members, families, signed=bool(asked))
    data = tar.contents(runner, path, members, wanted, most=root_look.MOST)
    return {
        "compression": compression,
        **root_look.describe(
            path, members, data, families=families, filesystem=filesystem, secure_boot=asked
        ),
    }


def outcome(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what the tar holds; its notes are warnings as well."""
    info = inspect(runner, params)
    return {**info, "warnings": [f"{info['path']}: {note}" for note in info["notes"]]}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "get_checksum": {"type": "bool", "default": True},
            "digest": {"type": "str"},
            **root_look.ARGUMENTS,
        },
        supports_check_mode=True,
    )
    run(module, lambda: outcome(ModuleRunner(module), module.params))


if __name__ == "__main__":
    main()
