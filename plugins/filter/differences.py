# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter that locates differences between a disk and its conversion."""

from __future__ import annotations

import re
import typing as t


def located(said: str, root: t.Mapping[str, t.Any], *, luks_type: str) -> str:
    """Add the part of the disk to each offset in *said*; *root* has offset and size of the LUKS partition."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
    from ansible_collections.sealedroot.image.plugins.module_utils._luks.findings import (
        PAYLOAD_OFFSETS,
    )

    start, size = int(root["offset"]), int(root["size"])
    payload = start + PAYLOAD_OFFSETS[luks_type]
    # Listed from the end: the first part that begins at or before an offset contains it.
    parts = (
        (start + size, "the backup of the partition table"),
        (payload, "the encrypted data"),
        (start, "the LUKS header"),
        (partitions.MIB, "the EFI system partition"),
        (0, "the partition table"),
    )

    def place(match: t.Match[str]) -> str:
        offset = int(match.group(1))
        begin, part = next(it for it in parts if it[0] <= offset)
        return f"{match.group(0)} (byte {offset - begin} of {part})"

    return re.sub(r"\boffset ([0-9]{1,19})\b", place, said)


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., str]]:
        return {"located": located}
