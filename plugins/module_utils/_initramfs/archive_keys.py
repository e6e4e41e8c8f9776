# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check which keys an initramfs holds, in a closed image or after a machine's key was exchanged."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    drop_ins,
    fstab,
    shell_defaults,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import archive, guest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system import secret_search
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import Runner

# crypttab for the root in an initramfs of initramfs-tools, and of dracut and mkinitcpio.
TABLES = ("/cryptroot/crypttab", "/etc/crypttab")
# Words that dracut adds to those of the kernel, lines that it or systemd mounts, and the configuration of
# initramfs-tools's init (docs/facts.md: dracut-lists, docs/facts.md: initramfs-variables).
_WORDS = re.compile(r"/etc/cmdline|/etc/cmdline\.d/.*", re.DOTALL)
_MOUNTS, _MOUNTS_ALL = "/etc/fstab", "/etc/fstab.sys"
_CONF = "/conf/"
# Returns problems of the pinned headers in an initramfs, which are given by their paths in the root.
JudgeHeader = t.Callable[[t.Mapping[str, bytes]], t.List[str]]


def only(name: str, problem: t.Callable[[bytes], str]) -> JudgeHeader:
    """Return a judge that wants the header *name* alone in the initramfs, with a content that has no *problem*."""

    def judge(found: t.Mapping[str, bytes]) -> t.List[str]:
        if set(found) != {name}:
            have = ", ".join(sorted(found)) or "no pinned header"
            return [f"it holds {have}, not {name}: it would open whatever header the host has"]
        why = problem(found[name])
        return [why] if why else []

    return judge


def same(name: str, content: bytes) -> JudgeHeader:
    """Return a judge that wants exactly this header in the initramfs."""
    other = f"{name} in it is another than in the root"
    return only(name, lambda found: "" if found == content else other)


def problems(
    runner: Runner,
    path: str,
    *,
    boot_key: bytes,
    others: t.Mapping[str, bytes],
    header: JudgeHeader,
    files: t.Mapping[str, str],
) -> t.List[str]:
    """Return problems of an initramfs: it must hold the boot key once, none of *others*, and a good header.

    *files* are the programs that it must contain, with their content by name.
    It is unpacked in the directory of *path*; a key can be in any of the unpacked files.
    """
    found_problems: t.List[str] = []
    count = 0
    needles = {"boot": boot_key, **{f"other {name}": key for name, key in others.items()}}
    headers: t.Dict[str, bytes] = {}
    tables: t.Dict[str, bytes] = {}
    programs: t.Dict[str, bytes] = {}
    told: t.Dict[str, bytes] = {}
    for part in archive.unpack(runner, path):
        handle = os.open(part.path, os.O_RDONLY)
        try:
            headers.update(
                _files(handle, part, lambda name: name.startswith(f"{pinned_header.DIRECTORY}/"))
            )
            tables.update(_files(handle, part, TABLES.__contains__))
            told.update(_files(handle, part, _tells))
            programs.update(_files(handle, part, files.__contains__, mode=0o100))
            # Do not search compressed data: a compressor can store a key unchanged, and the unpacked copy is searched.
            offsets = secret_search.offsets(handle, needles, [(0, part.end)])
        finally:
            os.close(handle)
        places = offsets.pop("boot", [])
        count += len(places)
        for entry in (archive.holder(part, place) for place in places):
            if entry is None or entry.size != len(boot_key):
                found_problems.append("the boot key is not a file of its own")
            elif entry.mode & 0o077 or entry.uid != 0:
                found_problems.append(f"{entry.name} can be read by others than root: make it 0400")
        found_problems += [f"the {label[len('other ') :]} is in it" for label in offsets]
    if count != 1:
        found_problems.append(
            f"it holds the boot key {count} times, not once: "
            + ("the machine would ask a second time" if count == 0 else "remove the copies")
        )
    for name, table in tables.items():
        for row in fstab.rows(table.decode("utf-8", "replace")):
            if not fstab.path_of(row[1]) and [*headers] != fstab.headers(row):
                found_problems.append(
                    f"its {name} opens {row[0]} with another header than the pinned one"
                )
    found_problems += [
        f"it has no {name} that is the root's: make it again"
        for name, text in files.items()
        if programs.get(name) != text.encode()
    ]
    return [*found_problems, *_told(told), *_mounts(told, tables), *header(headers)]


def _tells(name: str) -> bool:
    """Say whether a file of an initramfs tells it what to do."""
    is_table = name in (_MOUNTS, _MOUNTS_ALL)
    return is_table or bool(_WORDS.fullmatch(name)) or name.startswith(_CONF)


def _mounts(files: t.Mapping[str, bytes], tables: t.Mapping[str, bytes]) -> t.List[str]:
    """Return problems of what an initramfs mounts besides the root; it opens what is in its *tables*."""

    def rows(data: bytes) -> fstab.Rows:
        return fstab.rows(data.decode("utf-8", "replace"))

    opened = [row for table in tables.values() for row in rows(table)]
    # dracut mounts every line of the second, whatever its options say.
    mounted: t.Mapping[str, t.Sequence[fstab.Row]] = {
        _MOUNTS: sorted(fstab.mounted(rows(files.get(_MOUNTS, b"")), opened)),
        _MOUNTS_ALL: rows(files.get(_MOUNTS_ALL, b"")),
    }
    own = {f"/dev/mapper/{row[0]}" for row in opened}
    return [
        f"its {name} mounts {it.name}, which the host can supply"
        for name, lines in mounted.items()
        for it in (fstab.taken(row, own) for row in lines)
        if it
    ]


def _told(files: t.Mapping[str, bytes]) -> t.List[str]:
    """Return problems of what the files of an initramfs tell it besides the kernel command line."""
    texts = {name: data.decode("utf-8", "replace") for name, data in sorted(files.items())}
    found = []
    for name, text in texts.items():
        words = filter(guest.unwanted(), text.split()) if _WORDS.fullmatch(name) else ()
        names = ", ".join(dict.fromkeys(word.partition("=")[0] for word in words))
        if names:
            found.append(
                f"its {name} has words of the kernel about disks, or that undo ours: {names}"
            )
    confs = [name for name in texts if name.startswith(f"{_CONF}conf.d/")]
    own = f"{_CONF}conf.d/{os.path.basename(drop_ins.INITRAMFS_TOOLS)}"
    if own in confs:
        have = shell_defaults.values("\n".join(texts[name] for name in confs))
        ours = {name: (value,) for name, value in shell_defaults.values(texts[own]).items()}
        settings = {**ours, **drop_ins.INITRAMFS_SETTINGS, **drop_ins.INITRAMFS_VARIABLES}
        for name, values in settings.items():
            if have.get(name) not in values:
                found.append(
                    f"its {confs[-1]} has the last word, and {name} is not {values[0] or 'empty'}"
                )
    return found


def _files(
    handle: int, part: archive.Part, wanted: t.Callable[[str], bool], mode: int = 0
) -> t.Dict[str, bytes]:
    """Return the files of a part of an initramfs that are *wanted* and have the bits of *mode*.

    If a name occurs twice, the later file wins.
    """
    contents = {}
    for entry in part.entries:
        name = f"/{entry.name.lstrip('./')}"
        if wanted(name) and stat.S_ISREG(entry.mode) and entry.mode & mode == mode:
            contents[name] = os.pread(handle, entry.size, entry.offset)
    return contents


__all__ = ("JudgeHeader", "only", "problems", "same")
