# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Hooks of a root that may carry its boot files, and the boot key in them, out of the encrypted volume. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member

# Programs and settings that decide what else is made of a kernel and its initramfs, or run when these change.
HOOKS = re.compile(
    r"(?:etc|usr/share)/(?:initramfs/post-update|kernel/(?:preinst|postinst|prerm|postrm))\.d/[^/]+"
    r"|etc/(?:kernel/install|apt/apt\.conf)\.d/[^/]+"
    r"|(?:etc|usr/share)/initramfs-tools/hooks/[^/]+|usr/(?:local/)?lib/kernel/install\.d/[^/]+"
    r"|(?:etc/pacman\.d|usr/share/libalpm)/hooks/[^/]+\.hook"
    r"|etc/systemd/system/[^/]+\.(?:path|service)"
)
# By its path, also behind a variable or from /boot; by label or type; or by the program that finds it
# (docs/facts.md: names-of-the-esp).
_ON_ESP = re.compile(
    r"(?:^|[^\w./]|\$\w+)/(?:boot/)?(?:efi|esp)\b|(?:^|[\s\"'=;])(?:boot/)?(?:efi|esp)/"
    r"|(?:LABEL=|-L\s*)[\"']?(?:esp|efi)\b|\bc12a7328-f81f-|\bbootctl\b",
    re.IGNORECASE | re.MULTILINE,
)
# Commands that put what boots elsewhere: on the ESP, on a disk, in a unified kernel image, or on another machine
# (docs/facts.md: boot-file-tools).
_CARRIED_BY = re.compile(
    r"\b(?:proxmox-boot-tool[ \t]+refresh|kernelstub|sbctl[ \t]+bundle|mcopy"
    r"|dd[ \t][^\n;|&]{0,200}?\bof=/dev/(?!(?:null|zero|stdout|stderr)\b)"
    r"|(?:rsync|scp)[ \t][^\n;|&#]{0,200}?(?<=[ \t])[\w.@-]{1,100}:(?!//))"
    r"|\bmount[ \t]+(?:-\w{1,8}[ \t]+(?:[\w,=]{1,100}[ \t]+)?){0,8}(?:[\"']?/dev/\w|-U[ \t]|(?:PART)?UUID=)"
)
COMMENT = re.compile(r"^[ \t]*[#;].*", re.MULTILINE)


def notes(members: t.Mapping[str, Member], text: t.Callable[[str], str]) -> t.List[str]:
    """Return the hooks that may carry the boot key out."""
    found = []
    for name in sorted(filter(HOOKS.fullmatch, members)):
        lines = COMMENT.sub("", text(name))
        carried = _CARRIED_BY.search(lines)
        if _ON_ESP.search(lines):
            found.append(
                f"/{name} names the EFI system partition, which is not encrypted. Every initramfs holds the boot key:"
                " remove this hook if it copies one there."
            )
        elif carried:
            found.append(
                f"/{name} runs {carried[0].split()[0]}, which can carry boot files out of the encrypted root. Every"
                " initramfs holds the boot key: remove this hook if it takes one."
            )
    return found


__all__ = ("COMMENT", "HOOKS", "notes")
