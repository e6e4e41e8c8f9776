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
  filesystem:
    description: The type of the root file system that the root is for.
    type: str
    default: ext4
  families:
    description: The families of distributions that the root may be of; the roles C(family_*) say theirs.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the family.
        type: str
        required: true
      ids:
        description: The words of ID and ID_LIKE of os-release(5) that belong to it.
        type: list
        elements: str
        required: true
      packages:
        description:
          - The package that brings each thing that an encrypted boot needs.
          - Names of the architecture can be in it in braces, such as C({debian}) for C(amd64).
        type: dict
        required: true
      secure_boot:
        description:
          - Where the signed C(shim), C(grub) and C(mok_manager) are, a list of paths for each, the preferred first.
          - Names of the architecture can be in them in braces, such as C({efi}) for C(x64).
        type: dict
        default: {}
  secure_boot:
    description:
      - Look for the signed boot files as well, and into the signed GRUB, which cannot load modules under Secure Boot.
    type: dict
    suboptions:
      luks_type:
        description: The LUKS version that it has to read.
        type: str
        choices: [luks1, luks2]
        default: luks1
      hash:
        description: The hash of the LUKS header that it has to read.
        type: str
        default: sha256
      filesystem:
        description: The type of the root file system that it has to read.
        type: str
        default: ext4
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
      description: GRUB can make its core image. The other keys of this kind are V(grub_mkconfig),
        V(grub_fstest), V(initramfs_tools), V(cryptsetup_initramfs), V(dracut), V(mkinitcpio), V(cryptsetup),
        V(systemd_cryptsetup), V(btrfs) and V(xfs) (programs for the file system), V(resize2fs), V(sfdisk), V(partx),
        V(python3), V(openssh_server) and V(systemd).
      type: bool
    grub_install_luks2:
      description: GRUB's own installer sees a LUKS2 container, or it cannot be told.
      type: bool
    selinux:
      description: The SELinux policy that C(/etc/selinux/config) names.
      type: dict
      contains:
        mode:
          description: V(enforcing), V(permissive) or V(disabled); empty when nothing says it.
          type: str
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
    - What builds the initramfs, V(initramfs_tools), V(dracut) or V(mkinitcpio); empty when there is none of them.
    - Of several, the one that a new kernel runs.
  type: str
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
  description: The files, and the lines of C(fstab) and C(crypttab), that an image does not get, each with the reason.
  type: list
  elements: str
  returned: success
  sample: ["fstab line '/dev/vg/data /data ext4 nofail 0 2': a disk of the old machine"]
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
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _architectures,
    _fstab,
    _growth,
    _root_findings,
    _root_needs,
    _root_tar,
    _tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._digest import check_digest, sha256


def inspect(runner: Runner, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what the tar holds."""
    path, digest = params["path"], params["digest"]
    if not os.path.isfile(path):
        raise SealedRootError(
            f"the root tar {path} does not exist on the builder: correct the path"
        )
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
    compression = _root_tar.compression(head)
    if not head:
        raise SealedRootError(f"{path} is empty: get the file again")
    if compression not in _root_tar.SUPPORTED:
        raise SealedRootError(
            f"{path} is compressed with {compression}, which is not supported: use gzip, xz or zstd"
        )
    if compression != "none":
        runner.find(compression)
    members = _tar.listing(runner, path)
    asked = params["secure_boot"]
    wanted = [_root_tar.PROGRAMS, _root_tar.OS_RELEASES, _root_needs.SELINUX_CONFIGS]
    wanted += _root_findings.wanted(members)
    wanted += [(name,) for name in _root_needs.signed_grubs(families)] if asked else []
    data = _tar.contents(runner, path, members, wanted)
    program = next((data[name] for name in _root_tar.PROGRAMS if name in data), b"")
    release = next((data[name] for name in _root_tar.OS_RELEASES if name in data), b"")
    architecture = _root_tar.machine(program)
    root = _root_findings.Root(members, data)
    if not architecture:
        lost = "/usr" in map(_fstab.point_of, _fstab.rows(root.text(_root_findings.FSTAB)))
        if lost and not root.holds("/usr"):
            raise SealedRootError(f"{path} is not a whole root. {_root_findings.elsewhere('/usr')}")
        raise SealedRootError(
            f"{path} has no shell and no other program in usr/bin or bin: pack the root directory"
            " itself, so that its members are ./usr, ./etc and so on"
        )
    os_release = _root_tar.parse_os_release(release.decode("utf-8", "replace"))
    family = _root_tar.family(os_release, families)
    selinux = data.get(_root_needs.SELINUX_CONFIGS[0], b"").decode("utf-8", "replace")
    try:
        has = {**_root_tar.abilities(members), "selinux": _root_needs.selinux(members, selinux)}
    except SealedRootError as exc:
        raise SealedRootError(f"{path} cannot be used: {exc}, and pack the root again") from exc
    kernels = _root_tar.kernels(members)
    generator = _root_tar.initramfs(members)
    found = _root_findings.judge(root, kernels, filesystem)
    modules = _root_findings.drivers(root)
    excluded = set(found.excluded)
    missing: t.List[str] = []
    chain: t.Dict[str, t.Any] = {}
    # A root of another architecture is refused as it is.
    if family and architecture in _architectures.ARCHITECTURES:
        words = _architectures.find(architecture).words()
        if asked:
            chain = _root_needs.signed_chain(members, data, family, words=words, header=asked)
        # Why there is none is said better already.
        versions = kernels or (["explained"] if found.kernel_explained else [])
        missing = _root_needs.missing_packages(
            has,
            versions,
            filesystem=filesystem,
            generator=generator,
            packages=family["packages"],
            words=words,
            without=_root_needs.unsigned(chain, family),
        )
        found.problems += _root_needs.unknown_generator(generator, family)
    return {
        **({"secure_boot": chain} if asked else {}),
        "compression": compression,
        "entries": len(members),
        "unpacked_bytes": _root_tar.unpacked_bytes(
            member for member in members if _root_tar.plain(member.raw) not in excluded
        ),
        "architecture": architecture,
        "os_release": os_release,
        "family": family.get("name", ""),
        "kernels": kernels,
        "kernel_disks": {it: _root_findings.disks(modules.get(it, ())) for it in kernels},
        "has": {**has, "grub_install_luks2": _root_findings.grub_install_knows_luks2(root)},
        "initramfs": generator,
        "missing_packages": missing,
        "missing_growth_packages": _growth.missing_packages(
            has, filesystem=filesystem, packages=family.get("packages", {})
        ),
        "problems": found.problems,
        "notes": found.notes,
        "left_out": found.left_out,
        "excluded": found.excluded,
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "get_checksum": {"type": "bool", "default": True},
            "digest": {"type": "str"},
            "filesystem": {"type": "str", "default": "ext4"},
            "families": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "ids": {"type": "list", "elements": "str", "required": True},
                    "packages": {"type": "dict", "required": True},
                    "secure_boot": {"type": "dict", "default": {}},
                },
            },
            "secure_boot": {
                "type": "dict",
                "options": {
                    "luks_type": {
                        "type": "str",
                        "choices": ["luks1", "luks2"],
                        "default": "luks1",
                    },
                    "hash": {"type": "str", "default": "sha256"},
                    "filesystem": {"type": "str", "default": "ext4"},
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        info = inspect(ModuleRunner(module), module.params)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    for note in info["notes"]:
        module.warn(f"{info['path']}: {note}")
    module.exit_json(changed=False, **info)


if __name__ == "__main__":
    main()
