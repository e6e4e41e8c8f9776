# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The script that opens the volume with a launch secret, which firmware leaves in memory: pure.

It is in the memdisk of a core image that a confidential guest is started from, so it is measured
(docs/facts.md: grub-memrw).
"""

from __future__ import annotations

import string
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf, secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, own_volume

_CHARACTERS = f"{string.ascii_letters}{string.digits}+/="
NO_SECRET = "No launch secret opens the disk."


def script(
    *, luks_uuid: str, directory: str, area: ovmf.Area, ask: bool = False, prompt: bool = False
) -> str:
    """Return the script that reads the key from an *area* of the firmware, erases that and opens the volume.

    Anything but the table with one key of the build's form is no secret. If none opens the volume, the script asks for
    the key if *prompt* says so, or halts. The menu is that of cfg.unlock_script, if the volume
    is this image's own.
    """
    uuid = luks_uuid.replace("-", "")
    menu = own_volume.checked(
        cfg.menu_lines(luks_uuid=luks_uuid, directory=directory, ask=ask),
        prefix=cfg.prefix(luks_uuid, directory),
    )
    asking = [*cfg.ask_lines(luks_uuid=luks_uuid, menu=menu), *cfg.REFUSED]
    lines = [
        *cfg.CLOSED,
        *_read(area),
        # Without a key, cryptomount would ask for one.
        'if [ -n "$key" ]; then',
        f'  if cryptomount -p "$key" -u {uuid}; then',
        "    unset key",
        *(f"    {line}" for line in menu),
        "  fi",
        "fi",
        "unset key",
        f'echo "{NO_SECRET}"',
        *(asking if prompt else ("sleep 3", "halt")),
    ]
    return "".join(f"{line}\n" for line in lines)


def _read(area: ovmf.Area) -> t.List[str]:
    """Return lines that set ``key`` to the key in the area, and leave nothing there but zeros."""
    place = secret_table.place()
    return [
        "set key=",
        *_if_there(area.base, place.table),
        *(f"  {line}" for line in _if_there(area.base, place.entry)),
        # memrw gives a byte as a number in hexadecimal.
        *(f'    set c_{ord(it):x}="{it}"' for it in _CHARACTERS),
        f"    for at in {_numbers(area.base + place.key, secret_table.KEY_BYTES)}; do",
        "      read_byte -v byte $at",
        '      eval "set key=\\"\\${key}\\${c_$byte}\\""',
        "    done",
        "    unset byte",
        "  fi",
        "fi",
        # Whatever was there, nobody is to read it later.
        f"for row in {_numbers(area.base // secret_table.ROW, area.size // secret_table.ROW)}; do",
        *(f"  write_dword ${{row}}{column} 0" for column in "048c"),
        "done",
    ]


def _if_there(base: int, numbers: t.Mapping[int, int]) -> t.List[str]:
    """Return lines that begin what is done if the numbers are in memory, each at its offset from *base*."""
    found = "/".join(f"$word_{offset}" for offset in numbers)
    wanted = "/".join(f"{number:x}" for number in numbers.values())
    return [
        *(f"read_dword -v word_{offset} {base + offset:#x}" for offset in numbers),
        f'if [ "{found}" = "{wanted}" ]; then',
    ]


def _numbers(first: int, count: int) -> str:
    return " ".join(f"{number:#x}" for number in range(first, first + count))


__all__ = ("NO_SECRET", "script")
