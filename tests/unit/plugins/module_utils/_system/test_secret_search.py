# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searching secrets in every form."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import secret_search

KEY = base64.b64encode(bytes(range(100, 133)))


@pytest.fixture
def file(tmp_path: pathlib.Path) -> t.Iterator[int]:
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield handle
    os.close(handle)


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode(),
        KEY.decode().encode("utf-16-le"),
        base64.b64encode(KEY),
        base64.b64encode(b"key=" + KEY + b"\n"),
        base64.b64encode(b"a key=" + KEY + b"\n"),
        bytes(range(100, 133)),
        bytes(range(100, 133)).hex().encode(),
    ],
)
def test_every_form_is_found(text: bytes) -> None:
    assert secret_search.search_bytes(b"before" + text + b"after", {"boot key": KEY})


def test_other_data_is_not_found() -> None:
    assert not secret_search.search_bytes(os.urandom(100_000) + KEY[:-1], {"boot key": KEY})


def test_a_passphrase_is_not_decoded() -> None:
    forms = secret_search.forms(b"correct horse battery")
    assert not any("decoded" in name for name in forms)


def test_no_form_is_so_short_that_chance_finds_it() -> None:
    assert all(len(needle) >= 8 for needle in secret_search.forms(b"12345678").values())


def test_pieces() -> None:
    assert secret_search.pieces(b"0123456789abcdef") == (b"01234567", b"89abcdef")
    assert secret_search.pieces(b"0123456789") == (b"0123456789",)


def test_holes_are_left_out(file: int) -> None:
    os.ftruncate(file, 10 << 20)
    os.pwrite(file, b"x" * 4096, 4 << 20)
    ranges = secret_search.extents(file)
    assert sum(end - start for start, end in ranges) < 1 << 20
    assert any(start <= 4 << 20 < end for start, end in ranges)


def test_an_empty_file_has_no_extents(file: int) -> None:
    assert secret_search.extents(file) == []


def test_within() -> None:
    assert secret_search.within([(0, 10), (20, 30)], 5, 25) == [(5, 10), (20, 25)]
    assert secret_search.within([(0, 10)], 10, 20) == []


@pytest.mark.parametrize("position", [0, secret_search.CHUNK - 1, secret_search.CHUNK, 3_000_000])
def test_a_hit_across_chunks_is_counted_once(file: int, position: int) -> None:
    os.ftruncate(file, 4 << 20)
    os.pwrite(file, KEY, position)
    found = secret_search.offsets(file, {"key": KEY, "other": b"x" * 60}, [(0, 4 << 20)])
    assert found == {"key": [position]}


def test_a_hit_beyond_the_range_does_not_count(file: int) -> None:
    os.pwrite(file, KEY, 100)
    assert secret_search.offsets(file, {"key": KEY}, [(0, 100 + len(KEY) - 1)]) == {}


def test_a_short_read_does_not_see_the_chunk_before(file: int) -> None:
    os.ftruncate(file, secret_search.CHUNK + 10)
    os.pwrite(file, KEY, 100)
    ranges = [(0, secret_search.CHUNK), (secret_search.CHUNK, secret_search.CHUNK + 10)]
    assert secret_search.offsets(file, {"key": KEY}, ranges) == {"key": [100]}


def test_every_hit_is_counted(file: int) -> None:
    os.pwrite(file, KEY * 3, 0)
    found = secret_search.offsets(file, {"key": KEY}, [(0, 3 * len(KEY))])
    assert found == {"key": [0, len(KEY), 2 * len(KEY)]}


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "b2"])
@pytest.mark.parametrize("newline", ["", "\n"])
def test_a_digest_is_found_as_programs_print_it(algorithm: str, newline: str) -> None:
    """By a digest anyone can test guesses. With a newline it is that of the file which echo(1) wrote."""
    data = KEY + newline.encode()
    done = subprocess.run([f"{algorithm}sum"], input=data, capture_output=True, check=True)
    for text in (done.stdout, done.stdout.upper(), base64.b64encode(bytes.fromhex(_hex(done)))):
        (found, *_others) = secret_search.published({"x.json": b"[" + text + b"]"}, {"key": KEY})
        assert found.startswith("x.json has the key (")


def _hex(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stdout.split()[0].decode()


DIGEST = hashlib.sha256(KEY).digest()


@pytest.mark.parametrize(
    "whole",
    [
        DIGEST,
        DIGEST.hex().encode(),
        DIGEST.hex().upper().encode(),
        base64.b64encode(DIGEST),
        base64.urlsafe_b64encode(hashlib.sha512(KEY).digest()),
        base64.b32encode(hashlib.sha3_256(KEY + b"\n").digest()),
        base64.b32encode(DIGEST).lower(),
        hashlib.shake_128(KEY).digest(64),
    ],
)
def test_a_piece_of_a_digest_is_found(whole: bytes) -> None:
    length = secret_search.TRACE
    texts = {}
    for before in range(9):
        for start in (0, 1, 7, len(whole) - length):
            piece = whole[start : start + length]
            text = b"{" * before + piece + b"}"
            texts[f"{before}-{start}-whole"] = text
            texts[f"{before}-{start}-short"] = text.replace(piece, piece[:-1])
    found = {it.split()[0] for it in secret_search.published(texts, {"key": KEY})}
    assert found == {name for name in texts if name.endswith("whole")}


PASSPHRASE = b'correct "horse" \\battery/'


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"key": PASSPHRASE.decode()}),
        json.dumps({PASSPHRASE.decode(): 1}),
        json.dumps({"key": PASSPHRASE.decode()}).replace("/", "\\/"),
        "".join(f"\\u{byte:04X}" for byte in PASSPHRASE),
        # A document in a string of another one, and one that is cut off.
        json.dumps({"log": json.dumps({"key": PASSPHRASE.decode()})}),
        json.dumps({"key": PASSPHRASE.decode()})[5:-2],
        # As it is, it has what looks like an escape.
        PASSPHRASE.decode(),
    ],
)
def test_a_passphrase_is_found_in_json(text: str) -> None:
    secrets = {"recovery key": PASSPHRASE}
    (found,) = secret_search.published({"x.json": text.encode()}, secrets)
    assert found.startswith("x.json has the recovery key (as it is")
    other = text.replace("horse", "house").replace("\\u0068", "\\u0069")
    assert not secret_search.published({"x.json": other.encode()}, secrets)


@pytest.mark.parametrize("between", [":", "-", " "])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_digest_in_pairs_of_digits_is_found(between: str, case: t.Callable[[str], str]) -> None:
    text = case(DIGEST.hex(between))
    for part in (text, text[9 : 9 + 3 * 8 + 2]):
        assert secret_search.published({"x": part.encode()}, {"key": KEY}), part
    assert not secret_search.published({"x": text[: 3 * 7].encode()}, {"key": KEY})


@pytest.mark.parametrize("unit", [b"\\", b'\\"', b"\\u0061", b"aa:", b"[", b"\\u"])
def test_no_document_takes_long(unit: bytes) -> None:
    """A megabyte of what is decoded; a loaded machine may take ten times as long."""
    start = time.perf_counter()
    assert secret_search.published({"x": unit * ((1 << 20) // len(unit))}, {"a": KEY}) == []
    assert time.perf_counter() - start < 5


def test_every_algorithm_is_looked_for() -> None:
    for algorithm in hashlib.algorithms_guaranteed:
        digest = hashlib.new(algorithm, KEY)
        text = digest.hexdigest(32) if digest.digest_size == 0 else digest.hexdigest()  # type: ignore[call-arg]
        found = secret_search.published({"x": text.encode()}, {"key": KEY})
        assert any(f"{algorithm} of it, in hexadecimal" in it for it in found), algorithm


def test_pieces_are_looked_for_quickly() -> None:
    """A megabyte of what looks like digests; a loaded machine may take ten times as long."""
    text = os.urandom(1 << 19).hex().encode()
    start = time.perf_counter()
    assert secret_search.published({"x": text}, {"a": KEY, "b": KEY[1:], "c": KEY[2:]}) == []
    assert time.perf_counter() - start < 3


def test_digests_of_other_data_are_none_of_a_key() -> None:
    other = hashlib.sha256(KEY[:-1]).hexdigest().encode()
    assert secret_search.published({"x": other}, {"key": KEY}) == []


def test_each_file_is_named_that_has_it() -> None:
    found = secret_search.published({"a": KEY, "b": b"", "c": KEY}, {"key": KEY})
    assert {line.split()[0] for line in found} == {"a", "c"}
