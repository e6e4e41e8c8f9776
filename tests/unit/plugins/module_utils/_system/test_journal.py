# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which requests a file system gets, by what it knows; that they work is shown in tests/integration."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import journal

CHECKPOINT, FREEZE, THAW = 0x4004662B, 0xC0045877, 0xC0045878


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., list[int]]:
    """Set what each request answers; return the list of those that are made."""

    def answer(**errors: int) -> list[int]:
        requests: list[int] = []
        known = {"checkpoint": CHECKPOINT, "freeze": FREEZE, "thaw": THAW}
        numbers = {known[name]: number for name, number in errors.items()}

        def ioctl(_handle: int, request: int, _argument: bytes) -> int:
            requests.append(request)
            if request in numbers:
                raise OSError(numbers[request], os.strerror(numbers[request]))
            return 0

        monkeypatch.setattr(fcntl, "ioctl", ioctl)
        monkeypatch.setattr(os, "sync", lambda: None)
        return requests

    return answer


def test_ext4_is_not_frozen(asked: t.Callable[..., list[int]], tmp_path: pathlib.Path) -> None:
    requests = asked()
    journal.flush(str(tmp_path))
    assert requests == [CHECKPOINT]


def test_another_is_frozen_and_thawed(
    asked: t.Callable[..., list[int]], tmp_path: pathlib.Path
) -> None:
    requests = asked(checkpoint=errno.ENOTTY)
    journal.flush(str(tmp_path))
    assert requests == [CHECKPOINT, FREEZE, THAW]


def test_one_without_a_journal_is_left_alone(
    asked: t.Callable[..., list[int]], tmp_path: pathlib.Path
) -> None:
    requests = asked(checkpoint=errno.ENOTTY, freeze=errno.EOPNOTSUPP)
    journal.flush(str(tmp_path))
    assert requests == [CHECKPOINT, FREEZE]


def test_an_error_is_not_swallowed(
    asked: t.Callable[..., list[int]], tmp_path: pathlib.Path
) -> None:
    asked(checkpoint=errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        journal.flush(str(tmp_path))
