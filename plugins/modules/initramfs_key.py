#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: initramfs_key
short_description: Let every initramfs of a running machine unlock the root with the given key
version_added: 1.0.0
description:
  - Puts a key into the key file that C(crypttab) names, rebuilds every initramfs with the machine's own tool
    (C(update-initramfs) or C(dracut)), and proves that each of them holds the key once, readable by root alone, and
    a pinned header that the key opens.
  - Does nothing when that is so already, which it finds out by looking into each initramfs.
  - A key that does not open the pinned header is refused before anything is changed, because the machine would not
    boot again.
  - Afterwards the journal of the file system is empty, since GRUB reads without it; so only when this has
    returned may the old key be removed from the header.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  device:
    description: The device that holds the LUKS container of the root. Tasks that change its keys wait for each other.
    type: path
    required: true
  header:
    description: The pinned header, which C(crypttab) names (C(header=)).
    type: path
    required: true
  key_file:
    description:
      - A file of root's with the key, mode 0600 or 0400.
      - Each initramfs is unpacked beside it, so it should be on a tmpfs, as that of M(sealedroot.image.key_store),
        and the machine needs memory for that.
    type: path
    required: true
  dest:
    description: The key file that C(crypttab) names.
    type: path
    required: true
  timeout:
    description: The most seconds that the initramfs tool may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Renew the key in the initramfs
  sealedroot.image.initramfs_key:
    device: /dev/vda2
    header: /etc/cryptsetup-headers.d/luks-8ab1fcd0-6009-41be-89d0-c3be1bfbdd66.header
    key_file: /run/sealedroot-rotate/keys/boot.key
    dest: /etc/cryptsetup-keys.d/luks-8ab1fcd0-6009-41be-89d0-c3be1bfbdd66.key
"""

RETURN = r"""
files:
  description: The files that were changed, or would be.
  type: list
  elements: str
  returned: success
  sample: ["/boot/initrd.img-6.1.0-50-cloud-amd64"]
"""

import contextlib
import os
import shutil
import stat
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive_keys,
    generator_commands,
    running_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container, cryptsetup
from ansible_collections.sealedroot.image.plugins.module_utils._system import journal
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

ROOT = "/"


def opened_by(runner: Runner, key_file: str, name: str, work: str) -> archive_keys.JudgeHeader:
    """Return a function that checks that an initramfs has the header *name*, and that the key opens it.

    The header may differ from the root's: a slot that has been emptied there since does no harm.
    """

    def problem(header: bytes) -> str:
        handle, copy = tempfile.mkstemp(dir=work)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header)
            opens = cryptsetup.opens(runner, copy, key_file) is not None
        finally:
            os.unlink(copy)
        return "" if opens else f"the key does not open {name} in it"

    return archive_keys.only(name, problem)


def problems(
    runner: Runner,
    path: str,
    *,
    key: bytes,
    old: t.Mapping[str, bytes],
    work: str,
    header: archive_keys.JudgeHeader,
) -> t.List[str]:
    """Return what is wrong with one initramfs of the machine."""
    info = os.stat(path)
    found = []
    if stat.S_IMODE(info.st_mode) != 0o600 or info.st_uid != 0:
        found.append("it can be read by others than root: set UMASK=0077 for initramfs-tools")
    directory = tempfile.mkdtemp(dir=work)
    try:
        # The content is unpacked beside the link.
        link = os.path.join(directory, "initramfs")
        os.symlink(path, link)
        found += archive_keys.problems(
            runner, link, boot_key=key, others=old, header=header, files={}
        )
    except SealedRootError as exc:
        found.append(str(exc))
    finally:
        shutil.rmtree(directory)
    return found


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Bring key file and initramfs into the requested state."""
    device, key_file, dest = (params[name] for name in ("device", "key_file", "dest"))
    container.check(device, 0, 0)
    container.check_key_file(key_file)
    tree = Tree(ROOT)
    pinned = tree.path(params["header"])
    container.check_key_file(pinned, "header file")
    boot = tree.path("/boot")
    conf = tree.text(generator_commands.UPDATE_CONF)
    rebuilds = running_root.rebuilds(runner, boot, tree.path("/lib/modules"), conf)
    work = os.path.dirname(key_file)
    with open(key_file, "rb") as file:
        key = file.read()
    lock = contextlib.nullcontext() if check_mode else container.locked(device)
    with lock:
        if cryptsetup.opens(runner, pinned, key_file) is None:
            raise SealedRootError(
                f"the key in {key_file} does not open {params['header']}, so the machine would not boot with it: give"
                " it a slot first"
            )
        before = tree.read(dest)
        old = {"old key": before} if before and before != key else {}
        images = running_root.initramfs(boot)
        judge = opened_by(runner, key_file, params["header"], work)

        def look(image: str) -> t.List[str]:
            return problems(runner, image, key=key, old=old, work=work, header=judge)

        found = {image: look(image) for image in images}
        tree.write(dest, key, mode=0o400, secret=True)
        changed = [*tree.changed(), *(it for it in images if found[it])]
        outcome = {"changed": bool(changed), "files": changed, "diff": tree.diff()}
        if changed and not check_mode:
            tree.apply()
            for rebuild in rebuilds:
                rebuild.run(runner, params["timeout"])
            images = running_root.initramfs(boot)
            prove({image: look(image) for image in images})
        if not check_mode:
            # Even if nothing changed: an earlier call may have been killed between its changes and this.
            journal.flush(boot)
    return outcome


def prove(found: t.Mapping[str, t.Sequence[str]]) -> None:
    """Raise an error if a rebuilt initramfs is not as it must be."""
    wrong = [f"{path}: {', '.join(what)}" for path, what in found.items() if what]
    if wrong:
        raise SealedRootError(
            f"after it was rebuilt an initramfs is not as it must be: {'; '.join(wrong)}. The old key is"
            " still valid. Mend this, or remove a kernel that is not needed, and run this again"
        )


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "header": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "dest": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
