# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Parse a GRUB core image for EFI: modules, early configuration and prefix.

``grub-mkimage`` appends them to the kernel as a list of objects after a header that begins with
``mimg`` (GRUB: include/grub/kernel.h, ``struct grub_module_info64``).
"""

from __future__ import annotations

import dataclasses
import struct
import typing as t

_INFO = struct.Struct("<4sIQQ")
_OBJECT = struct.Struct("<II")
# The code can contain these four letters by chance, but not often.
_MOST_HEADERS = 16
_WORD = 8
_ELF, _MEMDISK, _CONFIG, _PREFIX = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Core:
    """The parts of a core image."""

    config: str
    prefix: str
    modules: t.FrozenSet[str]
    memdisk: bytes = b""
    # GRUB takes the first of two memdisks, and runs modules that have no name.
    is_odd: bool = False
    # Each module by its name, which may be empty or occur twice.
    code: t.Tuple[t.Tuple[str, bytes], ...] = dataclasses.field(
        default=(), repr=False, compare=False
    )


def parse(data: bytes) -> t.Optional[Core]:
    """Return the parts of the core image *data*; None if it is another program."""
    base = -1
    for _number in range(_MOST_HEADERS):
        base = data.find(b"mimg", base + 1)
        core = _parse_at(data, base) if base >= 0 else None
        if core or base < 0:
            return core
    return None


def _parse_at(data: bytes, base: int) -> t.Optional[Core]:
    if base + _INFO.size > len(data):
        return None
    _magic, _padding, offset, size = _INFO.unpack_from(data, base)
    end = base + size
    position = base + offset
    # The code can contain these four letters by chance.
    if not (_INFO.size <= offset <= size and end <= len(data)):
        return None
    config, prefix, memdisk = "", "", b""
    code, kinds = [], []
    while position + _OBJECT.size <= end:
        kind, length = _OBJECT.unpack_from(data, position)
        if length < _OBJECT.size or position + length > end:
            return None
        body = data[position + _OBJECT.size : position + length]
        kinds.append(kind)
        if kind == _ELF:
            code.append((_module_name(body), body))
        elif kind == _MEMDISK:
            memdisk = body
        elif kind == _CONFIG:
            config += _text(body)
        elif kind == _PREFIX:
            prefix = _text(body)
        position += length
    single = [kinds.count(it) for it in (_MEMDISK, _CONFIG, _PREFIX)]
    modules = frozenset(name for name, _body in code)
    known = {_ELF, _MEMDISK, _CONFIG, _PREFIX}
    is_odd = max(single) > 1 or "" in modules or not known.issuperset(kinds)
    return Core(config, prefix, modules - {""}, memdisk, is_odd, tuple(code))


def is_of(body: bytes, file: bytes) -> bool:
    """Say whether a module of a core image is that file, which zeros fill up (docs/facts.md: core-modules)."""
    return len(file) <= len(body) < len(file) + _WORD and body == file.ljust(len(body), b"\0")


def _text(body: bytes) -> str:
    return body.split(b"\0", 1)[0].decode("utf-8", "replace")


def _module_name(elf: bytes) -> str:
    """Return the content of the section ``.modname`` of a 32-bit or 64-bit ELF module."""
    try:
        if elf[4] == 2:  # ELFCLASS64
            (table,) = struct.unpack_from("<Q", elf, 0x28)
            size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
            fields, layout, least = 0x18, "<QQ", 64
        else:
            (table,) = struct.unpack_from("<I", elf, 0x20)
            size, count, names_index = struct.unpack_from("<HHH", elf, 0x2E)
            fields, layout, least = 0x10, "<II", 40

        # Skip a table that does not fit: walking it takes long, once for each module.
        if size < least or table + count * size > len(elf):
            return ""

        def section(index: int) -> bytes:
            start, length = struct.unpack_from(layout, elf, table + index * size + fields)
            return elf[start : start + length]

        names = section(names_index)
        for index in range(count):
            (name,) = struct.unpack_from("<I", elf, table + index * size)
            if names[name : name + 9] == b".modname\0":
                return _text(section(index))
    except (struct.error, IndexError):
        pass
    return ""


__all__ = ("Core", "is_of", "parse")
