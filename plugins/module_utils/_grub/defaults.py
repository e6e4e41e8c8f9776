# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Plan the settings of grub-mkconfig for an encrypted boot.

/etc/default/grub and its drop-ins are shell, so a shell reads them, and they stay as they are. Ours are read last.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

DEFAULTS = "/etc/default/grub"
CMDLINES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")
_NAMES = (*CMDLINES, "GRUB_DEFAULT", "GRUB_DEVICE")
_PROGRAMS = ("/usr/sbin", "/usr/bin")
# In grub-mkconfig of Debian and its relatives alone (docs/facts.md: grub-drop-ins).
_READS_DROP_INS = "/default/grub.d/"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The name at the beginning of a kernel word.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_BEGIN = (
    "# Settings of the encrypted boot (sealedroot.image). They come last, so that they count.\n"
)
_END = "# End of the settings of the encrypted boot.\n"
_BLOCK = re.compile(rf"\n?{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
# As grub-mkconfig reads the files: in one shell, which ends where a command fails (docs/facts.md: grub-mkconfig-ends).
# ulimit: a value can double its size with each line.
_SHOW = """\
set -e
ulimit -v 262144
sealedroot_last=$1
shift
for sealedroot_file; do
    . "$sealedroot_file" >&2
done
eval "$sealedroot_last" >&2
printf '%s\\0' {}
""".format(" ".join(f'"${{{name}-}}"' for name in _NAMES))


def _words(text: str) -> t.List[str]:
    """Return the words of a command line, as a shell splits it."""
    return re.findall(r"[^ \t\n]+", text)


def place(tree: Tree, mkconfig: str) -> str:
    """Return the file of our settings: a drop-in, if the program of the name *mkconfig* reads any."""
    texts = [tree.text(f"{top}/{mkconfig}") for top in _PROGRAMS]
    return drop_ins.GRUB if any(_READS_DROP_INS in text for text in texts) else DEFAULTS


def values(runner: Runner, tree: Tree, own: str, *, ours: bool, last: str = "") -> t.Dict[str, str]:
    """Return the values that grub-mkconfig gets; *own* is the file of our settings, which count if *ours*.

    *last* is shell that is read after all files.
    """
    text = tree.text(DEFAULTS)
    paths = []
    if own == DEFAULTS:
        # Our block will follow the last line, so that this may be a false test.
        text = text if ours else _BLOCK.sub("", text) + "\n:\n"
    else:
        found = sorted(glob.glob(tree.path(f"{os.path.dirname(own)}/*.cfg")))
        paths = [path for path in found if ours or path != tree.path(own)]
        for path in paths:
            # Refuse what is no regular file.
            tree.text(f"{os.path.dirname(own)}/{os.path.basename(path)}")
    argv = [runner.find("sh"), "-c", _SHOW, "sh", last, "/dev/stdin", *paths]
    data = text.encode("utf-8", "surrogateescape")
    done = runner.run(argv, stdin=data, check=False, timeout=60)
    shown = done.stdout.split("\0")
    if done.rc or len(shown) != len(_NAMES) + 1:
        raise SealedRootError(
            f"no shell can read {DEFAULTS} and its drop-ins to the end, so grub-mkconfig cannot either: correct them."
            " It ends where a command fails, also at a false test in the last line of a file: end that with || :"
            f" ({done.stderr.strip()[-500:] or 'the shell says nothing'})"
        )
    return dict(zip(_NAMES, shown))


def _pattern(word: str, ours: t.Sequence[str]) -> str:
    """Return the pattern of a word to take out: of any value, which a command can make anew, if none is wanted."""
    name, equals, _value = word.partition("=")
    is_ours = guest.name_of(word) in map(guest.name_of, ours)
    is_any = equals and not is_ours and guest.unwanted(ours)(f"{name}=")
    return f"{shlex.quote(f'{name}=')}*" if is_any else shlex.quote(word)


def _cmdline(name: str, old: t.Sequence[str], added: t.Sequence[str]) -> str:
    """Return shell that takes the patterns *old* out of a command line, and appends the words *added* that it lacks."""
    lines = ["set -f", "unset IFS", "kept=" if old else f"kept=${{{name}-}}"]
    if old:
        lines += [f"for word in ${{{name}-}}; do", "    case $word in"]
        lines += [f"    ({' | '.join(old)}) ;;"]
        lines += ['    (*) kept="${kept:+$kept }$word" ;;', "    esac", "done"]
    if added:
        lines += [f"for word in {' '.join(map(shlex.quote, added))}; do"]
        lines += ['    case " $kept " in', '    (*" $word "*) ;;']
        lines += ['    (*) kept="${kept:+$kept }$word" ;;', "    esac", "done"]
    body = "".join(f"    {line}\n" for line in [*lines, "printf '%s\\n' \"$kept\""])
    # An edit of the line that assigns must not break the file (sed, lineinfile, grubby).
    made = f'sealedroot_words=$(\n{body})\n{name}="$sealedroot_words"\n'
    return made if old or added else ""


def settings(
    have: t.Mapping[str, str], kernel_cmdline: str, root_device: str
) -> t.Tuple[str, t.List[str]]:
    """Return our settings as shell, and the words that they remove; *have* are the values without them."""
    ours = kernel_cmdline.split()
    unwanted = guest.unwanted(ours)
    # What GRUB_ENABLE_CRYPTODISK has to be (docs/facts.md: enable-cryptodisk).
    old = {
        name: [it for it in dict.fromkeys(_words(have[name])) if unwanted(it) and it not in ours]
        for name in CMDLINES
    }
    text = f"""\
{_BEGIN}\
# Exactly y: grub-mkconfig accepts nothing else.
GRUB_ENABLE_CRYPTODISK=y
# The firmware's console also uses the serial line; a graphical terminal does not.
GRUB_TERMINAL="${{GRUB_TERMINAL-console}}"
# os-prober would search the builder's disks for other systems.
GRUB_DISABLE_OS_PROBER=true
# Name the root by the guest's own device name: root=UUID= also matches a disk of the host with that UUID.
GRUB_DEVICE={shlex.quote(root_device)}
GRUB_DISABLE_LINUX_UUID=true
GRUB_DISABLE_LINUX_PARTUUID=true
GRUB_FORCE_PARTUUID=
# GRUB must not search for the volume that it has open.
GRUB_DISABLE_UUID=true
# Recovery entries have "single", which starts sulogin(8).
GRUB_DISABLE_RECOVERY=true
"""
    # Menu entries have the root's UUID in their name, or its device if GRUB_DISABLE_UUID is set.
    default = have["GRUB_DEFAULT"]
    if _UUID.search(default):
        new = shlex.quote(_UUID.sub(lambda _match: root_device, default))
        text += f'[ "${{GRUB_DEFAULT-}}" != {shlex.quote(default)} ] || GRUB_DEFAULT={new}\n'
    patterns = {
        name: list(dict.fromkeys(_pattern(it, ours) for it in words)) for name, words in old.items()
    }
    text += "".join(
        _cmdline(name, patterns[name], ours if name == "GRUB_CMDLINE_LINUX" else ())
        for name in CMDLINES
    )
    return f"{text}{_END}", [it for name in CMDLINES for it in old[name]]


def plan(
    runner: Runner,
    tree: Tree,
    *,
    mkconfig: str,
    kernel_cmdline: str,
    root_device: str,
    debug_console: bool = False,
) -> t.List[str]:
    """Plan our settings for the program of the name *mkconfig*; return the names of removed words.

    Only the names, because the result goes to the manifest and a value can be a password.
    Without *debug_console*, GRUB's editor and shell are closed.
    """
    if debug_console:
        tree.remove(cfg.MENU_SCRIPT)
    else:
        tree.write(cfg.MENU_SCRIPT, cfg.MENU_SCRIPT_TEXT, mode=0o755)
    own = place(tree, mkconfig)
    have = values(runner, tree, own, ours=False)
    text, old = settings(have, kernel_cmdline, root_device)
    if own == DEFAULTS:
        others = _BLOCK.sub("", tree.text(DEFAULTS))
        # A line that has no end would take ours in.
        text = f"{others}\n{text}" if others else text
    tree.write(own, text, secret=True)
    # A root can end the file early, or keep us from setting what it has set.
    is_block = own == DEFAULTS
    found = values(runner, tree, own, ours=is_block, last="" if is_block else text)
    if found["GRUB_DEVICE"] != root_device:
        raise SealedRootError(
            f"{DEFAULTS} ends before its end (by return, or in a here-document that is not closed), so our settings"
            " there would not count: take that out"
        )
    names = ("".join(_NAME.findall(word)[:1]) for word in old)
    return list(dict.fromkeys(names))


__all__ = ("CMDLINES", "DEFAULTS", "place", "plan", "settings", "values")
