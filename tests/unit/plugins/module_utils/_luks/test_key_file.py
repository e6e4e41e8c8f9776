# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a key is generated, named and written."""

from __future__ import annotations

import base64
import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_a_generated_key_has_264_random_bits_in_one_line() -> None:
    keys = {key_file.generate() for _ in range(50)}
    assert len(keys) == 50
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {33}
    assert all(key_file.is_generated(key) for key in keys)
    # GRUB's script for launch secrets reads them.
    assert all(secret_table.READABLE.fullmatch(key) for key in keys)


@pytest.mark.parametrize("text", ["", "A" * 43, "A" * 45, "A" * 43 + "=", "A" * 43 + "\n"])
def test_other_texts_are_not_taken_for_one(text: str) -> None:
    assert not key_file.is_generated(text.encode())


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "../a", "a b", "a\n", "-a"])
def test_a_name_that_is_no_plain_file_name(name: str) -> None:
    with pytest.raises(SealedRootError, match="cannot name a key file"):
        key_file.check_name(name)


def test_a_key_is_written_for_its_owner_alone_and_for_the_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    old = os.umask(0)
    try:
        key_file.write(str(tmp_path / "a"), b"key")
    finally:
        os.umask(old)
    file = tmp_path / "a"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"key", 0o600)
    assert synced == [file.stat().st_ino, tmp_path.stat().st_ino]
    assert os.listdir(tmp_path) == ["a"]


def test_a_key_that_another_process_has_made_meanwhile_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"another")
    with pytest.raises(FileExistsError):
        key_file.write(str(tmp_path / "a"), b"key")
    assert (tmp_path / "a").read_bytes() == b"another"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_known() -> None:
    assert key_file.is_part(key_file.part_name("a.key"), "a.key")
    for leaf in ("a.key", ".a.key", ".a.key.", ".a.key.1x", ".aXkey.1", ".b.a.key.1"):
        assert not key_file.is_part(leaf, "a.key")
