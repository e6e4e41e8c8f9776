# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Plan the settings of /etc/default/grub and its drop-ins for an encrypted boot."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg

DEFAULTS = "/etc/default/grub"
DROP_INS = "/etc/default/grub.d"
OWN_DROP_IN = f"{DROP_INS}/zz-sealedroot.cfg"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The name at the beginning of a kernel word.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
CMDLINES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")


def _name(word: str) -> str:
    return "".join(_NAME.findall(word)[:1])


def settings(
    text: str, kernel_cmdline: str, root_device: str
) -> t.Tuple[t.Dict[str, str], t.List[str]]:
    """Return the settings for /etc/default/grub, and the words removed from its command lines."""
    have = shell_defaults.values(text)
    ours = kernel_cmdline.split()
    wanted: t.Dict[str, str] = {}
    dropped: t.List[str] = []
    for name in CMDLINES:
        if name in have:
            wanted[name], gone = shell_defaults.without_words(have[name], cfg.unwanted(ours), ours)
            dropped += gone
    wanted["GRUB_CMDLINE_LINUX"] = shell_defaults.merge_words(
        wanted.get("GRUB_CMDLINE_LINUX", ""), kernel_cmdline
    )
    # Exactly y: grub-mkconfig accepts nothing else (docs/facts.md: enable-cryptodisk).
    wanted["GRUB_ENABLE_CRYPTODISK"] = "y"
    # The firmware's console also uses the serial line; a graphical terminal does not.
    wanted["GRUB_TERMINAL"] = have.get("GRUB_TERMINAL", "console")
    # os-prober would search the builder's disks for other systems.
    wanted["GRUB_DISABLE_OS_PROBER"] = "true"
    # Name the root by the guest's own device name: root=UUID= also matches a disk of the host with that UUID.
    wanted["GRUB_DEVICE"] = root_device
    wanted["GRUB_DISABLE_LINUX_UUID"] = "true"
    # GRUB must not search for the volume that it has open.
    wanted["GRUB_DISABLE_UUID"] = "true"
    # Recovery entries have "single", which starts sulogin(8).
    wanted["GRUB_DISABLE_RECOVERY"] = "true"
    return wanted, dropped


def drop_in(
    overridden: t.Container[str],
    wanted: t.Mapping[str, str],
    kernel_cmdline: str,
    old: t.Collection[str],
) -> str:
    """Return a drop-in that overrides what other drop-ins override; empty if none is needed.

    *old* are words about disks of another machine that other drop-ins add to the command lines.
    """
    own = {name: value for name, value in wanted.items() if name in overridden}
    if "GRUB_FORCE_PARTUUID" in overridden:
        own["GRUB_FORCE_PARTUUID"] = ""  # it names a partition of another disk
    lines = ""
    for name in sorted(own.keys() - set(CMDLINES)):
        lines = shell_defaults.assign(lines, name, own[name])
    for name in CMDLINES if old else ():
        lines += f"""\
kept=
for word in ${name}; do
    case "$word" in
    {"|".join(shlex.quote(word) for word in sorted(old))}) ;;
    *) kept="${{kept:+$kept }}$word" ;;
    esac
done
{name}=$kept
"""
    if "GRUB_CMDLINE_LINUX" in own and kernel_cmdline.split():
        # Keep the words of the other drop-ins.
        lines += f"""\
for word in {" ".join(shlex.quote(word) for word in kernel_cmdline.split())}; do
    case " $GRUB_CMDLINE_LINUX " in
    *" $word "*) ;;
    *) GRUB_CMDLINE_LINUX="${{GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }}$word" ;;
    esac
done
"""
    comment = "# Settings of the encrypted boot that other files here would override.\n"
    return f"{comment}{lines}" if lines else ""


def plan(
    tree: Tree,
    drop_ins: t.Sequence[str],
    *,
    kernel_cmdline: str,
    root_device: str,
    debug_console: bool = False,
) -> t.List[str]:
    """Plan /etc/default/grub, and a drop-in if another one would override it; return the names of removed words.

    Only the names, because the result goes to the manifest and a value can be a password.
    Without *debug_console*, GRUB's editor and shell are closed.
    """
    if debug_console:
        tree.remove(cfg.MENU_SCRIPT)
    else:
        tree.write(cfg.MENU_SCRIPT, cfg.MENU_SCRIPT_TEXT, mode=0o755)
    text = tree.text(DEFAULTS)
    wanted, dropped = settings(text, kernel_cmdline, root_device)
    for name, value in wanted.items():
        text = shell_defaults.assign(text, name, value)
    # Menu entries have the root's UUID in their name, or its device if GRUB_DISABLE_UUID is set.
    default = shell_defaults.values(text).get("GRUB_DEFAULT", "")
    if _UUID.search(default):
        text = shell_defaults.assign(text, "GRUB_DEFAULT", _UUID.sub(root_device, default))
    tree.write(DEFAULTS, text, secret=True)
    others = [shell_defaults.values(tree.text(other)) for other in drop_ins]
    words = [word for other in others for name in CMDLINES for word in other.get(name, "").split()]
    unwanted = cfg.unwanted(kernel_cmdline.split())
    old = {word for word in words if unwanted(word)} - {*kernel_cmdline.split()}
    own = drop_in({name for other in others for name in other}, wanted, kernel_cmdline, old)
    if own:
        tree.write(OWN_DROP_IN, own, secret=True)
    return list(dict.fromkeys(map(_name, [*dropped, *sorted(old)])))


__all__ = ("DEFAULTS", "DROP_INS", "OWN_DROP_IN", "drop_in", "plan", "settings")
