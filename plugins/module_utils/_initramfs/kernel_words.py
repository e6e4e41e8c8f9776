# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A check for the initramfs: restart the machine if a word is missing on the kernel command line. Pure.

The encryption has no integrity, so a host can garble 16 bytes of grub.cfg, and GRUB may still understand the
rest. Whatever only the lost word prevents would then be possible (docs/threat_model.md, attack garbled_word).
"""

from __future__ import annotations

import shlex

from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest

# The first scripts that the initramfs runs, before udev (initramfs-tools(7), init-top).
_SCRIPT = "/etc/initramfs-tools/scripts/init-top/sealedroot"
# All generators end before systemd starts a unit, even a unit that the host supplied (systemd.generator(7)).
_GENERATOR = "/etc/systemd/system-generators/sealedroot"
_PLACES = {"initramfs_tools": _SCRIPT, "dracut": _GENERATOR, "mkinitcpio": _GENERATOR}
# mkinitramfs(8) copies this directory to /scripts of the initramfs.
_COPIED = ("/etc/initramfs-tools/scripts/", "/scripts/")
# The beginning of the check: leave if there is nothing to do.
_BEGIN = {
    _SCRIPT: '[ "$1" != prereqs ] || exit 0\n',
    _GENERATOR: "# Of the initramfs alone; the root's systemd starts later.\n[ -e /etc/initrd-release ] || exit 0\n",
}
# An initramfs with systemd has systemctl. If it fails, the check uses SysRq, and then waits so that nothing starts.
_RESTART = {_SCRIPT: "reboot -f", _GENERATOR: "systemctl --force --force reboot"}


def path(generator: str) -> str:
    """Return the path of the check in the root."""
    return _PLACES[guest.check_generator(generator)]


def path_inside(generator: str) -> str:
    """Return the path of the check in the initramfs."""
    return path(generator).replace(*_COPIED)


def text(generator: str, *, luks_uuid: str) -> str:
    """Return the check, a shell script."""
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
    """Plan the check; with *debug_console*, plan its removal, so that a developer can change the command line."""
    if debug_console:
        tree.remove(path(generator))
    else:
        tree.write(path(generator), text(generator, luks_uuid=luks_uuid), mode=0o755)


__all__ = ("path", "path_inside", "plan", "text")
