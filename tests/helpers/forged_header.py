# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile host makes of a LUKS2 header: it needs no key, only right checksums."""

from __future__ import annotations

import collections.abc
import hashlib
import json
import pathlib
import typing as t

COPY = 16384
BINARY = 4096
CHECKSUM = slice(448, 512)


def forge(path: pathlib.Path, edit: collections.abc.Callable[[t.Any], object]) -> None:
    """Change the metadata of both copies of the header at the beginning of *path*."""
    with path.open("r+b") as file:
        for start in (0, COPY):
            file.seek(start)
            header = bytearray(file.read(COPY))
            assert int.from_bytes(header[8:16], "big") == COPY
            metadata = json.loads(bytes(header[BINARY:]).rstrip(b"\0"))
            edit(metadata)
            text = json.dumps(metadata, separators=(",", ":")).encode()
            header[BINARY:] = text.ljust(COPY - BINARY, b"\0")
            header[CHECKSUM] = bytes(64)
            header[CHECKSUM] = hashlib.sha256(header).digest().ljust(64, b"\0")
            file.seek(start)
            file.write(header)
