# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check a signed boot chain on an ESP: pure; returns a list of problems like checks.py."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    core_image,
    pe,
    signed_chain,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures


def chain(
    files: t.Mapping[str, bytes], *, modules: t.Iterable[str]
) -> t.Tuple[t.List[str], t.List[str]]:
    """Judge the ESP of an image for Secure Boot; return the problems and the names of the files that it must have.

    *modules* are those that the LUKS header and the file system need. The files on the ESP tell its architecture and
    the vendor of GRUB.
    """
    upper = {name.upper(): (name, data) for name, data in files.items()}
    known = architectures.ARCHITECTURES.values()
    arch = next((it for it in known if it.boot_file.upper() in upper), None)
    if arch is None:
        return [f"the ESP has none of {', '.join(it.boot_file for it in known)}"], []
    problems: t.List[str] = []
    for name, data in files.items():
        if name.upper().endswith(".EFI"):
            problems += pe.problems(name, data, sbat=True)
        if re.fullmatch(r"EFI/BOOT/FB[A-Z0-9]*\.EFI", name.upper()):
            problems.append(
                f"{name} is there: shim starts it instead of GRUB, and it restarts machines with a TPM"
            )
    places = signed_chain.places(arch)
    if core_image.parse(upper[places["shim"].upper()][1]):
        problems.append(f"{places['shim']} is GRUB, not a shim: Microsoft's key signs no GRUB")
    wanted = [places["shim"], places["grub"]]
    wanted += [places["mok_manager"]] if places["mok_manager"].upper() in upper else []
    core = core_image.parse(upper.get(places["grub"].upper(), ("", b""))[1])
    if core is None:
        return [*problems, f"{places['grub']} is no GRUB"], wanted
    lost = sorted(set(modules) - core.modules)
    if lost:
        problems.append(
            f"{places['grub']} lacks the GRUB modules {', '.join(lost)}, and may load none"
        )
    vendor = signed_chain.vendor(core.prefix)
    if not vendor:
        return [*problems, f"{places['grub']} looks for its configuration in {core.prefix}"], wanted
    stubs = signed_chain.stubs(vendor)
    texts = {upper[name.upper()][1] for name in stubs if name.upper() in upper}
    if len(texts) > 1:
        problems.append(f"{' and '.join(stubs)} differ: which one counts depends on GRUB's version")
    return problems, [*wanted, *stubs]


__all__ = ("chain",)
