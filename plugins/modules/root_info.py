#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_info
short_description: What the root of an image holds, and its facts
description:
  - Runs in the image, and looks at its files as M(sealedroot.image.root_tar_info) does at those of a tar.
  - With O(facts) it gathers those facts of M(ansible.builtin.setup) that are the image's own, under the same names.
    That module would say of an image what is true of its builder - the kernel that runs, the architecture, the
    hardware and the network.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._root_look
options:
  facts:
    description: Whether to return facts.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Gather the facts of the image
  connection: sealedroot.image.chroot
  sealedroot.image.root_info:
    facts: true
"""

RETURN = r"""
root:
  description: What M(sealedroot.image.root_tar_info) returns, apart from what is said of the tar itself.
  type: dict
  returned: success
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

import contextlib
import glob
import os
import re
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts.system.distribution import (
    DistributionFactCollector,
    DistributionFiles,
)
from ansible.module_utils.facts.system.pkg_mgr import PkgMgrFactCollector
from ansible_collections.sealedroot.image.plugins.module_utils._root import look as root_look
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member, plain
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

KINDS = ((stat.S_ISREG, "-"), (stat.S_ISDIR, "d"), (stat.S_ISLNK, "l"))


def members(root: str) -> t.List[Member]:
    """Return what is in the tree, as a tar of it would list it; not what is mounted below."""
    device = os.stat(root).st_dev
    found: t.List[Member] = []
    seen: t.Dict[int, str] = {}
    for directory, folders, files in os.walk(root):
        folders.sort()
        for leaf in sorted([*folders, *files]):
            path = os.path.join(directory, leaf)
            info = os.lstat(path)
            if info.st_dev != device:
                continue
            name = os.path.relpath(path, root).replace("\\", "\\\\")
            kind = next((letter for is_kind, letter in KINDS if is_kind(info.st_mode)), "?")
            target = seen.setdefault(info.st_ino, name) if kind == "-" else name
            kind, target = (kind, "") if target == name else ("h", target)
            size, stored = (info.st_size, info.st_blocks * 512) if kind == "-" else (0, 0)
            mode = stat.filemode(info.st_mode)[1:]
            found.append(Member(kind, name, size, stored, name, mode, target))
        folders[:] = [
            name for name in folders if os.lstat(os.path.join(directory, name)).st_dev == device
        ]
    return found


def look(root: str, params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what the tree holds."""
    found = members(root)
    families, signed = params["families"], params["secure_boot"]
    files = {member.name for member in found if member.type in "-h"}
    data = {}
    for names in root_look.wanted(found, families, signed=bool(signed)):
        name = next((name for name in names if name in files), None)
        if name:
            path = os.path.join(root, plain(name))
            data[name] = regular_file.read(path, most=root_look.MOST, follow=False)
    return root_look.describe(
        "the image",
        found,
        data,
        families=families,
        filesystem=params["filesystem"],
        secure_boot=signed,
    )


def newest(versions: t.Iterable[str]) -> str:
    """Return the newest kernel, by the numbers in its version; empty when there is none."""
    return max(versions, key=lambda it: [int(word) for word in re.findall(r"\d+", it)], default="")


def check_releases(root: str = "/") -> None:
    """Refuse what the collectors would wait for, or read for ever, in the place of a file that names the system."""
    known = {it["path"] for it in DistributionFiles.OSDIST_LIST}
    paths = {os.path.join(root, str(it).lstrip("/")) for it in (*known, "usr/lib/os-release")}
    for pattern in ("etc/*release", "etc/*version"):
        paths.update(glob.glob(os.path.join(root, pattern)))
    for path in sorted(paths):
        # SUSE has a directory of a like name, which none of them reads.
        if not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                regular_file.read(path, most=regular_file.SMALL)


def facts(module: AnsibleModule, found: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return the image's own facts, by the collectors of setup where they read files only."""
    check_releases()
    gathered = {"system": "Linux", "is_chroot": True}
    gathered.update(DistributionFactCollector().collect(module))
    prefixed = {f"ansible_{name}": value for name, value in gathered.items()}
    gathered.update(PkgMgrFactCollector().collect(module, prefixed))
    gathered["architecture"] = gathered["machine"] = found["architecture"]
    gathered["kernel"] = newest(found["kernels"])
    # Nothing runs, so what is installed counts.
    gathered["service_mgr"] = "systemd" if found["has"]["systemd"] else "unknown"
    return {f"ansible_{name}": value for name, value in gathered.items()}


def outcome(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """Return what the tree holds and, if they are wanted, its facts."""
    found = look("/", module.params)
    gathered = {"ansible_facts": facts(module, found)} if module.params["facts"] else {}
    return {"root": found, **gathered}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"facts": {"type": "bool", "default": False}, **root_look.ARGUMENTS},
        supports_check_mode=True,
    )
    run(module, lambda: outcome(module))


if __name__ == "__main__":
    main()
