# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages of a monitor; conversations are in tests/unit/plugins/modules/test_launch_inject.py."""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
import qmp_peer
from ansible_collections.sealedroot.image.plugins.module_utils._machine import qmp
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"1", b'"x"', b"{", b"\xff", b'{"a": ' + b"9" * 50 + b"}", b"[" * 99999]
)
def test_no_message(text: bytes) -> None:
    with pytest.raises(SealedRootError, match="what listens on x is no monitor of QEMU: give the"):
        qmp.parse(text, "x")


def test_a_message() -> None:
    assert qmp.parse(b'{"return": {}}\r', "x") == {"return": {}}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (qmp_peer.error("no SEV\x1b[2J"), r"the command stop: no SEV\x1b[2J"),
        (qmp_peer.error("x" * 999), "the command stop: " + "x" * 200),
        (qmp_peer.error(""), "the command stop: it gave no reason"),
        ({"error": []}, "the command stop: it gave no reason"),
        ({"error": {"desc": 1}}, "the command stop: it gave no reason"),
        ({"error": {"desc": " \n"}}, "the command stop: it gave no reason"),
        ({"error": {"desc": "no\nok: [web]\n\nPLAY"}}, "the command stop: no ok: [web] PLAY"),
    ],
    ids=range(7),
)
def test_errors(tmp_path: pathlib.Path, error: dict[str, t.Any], reason: str) -> None:
    guest = qmp_peer.Guest(tmp_path / "qmp", {"stop": error})
    with guest.listening(), qmp.connected(str(guest.path), 20) as monitor:
        with pytest.raises(qmp.CommandRefusedError) as caught:
            monitor.execute("stop")
        assert str(caught.value) == f"QEMU refused {reason}"
        # The connection is still of use.
        assert monitor.execute("query-status")["status"] == "prelaunch"


def test_nobody_can_make_it_wait_longer(tmp_path: pathlib.Path) -> None:
    """Neither by one byte after the other, nor by events without end."""
    guest = qmp_peer.Guest(tmp_path / "qmp", {"stop": [b" "] * 5})
    began = time.monotonic()
    with (
        guest.listening(),
        qmp.connected(str(guest.path), 0.5) as monitor,
        pytest.raises(SealedRootError, match=r"did not answer to stop within 0\.5 seconds"),
    ):
        monitor.execute("stop")
    assert time.monotonic() - began < 10


def test_a_path_that_is_not_for_this_user(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: t.Any, _path: str) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(PermissionError), qmp.connected(str(tmp_path / "qmp"), 20):
        pass
