#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: builder_info
short_description: Whether a machine can build encrypted images (for the roles)
version_added: 1.0.0
description:
  - Looks at the tools, the backends, whether the kernel mounts O(filesystem), the free space, what an interrupted
    build has left, and the image that is there already, in one call.
  - In check mode it does not ask for root, and does not try the backends without it.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._filesystem
  - sealedroot.image._secret_arguments.follow
  - sealedroot.image._secret_inputs
options:
  tools:
    description: The programs that are needed; alternatives are separated by C(|), Debian's name first.
    type: list
    elements: str
    default: []
  architecture:
    description:
      - The architecture of the image, in the words of uname(1). Where it is not the machine's own, the machine has
        to run programs of it, which takes QEMU's user mode emulation.
    type: str
    choices: [aarch64, x86_64]
    default: x86_64
  firmware:
    description: Whether a UEFI firmware for virtual machines of that architecture is needed.
    type: bool
    default: false
  secure_boot:
    description: Whether that firmware is one with Secure Boot and Microsoft's keys.
    type: bool
    default: false
  backend:
    description: The backend that is wanted.
    type: str
    choices: [auto, dm_crypt, userspace]
    default: auto
  work_dir:
    description: The directory of the build.
    type: path
    required: true
  output_dir:
    description: The directory that the image is published as, when that is on this machine.
    type: path
  launch_firmware:
    description: The firmware of a confidential guest that a build needs, which must check its kernel and take a secret.
    type: path
"""

EXAMPLES = r"""
- name: Look at the builder
  sealedroot.image.builder_info:
    tools: [cryptsetup, grub-fstest|grub2-fstest]
    work_dir: /var/tmp/sealedroot/web-1
    output_dir: /srv/images/web-1
"""

RETURN = r"""
tools:
  description: The path of each program, by the first of its names; empty for one that is not there.
  type: dict
  returned: success
versions:
  description: What those programs that shape an image say of their versions.
  type: dict
  returned: success
  sample: {"cryptsetup": "cryptsetup 2.6.1"}
missing_tools:
  description: The programs that are not there.
  type: list
  elements: str
  returned: success
missing_packages:
  description: The packages that bring them, where their names are known.
  type: list
  elements: str
  returned: success
problems:
  description: What keeps the machine from building besides missing packages, a sentence each.
  type: list
  elements: str
  returned: success
backend:
  description: The backend that a build would use; empty when none works.
  type: str
  returned: success
backend_reason:
  description: Why.
  type: str
  returned: success
family:
  description: The family of the builder's distribution (V(debian), V(fedora), V(suse), V(arch) or empty).
  type: str
  returned: success
architecture:
  description: The architecture of the machine, in the words of uname(1).
  type: str
  returned: success
kernel:
  description: The release of the running kernel.
  type: str
  returned: success
firmware:
  description: The UEFI firmware for virtual machines that was found, as C(code) and C(vars); else empty.
  type: dict
  returned: success
launch_firmware:
  description: The C(sha256) of O(launch_firmware), and C(base) and C(size) of its C(secret_area); empty for a bad one.
  type: dict
  returned: success
work_dir:
  description:
    - What the file system of O(work_dir) offers, as C(free_bytes), C(holes) (sparse files) and C(direct_io).
    - In C(has_output), whether O(output_dir) is in the same file system.
  type: dict
  returned: success
leftovers:
  description: What an interrupted build still holds, or left on disk.
  type: list
  elements: str
  returned: success
output:
  description:
    - The image that is there, as M(sealedroot.image.published_image_info) describes it, and the C(free_bytes) there.
  type: dict
  returned: when O(output_dir) is given
"""

import hashlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    holds,
    places,
    published,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    os_release as etc_os_release,
)
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    launch_digest,
    ovmf,
    secret_table,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import limits
from ansible_collections.sealedroot.image.plugins.module_utils._luks import backend as luks_backend
from ansible_collections.sealedroot.image.plugins.module_utils._machine import emulation, qemu
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import seccomp
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
    regular_file,
    tools as system_tools,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

TUN = "/dev/net/tun"
ROOTLESS = "Building needs root on the builder: run ansible-playbook as root, or set ansible_become=true for it."
# The programs whose version affects the content of an image, and the option that prints it.
SHAPING = {
    "cryptsetup": "--version",
    **{f"mkfs.{it.name}": it.version for it in filesystems.FILESYSTEMS.values()},
    "qemu-img": "--version",
    "sfdisk": "--version",
    "tar": "--version",
}


def find_tools(runner: Runner, wanted: t.Iterable[str]) -> t.Dict[str, str]:
    """Return the path of each tool by its first name; empty if it exists under none of its names."""
    found = {}
    for names in wanted:
        first = names.split("|")[0]
        try:
            found[first] = runner.find(*names.split("|"))
        except MissingToolError:
            found[first] = ""
    return found


def versions(runner: Runner, tools: t.Mapping[str, str]) -> t.Dict[str, str]:
    """Return the first line that each available tool prints about its version."""
    found = {}
    for name, option in SHAPING.items():
        if tools.get(name):
            said = runner.run([tools[name], option], check=False, timeout=20)
            found[name] = (said.stdout.strip() or said.stderr.strip()).partition("\n")[0]
    return found


def mounts(runner: Runner, filesystem: str) -> bool:
    """Say whether the kernel can mount a type of file system, by itself or with a module that it can load.

    A dry run of modprobe finds the module without loading it; mount(8) lets the kernel load it.
    """
    with open("/proc/filesystems", encoding="ascii") as file:
        if filesystem in file.read().split():
            return True
    try:
        argv = [runner.find("modprobe"), "--dry-run", "--quiet", f"fs-{filesystem}"]
    except MissingToolError:
        return False
    return runner.run(argv, check=False, timeout=20).rc == 0


def network_problems(tools: t.Mapping[str, str]) -> t.List[str]:
    """Return why programs in an image could not reach a network, if some have to."""
    if "slirp4netns" not in tools or os.path.exists(TUN):
        return []
    return [
        f"The builder has no {TUN}, so nothing in the image can reach a network (image_packages, network: true in"
        " image_customize): load the kernel's module tun, or give the device to the container."
    ]


def core_problems() -> t.List[str]:
    """Return why a crash in an image would start a program of the builder."""
    # Only root's limits count, since only root builds.
    is_problem = os.geteuid() == 0 and limits.core_limit_here() < 0
    return [f"{limits.CORE_PROBLEM}."] if is_problem else []


def sandbox_needs(tools: t.Mapping[str, str]) -> t.Dict[str, str]:
    """Return what the builder lacks for the sandbox of images, other than tools."""
    return {"libseccomp": "libseccomp"} if "bwrap" in tools and not seccomp.is_there() else {}


def launch_firmware(path: t.Optional[str]) -> t.Tuple[t.Dict[str, t.Any], t.List[str]]:
    """Return what a firmware for launch secrets says of itself, and what keeps it from being used."""
    if not path:
        return {}, []
    problems = []
    if not launch_digest.IS_INSTALLED:
        problems.append(
            "The builder's Python has no sev-snp-measure, which computes launch digests: install it (PyPI), or take"
            " launch_secret out of image_unlock."
        )
    try:
        data = regular_file.demand(path, most=ovmf.LARGEST)
        area = ovmf.parse(data, path).secret
        secret_table.check_area(area, path)
        volumes.kernel_only(data, path)
    except SealedRootError as exc:
        return {}, [*problems, f"image_firmware cannot be used: {exc}."]
    return {"sha256": hashlib.sha256(data).hexdigest(), "secret_area": area._asdict()}, problems


def look(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool = False
) -> t.Dict[str, t.Any]:
    """Look at the builder; planning (check mode) needs no root."""
    os_release = ""
    if os.path.exists("/etc/os-release"):
        with open("/etc/os-release", encoding="utf-8") as file:
            os_release = file.read()
    family = system_tools.builder_family(etc_os_release.parse_os_release(os_release))
    arch = architectures.find(params["architecture"])
    tools = find_tools(runner, params["tools"])
    missing = [tool for tool, path in tools.items() if not path]
    try:
        firmware = qemu.find_firmware(arch, secure_boot=params["secure_boot"])
    except SealedRootError:
        firmware = None
    rootless = os.geteuid() != 0
    wanted = {tool: tool for tool in missing}
    problems = []
    if params["firmware"] and not firmware:
        kind = " with Secure Boot" if params["secure_boot"] else ""
        wanted[f"firmware-{arch.machine}{kind}"] = (
            f"a UEFI firmware{kind} for virtual machines of {arch.machine}"
        )
    if not (rootless or emulation.runs(runner, arch)):
        problem = emulation.problem(runner, arch)
        if problem:
            problems.append(problem)
        else:
            wanted[f"emulation-{arch.machine}"] = f"QEMU's user mode emulation of {arch.machine}"
    wanted.update(sandbox_needs(tools))
    problems += [*network_problems(tools), *core_problems()]
    packages = {tool: system_tools.package(family, tool) for tool in wanted}
    unknown = [name for tool, name in wanted.items() if not packages[tool]]
    if unknown:
        problems.append(f"The builder lacks {', '.join(unknown)}: install what brings it.")
    if not mounts(runner, params["filesystem"]):
        problems.append(
            f"The builder's kernel cannot mount {params['filesystem']} and has no module for it: choose another"
            " image_filesystem, or another builder."
        )
    backend, reason = "", "not looked at: tools are missing"
    if rootless:
        reason = "not looked at: that needs root"
    elif not missing:
        try:
            chosen, reason = luks_backend.choose(runner, params["backend"])
            backend = chosen.name
        except SealedRootError as exc:
            reason = str(exc)
            problems.append(f"No backend opens LUKS here: {exc}.")
    launched, wrong = launch_firmware(params["launch_firmware"])
    problems += wrong
    work_dir = os.path.realpath(params["work_dir"])
    problems += places.problems(params["work_dir"], params["output_dir"])
    if rootless and not check_mode:
        # Without it nothing can be installed, and the rest is not to be judged.
        problems, packages = [ROOTLESS], {}
    leftovers = holds.find(work_dir).describe()
    if os.path.isdir(work_dir):
        leftovers.append(f"directory {work_dir}")
    output_dir, output = params["output_dir"], {}
    if output_dir:
        found = published.read(runner, output_dir, params["secret_inputs"])
        output = {"warnings": found.pop("warnings"), "output": found}
    return {
        **output,
        "tools": tools,
        "versions": versions(runner, tools),
        "missing_tools": missing,
        "missing_packages": sorted({package for package in packages.values() if package}),
        "problems": problems,
        "backend": backend,
        "backend_reason": reason,
        "family": family,
        "architecture": os.uname().machine,
        "kernel": os.uname().release,
        "firmware": {"code": firmware.code, "vars": firmware.variables} if firmware else {},
        "launch_firmware": launched,
        "work_dir": {
            **places.file_system(work_dir),
            "has_output": bool(output_dir) and places.are_together(work_dir, output_dir),
        },
        "leftovers": leftovers,
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "tools": {"type": "list", "elements": "str", "default": []},
            "architecture": {
                "type": "str",
                "choices": sorted(architectures.ARCHITECTURES),
                "default": "x86_64",
            },
            "firmware": {"type": "bool", "default": False},
            "secure_boot": {"type": "bool", "default": False},
            "filesystem": filesystems.ARGUMENT,
            "backend": {
                "type": "str",
                "choices": ["auto", "dm_crypt", "userspace"],
                "default": "auto",
            },
            "launch_firmware": {"type": "path"},
            "work_dir": {"type": "path", "required": True},
            "output_dir": {"type": "path"},
            "secret_inputs": published.SECRET_INPUTS,
            # For the action plugin.
            "secrets_follow": {"type": "bool", "default": False, "no_log": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: look(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
