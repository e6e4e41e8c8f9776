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
  - Reads a tar of a root (plain or compressed in any way that tar(1) on this machine understands) and says
    what is in it, without unpacking it.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
options:
  path:
    description: The tar.
    type: path
    required: true
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
  description: The digest of the file.
  type: str
  returned: success
entries:
  description: The number of members.
  type: int
  returned: success
unpacked_bytes:
  description: An estimate of what the root takes on a file system with 4 KiB blocks.
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
missing_packages:
  description: What has to be installed in the root before it can boot encrypted.
  type: list
  elements: str
  returned: success
"""

import hashlib
import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _root_tar
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

TAR_SECONDS = 1800


def sha256(path: str) -> str:
    """Return the digest of a file."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        count = file.readinto(buffer)
        while count:
            digest.update(view[:count])
            count = file.readinto(buffer)
    return digest.hexdigest()


def check_digest(path: str, found: str, wanted: t.Optional[str]) -> None:
    """Refuse a file with another digest than the one that was promised."""
    if wanted is None:
        return
    expected = wanted.lower()
    if expected.startswith("sha256:"):
        expected = expected[len("sha256:") :]
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise SealedRootError(
            f"digest '{wanted}' is not a SHA-256: write 64 hexadecimal digits, with or without sha256:"
        )
    if expected != found:
        raise SealedRootError(
            f"{path} has the SHA-256 {found}, not {expected}: get the file again, or correct the digest"
        )


def listing(runner: Runner, path: str) -> t.List[_root_tar.Member]:
    """List the tar; tar's own exit status tells a truncated or foreign file."""
    argv = [runner.find("tar"), "--list", "--verbose", "--numeric-owner", "--full-time"]
    argv += ["--quoting-style=escape", "--file", path]
    result = runner.run(argv, check=False, timeout=TAR_SECONDS)
    if result.rc == 0:
        members = _root_tar.parse_listing(result.stdout)
        if members:
            return members
    said = result.stderr.strip().splitlines()
    if re.search(r"[Uu]nexpected (EOF|end)|[Tt]runcated|premature end", result.stderr):
        raise SealedRootError(f"{path} is truncated: get the file again")
    why = f" ({said[0]})" if said else ""
    raise SealedRootError(f"{path} is not a tar that tar(1) on the builder can read{why}: pack it again")


def contents(
    runner: Runner, path: str, members: t.Sequence[_root_tar.Member]
) -> t.Dict[str, bytes]:
    """Extract small members in one pass; tar writes them one after the other in archive order."""
    wanted = [
        member
        for member in (
            _root_tar.pick(members, _root_tar.PROGRAMS),
            _root_tar.pick(members, _root_tar.OS_RELEASES),
        )
        if member
    ]
    if not wanted:
        return {}
    order = {member.name: index for index, member in enumerate(members)}
    wanted.sort(key=lambda member: order[member.name])
    argv = [runner.find("tar"), "--extract", "--to-stdout", "--occurrence=1", "--file", path]
    result = runner.run([*argv, *(member.raw for member in wanted)], timeout=TAR_SECONDS)
    data = result.stdout.encode("utf-8", "surrogateescape")
    found, start = {}, 0
    for member in wanted:
        found[member.name] = data[start : start + member.size]
        start += member.size
    return found


def inspect(runner: Runner, path: str, digest: t.Optional[str]) -> t.Dict[str, t.Any]:
    """Return what the tar holds."""
    if not os.path.isfile(path):
        raise SealedRootError(f"the root tar {path} does not exist on the builder: correct the path")
    found = sha256(path)
    check_digest(path, found, digest)
    members = listing(runner, path)
    data = contents(runner, path, members)
    program = next((data[name] for name in _root_tar.PROGRAMS if name in data), b"")
    release = next((data[name] for name in _root_tar.OS_RELEASES if name in data), b"")
    architecture = _root_tar.machine(program)
    if not architecture:
        raise SealedRootError(
            f"{path} has no shell and no other program: it is not the tar of a root directory"
        )
    os_release = _root_tar.parse_os_release(release.decode("utf-8", "replace"))
    return {
        "path": path,
        "sha256": found,
        "entries": len(members),
        "unpacked_bytes": _root_tar.unpacked_bytes(members),
        "architecture": architecture,
        "os_release": os_release,
        "family": _root_tar.family(os_release),
        "kernels": _root_tar.kernels(members),
        "missing_packages": _root_tar.missing_packages(members, architecture),
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "digest": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        info = inspect(ModuleRunner(module), module.params["path"], module.params["digest"])
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, **info)


if __name__ == "__main__":
    main()
