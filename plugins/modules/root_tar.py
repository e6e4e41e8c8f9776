#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_tar
short_description: The root of a source as a tar, and what it holds (for the roles)
description:
  - Takes a root from where O(type) says. With O(families) it looks into it, as M(sealedroot.image.root_info) does.
  - Packs a root with extended attributes, ACLs, capabilities, hard links, holes, device nodes and numeric owners. The
    source is only read, and no symbolic link is followed. The content of C(/dev), C(/proc), C(/run) and C(/sys) is
    left out, and so are sockets.
  - The tar is kept, and made once for each content of the source.
  - A B(directory) is known by a digest of what lstat(2) says of every file, the time of change included, so it is
    packed again after any change. A tar that it gave before is removed when no build has used it for a day. The
    running root is refused, since it changes while it is read.
  - A B(disk) image (raw, qcow2, vmdk, vdi, vhd, vhdx) is known by its SHA-256. The root is found in it by its
    os-release. There can be a GPT, an MBR or no partition table, and the root can be on ext4, xfs or a btrfs
    subvolume, in a partition or in a linear logical volume of LVM2. What the root's fstab mounts from the same disk,
    such as C(/boot), C(/usr) or C(/home), is packed in its place; the EFI system partition is left out.
  - Units of systemd that mount count as its fstab does, and so do the types of partitions for C(/boot), C(/home),
    C(/srv) and C(/var/tmp), see systemd-gpt-auto-generator(8). Every other file system of the disk is named in
    RV(left_out).
  - A journal that was not written back is replayed into a layer above the disk image, so the root is packed as its
    machine would see it. A disk image that needs another file (a backing file, a parent, extents) is refused, since
    it could name any file of the builder. LUKS is not read, nor are logical volumes that are more than pieces of the
    disk (striped, thin, RAID, cached, snapshots). LVM takes no part, so no volume group of the disk is ever
    activated.
  - The kernel mounts the file systems of a disk image, read-only. Give only images to it whose makers are trusted not
    to attack a file system driver.
  - A container image (B(oci)) is an OCI image layout in a directory, or an archive of one (C(podman save --format
    oci-archive), C(skopeo copy ... oci-archive:), C(docker save)). It is known by the digest of its manifest. Its
    layers are applied in order, whiteouts included, by umoci(1), which checks their digests; what that does not read
    (docker archives, zstd) is converted by skopeo(1) first. The network is not used.
  - A distribution is installed from its packages with mmdebstrap(1) (B(bootstrap)). It is known by O(distribution),
    O(release), O(mirror), O(architecture), O(packages), O(patterns) and O(source_date_epoch).
  - What is behind a B(url) is fetched with curl(1) into the cache, and is then taken as one of the types above, or as
    the tar itself. Where a connection broke, in this run or an earlier one, it goes on. A checksum or a signature is
    required, and the file gets its name in the cache only after it was checked. What has another checksum or no good
    signature is removed. Neither the arguments of a process nor messages have the user, the password or the query of
    the URL.
version_added: 1.0.0
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._filesystem
  - sealedroot.image._root_look
  - sealedroot.image._secret_arguments
attributes:
  diff_mode:
    support: none
options:
  type:
    description: What the source is.
    type: str
    choices: [bootstrap, directory, disk, oci, tar, url]
    required: true
  path:
    description:
      - The directory, in which C(usr), C(etc) and so on are; the disk image, a file of its own; or the layout or
        archive; or the tar. Not for O(type=bootstrap) and O(type=url).
    type: path
  cache_dir:
    description:
      - Where the tar is kept, and where layers are applied; not in the directory itself, and without a colon.
    type: path
    required: true
  work_dir:
    description:
      - The directory of the build, where its teardown finds what an interrupted run has left.
      - A disk image is read there. Required for O(type=disk) and O(type=url).
    type: path
  digest:
    description:
      - The SHA-256 that the disk image or the tar must have; or the digest of the manifest that the container image
        must have, C(sha256:) and hexadecimal digits. In an archive that C(docker save) wrote before Docker 25, of the
        configuration, which C(docker images --no-trunc) calls the ID.
    type: str
  partition:
    description: The number of the root's partition, for a disk with more than one root.
    type: int
  logical_volume:
    description: The root's logical volume, as C(group/name), for a disk with more than one root.
    type: str
  subvolume:
    description: The path of the root's btrfs subvolume, for a file system with more than one root.
    type: str
  submounts:
    description:
      - What is done about file systems that are mounted in the directory, bind mounts included.
      - V(include) packs what is in them, V(leave_out) only the directories on which they are mounted.
      - When there are some, one of the two has to be chosen.
    type: str
    choices: [include, leave_out]
  reference:
    description:
      - The name of the container image where there are several; the whole one (V(docker.io/library/web:1)) or the end
        of it after a colon or slash (V(1), V(web:1)).
    type: str
  architecture:
    description:
      - The architecture of the container image, in the words of uname(1); of several platforms, this one is taken.
    type: str
    choices: [aarch64, x86_64]
    default: x86_64
  url:
    description:
      - Where the file is, by C(https), C(http) or C(file).
      - Passwords can as well be in C(.netrc) of the user who builds; see curl(1).
    type: str
  checksum:
    description: What the file behind the URL must have, C(sha256:) or C(sha512:) and hexadecimal digits.
    type: str
  signature:
    description: The detached signature of the file behind the URL, a URL or a path on the builder.
    type: str
  keyring:
    description: The public keys of whom may have signed it, a file that gpgv(1) reads; needed with O(signature).
    type: path
  as:
    description: What is behind the URL; by default, what its first bytes or its members say.
    type: str
    choices: [disk, oci, tar]
  timeout:
    description: The seconds after which fetching is given up; what came is kept for the next run.
    type: int
    default: 3600
  distribution:
    description: The distribution to install.
    type: str
    choices: [debian]
  release:
    description: The suite to install, such as V(bookworm).
    type: str
  mirror:
    description: The package mirror, which the root keeps; the builder's own by default.
    type: str
    default: ''
  packages:
    description: The packages to install beyond the essential ones.
    type: list
    elements: str
    default: []
  patterns:
    description: Patterns of apt-patterns(7), for packages that only some suites have.
    type: list
    elements: str
    default: []
  source_date_epoch:
    description: The time of what is installed, in seconds since 1970; V(0) for the present time.
    type: int
    default: 0
  get_checksum:
    description: Whether to take the checksum of the tar; with O(digest) of a tar it is taken anyway.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Install Debian
  sealedroot.image.root_tar:
    type: bootstrap
    distribution: debian
    release: bookworm
    packages: [systemd-sysv, linux-image-cloud-amd64]
    cache_dir: /var/cache/sealedroot

- name: Pack the root in a directory
  sealedroot.image.root_tar:
    type: directory
    path: /srv/roots/web
    cache_dir: /var/cache/sealedroot

- name: Pack the root in a disk image
  sealedroot.image.root_tar:
    type: disk
    path: /srv/disks/web.qcow2
    cache_dir: /var/cache/sealedroot
    work_dir: /var/tmp/sealedroot/web-1

- name: Make a tar of what docker save wrote
  sealedroot.image.root_tar:
    type: oci
    path: /srv/roots/web.tar
    reference: web:1
    cache_dir: /var/cache/sealedroot

- name: Fetch a root tar
  sealedroot.image.root_tar:
    type: url
    url: https://example.org/roots/web.tar.zst
    checksum: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
    cache_dir: /var/cache/sealedroot
    work_dir: /var/tmp/sealedroot/web-1
"""

RETURN = r"""
root:
  description: What the root holds, as M(sealedroot.image.root_info) returns it.
  type: dict
  returned: with O(families), but in check mode only when there is the tar
tar:
  description: The tar itself, as M(sealedroot.image.root_info) returns it.
  type: dict
  returned: with O(families), but in check mode only when there is the tar
path:
  description: The tar; in check mode, what it would be, and empty when the file behind a URL is not in the cache.
  type: str
  returned: success
  sample: /var/cache/sealedroot/directory-0f1e2d3c4b5a6978-8796a5b4c3d2e1f0.tar
type:
  description: O(type); of a URL, what is behind it, V(disk), V(oci) or V(tar).
  type: str
  returned: success
  sample: disk
left_out:
  description: The file systems of a disk image that are no part of the root, with the reason; also shown as warnings.
  type: list
  elements: str
  returned: when the source is a disk image
  sample: ["partition 4 (ext4, label data): nothing in the root mounts it when the machine boots"]
digest:
  description: The digest that names the container image; see O(digest).
  type: str
  returned: when the source is a container image
  sample: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import look, packed
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    bootstrap,
    container_image,
    directory,
    disk,
    url,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def given(_runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Return the tar as it is."""
    return {"changed": False, "path": params["path"]}


PROVIDERS = {
    "bootstrap": bootstrap.ensure,
    "directory": directory.ensure,
    "disk": disk.ensure,
    "oci": container_image.named,
    "tar": given,
}


def provide(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Return type and path of the tar; fetch and pack it if it does not exist."""
    source, got = params, {"changed": False, "type": params["type"]}
    if params["type"] == "url":
        got = url.ensure(runner, params, check_mode=check_mode)
        if not got["path"]:
            return got
        source = {**params, "type": got["type"], "path": got["path"]}
    tar = PROVIDERS[source["type"]](runner, source, check_mode=check_mode)
    return {**got, **tar, "changed": got["changed"] or tar["changed"]}


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Provide the tar and look into it."""
    made = provide(runner, params, check_mode=check_mode)
    if not params["families"] or (check_mode and made["changed"]):
        return made
    digest = params["digest"] if made["type"] == "tar" else None
    found = packed.describe(runner, made["path"], params, digest=digest)
    # Of a disk also file systems that are not in the tar.
    found["root"]["left_out"] = [*made.get("left_out", []), *found["root"]["left_out"]]
    return {**made, **found, "warnings": [*made.get("warnings", []), *found["warnings"]]}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "type": {"type": "str", "choices": [*sorted(PROVIDERS), "url"], "required": True},
            "path": {"type": "path"},
            "cache_dir": {"type": "path", "required": True},
            "work_dir": {"type": "path"},
            "digest": {"type": "str"},
            "partition": {"type": "int"},
            "logical_volume": {"type": "str"},
            "subvolume": {"type": "str"},
            "submounts": {"type": "str", "choices": ["include", "leave_out"]},
            "reference": {"type": "str"},
            "architecture": {
                "type": "str",
                "choices": sorted(architectures.ARCHITECTURES),
                "default": "x86_64",
            },
            # A URL can contain a password or a token.
            "url": {"type": "str", "no_log": True},
            "checksum": {"type": "str"},
            "signature": {"type": "str", "no_log": True},
            "keyring": {"type": "path", "no_log": False},
            "as": {"type": "str", "choices": list(url.TYPES)},
            "timeout": {"type": "int", "default": 3600},
            "distribution": {"type": "str", "choices": ["debian"]},
            "release": {"type": "str"},
            "mirror": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "patterns": {"type": "list", "elements": "str", "default": []},
            "source_date_epoch": {"type": "int", "default": 0},
            "get_checksum": {"type": "bool", "default": True},
            **look.ARGUMENTS,
        },
        mutually_exclusive=[("path", "url")],
        required_if=[
            ("type", "bootstrap", ["distribution", "release"]),
            ("type", "directory", ["path"]),
            ("type", "disk", ["path", "work_dir"]),
            ("type", "oci", ["path"]),
            ("type", "tar", ["path"]),
            # A disk can be behind it.
            ("type", "url", ["url", "work_dir"]),
        ],
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
