# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Fetch a file from a URL with curl(1), resuming after broken connections, and verify its signature with gpgv(1).

curl reads its options from standard input, because a URL can contain a password or a token.
"""

from __future__ import annotations

import errno
import os
import re
import time
import typing as t
import urllib.parse

from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

SCHEMES = ("file", "http", "https")
# Exit codes of curl(1) after which another try can succeed. 22 means an HTTP status, which is checked separately.
_BROKEN = (5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92)
_BUSY = re.compile(r"error: (408|429|5\d\d)\b")
_NOT_WRITTEN = 23
# The server cannot resume at this position, or nothing follows it.
_NO_RANGE = (33, 36)
_NO_RANGE_STATUS = re.compile(r"error: 416\b")
# How many tries without progress, and how many restarts from the beginning, before giving up.
TRIES = 4


class WrongFileError(SealedRootError):
    """The file that was fetched is not the expected one."""


def check_url(url: str) -> None:
    """Refuse a URL that cannot be fetched. The message does not contain it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SealedRootError(
            "the url is not one of https://, http:// or file://, or has a blank in it"
        )


def check_there(url: str) -> None:
    """Refuse a file URL that names no regular file on the builder: curl would wait for a FIFO."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        problem = file_kind.problem(urllib.parse.unquote(parts.path), file_kind.FILE)
        if problem:
            raise SealedRootError(f"what the url names {problem}")


def shown(url: str) -> str:
    """Return a URL without the parts that can be secret: user, password, query."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def config(url: str, path: str, *, seconds: int, largest: int = 0) -> bytes:
    """Return a configuration file for curl."""
    quoted = {"url": url, "output": path, "continue-at": "-", "proto": "=http,https,file"}
    # No redirect from https to http, where anyone on the network could read the file.
    quoted["proto-redir"] = "=https" if url.startswith("https:") else "=http,https"
    lines = []
    for name, value in quoted.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name} = "{escaped}"')
    lines += ["fail", "silent", "show-error", "location", "globoff", "netrc-optional"]
    lines += ["max-redirs = 10", "connect-timeout = 30", "speed-limit = 1", "speed-time = 60"]
    lines += [f"max-time = {seconds}", *([f"max-filesize = {largest}"] if largest else [])]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _is_full(path: str) -> bool:
    usage = os.statvfs(os.path.dirname(path))
    return usage.f_bavail * usage.f_frsize < 1 << 20 or usage.f_favail == 0 < usage.f_files


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def fetch(
    runner: Runner,
    url: str,
    path: str,
    *,
    seconds: float,
    largest: int = 0,
    sleep: t.Callable[[float], None] = time.sleep,
) -> None:
    """Fetch to *path*, continuing at its end. If the connection fails, the part that was fetched is kept.

    curl's own --retry would discard that part.
    """
    argv = [runner.find("curl"), "--disable", "--config", "-"]
    deadline = time.monotonic() + seconds
    idle = again = 0
    while True:
        had, left = _size(path), int(deadline - time.monotonic())
        if left <= 0:
            raise SealedRootError(
                f"{shown(url)} was not there within {seconds:.0f} seconds. The {had} bytes that came are"
                " kept, and another run goes on from there; or set timeout in image_source"
            )
        data = config(url, path, seconds=left, largest=largest)
        result = runner.run(argv, stdin=data, check=False, timeout=left + 30)
        if result.rc == 0:
            return
        if result.rc == _NOT_WRITTEN and _is_full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        error = result.stderr.strip() or f"exit status {result.rc}"
        no_range = result.rc in _NO_RANGE or (result.rc == 22 and _NO_RANGE_STATUS.search(error))
        if no_range and had:
            os.unlink(path)
            again += 1
        elif result.rc in _BROKEN or (result.rc == 22 and _BUSY.search(error)):
            idle = 0 if _size(path) > had else idle + 1
        else:
            raise SealedRootError(f"{shown(url)} cannot be fetched: {_redacted(error, url)}")
        if max(idle, again) >= TRIES:
            raise SealedRootError(
                f"{shown(url)} cannot be fetched: {_redacted(error, url)}. The {_size(path)} bytes that came"
                " are kept, and another run goes on from there"
            )
        sleep(min(2**idle, 10))


def _redacted(error: str, url: str) -> str:
    """Return the last line of curl's error message, without secrets of the URL."""
    line = error.splitlines()[-1].replace(url, shown(url))
    parts = urllib.parse.urlsplit(url)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, parts.query):
        if secret:
            line = line.replace(secret, "...")
    return line


def check_file(name: str, path: str) -> None:
    """Refuse a path that is not a regular file on the builder."""
    problem = file_kind.problem(path, file_kind.FILE)
    if problem:
        raise SealedRootError(f"the {name} {path} {problem}")


def check_keyring(path: str) -> None:
    """Refuse a keyring that gpgv cannot read."""
    check_file("keyring", path)
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as exc:
        raise SealedRootError(f"the keyring {path} cannot be read: {exc.strerror}") from exc
    if b"-----BEGIN PGP" in head:
        raise SealedRootError(
            f"the keyring {path} is armored, which gpgv does not read: make it one with"
            f" gpg --dearmor < {path} > {path}.gpg"
        )


def signed(status: str) -> bool:
    """Say whether a key of the keyring signed the file, by gpgv's status lines (gnupg, doc/DETAILS).

    An additional signature by a key that is not in the keyring is ignored; a bad or expired one is an error.
    """
    lines = (line.split() for line in status.splitlines() if line.startswith("[GNUPG:] "))
    words = {line[1] for line in lines if len(line) > 1}
    bad = {"BADSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"}
    return {"GOODSIG", "VALIDSIG"} <= words and not bad & words


def verify(runner: Runner, path: str, signature: str, keyring: str, home: str) -> None:
    """Refuse a file that no key of the keyring has signed."""
    argv = [runner.find("gpgv"), "--homedir", home, "--status-fd", "1", "--keyring", keyring]
    result = runner.run([*argv, signature, path], check=False, timeout=600)
    if not signed(result.stdout):
        lines = [it for it in result.stderr.splitlines() if it.strip()]
        said = lines[-1].strip() if lines else "no reason given"
        raise WrongFileError(
            f"no key in {keyring} signed what came ({said}): get the right keyring and signature"
        )


__all__ = (
    "SCHEMES",
    "WrongFileError",
    "check_keyring",
    "check_there",
    "check_url",
    "config",
    "fetch",
    "shown",
    "signed",
    "verify",
)
