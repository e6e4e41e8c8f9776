# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What curl and gpgv are told, and what their answers mean."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import download
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

URL = "https://me:passw0rd@example.org/root.tar?token=t0psecret"
CURL = ["curl", "--disable", "--config", "-"]


def test_a_url_is_shown_without_secrets() -> None:
    assert download.shown(URL) == "https://example.org/root.tar"
    assert download.shown("file:///srv/root.tar") == "file:///srv/root.tar"


def test_the_configuration_of_curl_is_quoted_and_does_not_leave_https() -> None:
    lines = download.config('https://example.org/a"b\\c', "/c/x", seconds=9).decode().splitlines()
    assert 'url = "https://example.org/a\\"b\\\\c"' in lines
    assert 'proto-redir = "=https"' in lines
    assert "max-time = 9" in lines
    plain = download.config("http://example.org/", "/c/x", seconds=9, largest=7).decode()
    assert 'proto-redir = "=http,https"' in plain
    assert "max-filesize = 7" in plain


def test_a_server_that_is_busy_is_asked_again_and_then_no_more(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "x")
    slept: list[float] = []
    monkeypatch.setattr(download, "config", lambda *_args, **_more: b"config")
    for _try in range(download.TRIES):
        stderr = "curl: (22) The requested URL returned error: 503\n"
        script.expect(CURL, stdin=b"config", rc=22, stderr=stderr)
    with pytest.raises(SealedRootError, match="another run goes on from there"):
        download.fetch(runner, URL, path, seconds=60, sleep=slept.append)
    assert slept == [2, 4, 8]


def test_what_no_other_try_mends_is_said_at_once_and_without_secrets(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "config", lambda *_args, **_more: b"config")
    stderr = f"curl: (3) bad: {URL} of me:passw0rd, t0psecret in token=t0psecret\n"
    script.expect(CURL, stdin=b"config", rc=3, stderr=stderr)
    with pytest.raises(SealedRootError) as error:
        download.fetch(runner, URL, str(tmp_path / "x"), seconds=60, sleep=lambda _time: None)
    assert "passw0rd" not in str(error.value)
    assert "token=t0psecret" not in str(error.value)


def test_a_full_file_system_is_told_from_other_failures(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = "curl: (23) Failure writing output to destination\n"
    for full, error in ((True, OSError), (False, SealedRootError)):
        monkeypatch.setattr(download, "config", lambda *_args, **_more: b"config")
        monkeypatch.setattr(download, "_is_full", lambda _path, full=full: full)
        script.expect(CURL, stdin=b"config", rc=23, stderr=stderr)
        with pytest.raises(error):
            download.fetch(runner, URL, str(tmp_path / "x"), seconds=60)


GOOD = "[GNUPG:] GOODSIG 1 me\n[GNUPG:] VALIDSIG 1\n"


@pytest.mark.parametrize(
    ("status", "good"),
    [
        (GOOD, True),
        (GOOD + "[GNUPG:] ERRSIG 2\n[GNUPG:] NO_PUBKEY 2\n", True),
        (GOOD + "[GNUPG:] BADSIG 2 them\n", False),
        ("[GNUPG:] EXPKEYSIG 1 me\n[GNUPG:] VALIDSIG 1\n", False),
        ("[GNUPG:] REVKEYSIG 1 me\n[GNUPG:] VALIDSIG 1\n", False),
        ("[GNUPG:] ERRSIG 2\n[GNUPG:] NO_PUBKEY 2\n", False),
        ("GOODSIG 1\nVALIDSIG 1\n", False),
        ("", False),
    ],
)
def test_which_signatures_are_good(status: str, *, good: bool) -> None:
    assert download.signed(status) == good
