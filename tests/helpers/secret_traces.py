# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What anyone can make of a secret without salt, looked for in what anyone may read."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import re
import subprocess
import typing as t

from image_compare import flat
from image_view import ROOT_OFFSET

# Whatever is longer begins with it. Chance makes no 16 characters.
LENGTH = 16
ENCODINGS: dict[str, t.Callable[[bytes], bytes]] = {
    "raw": bytes,
    "hex": lambda data: data.hex().encode(),
    "HEX": lambda data: data.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "base32": base64.b32encode,
}
# Under such a name a number speaks of a secret.
SPEAKING = re.compile(r"boot|recovery|key|pass|secret|hash")
# LUKS1 has its key slots in front of this, from the beginning of its partition.
HEADER_BYTES = 2 << 20


def digests(data: bytes) -> dict[str, bytes]:
    """Return all digests that hashlib knows; the shorter ones of an XOF are what its longer ones begin with."""
    found = {}
    for name in sorted(hashlib.algorithms_available):
        try:
            digest: t.Any = hashlib.new(name, data)
        except ValueError:
            continue  # OpenSSL names it and does not make it
        found[name] = digest.digest(64) if digest.digest_size == 0 else digest.digest()
    return found


def needles(secrets: t.Mapping[str, bytes], *, plain: bool = False) -> dict[bytes, str]:
    """Return how everything begins that is made of the secrets, and what it is; *plain* is without digests."""
    found: dict[bytes, str] = {}
    for secret, content in secrets.items():
        for end, data in (("", content), (" and newline", content + b"\n")):
            made = {"": data, **({} if plain else digests(data))}
            for algorithm, value in made.items():
                for encoding, encode in ENCODINGS.items():
                    what = " ".join(f"{encoding} {algorithm} of {secret}{end}".split())
                    found.setdefault(encode(value)[:LENGTH], what)
    return found


def search(data: bytes, wanted: t.Mapping[bytes, str]) -> list[str]:
    """Say which of the needles are in *data*."""
    return [what for needle, what in wanted.items() if needle in data]


def sizes(document: t.Any, secrets: t.Mapping[str, bytes]) -> list[str]:
    """Name the numbers in a JSON document that are the length of a secret, under a name that speaks of one."""
    lengths = {len(content) + more for content in secrets.values() for more in (0, 1)}
    return [
        f"{path} is {value}"
        for path, value in flat(document).items()
        if type(value) is int and value in lengths and SPEAKING.search(path)
    ]


def clear_areas(disk: pathlib.Path, raw: pathlib.Path) -> bytes:
    """Return what of a disk is not encrypted: all up to the payload of LUKS1, and the end."""
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True, timeout=300)
    with raw.open("rb") as file:
        data = file.read(ROOT_OFFSET + HEADER_BYTES)
        file.seek(-(1 << 20), 2)
        data += file.read()
    raw.unlink()
    return data


def in_public(directory: pathlib.Path, output: str, secrets: t.Mapping[str, bytes]) -> list[str]:
    """Say what of the secrets is in an image's files that others may read, their names and the play's output."""
    wanted = needles(secrets)
    found = [f"output: {what}" for what in search(output.encode(), wanted)]
    for path in directory.rglob("*"):
        found += [f"name of {path}: {what}" for what in search(path.name.encode(), wanted)]
        if path.suffix == ".json":
            found += [f"{path.name}: {what}" for what in search(path.read_bytes(), wanted)]
            found += [
                f"{path.name}: {what}" for what in sizes(json.loads(path.read_text()), secrets)
            ]
    return found


__all__ = ("clear_areas", "in_public", "needles", "search", "sizes")
