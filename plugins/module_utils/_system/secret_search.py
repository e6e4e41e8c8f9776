# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Search files for a secret, in any encoding in which it may have been written."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import typing as t

CHUNK = 1 << 20
# Random data would contain a shorter needle by chance.
SHORTEST = 8
# A piece of a digest of this length is enough to test guesses, in any encoding.
TRACE = 16
# JSON allows an escape for any character of a string (RFC 8259).
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t'))
# A JSON string can hold a JSON document, as in a log.
_DOCUMENTS = (", in JSON", ", in JSON in JSON")
# Separators between the bytes of a digest, as programs print fingerprints (aa:bb:cc).
_PARTED = re.compile(rb"(?<=[0-9a-fA-F]{2})[: -](?=[0-9a-fA-F]{2})")

Range = t.Tuple[int, int]


def forms(secret: bytes) -> t.Dict[str, bytes]:
    """Return the encodings in which *secret* could have been left behind, by name."""
    needles = {
        "as it is": secret,
        "hexadecimal": secret.hex().encode("ascii"),
        "upper-case hexadecimal": secret.hex().upper().encode("ascii"),
        "UTF-16LE": secret.decode("latin-1").encode("utf-16-le"),
    }
    for shift in range(3):
        # The base64 depends on where the secret begins in the encoded data. Cut off both ends,
        # which encode neighbouring bytes as well.
        encoded = base64.b64encode(bytes(shift) + secret)
        first = 0 if shift == 0 else 4
        last = (shift + len(secret)) // 3 * 4
        needles[f"base64 (shifted by {shift})"] = encoded[first:last]
    decoded = _decoded(secret)
    if decoded:
        needles["decoded from base64"] = decoded
        needles["decoded from base64, hexadecimal"] = decoded.hex().encode("ascii")
    return {name: needle for name, needle in needles.items() if len(needle) >= SHORTEST}


def _decoded(secret: bytes) -> t.Optional[bytes]:
    """Decode *secret* from base64. A generated key is often base64, a passphrase hardly ever."""
    try:
        decoded = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(decoded) >= 2 * SHORTEST else None


def digests(secret: bytes) -> t.Dict[str, bytes]:
    """Return every digest of *secret*, by name and encoding: anyone who has a digest can test guesses with it."""
    found = {}
    for data, end in ((secret, ""), (secret + b"\n", " and a newline")):
        for algorithm in sorted(hashlib.algorithms_available):
            try:
                digest: t.Any = hashlib.new(algorithm, data)
            except ValueError:
                continue  # OpenSSL lists the name but does not implement it
            value = digest.digest(64) if digest.digest_size == 0 else digest.digest()
            for encoding, encoded in (
                ("in bytes", value),
                ("in hexadecimal", value.hex().encode("ascii")),
                ("in upper-case hexadecimal", value.hex().upper().encode("ascii")),
                ("in base64", base64.b64encode(value)),
                ("in base64url", base64.urlsafe_b64encode(value)),
                ("in base32", base64.b32encode(value)),
                ("in lower-case base32", base64.b32encode(value).lower()),
            ):
                found[f"{algorithm} of it{end}, {encoding}"] = encoded
    return found


class Traces:
    """Finds pieces of *needles* of at least TRACE bytes, at any position in a text and in the needle.

    Any TRACE bytes of a text contain an aligned word: TRACE/2 bytes at an offset that is a multiple of TRACE/2.
    So it is enough to look up the aligned words of the text among all words of the needles.
    """

    _WORD = TRACE // 2

    def __init__(self, needles: t.Mapping[str, bytes]) -> None:
        self._needles = needles
        self._words: t.Dict[bytes, t.List[t.Tuple[str, int]]] = {}
        for name, needle in needles.items():
            for at in range(len(needle) - self._WORD + 1 if len(needle) >= TRACE else 0):
                self._words.setdefault(needle[at : at + self._WORD], []).append((name, at))

    def found(self, text: bytes) -> t.List[str]:
        """Return the names of the needles that have a piece in *text*, each once."""
        size, words = self._WORD, self._words
        hits = [at for at in range(0, len(text), size) if text[at : at + size] in words]
        names = {
            name: None
            for at in hits
            for name, place in words[text[at : at + size]]
            if self._common(text, at, self._needles[name], place) >= TRACE
        }
        return list(names)

    def _common(self, text: bytes, at: int, needle: bytes, place: int) -> int:
        """Return the length of the common piece around a common word."""
        before, after = 0, self._WORD
        while before < min(at, place) and text[at - before - 1] == needle[place - before - 1]:
            before += 1
        most = min(len(text) - at, len(needle) - place)
        while after < most and text[at + after] == needle[place + after]:
            after += 1
        return before + after


def _character(escape: t.Match[bytes]) -> bytes:
    code, letter = escape.groups()
    if code is None:
        return bytes([_ESCAPED[letter[0]]])
    return chr(int(code, 16)).encode("utf-8", "surrogatepass")


def _readings(text: bytes) -> t.Dict[str, bytes]:
    """Return a text unchanged and decoded as other programs may read it, by name of the decoding.

    Escapes are decoded anywhere in the text, because it can be a part of a JSON document.
    """
    found = {"": text}
    for how in _DOCUMENTS:
        read = _ESCAPE.sub(_character, text)
        if read != text:
            found[how] = text = read
    joined = _PARTED.sub(b"", text)
    return found if joined == text else {**found, ", in pairs of digits": joined}


def published(texts: t.Mapping[str, bytes], secrets: t.Mapping[str, bytes]) -> t.List[str]:
    """Report each secret in the published *texts*: the secret itself, a digest, or a piece of a digest."""
    found = []
    searched = [(forms(content), Traces(digests(content))) for content in secrets.values()]
    for name, text in texts.items():
        readings = _readings(text)
        for secret, (needles, traces) in zip(secrets, searched):
            hits: t.Dict[str, str] = {}
            for how, reading in readings.items():
                there = [it for it, needle in needles.items() if needle in reading]
                for it in (*there, *traces.found(reading)):
                    hits.setdefault(it, how)
            found += [f"{name} has the {secret} ({it}{how})" for it, how in hits.items()]
    return found


def pieces(secret: bytes) -> t.Tuple[bytes, ...]:
    """Return both halves of *secret*: if it is split in two anywhere, one half stays whole."""
    half = len(secret) // 2
    if half < SHORTEST:
        return (secret,)
    return (secret[:half], secret[half:])


def extents(handle: int) -> t.List[Range]:
    """Return the ranges of an open file that are not holes (lseek(2), SEEK_DATA)."""
    end = os.lseek(handle, 0, os.SEEK_END)
    found = []
    position = 0
    while position < end:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
        except OSError:
            break  # ENXIO: only a hole up to the end
        position = min(os.lseek(handle, start, os.SEEK_HOLE), end)
        found.append((start, position))
    return found


def within(ranges: t.Iterable[Range], start: int, end: int) -> t.List[Range]:
    """Cut *ranges* to what lies between *start* and *end*."""
    cut = [(max(a, start), min(b, end)) for a, b in ranges]
    return [(a, b) for a, b in cut if a < b]


def offsets(
    handle: int, needles: t.Mapping[str, bytes], ranges: t.Iterable[Range]
) -> t.Dict[str, t.List[int]]:
    """Return the offsets of each needle that is in *ranges* of an open file."""
    found: t.Dict[str, t.List[int]] = {}
    overlap = max((len(needle) for needle in needles.values()), default=1) - 1
    # Reuse one buffer: allocating one for each chunk takes longer than the search.
    buffer = bytearray(CHUNK + overlap)
    view = memoryview(buffer)
    for start, end in ranges:
        position = start
        while position < end:
            size = os.preadv(handle, [view[: end - position]], position)
            if size == 0:
                break
            for name, needle in needles.items():
                # A hit that begins after CHUNK is found and counted in the next chunk.
                at = buffer.find(needle, 0, size)
                while 0 <= at < CHUNK:
                    found.setdefault(name, []).append(position + at)
                    at = buffer.find(needle, at + 1, size)
            position += CHUNK
    return found


def split_over_clusters(
    handle: int, secrets: t.Mapping[str, bytes], ranges: t.Iterable[Range], cluster: int
) -> t.Dict[str, int]:
    """Return where half of a secret is near a cluster border; the other half can be in a cluster elsewhere."""
    halves = [(name, piece) for name, secret in secrets.items() for piece in pieces(secret)]
    reach = max((len(secret) for secret in secrets.values()), default=0)
    found: t.Dict[str, int] = {}
    for start, end in ranges:
        for border in range(-(-start // cluster) * cluster, end + 1, cluster):
            begin = max(border - reach, 0)
            window = os.pread(handle, border + reach - begin, begin)
            for name, piece in halves:
                if piece in window:
                    found.setdefault(name, begin + window.index(piece))
    return found


def search_bytes(data: bytes, secrets: t.Mapping[str, bytes]) -> t.List[str]:
    """Say which secrets are in *data*, and in which encoding."""
    return [
        f"{name} ({form})"
        for name, secret in secrets.items()
        for form, needle in forms(secret).items()
        if needle in data
    ]


__all__ = (
    "CHUNK",
    "SHORTEST",
    "TRACE",
    "Traces",
    "digests",
    "extents",
    "forms",
    "offsets",
    "pieces",
    "published",
    "search_bytes",
    "split_over_clusters",
    "within",
)
