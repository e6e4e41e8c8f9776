# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The initramfs insists on the kernel's words: it restarts the machine where one is missing. Pure.

The encryption has no integrity, so a host can garble 16 bytes of grub.cfg, and GRUB may still understand what is left
of it. What only the lost word closes would be open (docs/threat_model.md, attack garbled_word).
"""

from __future__ import annotations

import shlex

from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Before udev, the first thing that the initramfs does (initramfs-tools(7), init-top).
_SCRIPT = "/etc/initramfs-tools/scripts/init-top/sealedroot"
# All generators have ended before systemd starts a unit, also one that a host gave it (systemd.generator(7)).
_GENERATOR = "/etc/systemd/system-generators/sealedroot"
_PLACES = {"initramfs_tools": _SCRIPT, "dracut": _GENERATOR, "mkinitcpio": _GENERATOR}
# mkinitramfs(8) copies its directory of scripts as the root of theirs.
_COPIED = ("/etc/initramfs-tools/scripts/", "/scripts/")
# What comes before the words: when there is nothing to do.
_BEGIN = {
    _SCRIPT: '[ "$1" != prereqs ] || exit 0\n',
    _GENERATOR: "# Of the initramfs alone; the root's systemd starts later.\n[ -e /etc/initrd-release ] || exit 0\n",
}
# systemctl is in an initramfs of systemd; what is left if it fails is the kernel's own way, and to start nothing.
_RESTART = {_SCRIPT: "reboot -f", _GENERATOR: "systemctl --force --force reboot"}


def path(generator: str) -> str:
    """Return where the check is in the root."""
    if generator not in _PLACES:
        raise SealedRootError(
            f"'{generator}' builds no initramfs that is known: use one of {', '.join(sorted(_PLACES))}"
        )
    return _PLACES[generator]


def path_inside(generator: str) -> str:
    """Return where the check is in the initramfs."""
    return path(generator).replace(*_COPIED)


def text(generator: str, *, luks_uuid: str) -> str:
    """Return the check, a program of sh."""
    place = path(generator)
    words = " ".join(shlex.quote(word) for word in guest.words(generator, luks_uuid=luks_uuid))
    quotes = "".join(f"\\{letter}" for letter in guest.QUOTES)
    return f"""\
#!/bin/sh
# Restarts the machine where the kernel was not told one of these words: the host can garble grub.cfg.
{_BEGIN[place]}\
stop() {{
  echo "<3>$1. Restarting." >/dev/kmsg
  {_RESTART[place]}
  echo b >/proc/sysrq-trigger
  while :; do sleep 60; done
}}
read -r given </proc/cmdline
# systemd does not see the words that quotes hold together, and takes a single one to the end.
case $given in *[{quotes}]*) stop "The kernel was told something in quotes" ;; esac
for word in {words}; do
  case " $given " in
    *" $word "*) ;;
    *) stop "The kernel was not told $word" ;;
  esac
done
"""


def plan(tree: Tree, generator: str, *, luks_uuid: str, debug_console: bool) -> None:
    """Plan the check, or that it is not there: a developer may change the command line."""
    if debug_console:
        tree.remove(path(generator))
    else:
        tree.write(path(generator), text(generator, luks_uuid=luks_uuid), mode=0o755)


__all__ = ("path", "path_inside", "plan", "text")
