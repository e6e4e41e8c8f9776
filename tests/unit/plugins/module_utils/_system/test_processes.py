# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What processes work on, and how they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    processes,
)

W = "/var/tmp/seal/web 1"


@pytest.mark.parametrize(
    ("word", "named"),
    [
        (f"{W}/root", True),
        (W, True),
        (f"type=fuse,id=e,mountpoint={W}/payload,writable=on", True),
        (f"driver=file,filename={W}/disk.raw", True),
        (f"driver=file,filename={W}2/disk.raw", False),
        ("driver=file,filename=/b/x,,mountpoint=/var/tmp/seal/web 1", False),
        (f"/other{W}/root", False),
    ],
)
def test_mentions(word: str, named: bool) -> None:
    assert processes.mentions(["qemu-storage-daemon", "--export", word], W) is named
    assert processes.mentions([word], W) is False


def test_a_comma_in_the_directory() -> None:
    word = "driver=file,node-name=f,filename=/w/a,,b/disk.raw"
    assert processes.mentions(["x", word], "/w/a,b")
    assert not processes.mentions(["x", word], "/w/a")


def test_a_process_that_ignores_sigterm() -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as stubborn:
        stubborn.stdout.readline()  # type: ignore[union-attr]
        start = time.monotonic()
        processes.end([processes.Process(stubborn.pid, "python3")], 0.2)
        assert time.monotonic() - start < 5
        # A zombie by now: it holds nothing any more.
        assert os.path.exists(f"/proc/{stubborn.pid}")
        assert not processes.is_alive(stubborn.pid)
        assert stubborn.wait() == -signal.SIGKILL


def test_a_process_that_is_gone() -> None:
    processes.end([processes.Process(2**22 - 1, "gone")], 0.2)
