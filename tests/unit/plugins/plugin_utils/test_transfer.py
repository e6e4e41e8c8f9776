# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import pathlib
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _transfer


def shell(command, in_data):
    return subprocess.run(
        ["sh", "-c", command], input=in_data, capture_output=True, check=True
    ).stdout


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17])
def test_files_pass_whole_whatever_their_size(tmp_path, monkeypatch, size):
    monkeypatch.setattr(_transfer, "CHUNK", 8)
    data = bytes(range(256))[-size:] if size else b""
    path = str(tmp_path / "it's a file")
    pathlib.Path(path).write_bytes(data)
    back = io.BytesIO()
    _transfer.fetch(shell, path, back)
    assert back.getvalue() == data


def test_a_failure_ends_the_transfer(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        _transfer.fetch(shell, str(tmp_path / "missing"), io.BytesIO())


@pytest.mark.parametrize("size", [0, 1, 8, 9, 4096 * 5, 4096 * 5 + 3])
@pytest.mark.parametrize("tool", ["cmp", "no cmp"])
def test_zeros_are_not_sent_and_become_holes(tmp_path, monkeypatch, size, tool):
    monkeypatch.setattr(_transfer, "CHUNK", 4096)
    path, back = tmp_path / "disk.raw", tmp_path / "back"
    data = bytearray(size)
    if size > 8192:
        data[:3], data[8192:8195] = b"one", b"two"
    path.write_bytes(data)
    sent = []

    def run(command, in_data):
        if tool != "cmp":
            command = f"cmp() {{ return 127; }}; {command}"
        sent.append(shell(command, in_data))
        return sent[-1]

    with back.open("wb") as target:
        _transfer.fetch_sparse(run, str(path), target)
    assert back.read_bytes() == data
    if size > 8192 and tool == "cmp":
        # The size, which pieces hold something, and these.
        assert [len(it) for it in sent[2:]] == [4096, 4096]
        assert back.stat().st_blocks * 512 == 8192
