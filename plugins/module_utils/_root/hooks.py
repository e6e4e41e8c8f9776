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
# Scripts of the owner that hooks can call: where packages of a distribution have none.
OWN_SCRIPTS = re.compile(
    r"usr/local/(?:s?bin/[^/]+|lib(?:exec)?/[^/]+\.(?:sh|py|pl))|opt/(?:[^/]+/)?s?bin/[^/]+|(?:opt|root|etc)/(?:[^/]+/)?[^/]+\.sh"
)
MOST_SCRIPT = 1 << 16
_IN_PATH = re.compile(r"usr/local/s?bin/([^/]+)")
_WORD = re.compile(r"[\w./+@-]+")
# Units run for many purposes, so a script that one of them starts must speak of boot files.
_UNIT = re.compile(r"etc/systemd/system/[^/]+")
_OF_BOOT = re.compile(r"/boot\b|\binitr(?:d|amfs)|\bvmlinu")
COMMENT = re.compile(r"^[ \t]*[#;].*", re.MULTILINE)


def notes(members: t.Mapping[str, Member], text: t.Callable[[str], str]) -> t.List[str]:
    """Return the hooks that may carry the boot key out, by themselves or by an own script that they call."""
    scripts = {name: name for name in members if OWN_SCRIPTS.fullmatch(name)}
    # A hook calls what is in PATH without a directory, too.
    scripts.update((match[1], match[0]) for match in map(_IN_PATH.fullmatch, [*scripts]) if match)
    said: t.Dict[str, t.Tuple[str, bool]] = {}

    def of_script(name: str) -> t.Tuple[str, bool]:
        if name not in said:
            content = COMMENT.sub("", text(name))
            said[name] = (_said(content), bool(_OF_BOOT.search(content)))
        return said[name]

    found = []
    for name in sorted(filter(HOOKS.fullmatch, members)):
        lines = COMMENT.sub("", text(name))
        words = (it.lstrip("/") for it in _WORD.findall(lines))
        called = dict.fromkeys(scripts[it] for it in words if it in scripts and scripts[it] != name)
        says = _said(lines)
        if says:
            found.append(f"/{name} {says}")
            continue
        verdicts = ((it, *of_script(it)) for it in called)
        found += [
            f"/{name} calls /{script}, which {why}"
            for script, why, of_boot in verdicts
            if why and (of_boot or not _UNIT.fullmatch(name))
        ][:1]
    return found


def _said(lines: str) -> str:
    """Say what a script does that may carry the boot key out; empty for nothing."""
    if _ON_ESP.search(lines):
        return (
            "names the EFI system partition, which is not encrypted. Every initramfs holds the boot key: remove this"
            " hook if it copies one there."
        )
    carried = _CARRIED_BY.search(lines)
    if not carried:
        return ""
    return (
        f"runs {carried[0].split()[0]}, which can carry boot files out of the encrypted root. Every initramfs holds the"
        " boot key: remove this hook if it takes one."
    )


__all__ = ("COMMENT", "HOOKS", "MOST_SCRIPT", "OWN_SCRIPTS", "notes")
