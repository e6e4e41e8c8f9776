# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What /etc/default/grub and its drop-ins are to say for an encrypted boot."""

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
# How a word of a kernel command line begins.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
CMDLINES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")


def _name(word: str) -> str:
    return "".join(_NAME.findall(word)[:1])


def settings(
    text: str, kernel_cmdline: str, root_device: str
) -> t.Tuple[t.Dict[str, str], t.List[str]]:
    """Return what /etc/default/grub is to say, and the words that leave its command lines."""
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
    # Exactly y: grub-mkconfig takes nothing else (docs/facts.md: enable-cryptodisk).
    wanted["GRUB_ENABLE_CRYPTODISK"] = "y"
    # The firmware's console is on the serial line too; a graphical terminal would not be.
    wanted["GRUB_TERMINAL"] = have.get("GRUB_TERMINAL", "console")
    # Other systems would be looked for on the builder's disks.
    wanted["GRUB_DISABLE_OS_PROBER"] = "true"
    # The root by the name that the guest gives: root=UUID= finds every disk of the host that has that UUID.
    wanted["GRUB_DEVICE"] = root_device
    wanted["GRUB_DISABLE_LINUX_UUID"] = "true"
    # Nor does GRUB search for what it has open.
    wanted["GRUB_DISABLE_UUID"] = "true"
    # "single" leads to sulogin(8).
    wanted["GRUB_DISABLE_RECOVERY"] = "true"
    return wanted, dropped


def drop_in(
    overridden: t.Container[str],
    wanted: t.Mapping[str, str],
    kernel_cmdline: str,
    old: t.Collection[str],
) -> str:
    """Return the drop-in that has the last word about what others override; empty for none.

    *old* are words about disks of another machine that others put on the command lines.
    """
    own = {name: value for name, value in wanted.items() if name in overridden}
    if "GRUB_FORCE_PARTUUID" in overridden:
        own["GRUB_FORCE_PARTUUID"] = ""  # another disk's partition
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
        # The words of the others stay.
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
    """Plan /etc/default/grub, and a drop-in where another one would have the last word; name the old words.

    No more than their names: the manifest has them, and what comes behind a name can be a password.
    Unless there is to be a *debug_console*, GRUB's editor and shell close.
    """
    if debug_console:
        tree.remove(cfg.MENU_SCRIPT)
    else:
        tree.write(cfg.MENU_SCRIPT, cfg.MENU_SCRIPT_TEXT, mode=0o755)
    text = tree.text(DEFAULTS)
    wanted, dropped = settings(text, kernel_cmdline, root_device)
    for name, value in wanted.items():
        text = shell_defaults.assign(text, name, value)
    # The names of menu entries have the UUID of the root in them, or its device where GRUB_DISABLE_UUID is set.
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
