# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a confidential guest is started from does what it must, and no more: pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import Launched
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    ovmf,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    embedded,
    install,
    launch_script,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def core(launched: Launched, *, luks_uuid: str, modules: t.Sequence[str]) -> t.List[str]:
    """The core image opens this disk with a launch secret, and the table has its hash; *modules* are for the disk."""
    found = core_image.parse(launched.core)
    if found is None:
        return ["launch/core.efi is no core image of GRUB"]
    problems = []
    if found.is_odd:
        problems.append(
            "launch/core.efi has parts that no build gives it, such as a second memdisk: build the image again"
        )
    if launched.hashes != kernel_hashes.table(launched.core):
        problems.append(
            "launch/hashes.bin does not have the hash of launch/core.efi: take both from the build"
        )
    if found.config != embedded.CONFIG:
        problems.append(
            f"launch/core.efi begins with '{found.config.strip()}', not with its memdisk"
        )
    way = unlock_ways.LAUNCH_SECRET
    lost = sorted({*cfg.REQUIRED, *modules, *way.modules} - found.modules)
    if lost:
        problems.append(f"launch/core.efi lacks the GRUB modules {', '.join(lost)}")
    logs = sorted(found.modules & {*way.left_out})
    if logs:
        problems.append(
            f"launch/core.efi has the GRUB module {', '.join(logs)}, which would have the key in its log"
        )
    # An older audit knows fewer scripts, so that a newer one says what it expects.
    scripts = {
        cfg.prefix(luks_uuid, directory): launch_script.script(
            luks_uuid=luks_uuid,
            directory=directory,
            area=launched.area,
            ask=cfg.ASKS in found.modules,
            prompt=launched.prompt,
        )
        for directory in cfg.DIRECTORIES
    }
    if not install.is_memdisk(found.memdisk, [scripts.get(found.prefix, "")], own=True):
        problems.append(
            "the script in launch/core.efi is not the one that reads the secret of this firmware for this disk: build"
            " the image again"
        )
    return problems


def firmware(launched: Launched) -> t.List[str]:
    """The firmware checks the kernel, has this area for the secret, and starts no program of a disk."""
    name = "launch/firmware.fd"
    try:
        area = ovmf.parse(launched.firmware, name).secret
        volumes.check(launched.firmware, name)
    except SealedRootError as exc:
        return [str(exc)]
    if area != launched.area:
        return [f"{name} has another area for the secret: build the image again"]
    return []


def surplus(launched: Launched, names: t.Sequence[str], dependencies: str) -> t.List[str]:
    """The core image has no other modules than *names* and what these need, as moddep.lst says."""
    found = core_image.parse(launched.core)
    needs = {
        name: words.split()
        for name, words in re.findall(r"^([\w-]+):(.*)$", dependencies, re.MULTILINE)
    }
    known: t.Set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in known:
            known.add(name)
            left += needs.get(name, ())
    more = sorted(found.modules - known) if found else []
    less = sorted(known - found.modules) if found else []
    problems = [f"launch/core.efi has also the GRUB modules {', '.join(more)}"] if more else []
    return problems + (
        [f"launch/core.efi lacks the GRUB modules {', '.join(less)}"] if less else []
    )


__all__ = ("core", "firmware", "surplus")
